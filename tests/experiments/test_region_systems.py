"""R-CNN, SPP-net, alternating training and localisation from drawn rectangles to detections, stage by stage."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import chex
import detect
import evaluate_detector
import numpy as np
import pytest
import regions
import script
import train_localizer as train_localizer_script
import train_rcnn
from PIL import Image
from test_detector_runs import COLOURS, REGIONS, SETTINGS, draw_images

from xxnet_jax.detection import region_systems
from xxnet_jax.detection.alternating import steps_of, train_alternately
from xxnet_jax.detection.crops import CropRecipe, CropSettings
from xxnet_jax.detection.localization import LocalizationRecipe, LocalizationRun, train_localizer
from xxnet_jax.detection.region_learning import RegionLearning
from xxnet_jax.detection.region_systems import RCNNRecipe, SPPNetRecipe, SystemRun, train_system
from xxnet_jax.detection.runs import DetectorRecipe, DetectorRun
from xxnet_jax.errors import ConfigMismatch, InvalidArgument, MissingData
from xxnet_jax.files import read_npz
from xxnet_jax.models.darknet import table
from xxnet_jax.training import Recipe, Run, run

TINY: dict[str, Any] = {"stages": table("3x3 4", "3x3 6", "3x3 8", "3x3 8, 3x3 8, 3x3 8, 3x3 8")}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """One image has no object."""
    folder = tmp_path_factory.mktemp("drawings")
    draw_images(folder, {"train": [2, 0, 4, 1], "val": [2, 1], "test": [3]})
    return folder


@pytest.fixture(scope="module")
def common(data, tmp_path_factory) -> dict[str, Any]:
    return {
        "model": "small",
        "model_options": TINY,
        "data": f"voc:{data}",
        "preprocessing": "tf",
        "height": 48,
        "width": 64,
        "max_objects": 4,
        "batch_size": 2,
        "steps": 2,
        "optimizer": "momentum",
        "learning_rate": 0.01,
        "windows": 30,
        "windows_cache": str(tmp_path_factory.mktemp("windows")),
        "devices": 1,
    }


CROPS = CropSettings(of="objects", sizes=(16, 24), count=4, positives=4, levels=(2, 1), dense=(12,), dropout_rate=0.0)
LEARNING = RegionLearning(cost=1.0, score_threshold=0.0, max_detections=8)


def rcnn(common: dict[str, Any]) -> RCNNRecipe:
    objects = CropRecipe(**common, test_split=None, crops=dataclasses.replace(CROPS, sizes=(16,)))
    windows = dataclasses.replace(CROPS, of="windows", sizes=(16,), count=8, positives=2)
    return RCNNRecipe(objects, CropRecipe(**common, crops=windows), LEARNING)


def sppnet(common: dict[str, Any]) -> SPPNetRecipe:
    regions = dataclasses.replace(REGIONS, pooling="pyramid", levels=CROPS.levels, dense=CROPS.dense)
    finetuning = DetectorRecipe(**common, detector="fast_rcnn", fast_rcnn=regions, freeze=("^backbone/",))
    objects = CropRecipe(**common, test_split=None, crops=CROPS)
    return SPPNetRecipe(objects, finetuning, LEARNING, (48, 96), 20.0)


@pytest.mark.parametrize("make", [rcnn, pytest.param(sppnet, marks=pytest.mark.slow)])
def test_a_system_is_trained_in_stages_and_used(make, common, data, tmp_path, call, monkeypatch):
    """What is done is not done again; the scripts of detectors take the folder; machines are numbers in a .npz file."""
    recipe, workdir = make(common), tmp_path / "system"
    learn = region_systems.learn_regions

    def fail(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(region_systems, "learn_regions", fail)
    with pytest.raises(KeyboardInterrupt):
        train_system(recipe, workdir, quiet=True)
    kept = sorted((workdir / "features").iterdir())
    assert len(kept) == 4
    boxes, hidden = read_npz(kept[0], "boxes", "hidden")
    assert boxes.shape[0] == hidden.shape[0] > 2
    with pytest.raises(MissingData, match="not trained to the end"):
        SystemRun(workdir).load()

    monkeypatch.setattr(region_systems, "learn_regions", learn)
    times = [path.stat().st_mtime_ns for path in kept]

    def learn_and_look(*arguments: Any) -> Any:
        assert [path.stat().st_mtime_ns for path in kept] == times
        return learn(*arguments)

    monkeypatch.setattr(region_systems, "learn_regions", learn_and_look)
    report = train_system(recipe, workdir, quiet=True)
    assert isinstance(report, dict)
    assert 0 <= report["test/mAP"] <= 1
    assert 0 <= report["validation/mAP"] <= 1
    assert not (workdir / "features").exists()
    monkeypatch.setattr(region_systems, "learn_regions", fail)
    assert train_system(recipe, workdir, quiet=True) == report
    assert SystemRun(workdir).recipe == recipe

    status, output, _ = call(evaluate_detector.evaluate_detector, workdir, "--out", tmp_path / "evaluation")
    assert status == 0
    evaluated = json.loads((tmp_path / "evaluation" / "report.json").read_text())
    assert evaluated["VOC2010/mAP"] == pytest.approx(report["test/mAP"])
    image = data / "JPEGImages" / "test0.png"
    status, output, _ = call(detect.detect, workdir, image, "--threshold", "0", "--out", tmp_path / "found.png")
    assert status == 0
    objects = json.loads(output)["objects"]
    assert len(objects) <= 8
    assert {each["class"] for each in objects} <= set(COLOURS)

    (empty,) = SystemRun(workdir).load().detect([np.zeros((9, 30, 3), np.uint8)])
    assert (empty.boxes[:, 2:] <= (30, 9)).all()
    with pytest.raises(InvalidArgument, match="no checkpoints"):
        SystemRun(workdir).load(3)
    if make is sppnet:  # its fine-tuning leaves the convolutions as they are, statistics too
        first = region_systems.CropRun(workdir / "pretraining").restore()[0]
        second = DetectorRun(workdir / "finetuning").restore()[0]
        chex.assert_trees_all_equal(first["params"]["backbone"], second["params"]["backbone"])
        chex.assert_trees_all_equal(first["batch_stats"], second["batch_stats"])
        assert (np.asarray(first["params"]["fc6"]["kernel"]) != second["params"]["fc6"]["kernel"]).any()
    with pytest.raises(ConfigMismatch, match=r"another recipe(.|\n)*cost: 1.0 -> 0.001"):
        train_system(dataclasses.replace(recipe, learning=RegionLearning()), workdir, quiet=True)


def test_recipes_of_systems_load():
    """Each has a recipe and says how it is used."""
    for name in script.recipe_names(regions):
        found, about = script.load_recipe(name, regions)
        assert isinstance(found, RCNNRecipe | SPPNetRecipe)
        assert f"train_rcnn.py {name}" in about


def test_stages_must_fit(common, tmp_path, call):
    """Another network in the second stage, another pooling, or no such recipe, is refused in words."""
    recipe = rcnn(common)
    with pytest.raises(InvalidArgument, match="must be the same in both"):
        dataclasses.replace(recipe, finetuning=CropRecipe(**common))
    with pytest.raises(InvalidArgument, match="pools by a pyramid"):
        SPPNetRecipe(recipe.pretraining, DetectorRecipe(**common, detector="fast_rcnn"))
    status, _, errors = call(train_rcnn.train_rcnn, "bccd_rcn", "--workdir", tmp_path)
    assert status == 2
    assert "bccd_rcnn" in errors


@pytest.mark.slow
def test_four_steps_of_faster_rcnn(common, tmp_path):
    """Backbones begin alike in steps 1 and 2; that of step 2 stays; what a step does not learn does not change; the
    last step is a detector."""
    recipe = DetectorRecipe(**common, faster_rcnn=SETTINGS)
    report = train_alternately(recipe, tmp_path, quiet=True)
    assert isinstance(report, dict)
    assert 0 <= report["test/mAP"] <= 1
    params = {n: DetectorRun(tmp_path / f"step{n}").restore()[0] for n in (1, 2, 3, 4)}
    every = {n: each["params"] for n, each in params.items()}
    assert "rpn_conv" not in every[2]
    for later in (3, 4):
        chex.assert_trees_all_equal(every[later]["backbone"], every[2]["backbone"])
        chex.assert_trees_all_equal(params[later]["batch_stats"], params[2]["batch_stats"])
    chex.assert_trees_all_equal(every[4]["rpn_conv"], every[3]["rpn_conv"])
    chex.assert_trees_all_equal(every[3]["fc6"], every[2]["fc6"])

    def differ(a: Any, b: Any, layer: str) -> bool:
        return bool((np.asarray(a[layer]["kernel"]) != np.asarray(b[layer]["kernel"])).any())

    assert differ(every[3], every[1], "rpn_conv")
    assert differ(every[4], every[3], "fc6")
    (found,) = DetectorRun(tmp_path / "step4").load().detect([np.zeros((48, 64, 3), np.uint8)])
    assert len(found.scores) <= 8
    for change in ({"detector": "yolo_v2"}, {"faster_rcnn": dataclasses.replace(SETTINGS, learns="regions")}):
        with pytest.raises(InvalidArgument, match="four steps"):
            steps_of(dataclasses.replace(recipe, **change), tmp_path)


def test_localisation_is_a_run(common, tmp_path):
    """All layers, or the dense ones alone; it begins with a classifier's layers but for the last."""
    options: dict[str, Any] = {
        "model_options": {"blocks": (((3, 3),),) * 3, "features_of_blocks": (2, 2, 4), "dense": (8, 8), "window": 4}
    }
    kept = ("data", "preprocessing", "batch_size", "steps", "learning_rate", "devices")
    shared = {name: common[name] for name in kept}
    recipe = LocalizationRecipe(**shared, **options, image_size=32, shorter_side=40, per_class=True)
    first = train_localizer(recipe, tmp_path / "all", quiet=True)
    assert 0 <= first["test/localized"] <= 1
    variables = LocalizationRun(tmp_path / "all").restore()[0]
    assert variables["params"]["predictions"]["kernel"].shape[-1] == 8
    dense = dataclasses.replace(recipe, per_class=False, freeze=("^block",))
    train_localizer(dense, tmp_path / "dense", classifier=variables, quiet=True)
    after = LocalizationRun(tmp_path / "dense").restore()[0]
    chex.assert_trees_all_equal(after["params"]["block1_conv1"], variables["params"]["block1_conv1"])
    assert after["params"]["predictions"]["kernel"].shape[-1] == 4
    assert (np.asarray(after["params"]["fc2"]["kernel"]) != np.asarray(variables["params"]["fc2"]["kernel"])).any()


@pytest.mark.slow
def test_localisation_of_whole_images(common, data, tmp_path, call):
    """It begins with a classifier of the same layers and classes, and both see whole images of the test split."""
    random = np.random.default_rng(0)
    for split in ("train", "validation"):
        for name in COLOURS:
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for number in range(2):
                Image.fromarray(random.integers(0, 256, (32, 32, 3)).astype(np.uint8)).save(folder / f"{number}.png")
    layers: dict[str, Any] = {"blocks": (((3, 3),),) * 3, "features_of_blocks": (2, 2, 4), "dense": (8, 8), "window": 4}
    photos = f"folder:{tmp_path / 'photos'}"
    shared: dict[str, Any] = {"preprocessing": "tf", "batch_size": 2, "steps": 2, "devices": 1, "model_options": layers}
    run(Recipe("vgg16", data=photos, image_size=32, test_split=None, **shared), tmp_path / "classifier", quiet=True)
    recipe = LocalizationRecipe(data=common["data"], image_size=32, shorter_side=40, **shared)
    arguments = train_localizer_script.Arguments(
        recipe, tmp_path / "classifier", (40, 48), tmp_path / "run", quiet=True
    )
    classifier = Run(tmp_path / "classifier").load()
    train_localizer(recipe, tmp_path / "run", classifier=classifier.variables, quiet=True)
    train_localizer_script.evaluate_whole_images(arguments, classifier)
    report = json.loads((tmp_path / "run" / "dense.json").read_text())
    assert report["images"] == 1
    assert 0 <= report["top5_error"] <= report["top1_error"] <= 1
    status, _, errors = call(train_localizer_script.localize, "--data", common["data"], "--fit", "resize")
    assert status == 2
    assert "fit" in errors
