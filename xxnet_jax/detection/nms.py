"""Non-maximum suppression of boxes and of gradients, in JAX: fixed shapes and masks, under `jit` and `vmap`.

The best box is kept, what overlaps it by more than a threshold is dropped, and so on with the best of the rest. What
holds everywhere: boxes are (x1, y1, x2, y2) in continuous coordinates, or pixels with `inclusive=True`; of equal scores
the lower index comes first; a score of NaN or -inf, with which padding is marked, is never chosen and suppresses
nothing; a box without area overlaps nothing, so it neither suppresses nor is suppressed, as one with a coordinate that
is NaN; boxes may lie outside the image. More leading axes are batches. Nothing here is meant to be differentiated.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from xxnet_jax.arrays import Array
from xxnet_jax.boxes import pairwise_iou
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.precision import at_least_float32

TILE = 256  # boxes that are decided together
EDGE = 128  # in the map of `gradient_nms`


def nms(
    boxes: Array, scores: Array, iou_threshold: float, max_outputs: int, *, inclusive: bool = False
) -> tuple[jax.Array, jax.Array]:
    """Greedy non-maximum suppression in the order of scores, regardless of classes.

    Args:
        boxes: [..., n, 4]; n may be 0.
        scores: [..., n].
        iou_threshold: a box is dropped if its IoU with a kept one is above this; may be traced.
        max_outputs: the first so many are kept.
        inclusive: coordinates are pixels.

    Returns:
        (indices, valid): int32 and bool [..., max_outputs]. Indices of the kept boxes, the best first; where fewer are
        kept the rest is 0 and not valid.

    Raises:
        ValueError: shapes that do not fit each other, or max_outputs < 1.
    """
    boxes, scores = _checked(boxes, scores, max_outputs)
    function = functools.partial(_greedy, iou_threshold=iou_threshold, max_outputs=max_outputs, inclusive=inclusive)
    return _batched(function, boxes.ndim - 2)(boxes, scores, None)


def batched_nms(
    boxes: Array,
    scores: Array,
    labels: Array,
    iou_threshold: float,
    max_outputs: int,
    *,
    inclusive: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """`nms` in which boxes of different classes do not meet; the outputs are the best of all classes together.

    Classes are compared, boxes are not moved apart: no digits are lost.

    Args:
        boxes: [..., n, 4].
        scores: [..., n].
        labels: int [..., n], classes.
        iou_threshold: of a pair of the same class.
        max_outputs: in all.
        inclusive: coordinates are pixels.

    Returns:
        (indices, valid): int32 and bool [..., max_outputs], as of `nms`.

    Raises:
        ValueError: shapes that do not fit each other, or max_outputs < 1.
    """
    boxes, scores = _checked(boxes, scores, max_outputs)
    labels = jnp.asarray(labels)
    if labels.shape != scores.shape:
        raise InvalidArgument(f"expected labels of the shape of the scores {scores.shape}, got {labels.shape}")
    function = functools.partial(_greedy, iou_threshold=iou_threshold, max_outputs=max_outputs, inclusive=inclusive)
    return _batched(function, boxes.ndim - 2)(boxes, scores, labels)


def zero_suppressed(
    boxes: Array,
    scores: Array,
    iou_threshold: float,
    score_threshold: float = 0.0,
    *,
    inclusive: bool = False,
) -> jax.Array:
    """Scores of all classes with those of suppressed boxes set to 0, [..., n, classes]: how Darknet ends YOLO.

    Scores below the threshold become 0, then non-maximum suppression of each class sets more of them to 0 and deletes
    no box. A box is a detection if its best score is not 0.

    Args:
        boxes: [..., n, 4].
        scores: [..., n, classes], not negative.
        iou_threshold: above it the lower score becomes 0.
        score_threshold: below it a score becomes 0.
        inclusive: coordinates are pixels.

    Raises:
        ValueError: shapes that do not fit each other.
    """
    boxes, scores = jnp.asarray(boxes), at_least_float32(jnp.asarray(scores))
    if boxes.ndim < 2 or boxes.shape[-1] != 4 or scores.shape[:-1] != boxes.shape[:-1]:
        raise InvalidArgument(f"expected boxes [..., n, 4] and scores [..., n, classes], got {_shapes(boxes, scores)}")
    n = boxes.shape[-2]
    if n == 0:
        return scores

    def of_class(boxes: Array, scores: Array) -> jax.Array:
        ranked = jnp.where((scores >= score_threshold) & (scores > 0), scores, -jnp.inf)
        chosen, valid = _greedy(boxes, ranked, None, iou_threshold=iou_threshold, max_outputs=n, inclusive=inclusive)
        kept = jnp.zeros(n, bool).at[jnp.where(valid, chosen, n)].set(True, mode="drop")
        return jnp.where(kept, scores, 0)

    return _batched(jax.vmap(of_class, (None, -1), -1), boxes.ndim - 2)(boxes, scores)


def soft_nms(
    boxes: Array,
    scores: Array,
    max_outputs: int,
    *,
    method: Literal["linear", "gaussian"] = "linear",
    iou_threshold: float = 0.3,
    sigma: float = 0.5,
    score_threshold: float = 0.001,
    inclusive: bool = False,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Non-maximum suppression that lowers scores instead of dropping boxes (Bodla et al., 2017, equations 2 and 3).

    Each time the best box is taken, the scores of the rest are multiplied by 1 - IoU where it is above the threshold
    ("linear"), or by exp(-IoU^2 / sigma) ("gaussian"). A box whose score is below `score_threshold` is never taken.
    (The authors' code asks that of boxes only whose score it has just lowered, so one that overlaps nothing passes
    with any score.)

    Args:
        boxes: [..., n, 4]; n may be 0.
        scores: [..., n], not negative.
        max_outputs: how many boxes are taken at most; each is a step of a loop.
        method: "linear" or "gaussian".
        iou_threshold: of "linear".
        sigma: of "gaussian".
        score_threshold: see above.
        inclusive: coordinates are pixels, as in the authors' code.

    Returns:
        (indices, scores, valid): int32, float and bool [..., max_outputs], in the order in which they were taken, with
        the lowered scores, which never rise; 0, 0 and False where there is none.

    Raises:
        ValueError: shapes that do not fit each other, an unknown method, sigma <= 0 or max_outputs < 1.
    """
    boxes, scores = _checked(boxes, scores, max_outputs)
    if method not in ("linear", "gaussian"):
        raise InvalidArgument(f"unknown method '{method}': known are linear and gaussian; nms drops boxes instead")
    if sigma <= 0:
        raise InvalidArgument(f"sigma must be above 0, got {sigma}")

    def weight(overlap: jax.Array) -> jax.Array:
        if method == "gaussian":
            return jnp.exp(-jnp.square(overlap) / sigma)
        return jnp.where(overlap > iou_threshold, 1 - overlap, 1)

    def of_image(boxes: Array, scores: Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        def take(left: jax.Array, _: None) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array]]:
            best = jnp.argmax(left).astype(jnp.int32)
            score = left[best]
            valid = score > -jnp.inf
            overlap = pairwise_iou(boxes[best][None], boxes, inclusive=inclusive)[0]
            lowered = usable(left * jnp.where(jnp.isnan(overlap), 1, weight(overlap)))
            left = jnp.where(valid, lowered.at[best].set(-jnp.inf), left)
            return left, (jnp.where(valid, best, 0), jnp.where(valid, score, 0), valid)

        def usable(scores: Array) -> jax.Array:
            return jnp.where(scores >= score_threshold, scores, -jnp.inf)  # also for NaN, and for taken boxes

        return jax.lax.scan(take, usable(scores), None, length=max_outputs)[1]

    if boxes.shape[-2] == 0:
        empty = jnp.zeros((*scores.shape[:-1], max_outputs), jnp.int32)
        return empty, empty.astype(scores.dtype), empty.astype(bool)
    return _batched(of_image, boxes.ndim - 2)(boxes, scores)


def gradient_nms(dx: Array, dy: Array) -> jax.Array:
    """Pixels whose gradient is largest along its own direction, uint8 [..., height, width]: 128 there and else 0.

    The thinning step of Canny's edge detector (Canny, 1986, section VIII): the magnitude at a pixel is compared with
    the two at which the line along the gradient leaves the ring of its eight neighbours, interpolated linearly between
    a diagonal neighbour and a straight one. A pixel that is less than either of them is no edge, equal ones stay. The
    outermost pixels, which lack neighbours, and those whose gradient is 0 or NaN are no edges.

    Args:
        dx: [..., height, width], derivative to the right.
        dy: derivative downwards, of the same shape.

    Raises:
        ValueError: the shapes differ, or have less than two axes.
    """
    dx, dy = (at_least_float32(jnp.asarray(array)) for array in (dx, dy))
    if dx.shape != dy.shape or dx.ndim < 2:
        raise InvalidArgument(f"expected two arrays [..., height, width] of the same shape, got {_shapes(dx, dy)}")
    if min(dx.shape[-2:]) < 3:
        return jnp.zeros(dx.shape, jnp.uint8)
    height, width = dx.shape[-2:]
    magnitude = jnp.hypot(dx, dy)
    dx, dy = dx[..., 1:-1, 1:-1], dy[..., 1:-1, 1:-1]

    def neighbour(down: int, right: int) -> jax.Array:
        return magnitude[..., 1 + down : height - 1 + down, 1 + right : width - 1 + right]

    steep = jnp.abs(dy) > jnp.abs(dx)
    falling = dx * dy > 0  # towards the lower right, or the upper left
    large, small = jnp.maximum(jnp.abs(dx), jnp.abs(dy)), jnp.minimum(jnp.abs(dx), jnp.abs(dy))
    share = small / jnp.where(large > 0, large, 1)  # of the diagonal neighbour
    centre = neighbour(0, 0)
    edge = centre > 0
    for side in (-1, 1):
        straight = jnp.where(steep, neighbour(side, 0), neighbour(0, side))
        # side 1 is below for a steep direction, and on the right for a flat one
        other = jnp.where(steep, neighbour(side, -side), neighbour(-side, side))
        diagonal = jnp.where(falling, neighbour(side, side), other)
        edge &= centre >= share * diagonal + (1 - share) * straight
    edge = jnp.where(edge, EDGE, 0).astype(jnp.uint8)
    return jnp.pad(edge, [(0, 0)] * (edge.ndim - 2) + [(1, 1), (1, 1)])


def _greedy(
    boxes: Array,
    scores: Array,
    groups: jax.Array | None,
    *,
    iou_threshold: float | jax.Array,
    max_outputs: int,
    inclusive: bool,
) -> tuple[jax.Array, jax.Array]:
    """`nms` of boxes [n, 4], of which only those of the same group meet.

    Boxes in the order of scores are decided a tile at a time. First those are dropped that overlap a box which was kept
    before; only as many kept boxes are looked at as there are. Within the tile, a box is kept if no kept one before it
    overlaps it: iterated from "all are kept", after k rounds that is right for all boxes on which chains of at most k
    overlaps end, and when nothing changes for all. The loop ends when enough boxes are kept.
    """
    count = scores.shape[0]
    if count == 0:
        return jnp.zeros(max_outputs, jnp.int32), jnp.zeros(max_outputs, bool)
    tile = min(TILE, count)
    padding = -count % tile
    room = max_outputs + -max_outputs % tile
    usable = scores > -jnp.inf
    order = jnp.argsort(jnp.where(usable, -scores, jnp.inf), stable=True).astype(jnp.int32)
    total = jnp.sum(usable)

    def ranked(values: jax.Array) -> jax.Array:
        values = values[order]
        return jnp.pad(values, [(0, padding)] + [(0, 0)] * (values.ndim - 1))

    table = (ranked(boxes),) if groups is None else (ranked(boxes), ranked(groups))
    place = jnp.arange(tile, dtype=jnp.int32)
    earlier = place[:, None] < place[None, :]

    def rows(table: tuple[jax.Array, ...], start: jax.Array) -> tuple[jax.Array, ...]:
        return tuple(jax.lax.dynamic_slice_in_dim(column, start, tile) for column in table)

    def overlaps(a: tuple[jax.Array, ...], b: tuple[jax.Array, ...]) -> jax.Array:
        found = pairwise_iou(a[0], b[0], inclusive=inclusive) > iou_threshold
        return found if groups is None else found & (a[1][:, None] == b[1][None, :])

    def hit(by: jax.Array, overlap: jax.Array) -> jax.Array:
        # A product of matrices of 0 and 1: XLA's reduction of a fused comparison is ten times slower on CPU.
        return by.astype(jnp.float32) @ overlap.astype(jnp.float32) > 0

    def decide(state: tuple[jax.Array, jax.Array, tuple[jax.Array, ...], jax.Array]) -> Any:
        start, number, kept, indices = state
        here = rows(table, start)

        def drop(block: jax.Array, dropped: jax.Array) -> jax.Array:
            known = block * tile + place < number
            return dropped | hit(known, overlaps(rows(kept, block * tile), here))

        dropped = jax.lax.fori_loop(0, (number + tile - 1) // tile, drop, jnp.zeros(tile, bool))
        candidates = (start + place < total) & ~dropped
        within = overlaps(here, here) & earlier

        def again(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            new = candidates & ~hit(state[0], within)
            return new, jnp.any(new != state[0])

        chosen, _ = jax.lax.while_loop(lambda state: state[1], again, (candidates, jnp.asarray(True)))
        target = jnp.where(chosen, number + jnp.cumsum(chosen, dtype=jnp.int32) - 1, room)
        kept = tuple(old.at[target].set(new, mode="drop") for old, new in zip(kept, here, strict=True))
        indices = indices.at[target].set(start + place, mode="drop")
        return start + tile, number + jnp.sum(chosen, dtype=jnp.int32), kept, indices

    zero = jnp.zeros((), jnp.int32)
    empty = tuple(jnp.zeros((room, *column.shape[1:]), column.dtype) for column in table)
    _, number, _, ranks = jax.lax.while_loop(
        lambda state: (state[0] < total) & (state[1] < max_outputs),
        decide,
        (zero, zero, empty, jnp.zeros(room, jnp.int32)),
    )
    valid = jnp.arange(max_outputs) < number
    return jnp.where(valid, order[ranks[:max_outputs]], 0), valid


def _batched(function: Callable[..., Any], axes: int) -> Callable[..., Any]:
    """The function of one image, of images with so many leading axes."""
    for _ in range(axes):
        function = jax.vmap(function)
    return function


def _checked(boxes: Array, scores: Array, max_outputs: int) -> tuple[jax.Array, jax.Array]:
    """Both as arrays of JAX, scores in float32 or more."""
    boxes, scores = jnp.asarray(boxes), at_least_float32(jnp.asarray(scores))
    if boxes.ndim < 2 or boxes.shape[-1] != 4 or scores.shape != boxes.shape[:-1]:
        raise InvalidArgument(f"expected boxes [..., n, 4] and scores [..., n], got {_shapes(boxes, scores)}")
    if max_outputs < 1:
        raise InvalidArgument(f"max_outputs must be 1 or more, got {max_outputs}")
    return boxes, scores


def _shapes(first: jax.Array, second: jax.Array) -> str:
    return f"{first.shape} and {second.shape}"
