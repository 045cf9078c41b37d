"""Images with objects in boxes, and batches of them in fixed shapes.

Boxes are float32 (x1, y1, x2, y2) in pixels and continuous: an object that is one pixel wide has x2 - x1 = 1. Sources
give them as they are annotated. `ObjectsDecoder` makes of an example what a batch holds:

- objects are cut off at the edges of the image; what is outside, or has no area, is left out,
- a training example is changed as its draw decides (`ObjectsAugmentation`); of objects that are cut, those are left out
  of which too little can be seen,
- the image is resized and laid on a canvas of fixed size (`ObjectsFormat`); objects that are tiny there are left out,
- the objects are padded to a fixed number, with a mask. An image without objects has an empty mask. Of more objects
  than that the largest are kept, in their order; `num_objects` says how many there were.
- windows that may have objects, where an example has them, go the same way; of more than there is room for the first
  are kept.

So evaluation should take the true objects from the source, and bring what it detects back by `in_image`.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict, get_args

import numpy as np

from xxnet_jax.arrays import Array, namespace
from xxnet_jax.boxes import area, clip
from xxnet_jax.data.crops import AreaCrop, Window
from xxnet_jax.data.images import cut, fit_image, with_channels
from xxnet_jax.data.loader import Decoder, ImageFormat, generator
from xxnet_jax.errors import InvalidArgument, UnknownName

ObjectsFit = Literal["letterbox", "corner", "stretch"]
BATCHES_OF_A_CANVAS = 10
Search = Callable[[np.ndarray], np.ndarray]


class ObjectsExample(TypedDict):
    """An image and the objects in it.

    image: uint8 [height, width, channels].
    boxes: float32 [n, 4], (x1, y1, x2, y2) in pixels, continuous; n may be 0.
    labels: class numbers, int32 [n].
    difficult: hard to recognize, so that VOC's protocols do not count them; bool [n].
    crowd: many objects in one box, as COCO marks them; bool [n].
    windows: where objects may be, the likeliest first; boxes, float32 [m, 4]. Most examples have none.
    """

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray
    crowd: np.ndarray
    windows: NotRequired[np.ndarray]


def make_example(
    image: np.ndarray, boxes: Any, labels: Any, difficult: Any = None, crowd: Any = None
) -> ObjectsExample:
    """An example of anything that becomes such arrays; by default nothing is difficult, and nothing a crowd.

    Raises:
        ValueError: not as many labels as boxes.
    """
    boxes = np.reshape(np.asarray(boxes, np.float32), (-1, 4))
    flags = [np.zeros(len(boxes), bool) if given is None else np.asarray(given, bool) for given in (difficult, crowd)]
    labels = np.asarray(labels, np.int32)
    if any(array.shape != boxes.shape[:1] for array in (labels, *flags)):
        raise InvalidArgument(
            f"{len(boxes)} boxes, but {labels.shape} labels, {flags[0].shape} and {flags[1].shape} flags"
        )
    return {"image": image, "boxes": boxes, "labels": labels, "difficult": flags[0], "crowd": flags[1]}


# --- Changes: an example in, another out -----------------------------------------------------------------------------


def cropped(example: ObjectsExample, window: Window, min_visible: float = 0.0) -> ObjectsExample:
    """The part of an example in a window of whole pixels.

    Objects are cut off at its edges; left out are those without area in it, and those of whose area less than the part
    `min_visible` is in it.
    """
    left, top, right, bottom = map(round, window)

    def moved(boxes: np.ndarray) -> np.ndarray:
        return boxes - np.array([left, top, left, top], np.float32)

    def placed(boxes: np.ndarray) -> np.ndarray:
        return clip(moved(boxes), bottom - top, right - left)

    boxes = placed(example["boxes"])
    kept = _has_area(boxes) & (area(boxes) >= min_visible * area(moved(example["boxes"])))
    return _changed(example, example["image"][top:bottom, left:right], placed, kept)


def mirrored(example: ObjectsExample) -> ObjectsExample:
    """Left for right."""
    width = example["image"].shape[1]

    def placed(boxes: np.ndarray) -> np.ndarray:
        x1, y1, x2, y2 = boxes.T
        return np.stack([width - x2, y1, width - x1, y2], -1)

    return _changed(example, example["image"][:, ::-1], placed, np.ones(len(example["boxes"]), bool))


def with_colours(image: np.ndarray, exposure: float, saturation: float) -> np.ndarray:
    """The image, uint8 [height, width, channels], with the value and the saturation of each pixel (of HSV) times a
    factor, at most as much as there can be.
    """
    x = image.astype(np.float32) / 255
    value = x.max(-1, keepdims=True)
    chroma = value - x.min(-1, keepdims=True)
    most = value / np.where(chroma > 0, chroma, 1)
    x = value - (value - x) * np.where(chroma > 0, np.minimum(saturation, most), 1)
    x *= np.minimum(exposure, 1 / np.where(value > 0, value, 1))
    return np.round(255 * x).astype(np.uint8)


def _changed(
    example: ObjectsExample,
    image: np.ndarray,
    placed: Callable[[np.ndarray], np.ndarray],
    kept: np.ndarray,
    smallest: float = 0.0,
) -> ObjectsExample:
    """Another image, and where its boxes are, of the objects that are kept; of windows those that are not small."""
    labels, difficult, crowd = (example[key][kept] for key in ("labels", "difficult", "crowd"))
    boxes = placed(example["boxes"])[kept]
    changed: ObjectsExample = {
        "image": image,
        "boxes": boxes,
        "labels": labels,
        "difficult": difficult,
        "crowd": crowd,
    }
    if "windows" in example:
        windows = placed(example["windows"])
        changed["windows"] = windows[_has_area(windows, smallest)]
    return changed


def _has_area(boxes: np.ndarray, smallest: float = 0.0) -> np.ndarray:
    shorter = np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    return (shorter > 0) & (shorter >= smallest)


@dataclass(frozen=True)
class ObjectsAugmentation:
    """Which random changes are made of a training image; by default none. In this order:

    Attributes:
        crop: probability of a window, of a part of the area and an aspect ratio as in `AreaCrop`, with ...
        smallest_area: ... at least this part of the area, and at most all of it,
        largest_aspect: ... width to height, or height to width, at most this.
        min_visible: objects of which less than this part of the area is left, are left out.
        mirror: probability of left for right.
        smallest_scale: the image is scaled by a factor from here ...
        largest_scale: ... to here, its logarithm uniform, more than the format asks for; it is laid at a random place,
            so that canvas is free around a smaller one, and a larger one is cut.
        exposure: the value of its colours (of HSV) is multiplied by a factor between 1 and this, or divided by it, each
            as likely (YOLO, section 2.2: 1.5).
        saturation: the same of their saturation.
    """

    crop: float = 0.0
    smallest_area: float = 0.3
    largest_aspect: float = 2.0
    min_visible: float = 0.3
    mirror: float = 0.0
    smallest_scale: float = 1.0
    largest_scale: float = 1.0
    exposure: float = 1.0
    saturation: float = 1.0

    def __post_init__(self) -> None:
        for name in ("crop", "mirror", "min_visible"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidArgument(f"{name} must be in [0, 1], got {getattr(self, name):g}")
        if not (0 < self.smallest_area <= 1 <= self.largest_aspect):
            raise InvalidArgument("smallest_area must be in (0, 1], and largest_aspect at least 1")
        if not 0 < self.smallest_scale <= self.largest_scale:
            raise InvalidArgument(
                f"scales must be positive, the smaller first; got {self.smallest_scale:g}, {self.largest_scale:g}"
            )
        if min(self.exposure, self.saturation) < 1:
            raise InvalidArgument(
                f"exposure and saturation must be 1 or more, got {self.exposure:g} and {self.saturation:g}"
            )

    @property
    def scales(self) -> bool:
        return (self.smallest_scale, self.largest_scale) != (1.0, 1.0)

    @property
    def colours(self) -> bool:
        return (self.exposure, self.saturation) != (1.0, 1.0)

    @property
    def changes(self) -> bool:
        """Whether there is any change."""
        return self.crop > 0 or self.mirror > 0 or self.scales or self.colours

    def __call__(self, rng: np.random.Generator, example: ObjectsExample) -> ObjectsExample:
        """The window, and left for right."""
        size = example["image"].shape[:2]
        # As many random numbers whatever the probabilities: a preset with and without mirroring has the same windows.
        whether_crop, whether_mirror = rng.random(2)
        if whether_crop < self.crop:
            window = AreaCrop(self.smallest_area, 1, self.largest_aspect)(rng, size, size)
            example = cropped(example, window, self.min_visible)
        return mirrored(example) if whether_mirror < self.mirror else example

    def factor(self, rng: np.random.Generator) -> float:
        """The scale."""
        return float(np.exp(rng.uniform(np.log(self.smallest_scale), np.log(self.largest_scale))))

    def coloured(self, rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
        """Exposure and saturation."""
        if not self.colours:
            return image
        factors = rng.uniform(1, (self.exposure, self.saturation))
        exposure, saturation = np.where(rng.random(2) < 0.5, factors, 1 / factors).tolist()
        return with_colours(image, exposure, saturation)


# --- The canvas ------------------------------------------------------------------------------------------------------


class Placement(NamedTuple):
    """Where an image lies on the canvas: resized to rows x columns, its first pixel at (top, left), maybe outside."""

    rows: int
    columns: int
    top: int
    left: int


@dataclass(frozen=True)
class ObjectsFormat:
    """The fixed shapes of a batch: images uint8 [height, width, channels], and so many objects.

    Attributes:
        height, width, channels: of the canvas.
        max_objects: that an image can have; more are left out, see above.
        fit: "letterbox": as large as fits without distortion, in the middle of the canvas (YOLOv2); "corner": the same
            in its upper left corner (Faster R-CNN); "stretch": each side to that of the canvas (YOLO).
        shorter_side: the image is scaled to this shorter side, or less if it would not fit: Faster R-CNN's 600 with at
            most 1000 is a canvas of 1000x1000 with 600. By default as large as fits.
        fill: value of the rest of the canvas.
        smallest_box: objects that are less wide or high on the canvas are left out; in pixels.
        max_windows: that an image can have; 0 for batches without.
    """

    height: int
    width: int
    channels: int
    max_objects: int
    fit: ObjectsFit = "letterbox"
    shorter_side: int | None = None
    fill: int = 0
    smallest_box: float = 1.0
    max_windows: int = 0

    def __post_init__(self) -> None:
        if self.fit not in get_args(ObjectsFit):
            raise UnknownName("fit of a canvas", self.fit, get_args(ObjectsFit))
        if min(self.height, self.width, self.channels, self.max_objects, self.shorter_side or 1) < 1:
            raise InvalidArgument("sides, channels and max_objects of a canvas must be 1 or more")
        if self.max_windows < 0:
            raise InvalidArgument(f"max_windows must not be negative, got {self.max_windows}")
        if self.fit == "stretch" and self.shorter_side:
            raise InvalidArgument("an image that is stretched to the canvas has no shorter_side: leave it out")

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.height, self.width, self.channels)

    def placement(
        self, size: tuple[int, int], factor: float = 1.0, rng: np.random.Generator | None = None
    ) -> Placement:
        """Of an image of `size` (rows, columns), scaled by `factor` beyond the fit; with `rng` at a random place."""
        canvas = (self.height, self.width)
        scales = [wanted / side for wanted, side in zip(canvas, size, strict=True)]
        if self.fit != "stretch":
            scales = [min(*scales, (self.shorter_side or np.inf) / min(size))] * 2
        sides = [max(1, round(side * scale * factor)) for side, scale in zip(size, scales, strict=True)]
        free = [wanted - side for wanted, side in zip(canvas, sides, strict=True)]
        if rng is not None:
            starts = [int(rng.integers(min(0, room), max(0, room), endpoint=True)) for room in free]
        else:
            starts = [room // 2 if self.fit == "letterbox" else 0 for room in free]
        return Placement(*sides, *starts)

    def __call__(self, example: ObjectsExample, where: Placement, min_visible: float = 0.0) -> dict[str, Any]:
        """The canvas with the image and its objects, padded; see `ObjectsDecoder`."""
        image = with_channels(example["image"], self.channels)
        rows, columns = image.shape[:2]
        scale = np.array([where.columns / columns, where.rows / rows])
        first = np.array([where.left, where.top])
        low = np.maximum(first, 0)
        high = np.minimum(first + np.array([where.columns, where.rows]), (self.width, self.height))
        x1, y1, x2, y2 = *((low - first) / scale).tolist(), *((high - first) / scale).tolist()
        (left, top), (right, bottom) = low.tolist(), high.tolist()
        canvas = np.full(self.shape, self.fill, np.uint8)
        window = (x1, y1, min(x2, columns), min(y2, rows))  # rounding may lead a hair beyond the image
        canvas[top:bottom, left:right] = cut(image, window, bottom - top, right - left)

        def moved(boxes: np.ndarray) -> np.ndarray:
            return (boxes.reshape(-1, 2, 2) * scale + first).reshape(-1, 4)

        def placed(boxes: np.ndarray) -> np.ndarray:
            return np.clip(moved(boxes), [*low, *low], [*high, *high]).astype(np.float32)

        boxes = placed(example["boxes"])
        kept = _has_area(boxes, self.smallest_box) & (area(boxes) >= min_visible * area(moved(example["boxes"])))
        objects = _changed(example, canvas, placed, kept, self.smallest_box)
        return self._padded(objects) | {
            "size": np.array([rows, columns], np.int32),
            "scale": scale.astype(np.float32),
            "content": np.array([left, top, right, bottom], np.float32),
            "mask": np.bool_(True),
        }

    def _padded(self, objects: ObjectsExample) -> dict[str, Any]:
        count = len(objects["boxes"])
        largest = np.argsort(-area(objects["boxes"]), kind="stable")[: self.max_objects]
        kept = np.sort(largest)
        padding = self.max_objects - len(kept)
        padded: dict[str, Any] = {
            key: np.pad(objects[key][kept], ((0, padding), *[(0, 0)] * (objects[key].ndim - 1)))
            for key in ("boxes", "labels", "difficult", "crowd")
        }
        present = np.arange(self.max_objects) < len(kept)
        if self.max_windows:
            windows = objects.get("windows", np.zeros((0, 4), np.float32))[: self.max_windows]
            padded["windows"] = np.pad(windows, ((0, self.max_windows - len(windows)), (0, 0)))
            padded["window_mask"] = np.arange(self.max_windows) < len(windows)
        return padded | {"image": objects["image"], "object_mask": present, "num_objects": np.int32(count)}


def in_image(boxes: Array, content: Array, scale: Array, size: Array) -> Array:
    """Boxes on the canvas as boxes in the image, in its pixels, cut off at its edges; of examples without draw.

    Args:
        boxes: [batch, n, 4].
        content, scale, size: of the batch.
    """
    xp = namespace(boxes, content, scale, size)
    first = xp.concatenate([content[:, None, :2]] * 2, -1)
    moved = (boxes - first) / xp.concatenate([scale[:, None]] * 2, -1)
    limits = xp.concatenate([size[:, None, ::-1]] * 2, -1).astype(moved.dtype)
    return xp.clip(moved, 0, limits)


class ObjectsDecoder(Decoder):
    """Makes of an `ObjectsExample` a row of a batch, for the same loaders as `Decoder`.

    - image: uint8 [height, width, channels], the canvas.
    - boxes: float32 [max_objects, 4], in pixels of the canvas; zeros where there is no object.
    - labels: int32 [max_objects]; difficult, crowd: bool [max_objects].
    - object_mask: bool [max_objects], whether there is an object.
    - windows: float32 [max_windows, 4], as boxes; window_mask: bool [max_windows]; where the format has windows.
    - num_objects: int32, how many there were before those beyond max_objects were left out.
    - size: int32 [2], height and width of the image before it was resized.
    - scale: float32 [2], from that to the canvas, of x and y.
    - content: float32 [4], the box of the image on the canvas.
    - mask: True.

    Args:
        objects_format: wanted.
        num_classes: of the labels.
        skip_corrupt: leave corrupt images out.
        augmentation: of examples with a draw.
        canvases: heights and widths, one of which is drawn for every 10 training batches (YOLOv2, section 2); other
            examples have the format's.
        search: `image -> windows`, in pixels of it, of images as large as they are on the canvas without a draw; where
            the format has windows.

    Raises (when it is called):
        ValueError: a label that is none of the classes.
    """

    def __init__(
        self,
        objects_format: ObjectsFormat,
        num_classes: int,
        skip_corrupt: bool = False,
        augmentation: ObjectsAugmentation | None = None,
        canvases: Sequence[tuple[int, int]] = (),
        search: Search | None = None,
    ):
        super().__init__(ImageFormat(*objects_format.shape), num_classes, skip_corrupt)
        self.objects_format = objects_format
        self.augmentation = augmentation or ObjectsAugmentation()
        self.canvases = canvases
        self.search = search

    def __call__(self, example: ObjectsExample, draw: np.ndarray | None = None) -> dict[str, Any]:
        """The row; `draw`, uint32 [2], decides what is random."""
        for label in example["labels"]:
            self.check_label(int(label))
        rows, columns = example["image"].shape[:2]
        example = cropped(example, Window(0, 0, columns, rows))
        if self.search is not None:
            example["windows"] = self.windows(example["image"])
        if draw is None or not self.augmentation.changes:
            return self.objects_format(example, self.objects_format.placement((rows, columns)))
        rng = generator(draw)
        example = self.augmentation(rng, example)
        rows, columns = example["image"].shape[:2]
        if self.augmentation.scales:
            where = self.objects_format.placement((rows, columns), self.augmentation.factor(rng), rng)
            row = self.objects_format(example, where, self.augmentation.min_visible)
        else:
            row = self.objects_format(example, self.objects_format.placement((rows, columns)))
        return row | {"image": self.augmentation.coloured(rng, row["image"])}

    def windows(self, image: np.ndarray) -> np.ndarray:
        """Windows in pixels of an image, float32 [n, 4], by a decoder with a search, which sees it as large as on the
        canvas."""
        assert self.search is not None
        rows, columns = image.shape[:2]
        where = self.objects_format.placement((rows, columns))
        image = fit_image(with_channels(image, self.objects_format.channels), where.rows, where.columns)
        scale = np.array([columns / where.columns, rows / where.rows] * 2, np.float32)
        found = np.reshape(self.search(image), (-1, 4)).astype(np.float32)
        return found[: self.objects_format.max_windows or None] * scale

    def blank(self) -> dict[str, Any]:
        image = np.zeros((1, 1, self.objects_format.channels), np.uint8)
        row = self.objects_format(make_example(image, (), ()), Placement(1, 1, 0, 0))
        return {key: np.zeros_like(value) for key, value in row.items()}

    @property
    def varies(self) -> bool:
        return self.augmentation.changes or self.varies_by_batch

    @property
    def varies_by_batch(self) -> bool:
        return bool(self.canvases)

    def of_batch(self, number: int, seed: int) -> "ObjectsDecoder":
        if not self.canvases:
            return self
        rng = np.random.default_rng((seed, number // BATCHES_OF_A_CANVAS))
        height, width = self.canvases[int(rng.integers(len(self.canvases)))]
        other = copy.copy(self)
        other.objects_format = replace(self.objects_format, height=height, width=width)
        other.format = ImageFormat(*other.objects_format.shape)
        return other
