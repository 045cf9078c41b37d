"""Losses per example, penalties on parameters, and the loss functions that a training step takes.

A loss function has the form `loss_fn(outputs, batch, rng) -> (loss, metrics)`: `outputs` is what the network gave
(`Outputs`), `batch` a dict with "label" and "mask", `metrics` a dict of `Mean`. The loss is a float32 scalar, the mean
over the examples whose mask is set, whatever the devices they lie on.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from xxnet_jax.boxes import giou
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.metrics import Mean
from xxnet_jax.parameters import matches
from xxnet_jax.precision import at_least_float32

Batch = dict[str, jax.Array]
Metrics = dict[str, Mean]


class Outputs(NamedTuple):
    """What a network gave for a batch.

    Attributes:
        prediction: the return value of `apply`; logits [batch, num_classes] for a classifier.
        auxiliary: name -> logits of the auxiliary heads; empty in evaluation.
        step: int32 [], the training step; 0 in evaluation.
    """

    prediction: Any
    auxiliary: Mapping[str, jax.Array]
    step: jax.Array


LossFn = Callable[[Outputs, Batch, jax.Array], tuple[jax.Array, Metrics]]


def cross_entropy(logits: jax.Array, labels: jax.Array, label_smoothing: float = 0.0) -> jax.Array:
    """Softmax cross-entropy of each example, float32 [batch]: -sum_k q_k log softmax(logits)_k.

    Args:
        logits: [batch, classes].
        labels: int [batch], or probabilities [batch, classes].
        label_smoothing: e in q = (1 - e) q + e / classes (Szegedy et al., 2016, section 7).
    """
    chex.assert_rank(logits, 2)
    if not 0 <= label_smoothing < 1:
        raise InvalidArgument(f"label_smoothing must be in [0, 1), got {label_smoothing}")
    logits = at_least_float32(logits)
    if labels.ndim == 1:
        chex.assert_equal_shape_prefix((logits, labels), 1)
        if label_smoothing == 0:
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        labels = jax.nn.one_hot(labels, logits.shape[-1])
    chex.assert_equal_shape((logits, labels))
    return optax.softmax_cross_entropy(logits, optax.smooth_labels(labels, label_smoothing))


def squared_error(predictions: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean over outputs of (prediction - target)^2 for each example, float32 [batch].

    Args:
        predictions: [batch, outputs].
        labels: targets [batch, outputs], or int [batch] for one-hot targets.
    """
    chex.assert_rank(predictions, 2)
    if labels.ndim == 1:
        labels = jax.nn.one_hot(labels, predictions.shape[-1])
    chex.assert_equal_shape((predictions, labels))
    difference = at_least_float32(predictions) - at_least_float32(labels)
    return jnp.mean(jnp.square(difference), axis=-1)


def smooth_l1(predictions: jax.Array, targets: jax.Array) -> jax.Array:
    """Sum over the last axis of d^2 / 2 where |d| < 1 and |d| - 1/2 elsewhere, d = prediction - target, float32 [...]
    (Girshick, Fast R-CNN, 2015, equation 3).

    Args:
        predictions: [..., n].
        targets: of the same shape.
    """
    chex.assert_equal_shape((predictions, targets))
    distance = jnp.abs(at_least_float32(predictions) - at_least_float32(targets))
    return jnp.sum(jnp.where(distance < 1, jnp.square(distance) / 2, distance - 0.5), -1)


def giou_loss(predicted: jax.Array, target: jax.Array) -> jax.Array:
    """1 - generalized IoU of pairs of boxes, float32 [...], in [0, 2] (Rezatofighi et al., 2019, algorithm 2).

    Args:
        predicted: boxes [..., 4], (x1, y1, x2, y2) in continuous coordinates.
        target: boxes of the same shape.

    Raises:
        ValueError: the shapes differ.
    """
    return 1 - giou(jnp.asarray(predicted), jnp.asarray(target))


def l2_penalty(params: Any, pattern: str) -> jax.Array:
    """sum(w^2) / 2 over the parameters whose path ("F6/kernel") the regular expression matches, float32 [].

    Raises:
        ValueError: the expression matches no parameter; the message lists the paths.
    """
    mask = matches(params, pattern, "L2")
    chosen = [leaf for leaf, use in zip(*map(jax.tree.leaves, (params, mask)), strict=True) if use]
    return jnp.sum(jnp.stack([jnp.sum(jnp.square(at_least_float32(leaf))) for leaf in chosen])) / 2


PER_EXAMPLE: dict[str, Callable[..., jax.Array]] = {
    "cross_entropy": cross_entropy,
    "squared_error": lambda logits, labels, label_smoothing=0.0: squared_error(logits, labels),
}


def classification_loss(
    name: str = "cross_entropy",
    *,
    label_smoothing: float = 0.0,
    auxiliary_weight: float | optax.Schedule = 0.3,
) -> LossFn:
    """The loss function of a classifier, with auxiliary heads when the network has them.

    Args:
        name: "cross_entropy" or "squared_error" (on one-hot targets).
        label_smoothing: of the cross-entropy.
        auxiliary_weight: of each auxiliary head's loss (GoogLeNet's paper: .3); a number, or a function of the step.

    Returns:
        loss_fn with metrics "loss" and "accuracy".
    """
    if name not in PER_EXAMPLE:
        raise InvalidArgument(f"unknown loss '{name}': known are {', '.join(PER_EXAMPLE)}")
    if name != "cross_entropy" and label_smoothing:
        raise InvalidArgument(f"label smoothing is for cross_entropy, not for {name}")
    per_example = PER_EXAMPLE[name]

    def loss_fn(outputs: Outputs, batch: Batch, rng: jax.Array) -> tuple[jax.Array, Metrics]:
        del rng
        mask = batch["mask"]
        labels = _without_masked(batch["label"], mask)

        def losses_of(logits: jax.Array) -> jax.Array:
            return per_example(_without_masked(logits, mask), labels, label_smoothing=label_smoothing)

        weight = auxiliary_weight(outputs.step) if callable(auxiliary_weight) else auxiliary_weight
        losses = losses_of(outputs.prediction)
        for logits in outputs.auxiliary.values():
            losses += weight * losses_of(logits)
        loss = Mean.of(losses, mask)
        target = labels if labels.ndim == 1 else jnp.argmax(labels, axis=-1)
        hits = jnp.argmax(outputs.prediction, axis=-1) == target
        return loss.value(), {"loss": loss, "accuracy": Mean.of(hits, mask)}

    return loss_fn


def segmentation_loss(void: int) -> LossFn:
    """The loss function of a network that scores the classes of each pixel (Long et al., 2015, section 4): the mean
    cross-entropy over pixels.

    Logits are [batch, height, width, classes], batch["label"] int [batch, height, width]. Pixels of masked images and
    those with the label `void` have neither loss nor gradient. Metrics are "loss" and "accuracy", that of pixels.
    """

    def loss_fn(outputs: Outputs, batch: Batch, rng: jax.Array) -> tuple[jax.Array, Metrics]:
        del rng
        labels = batch["label"]
        chex.assert_equal_shape_prefix((outputs.prediction, labels), 3)
        counted = (labels != void) & (batch["mask"][:, None, None] != 0)
        labels = jnp.where(counted, labels, 0)
        logits = jnp.where(counted[..., None], at_least_float32(outputs.prediction), 0)
        loss = Mean.of(optax.softmax_cross_entropy_with_integer_labels(logits, labels), counted)
        return loss.value(), {"loss": loss, "accuracy": Mean.of(jnp.argmax(logits, axis=-1) == labels, counted)}

    return loss_fn


def _without_masked(values: jax.Array, mask: jax.Array) -> jax.Array:
    """`values` [batch, ...] with zeros where the mask is not set: there even NaN has neither value nor gradient."""
    return jnp.where(mask.reshape(-1, *[1] * (values.ndim - 1)) != 0, values, 0)
