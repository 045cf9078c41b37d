"""Test protocols and ensembles on the command line."""

import json
from pathlib import Path
from typing import Any

import evaluate
import evaluate_weights
import jax
import numpy as np
import pytest
from PIL import Image, ImageOps

import xxnet_jax as xx
from xxnet_jax.data import open_source
from xxnet_jax.data.views import ten_crop
from xxnet_jax.pretrained import load_network, save_weights
from xxnet_jax.training import Recipe, Run, run

SPLIT = "test[:40]"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """LeNet-5 on digits twice, from two seeds, hardly trained."""
    folders = [tmp_path_factory.mktemp("runs") / name for name in ("a", "b")]
    for seed, folder in enumerate(folders):
        run(Recipe(seed=seed, steps=10, evaluate_every=10, devices=1, test_split=None), folder, quiet=True)
    return folders


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two NINs of random parameters."""
    folder = tmp_path_factory.mktemp("weights")
    model = xx.create_model("nin_cifar10", num_classes=3)
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    shapes: Any = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    random = np.random.default_rng(0)
    paths = [folder / "0.safetensors", folder / "1.safetensors"]
    for path in paths:
        variables = jax.tree.map(lambda leaf: normal(random, leaf.shape), shapes)
        save_weights(variables, path, model="nin_cifar10", classes=["cat", "dog", "fox"], preprocessing="torch")
    return paths


def normal(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers that keep the size of what a layer with such a kernel gets."""
    return (random.normal(size=shape) * np.prod(shape[:-1]) ** -0.5).astype(np.float32)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two noisy ones of each class, of several sizes, and one that is damaged."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for name in ("cat", "dog", "fox"):
        (folder / "test" / name).mkdir(parents=True)
        for i, shape in enumerate(((42, 66, 3), (36, 60, 3))):
            Image.fromarray(random.integers(0, 256, shape, np.uint8)).save(folder / "test" / name / f"{i}.png")
    (folder / "test" / "fox" / "2.png").write_bytes(b"no image")
    return folder


def report(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text())


def examples() -> tuple[list[np.ndarray], np.ndarray]:
    """The images of the split, and their labels."""
    found = list(open_source("digits").examples(SPLIT))
    return [example["image"] for example in found], np.array([example["label"] for example in found])


def test_ten_crop_of_a_run(runs: list[Path], call: Any):
    """The figures of report.json are those of the mean of the network's probabilities of the ten crops."""
    status, output, _ = call(evaluate.evaluate, runs[0], "--split", SPLIT, "--protocol", "ten_crop")
    assert status == 0
    found = report(runs[0] / "evaluation" / f"{SPLIT}_ten_crop")
    network, (images, labels) = Run(runs[0]).load(), examples()
    crops = np.stack([ten_crop(image, 32, (37,)) for image in images])
    probabilities = network.probabilities(crops.reshape(-1, 32, 32, 1)).reshape(40, 10, -1).mean(axis=1)
    ranks = (probabilities > probabilities[np.arange(40), labels][:, None]).sum(axis=1)
    assert found["top1_error"] == pytest.approx((ranks > 0).mean())
    assert found["top5_error"] == pytest.approx((ranks > 4).mean())
    assert 0 < found["top1_error"] < 1
    assert (found["protocol"], found["examples"]) == ("ten_crop", 40)
    assert "40 images of test[:40], ten_crop: accuracy" in output


def test_errors_without_a_protocol(runs: list[Path], call: Any, tmp_path: Path):
    """top-1 and top-5 errors stand beside the accuracies; as_trained gives the same figures."""
    call(evaluate.evaluate, runs[0], "--split", SPLIT, "--out", tmp_path / "plain")
    call(evaluate.evaluate, runs[0], "--split", SPLIT, "--out", tmp_path / "other", "--protocol", "as_trained")
    plain, other = report(tmp_path / "plain"), report(tmp_path / "other")
    assert plain["top1_error"] == 1 - plain["accuracy"]
    assert plain["top5_error"] == 1 - plain["top5"]
    for name in ("top1_error", "top5_error", "f1", "auc"):
        assert plain[name] == pytest.approx(other[name], abs=1e-6)
    assert other["log_loss"] == pytest.approx(plain["loss"], rel=1e-4)


@pytest.mark.parametrize("how", ["vote", "max"])
def test_two_runs_as_one(runs: list[Path], call: Any, tmp_path: Path, how: str):
    """Their probabilities, combined in NumPy, have the errors of report.json."""
    status, output, _ = call(evaluate.evaluate, *runs, "--split", SPLIT, "--combine", how, "--out", tmp_path)
    assert status == 0
    assert f"as_trained, {how} of 2 networks" in output
    images, labels = examples()
    each = np.stack([Run(folder).load().predict(images) for folder in runs])
    # two votes are a tie unless both agree: the mean decides
    combined = each.max(axis=0) if how == "max" else each.mean(axis=0)
    firsts = each.argmax(axis=-1)
    if how == "vote":
        named = (np.arange(10) == firsts[..., None]).any(axis=0)
        combined = np.where(named, 1 + combined, combined)
    assert report(tmp_path)["top1_error"] == pytest.approx((combined.argmax(axis=-1) != labels).mean())
    assert report(tmp_path)["runs"] == [str(folder) for folder in runs]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--protocol", "vgg_dense"], "cannot be evaluated densely"),
        (["--protocol", "ten_crop", "--metrics", "dead_units"], "probabilities do not tell about layers"),
        (["--protocol", "ten_crops"], "did you mean ten_crop"),
        (["--protocol", "ten_crop", "--scales", 20], "cannot be cut"),
        (["--protocol", "ten_crop", "--watch"], "--watch follows one run"),
        (["--scales", 40], "has no scales"),
    ],
)
def test_what_is_wrong_is_said(runs: list[Path], call: Any, words: list[str], message: str):
    """One line, and status 2."""
    status, _, errors = call(evaluate.evaluate, runs[0], "--split", SPLIT, *words)
    assert status == 2
    assert message in errors


def test_an_ensemble_needs_a_folder_for_its_report(runs: list[Path], call: Any):
    """It belongs to none of its runs."""
    status, _, errors = call(evaluate.evaluate, *runs, "--split", SPLIT)
    assert status == 2
    assert "say with --out" in errors
    status, _, errors = call(evaluate.evaluate)
    assert status == 2
    assert "give a run" in errors


def test_dense_evaluation_of_weights(weights: list[Path], photos: Path, call: Any, tmp_path: Path):
    """Two networks on whole photographs and their mirror images; what is damaged is left out when that is asked for."""
    words = [f"folder:{photos}", "--model", "nin_cifar10", "nin_cifar10", "--weights", *weights]
    status, _, errors = call(evaluate_weights.evaluate_weights, *words, "--protocol", "vgg_dense")
    assert status == 2
    assert "2.png" in errors
    out = tmp_path / "x.json"
    words += ["--protocol", "vgg_dense", "--scales", 36, "--multiple-of", 16, "--skip-corrupt", "--out", out]
    status, output, _ = call(evaluate_weights.evaluate_weights, *words)
    assert status == 0
    assert "of 6 images, vgg_dense, mean of 2 networks" in output
    result = json.loads(out.read_text())
    assert (result["images"], len(result["skipped_images"])) == (6, 1)
    views = []
    for path in sorted((photos / "test").glob("*/[01].png")):
        picture = Image.open(path)
        if path.name == "0.png":
            picture = picture.resize((56, 36), Image.Resampling.BILINEAR).crop((2, 0, 54, 36))
        else:
            picture = picture.crop((4, 0, 56, 36))
        views += [np.asarray(picture), np.asarray(ImageOps.mirror(picture))]
    networks = [load_network("nin_cifar10", path).classifier for path in weights]
    each = np.mean([network(np.stack(views)).reshape(6, 2, 3).mean(axis=1) for network in networks], axis=0)
    assert result["top1_error"] == pytest.approx((each.argmax(axis=-1) != [0, 0, 1, 1, 2, 2]).mean())


def test_weights_that_do_not_go_together(weights: list[Path], photos: Path, call: Any):
    """As many weights as networks."""
    words = [f"folder:{photos}", "--model", "nin_cifar10", "nin_cifar10", "--weights", weights[0]]
    status, _, errors = call(evaluate_weights.evaluate_weights, *words)
    assert status == 2
    assert "2 networks, but 1 weights" in errors
