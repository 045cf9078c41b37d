"""What all detectors are called with, and what they give: objects to learn from, detections, and how these are chosen.

A detector is a Flax module `detector(images, *, content=None, objects=None, train)`. Without objects it gives `Found`;
with them, what its loss is made of. Images are float32 [batch, height, width, channels]; `content`, float32 [batch, 4],
is the box of each image on the canvas, by default all of it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from xxnet_jax.boxes import clip
from xxnet_jax.detection.nms import batched_nms
from xxnet_jax.errors import InvalidArgument


class Objects(NamedTuple):
    """The objects of a batch to learn from.

    Attributes:
        boxes: float32 [batch, m, 4].
        labels: int32 [batch, m], classes from 0 on.
        present: bool [batch, m]; the others are padding.
    """

    boxes: jax.Array
    labels: jax.Array
    present: jax.Array


class Found(NamedTuple):
    """Detections of a batch, the surest of each image first; zeros and not valid where there are fewer.

    Attributes:
        boxes: float32 [batch, max_detections, 4], in pixels of the network's input.
        scores: float32 [batch, max_detections], probabilities.
        labels: int32 [batch, max_detections], classes from 0 on.
        valid: bool [batch, max_detections].
    """

    boxes: jax.Array
    scores: jax.Array
    labels: jax.Array
    valid: jax.Array


def check_call(objects: Objects | None, *, train: bool) -> None:
    """Refuse training without objects.

    Raises:
        ValueError: there are none.
    """
    if train and objects is None:
        raise InvalidArgument("a detector is trained with objects: give them, or train=False")


def whole_canvas(images: jax.Array) -> jax.Array:
    """The box of the canvas for each image of a batch, float32 [batch, 4]."""
    height, width = images.shape[1:3]
    return jnp.tile(jnp.asarray([[0, 0, width, height]], jnp.float32), (len(images), 1))


def clip_to_window(boxes: jax.Array, window: jax.Array) -> jax.Array:
    """The part of each box, [..., 4], that lies within a box [4]."""
    first = jnp.tile(window[:2], 2).reshape(*[1] * (boxes.ndim - 1), 4)
    return clip(boxes - first, window[3] - window[1], window[2] - window[0]) + first


def found_of_classes(
    boxes: jax.Array,
    scores: jax.Array,
    content: jax.Array,
    *,
    score_threshold: float,
    iou_threshold: float,
    max_detections: int,
) -> Found:
    """The best detections after non-maximum suppression among those of a class: each box counts for every class.

    Args:
        boxes: [batch, n, classes, 4], or [batch, n, 1, 4] for boxes that are the same for all classes.
        scores: [batch, n, classes]; -inf where there is no box.
        content: [batch, 4], to which boxes are cut off.
        score_threshold: least score.
        iou_threshold: above it the worse one of two boxes is dropped.
        max_detections: of an image.
    """
    classes = scores.shape[-1]
    boxes = jnp.broadcast_to(boxes, (*scores.shape, 4))
    labels = jnp.broadcast_to(jnp.arange(classes, dtype=jnp.int32)[None], scores.shape[1:]).reshape(-1)
    scores = jnp.where(scores >= score_threshold, scores, -jnp.inf)

    def of_image(boxes: jax.Array, scores: jax.Array, window: jax.Array) -> Found:
        boxes, scores = clip_to_window(boxes.reshape(-1, 4), window), scores.reshape(-1)
        return taken(boxes, scores, labels, *batched_nms(boxes, scores, labels, iou_threshold, max_detections))

    return jax.vmap(of_image)(boxes, scores, content)


def taken(boxes: jax.Array, scores: jax.Array, labels: jax.Array, kept: jax.Array, valid: jax.Array) -> Found:
    """The kept detections of an image, without the axis of the batch.

    Args:
        boxes, scores, labels: [n, 4], [n] and [n].
        kept, valid: int and bool [max_detections], as of `nms`.
    """
    return Found(
        jnp.where(valid[:, None], boxes[kept], 0),
        jnp.where(valid, scores[kept], 0),
        jnp.where(valid, labels[kept], 0),
        valid,
    )
