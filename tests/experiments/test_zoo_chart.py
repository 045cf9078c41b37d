"""zoo_chart.py: the table and the chart of published networks."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zoo_chart
from PIL import Image

from xxnet_jax.pretrained.manifest import manifest
from xxnet_jax.visualization.zoo import Costs, plot_zoo

# GMACs by the papers and torchvision's documentation, rounded there; Keras's ResNet-50 has its stride in the first 1x1.
GMACS = {
    ("vgg16", "imagenet"): 15.47,
    ("resnet50", "imagenet"): 3.86,
    ("resnet50.torchvision", "imagenet"): 4.09,
    ("mobilenet", "imagenet"): 0.57,
    ("alexnet.torchvision", "imagenet"): 0.71,
}


def test_table(tmp_path: Path, call: Any, monkeypatch: pytest.MonkeyPatch):
    """Each row of the manifest that is counted has the published cost, the published accuracy and where it was
    published; the chart has a circle for each network, not for each of its weights."""
    chosen = [row for row in manifest() if (row.model, row.weights) in GMACS]
    twice = next(row for row in manifest() if (row.model, row.weights) == ("resnet50.torchvision", "imagenet_v2"))
    monkeypatch.setattr(zoo_chart, "manifest", lambda: (*chosen, twice))
    status, output, _ = call(zoo_chart.draw_zoo, "--out", tmp_path)
    assert status == 0
    assert "zoo.csv with 6 weights, zoo.png with 4 networks" in output
    with (tmp_path / "zoo.csv").open(newline="") as file:
        rows = {(row["model"], row["weights"]): row for row in csv.DictReader(file)}
    for key, gmacs in GMACS.items():
        assert int(rows[key]["macs"]) / 1e9 == pytest.approx(gmacs, abs=0.006)
    assert {row["source"].split("/")[2] for row in rows.values()} == {"keras.io", "docs.pytorch.org"}
    assert rows["vgg16", "imagenet"]["parameters"] == "138357544"
    assert rows["vgg16", "imagenet"]["top1"] == "71.3"
    with Image.open(tmp_path / "zoo.png") as picture:
        assert picture.width > 1200


def test_what_is_published_has_a_source():
    """Every address in the manifest belongs to a publisher whose page is named, and every family is known."""
    for row in manifest():
        assert sum(f"//{host}/" in row.url for host in zoo_chart.SOURCES) == 1


def test_chart(tmp_path: Path):
    """A network with more parameters has more colour in the chart, and thirty that lie close together can be drawn."""
    coloured = []
    for parameters in (5, 50):
        networks = [Costs("a", "x", 70.0, 10**9, parameters * 10**6), Costs("b", "y", 75.0, 10**10, 10**6)]
        plot_zoo(networks, tmp_path / "zoo.png", title="a title")
        picture = np.asarray(Image.open(tmp_path / "zoo.png").convert("RGB")).astype(int)
        coloured.append((np.ptp(picture, axis=-1) > 40).sum())
    assert coloured[1] > 1.5 * coloured[0]
    many = [Costs(f"network{n}", f"family{n % 15}", 70 + n / 10, 10**9 + n * 10**7, 10**7) for n in range(30)]
    plot_zoo(many, tmp_path / "zoo.png", title="a title")
