"""What a run makes of its images: statistics of the training split, mixing, the parameters of another run."""

import dataclasses
import importlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from checks.kill_and_resume import differences, result
from flax.traverse_util import flatten_dict
from PIL import Image

from xxnet_jax.data import open_source
from xxnet_jax.data.prepare import prepare_tfds
from xxnet_jax.data.preprocessing import FITTED
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.training import LoopResult, Recipe, Run, loop, run

SMALL = Recipe(
    model="lenet5",
    data="digits",
    train_split="train[:200]",
    validation_split="validation[:64]",
    test_split="test[:64]",
    batch_size=32,
    steps=4,
    devices=1,
)


def finished(recipe: Recipe, workdir: Path) -> dict[str, Any]:
    report = run(recipe, workdir, quiet=True)
    assert isinstance(report, dict)
    return report


def enlarged(split: str) -> np.ndarray:
    """The digits of a split as the network takes them, float64 in [0, 1]."""
    examples = open_source("digits?side=32").examples(split)
    return np.stack([example["image"] for example in examples]) / 255


@pytest.mark.parametrize("preprocessing", FITTED)
def test_statistics_are_of_the_training_split(preprocessing: str, tmp_path: Path):
    """A run has statistics of what it trains on; whoever opens it makes the same inputs with them."""
    finished(dataclasses.replace(SMALL, preprocessing=preprocessing), tmp_path / "run")
    config = Run(tmp_path / "run").config
    values = enlarged("train[:200]")
    assert config.statistics is not None
    assert config.statistics.images == 200
    np.testing.assert_allclose(config.statistics.mean, values.mean(0), atol=1e-6)
    assert "statistics" not in json.loads((tmp_path / "run" / "config.json").read_text())
    predicted = Run(tmp_path / "run").load().predict([np.zeros((8, 8, 1), np.uint8)])
    assert np.isfinite(predicted).all()
    if preprocessing == "channels":
        images = (255 * enlarged("test[:3]")).round().astype(np.uint8)
        expected = (enlarged("test[:3]") - values.mean()) / values.std()
        np.testing.assert_allclose(config.inputs(jax.numpy.asarray(images)), expected, atol=1e-5)


def test_a_resumed_run_keeps_its_statistics(tmp_path: Path, monkeypatch):
    """Interrupted and resumed is the same, to the bit; the statistics are not computed again."""
    recipe = dataclasses.replace(SMALL, preprocessing="zca", augmentation_options={"mixup": 0.4, "rotation": 10})
    whole = finished(recipe, tmp_path / "whole")
    advance = loop._Training.advance

    def advance_and_stop(training):
        advance(training)
        if training.host.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(loop._Training, "advance", advance_and_stop)
    assert isinstance(run(recipe, tmp_path / "parts", quiet=True), LoopResult)
    monkeypatch.setattr(loop._Training, "advance", advance)
    monkeypatch.setattr(importlib.import_module("xxnet_jax.training.run"), "image_statistics", None)
    resumed = finished(recipe, tmp_path / "parts")
    for name in ("validation/loss", "test/loss", "validation/accuracy"):
        assert resumed[name] == whole[name]


@pytest.mark.parametrize(("scheme", "workers"), [("folder", 1), ("tfds", 0), ("fake", 0)])
def test_windows_go_on_in_the_middle_of_an_epoch(scheme: str, workers: int, tmp_path: Path, monkeypatch):
    """Interrupted after step 3 of an epoch of 5, in which windows are cut by so many processes (0: by threads), and
    resumed with threads: the metrics of every step and the state are those of an undisturbed run."""
    rng = np.random.default_rng(0)
    for index in range(20):
        path = tmp_path / "folder" / "train" / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, tuple(rng.integers(34, 50, 2)), np.uint8)).save(path)
    folder = f"folder:{tmp_path}/folder?channels=1"
    if scheme == "tfds":
        prepare_tfds(open_source(folder), "prepared", tmp_path / "tfds")
    recipe = dataclasses.replace(
        SMALL,
        data={"folder": folder, "tfds": "tfds:prepared", "fake": "fake:40x48x1/2?examples=20"}[scheme],
        data_dir=str(tmp_path / "tfds"),
        train_split="train",
        validation_split=None,
        test_split=None,
        augmentation="inception_crop",
        batch_size=4,
        steps=8,
        log_every=1,
    )
    finished(recipe, tmp_path / "whole")
    advance = loop._Training.advance

    def advance_and_stop(training):
        advance(training)
        if training.host.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(loop._Training, "advance", advance_and_stop)
    end = run(dataclasses.replace(recipe, workers=workers), tmp_path / "parts", quiet=True)
    assert isinstance(end, LoopResult)
    assert end.step == 3
    monkeypatch.setattr(loop._Training, "advance", advance)
    finished(recipe, tmp_path / "parts")
    expected = result(tmp_path / "whole")
    losses = [line["train/loss"] for line in expected["metrics.jsonl"] if "train/loss" in line]
    assert len(set(losses)) == 8
    assert differences(result(tmp_path / "parts"), expected) == []


def test_mixed_labels_change_the_loss_alone(tmp_path: Path):
    """With mixup the training loss is of probabilities; evaluation is as ever, and the run learns."""
    recipe = dataclasses.replace(SMALL, steps=60, train_split="train", learning_rate=2e-3, evaluate_every=60)
    plain = finished(recipe, tmp_path / "plain")
    mixed = finished(
        dataclasses.replace(recipe, augmentation_options={"mixup": 0.4, "cutmix": 1.0}), tmp_path / "mixed"
    )
    assert mixed["validation/accuracy"] > 0.6
    assert mixed["validation/loss"] != plain["validation/loss"]


def test_begun_with_another_run(tmp_path: Path):
    """Of the parameters that both have, those that the pattern matches begin as the other run ended."""
    first = tmp_path / "first"
    finished(SMALL, first)
    found: dict[str, Any] = flatten_dict(Run(first).load().variables["params"], sep="/")

    recipe = dataclasses.replace(
        SMALL, steps=1, optimizer="sgd", learning_rate=1e-30, begin_with=str(first), begin_pattern="^C[13]/", seed=5
    )
    finished(recipe, tmp_path / "second")
    begun: dict[str, Any] = flatten_dict(Run(tmp_path / "second").load().variables["params"], sep="/")
    for path, value in begun.items():
        same = bool(np.array_equal(value, found[path]))
        assert same == path.startswith(("C1/", "C3/")) or path.endswith("bias"), path

    with pytest.raises(InvalidArgument, match="shares no parameter with this network that matches 'fc9'"):
        run(dataclasses.replace(recipe, begin_pattern="fc9"), tmp_path / "third", quiet=True)
    with pytest.raises(FileNotFoundError, match="no run in"):
        run(dataclasses.replace(recipe, begin_with=str(tmp_path / "no")), tmp_path / "third", quiet=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"augmentation": "alexnet", "resident": True}, "cut out of photographs on the host"),
        ({"augmentation_options": {"mixup": 0.2}, "batch_size": 33}, "even batch_size, got 33"),
        ({"augmentation_options": {"mixxup": 0.2}}, "did you mean mixup"),
        ({"shorter_side": 40}, "for fit crop, not for resize"),
        ({"workers": -1}, "workers must not be negative"),
    ],
)
def test_mistakes_of_inputs(change: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **change)
