"""The same batches whoever decodes them, and after a restart in the middle of an epoch with others."""

import os
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xxnet_jax.data import Decoder, ImageFormat, Source, make_augmentation, make_loader, open_source
from xxnet_jax.data.crops import crop_of
from xxnet_jax.data.loader import Batch
from xxnet_jax.data.prepare import prepare_tfds, write_shards
from xxnet_jax.errors import CorruptData

CLASSES = ("ant", "bee", "cat")
FORMAT = ImageFormat(16, 16, 3)


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, Source]:
    """Thirteen images of different sizes: as a folder, as array_record, as archives; and noise in memory."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for number in range(13):
        rows, columns = rng.integers(20, 40, 2)
        path = root / "folder" / "train" / CLASSES[number % 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (rows, columns, 3), np.uint8)).save(path)
    folder = open_source(f"folder:{root}/folder")
    prepare_tfds(folder, "prepared", root / "tfds")
    write_shards(folder, root / "shards", 3)
    return {
        "folder": folder,
        "tfds": open_source("tfds:prepared", data_dir=str(root / "tfds")),
        "tar": open_source(f"tar:{root}/shards"),
        "fake": open_source("fake:24x32x3/3?examples=13"),
    }


def batches(source: Source, workers: int, number: int, start: int = 0) -> list[Batch]:
    """Training batches of four, windows cut by area."""
    decoder = Decoder(FORMAT, 3, crop=crop_of(make_augmentation("inception", {})))
    loader = make_loader(source.examples("train"), decoder, 4, train=True, seed=7, workers=workers)
    return list(islice(loader.batches(start), number))


def assert_same(found: list[Batch], expected: list[Batch]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert set(one) == {"image", "label", "mask", "draw"}
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


@pytest.mark.parametrize("name", ["folder", "tfds", "tar", "fake"])
def test_workers_and_restarts_change_nothing(name: str, sources: dict[str, Source]):
    """Three epochs by threads; then killed in the middle of the second one and gone on with by 1 and 2 processes."""
    whole = batches(sources[name], 0, 9)
    assert len({batch["image"].tobytes() for batch in whole}) == 9
    assert_same(batches(sources[name], 0, 4, start=5), whole[5:])
    for workers in (1, 2):
        assert_same(batches(sources[name], workers, 5, start=4), whole[4:])


def test_windows_differ_between_epochs(sources: dict[str, Source]):
    """An image is another window in another epoch, and with another seed."""
    seen: dict[int, list[bytes]] = {}
    for batch in batches(sources["fake"], 0, 9):
        for image, label in zip(batch["image"], batch["label"], strict=True):
            seen.setdefault(int(label), []).append(image.tobytes())
    for images in seen.values():
        assert len(set(images)) == len(images)


def test_formats_of_one_set_agree(sources: dict[str, Source]):
    """Folder, prepared and archived, it is the same set: as many of each class, the same pixels."""

    def content(source: Source) -> list[tuple[bytes, int]]:
        return sorted((example["image"].tobytes(), example["label"]) for example in source.examples("train"))

    assert sources["folder"].classes == sources["tfds"].classes == sources["tar"].classes == CLASSES
    assert content(sources["folder"]) == content(sources["tfds"]) == content(sources["tar"])


@pytest.mark.parametrize("workers", [0, 1])
def test_corrupt_images_are_told_of(workers: int, tmp_path: Path):
    """Wherever it is read, a corrupt image is an error that names it, or is masked and told of."""
    for number in range(4):
        path = tmp_path / "train" / "a" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(path)
    (tmp_path / "train" / "a" / "2.png").write_bytes(b"no image")
    examples = open_source(f"folder:{tmp_path}").examples("train")

    def read(skip: bool) -> tuple[Any, Decoder]:
        decoder = Decoder(FORMAT, 1, skip_corrupt=skip)
        loader = make_loader(examples, decoder, 2, train=True, resident=False, workers=workers)
        return list(islice(loader.batches(), 2)), decoder

    with pytest.raises(CorruptData, match=f"{os.sep}2.png"):
        read(skip=False)
    found, decoder = read(skip=True)
    assert sum(int(batch["mask"].sum()) for batch in found) == 3
    assert len(decoder.skipped) == 1
    assert "2.png" in next(iter(decoder.skipped))
