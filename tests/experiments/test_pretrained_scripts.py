"""The scripts that take published weights."""

import json
from pathlib import Path
from typing import Any

import evaluate_weights
import extract_features
import finetune
import jax
import numpy as np
import predict
import pytest
import transfer
from PIL import Image

import xxnet_jax as xx
from xxnet_jax.pretrained import freeze_through, save_weights
from xxnet_jax.training import Recipe, Run

CLASSES = ["cat", "dog", "fox"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet-20 that nobody has trained."""
    path = tmp_path_factory.mktemp("weights") / "resnet20.safetensors"
    model = xx.create_model("resnet20", num_classes=3)
    variables: Any = model.init(jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32), train=False)
    save_weights(variables, path, model="resnet20", classes=CLASSES, preprocessing="torch")
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dark and light ones: six of each to train on, two to validate and to test with."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for split, count in (("train", 6), ("validation", 2), ("test", 2)):
        for name, level in (("cat", 40), ("dog", 200)):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(level, level + 50, (40, 36, 3), np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{i}.png")
    return folder


def test_predict_with_weights(weights: Path, photos: Path, tmp_path: Path, call: Any):
    """A table, JSON, and a picture; the last batch may be smaller."""
    files = sorted((photos / "test").rglob("*.png"))[:3]
    words = [*files, "--model", "resnet20", "--weights", weights, "--batch-size", 2, "--json"]
    status, output, _ = call(predict.predict, *words, "--plot", tmp_path / "out.png")
    assert status == 0
    lines = [json.loads(line) for line in output.splitlines()]
    assert [line["image"] for line in lines] == list(map(str, files))
    assert all({name for name, _ in line["top"]} == set(CLASSES) for line in lines)
    assert all(abs(sum(p for _, p in line["top"]) - 1) < 1e-5 for line in lines)
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.width > 300


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["x.png", "--model", "resnet20"], "--model and --weights go together"),
        (["runs/x"], "there is no image"),
        (["x.png", "--model", "resnet20", "--weights", "nothing.h5"], "no file of weights nothing.h5"),
    ],
)
def test_predict_says_what_is_wrong(call: Any, words: list[str], message: str):
    """One line, and status 2."""
    status, _, errors = call(predict.predict, *words)
    assert status == 2
    assert message in errors


def test_extract_features(weights: Path, photos: Path, tmp_path: Path, call: Any):
    """One row for each image, of norm one, with path and class."""
    out = tmp_path / "features.npz"
    words = [
        photos / "train",
        "--model",
        "resnet20",
        "--weights",
        weights,
        "--normalize",
        "--batch-size",
        5,
        "--out",
        out,
    ]
    status, output, _ = call(extract_features.extract_features, *words)
    assert status == 0
    assert "(12, 64) of 12 images" in output
    stored = np.load(out)
    np.testing.assert_allclose(np.linalg.norm(stored["features"], axis=1), 1, rtol=1e-5)
    assert [str(stored["classes"][label]) for label in stored["labels"]] == ["cat"] * 6 + ["dog"] * 6
    assert all(str(path).startswith(("cat/", "dog/")) for path in stored["paths"])


def test_transfer(weights: Path, photos: Path, tmp_path: Path, call: Any):
    """A linear classifier tells dark from light."""
    words = ["--train", photos / "train", "--test", photos / "test", "--model", "resnet20", "--weights", weights]
    status, _, _ = call(transfer.transfer, *words, "--scales", 32, 40, "--batch-size", 4, "--out", tmp_path)
    assert status == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["features"], result["train_images"], result["test_images"]) == (128, 12, 4)
    assert result["test/accuracy"] == 1


def test_finetune(weights: Path, photos: Path, tmp_path: Path, call: Any):
    """Two runs, the second from where the first ended; the same command again finds them finished."""
    words = ["resnet20_cifar10", "--weights", weights, "--data", f"folder:{photos}", "--train-split", "train"]
    words += ["--validation-split", "validation", "--test-split", "test", "--batch-size", 8, "--steps", 4, "--head", 8]
    words += [
        "--head-epochs",
        2,
        "--frozen-through",
        "conv3_block3_out",
        "--learning-rate",
        0.01,
        "--workdir",
        tmp_path,
    ]
    status, output, _ = call(finetune.finetune, *words)
    assert status == 0
    assert output.count("test/accuracy") == 2
    head, deep = (Run(tmp_path / name) for name in ("head", "deep"))
    assert head.config.recipe.freeze == (freeze_through("resnet20"),)
    assert (head.config.recipe.optimizer, deep.config.recipe.optimizer) == ("rmsprop", "momentum")
    before, after = (run.load().variables["params"] for run in (head, deep))
    np.testing.assert_array_equal(before["conv3_block3_2"]["conv"]["kernel"], after["conv3_block3_2"]["conv"]["kernel"])
    assert (before["conv4_block3_2"]["conv"]["kernel"] != after["conv4_block3_2"]["conv"]["kernel"]).any()
    assert set(after) - set(before) == set()
    status, output, _ = call(finetune.finetune, *words)
    assert status == 0
    assert output.count("is finished") == 2


@pytest.mark.parametrize(
    ("model", "words", "frozen"),
    [
        ("inception_v3", {}, "mixed8"),
        ("inception_v3", {"frozen_through": "mixed5"}, "mixed5"),
        ("inception_v3", {"frozen_through": "none"}, None),
        ("resnet20", {}, None),
    ],
)
def test_what_stays_frozen(model: str, words: dict[str, str], frozen: str | None):
    """All but the classifier at first, then what stands before the endpoint: the notes' for Inception v3."""
    arguments = finetune.Arguments(Recipe(model=model), weights="imagenet", **words)  # type: ignore[arg-type]
    first, second = finetune.phases(arguments, {})
    assert first.freeze == (freeze_through(model),)
    assert second.freeze == (() if frozen is None else (freeze_through(model, frozen),))


def test_evaluate_weights(weights: Path, photos: Path, tmp_path: Path, call: Any):
    """By the classes of a dataset, which must be the network's."""
    words = [
        f"folder:{photos}",
        "--model",
        "resnet20",
        "--weights",
        weights,
        "--batch-size",
        3,
        "--out",
        tmp_path / "x.json",
    ]
    status, output, _ = call(evaluate_weights.evaluate_weights, *words)
    assert status == 0
    assert "of 4 images" in output
    result = json.loads((tmp_path / "x.json").read_text())
    assert (result["images"], result["top2"] >= result["top1"]) == (4, True)


def test_photographs_are_named_by_wordnet_ids(tmp_path: Path, call: Any):
    """In their own names or in their folders'; a network that always says goldfish is right about two of three."""
    model = xx.create_model("mobilenet_v2.tflite", alpha=0.35)
    variables: Any = model.init(jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32), train=False)
    head = variables["params"]["predictions"]
    variables["params"]["predictions"] = {"kernel": 0 * head["kernel"], "bias": head["bias"].at[2].set(9.0)}
    save_weights(variables, tmp_path / "x.safetensors", model="mobilenet_v2.tflite")
    for name in ("n01443537_goldfish.png", "n01443537/7.png", "n01440764_tench.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 40)).save(path)
    words = [tmp_path / "photos", "--model", "mobilenet_v2.tflite", "--model-options", "alpha", 0.35]
    status, output, _ = call(evaluate_weights.evaluate_weights, *words, "--weights", tmp_path / "x.safetensors")
    assert status == 0
    assert "top-1 66.67%" in output
    Image.new("RGB", (30, 40)).save(tmp_path / "photos" / "carp.png")
    status, _, errors = call(evaluate_weights.evaluate_weights, *words, "--weights", tmp_path / "x.safetensors")
    assert status == 2
    assert "neither carp.png nor its folder begins with a WordNet id" in errors
