"""The profile of a run: what it says, and that the run is the one without it."""

import json
from pathlib import Path

import pytest

from xxnet_jax.files import read_json_lines
from xxnet_jax.training import Recipe, run

RECIPE = Recipe(
    model="lenet5",
    train_split="train[:200]",
    validation_split=None,
    test_split=None,
    batch_size=32,
    steps=3,
    log_every=1,
    devices=1,
)


@pytest.fixture(scope="module")
def profiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("profiled") / "run"
    run(RECIPE, workdir, quiet=True, profile=True)
    return workdir


def test_summary(profiled: Path):
    """Seconds of each part of the compilation, of five steps, and operations of both passes in falling order."""
    summary = json.loads((profiled / "profile" / "summary.json").read_text())
    assert all(summary[name] > 0 for name in ("trace", "lower", "compile", "step"))
    assert len(summary["steps"]) == 5
    assert min(summary["steps"]) <= summary["step"] <= max(summary["steps"])
    assert 0 <= summary["data_wait"] < 1
    operations = summary["operations"]
    shares = [operation["share"] for operation in operations]
    assert shares == sorted(shares, reverse=True)
    assert 0.5 < sum(shares) <= 1 + 1e-9
    places = " ".join(operation["where"] for operation in operations)
    assert all(part in places for part in ("forward C", "backward C"))
    assert all(operation["kind"] for operation in operations)
    primitives = summary["primitives"]
    assert {"forward conv_general_dilated", "backward dot_general"} <= {each["what"] for each in primitives}
    assert sum(each["share"] for each in primitives) == pytest.approx(1, abs=0.05)
    # The time of the operations is that of the steps, on a few threads.
    assert sum(operation["milliseconds"] for operation in operations) < 1e3 * max(summary["steps"]) * 8


def test_page_and_trace(profiled: Path):
    """A page for people, and a trace for Perfetto."""
    page = (profiled / "profile" / "summary.txt").read_text()
    assert "compile" in page
    assert "forward C1" in page or "forward C3" in page
    assert list((profiled / "profile").rglob("*.trace.json.gz"))


def test_the_run_is_the_same(profiled: Path, tmp_path: Path):
    """The steps of the profile are made on a copy."""
    run(RECIPE, tmp_path, quiet=True)

    def losses(workdir: Path) -> list[float]:
        return [line["train/loss"] for line in read_json_lines(workdir / "metrics.jsonl")]

    assert losses(profiled) == losses(tmp_path)
