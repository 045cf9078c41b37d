"""tfrecord datasets, with TensorFlow: the same examples as array_record, as a stream that can be resumed."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from xxnet_jax.data import Decoder, ImageFormat, make_loader, open_source
from xxnet_jax.data.prepare import prepare_tfds
from xxnet_jax.data.source import ArrayExamples, IndexedExamples, Source, StreamedExamples
from xxnet_jax.errors import InvalidArgument

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("default")]  # TensorFlow's and Keras's warnings

SIZES = {"train": 41, "test": 7}
SHAPE = (5, 4, 3)
RNG = np.random.default_rng(0)
IMAGES = {split: RNG.integers(0, 256, (size, *SHAPE), np.uint8) for split, size in SIZES.items()}
LABELS = {split: RNG.integers(0, 3, size, np.int32) for split, size in SIZES.items()}
CLASSES = ("ant", "bee", "cat")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    """`records` as TFDS and TensorFlow write it, tfrecord in several shards, and `arrays` as this package does."""
    pytest.importorskip("tensorflow")
    import tensorflow_datasets as tfds

    class Records(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> tfds.core.DatasetInfo:
            features = {
                "image": tfds.features.Image(shape=SHAPE),
                "label": tfds.features.ClassLabel(names=list(CLASSES)),
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
            )

        def _split_generators(self, dl_manager: object) -> dict:
            del dl_manager
            return {split: self._generate_examples(split) for split in SIZES}

        def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
            for key, (image, label) in enumerate(zip(IMAGES[split], LABELS[split], strict=True)):
                yield key, {"image": image, "label": int(label)}

    folder = tmp_path_factory.mktemp("tensorflow")
    config = tfds.download.DownloadConfig(num_shards=3)
    Records(data_dir=str(folder), file_format="tfrecord").download_and_prepare(download_config=config)
    splits = {split: ArrayExamples(IMAGES[split], LABELS[split]) for split in SIZES}
    prepare_tfds(Source("arrays", CLASSES, SHAPE, splits), "arrays", folder)
    return str(folder)


def pairs(source: Source, split: str) -> list[tuple[bytes, int]]:
    return [(example["image"].tobytes(), example["label"]) for example in source.examples(split)]


@pytest.mark.parametrize("split", ["train", "test", "train[5:-3]", "train[50%:]"])
def test_tfrecord_gives_the_examples_of_array_record(data_dir: str, split: str):
    """Both formats of the same data give the same images and labels in the same order, again and again."""
    records = open_source("tfds:records", data_dir=data_dir)
    arrays = open_source("tfds:arrays", data_dir=data_dir)
    assert isinstance(records.examples(split), StreamedExamples)
    assert isinstance(arrays.examples(split), IndexedExamples)
    assert (records.classes, records.image_shape) == (arrays.classes, arrays.image_shape) == (CLASSES, SHAPE)
    assert pairs(records, split) == pairs(arrays, split) == pairs(records, split)
    assert len(records.examples(split)) == len(pairs(records, split))


def test_every_example_is_there(data_dir: str):
    """The stream gives what was written into it."""
    records = open_source("tfds:records", data_dir=data_dir)
    for split in SIZES:
        expected = [(image.tobytes(), int(label)) for image, label in zip(IMAGES[split], LABELS[split], strict=True)]
        assert pairs(records, split) == expected


def test_a_stream_cannot_be_joined(data_dir: str):
    """`train+test` of a tfrecord dataset is an error that says why."""
    with pytest.raises(InvalidArgument, match="stream"):
        open_source("tfds:records", data_dir=data_dir).examples("train+test")


@pytest.mark.parametrize("start", [0, 3, 8, 10, 21])
def test_training_on_a_stream_resumes_exactly(data_dir: str, start: int, monkeypatch: pytest.MonkeyPatch):
    """`batches(start=k)` gives what follows k batches, across epochs of ten, with a buffer smaller than the stream."""
    from xxnet_jax.data import loader

    monkeypatch.setattr(loader, "SHUFFLE_BUFFER", 16)

    def batches(first: int, count: int) -> list[dict[str, np.ndarray]]:
        examples = open_source("tfds:records", data_dir=data_dir).examples("train")
        training = make_loader(examples, Decoder(ImageFormat(*SHAPE), 3), 4, train=True, seed=7, resident=False)
        return list(islice(training.batches(first), count))

    whole, restored = batches(0, start + 12), batches(start, 12)
    assert len(restored) == 12
    for one, other in zip(restored, whole[start:], strict=True):
        for key in ("image", "label", "mask"):
            np.testing.assert_array_equal(one[key], other[key])


def test_a_stream_is_evaluated_as_indexed_examples_are(data_dir: str):
    """The padded evaluation batches of both formats agree bit by bit."""
    evaluations = []
    for name in ("records", "arrays"):
        examples = open_source(f"tfds:{name}", data_dir=data_dir).examples("train")
        decoder = Decoder(ImageFormat(*SHAPE), 3)
        evaluations.append(list(make_loader(examples, decoder, 6, train=False, resident=False).batches()))
    assert len(evaluations[0]) == 7
    for one, other in zip(*evaluations, strict=True):
        for key in ("image", "label", "mask"):
            np.testing.assert_array_equal(one[key], other[key])


def test_without_tensorflow_the_extra_is_named(data_dir: str, monkeypatch: pytest.MonkeyPatch):
    """A real tfrecord dataset where TensorFlow is not installed is an error that says what to install."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)
    with pytest.raises(FileNotFoundError, match=r"tfrecord.*xxnet_jax\[tensorflow\]"):
        open_source("tfds:records", data_dir=data_dir)


def test_a_folder_of_prepared_data_holds_several_shards(data_dir: str):
    """The order was tested over more than one file."""
    assert len(list(Path(data_dir, "records", "1.0.0").glob("records-train.tfrecord-*"))) == 3
