"""Whole runs of a segmenter: masks of boxes, what training leaves, how it resumes, what the scripts make of it."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import ellipse_masks
import numpy as np
import pytest
import script
import segment
import train_segmenter
from PIL import Image
from whole_runs import begin_voc, terminated_after, untimed, write_voc

from xxnet_jax.data import open_source, read_image
from xxnet_jax.data.sources.voc_masks import read_classes
from xxnet_jax.errors import ConfigMismatch, InvalidArgument, UnknownName
from xxnet_jax.segmentation.runs import SegmenterRecipe, SegmenterRun, run_segmenter
from xxnet_jax.training import LoopResult, Run

TINY: dict[str, Any] = {"features_of_blocks": (4, 4, 8, 8, 8), "dense": (8,), "window": 1}


def write_boxes(folder: Path) -> None:
    """Six images of 40 x 48 in the form of VOC, each with a large red and a small blue disc."""
    splits = {"train": ["train0", "train1", "train2", "train3"], "val": ["val0"], "test": ["test0"]}
    begin_voc(folder, splits)
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:40, :48]
    for names in splits.values():
        for name in names:
            image = random.integers(90, 130, (40, 48, 3)).astype(np.uint8)
            objects = []
            for kind, colour, side in (("large", (255, 0, 0), 24), ("small", (0, 0, 255), 10)):
                x, y = random.integers(0, 48 - side), random.integers(0, 40 - side)
                middle = (side - 1) / 2
                image[(rows - y - middle) ** 2 + (columns - x - middle) ** 2 <= (side / 2) ** 2] = colour
                objects.append((kind, x, y, side, side))
            write_voc(folder, name, image, objects)


@pytest.fixture(scope="module")
def masks(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("discs")
    write_boxes(folder / "boxes")
    ellipse_masks.make_masks(open_source(f"voc:{folder / 'boxes'}", task="detection"), folder / "masks")
    return folder / "masks"


@pytest.fixture(scope="module")
def recipe(masks) -> SegmenterRecipe:
    return SegmenterRecipe(
        model="vgg11_bn",
        model_options=TINY,
        data=f"voc:{masks}",
        preprocessing="unit",
        padding=0,
        height=40,
        width=48,
        mirror=0.5,
        batch_size=2,
        steps=5,
        optimizer="adam",
        learning_rate=0.01,
        log_every=2,
        evaluate_every=3,
        devices=1,
    )


@pytest.fixture(scope="module")
def undisturbed(recipe, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "undisturbed"
    assert isinstance(run_segmenter(recipe, workdir, quiet=True), dict)
    return workdir


def test_masks_of_boxes(masks):
    """Each pixel of a disc has the class of its colour, but for those at its edge; the smaller disc is on top."""
    source = open_source(f"voc:{masks}", task="segmentation")
    assert source.classes == ("background", "large", "small")
    for example in source.examples("train"):
        image = example["image"].astype(int)
        by_colour = np.select([(image == colour).all(-1) for colour in ((255, 0, 0), (0, 0, 255))], [1, 2])
        different = by_colour != example["classes"]
        assert different.mean() < 0.03
        assert (example["classes"] == 2).sum() > 50


def test_masks_are_not_written_over(call: Any, masks, tmp_path):
    """What is there stays."""
    words = (ellipse_masks.ellipse_masks, f"voc:{masks.with_name('boxes')}")
    status, _, errors = call(*words, masks)
    assert status == 2
    assert "there already" in errors
    status, output, _ = call(*words, tmp_path / "masks")
    assert status == 0
    assert "4 (train), 1 (validation), 1 (test)" in output


def test_what_a_run_leaves(undisturbed):
    """Loss, accuracy of pixels, IoU of each class, and a report; the best checkpoint has the highest mean IoU."""
    lines = untimed(undisturbed)
    assert [line["step"] for line in lines if "train/loss" in line] == [2, 4, 5]
    validated = {line["step"]: line for line in lines if "validation/mIoU" in line}
    assert list(validated) == [3, 5]
    report = json.loads((undisturbed / "report.json").read_text())
    means = {step: line["validation/mIoU"] for step, line in validated.items()}
    assert report["validation/mIoU"] == means[report["best_step"]] == max(means.values())
    each = [report[f"test/IoU/{name}"] for name in ("background", "large", "small")]
    assert report["test/mIoU"] == pytest.approx(np.mean(each))
    assert 0 <= report["test/accuracy"] <= 1
    assert (undisturbed / "curves.png").stat().st_size > 1000


def test_interrupted_and_resumed_is_undisturbed(recipe, undisturbed, tmp_path):
    """What was logged, and the report's figures, are those of a run without a break."""
    with terminated_after(4):
        assert isinstance(run_segmenter(recipe, tmp_path / "run", quiet=True), LoopResult)
    assert isinstance(run_segmenter(recipe, tmp_path / "run", quiet=True), dict)
    assert untimed(tmp_path / "run") == untimed(undisturbed)


def test_scripts(call: Any, recipe, undisturbed, masks, tmp_path, monkeypatch):
    """Training by a recipe, and masks of images of any size, as files and as a picture."""
    monkeypatch.setattr(script, "load_recipe", lambda *_: (recipe, "A recipe."))
    status, output, _ = call(train_segmenter.train_segmenter, "made_up", "--steps", 2, "--workdir", tmp_path / "run")
    assert status == 0
    assert "test/mIoU" in output
    image = np.random.default_rng(0).integers(0, 256, (33, 70, 3)).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "odd.png")
    files = [tmp_path / "odd.png", masks / "JPEGImages" / "test0.png"]
    status, output, _ = call(segment.segment, undisturbed, *files, "--out", tmp_path / "out")
    assert status == 0
    for line, file in zip(output.splitlines(), files, strict=True):
        found = read_classes(tmp_path / "out" / f"{file.stem}.png")
        assert found.shape == read_image(file, 3).shape[:2]
        shares = json.loads(line)["shares"]
        assert list(shares) == ["background", "large", "small"]
        for number, share in enumerate(shares.values()):
            assert share == pytest.approx((found == number).mean(), abs=1e-4)
    assert (tmp_path / "out" / "segmented.png").stat().st_size > 1000


def test_a_segmenter_is_no_classifier(recipe, undisturbed):
    """What is for classifiers is refused, and so is a run of another kind."""
    with pytest.raises(InvalidArgument, match="label_smoothing"):
        dataclasses.replace(recipe, label_smoothing=0.1)
    with pytest.raises(ConfigMismatch, match="segmentation"):
        Run(undisturbed)
    with pytest.raises(UnknownName, match="window"):
        run_segmenter(dataclasses.replace(recipe, model_options={"windows": 5}), undisturbed.with_name("wrong"))
    assert isinstance(SegmenterRun(undisturbed).load().step, int)


def test_images_are_scored_at_the_scale_of_training(undisturbed):
    """An image enlarged three times has, scaled back, the classes of the image; at its own size it is another one."""
    trained = SegmenterRun(undisturbed).load()
    side = trained.trained_side
    assert side == min(trained.config.image_format.shape[:2])
    image = np.random.default_rng(0).integers(0, 256, (side, side + 9, 3)).astype(np.uint8)
    large = image.repeat(3, axis=0).repeat(3, axis=1)
    (own,), (scaled,) = trained.segment([image]), trained.segment([large], side)
    assert scaled.shape == large.shape[:2]
    assert np.mean(scaled[1::3, 1::3] == own) > 0.98
    (same,) = trained.segment([image], side)
    np.testing.assert_array_equal(same, own)
    with pytest.raises(InvalidArgument, match="at least 1 pixel"):
        trained.segment([image], 0)
