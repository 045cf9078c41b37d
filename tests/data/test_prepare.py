"""Sources to TFDS datasets and to image files, and back, without TensorFlow."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from xxnet_jax.data import Source, open_source
from xxnet_jax.data.prepare import export_images, prepare_tfds
from xxnet_jax.data.source import ArrayExamples
from xxnet_jax.errors import CorruptData, InvalidArgument


def random_source(
    seed: int,
    sizes: dict[str, int],
    shape: tuple[int, int, int] = (4, 5, 1),
    classes: tuple[str, ...] = ("ant", "bee", "cat"),
) -> Source:
    rng = np.random.default_rng(seed)
    splits = {
        split: ArrayExamples(
            rng.integers(0, 256, (size, *shape), np.uint8), rng.integers(0, len(classes), size, np.int32)
        )
        for split, size in sizes.items()
    }
    return Source(f"random:{seed}", classes, shape, splits)


def content(source: Source) -> dict[str, list[tuple[list, int]]]:
    """Every pixel and label of every split, in order."""
    return {
        split: [(example["image"].tolist(), example["label"]) for example in examples]
        for split, examples in source.splits.items()
    }


@settings(max_examples=8)
@given(
    seed=st.integers(0, 2**31),
    sizes=st.dictionaries(
        st.sampled_from(["train", "validation", "test", "extra"]), st.integers(1, 12), min_size=1, max_size=3
    ),
    shape=st.tuples(st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 3])),
    classes=st.lists(
        st.text("abcdefgh-_ 019", min_size=1, max_size=8).map(str.strip).filter(bool),
        min_size=1,
        max_size=5,
        unique=True,
    ),
)
def test_a_prepared_dataset_is_the_source(
    seed: int, sizes: dict[str, int], shape: tuple[int, int, int], classes: list[str]
):
    """Images, labels, class names, image shape, splits and order come back as they were."""
    source = random_source(seed, sizes, shape, tuple(classes))
    with tempfile.TemporaryDirectory() as folder:
        path = prepare_tfds(source, "some_data", Path(folder))
        assert path == Path(folder, "some_data", "1.0.0")
        found = open_source("tfds:some_data", data_dir=folder)
        assert content(found) == content(source)
    assert found.classes == source.classes
    assert found.image_shape == source.image_shape


def test_images_of_many_sizes_are_prepared(tmp_path: Path):
    """A folder whose images differ in size becomes a dataset with the same images."""
    rng = np.random.default_rng(0)
    for index, (height, width) in enumerate([(3, 4), (7, 2), (1, 1), (5, 5)]):
        path = tmp_path / "images" / "train" / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(path)
    source = open_source(f"folder:{tmp_path / 'images'}")
    prepare_tfds(source, "sizes", tmp_path / "prepared", "2.3.4")
    found = open_source("tfds:sizes:2.3.4", data_dir=str(tmp_path / "prepared"))
    assert found.image_shape == (None, None, 3)
    assert content(found) == content(source)


# In a process of its own: what the others here have imported must not count.
WITHOUT_TENSORFLOW = """
import json, sys
from pathlib import Path
import numpy as np
from xxnet_jax.data import open_source
from xxnet_jax.data.prepare import prepare_tfds

folder = sys.argv[1]
source = open_source("fake:28x28x1/10?examples=30")
prepare_tfds(source, "mnist", Path(folder), "3.0.1")
ours = open_source("tfds:mnist", data_dir=folder)
loaded = {"ours": [(int(e["image"].sum()), e["label"]) for e in ours.examples("train")]}
assert "tensorflow" not in sys.modules

import tensorflow_datasets as tfds

stock = tfds.data_source("mnist", data_dir=folder, download=False)
loaded["stock"] = [(int(np.sum(record["image"], dtype=np.int64)), int(record["label"])) for record in stock["train"]]
loaded["splits"] = {split: len(examples) for split, examples in stock.items()}
loaded["names"] = tfds.builder("mnist", data_dir=folder).info.features["label"].names
loaded["tensorflow"] = "tensorflow" in sys.modules
print(json.dumps(loaded))
"""


def test_nothing_needs_tensorflow(tmp_path: Path):
    """Preparing and reading never imports TensorFlow, and TFDS itself finds a dataset prepared under the name and
    version of its own mnist."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert loaded["tensorflow"] is False
    source = open_source("fake:28x28x1/10?examples=30")
    expected = [[int(example["image"].sum()), example["label"]] for example in source.examples("train")]
    assert loaded["ours"] == expected
    assert loaded["stock"] == expected
    assert loaded["splits"] == {"train": 30, "validation": 30, "test": 30}
    assert loaded["names"] == list("0123456789")


def test_an_existing_dataset_is_not_touched(tmp_path: Path):
    """Preparing a name and version that are there is an error that names the folder; another version is not."""
    first, second = random_source(1, {"train": 3}), random_source(2, {"train": 3})
    folder = prepare_tfds(first, "twice", tmp_path)
    with pytest.raises(InvalidArgument, match=f"{folder} is there already"):
        prepare_tfds(second, "twice", tmp_path)
    assert content(open_source("tfds:twice", data_dir=str(tmp_path))) == content(first)
    prepare_tfds(second, "twice", tmp_path, "1.0.1")
    assert content(open_source("tfds:twice:1.0.0", data_dir=str(tmp_path))) == content(first)
    assert content(open_source("tfds:twice:1.0.1", data_dir=str(tmp_path))) == content(second)


@pytest.mark.parametrize("name", ["", "Mnist", "my-images", "my images", "a/b", "../a", "1st"])
def test_a_bad_name_is_refused(tmp_path: Path, name: str):
    """A name that TFDS could not find again is an error that says which letters may be, and nothing is written."""
    with pytest.raises(InvalidArgument, match="lower-case letters, digits, _"):
        prepare_tfds(random_source(0, {"train": 1}), name, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("version", ["", "1", "1.0", "1.0.x", "../1.0.0"])
def test_a_bad_version_is_refused(tmp_path: Path, version: str):
    """A version that is not x.y.z is an error that a script can print, and nothing is written."""
    with pytest.raises(InvalidArgument, match="version"):
        prepare_tfds(random_source(0, {"train": 1}), "some_data", tmp_path, version)
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_no_dataset(tmp_path: Path):
    """A corrupt image ends the preparation with its path, no half dataset is found, and it can be tried again."""
    images = tmp_path / "images" / "train" / "a"
    images.mkdir(parents=True)
    for name in ("1.png", "2.png"):
        Image.new("RGB", (2, 2), "red").save(images / name)
    (images / "2.png").write_bytes(b"damaged")
    source = open_source(f"folder:{tmp_path / 'images'}")
    with pytest.raises(CorruptData, match=r"2\.png"):
        prepare_tfds(source, "red", tmp_path / "prepared")
    with pytest.raises(FileNotFoundError):
        open_source("tfds:red", data_dir=str(tmp_path / "prepared"))
    Image.new("RGB", (2, 2), "red").save(images / "2.png")
    prepare_tfds(source, "red", tmp_path / "prepared")
    assert content(open_source("tfds:red", data_dir=str(tmp_path / "prepared"))) == content(source)


def test_progress_is_reported(tmp_path: Path):
    """`on_split` is called with the name and size of each split, in their order."""
    calls = []
    source = random_source(0, {"train": 4, "test": 2})
    prepare_tfds(source, "progress", tmp_path, on_split=lambda split, count: calls.append((split, count)))
    assert calls == [("train", 4), ("test", 2)]


@pytest.mark.parametrize("channels", [1, 3])
def test_exported_images_are_a_folder_source(tmp_path: Path, channels: int):
    """Written as files and read by `folder:`, each image keeps its pixels and its class."""
    source = random_source(3, {"train": 25, "test": 9}, (6, 5, channels))
    for split, examples in source.splits.items():
        files = export_images(examples, source.classes, tmp_path / split)
        assert len(files) == len(examples)
        assert all(file.is_file() for file in files)
    found = open_source(f"folder:{tmp_path}?channels={channels}")
    assert found.classes == source.classes
    for split, pairs in content(source).items():
        assert sorted(content(found)[split]) == sorted(pairs)


def test_files_are_exported_in_order(tmp_path: Path):
    """The files that are returned hold the examples in their order, below the folder of their class."""
    source = random_source(4, {"train": 12})
    files = export_images(source.examples("train"), source.classes, tmp_path)
    for file, example in zip(files, source.examples("train"), strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(file)), example["image"][..., 0])
        assert file.parent == tmp_path / source.classes[example["label"]]


def test_only_the_first_are_exported(tmp_path: Path):
    """`count` writes the first so many, and not more than there are."""
    source = random_source(5, {"train": 6})
    examples = source.examples("train")
    some = export_images(examples, source.classes, tmp_path / "some", 4)
    every = export_images(examples, source.classes, tmp_path / "all", 99)
    assert len(list((tmp_path / "some").rglob("*.png"))) == len(some) == 4
    assert [path.relative_to(tmp_path / "all") for path in every[:4]] == [
        path.relative_to(tmp_path / "some") for path in some
    ]
    assert len(every) == 6


def test_classes_without_examples_are_kept(tmp_path: Path):
    """The classes of a dataset are those of the source, also where no example has them."""
    source = replace(random_source(6, {"train": 5}), classes=("ant", "bee", "cat", "dog", "eel"))
    prepare_tfds(source, "sparse", tmp_path)
    assert open_source("tfds:sparse", data_dir=str(tmp_path)).classes == source.classes
