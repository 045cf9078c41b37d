"""`voc:FOLDER` for segmentation: images with classes of pixels in the form of PASCAL VOC (Everingham et al., 2010).

FOLDER/ImageSets/Segmentation/train.txt, val.txt, trainval.txt and test.txt, those that are there, name the images of a
split, one a line; FOLDER/JPEGImages has the images, FOLDER/SegmentationClass for each a PNG file: with a palette, whose
numbers are the classes, or gray. 255 is void. The splits are train, validation, trainval and test.

The classes are those of `?classes=background,cell`, by default those of FOLDER/classes.txt, one a line, or else VOC's.
`?channels=1` reads gray images.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from xxnet_jax.data.images import read_image
from xxnet_jax.data.masks import MasksExample, make_masks_example
from xxnet_jax.data.source import IndexedExamples, Source, SourceRequest
from xxnet_jax.data.sources.voc_folder import channels_of, image_files, names_of_splits
from xxnet_jax.errors import CorruptData, MissingData

VOC_CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


@dataclass(frozen=True)
class MaskedExamples(IndexedExamples[MasksExample]):
    """Image files with the files of their masks, decoded when read."""

    files: tuple[tuple[Path, Path], ...]
    channels: int

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> MasksExample:
        image, mask = self.files[index]
        return make_masks_example(read_image(image, self.channels), read_classes(mask))


def read_classes(path: Path) -> np.ndarray:
    """The class of each pixel in a PNG file, uint8 [height, width].

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no image, or its pixels are colours, not numbers.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in ("P", "L"):
                raise CorruptData(f"{path} has colours ({image.mode}): its pixels must be the numbers of classes")
            return np.array(image)
    except FileNotFoundError as error:
        raise MissingData(f"no mask {path}") from error
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise CorruptData(f"cannot decode the mask {path}: {error}") from error


def open_voc_masks(request: SourceRequest, root: Path) -> Source:
    """The source; see above."""
    channels = channels_of(request)
    names = names_of_splits(root / "ImageSets" / "Segmentation")
    images = image_files(root / "JPEGImages")

    def files_of(name: str) -> tuple[Path, Path]:
        if name not in images:
            raise MissingData(f"no image {root}/JPEGImages/{name}.jpg, which ImageSets/Segmentation names")
        return images[name], root / "SegmentationClass" / f"{name}.png"

    return Source(
        uri=request.uri,
        classes=_classes(request, root),
        image_shape=(None, None, channels),
        splits={
            split: MaskedExamples(tuple(files_of(name) for name in found), channels) for split, found in names.items()
        },
    )


def _classes(request: SourceRequest, root: Path) -> tuple[str, ...]:
    if given := request.options.get("classes"):
        return tuple(name for name in given.split(",") if name)
    file = root / "classes.txt"
    if file.is_file():
        return tuple(line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip())
    return VOC_CLASSES
