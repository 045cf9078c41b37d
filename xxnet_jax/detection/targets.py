"""What the two stages of Faster R-CNN (Ren, He, Girshick and Sun, 2015, arXiv 1506.01497) learn, and from which boxes.

All of it is about one image, of fixed shapes with masks, for `jit` and `vmap`; random numbers come from a key. Boxes
are (x1, y1, x2, y2), continuous. Objects are padded; `present` says which are there, and the others, like those without
area, are nobody's target. Thresholds and numbers are those of the paper, and where it has none, of its code
(py-faster-rcnn). Nothing here is meant to be differentiated but the losses.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from xxnet_jax.boxes import pairwise_iou
from xxnet_jax.detection.boxes import FAST_RCNN_STDS, encode_boxes, inside_image, valid_boxes
from xxnet_jax.detection.detector import clip_to_window
from xxnet_jax.detection.nms import nms
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.losses import cross_entropy, smooth_l1

BACKGROUND, NEITHER = 0, -1


def chosen_at_random(key: jax.Array, candidates: jax.Array, count: jax.Array | int) -> jax.Array:
    """Up to `count` of the candidates, each with the same probability, bool [n].

    Args:
        key: of the draw: of random numbers in [0, 1), one for each, those with the largest are chosen.
        candidates: bool [n].
        count: may be traced.
    """
    draw = jnp.where(candidates, jax.random.uniform(key, candidates.shape), -1)
    order = jnp.argsort(-draw, stable=True)
    rank = jnp.zeros(candidates.shape, jnp.int32).at[order].set(jnp.arange(len(order), dtype=jnp.int32))
    return candidates & (rank < count)


def best_objects(boxes: jax.Array, objects: jax.Array, present: jax.Array) -> tuple[jax.Array, jax.Array]:
    """IoU of each box with the object that it overlaps most, [n], and which that is, int32 [n]; 0 and 0 without any."""
    if not objects.shape[0]:
        return jnp.zeros(boxes.shape[0], jnp.float32), jnp.zeros(boxes.shape[0], jnp.int32)
    overlap = jnp.where(present[None, :], pairwise_iou(boxes, objects), 0)
    return jnp.max(overlap, 1), jnp.argmax(overlap, 1).astype(jnp.int32)


# --- The first stage: anchors ----------------------------------------------------------------------------------------


def inside_window(boxes: jax.Array, window: jax.Array) -> jax.Array:
    """Which boxes lie within a box, bool [n]: section 3.3 trains on the anchors that lie within the image."""
    width, height = window[2] - window[0], window[3] - window[1]
    return inside_image(boxes - jnp.tile(window[:2], 2)[None], height, width)


def assign_anchors(
    anchors: jax.Array,
    usable: jax.Array,
    objects: jax.Array,
    present: jax.Array,
    *,
    positive: float = 0.7,
    negative: float = 0.3,
) -> tuple[jax.Array, jax.Array]:
    """Which anchors are objects (section 3.1.2): those with an IoU of `positive` with one, and for each object those
    with the highest IoU, if it is not 0. Those below `negative` with every object are background.

    Args:
        anchors: [n, 4].
        usable: bool [n]; the others are neither, and no object's best.
        objects: [m, 4]; m may be 0.
        present: bool [m].
        positive: see above.
        negative: see above.

    Returns:
        (labels, matched): int32 [n], 1 for objects, 0 for background, -1 for neither; and the object of each, int32
        [n]: the one that it overlaps most, of equal ones the first.
    """
    if not objects.shape[0]:
        return jnp.where(usable, BACKGROUND, NEITHER), jnp.zeros(anchors.shape[0], jnp.int32)
    overlap = jnp.where(usable[:, None] & present[None, :], pairwise_iou(anchors, objects), 0)
    of_anchor, of_object = jnp.max(overlap, 1), jnp.max(overlap, 0)
    best = jnp.any((overlap == of_object[None, :]) & (overlap > 0), 1)
    labels = jnp.where(of_anchor < negative, BACKGROUND, NEITHER)
    labels = jnp.where(best | (of_anchor >= positive), 1, labels)
    return jnp.where(usable, labels, NEITHER), jnp.argmax(overlap, 1).astype(jnp.int32)


def sample_anchors(key: jax.Array, labels: jax.Array, count: int = 256, objects: float = 0.5) -> jax.Array:
    """The labels of a random sample, -1 for the other anchors, int32 [n] (section 3.1.3).

    At most the part `objects` of `count` are objects; background fills up what they lack.

    Args:
        key: of the draw.
        labels: of `assign_anchors`.
        count: how many.
        objects: see above.
    """
    of_objects, of_background = jax.random.split(key)
    chosen = chosen_at_random(of_objects, labels == 1, int(objects * count))
    rest = chosen_at_random(of_background, labels == BACKGROUND, count - jnp.sum(chosen))
    return jnp.where(chosen | rest, labels, NEITHER)


def anchor_losses(
    logits: jax.Array, deltas: jax.Array, labels: jax.Array, targets: jax.Array, locations: int
) -> tuple[jax.Array, jax.Array]:
    """The two sums of the paper's equation 1, before the second is weighted by lambda (there 10), float32 [] each.

    The cross-entropy is divided by the number of sampled anchors (N_cls, 256), the smooth L1 distance of the objects'
    by the number of places of the map (N_reg, about 2,400 there).

    Args:
        logits: [n, 2], of background and object.
        deltas: [n, 4], as `encode_boxes` has them.
        labels: int [n], of `sample_anchors`.
        targets: [n, 4].
        locations: cells of the map.
    """
    sampled, is_object = labels >= 0, labels == 1
    classes = jnp.where(sampled, cross_entropy(logits, jnp.maximum(labels, 0)), 0)
    boxes = jnp.where(is_object, smooth_l1(deltas, targets), 0)
    return jnp.sum(classes) / jnp.maximum(jnp.sum(sampled), 1), jnp.sum(boxes) / locations


# --- Between the stages: proposals -----------------------------------------------------------------------------------


def propose(
    boxes: jax.Array,
    scores: jax.Array,
    window: jax.Array,
    *,
    min_size: float = 16.0,
    before: int = 12_000,
    after: int = 2_000,
    iou_threshold: float = 0.7,
) -> tuple[jax.Array, jax.Array]:
    """The proposals of the first stage (section 3.3): boxes are cut off at the edges of the image, small ones left
    out, the best `before` go through non-maximum suppression, and the best `after` are left.

    Args:
        boxes: [n, 4], anchors that the first stage has moved.
        scores: [n], the higher the likelier an object.
        window: [4], the image.
        min_size: least width and height; 16 pixels of the image before it was resized.
        before: 12,000 in training, 6,000 after it.
        after: 2,000 in training, 300 after it.
        iou_threshold: of the suppression.

    Returns:
        (proposals, valid): [after, 4] and bool [after], the best first; zeros where there are fewer.

    Raises:
        ValueError: before or after is below 1.
    """
    if min(before, after) < 1:
        raise InvalidArgument(f"proposals before and after suppression must be 1 or more, got {before} and {after}")
    boxes = clip_to_window(boxes, window)
    scores = jnp.where(valid_boxes(boxes, min_size=min_size), scores, -jnp.inf)
    scores, best = jax.lax.top_k(scores, min(before, scores.shape[0]))
    boxes = boxes[best]
    kept, valid = nms(boxes, scores, iou_threshold, after)
    return jnp.where(valid[:, None], boxes[kept], 0), valid


# --- The second stage: regions ---------------------------------------------------------------------------------------


class Regions(NamedTuple):
    """Regions that the second stage learns from.

    Attributes:
        boxes: float32 [count, 4].
        labels: int32 [count], 0 for background, class + 1 for objects, -1 where there is no region.
        targets: float32 [count, 4], what the regressor of the class should say; 0 if there is no object.
    """

    boxes: jax.Array
    labels: jax.Array
    targets: jax.Array


def sample_regions(
    key: jax.Array,
    proposals: jax.Array,
    valid: jax.Array,
    objects: jax.Array,
    labels: jax.Array,
    present: jax.Array,
    *,
    count: int = 128,
    foreground: float = 0.25,
    positive: float = 0.5,
    negative: tuple[float, float] = (0.1, 0.5),
) -> Regions:
    """A random sample of the proposals and of the objects themselves (Girshick, 2015, section 2.3).

    At most the part `foreground` of `count` has an IoU of `positive` with an object; background, with an IoU from
    `negative[0]` to below `negative[1]` with the object that it overlaps most, fills up what they lack. With few of
    these there are fewer regions. Objects are among the proposals as in py-faster-rcnn. Regions with an object come
    first, each kind in the order of the proposals. Targets are divided by .1, .1, .2, .2.

    Args:
        key: of the draw.
        proposals: [n, 4].
        valid: bool [n].
        objects: [m, 4]; m may be 0.
        labels: int [m], classes from 0 on.
        present: bool [m].
        count: how many.
        foreground: see above.
        positive: see above.
        negative: see above.
    """
    boxes = jnp.concatenate([proposals, objects])
    usable = jnp.concatenate([valid, present]) & valid_boxes(boxes)
    overlap, matched = best_objects(boxes, objects, present)
    of_foreground, of_background = jax.random.split(key)
    is_object = chosen_at_random(of_foreground, usable & (overlap >= positive), int(foreground * count))
    low, high = negative
    others = usable & (overlap >= low) & (overlap < high) & (overlap < positive)
    is_background = chosen_at_random(of_background, others, count - jnp.sum(is_object))
    kind = jnp.where(is_object, 2, jnp.where(is_background, 1, 0))
    kind = jnp.pad(kind, (0, max(0, count - len(boxes))))
    kind, place = jax.lax.top_k(kind, count)  # of equal ones the first
    place = jnp.minimum(place, len(boxes) - 1)
    if not objects.shape[0]:
        return Regions(boxes[place], jnp.where(kind == 1, BACKGROUND, NEITHER), jnp.zeros((count, 4), jnp.float32))
    found = matched[place]
    targets = encode_boxes(objects[found], boxes[place], stds=FAST_RCNN_STDS)
    of_class = jnp.where(kind == 2, labels[found] + 1, jnp.where(kind == 1, BACKGROUND, NEITHER))
    return Regions(boxes[place], of_class.astype(jnp.int32), jnp.where((kind == 2)[:, None], targets, 0))


def region_losses(
    logits: jax.Array, deltas: jax.Array, labels: jax.Array, targets: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Cross-entropy, and smooth L1 distance of the objects' boxes, each divided by the number of regions (Girshick,
    2015, equation 1), float32 [] each.

    Args:
        logits: [n, 1 + classes]; background is class 0.
        deltas: [n, classes, 4], in parts of the standard deviations of the targets.
        labels: int [n], of `Regions`.
        targets: [n, 4].
    """
    there, is_object = labels >= 0, labels > 0
    count = jnp.maximum(jnp.sum(there), 1)
    classes = jnp.where(there, cross_entropy(logits, jnp.maximum(labels, 0)), 0)
    own = jnp.take_along_axis(deltas, jnp.maximum(labels - 1, 0)[:, None, None], 1)[:, 0]
    boxes = jnp.where(is_object, smooth_l1(own, targets), 0)
    return jnp.sum(classes) / count, jnp.sum(boxes) / count
