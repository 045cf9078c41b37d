"""The training step and the evaluation step: pure functions of state and batch, for any network and any loss."""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from xxnet_jax.losses import Batch, LossFn, Metrics, Outputs, classification_loss
from xxnet_jax.metrics import LayerMetric, Mean, StreamingMetric
from xxnet_jax.models import Network, observe
from xxnet_jax.models.normalization import WHOLE_BATCH, BatchNormScope, batch_norm_scope
from xxnet_jax.precision import all_finite
from xxnet_jax.training.dispatch import fold, micro_batches
from xxnet_jax.training.state import EvalStep, TrainState, TrainStep, abstract_state, update_average


def make_train_step(
    model: nn.Module,
    tx: optax.GradientTransformation,
    loss_fn: LossFn,
    *,
    penalty: Callable[[Any], jax.Array] | None = None,
    average_decay: Callable[[jax.Array], jax.Array] | None = None,
    accumulate: int = 1,
    batch_norm: BatchNormScope = WHOLE_BATCH,
    arguments: Callable[[Batch], dict[str, Any]] = lambda batch: {},
) -> TrainStep:
    """`train_step(state, batch) -> (state, metrics)`: forward, loss, gradients, update.

    Where the state has a loss scale, a step whose gradients overflow changes nothing but the scale and the number.

    Args:
        model: a network; its collections `batch_stats` and `aux_logits` are taken care of.
        tx: the optimizer.
        loss_fn: the loss of the outputs (see `xxnet_jax.losses`).
        penalty: of the parameters, added to the loss; reported as the metric "penalty".
        average_decay: step -> decay of the average in `state.ema_params`, if there is one.
        accumulate: micro-batches in which the batch is gone through, one after another, for one update: less memory for
            activations. The gradient is the batch's own; batch normalization sees the micro-batches.
        batch_norm: which examples are normalized together. With an `axis_name` the step is one to be mapped by
            `jax.pmap`: it sees a share of the batch, and gradients, statistics and metrics are those of all shares.
        arguments: batch -> keywords that the network is called with beside the images.
    """
    axis_name = batch_norm.axis_name

    def gradients_of(
        params: Any, batch_stats: Any, batch: Batch, total: jax.Array, step: jax.Array, key: jax.Array
    ) -> tuple[Any, Any, Metrics]:
        """The part in the gradient of the whole batch, of `total` examples, that these examples have."""
        dropout_key, loss_key = jax.random.split(key)

        def objective(params: Any) -> tuple[jax.Array, tuple[Any, Metrics]]:
            with batch_norm_scope(batch_norm):
                prediction, mutated = model.apply(
                    {"params": params, "batch_stats": batch_stats},
                    batch["image"],
                    **arguments(batch),
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
            return loss * _examples(batch) / total, (collections.get("batch_stats", {}), metrics)

        gradients, (batch_stats, metrics) = jax.grad(objective, has_aux=True)(params)
        return gradients, batch_stats, metrics

    def accumulated_gradients_of(
        params: Any, batch_stats: Any, batch: Batch, total: jax.Array, step: jax.Array, key: jax.Array
    ) -> tuple[Any, Any, Metrics]:
        def add(carry: tuple[Any, Any], part: tuple[Batch, jax.Array]) -> tuple[Any, Metrics]:
            so_far, batch_stats = carry
            gradients, batch_stats, metrics = gradients_of(params, batch_stats, part[0], total, step, part[1])
            return (jax.tree.map(jnp.add, so_far, gradients), batch_stats), metrics

        start = (jax.tree.map(jnp.zeros_like, params), batch_stats)
        parts = (micro_batches(batch, accumulate), jax.random.split(key, accumulate))
        (gradients, batch_stats), metrics = fold(add, start, parts)
        return gradients, batch_stats, jax.tree.map(lambda values: jnp.sum(values, axis=0), metrics)

    compute = gradients_of if accumulate == 1 else accumulated_gradients_of

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.rng, state.step)
        scale = state.loss_scale
        total = _examples(batch)
        if axis_name is not None:
            key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
            total = jax.lax.psum(total, axis_name)
        total = jnp.maximum(total, 1)
        if scale is not None:
            total /= scale.factor
        gradients, batch_stats, metrics = compute(state.params, state.batch_stats, batch, total, state.step, key)
        if axis_name is not None:
            gradients, metrics = jax.lax.psum((gradients, metrics), axis_name)
            batch_stats = jax.lax.pmean(batch_stats, axis_name)
        if scale is not None:
            gradients = jax.tree.map(lambda g: g / scale.factor.astype(g.dtype), gradients)
        updates, opt_state = tx.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema_params = state.ema_params
        if ema_params is not None and average_decay is not None:
            ema_params = update_average(ema_params, params, average_decay(state.step))
        new: Any = state.replace(  # type: ignore[attr-defined]
            step=state.step + 1,
            params=params,
            batch_stats=batch_stats,
            opt_state=opt_state,
            ema_params=ema_params,
        )
        if scale is not None:
            finite = all_finite(gradients)
            unchanged = state.replace(step=new.step)  # type: ignore[attr-defined]
            new = jax.tree.map(functools.partial(jnp.where, finite), new, unchanged)
            new = new.replace(loss_scale=scale.after(finite))
        return new, metrics

    return train_step


def _examples(batch: Batch) -> jax.Array:
    """How many there are, masked ones not counted."""
    return jnp.sum(batch["mask"], dtype=jnp.float32)


def make_eval_step(
    model: Network, loss_fn: LossFn, metrics: Mapping[str, StreamingMetric | LayerMetric] = MappingProxyType({})
) -> EvalStep:
    """`eval_step(variables, batch) -> means, counts`, in inference mode, of the examples whose mask is set.

    Args:
        model: a classifier, if there are metrics.
        loss_fn: has the means.
        metrics: have the counts, by the same names.
    """

    of_layers = {name: metric for name, metric in metrics.items() if isinstance(metric, LayerMetric)}
    of_logits = {name: metric for name, metric in metrics.items() if isinstance(metric, StreamingMetric)}

    def eval_step(variables: dict[str, Any], batch: Batch) -> tuple[Metrics, dict[str, Any]]:
        images, mask = batch["image"], batch["mask"]
        prediction: Any
        if of_layers:
            prediction, observed = observe(model, variables, images)
            counts = {name: metric.count(observed[metric.observes], mask) for name, metric in of_layers.items()}
        else:
            prediction, counts = model.apply(variables, images, train=False), {}
        outputs = Outputs(prediction, {}, jnp.zeros((), jnp.int32))
        _, means = loss_fn(outputs, batch, jax.random.key(0))
        counts |= {name: metric.count(prediction, batch["label"], mask) for name, metric in of_logits.items()}
        return means, counts

    return eval_step


def lowered_train_step(
    model: Network, tx: optax.GradientTransformation, image_shape: tuple[int, int, int], batch_size: int
) -> jax.stages.Lowered:
    """The training step of a classifier with cross-entropy, traced for images [batch, height, width, channels].

    Nothing is computed, and no parameter is made; `.compile()` gives the step, to which the state is donated.
    """
    batch = {
        "image": jax.ShapeDtypeStruct((batch_size, *image_shape), jnp.float32),
        "label": jax.ShapeDtypeStruct((batch_size,), jnp.int32),
        "mask": jax.ShapeDtypeStruct((batch_size,), jnp.bool_),
    }
    step = jax.jit(make_train_step(model, tx, classification_loss()), donate_argnums=0)
    return step.lower(abstract_state(model, tx, image_shape), batch)
