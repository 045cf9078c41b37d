"""Whole runs of a detector on drawn rectangles: what they leave, how they resume, what the scripts make of them."""

import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any

import chex
import cluster_anchors
import detect
import evaluate_detector
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import script
import train_detector
from whole_runs import begin_voc, terminated_after, untimed, write_voc

from xxnet_jax.data import open_source
from xxnet_jax.data.source import IndexedExamples
from xxnet_jax.detection.detector import Found
from xxnet_jax.detection.faster_rcnn import FasterRCNNSettings
from xxnet_jax.detection.runs import (
    DetectorRecipe,
    DetectorRun,
    TrainedDetector,
    detection_evaluator,
    objects_decoder,
    resolve,
    run_detector,
)
from xxnet_jax.detection.second_stage import RegionSettings
from xxnet_jax.detection.yolo_v1 import YoloV1Settings
from xxnet_jax.detection.yolo_v2 import YoloV2Settings
from xxnet_jax.errors import ConfigMismatch, InvalidArgument, UnknownName
from xxnet_jax.metrics.matching import Detections
from xxnet_jax.models.darknet import table
from xxnet_jax.training import LoopResult, Recipe, Run, loop, run
from xxnet_jax.training.folder import RunFolder
from xxnet_jax.training.sharding import make_mesh

RATE = "learning_rate"
COLOURS = {"blue": (0, 0, 255), "red": (255, 0, 0)}
SETTINGS = FasterRCNNSettings(
    sizes=(12, 24),
    rpn_features=16,
    dense=(32,),
    anchor_samples=32,
    min_size=2,
    train_before=60,
    train_after=20,
    test_before=60,
    test_after=12,
    region_samples=16,
    background_from=0.0,
    max_detections=8,
)
REGIONS = RegionSettings(dense=(32,), region_samples=16, background_from=0.0, max_detections=8)


def draw_images(folder: Path, counts: dict[str, list[int]]) -> None:
    """Images of 60 x 80 in the form of VOC: for each split one for each number of rectangles."""
    splits = {split: [f"{split}{i}" for i in range(len(numbers))] for split, numbers in counts.items()}
    begin_voc(folder, splits)
    random = np.random.default_rng(0)
    for split, numbers in counts.items():
        for name, number in zip(splits[split], numbers, strict=True):
            image = random.integers(90, 130, (60, 80, 3)).astype(np.uint8)
            objects = []
            for place in random.permutation(6)[:number]:
                x, y = 2 + 26 * (place % 3), 2 + 30 * (place // 3)
                width, height = random.integers(10, 24), random.integers(10, 26)
                colour = random.choice(list(COLOURS))
                image[y : y + height, x : x + width] = COLOURS[colour]
                objects.append((colour, x, y, width, height))
            write_voc(folder, name, image, objects)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """One image has no object, one more than there is room for."""
    folder = tmp_path_factory.mktemp("drawings")
    draw_images(folder, {"train": [2, 0, 5, 1], "val": [2, 0, 1], "test": [3]})
    return folder


@pytest.fixture(scope="module")
def recipe(data) -> DetectorRecipe:
    return DetectorRecipe(
        model="small",
        data=f"voc:{data}",
        height=48,
        width=64,
        max_objects=3,
        batch_size=2,
        steps=5,
        optimizer="momentum",
        learning_rate=0.01,
        ema_decay=0.5,
        log_every=2,
        evaluate_every=3,
        devices=1,
        faster_rcnn=SETTINGS,
    )


@pytest.fixture(scope="module")
def undisturbed(recipe, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "undisturbed"
    assert isinstance(run_detector(recipe, workdir, quiet=True), dict)
    return workdir


def test_what_a_run_leaves(undisturbed, recipe):
    """Losses of all parts, average precision, curves and a report; the best checkpoint has the highest of the mean."""
    lines = untimed(undisturbed)
    trained = [line for line in lines if "train/loss" in line]
    assert [line["step"] for line in trained] == [2, 4, 5]
    for line in trained:
        parts = [line[f"train/{name}"] for name in ("rpn_class", "rpn_box", "class", "box")]
        assert line["train/loss"] == pytest.approx(sum(parts), rel=1e-5)
        assert min(parts) >= 0
    validated = {line["step"]: line["validation/mAP"] for line in lines if "validation/mAP" in line}
    assert list(validated) == [3, 5]
    report = json.loads((undisturbed / "report.json").read_text())
    assert report["validation/mAP"] == max(validated.values()) == validated[report["best_step"]]
    assert 0 <= report["test/mAP"] <= 1
    assert (undisturbed / "curves.png").read_bytes().startswith(b"\x89PNG")
    kept = RunFolder(undisturbed, DetectorRecipe).config().recipe
    assert kept == recipe


def test_interrupted_and_resumed_is_undisturbed(undisturbed, recipe, tmp_path):
    """SIGTERM after the fourth step, and the same command again: the same bits and metrics."""
    with terminated_after(4):
        assert isinstance(run_detector(recipe, tmp_path / "run", quiet=True), LoopResult)
    assert isinstance(run_detector(recipe, tmp_path / "run", quiet=True), dict)
    assert untimed(tmp_path / "run") == untimed(undisturbed)
    first, second = (DetectorRun(path).restore(5)[0] for path in (tmp_path / "run", undisturbed))
    chex.assert_trees_all_equal(first, second)


def test_scripts(undisturbed, data, tmp_path, call):
    """Figures by every protocol, objects as JSON, and a picture; errors are one line."""
    status, output, _ = call(evaluate_detector.evaluate_detector, undisturbed, "--out", tmp_path / "evaluation")
    assert status == 0
    assert "VOC2007/mAP" in output
    report = json.loads((tmp_path / "evaluation" / "report.json").read_text())
    run_report = json.loads((undisturbed / "report.json").read_text())
    assert report["VOC2010/mAP"] == pytest.approx(run_report["test/mAP"])
    assert report["COCO/AP"] <= report["COCO/AP50"]
    assert sum(each["objects"] for each in report["classes"].values()) == 3
    assert (tmp_path / "evaluation" / "precision_recall.png").exists()

    image = data / "JPEGImages" / "test0.png"
    words = ("--threshold", "0", "--out", tmp_path / "found.png")
    status, output, _ = call(detect.detect, undisturbed, image, data / "JPEGImages" / "val1.png", *words)
    assert status == 0
    lines = [json.loads(line) for line in output.splitlines()]
    assert [Path(line["image"]).name for line in lines] == ["test0.png", "val1.png"]
    for line in lines:
        assert len(line["objects"]) <= 8
        for each in line["objects"]:
            x1, y1, x2, y2 = each["box"]
            assert 0 <= x1 <= x2 <= 80
            assert 0 <= y1 <= y2 <= 60
            assert each["class"] in COLOURS
    assert (tmp_path / "found.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "found.jsonl").read_text() == output

    status, output, _ = call(
        train_detector.train_detector,
        "--data",
        f"voc:{data}",
        "--model",
        "vgg61",
        "--quiet",
        "--workdir",
        tmp_path / "none",
    )
    assert status == 2
    status, _, errors = call(detect.detect, undisturbed, image, "--threshold", "2")
    assert status == 2
    assert "0..1" in errors


YOLO: dict[str, dict[str, Any]] = {
    "yolo_v1": {
        "yolo_v1": YoloV1Settings(grid=(3, 4), max_detections=8),
        "model_options": {"stages": table("3x3 8", "3x3 16", "3x3 24", "3x3 32"), "dense": (32,)},
        "clip_norm": 1.0,
    },
    "yolo_v2": {
        "yolo_v2": YoloV2Settings(anchors=((1.0, 1.2), (2.0, 2.4)), max_detections=8),
        "model_options": {
            "stages": table("3x3 8", "3x3 16", "3x3 24, 3x3 24", "3x3 32"),
            "stride": 8,
            "passthrough": "conv4",
            "squeezed": 8,
            "head": (32,),
            "fused": 32,
        },
    },
}


@pytest.mark.parametrize("detector", ["yolo_v2", pytest.param("yolo_v1", marks=pytest.mark.full_size)])
def test_other_detectors_by_the_same_run(detector, recipe, data, tmp_path, call):
    """Each trains, validates and reports as the first one does, and the scripts use what it leaves."""
    own = dataclasses.replace(recipe, detector=detector, steps=4, evaluate_every=2, **YOLO[detector])
    report = run_detector(own, tmp_path / "run", quiet=True)
    assert isinstance(report, dict)
    assert 0 <= report["test/mAP"] <= 1
    for line in untimed(tmp_path / "run"):
        parts = [value for name, value in line.items() if name.startswith("train/") and name[6:] not in ("loss", RATE)]
        assert not parts or line["train/loss"] == pytest.approx(sum(parts), rel=1e-4)
    assert DetectorRun(tmp_path / "run").config.recipe == own
    image = data / "JPEGImages" / "test0.png"
    status, output, _ = call(detect.detect, tmp_path / "run", image, "--threshold", "0", "--out", tmp_path / "a.png")
    assert status == 0
    assert len(json.loads(output)["objects"]) <= 8
    sizes = ("--canvases", "64", "64") if detector == "yolo_v2" else ()
    words = ("--out", tmp_path / "evaluation", *sizes)
    status, output, errors = call(evaluate_detector.evaluate_detector, tmp_path / "run", *words)
    assert status == 0, errors
    rows = json.loads((tmp_path / "evaluation" / "report.json").read_text())["canvases"]
    assert [row["canvas"] for row in rows] == ["48x64", "64x64"][: len(rows)]
    assert len(rows) == 1 + bool(sizes)
    assert rows[0]["VOC2010/mAP"] == pytest.approx(report["test/mAP"])
    assert min(row["images_per_second"] for row in rows) > 0


def test_training_on_several_canvases(recipe, tmp_path, monkeypatch):
    """The size changes every ten steps, each is compiled once, and a run that was interrupted goes on with the sizes
    that it would have had."""
    canvases = ((48, 64), (32, 48))
    options = YOLO["yolo_v2"] | {"canvases": canvases, "steps_per_call": 1, "steps": 24, "evaluate_every": 12}
    own = dataclasses.replace(recipe, detector="yolo_v2", seed=1, validation_split=None, test_split=None, **options)
    steps: list[Any] = []
    advance = loop._Training.advance

    def watched(training: Any) -> None:
        advance(training)
        steps.append(training.train_step)
        if training.host.step == 13 and len(steps) == 13:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(loop._Training, "advance", watched)
    assert isinstance(run_detector(own, tmp_path / "run", quiet=True), LoopResult)
    assert isinstance(run_detector(own, tmp_path / "run", quiet=True), dict)
    assert steps[0].traces <= len(canvases)
    decoder = objects_decoder(DetectorRun(tmp_path / "run").config)
    sizes = {decoder.of_batch(number, own.seed).objects_format.shape[:2] for number in range(24)}
    assert sizes == set(canvases)
    monkeypatch.setattr(loop._Training, "advance", advance)
    assert isinstance(run_detector(own, tmp_path / "whole", quiet=True), dict)
    first, second = (DetectorRun(path).restore(24)[0] for path in (tmp_path / "run", tmp_path / "whole"))
    chex.assert_trees_all_equal(first, second)


def test_canvases_that_make_no_sense(recipe):
    """They are refused in words, as is a detector that there is not."""
    canvases = ((48, 64), (32, 48))
    for change, message in (
        ({}, "steps_per_call 1"),
        ({"steps_per_call": 1, "detector": "yolo_v1"}, "dense layers"),
        ({"steps_per_call": 1, "resize_to": 20}, "resize_to"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            dataclasses.replace(recipe, canvases=canvases, **change)
    with pytest.raises(UnknownName, match="yolo_v2"):
        dataclasses.replace(recipe, detector="yolo_v3")


def test_anchors_of_a_dataset(data, tmp_path, call):
    """The average IoU grows with the number of anchors, and they fit the objects: 10 to 26 pixels a side, on a canvas
    twice as large, in cells of 8."""
    words = (f"voc:{data}", "--height", "120", "--width", "160", "--stride", "8", "--largest", "4", "--out", tmp_path)
    status, output, errors = call(cluster_anchors.cluster, *words)
    assert status == 0, errors
    report = json.loads((tmp_path / "anchors.json").read_text())
    assert report["objects"] == 8
    assert "8 objects" in output
    averages = [row["average_iou"] for row in report["clusters"]]
    assert len(averages) == 4
    assert averages[0] < averages[-1] <= 1
    assert all(2.5 <= side <= 6.5 for row in report["clusters"] for anchor in row["anchors"] for side in anchor)


def test_recipes_of_detectors_load():
    """Each has a recipe and says how it is used."""
    for name in script.recipe_names(train_detector.detectors):
        found, about = script.load_recipe(name, train_detector.detectors)
        assert isinstance(found, DetectorRecipe)
        assert f"train_detector.py {name}" in about


def test_a_detector_is_no_classifier(undisturbed, tmp_path, recipe):
    """Runs of one kind are refused where the other is meant, and so are settings."""
    with pytest.raises(ConfigMismatch, match="a run of detection"):
        Run(undisturbed)
    with pytest.raises(ConfigMismatch, match="a run of detection"):
        run(Recipe(), undisturbed, quiet=True)
    for change in ({"label_smoothing": 0.1}, {"augmentation": "mirror"}, {"loss": "squared_error"}, {"image_size": 9}):
        with pytest.raises(InvalidArgument, match="is for classifiers"):
            dataclasses.replace(recipe, **change)
    with pytest.raises(UnknownName, match="backbone"):
        run_detector(dataclasses.replace(recipe, model="smal"), tmp_path / "run", quiet=True)


class Oracle:
    """In place of a trained detector: it finds what it is told to, on the canvas."""

    def __init__(self, found: Any):
        self.found = found

    def apply(self, variables: Any, images: jax.Array, *, content: jax.Array, train: bool) -> Any:
        del variables, content, train
        return jax.tree.map(lambda leaf: leaf[: len(images)], self.found)


def test_perfect_detections_have_precision_1(recipe):
    """The true objects, moved to the canvas, found as such, and brought back: a mean average precision of 1; and what
    there was no room for on the canvas is missed."""
    source = open_source(recipe.data, task="detection")
    examples = source.examples("train")
    assert isinstance(examples, IndexedExamples)
    for room, expected in ((8, 1.0), (3, None)):
        own = dataclasses.replace(recipe, max_objects=room, batch_size=4, train_split="train")
        config = resolve(own, source)
        decoder = objects_decoder(config)
        batch = decoder.stack(decoder.read_all(examples), 4)
        scores = np.where(batch["object_mask"], 0.9, 0).astype(np.float32)
        found = Found(*map(jnp.asarray, (batch["boxes"], scores, batch["labels"], batch["object_mask"])))
        model: Any = Oracle(found)
        evaluate = detection_evaluator(config, model, source, "train", decoder=decoder, mesh=make_mesh(1))
        precision = evaluate({}).figures["mAP"]
        assert precision == expected if expected else 0 < precision < 1


def test_a_split_without_objects_has_no_precision(recipe):
    """It is refused, in words."""
    source = open_source(recipe.data, task="detection")
    config = resolve(recipe, source)
    nothing = {"boxes": np.zeros((2, 3, 4)), "scores": np.zeros((2, 3)), "labels": np.zeros((2, 3), np.int32)}
    model: Any = Oracle(Found(**nothing, valid=np.zeros((2, 3), bool)))  # type: ignore[arg-type]
    decoder = objects_decoder(config)
    evaluate = detection_evaluator(config, model, source, "validation[1:2]", decoder=decoder, mesh=make_mesh(1))
    with pytest.raises(InvalidArgument, match="no objects"):
        evaluate({})


def test_detections_of_no_images(undisturbed):
    """There is something to say about that, too."""
    trained = DetectorRun(undisturbed).load()
    assert isinstance(trained, TrainedDetector)
    with pytest.raises(InvalidArgument, match="no image"):
        trained.detect([])
    (found,) = trained.detect([np.zeros((7, 90, 3), np.uint8)])
    assert isinstance(found, Detections)


def test_fast_rcnn_by_the_same_scripts(recipe, data, tmp_path, call):
    """Windows of selective search are kept, once for each image, and losses are those of regions."""
    cache = tmp_path / "windows"
    own = dataclasses.replace(
        recipe, detector="fast_rcnn", fast_rcnn=REGIONS, windows=40, windows_cache=str(cache), steps=3
    )
    workdir = tmp_path / "run"
    report = run_detector(own, workdir, quiet=True)
    assert isinstance(report, dict)
    assert 0 <= report["test/mAP"] <= 1
    assert len(list(cache.iterdir())) == 4 + 3 + 1
    line = next(line for line in untimed(workdir) if "train/loss" in line)
    assert line["train/loss"] == pytest.approx(line["train/class"] + line["train/box"], rel=1e-5)
    status, output, _ = call(evaluate_detector.evaluate_detector, workdir)
    assert status == 0
    assert "VOC2007/mAP" in output
    image = data / "JPEGImages" / "test0.png"
    status, output, _ = call(detect.detect, workdir, image, "--threshold", "0", "--out", tmp_path / "found.png")
    assert status == 0
    assert len(json.loads(output)["objects"]) <= 8
    assert len(list(cache.iterdir())) == 8

    with pytest.raises(UnknownName, match="did you mean fast"):
        run_detector(dataclasses.replace(own, proposals="fats"), tmp_path / "none", quiet=True)
    with pytest.raises(InvalidArgument, match="windows must be 1"):
        dataclasses.replace(own, windows=0)


@pytest.mark.slow
def test_windows_of_another_run(undisturbed, recipe, tmp_path):
    """Fast R-CNN on what the first stage of a run proposes, which is kept in that run's folder."""
    options: dict[str, Any] = {"proposals": str(undisturbed), "windows": 10, "steps": 2, "ema_decay": None}
    own = dataclasses.replace(recipe, detector="fast_rcnn", fast_rcnn=REGIONS, **options)
    assert isinstance(run_detector(own, tmp_path / "run", quiet=True), dict)
    kept = list((undisturbed / "proposals").iterdir())
    assert len(kept) == 8
    boxes = np.load(kept[0])["boxes"]
    assert 0 < len(boxes) <= SETTINGS.train_after
    assert (boxes[:, 2:] <= (64, 48)).all()
