"""visualize.py: every view of a tiny run, and of registered networks."""

import csv
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import visualize
from PIL import Image

import xxnet_jax as xx
from xxnet_jax.parameters import abstract_variables
from xxnet_jax.pretrained import save_weights
from xxnet_jax.training import Recipe, run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("visualize")
    recipe = Recipe(
        data="digits?side=24",
        fit="pad",
        epochs=3,
        keep_last=1,
        keep_epochs=(1,),
        validation_split=None,
        test_split="test[:40]",
        devices=1,
    )
    run(recipe, folder / "run", quiet=True)
    pixels = np.random.default_rng(0).integers(0, 255, (2, 24, 24), np.uint8)
    for name, image in zip(("a", "b"), pixels, strict=True):
        Image.fromarray(image).save(folder / f"{name}.png")
    return folder


VIEWS = {
    "filters": (["--layer", "C3"], ["filters_C3.png"]),
    "maps": (["a.png", "b.png", "--layer", "S2"], ["maps_S2_a.png", "maps_S2_b.png"]),
    "occlusion": (["a.png", "--stride", "8", "--label", "3"], ["occlusion_a.png", "occlusion_a.npz"]),
    "invariance": (["a.png", "b.png"], ["invariance.png", "invariance.csv"]),
    "evolution": ([], ["evolution_filters_C1.png"]),
    "deconvnet": (["a.png", "--layer", "C3", "--features", "3"], ["deconvnet_C3_a.png"]),
    "top9": (["--layer", "C1,S4", "--examples", "64", "--features", "2"], ["top9_C1_S4.png"]),
    "saliency": (["a.png"], ["saliency_a.png", "saliency_a.npz"]),
    "guided": (["a.png", "--label", "3"], ["guided_a.png", "guided_a.npz"]),
    "grad_cam": (["a.png", "--layer", "C3"], ["grad_cam_a.png", "grad_cam_a.npz"]),
    "tsne": (["--examples", "20"], ["tsne_F6.png", "tsne_F6.csv"]),
}


@pytest.mark.parametrize("what", VIEWS)
def test_views_of_a_run(what: str, trained: Path, tmp_path: Path, call: Any):
    """Each writes its files, says so, and its pictures can be read."""
    words, files = VIEWS[what]
    words = [trained / word if word.endswith(".png") else word for word in words]
    status, output, _ = call(visualize.visualize, trained / "run", *words, "--what", what, "--out", tmp_path)
    assert (status, output.splitlines()[1:]) == (0, [str(tmp_path / file) for file in files])
    for file in files:
        if file.endswith(".png"):
            with Image.open(tmp_path / file) as picture:
                assert np.ptp(np.asarray(picture.convert("L"))) > 100


def test_numbers(trained: Path, tmp_path: Path, call: Any):
    """Occlusion has a value for each place of the square; curves of invariance begin or pass at nothing: no distance
    at no move, a factor of 1 and no turn; of the embedding there is a row for each image."""
    words = [trained / "a.png", "--stride", 8, "--out", tmp_path, "--what"]
    assert call(visualize.visualize, trained / "run", *words, "occlusion")[0] == 0
    with np.load(tmp_path / "occlusion_a.npz") as numbers:
        assert numbers["rows"].tolist() == [0, 8, 16, 24]
        assert numbers["probability"].shape == numbers["predicted"].shape == numbers["activity"].shape == (4, 4)
    assert call(visualize.visualize, trained / "run", *words, "invariance")[0] == 0
    with (tmp_path / "invariance.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    still = {("moved down", 0), ("enlarged", 1), ("turned", 0)}
    nothing = [float(row["distance_F6"]) for row in rows if (row["transformation"], float(row["amount"])) in still]
    assert nothing == [0, 0, 0]
    assert max(float(row["distance_F6"]) for row in rows) > 0
    assert call(visualize.visualize, trained / "run", "--examples", 20, *words[-3:], "tsne")[0] == 0
    with (tmp_path / "tsne_F6.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 20


def test_evolution_of_maps(trained: Path, tmp_path: Path, call: Any):
    """With an image there are maps; a column more for each checkpoint that was kept: here those of two epochs."""
    words = [trained / "run", trained / "a.png", "--what", "evolution", "--features", 2, "--out", tmp_path]
    assert call(visualize.visualize, *words)[0] == 0
    with Image.open(tmp_path / "evolution_maps_C1.png") as picture:
        assert picture.width == pytest.approx(120 * (0.9 * 2 + 0.2), abs=2)


def test_random_weights(tmp_path: Path, call: Any):
    """A registered network may have them where they are asked for, and the output says so."""
    words = ["lenet5", "--weights", "random", "--what", "filters", "--out", tmp_path]
    status, output, _ = call(visualize.visualize, *words)
    assert (status, output.splitlines()[0]) == (0, "lenet5, random weights")


def test_heat_map(tmp_path: Path, call: Any):
    """The CSV has each source of each layer: 12 layers see 1 to 12 sources, the transition or classifier 13."""
    shapes, _ = abstract_variables(xx.create_model("densenet40_12"), (32, 32, 3))
    random = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(np.float32), shapes)
    save_weights(variables, tmp_path / "weights.safetensors", model="densenet40_12")
    words = ["densenet40_12", "--weights", tmp_path / "weights.safetensors", "--what", "heat_map", "--out", tmp_path]
    assert call(visualize.visualize, *words)[0] == 0
    with (tmp_path / "heat_map.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 3 * sum(range(1, 14))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--what", "filter"], "unknown view 'filter': did you mean filters?"),
        (["--what", "filters", "--layer", "C9"], "unknown layer 'C9'"),
        (["--what", "maps"], "there is no image"),
        (["--what", "deconvnet", "--layer", "F6"], "unknown endpoint with maps 'F6'"),
        (["missing.png", "--what", "maps"], "no image file missing.png"),
        (["--what", "evolution"], "evolution needs a run"),
        (["--what", "heat_map"], "only DenseNets have dense blocks, got a LeNet"),
        (["--what", "tsne"], "there are no images: give --data"),
    ],
)
def test_mistakes(words: list[str], message: str, tmp_path: Path, call: Any):
    """Are one line that says what to do."""
    status, _, errors = call(visualize.visualize, "lenet5", *words, "--weights", "random", "--out", tmp_path)
    assert (status, message in errors) == (2, True), errors
