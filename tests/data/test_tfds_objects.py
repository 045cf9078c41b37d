"""Detection sets of TensorFlow Datasets, prepared as array_record and read without TensorFlow."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

from xxnet_jax.boxes import swap_xy
from xxnet_jax.data import ObjectsDecoder, ObjectsFormat, make_loader, open_source
from xxnet_jax.data.images import png_bytes
from xxnet_jax.errors import InvalidArgument

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 40, 50, 3), np.uint8)
PIXELS = [[(1, 1, 50, 40), (11, 6, 20, 15)], [], [(3, 4, 5, 6)]]  # xmin, ymin, xmax, ymax as VOC counts
FLAGS = {"voc/2007": "is_difficult", "coco/2017": "is_crowd", "other/small": None}


def prepare(folder: Path, name: str, flag: str | None, box: str = "bbox") -> None:
    """A dataset with the features that TFDS's own of this name have, as far as they are read: boxes are the numbers
    above divided by the sides of the image."""
    feature: dict[str, Any] = {
        box: tfds.features.BBoxFeature(),
        "label": tfds.features.ClassLabel(names=["cat", "dog"]),
    }
    if flag is not None:
        feature[flag] = np.bool_

    dataset, _, config = name.partition("/")

    class Special(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=config)]  # noqa: RUF012

        def _info(self) -> tfds.core.DatasetInfo:
            features = {"image": tfds.features.Image(encoding_format="png"), "objects": tfds.features.Sequence(feature)}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager: object) -> dict:
            del dl_manager
            return {"train": self._generate_examples()}

        def _generate_examples(self) -> Iterator[tuple[int, dict]]:
            for number, (image, boxes) in enumerate(zip(IMAGES, PIXELS, strict=True)):
                path = folder / f"{dataset}{number}.png"
                path.write_bytes(png_bytes(image))
                objects = []
                for place, (xmin, ymin, xmax, ymax) in enumerate(boxes):
                    bbox = tfds.features.BBox(ymin / 40, xmin / 50, ymax / 40, xmax / 50)
                    objects.append({box: bbox, "label": place} | ({} if flag is None else {flag: place == 1}))
                yield number, {"image": str(path), "objects": objects}

    Special.name = dataset
    Special(data_dir=str(folder), config=config, file_format="array_record").download_and_prepare()


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("prepared")
    for name, flag in FLAGS.items():
        prepare(folder, name, flag)
    return str(folder)


@pytest.mark.parametrize("name", FLAGS)
def test_objects_are_read(data_dir: str, name: str):
    """Images, labels and flags; boxes in pixels, of VOC from the first pixel's edge, of others as they are."""
    source = open_source(f"tfds:{name}", data_dir=data_dir, task="detection")
    assert source.classes == ("cat", "dog")
    found = {example["image"].tobytes(): example for example in source.examples("train")}
    for image, pixels in zip(IMAGES, PIXELS, strict=True):
        example = found[image.tobytes()]
        number = len(pixels)
        expected = np.reshape(pixels, (-1, 4)) - ((1, 1, 0, 0) if name == "voc/2007" else 0)
        assert example["boxes"].dtype == np.float32
        np.testing.assert_allclose(example["boxes"], expected, atol=1e-4)  # TFDS keeps float32 parts of the sides
        assert example["labels"].tolist() == list(range(number))
        marked = [place == 1 for place in range(number)]
        assert example["difficult"].tolist() == (marked if name == "voc/2007" else number * [False])
        assert example["crowd"].tolist() == (marked if name == "coco/2017" else number * [False])


def test_loaders_read_them(data_dir: str):
    """A batch has all objects, also of examples that were pickled, as those for other processes are."""
    examples = open_source("tfds:voc/2007", data_dir=data_dir, task="detection").examples("train")
    decoder = ObjectsDecoder(ObjectsFormat(40, 50, 3, 2), 2)
    batch, other = (
        next(make_loader(each, decoder, 3, train=False, resident=False).batches())
        for each in (examples, pickle.loads(pickle.dumps(examples)))
    )
    assert sorted(batch["num_objects"].tolist()) == [0, 1, 2]
    for key in batch:
        np.testing.assert_array_equal(batch[key], other[key])


def test_a_set_without_objects_is_refused(data_dir: str, tmp_path: Path):
    """Boxes are not read as labels, nor the other way: the message says which feature is missing, for what."""
    with pytest.raises(InvalidArgument, match=r"no feature label, which classification needs.*objects"):
        open_source("tfds:voc/2007", data_dir=data_dir)
    prepare(tmp_path, "odd/small", None, box="place")
    with pytest.raises(InvalidArgument, match=r"(?s)must have bbox and label.*place"):
        open_source("tfds:odd/small", data_dir=str(tmp_path), task="detection")


def test_boxes_of_tensorflow_are_turned():
    """(ymin, xmin, ymax, xmax) is not (xmin, ymin, xmax, ymax)."""
    assert swap_xy(np.array([[1.0, 2, 3, 4]])).tolist() == [[2, 1, 4, 3]]
