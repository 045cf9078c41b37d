"""Anchors: boxes of a few shapes at every place of a feature map.

Those of Faster R-CNN (Ren et al., 2015, section 3.1.1) are inclusive pixels, as its code writes them:
`xxnet_jax.boxes.pixels_to_continuous` converts. Those of YOLOv2 are widths and heights alone, and come from the objects
of a dataset by clustering. NumPy: anchors are constants of a network.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from xxnet_jax.boxes import shape_iou
from xxnet_jax.errors import InvalidArgument

RATIOS, SCALES, BASE_SIZE = (0.5, 1.0, 2.0), (8.0, 16.0, 32.0), 16

# (width, height) in cells of 32 pixels: Darknet's yolov2-voc.cfg and yolov2.cfg (Redmon and Farhadi, 2017, section 2).
YOLO_V2_ANCHORS = {
    "voc": ((1.3221, 1.73145), (3.19275, 4.00944), (5.05587, 8.09892), (9.47112, 4.84053), (11.2364, 10.0071)),
    "coco": ((0.57273, 0.677385), (1.87446, 2.06253), (3.33843, 5.47434), (7.88282, 3.52778), (9.77052, 9.16828)),
}


def generate_anchors(
    ratios: Sequence[float] = RATIOS, scales: Sequence[float] = SCALES, base_size: int = BASE_SIZE
) -> np.ndarray:
    """The anchors around the first cell of a map, float32 [ratios * scales, 4], inclusive pixels; scales run faster.

    As Faster R-CNN's `generate_anchors.py`: the sides of the base of each ratio are rounded to pixels before they are
    scaled, so the ratios .5, 1 and 2 are 12/23, 1 and 2, and the largest boxes are 736 x 384 and 352 x 704. (The Matlab
    original counts pixels from 1, and has 1 more in every number.)

    Args:
        ratios: height / width.
        scales: by how much the base is enlarged.
        base_size: side of the base, the stride of the map.

    Raises:
        ValueError: no ratio or no scale, or one that is not above 0.
    """
    for name, values in (("ratios", ratios), ("scales", scales), ("base_size", [base_size])):
        if not len(values) or not all(value > 0 for value in values):
            raise InvalidArgument(f"expected {name} above 0, one at least, got {values}")
    ratio = np.asarray(ratios, np.float64)
    width = np.round(np.sqrt(base_size**2 / ratio))
    base = np.stack([width, np.round(width * ratio)], -1)
    sides = (base[:, None, :] * np.asarray(scales, np.float64)[None, :, None]).reshape(-1, 2)
    centre, reach = (base_size - 1) / 2, (sides - 1) / 2
    return np.concatenate([centre - reach, centre + reach], -1).astype(np.float32)


def tile_anchors(anchors: np.ndarray, height: int, width: int, stride: int = BASE_SIZE) -> np.ndarray:
    """Anchors of all cells of a map, [height * width * anchors, 4]: row by row, and the anchors of a cell together.

    It is the order of a head's output [height, width, anchors * k] reshaped to [-1, k].

    Args:
        anchors: [anchors, 4], of the first cell; inclusive pixels or continuous.
        height: of the map; Faster R-CNN's VGG-16 has 38 x 50 cells for an image of 600 x 800 (pooling rounds up).
        width: of the map.
        stride: of the map, in pixels of the image.

    Raises:
        ValueError: anchors of another shape, or a size below 0 or a stride of 0.
    """
    anchors = np.asarray(anchors)
    if anchors.ndim != 2 or anchors.shape[1] != 4 or min(height, width) < 0 or stride <= 0:
        raise InvalidArgument(
            f"expected anchors [n, 4], a size of 0 or more and a stride above 0, got {anchors.shape}, {height} x "
            f"{width}, stride {stride}"
        )
    y, x = np.meshgrid(stride * np.arange(height), stride * np.arange(width), indexing="ij")
    shifts = np.stack([x, y, x, y], -1).reshape(-1, 1, 4).astype(anchors.dtype)
    return (shifts + anchors[None]).reshape(-1, 4)


class Clusters(NamedTuple):
    """Shapes that stand for those of many objects.

    Attributes:
        anchors: float64 [k, 2], (width, height), the smallest first.
        average_iou: mean over the objects of the IoU with the best anchor, their centres together.
    """

    anchors: np.ndarray
    average_iou: float


def cluster_anchors(shapes: np.ndarray, k: int, *, seed: int = 0, starts: int = 10, rounds: int = 100) -> Clusters:
    """Anchors by k-means with the distance 1 - IoU (Redmon and Farhadi, 2017, section 2, "Dimension Clusters").

    The distance between shapes is taken with their centres together, so that large boxes do not count for more. The
    paper does not say what the centre of a cluster is; here it is the mean of widths and heights, as in k-means. As
    that is not the shape with the least distance to them, the best centres of all rounds are kept. The first centres
    are drawn one after another, each with a probability that grows with the square of the distance to those before it
    (Arthur and Vassilvitskii, 2007); a cluster that became empty gets the shape that is farthest from its own.

    Args:
        shapes: [n, 2], (width, height) in any unit.
        k: how many anchors.
        seed: of the draws.
        starts: how often it begins anew; the best result is taken.
        rounds: of each start, at most.

    Raises:
        ValueError: shapes that are not [n, 2], finite and above 0, or k that is not in 1..n.
    """
    shapes = np.asarray(shapes, np.float64)
    if shapes.ndim != 2 or shapes.shape[1] != 2 or not (np.isfinite(shapes) & (shapes > 0)).all():
        raise InvalidArgument(f"expected shapes [n, 2] (width, height), finite and above 0, got {shapes.shape}")
    if not 1 <= k <= len(shapes):
        raise InvalidArgument(f"expected 1 to {len(shapes)} anchors for {len(shapes)} shapes, got {k}")
    if min(starts, rounds) < 1:
        raise InvalidArgument(f"starts and rounds must be 1 or more, got {starts} and {rounds}")
    rng = np.random.default_rng(seed)
    best = max((_clustered(shapes, k, rng, rounds) for _ in range(starts)), key=lambda found: found.average_iou)
    order = np.argsort(best.anchors.prod(1), kind="stable")
    return Clusters(best.anchors[order], best.average_iou)


def _clustered(shapes: np.ndarray, k: int, rng: np.random.Generator, rounds: int) -> Clusters:
    """One start of `cluster_anchors`."""
    centres = _first_centres(shapes, k, rng)
    best = Clusters(centres, -1.0)
    for _ in range(rounds):
        overlap = shape_iou(shapes, centres)
        own, nearest = overlap.max(1), overlap.argmax(1)
        if own.mean() > best.average_iou:
            best = Clusters(centres, float(own.mean()))
        farthest = iter(np.argsort(own, kind="stable"))
        members = [shapes[nearest == cluster] for cluster in range(k)]
        moved = np.stack([each.mean(0) if len(each) else shapes[next(farthest)] for each in members])
        if np.array_equal(moved, centres):
            break
        centres = moved
    return best


def _first_centres(shapes: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    chosen = [int(rng.integers(len(shapes)))]
    while len(chosen) < k:
        distance = np.square(1 - shape_iou(shapes, shapes[chosen]).max(1))
        distance[chosen] = 0  # rounding could leave a little
        total = distance.sum()
        others = np.setdiff1d(np.arange(len(shapes)), chosen)  # all are alike: any other one
        chosen.append(int(rng.choice(len(shapes), p=distance / total) if total > 0 else rng.choice(others)))
    return shapes[chosen]
