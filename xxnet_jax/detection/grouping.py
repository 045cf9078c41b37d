"""Selective search (Uijlings, van de Sande, Gevers and Smeulders, Selective Search for Object Recognition, IJCV 2013).

An image is cut into small regions (Felzenszwalb and Huttenlocher, 2004, by scikit-image). The two most similar
neighbours become one region, then again the two most similar, until the whole image is one. The rectangles around all
regions that ever were are the windows. This is done by several strategies: in several colour spaces, by several
measures of similarity, from coarser and finer regions; their windows are ranked together.

What the paper leaves open, and how it is here: regions are neighbours if pixels of them touch, at corners too, which
are the edges of the segmentation's graph; of equally similar pairs the one with the older regions goes first; colour
histograms divide the range that a colour space can have, texture histograms the range from 0 to the strongest response
of a channel in the image.
"""

import hashlib
import heapq
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xxnet_jax.data.images import with_channels
from xxnet_jax.errors import InvalidArgument, UnknownName, XXNetError
from xxnet_jax.files import make_folder, read_npz, write_npz

COLOUR_BINS = 25  # of each channel: 75 in all
TEXTURE_BINS = 10  # of each direction of each channel: 240 in all
DIRECTIONS = 8  # of the derivatives
TEXTURE_SIGMA = 1.0  # standard deviation of the Gaussian that is differentiated, in pixels
NEEDS_EXTRA = XXNetError("scikit-image is not installed: pip install 'xxnet_jax[detection]'")
FORMAT = 1  # of stored windows; to be raised when the same settings give other windows

# Colour, texture, size, fill: which of the four similarities are summed (section 3.2).
MEASURES = {
    "CTSF": (True, True, True, True),
    "TSF": (False, True, True, True),
    "CSF": (True, False, True, True),
    "CTS": (True, True, True, False),
    "CTF": (True, True, False, True),
    "C": (True, False, False, False),
    "T": (False, True, False, False),
    "S": (False, False, True, False),
    "F": (False, False, False, True),
}


@dataclass(frozen=True)
class SearchSettings:
    """The strategies, all combinations of the first three, and what becomes of their windows. By default "fast".

    Attributes:
        colour_spaces: names of `COLOUR_SPACES`.
        measures: names of `MEASURES`.
        thresholds: k of the segmentation, and its smallest region in pixels, as in the authors' program.
        sigma: standard deviation of the blur before the segmentation.
        smallest_side: of a window, in pixels: smaller ones are left out, but for the whole image.
        seed: of the random numbers of the ranking.
    """

    colour_spaces: tuple[str, ...] = ("hsv", "lab")
    measures: tuple[str, ...] = ("CTSF", "TSF")
    thresholds: tuple[int, ...] = (50, 100)
    sigma: float = 0.8
    smallest_side: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for kind, names, known in (
            ("colour space", self.colour_spaces, COLOUR_SPACES),
            ("measure of similarity", self.measures, MEASURES),
        ):
            for name in names:
                if name not in known:
                    raise UnknownName(kind, name, known)
        if not (self.colour_spaces and self.measures and self.thresholds):
            raise InvalidArgument("selective search needs a colour space, a measure and a threshold at least")
        if min(self.thresholds) < 1 or self.sigma < 0 or self.smallest_side < 0 or self.seed < 0:
            raise InvalidArgument("thresholds must be 1 or more; sigma, smallest_side and seed 0 or more")


def selective_search(
    image: np.ndarray,
    settings: SearchSettings | str = "fast",
    *,
    max_windows: int | None = None,
    cache: Path | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Windows that may hold objects, the likeliest first.

    A region that is made i-th from the end of its grouping, the whole image first, gets the value i times a random
    number in [0, 1) (section 3.3 of the paper); windows are sorted by it, and only the best of equal ones stays. The
    score is 1 / (1 + value).

    Args:
        image: uint8 [height, width, 1 or 3].
        settings: "fast" (8 strategies) or "quality" (80), as the paper calls its two, or others.
        max_windows: at most so many; by default all.
        cache: folder that keeps all windows of an image, found again by its pixels and the settings.

    Returns:
        Boxes, float32 [n, 4], (x1, y1, x2, y2) in continuous coordinates, and scores, float32 [n] in (0, 1].

    Raises:
        ValueError: not such an image, unknown settings, or a damaged file in the cache.
        XXNetError: scikit-image is not installed.
    """
    if isinstance(settings, str):
        if settings not in SETTINGS:
            raise UnknownName("settings of selective search", settings, SETTINGS)
        settings = SETTINGS[settings]
    if max_windows is not None and max_windows < 1:
        raise InvalidArgument(f"max_windows must be 1 or more, got {max_windows}")
    image = checked_image(image, 3)
    if cache is None:
        boxes, scores = _search(image, settings)
    else:
        file = cache / f"{_digest(image, settings)}.npz"
        if file.exists():
            boxes, scores = read_npz(file, "boxes", "scores")
        else:
            boxes, scores = _search(image, settings)
            make_folder(cache)
            write_npz(file, boxes=boxes, scores=scores)
    return boxes[:max_windows], scores[:max_windows]


def checked_image(image: np.ndarray, channels: int) -> np.ndarray:
    """An image, uint8 [height, width, 1 or 3], with so many channels.

    Raises:
        ValueError: it is something else.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] not in (1, 3) or 0 in image.shape:
        raise InvalidArgument(f"expected an image uint8 [height, width, 1 or 3], got {image.dtype} {list(image.shape)}")
    return with_channels(image, channels)


def _search(image: np.ndarray, settings: SearchSettings) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(settings.seed)
    found, values = [], []
    for space in settings.colour_spaces:
        converted = COLOUR_SPACES[space](image)
        for threshold in settings.thresholds:
            labels = graph_segmentation(converted, threshold, settings.sigma, threshold)
            regions, pairs = describe_regions(converted, labels)
            for measure in settings.measures:
                boxes = merge_regions(regions, pairs, measure).boxes[::-1]
                found.append(boxes)
                values.append(rng.random(len(boxes)) * np.arange(1, len(boxes) + 1))
    height, width = image.shape[:2]
    return _ranked(np.concatenate(found), np.concatenate(values), (width, height), settings.smallest_side)


def _ranked(
    boxes: np.ndarray, values: np.ndarray, whole: tuple[int, int], smallest_side: float
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [n, 4] in the order of their values [n], each once and none too small; and their scores."""
    order = np.argsort(values, kind="stable")
    boxes, values = boxes[order], values[order]
    sides = boxes[:, 2:] - boxes[:, :2]
    large = (sides >= smallest_side).all(1) | (sides == whole).all(1)
    boxes, values = boxes[large], values[large]
    _, first = np.unique(boxes, axis=0, return_index=True)
    kept = np.sort(first)
    return boxes[kept].astype(np.float32), (1 / (1 + values[kept])).astype(np.float32)


# --- Stored windows --------------------------------------------------------------------------------------------------


def _digest(image: np.ndarray, settings: SearchSettings) -> str:
    """A name for what the windows depend on."""
    about = json.dumps([FORMAT, image.shape, asdict(settings)], sort_keys=True)
    return hashlib.sha256(about.encode() + np.ascontiguousarray(image).tobytes()).hexdigest()


# --- Regions ---------------------------------------------------------------------------------------------------------


class Regions(NamedTuple):
    """What is known of each region.

    Attributes:
        sizes: number of pixels, float64 [n].
        boxes: rectangles around them in continuous coordinates, float64 [n, 4].
        colours: histograms of sum 1, float64 [n, channels * 25].
        textures: histograms of sum 1, float64 [n, channels * 8 * 10].
        image_size: pixels of the image.
    """

    sizes: np.ndarray
    boxes: np.ndarray
    colours: np.ndarray
    textures: np.ndarray
    image_size: int


def graph_segmentation(image: np.ndarray, scale: float, sigma: float = 0.8, min_size: int = 20) -> np.ndarray:
    """Felzenszwalb and Huttenlocher, Efficient Graph-Based Image Segmentation, 2004.

    Args:
        image: uint8 [height, width, channels], or floating from 0 to 1.
        scale: k of the paper, for values from 0 to 255: larger regions with larger numbers.
        sigma: standard deviation of the blur before.
        min_size: pixels of the smallest region.

    Returns:
        The region of each pixel, int32 [height, width], numbered from 0 in the order of their first pixels.

    Raises:
        XXNetError: scikit-image is not installed.
    """
    try:
        from skimage.segmentation import felzenszwalb
    except ImportError as error:
        raise NEEDS_EXTRA from error
    labels = felzenszwalb(image, scale=scale, sigma=sigma, min_size=min_size, channel_axis=-1)
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    numbers = np.empty(len(first), np.int32)
    numbers[np.argsort(first)] = np.arange(len(first))
    return numbers[inverse].reshape(labels.shape)


def describe_regions(image: np.ndarray, labels: np.ndarray) -> tuple[Regions, np.ndarray]:
    """The regions of a segmentation, and which of them touch.

    Args:
        image: floating [height, width, channels] from 0 to 1.
        labels: region of each pixel, int [height, width], all numbers from 0 on.

    Returns:
        The regions, and pairs of neighbours, int [pairs, 2], the smaller number first, each once.
    """
    number = int(labels.max()) + 1
    sizes = np.bincount(labels.ravel(), minlength=number).astype(np.float64)
    colours = _histograms(np.moveaxis(image, -1, 0), labels, COLOUR_BINS, sizes)
    textures = _histograms(_responses(image), labels, TEXTURE_BINS, sizes)
    return Regions(sizes, _boxes(labels, number), colours, textures, labels.size), _neighbours(labels, number)


def _histograms(planes: np.ndarray, labels: np.ndarray, bins: int, sizes: np.ndarray) -> np.ndarray:
    """Histograms of planes [p, height, width] from 0 to 1 for each region, [regions, p * bins] of sum 1."""
    first = labels.ravel().astype(np.int64) * bins
    counts = [
        np.bincount(first + np.minimum((plane.ravel() * bins).astype(np.int64), bins - 1), minlength=len(sizes) * bins)
        for plane in planes
    ]
    stacked = np.stack([count.reshape(-1, bins) for count in counts], 1).reshape(len(sizes), -1)
    return stacked / (len(planes) * sizes[:, None])


def _responses(image: np.ndarray) -> np.ndarray:
    """Positive parts of the Gaussian derivatives in eight directions, [channels * 8, height, width] from 0 to 1."""
    from scipy.ndimage import gaussian_filter1d

    planes = []
    for channel in np.moveaxis(image, -1, 0):
        down, right = (
            gaussian_filter1d(gaussian_filter1d(channel, TEXTURE_SIGMA, axis=1 - axis), TEXTURE_SIGMA, axis, order=1)
            for axis in (0, 1)
        )
        angles = 2 * np.pi / DIRECTIONS * np.arange(DIRECTIONS)
        along = np.stack([np.maximum(np.cos(angle) * right + np.sin(angle) * down, 0) for angle in angles])
        planes.append(along / max(along.max(), np.finfo(np.float64).tiny))
    return np.concatenate(planes)


def _boxes(labels: np.ndarray, number: int) -> np.ndarray:
    rows, columns = np.indices(labels.shape)
    boxes = np.empty((number, 4))
    for place, values in ((0, columns), (1, rows)):
        low, high = np.full(number, max(labels.shape)), np.zeros(number, np.int64)
        np.minimum.at(low, labels, values)
        np.maximum.at(high, labels, values)
        boxes[:, place], boxes[:, place + 2] = low, high + 1
    return boxes


def _neighbours(labels: np.ndarray, number: int) -> np.ndarray:
    touching = (
        (labels[:, :-1], labels[:, 1:]),
        (labels[:-1], labels[1:]),
        (labels[:-1, :-1], labels[1:, 1:]),
        (labels[:-1, 1:], labels[1:, :-1]),
    )
    codes = [np.minimum(a, b).astype(np.int64) * number + np.maximum(a, b) for a, b in touching]
    pairs = np.stack(np.divmod(np.unique(np.concatenate([code.ravel() for code in codes])), number), axis=1)
    return pairs[pairs[:, 0] != pairs[:, 1]]


# --- Similarities and merging ----------------------------------------------------------------------------------------


def colour_similarity(regions: Regions, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Intersection of the colour histograms of pairs of regions, [pairs] in [0, 1] (equation 1)."""
    return np.minimum(regions.colours[one], regions.colours[other]).sum(-1)


def texture_similarity(regions: Regions, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Intersection of the texture histograms, [pairs] in [0, 1] (equation 3)."""
    return np.minimum(regions.textures[one], regions.textures[other]).sum(-1)


def size_similarity(regions: Regions, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The part of the image that the two leave, [pairs] in [0, 1]: small regions merge early (equation 4)."""
    return 1 - (regions.sizes[one] + regions.sizes[other]) / regions.image_size


def fill_similarity(regions: Regions, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """1 less the part of the image that is in the rectangle around the two and in neither, [pairs] (equation 5)."""
    low = np.minimum(regions.boxes[one, :2], regions.boxes[other, :2])
    high = np.maximum(regions.boxes[one, 2:], regions.boxes[other, 2:])
    around = (high - low).prod(-1)
    return 1 - (around - regions.sizes[one] - regions.sizes[other]) / regions.image_size


_SIMILARITIES = (colour_similarity, texture_similarity, size_similarity, fill_similarity)


def similarity(regions: Regions, one: np.ndarray, other: np.ndarray, measure: str) -> np.ndarray:
    """The sum of the similarities that a measure of `MEASURES` has, [pairs] (equation 6)."""
    chosen = [function for function, used in zip(_SIMILARITIES, MEASURES[measure], strict=True) if used]
    return sum((function(regions, one, other) for function in chosen), np.zeros(np.shape(one)))


def merge_regions(regions: Regions, pairs: np.ndarray, measure: str) -> Regions:
    """Hierarchical grouping (Algorithm 1): the most similar neighbours become one region, until no neighbours are left.

    Args:
        regions: n of them.
        pairs: neighbours, int [pairs, 2].
        measure: of `MEASURES`.

    Returns:
        The regions, followed by the merged ones in the order in which they were made; 2 n - 1 where all are connected.
    """
    number = len(regions.sizes)
    every = _on_each(regions, _with_room)
    neighbours: list[set[int]] = [set() for _ in range(number)]
    for one, other in pairs.tolist():
        neighbours[one].add(other)
        neighbours[other].add(one)
    ranked = similarity(every, pairs[:, 0], pairs[:, 1], measure).tolist()
    # A pair is out of date when one of its regions has been merged: it stays in the heap and is passed over.
    heap = [(-value, one, other) for value, (one, other) in zip(ranked, pairs.tolist(), strict=True)]
    heapq.heapify(heap)
    alive = [True] * number
    while heap:
        _, one, other = heapq.heappop(heap)
        if not (alive[one] and alive[other]):
            continue
        new = len(alive)
        _merge(every, one, other, new)
        around = (neighbours[one] | neighbours[other]) - {one, other}
        for neighbour in around:
            neighbours[neighbour] -= {one, other}
            neighbours[neighbour].add(new)
        neighbours.append(around)
        alive[one] = alive[other] = False
        alive.append(True)
        others = np.fromiter(around, np.int64, len(around))
        values = similarity(every, others, np.full_like(others, new), measure)
        for value, neighbour in zip(values.tolist(), others.tolist(), strict=True):
            heapq.heappush(heap, (-value, neighbour, new))
    return _on_each(every, lambda values: values[: len(alive)])


def _on_each(regions: Regions, function: Callable[[np.ndarray], np.ndarray]) -> Regions:
    sizes, boxes, colours, textures = map(function, regions[:4])
    return Regions(sizes, boxes, colours, textures, regions.image_size)


def _with_room(values: np.ndarray) -> np.ndarray:
    """The values of n regions, and place for n - 1 more."""
    return np.concatenate([values, np.zeros_like(values[1:])])


def _merge(regions: Regions, one: int, other: int, new: int) -> None:
    """Write the union of two regions to place `new`: histograms are means, weighted by sizes (equation 2)."""
    sizes = regions.sizes
    sizes[new] = sizes[one] + sizes[other]
    regions.boxes[new, :2] = np.minimum(regions.boxes[one, :2], regions.boxes[other, :2])
    regions.boxes[new, 2:] = np.maximum(regions.boxes[one, 2:], regions.boxes[other, 2:])
    for histograms in (regions.colours, regions.textures):
        histograms[new] = (sizes[one] * histograms[one] + sizes[other] * histograms[other]) / sizes[new]


# --- Colour spaces: uint8 [height, width, 3] to float64 [height, width, channels] from 0 to 1 -------------------------


def _rgb(image: np.ndarray) -> np.ndarray:
    return image / 255.0


def _intensity(image: np.ndarray) -> np.ndarray:
    return _rgb(image).mean(-1, keepdims=True)


def _chromaticity(image: np.ndarray) -> np.ndarray:
    """Red, green and blue divided by their sum; a third each for black."""
    total = image.sum(-1, keepdims=True, dtype=np.float64)
    return np.where(total > 0, image / np.where(total > 0, total, 1), 1 / 3)


def _rg_intensity(image: np.ndarray) -> np.ndarray:
    return np.concatenate([_chromaticity(image)[..., :2], _intensity(image)], -1)


def _opponent(image: np.ndarray) -> np.ndarray:
    """Opponent colours divided by intensity, and intensity (C of van de Sande, Gevers and Snoek, 2010)."""
    red, green, blue = np.moveaxis(_chromaticity(image), -1, 0)
    # (R - G) / (R + G + B) is in [-1, 1], (R + G - 2 B) / (R + G + B) in [-2, 1]; the square roots only scale
    return np.stack([(red - green + 1) / 2, (red + green - 2 * blue + 2) / 3, _intensity(image)[..., 0]], -1)


def _hsv(image: np.ndarray) -> np.ndarray:
    return _colour().rgb2hsv(image)


def _hue(image: np.ndarray) -> np.ndarray:
    return _hsv(image)[..., :1]


def _lab(image: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of sRGB under D65: L from 0 to 100, a and b from -128 to 127."""
    lab = _colour().rgb2lab(image) / (100, 255, 255) + (0, 128 / 255, 128 / 255)
    return np.clip(lab, 0, 1)


def _colour() -> Any:
    try:
        from skimage import color
    except ImportError as error:
        raise NEEDS_EXTRA from error
    return color


COLOUR_SPACES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "rgb": _rgb,
    "intensity": _intensity,
    "lab": _lab,
    "rgi": _rg_intensity,
    "hsv": _hsv,
    "normalized_rgb": _chromaticity,
    "opponent": _opponent,
    "hue": _hue,
}

SETTINGS = {
    "fast": SearchSettings(),
    "quality": SearchSettings(
        colour_spaces=("hsv", "lab", "rgi", "hue", "intensity"),
        measures=("CTSF", "TSF", "F", "S"),
        thresholds=(50, 100, 150, 300),
    ),
}
