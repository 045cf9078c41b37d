"""Where examples come from: one interface for every dataset, and split expressions such as `train[:-5000]`.

The examples of a source are of one kind: labelled images, or images with objects in boxes (see `objects`).
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, Literal, NamedTuple, TypedDict, TypeVar
from urllib.parse import parse_qsl

import numpy as np

from xxnet_jax.data.images import png_bytes
from xxnet_jax.errors import InvalidArgument, UnknownName


class Example(TypedDict):
    """One labelled image.

    image: uint8 [height, width, channels].
    label: class number.
    """

    image: np.ndarray
    label: int


AnyExample = TypeVar("AnyExample", bound=Mapping[str, Any], covariant=True)
Task = Literal["classification", "detection", "segmentation"]


class EncodedImage(NamedTuple):
    """The content of an image file, the suffix of its name, and the class number."""

    content: bytes
    suffix: str
    label: int


class Examples(ABC, Generic[AnyExample]):
    """The examples of a split: their number is known, and they can be iterated in a fixed order.

    Reading may raise `CorruptData`, which names the example's file.
    """

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __iter__(self) -> Iterator[AnyExample]: ...

    @abstractmethod
    def slice(self, start: int, stop: int) -> "Examples[AnyExample]":
        """The examples `start` to `stop`."""


class IndexedExamples(Examples[AnyExample]):
    """Examples that can be read in any order, by `examples[index]`; safe to read from several threads."""

    @abstractmethod
    def __getitem__(self, index: int) -> AnyExample: ...

    def encoded(self, index: int) -> "EncodedImage":
        """A labelled image as the content of a file: as it is stored, or else without loss."""
        return EncodedImage(png_bytes(self[index]["image"]), ".png", self[index]["label"])

    def __iter__(self) -> Iterator[AnyExample]:
        return (self[index] for index in range(len(self)))

    def slice(self, start: int, stop: int) -> "IndexedExamples[AnyExample]":
        return _Slice(self, range(start, stop))


@dataclass(frozen=True)
class _Slice(IndexedExamples[AnyExample]):
    examples: IndexedExamples[AnyExample]
    indices: range

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> AnyExample:
        return self.examples[self.indices[index]]

    def encoded(self, index: int) -> EncodedImage:
        return self.examples.encoded(self.indices[index])


@dataclass(frozen=True)
class ArrayExamples(IndexedExamples[Example]):
    """Examples in memory: images uint8 [n, height, width, channels] and labels int32 [n]."""

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise InvalidArgument(f"{len(self.images)} images, but {len(self.labels)} labels: they must be as many")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Example:
        return {"image": self.images[index], "label": int(self.labels[index])}

    def slice(self, start: int, stop: int) -> "ArrayExamples":
        return ArrayExamples(self.images[start:stop], self.labels[start:stop])


@dataclass(frozen=True)
class StreamedExamples(Examples[AnyExample]):
    """Examples that can only be read from the first to the last.

    Attributes:
        open: starts a new pass over the examples.
        size: how many one pass gives.
    """

    open: Callable[[], Iterator[AnyExample]]
    size: int

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[AnyExample]:
        return self.open()

    def slice(self, start: int, stop: int) -> "StreamedExamples[AnyExample]":
        return StreamedExamples(lambda: islice(self.open(), start, stop), stop - start)


@dataclass(frozen=True)
class Joined(IndexedExamples[AnyExample]):
    """Several indexed splits, one after another."""

    parts: tuple[IndexedExamples[AnyExample], ...]

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def __getitem__(self, index: int) -> AnyExample:
        part, within = self._find(index)
        return part[within]

    def encoded(self, index: int) -> EncodedImage:
        part, within = self._find(index)
        return part.encoded(within)

    def _find(self, index: int) -> tuple[IndexedExamples[AnyExample], int]:
        for part in self.parts:
            if index < len(part):
                return part, index
            index -= len(part)
        raise IndexError(index)


@dataclass(frozen=True)
class Source:
    """A dataset.

    Attributes:
        uri: what `open_source` was given.
        classes: class names; the label is the index into them.
        image_shape: (height, width, channels); None for a side that differs between images.
        splits: name -> examples.
    """

    uri: str
    classes: tuple[str, ...]
    image_shape: tuple[int | None, int | None, int]
    splits: Mapping[str, Examples[Any]]

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    def examples(self, split: str) -> Examples[Any]:
        """The examples of a split expression: `train`, `train[:-5000]`, `train[80%:]`, `train+validation`.

        Bounds are Python's, percentages are rounded to the nearest example.

        Raises:
            ValueError: no such split, or an expression that cannot be read or selects nothing.
        """
        parts = [self._part(expression.strip()) for expression in split.split("+")]
        if len(parts) == 1:
            return parts[0]
        indexed = tuple(part for part in parts if isinstance(part, IndexedExamples))
        if len(indexed) < len(parts):
            raise InvalidArgument(f"{self.uri} is a stream: its splits cannot be joined by '+'")
        return Joined(indexed)

    def _part(self, expression: str) -> Examples[Any]:
        match = re.fullmatch(r"([\w-]+)(?:\[(-?\d+%?)?:(-?\d+%?)?\])?", expression)
        if match is None:
            raise InvalidArgument(
                f"cannot read the split '{expression}': write train, train[:-5000], train[80%:] or train+validation"
            )
        name, start, stop = match.groups()
        if name not in self.splits:
            raise UnknownName(f"split of {self.uri}", name, self.splits)
        examples = self.splits[name]
        if "[" not in expression:
            return examples
        first, last, _ = slice(_bound(start, len(examples)), _bound(stop, len(examples))).indices(len(examples))
        if first >= last:
            raise InvalidArgument(
                f"the split '{expression}' of {self.uri} is empty: '{name}' has {len(examples)} examples"
            )
        return examples.slice(first, last)


def _bound(text: str | None, size: int) -> int | None:
    if text is None or not text.endswith("%"):
        return None if text is None else int(text)
    percent = int(text[:-1])
    examples = round(abs(percent) * size / 100)
    return max(0, size - examples) if percent < 0 or text.startswith("-") else examples


@dataclass(frozen=True)
class SourceRequest:
    """What a source is opened with: the parts of `scheme:body?key=value`, and where data lies.

    Attributes:
        uri: the whole.
        body: between the scheme and the question mark.
        options: the keys and values after it.
        data_dir: folder of prepared TFDS datasets; None for TFDS's own default.
        download: whether a dataset that is not there may be fetched.
        task: what its examples are for.
    """

    uri: str
    body: str
    options: dict[str, str]
    data_dir: str | None
    download: bool
    task: Task


OpenSource = Callable[[SourceRequest], Source]
_SCHEMES: dict[str, tuple[OpenSource, frozenset[str], Collection[Task]]] = {}


def register_source(
    scheme: str, *options: str, tasks: Collection[Task] = ("classification",)
) -> Callable[[OpenSource], OpenSource]:
    """Decorator: `open_source("scheme:...")` calls the function.

    Args:
        scheme: of the URI.
        options: the keys that it may have.
        tasks: what the function has examples for.
    """

    def decorator(function: OpenSource) -> OpenSource:
        _SCHEMES[scheme] = (function, frozenset(options), tasks)
        return function

    return decorator


def open_source(
    uri: str, *, data_dir: str | None = None, download: bool = False, task: Task = "classification"
) -> Source:
    """Open a dataset by its URI.

    - `digits`: scikit-learn's 1,797 handwritten digits, 8x8, stratified 64/16/20 into train, validation, test;
      `?side=24` enlarges them.
    - `idx:FOLDER`: the IDX files of MNIST and its kin, gzipped or not; splits train and test.
    - `tfds:NAME`: a prepared TensorFlow dataset, as array_record without TensorFlow, as tfrecord with it.
    - `folder:PATH`: images in one folder per class, below train, validation, test or directly; then
      `?split=0.8,0.1,0.1` says how they are divided. With `?classes=cat,dog` the names of the files tell the class.
    - `tar:PATH`: a folder of tar archives train-*.tar, validation-*.tar, test-*.tar, of images in one folder per class,
      or with their labels beside them (WebDataset).
    - `fake:HEIGHTxWIDTHxCHANNELS/CLASSES`: noise, to measure a step without its input; `?examples=N`.

    For detection:

    - `voc:FOLDER`: JPEGImages, Annotations and ImageSets/Main as PASCAL VOC has them.
    - `coco:FOLDER?annotations=FILE.json`: images and annotations as COCO has them.
    - `tfds:voc/2007`, `tfds:coco/2017`: as above.

    For segmentation:

    - `voc:FOLDER`: JPEGImages, SegmentationClass and ImageSets/Segmentation as PASCAL VOC has them.

    Args:
        uri: as above.
        data_dir: folder of prepared TFDS datasets.
        download: allow TFDS to download and prepare.
        task: "classification": examples are labelled images (`Example`); "detection": images with objects in boxes
            (`objects.ObjectsExample`); "segmentation": images with a class for each pixel (`masks.MasksExample`).

    Raises:
        ValueError: a URI that cannot be read, or a source without examples for the task.
        FileNotFoundError: the dataset is not there; the message says what was looked for.
    """
    scheme, _, rest = uri.partition(":")
    scheme, question, more = scheme.partition("?")
    rest += question + more
    if scheme not in _SCHEMES:
        raise UnknownName("data source", scheme, _SCHEMES)
    function, known, tasks = _SCHEMES[scheme]
    if task not in tasks:
        able = sorted(name for name, (_, _, others) in _SCHEMES.items() if task in others)
        raise InvalidArgument(f"{scheme}: is for {' and '.join(tasks)}; for {task} there are {', '.join(able)}")
    body, _, query = rest.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    for option in options:
        if option not in known:
            raise UnknownName(f"option of {scheme}:", option, known)
    return function(SourceRequest(uri, body, options, data_dir, download, task))
