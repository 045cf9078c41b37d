"""Datasets of TensorFlow Datasets, without TensorFlow and without a network."""

import importlib.util
import json
import re
import socket
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds

from xxnet_jax.data import Decoder, ImageFormat, Loader, make_loader, open_source
from xxnet_jax.data.prepare import png_bytes, prepare_tfds
from xxnet_jax.data.source import ArrayExamples, IndexedExamples, Source
from xxnet_jax.errors import InvalidArgument, MissingData

SIZE = 23
IMAGES = np.random.default_rng(0).integers(0, 256, (SIZE, 3, 4, 3), np.uint8)
LABELS = np.random.default_rng(1).integers(0, 4, SIZE, np.int32)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with the dataset `noise`, in two versions."""
    folder = tmp_path_factory.mktemp("prepared")
    examples = ArrayExamples(IMAGES, LABELS)
    source = Source("noise", ("a", "b", "c", "d"), (3, 4, 3), {"train": examples, "test": examples.slice(0, 5)})
    prepare_tfds(source, "noise", folder, "1.0.0")
    prepare_tfds(source, "noise", folder, "1.2.0")
    return str(folder)


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was looked up or connected to; every attempt fails."""
    attempts: list[object] = []

    def refuse(*args: object, **options: object) -> None:
        attempts.append(args)
        raise OSError("no network in this test")

    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    return attempts


@pytest.fixture
def no_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the extra is not installed."""
    find_spec = importlib.util.find_spec

    def find(name: str, package: str | None = None):
        return None if name.partition(".")[0] == "tensorflow" else find_spec(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find)


@pytest.mark.parametrize("name", ["noise", "noise:1.0.0", "noise:1.2.0", "noise:1.*.*"])
def test_a_prepared_dataset_is_read(data_dir: str, name: str):
    """By name, with or without a version, all images and labels are there, in any order and in slices."""
    source = open_source(f"tfds:{name}", data_dir=data_dir)
    assert source.classes == ("a", "b", "c", "d")
    assert source.image_shape == (3, 4, 3)
    examples = source.examples("train")
    assert isinstance(examples, IndexedExamples)
    assert len(examples) == SIZE
    for index in (SIZE - 1, 0, 7, 7):
        example = examples[index]
        assert example["image"].dtype == np.uint8
        np.testing.assert_array_equal(example["image"], IMAGES[index])
        assert example["label"] == LABELS[index]
    found = [example["label"] for example in source.examples("train[20:]+test[:2]")]
    assert found == [*LABELS[20:].tolist(), *LABELS[:2].tolist()]


def read(loader: Loader, count: int | None) -> list[dict[str, np.ndarray]]:
    resident = jax.device_put(loader.resident)
    return [
        {key: np.asarray(value) for key, value in loader.fetch(resident, batch).items()}
        for batch in islice(loader.batches(), count)
    ]


@pytest.mark.parametrize("resident", [True, False])
def test_loaders_read_it(data_dir: str, resident: bool):
    """On the device or by threads that read ahead, a training epoch has each image with its own label."""
    examples = open_source("tfds:noise", data_dir=data_dir).examples("train")
    loader = make_loader(examples, Decoder(ImageFormat(3, 4, 3), 4), 1, train=True, resident=resident)
    found = [(batch["image"][0].tobytes(), int(batch["label"][0])) for batch in read(loader, SIZE)]
    assert sorted(found) == sorted((image.tobytes(), int(label)) for image, label in zip(IMAGES, LABELS, strict=True))


@pytest.mark.parametrize("name", ["mnist", "cifar10", "imagenet2012", "noise:9.9.9", "noise/config", "no_such_data"])
def test_a_dataset_that_is_not_prepared_says_what_to_do(data_dir: str, name: str, connections: list[object]):
    """Without `download` nothing is looked for in the network; the error names dataset, folder and three ways out."""
    with pytest.raises(MissingData) as caught:
        open_source(f"tfds:{name}", data_dir=data_dir)
    for expected in (f"'{name}'", data_dir, "prepare_data.py", "--data-dir", "--download"):
        assert expected in str(caught.value)
    assert connections == []


def test_a_missing_data_dir_is_named(tmp_path: Path, connections: list[object]):
    """A folder of datasets that does not exist is in the error, and is not made."""
    where = tmp_path / "nowhere"
    with pytest.raises(MissingData, match=re.escape(str(where))):
        open_source("tfds:mnist", data_dir=str(where))
    assert not where.exists()
    assert connections == []


@pytest.mark.usefixtures("no_tensorflow")
def test_a_download_without_tensorflow_names_the_extra(tmp_path: Path, connections: list[object]):
    """Asked to download without TensorFlow, which TFDS needs to prepare, the error says what to install, at once."""
    with pytest.raises(MissingData, match=r"xxnet_jax\[tensorflow\]"):
        open_source("tfds:mnist", data_dir=str(tmp_path), download=True)
    assert connections == []


@pytest.mark.usefixtures("no_tensorflow")
@pytest.mark.parametrize("file_format", ["tfrecord", "riegeli", None])
def test_tfrecord_without_tensorflow_names_the_extra(data_dir: str, tmp_path: Path, file_format: str | None):
    """A dataset in another format than array_record is an error that names format and extra; a dataset that does not
    say its format is as old as tfrecord."""
    prepared = tmp_path / "old" / "1.0.0"
    prepared.mkdir(parents=True)
    for file in Path(data_dir, "noise", "1.0.0").glob("*.*"):
        if file.suffix in (".json", ".txt"):
            (prepared / file.name).write_text(file.read_text().replace("noise", "old"))
    info = json.loads((prepared / "dataset_info.json").read_text())
    del info["fileFormat"]
    if file_format is not None:
        info["fileFormat"] = file_format
    (prepared / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(MissingData, match=rf"{file_format or 'tfrecord'}.*xxnet_jax\[tensorflow\]"):
        open_source("tfds:old", data_dir=str(tmp_path))


def test_the_default_folder_is_that_of_tfds(data_dir: str, monkeypatch: pytest.MonkeyPatch):
    """Without `data_dir`, datasets are looked for where TFDS itself keeps them."""
    # TFDS sets it when it is imported, from the environment or below the home folder
    monkeypatch.setattr("tensorflow_datasets.core.constants.DATA_DIR", data_dir)
    assert len(open_source("tfds:noise").examples("test")) == 5
    with pytest.raises(MissingData, match=re.escape(data_dir)):
        open_source("tfds:mnist")


def prepare(folder: Path, features: dict[str, object], record: dict[str, object]) -> None:
    """A dataset `special` of one example, by TFDS alone."""

    class Special(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> tfds.core.DatasetInfo:
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager: object) -> dict:
            del dl_manager
            return {"train": self._generate_examples()}

        def _generate_examples(self) -> Iterator[tuple[int, dict]]:
            yield 0, record

    Special(data_dir=str(folder), file_format="array_record").download_and_prepare()


def test_a_dataset_without_labels_is_refused(tmp_path: Path):
    """A dataset of images and texts is an error that says which feature is missing and which there are."""
    (tmp_path / "1.png").write_bytes(png_bytes(IMAGES[0]))
    features = {"image": tfds.features.Image(encoding_format="png"), "caption": tfds.features.Text()}
    prepare(tmp_path, features, {"image": str(tmp_path / "1.png"), "caption": "noise"})
    with pytest.raises(InvalidArgument, match=r"no feature label.*caption"):
        open_source("tfds:special", data_dir=str(tmp_path))


def test_labels_without_names_are_numbered(tmp_path: Path):
    """Where TFDS knows only how many classes there are, their names are their numbers."""
    (tmp_path / "1.png").write_bytes(png_bytes(IMAGES[0]))
    features = {
        "image": tfds.features.Image(encoding_format="png"),
        "label": tfds.features.ClassLabel(num_classes=3),
    }
    prepare(tmp_path, features, {"image": str(tmp_path / "1.png"), "label": 2})
    source = open_source("tfds:special", data_dir=str(tmp_path))
    assert source.classes == ("0", "1", "2")
    assert source.image_shape == (None, None, 3)
    (example,) = source.examples("train")
    assert example["label"] == 2


def test_labels_that_are_not_classes_are_refused(tmp_path: Path):
    """A label that is a plain number has no classes to learn; the error names the feature."""
    (tmp_path / "1.png").write_bytes(png_bytes(IMAGES[0]))
    features = {"image": tfds.features.Image(encoding_format="png"), "label": tfds.features.Scalar(np.int32)}
    prepare(tmp_path, features, {"image": str(tmp_path / "1.png"), "label": 2})
    with pytest.raises(InvalidArgument, match="label"):
        open_source("tfds:special", data_dir=str(tmp_path))
