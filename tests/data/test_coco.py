"""`coco:` annotations: categories with gaps, crowds, several splits, and one error that names the file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xxnet_jax.boxes import xyxy_to_xywh
from xxnet_jax.data import open_source
from xxnet_jax.errors import CorruptData, InvalidArgument, MissingData


def content() -> dict[str, Any]:
    return {
        "images": [{"id": 9, "file_name": "b.png"}, {"id": 4, "file_name": "a.png"}],
        "categories": [{"id": 90, "name": "dog"}, {"id": 2, "name": "cat"}, {"id": 7, "name": "cow"}],
        "annotations": [
            {"id": 1, "image_id": 4, "category_id": 90, "bbox": [1.5, 2, 4, 3], "iscrowd": 0, "area": 12},
            {"id": 2, "image_id": 4, "category_id": 2, "bbox": [0, 0, 8, 6], "iscrowd": 1, "area": 48},
        ],
    }


def write(folder: Path, name: str, text: Any) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if isinstance(text, str) else json.dumps(text))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate("ab"):
        Image.fromarray(np.full((6, 8, 3), number, np.uint8)).save(tmp_path / f"{name}.png")
    write(tmp_path, "file.json", content())
    return tmp_path


def test_annotations_are_read(folder: Path):
    """Images in the order of the file, also without objects; labels by the categories' numbers; crowds marked; boxes
    as pycocotools has them."""
    source = open_source(f"coco:{folder}?annotations=file.json", task="detection")
    assert source.classes == ("cat", "cow", "dog")
    empty, two = source.examples("train")
    assert empty["boxes"].shape == (0, 4)
    assert (empty["image"] == 1).all()
    assert two["boxes"].tolist() == [[1.5, 2, 5.5, 5], [0, 0, 8, 6]]
    assert two["labels"].tolist() == [2, 0]
    assert two["crowd"].tolist() == [False, True]
    assert not two["difficult"].any()
    coco = pytest.importorskip("pycocotools.coco").COCO(str(folder / "file.json"))
    expected = [entry["bbox"] for entry in coco.loadAnns(coco.getAnnIds(imgIds=[4]))]
    np.testing.assert_array_equal(xyxy_to_xywh(two["boxes"]), expected)


def test_the_folders_of_coco(folder: Path):
    """annotations/instances_val2017.json with the images of val2017, beside those of train2017."""
    for part in ("train2017", "val2017"):
        (folder / part).mkdir()
        for name in "ab":
            (folder / part / f"{name}.png").write_bytes((folder / f"{name}.png").read_bytes())
        write(folder, f"annotations/instances_{part}.json", content())
    uri = f"coco:{folder}?train=instances_train2017.json&validation=instances_val2017.json&channels=1"
    source = open_source(uri, task="detection")
    assert set(source.splits) == {"train", "validation"}
    paths = [image.path for image in source.splits["validation"].images]  # type: ignore[attr-defined]
    assert paths == [folder / "val2017" / "b.png", folder / "val2017" / "a.png"]
    assert source.examples("train+validation")[3]["image"].shape == (6, 8, 1)  # type: ignore[index]
    changed = content()
    changed["categories"][0]["name"] = "wolf"
    write(folder, "annotations/instances_val2017.json", changed)
    with pytest.raises(InvalidArgument, match="other categories"):
        open_source(uri, task="detection")


def broken(key: str, value: Any) -> dict[str, Any]:
    """The annotations with another value in the first of them."""
    changed = content()
    changed["annotations"][0][key] = value
    return changed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value"),
        ('{"images": [', "Expecting value"),
        ("[]", "indices"),
        ({"images": [], "annotations": []}, "'categories' is missing"),
        (broken("category_id", 3), "unknown category 3"),
        (broken("image_id", 3), "unknown image 3"),
        (broken("bbox", [1, 2, 3]), r"annotation 1 has the bbox \[1, 2, 3\], where \[x, y, width"),
        (broken("bbox", [1, 2, 3, float("nan")]), "nan"),
        (broken("bbox", "wide"), "bbox wide"),
    ],
)
def test_malformed_annotations_are_named(folder: Path, text: Any, message: str):
    """Cut short, not the format, numbers that do not exist, boxes that are none: one error with the file's name."""
    write(folder, "file.json", text)
    with pytest.raises(CorruptData, match=rf"(?s)file\.json is no file of COCO's annotations.*{message}"):
        open_source(f"coco:{folder}?annotations=file.json", task="detection")


def test_what_is_missing_is_named(folder: Path):
    """No file of annotations, none asked for, two for one split; an image that is not there when it is read."""
    with pytest.raises(MissingData, match=r"other\.json"):
        open_source(f"coco:{folder}?annotations=other.json", task="detection")
    with pytest.raises(InvalidArgument, match=r"annotations=FILE\.json"):
        open_source(f"coco:{folder}", task="detection")
    with pytest.raises(InvalidArgument, match="keep one"):
        open_source(f"coco:{folder}?annotations=file.json&train=file.json", task="detection")
    (folder / "a.png").unlink()
    source = open_source(f"coco:{folder}?annotations=file.json", task="detection")
    with pytest.raises(MissingData, match=r"a\.png"):
        list(source.examples("train"))
