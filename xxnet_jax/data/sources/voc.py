"""`voc:FOLDER`: images with objects in the form of PASCAL VOC (Everingham et al., 2010).

FOLDER/ImageSets/Main/train.txt, val.txt, trainval.txt and test.txt, those that are there, name the images of a split,
one a line; FOLDER/JPEGImages has the images, FOLDER/Annotations for each an XML file. The splits are train,
validation, trainval and test. All annotations are read when the source is opened.

The classes are the names of all objects in order of the alphabet, or those of `?classes=dog,cat`, in this order, and
objects of others are left out. `?channels=1` reads gray images. For segmentation see `voc_masks`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from xxnet_jax.data.images import read_image
from xxnet_jax.data.objects import ObjectsExample, make_example
from xxnet_jax.data.source import IndexedExamples, Source, SourceRequest, register_source
from xxnet_jax.data.sources.voc_folder import channels_of, image_files, names_of_splits
from xxnet_jax.data.sources.voc_masks import open_voc_masks
from xxnet_jax.errors import CorruptData, InvalidArgument, MissingData


class Annotation(NamedTuple):
    """The objects of an image.

    Attributes:
        boxes: float32 [n, 4], continuous.
        names: of the classes.
        difficult: bool [n].
    """

    boxes: np.ndarray
    names: tuple[str, ...]
    difficult: np.ndarray


class AnnotatedImage(NamedTuple):
    """An image file and the objects in it, as in `ObjectsExample`."""

    path: Path
    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray
    crowd: np.ndarray


@dataclass(frozen=True)
class AnnotatedExamples(IndexedExamples[ObjectsExample]):
    """Image files with their objects, decoded when read."""

    images: tuple[AnnotatedImage, ...]
    channels: int

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> ObjectsExample:
        path, *objects = self.images[index]
        return make_example(read_image(path, self.channels), *objects)


def continuous(pixels: np.ndarray) -> np.ndarray:
    """VOC's boxes as continuous ones, float32 [n, 4].

    (xmin, ymin, xmax, ymax) are the numbers of the first and the last pixels inside; the image's first is number 1.
    """
    return (pixels - np.array([1, 1, 0, 0])).astype(np.float32)


@register_source("voc", "channels", "classes", tasks=("detection", "segmentation"))
def open_voc(request: SourceRequest) -> Source:
    if not request.body:
        raise InvalidArgument(f"cannot read '{request.uri}': write voc:FOLDER")
    root = Path(request.body).expanduser()
    if request.task == "segmentation":
        return open_voc_masks(request, root)
    channels = channels_of(request)
    names = names_of_splits(root / "ImageSets" / "Main")
    annotations = {
        name: read_annotation(root / "Annotations" / f"{name}.xml") for name in sorted(set().union(*names.values()))
    }
    known = {name for annotation in annotations.values() for name in annotation.names}
    classes = [name for name in request.options.get("classes", "").split(",") if name] or sorted(known)
    if absent := sorted(set(classes) - known):
        raise InvalidArgument(f"{root} has no objects {', '.join(absent)}: there are {', '.join(sorted(known))}")
    images = image_files(root / "JPEGImages")
    label_of = {name: label for label, name in enumerate(classes)}

    def annotated(name: str) -> AnnotatedImage:
        if name not in images:
            raise MissingData(f"no image {root}/JPEGImages/{name}.jpg, which ImageSets/Main names")
        boxes, names, difficult = annotations[name]
        kept = np.array([name in label_of for name in names], bool)
        labels = np.array([label_of[name] for name in names if name in label_of], np.int32)
        return AnnotatedImage(images[name], boxes[kept], labels, difficult[kept], np.zeros(len(labels), bool))

    return Source(
        uri=request.uri,
        classes=tuple(classes),
        image_shape=(None, None, channels),
        splits={
            split: AnnotatedExamples(tuple(annotated(name) for name in found), channels)
            for split, found in names.items()
        },
    )


class _NoDoctype(ElementTree.TreeBuilder):
    """Refuses a document type: annotations have none, and entities could make gigabytes of a small file."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise CorruptData("it declares a document type")


def read_annotation(path: Path) -> Annotation:
    """The objects in an annotation of VOC.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no such annotation; the message names it.
    """
    try:
        root = ElementTree.parse(path, ElementTree.XMLParser(target=_NoDoctype())).getroot()
        objects = root.findall("object")
        corners = [
            [float(_text(each, f"bndbox/{edge}")) for edge in ("xmin", "ymin", "xmax", "ymax")] for each in objects
        ]
        pixels = np.array(corners, np.float64).reshape(-1, 4)
        if not np.isfinite(pixels).all():
            raise CorruptData("a box has an edge that is no finite number")
        names = tuple(_text(each, "name") for each in objects)
        difficult = [int(each.findtext("difficult") or 0) != 0 for each in objects]
    except FileNotFoundError as error:
        raise MissingData(f"no annotation {path}") from error
    except (ElementTree.ParseError, ValueError) as error:
        raise CorruptData(f"{path} is no annotation of VOC: {error}") from error
    return Annotation(continuous(pixels), names, np.array(difficult, bool))


def _text(element: ElementTree.Element, path: str) -> str:
    text = element.findtext(path)
    if text is None or not text.strip():
        raise CorruptData(f"an object has no {path}")
    return text.strip()
