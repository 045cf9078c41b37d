"""Split expressions against slices of Python lists, and URIs that cannot be read."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from xxnet_jax.data import open_source
from xxnet_jax.data.source import (
    ArrayExamples,
    Example,
    Examples,
    IndexedExamples,
    Source,
    StreamedExamples,
)
from xxnet_jax.errors import InvalidArgument, UnknownName, XXNetError

BOUNDS = st.none() | st.integers(-70, 70)
KINDS = ("array", "indexed", "streamed")


@dataclass(frozen=True)
class Computed(IndexedExamples):
    """Examples that are made when they are read, as files and records are."""

    numbers: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Example:
        number = self.numbers[index]
        return {"image": np.full((1, 1, 1), number % 256, np.uint8), "label": number}


def numbered(numbers: list[int], kind: str) -> Examples:
    """Examples whose labels are `numbers`."""
    computed = Computed(tuple(numbers))
    if kind == "streamed":

        def stream() -> Iterator[Example]:
            return iter(computed)

        return StreamedExamples(stream, len(numbers))
    if kind == "array":
        return ArrayExamples(np.zeros((len(numbers), 1, 1, 1), np.uint8), np.array(numbers, np.int32))
    return computed


def source_of(kind: str = "array", **splits: list[int]) -> Source:
    return Source(
        uri="numbers",
        classes=tuple(str(number) for number in range(1000)),
        image_shape=(1, 1, 1),
        splits={name: numbered(numbers, kind) for name, numbers in splits.items()},
    )


def labels(examples: Examples) -> list[int]:
    return [example["label"] for example in examples]


def text(bound: int | None) -> str:
    return "" if bound is None else str(bound)


@pytest.mark.parametrize("kind", KINDS)
@given(size=st.integers(1, 60), start=BOUNDS, stop=BOUNDS)
def test_a_split_slices_as_a_list_does(kind: str, size: int, start: int | None, stop: int | None):
    """`train[a:b]` selects what Python's `[a:b]` selects of a list, and is an error where that is empty."""
    numbers = list(range(100, 100 + size))
    source = source_of(kind, train=numbers)
    expression = f"train[{text(start)}:{text(stop)}]"
    expected = numbers[start:stop]
    if expected:
        examples = source.examples(expression)
        assert len(examples) == len(expected)
        assert labels(examples) == expected
        assert labels(examples) == expected, "a second pass gives the same"
    else:
        with pytest.raises(InvalidArgument, match="empty"):
            source.examples(expression)


@settings(max_examples=100)
@given(size=st.integers(1, 300), percent=st.integers(-100, 100))
@example(size=10, percent=-1)  # less than half an example, counted from the end
def test_percentages_divide_a_split_completely(size: int, percent: int):
    """`train[:p%]` and `train[p%:]` are the whole, cut where p percent of the examples lie."""
    numbers = list(range(size))
    source = source_of(train=numbers)
    exact = size * percent / 100 if percent >= 0 else size + size * percent / 100
    parts: list[list[int]] = []
    for expression in (f"train[:{percent}%]", f"train[{percent}%:]"):
        try:
            parts.append(labels(source.examples(expression)))
        except InvalidArgument:
            parts.append([])  # the cut is at an end
    assert parts[0] + parts[1] == numbers
    assert abs(len(parts[0]) - exact) <= 0.5 + 1e-9  # the nearest example


@given(
    hundreds=st.integers(1, 4),
    start=st.none() | st.integers(-150, 150),
    stop=st.none() | st.integers(-150, 150),
)
def test_percentages_of_whole_numbers_are_exact(hundreds: int, start: int | None, stop: int | None):
    """Of 100 k examples, p percent are k p; percentages beyond 100 are cut off as Python cuts off bounds."""
    numbers = list(range(100 * hundreds))
    expected = numbers[None if start is None else hundreds * start : None if stop is None else hundreds * stop]
    assume(expected)
    bounds = [f"{bound}%" if bound is not None else "" for bound in (start, stop)]
    assert labels(source_of(train=numbers).examples(f"train[{bounds[0]}:{bounds[1]}]")) == expected


@pytest.mark.parametrize("kind", ["array", "indexed"])
@given(
    train=st.lists(st.integers(0, 999), min_size=1, max_size=20),
    test=st.lists(st.integers(0, 999), min_size=1, max_size=20),
    cut=st.integers(-19, 19),
)
def test_plus_joins_splits_in_order(kind: str, train: list[int], test: list[int], cut: int):
    """`train[a:] + test + train` is the concatenation of the lists, by iteration and by index."""
    assume(train[cut:])
    source = source_of(kind, train=train, test=test)
    joined = source.examples(f"train[{cut}:] + test+train")
    expected = train[cut:] + test + train
    assert len(joined) == len(expected)
    assert labels(joined) == expected
    assert isinstance(joined, IndexedExamples)
    assert [joined[index]["label"] for index in reversed(range(len(joined)))] == expected[::-1]
    assert labels(joined.slice(1, len(expected))) == expected[1:]
    with pytest.raises(IndexError):
        joined[len(expected)]


@pytest.mark.parametrize("kind", KINDS)
@given(size=st.integers(1, 40), data=st.data())
def test_slices_of_slices_are_those_of_lists(kind: str, size: int, data: st.DataObject):
    """Slicing three times selects what slicing a list three times selects."""
    expected = list(range(size))
    examples = numbered(expected, kind)
    for _ in range(3):
        start = data.draw(st.integers(0, len(expected)))
        stop = data.draw(st.integers(start, len(expected)))
        expected, examples = expected[start:stop], examples.slice(start, stop)
    assert len(examples) == len(expected)
    assert labels(examples) == expected


def test_streams_cannot_be_joined():
    """`+` on a stream is an error that says so, for it can only be read from its beginning."""
    source = source_of("streamed", train=[1, 2], test=[3])
    with pytest.raises(InvalidArgument, match="stream"):
        source.examples("train+test")
    assert labels(source.examples("train[1:]")) == [2]


def test_an_unknown_split_suggests_the_nearest():
    """A misspelt split is an error that names the one that was meant."""
    source = source_of(train=[1], validation=[2])
    with pytest.raises(UnknownName, match="validation"):
        source.examples("validaton")
    with pytest.raises(UnknownName, match="train"):
        source.examples("validation+trian[:1]")


@pytest.mark.parametrize(
    "expression",
    ["", "+", "train+", "train[]", "train[3]", "train[::2]", "train[1:2", "train[a:b]", "train[1.5:]", "train[:5%%]"],
)
def test_unreadable_expressions_say_what_can_be_written(expression: str):
    """An expression outside the grammar is an error that shows examples of it."""
    with pytest.raises(InvalidArgument, match=r"train\[:-5000\]"):
        source_of(train=[1, 2, 3]).examples(expression)


@given(st.text(alphabet="train[]:+-%0123 5", max_size=12))
def test_no_expression_fails_in_another_way(expression: str):
    """Whatever a user types, the answer is examples or an error of this package, never another exception."""
    try:
        examples = source_of(train=list(range(20))).examples(expression)
    except XXNetError:
        return
    assert set(labels(examples)) <= set(range(20))
    assert len(examples) > 0


def test_images_and_labels_must_be_as_many():
    """Three images with two labels are refused when they are put together."""
    with pytest.raises(InvalidArgument, match="3 images, but 2 labels"):
        ArrayExamples(np.zeros((3, 1, 1, 1), np.uint8), np.zeros(2, np.int32))


def test_an_unknown_scheme_suggests_the_nearest():
    """A misspelt scheme names the one that was meant, and one like none lists them all."""
    with pytest.raises(UnknownName, match="digits"):
        open_source("digit")
    with pytest.raises(UnknownName, match=r"digits.*fake.*folder.*idx.*tfds"):
        open_source("zzzz:anything")


@pytest.mark.parametrize(
    "uri", ["digits:?size=3", "fake:8x8x1/10?sample=3", "idx:.?channels=1", "folder:.?chanels=1", "tfds:mnist?split=a"]
)
def test_an_unknown_option_is_refused(uri: str):
    """An option that a scheme does not have is an error that names it and the scheme, before any data is read."""
    scheme, _, rest = uri.partition(":")
    option = rest.partition("?")[2].partition("=")[0]
    with pytest.raises(UnknownName, match=f"{scheme}.*'{option}'"):
        open_source(uri)


def test_a_misspelt_option_suggests_the_nearest():
    """`chanels` is answered by `channels`."""
    with pytest.raises(UnknownName, match="did you mean channels"):
        open_source("folder:.?chanels=1")


@pytest.mark.parametrize(
    ("uri", "hint"),
    [
        ("digits:8x8", "digits"),
        ("idx:", "idx:"),
        ("fake:", "fake:28x28x1/10"),
        ("fake", "fake:28x28x1/10"),
        ("tfds:", "tfds:mnist"),
        ("tfds", "tfds:mnist"),
        ("tfds:two words", "tfds:mnist"),
        ("tfds:mnist:", "tfds:mnist"),
    ],
)
def test_a_malformed_uri_says_what_to_write(uri: str, hint: str, tmp_path: Path):
    """A URI whose body does not fit its scheme is an error that shows one that does."""
    with pytest.raises(InvalidArgument, match=f"write {hint}"):
        open_source(uri, data_dir=str(tmp_path))


def test_a_folder_must_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`folder:` without a path is an error, and does not take the images below the working directory."""
    (tmp_path / "cat").mkdir()
    Image.new("RGB", (2, 2)).save(tmp_path / "cat" / "1.png")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidArgument, match="write folder:"):
        open_source("folder:")
