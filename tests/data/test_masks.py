"""Masks: files, sources, rows of batches."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xxnet_jax.data import VOID, ImageFormat, MasksDecoder, open_source
from xxnet_jax.data.masks import make_masks_example, voc_palette, write_classes
from xxnet_jax.data.source import IndexedExamples
from xxnet_jax.data.sources.voc_masks import read_classes
from xxnet_jax.errors import CorruptData, InvalidArgument, MissingData

RNG = np.random.default_rng(0)


def write_folder(folder: Path, count: int = 3) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images of 20 x 30 with masks of three classes and some void; what is in them."""
    made = []
    (folder / "ImageSets" / "Segmentation").mkdir(parents=True)
    (folder / "JPEGImages").mkdir()
    for number in range(count):
        image = RNG.integers(0, 256, (20, 30, 3)).astype(np.uint8)
        classes = RNG.choice([0, 1, 2, VOID], (20, 30)).astype(np.uint8)
        Image.fromarray(image).save(folder / "JPEGImages" / f"{number}.png")
        write_classes(folder / "SegmentationClass" / f"{number}.png", classes)
        made.append((image, classes))
    names = [str(number) for number in range(count)]
    (folder / "ImageSets" / "Segmentation" / "train.txt").write_text("\n".join(names[:-1]))
    (folder / "ImageSets" / "Segmentation" / "val.txt").write_text(names[-1] + "\n")
    return made


def test_the_palette_is_vocs():
    """Colours that the authors publish."""
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 8: (64, 0, 0), 15: (192, 128, 128), 20: (0, 64, 128)}
    palette = voc_palette()
    for number, colour in {**known, VOID: (224, 224, 192)}.items():
        assert tuple(palette[number]) == colour


def test_classes_come_back(tmp_path):
    """As they were written, whatever the colours; gray files are numbers, too, and coloured ones none."""
    classes = RNG.integers(0, 256, (7, 9)).astype(np.uint8)
    write_classes(tmp_path / "deep" / "palette.png", classes)
    Image.fromarray(classes).save(tmp_path / "gray.png")
    for name in ("deep/palette.png", "gray.png"):
        np.testing.assert_array_equal(read_classes(tmp_path / name), classes)
    Image.fromarray(np.repeat(classes[..., None], 3, -1)).save(tmp_path / "colour.png")
    with pytest.raises(CorruptData, match="colours"):
        read_classes(tmp_path / "colour.png")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(CorruptData, match=r"text\.png"):
        read_classes(tmp_path / "text.png")
    with pytest.raises(MissingData, match="no mask"):
        read_classes(tmp_path / "absent.png")


def test_source(tmp_path):
    """Splits, names of classes, images with their masks."""
    made = write_folder(tmp_path)
    source = open_source(f"voc:{tmp_path}?classes=background,cell,dirt", task="segmentation")
    assert source.classes == ("background", "cell", "dirt")
    for split, expected in (("train", made[:2]), ("validation", made[2:])):
        examples = source.examples(split)
        assert isinstance(examples, IndexedExamples)
        for example, (image, classes) in zip(examples, expected, strict=True):
            np.testing.assert_array_equal(example["image"], image)
            np.testing.assert_array_equal(example["classes"], classes)
    assert len(open_source(f"voc:{tmp_path}", task="segmentation").classes) == 21
    (tmp_path / "classes.txt").write_text("background\ncell\n")
    assert open_source(f"voc:{tmp_path}", task="segmentation").classes == ("background", "cell")
    with pytest.raises(InvalidArgument, match="segmentation"):
        open_source("digits", task="segmentation")
    (tmp_path / "JPEGImages" / "0.png").unlink()
    with pytest.raises(MissingData, match=r"0\.jpg"):
        open_source(f"voc:{tmp_path}", task="segmentation")


def test_rows():
    """Images and masks are stretched together, void stays void; masks of other sizes and unknown classes are errors."""
    image = RNG.integers(0, 256, (6, 8, 3)).astype(np.uint8)
    classes = RNG.choice([0, 1, VOID], (6, 8)).astype(np.uint8)
    row = MasksDecoder(ImageFormat(12, 24, 3), 2)(make_masks_example(image, classes))
    assert (row["image"].shape, row["label"].dtype) == ((12, 24, 3), np.int32)
    np.testing.assert_array_equal(row["label"], classes.repeat(2, axis=0).repeat(3, axis=1))
    with pytest.raises(CorruptData, match="label 1"):
        MasksDecoder(ImageFormat(6, 8, 3), 1)(make_masks_example(image, classes))
    with pytest.raises(CorruptData, match="must be equal"):
        make_masks_example(image, classes.T)
    blank = MasksDecoder(ImageFormat(6, 8, 3), 2).blank()
    assert not blank["mask"]
    assert (blank["label"] == VOID).all()


def test_mirrored():
    """About half of the draws turn image and mask, both; examples without a draw stay."""
    image = RNG.integers(0, 256, (4, 6, 3)).astype(np.uint8)
    classes = np.arange(24, dtype=np.uint8).reshape(4, 6)
    decoder = MasksDecoder(ImageFormat(4, 6, 3), 24, mirror=0.5)
    assert decoder.varies
    turned = 0
    for place in range(200):
        row = decoder(make_masks_example(image, classes), np.array([7, place], np.uint32))
        other = not np.array_equal(row["label"], classes)
        turned += other
        np.testing.assert_array_equal(row["image"], image[:, ::-1] if other else image)
        np.testing.assert_array_equal(row["label"], classes[:, ::-1] if other else classes)
    assert 70 < turned < 130
    np.testing.assert_array_equal(decoder(make_masks_example(image, classes))["label"], classes)
    with pytest.raises(InvalidArgument, match="mirror"):
        MasksDecoder(ImageFormat(4, 6, 3), 24, mirror=1.5)
