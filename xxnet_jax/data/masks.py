"""Images with a class for each pixel, and batches of them in fixed shapes."""

import io
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from PIL import Image

from xxnet_jax.data.loader import Decoder, ImageFormat, generator
from xxnet_jax.errors import CorruptData, InvalidArgument
from xxnet_jax.files import make_folder, write_atomically

VOID = 255  # the label of pixels that are of no class: between objects, and outside of the image


class MasksExample(TypedDict):
    """An image and the class of each of its pixels.

    image: uint8 [height, width, channels].
    classes: uint8 [height, width], class numbers, or VOID.
    """

    image: np.ndarray
    classes: np.ndarray


def make_masks_example(image: np.ndarray, classes: np.ndarray) -> MasksExample:
    """An example.

    Raises:
        ValueError: a mask of another size than the image.
    """
    if classes.shape != image.shape[:2]:
        raise CorruptData(f"an image of {image.shape[:2]} pixels has a mask of {classes.shape}: they must be equal")
    return {"image": image, "classes": classes.astype(np.uint8)}


def resized_classes(classes: np.ndarray, height: int, width: int) -> np.ndarray:
    """uint8 [*, *] as uint8 [height, width], each pixel that of the nearest; classes have nothing in between."""
    return np.asarray(Image.fromarray(classes).resize((width, height), Image.Resampling.NEAREST))


class MasksDecoder(Decoder):
    """Makes of a `MasksExample` a row of a batch, for the same loaders as `Decoder`.

    - image: uint8 [height, width, channels], stretched to the format.
    - label: int32 [height, width], classes or VOID, stretched likewise.
    - mask: True.

    Args:
        image_format: wanted.
        num_classes: of the labels.
        skip_corrupt: leave corrupt images out.
        mirror: probability that an example with a draw is turned left for right.

    Raises:
        ValueError: a probability out of [0, 1]; when it is called, a label that is none of the classes.
    """

    def __init__(self, image_format: ImageFormat, num_classes: int, skip_corrupt: bool = False, mirror: float = 0.0):
        super().__init__(image_format, num_classes, skip_corrupt)
        if not 0 <= mirror <= 1:
            raise InvalidArgument(f"mirror must be in [0, 1], got {mirror:g}")
        self.mirror = mirror

    def __call__(self, example: MasksExample, draw: np.ndarray | None = None) -> dict[str, Any]:
        """The row; `draw`, uint32 [2], decides what is random."""
        image, classes = example["image"], example["classes"]
        for label in np.unique(classes[classes != VOID]):
            self.check_label(int(label))
        if draw is not None and generator(draw).random() < self.mirror:
            image, classes = image[:, ::-1], classes[:, ::-1]
        height, width = self.format.height, self.format.width
        return {
            "image": self.format(np.ascontiguousarray(image)),
            "label": resized_classes(np.ascontiguousarray(classes), height, width).astype(np.int32),
            "mask": np.bool_(True),
        }

    def blank(self) -> dict[str, Any]:
        labels = np.full((self.format.height, self.format.width), VOID, np.int32)
        return {"image": np.zeros(self.format.shape, np.uint8), "label": labels, "mask": np.bool_(False)}

    @property
    def varies(self) -> bool:
        return self.mirror > 0


def voc_palette() -> np.ndarray:
    """The colours of PASCAL VOC's masks, uint8 [256, 3]: the bits of a class number, from the lowest on, go to red,
    green and blue in turn, from their highest on; 255 is a light grey."""
    numbers = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for place in range(8):
        for channel in range(3):
            bit = numbers >> (3 * place + channel) & 1
            colours[:, channel] |= (bit << (7 - place)).astype(np.uint8)
    return colours


def write_classes(path: Path, classes: np.ndarray) -> None:
    """Write the class of each pixel, uint8 [height, width], as a PNG file with VOC's palette."""
    image = Image.fromarray(np.asarray(classes, np.uint8)).convert("P")
    image.putpalette(voc_palette().ravel().tolist())
    stream = io.BytesIO()
    image.save(stream, format="png")
    make_folder(path.parent)
    write_atomically(path, stream.getvalue())
