"""The training step and the evaluation step: pure functions of state and batch, for any network and any loss."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from xxnet_jax.losses import Batch, LossFn, Metrics, Outputs
from xxnet_jax.metrics import Mean
from xxnet_jax.models import Network
from xxnet_jax.training.state import TrainState, update_ema

TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]
EvalStep = Callable[[dict[str, Any], Batch], Metrics]


def make_train_step(
    model: Network,
    tx: optax.GradientTransformation,
    loss_fn: LossFn,
    *,
    penalty: Callable[[Any], jax.Array] | None = None,
    ema_decay: float | None = None,
) -> TrainStep:
    """`train_step(state, batch) -> (state, metrics)`: forward, loss, gradients, update.

    Args:
        model: a network; its collections `batch_stats` and `aux_logits` are taken care of.
        tx: the optimizer.
        loss_fn: the loss of the outputs (see `xxnet_jax.losses`).
        penalty: of the parameters, added to the loss; reported as the metric "penalty".
        ema_decay: of the average in `state.ema_params`, if there is one.
    """

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        dropout_key, loss_key = jax.random.split(jax.random.fold_in(state.rng, state.step))

        def objective(params: Any) -> tuple[jax.Array, tuple[Any, Metrics]]:
            prediction, mutated = model.apply(
                {"params": params, "batch_stats": state.batch_stats},
                batch["image"],
                train=True,
                mutable=["batch_stats", "aux_logits"],
                rngs={"dropout": dropout_key},
            )
            collections: Any = mutated
            auxiliary = collections.get("aux_logits", {}).get("heads", {})
            outputs = Outputs(prediction, auxiliary, state.step)
            loss, metrics = loss_fn(outputs, batch, loss_key)
            if penalty is not None:
                extra = penalty(params)
                loss += extra
                metrics = metrics | {"penalty": Mean.of(extra[None])}
            return loss, (collections.get("batch_stats", {}), metrics)

        gradients, (batch_stats, metrics) = jax.grad(objective, has_aux=True)(state.params)
        updates, opt_state = tx.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema_params = state.ema_params
        if ema_params is not None and ema_decay is not None:
            ema_params = update_ema(ema_params, params, state.step, ema_decay)
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
