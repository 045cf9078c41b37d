"""Pictures of comparisons: each optimizer leaves its colour where it has something to show."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from xxnet_jax.visualization.optimizers import plot_losses, plot_rates, plot_trajectories

RATES = (1e-3, 1e-2, 1e-1)


def runs(network: bool, optimizers: tuple[str, ...], diverged: Callable[[str, float, int], bool]) -> list[Any]:
    """Rows as compare_optimizers.py makes them: where a run diverged, its figures are None and its curve is short."""
    rows = []
    for number, optimizer in enumerate(optimizers, start=1):
        for rate in RATES:
            for seed in range(2):
                bad = diverged(optimizer, rate, seed)
                figure = None if bad else (5 * rate + 0.1 * seed + 0.05) * number
                figures = {"validation_accuracy": figure, "test_accuracy": figure} if network else {"distance": figure}
                points = 0 if bad and seed else 3 if bad else 9
                rows.append(
                    {
                        "optimizer": optimizer,
                        "learning_rate": rate,
                        "seed": seed,
                        "score": figure,
                        "loss": figure,
                        **figures,
                        "diverged_at": 1 if bad else None,
                        "curve": [[step, 10**number * (1 + seed) / step] for step in range(1, points + 1)],
                    }
                )
    return rows


def pixels(path: Path) -> np.ndarray:
    """uint8 [height, width, 3] of a file that is a whole PNG."""
    content = path.read_bytes()
    Image.open(BytesIO(content)).verify()
    image = Image.open(BytesIO(content))
    assert image.format == "PNG"
    assert image.width > 300 < image.height
    return np.asarray(image.convert("RGB"))


def coloured(path: Path, number: int) -> int:
    """How many pixels have line colour C0, C1, ... of Matplotlib."""
    color = np.round(255 * np.array(to_rgb(f"C{number}"))).astype(int)
    return int((np.abs(pixels(path).astype(int) - color).max(axis=-1) <= 1).sum())


def never(optimizer: str, rate: float, seed: int) -> bool:
    return False


def some(optimizer: str, rate: float, seed: int) -> bool:
    return rate == RATES[-1] or (optimizer == "adam" and rate == RATES[0] and seed == 1)


def all_of_adam(optimizer: str, rate: float, seed: int) -> bool:
    return optimizer == "adam"


@pytest.mark.parametrize("network", [True, False], ids=["network", "function"])
@pytest.mark.parametrize("diverged", [never, some, all_of_adam])
@pytest.mark.parametrize("optimizers", [("sgd",), ("sgd", "adam")], ids=["one", "two"])
def test_rates(tmp_path, network, diverged, optimizers):
    """Every optimizer has its colour in the legend, and more of it just where it has runs that did not diverge."""
    rows = runs(network, optimizers, diverged)
    plot_rates(rows, dict.fromkeys(optimizers, RATES[1]), tmp_path / "rates.png", title="a title")
    for number, optimizer in enumerate(optimizers):
        some_ran = any(row["optimizer"] == optimizer and row["diverged_at"] is None for row in rows)
        count = coloured(tmp_path / "rates.png", number)
        assert count > 300 if some_ran else 0 < count < 150
    assert coloured(tmp_path / "rates.png", len(optimizers)) == 0


@pytest.mark.parametrize("diverged", [never, some, all_of_adam])
@pytest.mark.parametrize("optimizers", [("sgd",), ("sgd", "adam")], ids=["one", "two"])
def test_losses(tmp_path, diverged, optimizers):
    """An optimizer is drawn as far as all its seeds have a curve."""
    rows = [row for row in runs(True, optimizers, diverged) if row["learning_rate"] == RATES[1]]
    plot_losses(rows, dict.fromkeys(optimizers, RATES[1]), tmp_path / "losses.png", title="a title")
    for number in range(len(optimizers)):
        assert coloured(tmp_path / "losses.png", number) > 100


def test_pictures_show_the_numbers(tmp_path):
    """Other numbers, another picture; the same ones, the same picture."""
    for plot in (plot_rates, plot_losses):
        pictures = []
        for scale in (1, 1, 2):
            rows = runs(False, ("sgd",), never)
            for row in rows:
                row["loss"] *= scale * (1 + row["learning_rate"])
                row["curve"] = [[step, loss**scale] for step, loss in row["curve"]]
            plot(rows, {"sgd": RATES[0]}, tmp_path / "picture.png", title="a title")
            pictures.append(pixels(tmp_path / "picture.png"))
        np.testing.assert_array_equal(pictures[0], pictures[1])
        assert pictures[0].shape != pictures[2].shape or not np.array_equal(pictures[0], pictures[2])


def test_perfect_results(tmp_path):
    """An error of 0 and a loss of 0, which a logarithmic axis does not have, still give a picture."""
    rows = runs(True, ("sgd",), never)
    for row in rows:
        row.update(test_accuracy=1.0, curve=[[1, 1.0], [2, 0.0]])
    rows[0]["test_accuracy"] = 0.5
    plot_rates(rows, {"sgd": RATES[1]}, tmp_path / "rates.png", title="a title")
    plot_losses(rows, {"sgd": RATES[1]}, tmp_path / "losses.png", title="a title")
    for name in ("rates", "losses"):
        assert coloured(tmp_path / f"{name}.png", 0)


@pytest.mark.parametrize("network", [True, False], ids=["network", "function"])
def test_nothing_but_divergence(tmp_path, network):
    """If every run diverged at once there still is a picture, and no warning."""
    rows = runs(network, ("sgd",), lambda *_: True)
    for row in rows:
        row["curve"] = []
    plot_rates(rows, {"sgd": RATES[1]}, tmp_path / "rates.png", title="a title")
    plot_losses(rows, {"sgd": RATES[1]}, tmp_path / "losses.png", title="a title")
    for name in ("rates", "losses"):
        pixels(tmp_path / f"{name}.png")


@pytest.mark.parametrize("count", [1, 2, 5])
def test_trajectories(tmp_path, count):
    """A panel for each optimizer, with its path; one that leaves the picture, or all numbers, is drawn until there."""
    function = SimpleNamespace(
        value=lambda w: w[0] ** 2 + w[1] ** 2, box=(-2, 2, -1, 1), start=(-1.0, 0.5), minimum=(0.0, 0.0)
    )
    time = np.linspace(1, 0, 30)[:, None]
    paths = {f"optimizer{number}": time * np.array([-1, 0.5]) for number in range(count)}
    paths["optimizer0"] = np.concatenate([paths["optimizer0"], [[1e3, 1e30], [np.inf, np.nan]]])
    plot_trajectories(function, paths, dict.fromkeys(paths, 0.1), tmp_path / "paths.png", title="a title")
    for number in range(count):
        assert coloured(tmp_path / "paths.png", number) > 50
    assert coloured(tmp_path / "paths.png", count) == 0
