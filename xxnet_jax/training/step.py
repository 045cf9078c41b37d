"""The training step and the evaluation step: pure functions of state and batch, for any network and any loss."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from xxnet_jax.losses import Batch, LossFn, Metrics, Outputs
from xxnet_jax.metrics import Mean
from xxnet_jax.models import Network
from xxnet_jax.training.dispatch import fold, micro_batches
from xxnet_jax.training.state import EvalStep, TrainState, TrainStep, update_average


def make_train_step(
    model: Network,
    tx: optax.GradientTransformation,
    loss_fn: LossFn,
    *,
    penalty: Callable[[Any], jax.Array] | None = None,
    average_decay: Callable[[jax.Array], jax.Array] | None = None,
    accumulate: int = 1,
) -> TrainStep:
    """`train_step(state, batch) -> (state, metrics)`: forward, loss, gradients, update.

    Args:
        model: a network; its collections `batch_stats` and `aux_logits` are taken care of.
        tx: the optimizer.
        loss_fn: the loss of the outputs (see `xxnet_jax.losses`).
        penalty: of the parameters, added to the loss; reported as the metric "penalty".
        average_decay: step -> decay of the average in `state.ema_params`, if there is one.
        accumulate: micro-batches in which the batch is gone through, one after another, for one update: less memory for
            activations. The gradient is the batch's own; batch normalization sees the micro-batches.
    """

    def gradients_of(
        params: Any, batch_stats: Any, batch: Batch, step: jax.Array, key: jax.Array
    ) -> tuple[Any, Any, Metrics]:
        dropout_key, loss_key = jax.random.split(key)

        def objective(params: Any) -> tuple[jax.Array, tuple[Any, Metrics]]:
            prediction, mutated = model.apply(
                {"params": params, "batch_stats": batch_stats},
                batch["image"],
                train=True,
                mutable=["batch_stats", "aux_logits"],
                rngs={"dropout": dropout_key},
            )
            collections: Any = mutated
            auxiliary = collections.get("aux_logits", {}).get("heads", {})
            loss, metrics = loss_fn(Outputs(prediction, auxiliary, step), batch, loss_key)
            if penalty is not None:
                extra = penalty(params)
                loss += extra
                metrics = metrics | {"penalty": Mean.of(extra[None])}
            return loss, (collections.get("batch_stats", {}), metrics)

        gradients, (batch_stats, metrics) = jax.grad(objective, has_aux=True)(params)
        return gradients, batch_stats, metrics

    def accumulated_gradients_of(
        params: Any, batch_stats: Any, batch: Batch, step: jax.Array, key: jax.Array
    ) -> tuple[Any, Any, Metrics]:
        def add(carry: tuple[Any, Any, jax.Array], part: tuple[Batch, jax.Array]) -> tuple[Any, Metrics]:
            total, batch_stats, weight = carry
            part_batch, part_key = part
            gradients, batch_stats, metrics = gradients_of(params, batch_stats, part_batch, step, part_key)
            examples = jnp.sum(part_batch["mask"], dtype=jnp.float32)
            total = jax.tree.map(lambda t, g: t + examples.astype(g.dtype) * g, total, gradients)
            return (total, batch_stats, weight + examples), metrics

        start = (jax.tree.map(jnp.zeros_like, params), batch_stats, jnp.zeros(()))
        parts = (micro_batches(batch, accumulate), jax.random.split(key, accumulate))
        (total, batch_stats, weight), metrics = fold(add, start, parts)
        scale = 1 / jnp.maximum(weight, 1)
        gradients = jax.tree.map(lambda t: scale.astype(t.dtype) * t, total)
        return gradients, batch_stats, jax.tree.map(lambda values: jnp.sum(values, axis=0), metrics)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.rng, state.step)
        compute = gradients_of if accumulate == 1 else accumulated_gradients_of
        gradients, batch_stats, metrics = compute(state.params, state.batch_stats, batch, state.step, key)
        updates, opt_state = tx.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema_params = state.ema_params
        if ema_params is not None and average_decay is not None:
            ema_params = update_average(ema_params, params, average_decay(state.step))
        state = state.replace(  # type: ignore[attr-defined]
            step=state.step + 1,
            params=params,
            batch_stats=batch_stats,
            opt_state=opt_state,
            ema_params=ema_params,
        )
        return state, metrics

    return train_step


def make_eval_step(model: Network, loss_fn: LossFn) -> EvalStep:
    """`eval_step(variables, batch) -> metrics`, in inference mode, of the examples whose mask is set."""

    def eval_step(variables: dict[str, Any], batch: Batch) -> Metrics:
        prediction = model.apply(variables, batch["image"], train=False)
        outputs = Outputs(prediction, {}, jnp.zeros((), jnp.int32))
        _, metrics = loss_fn(outputs, batch, jax.random.key(0))
        return metrics

    return eval_step
