"""`coco:FOLDER?annotations=FILE.json`: images with objects in the form of COCO (Lin et al., 2014).

The file of `?annotations=` is the split train; `?train=`, `?validation=` and `?test=` name files of several splits,
which must have the same categories. A file is looked for as it stands and in FOLDER/annotations; its images in FOLDER,
or, as COCO has them, in the folder of FOLDER that the name of the file ends with: instances_val2017.json, val2017.

Labels are the places of the categories in order of their numbers, which have gaps. Crowds are kept and marked; nothing
is difficult. `?channels=1` reads gray images.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from xxnet_jax.boxes import xywh_to_xyxy
from xxnet_jax.data.source import Source, SourceRequest, register_source
from xxnet_jax.data.sources.voc import AnnotatedExamples, AnnotatedImage
from xxnet_jax.data.sources.voc_folder import channels_of
from xxnet_jax.errors import CorruptData, InvalidArgument, MissingData

_OPTIONS = {"annotations": "train", "train": "train", "validation": "validation", "test": "test"}


@register_source("coco", "channels", *_OPTIONS, tasks=("detection",))
def open_coco(request: SourceRequest) -> Source:
    files = {_OPTIONS[option]: name for option, name in request.options.items() if option in _OPTIONS}
    if not request.body or not files:
        raise InvalidArgument(f"cannot read '{request.uri}': write coco:FOLDER?annotations=FILE.json")
    if {"annotations", "train"} <= set(request.options):
        raise InvalidArgument(f"{request.uri}: annotations and train both name the split train: keep one")
    root = Path(request.body).expanduser()
    channels = channels_of(request)
    classes: tuple[str, ...] | None = None
    splits = {}
    for split, name in files.items():
        path = _find(root, name)
        named, images = read_coco(path, _images(root, path))
        if classes is not None and named != classes:
            raise InvalidArgument(f"{path} has other categories than the files of the other splits")
        classes = named
        splits[split] = AnnotatedExamples(images, channels)
    assert classes is not None
    return Source(uri=request.uri, classes=classes, image_shape=(None, None, channels), splits=splits)


def _find(root: Path, name: str) -> Path:
    places = (Path(name).expanduser(), root / name, root / "annotations" / name)
    for place in places:
        if place.is_file():
            return place
    raise MissingData(f"no annotations {' or '.join(map(str, places))}")


def _images(root: Path, annotations: Path) -> Path:
    folder = root / annotations.stem.rpartition("_")[2]
    return folder if folder.is_dir() else root


def read_coco(path: Path, folder: Path) -> tuple[tuple[str, ...], tuple[AnnotatedImage, ...]]:
    """The categories and the images, in the order of the file, of COCO's annotations.

    Args:
        path: of the JSON file.
        folder: of its images.

    Raises:
        ValueError: it is no such file; the message names it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        categories = sorted(content["categories"], key=lambda category: category["id"])
        label_of = {category["id"]: label for label, category in enumerate(categories)}
        objects: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
        for entry in content["annotations"]:
            if entry["category_id"] not in label_of:
                raise CorruptData(f"annotation {entry.get('id')} has the unknown category {entry['category_id']}")
            if entry["image_id"] not in objects:
                raise CorruptData(f"annotation {entry.get('id')} is of the unknown image {entry['image_id']}")
            objects[entry["image_id"]].append(entry)
        images = tuple(
            _annotated(folder / image["file_name"], objects[image["id"]], label_of) for image in content["images"]
        )
        return tuple(str(category["name"]) for category in categories), images
    except KeyError as error:
        raise CorruptData(f"{path} is no file of COCO's annotations: {error} is missing") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise CorruptData(f"{path} is no file of COCO's annotations: {error}") from error


def _annotated(path: Path, entries: list[dict[str, Any]], label_of: dict[Any, int]) -> AnnotatedImage:
    corners = np.array([_box(entry) for entry in entries], np.float64).reshape(-1, 4)
    return AnnotatedImage(
        path,
        boxes=xywh_to_xyxy(corners).astype(np.float32),
        labels=np.array([label_of[entry["category_id"]] for entry in entries], np.int32),
        difficult=np.zeros(len(entries), bool),
        crowd=np.array([bool(entry.get("iscrowd", 0)) for entry in entries], bool),
    )


def _box(entry: dict[str, Any]) -> list[float]:
    box = entry["bbox"]
    if not (
        isinstance(box, list) and len(box) == 4 and all(isinstance(x, int | float) and np.isfinite(x) for x in box)
    ):
        raise CorruptData(f"annotation {entry.get('id')} has the bbox {box}, where [x, y, width, height] was expected")
    return box
