"""`folder:PATH`: image files in one folder per class.

The subfolders `train`, `validation` (or `val`) and `test`, where there are any, are the splits. Without them the files
of each class are divided at random, but always alike, by `?split=TRAIN,VALIDATION,TEST` (default 0.8,0.1,0.1).

With `?classes=cat,dog` there are no folders of classes: the class is the one whose name occurs in the name of the file,
as in the notes' folder of cats and dogs (cat.0.jpg); where several do, the first of them.

Within a split the classes are spread evenly: a slice such as train[-5000:] has its share of each.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xxnet_jax.data.images import IMAGE_SUFFIXES, read_image
from xxnet_jax.data.source import EncodedImage, Example, IndexedExamples, Source, SourceRequest, register_source
from xxnet_jax.errors import InvalidArgument, MissingData

_SPLITS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class FileExamples(IndexedExamples):
    """Image files with their labels, decoded when read."""

    files: tuple[tuple[Path, int], ...]
    channels: int

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Example:
        path, label = self.files[index]
        return {"image": read_image(path, self.channels), "label": label}

    def encoded(self, index: int) -> EncodedImage:
        path, label = self.files[index]
        try:
            return EncodedImage(path.read_bytes(), path.suffix, label)
        except FileNotFoundError as error:
            raise MissingData(f"no image file {path}") from error


@register_source("folder", "split", "channels", "classes")
def open_folder(request: SourceRequest) -> Source:
    if not request.body:
        raise InvalidArgument(f"cannot read '{request.uri}': write folder:PATH")
    root = Path(request.body).expanduser()
    if not root.is_dir():
        raise MissingData(f"no folder {root}")
    channels = {"1": 1, "3": 3}.get(request.options.get("channels", "3"))
    if channels is None:
        raise InvalidArgument(f"{request.uri}: channels must be 1 or 3")
    if (root / "val").is_dir() and (root / "validation").is_dir():
        raise InvalidArgument(f"{root} has both val and validation: keep one of them")
    named = [name for name in request.options.get("classes", "").split(",") if name]
    files_of = _files_by_name if named else _files
    parts = {_SPLITS[path.name]: path for path in _folders(root) if path.name in _SPLITS}
    if parts:
        if "split" in request.options:
            raise InvalidArgument(f"{root} has the subfolders {', '.join(parts)}: drop '?split='")
        classes = named or sorted({path.name for part in parts.values() for path in _folders(part)})
        splits = {name: files_of(part, classes) for name, part in parts.items()}
    else:
        classes = named or [path.name for path in _folders(root)]
        splits = _divide(files_of(root, classes), _fractions(request))
    if not any(splits.values()):
        raise MissingData(f"no images in {root}: expected {root}/CLASS/IMAGE.png or {root}/train/CLASS/IMAGE.png")
    return Source(
        uri=request.uri,
        classes=tuple(classes),
        image_shape=(None, None, channels),
        splits={name: FileExamples(tuple(_spread(files)), channels) for name, files in splits.items() if files},
    )


def _folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and entry.name[0] != ".")


def _files(root: Path, classes: list[str]) -> list[tuple[Path, int]]:
    return [
        (path, label)
        for label, name in enumerate(classes)
        for path in sorted((root / name).rglob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES
    ]


def _files_by_name(root: Path, classes: list[str]) -> list[tuple[Path, int]]:
    """Like `_files`, the class by the name of the file."""
    found = []
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            label = next((label for label, name in enumerate(classes) if name in path.name), None)
            if label is None:
                raise InvalidArgument(
                    f"the name of {path} has none of the classes {', '.join(classes)}: rename it, take it away, "
                    "or give all classes"
                )
            found.append((path, label))
    return sorted(found, key=lambda file: file[1])


def _spread(files: list[tuple[Path, int]]) -> list[tuple[Path, int]]:
    """`files`, sorted by how far each one is through its own class."""
    sizes = Counter(label for _, label in files)
    seen: Counter[int] = Counter()
    places = []
    for _, label in files:
        places.append(((seen[label] + 0.5) / sizes[label], label))
        seen[label] += 1
    return [file for _, file in sorted(zip(places, files, strict=True))]


def _fractions(request: SourceRequest) -> list[float]:
    text = request.options.get("split", "0.8,0.1,0.1")
    try:
        fractions = [float(part) for part in text.split(",")]
    except ValueError:
        fractions = []
    if len(fractions) != 3 or not (min(fractions) >= 0 and abs(sum(fractions) - 1) <= 1e-6):
        raise InvalidArgument(f"{request.uri}: split must be three fractions of sum 1, as 0.8,0.1,0.1; got '{text}'")
    return fractions


def _divide(files: list[tuple[Path, int]], fractions: list[float]) -> dict[str, list[tuple[Path, int]]]:
    """Each class divided by the fractions, in an order that depends on nothing but the sorted file names."""
    splits: dict[str, list[tuple[Path, int]]] = {"train": [], "validation": [], "test": []}
    for label in sorted({label for _, label in files}):
        members = [file for file in files if file[1] == label]
        order = np.random.default_rng(label).permutation(len(members))
        bounds = np.rint(np.cumsum([0, *fractions]) * len(members)).astype(int)
        for name, start, stop in zip(splits, bounds[:-1], bounds[1:], strict=True):
            splits[name] += [members[i] for i in sorted(order[start:stop])]
    return splits
