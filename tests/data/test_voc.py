"""`voc:` folders: boxes, classes, splits, and one error that names the file for whatever is wrong."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xxnet_jax.data import ObjectsDecoder, ObjectsFormat, Source, make_loader, open_source
from xxnet_jax.data.source import IndexedExamples
from xxnet_jax.data.sources.voc import continuous, read_annotation
from xxnet_jax.errors import CorruptData, InvalidArgument, MissingData, UnknownName

BCCD = Path(__file__).parents[3] / "shared" / "data"

OBJECT = """
  <object>
    <name>{name}</name>
    <difficult>{difficult}</difficult>
    <part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>
    <bndbox><xmax>{xmax}</xmax><xmin>{xmin}</xmin><ymin>{ymin}</ymin><ymax>{ymax}</ymax></bndbox>
  </object>"""
DOG = {"name": "dog", "difficult": 0, "xmin": 3, "ymin": 2, "xmax": 6, "ymax": 4}
CAT = {"name": "cat", "difficult": 1, "xmin": 1, "ymin": 1, "xmax": 8, "ymax": 6}


def annotation(*objects: dict) -> str:
    return "<annotation>" + "".join(OBJECT.format(**each) for each in objects) + "</annotation>"


def open_voc(folder: Path, query: str = "") -> Source:
    return open_source(f"voc:{folder}{query}", task="detection")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images of 6x8: a dog, painted in its box; a dog and a difficult cat; nothing."""
    for name in ("ImageSets/Main", "JPEGImages", "Annotations"):
        (tmp_path / name).mkdir(parents=True)
    dog = np.zeros((6, 8, 3), np.uint8)
    dog[1:4, 2:6] = 255
    for name, image, objects in (
        ("000001", dog, [DOG]),
        ("000002", np.zeros_like(dog), [CAT, DOG]),
        ("000003", np.zeros_like(dog), []),
    ):
        Image.fromarray(image).save(tmp_path / "JPEGImages" / f"{name}.png")
        (tmp_path / "Annotations" / f"{name}.xml").write_text(annotation(*objects))
    for name, images in (
        ("train", "000001\n000003\n"),
        ("val", "000002 1\n"),
        ("trainval", "000001\n\n000002\n000003"),
    ):
        (tmp_path / "ImageSets" / "Main" / f"{name}.txt").write_text(images)
    (tmp_path / "ImageSets" / "Main" / "dog_train.txt").write_text("000001 1\n000003 -1\n")
    return tmp_path


def test_a_folder_is_read(folder: Path):
    """Splits, classes by the alphabet, boxes that enclose the painted pixels, labels, difficult objects, no objects."""
    source = open_voc(folder)
    assert source.classes == ("cat", "dog")
    assert source.image_shape == (None, None, 3)
    assert {name: len(examples) for name, examples in source.splits.items()} == {
        "train": 2,
        "validation": 1,
        "trainval": 3,
    }
    examples = source.examples("train+validation")
    assert isinstance(examples, IndexedExamples)
    first, empty, two = examples
    rows, columns = np.nonzero(first["image"][..., 0])
    assert first["boxes"].tolist() == [[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]
    assert first["boxes"].dtype == np.float32
    assert empty["boxes"].shape == (0, 4)
    assert two["boxes"].tolist() == [[0, 0, 8, 6], [2, 1, 6, 4]]
    assert two["labels"].tolist() == [0, 1]
    assert two["labels"].dtype == np.int32
    assert two["difficult"].tolist() == [True, False]
    assert not two["crowd"].any()


def test_pixels_become_continuous():
    """The first pixel of an image, 1 to 1, reaches from 0 to 1; an object of 100 pixels is 100 wide."""
    found = continuous(np.array([[1, 1, 1, 1], [101, 51, 200, 60]]))
    assert found.tolist() == [[0, 0, 1, 1], [100, 50, 200, 60]]


def test_classes_can_be_chosen(folder: Path):
    """In the order that is given; objects of others are left out, images stay; an unknown one is an error."""
    source = open_voc(folder, "?classes=dog&channels=1")
    assert source.classes == ("dog",)
    (example,) = source.examples("validation")
    assert example["labels"].tolist() == [0]
    assert example["boxes"].tolist() == [[2, 1, 6, 4]]
    assert example["image"].shape == (6, 8, 1)
    assert open_voc(folder, "?classes=dog,cat").classes == ("dog", "cat")
    with pytest.raises(InvalidArgument, match="no objects horse: there are cat, dog"):
        open_voc(folder, "?classes=dog,horse")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no element"),
        ("<annotation><object>", "no element"),
        ("no XML", "syntax"),
        (annotation({**DOG, "xmin": "wide"}), "wide"),
        (annotation({**DOG, "xmin": "nan"}), "finite"),
        (annotation({**DOG, "xmin": ""}), "bndbox/xmin"),
        (annotation({**DOG, "name": " "}), "name"),
        (annotation({**DOG, "difficult": "maybe"}), "maybe"),
        ("<annotation><object><name>dog</name></object></annotation>", "bndbox/xmin"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "document type"),
        ('<!DOCTYPE a SYSTEM "file:///etc/hostname"><annotation/>', "document type"),
    ],
)
def test_a_malformed_annotation_is_named(folder: Path, content: str, message: str):
    """Cut short, not XML, numbers that are none, parts that are missing, entities: one error with the file's name."""
    (folder / "Annotations" / "000002.xml").write_text(content)
    with pytest.raises(CorruptData, match=rf"000002\.xml is no annotation.*{message}"):
        open_voc(folder)


def test_fractions_of_pixels_and_missing_flags_are_read(tmp_path: Path):
    """Some tools write boxes with fractions, and leave `difficult` out: then nothing is."""
    text = annotation({**DOG, "xmin": 3.5}).replace("<difficult>0</difficult>", "")
    (tmp_path / "1.xml").write_text(text)
    found = read_annotation(tmp_path / "1.xml")
    assert found.boxes.tolist() == [[2.5, 1, 6, 4]]
    assert found.names == ("dog",)
    assert found.difficult.tolist() == [False]


def test_what_is_missing_is_named(folder: Path):
    """No folder, no lists, no annotation, no image: an error with the path that was looked for."""
    for remove, message in (
        ("JPEGImages/000003.png", r"JPEGImages/000003\.jpg"),
        ("Annotations/000001.xml", r"Annotations/000001\.xml"),
    ):
        (folder / remove).rename(folder / "kept")
        with pytest.raises(MissingData, match=message):
            open_voc(folder)
        (folder / "kept").rename(folder / remove)
    with pytest.raises(MissingData, match=r"ImageSets/Main/train\.txt"):
        open_voc(folder / "JPEGImages")
    with pytest.raises(InvalidArgument, match="voc:FOLDER"):
        open_source("voc:", task="detection")
    with pytest.raises(InvalidArgument, match="channels"):
        open_voc(folder, "?channels=2")
    with pytest.raises(UnknownName, match="channels"):
        open_voc(folder, "?chanels=1")


def test_tasks_are_not_mixed_up(folder: Path):
    """A set of boxes is not read as one of classes, nor the other way; the message names the sources there are."""
    with pytest.raises(
        InvalidArgument, match="voc: is for detection and segmentation; for classification there are digits"
    ):
        open_source(f"voc:{folder}")
    with pytest.raises(InvalidArgument, match="digits: is for classification; for detection there are coco, tfds, voc"):
        open_source("digits", task="detection")


@pytest.mark.skipif(not (BCCD / "bccd.zip").exists(), reason="the blood cells are not here")
def test_blood_cells(tmp_path: Path):
    """BCCD: 205, 87 and 72 images, 4,888 objects of three classes, and batches of them."""
    import zipfile

    with zipfile.ZipFile(BCCD / "bccd.zip") as archive:
        archive.extractall(tmp_path)
    (folder,) = (path.parent for path in tmp_path.rglob("ImageSets"))
    source = open_voc(folder)
    assert source.classes == ("Platelets", "RBC", "WBC")
    assert {name: len(examples) for name, examples in source.splits.items()} == {
        "train": 205,
        "validation": 87,
        "trainval": 292,
        "test": 72,
    }
    labels = np.concatenate([image.labels for part in ("trainval", "test") for image in source.splits[part].images])  # type: ignore[attr-defined]
    assert np.bincount(labels).tolist() == [361, 4155, 372]
    decoder = ObjectsDecoder(ObjectsFormat(240, 320, 3, 40), 3)
    batch = next(make_loader(source.examples("test"), decoder, 8, train=False, resident=False).batches())
    assert batch["object_mask"].sum() == batch["num_objects"].sum()
    np.testing.assert_allclose(batch["scale"], 0.5)
