"""Anchors: boxes of a few shapes at every place of a feature map.

Those of Faster R-CNN (Ren et al., 2015, section 3.1.1) are inclusive pixels, as its code writes them:
`xxnet_jax.boxes.pixels_to_continuous` converts. Those of YOLOv2 are widths and heights alone. NumPy: anchors are
constants of a network.
"""

from collections.abc import Sequence

import numpy as np

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
