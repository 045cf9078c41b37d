"""compare_runs.py, on run folders that are written by hand."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import compare_runs
import numpy as np
import pytest
from PIL import Image
from written_runs import BATCH, STEPS, write_run

from xxnet_jax.optimizers import ScheduleConfig


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_table_and_picture(tmp_path: Path, call: Any):
    """The table has the settings that differ and no others, the best and the last evaluation, and the report; the
    picture differs by what it is drawn along. A run under way is compared and said to be unfinished."""
    out = tmp_path / "out"
    runs = [
        write_run(tmp_path / "adam", optimizer_options={"b1": 0.8}),
        write_run(tmp_path / "cosine", 2.0, schedule=ScheduleConfig("cosine"), seed=3),
        write_run(tmp_path / "short", 3.0, finished=False, epochs=2, metrics=("top5", "auc")),
        write_run(tmp_path / "begun", finished=False, epochs=0),
    ]
    pictures = []
    for along in ("epoch", "seconds"):
        status, output, errors = call(compare_runs.compare, *runs, "--out", out, "--along", along)
        assert (status, errors) == (0, "")
        pictures.append(np.asarray(Image.open(out / "curves.png")))
    assert not np.array_equal(*pictures)
    assert "short is not finished: it has logged 10 steps" in output
    assert "begun is not finished: it has logged 0 steps" in output
    rows = {row["run"]: row for row in table(out / "runs.csv")}
    assert list(rows) == ["adam", "cosine", "short", "begun"]
    assert set(list(rows["adam"])[1:5]) == {"optimizer_options.b1", "schedule.name", "seed", "metrics"}
    assert [row["metrics"] for row in rows.values()] == ["", "", "top5 auc", ""]
    assert [row["schedule.name"] for row in rows.values()] == ["constant", "cosine", "constant", "constant"]
    assert [row["optimizer_options.b1"] for row in rows.values()] == ["0.8", "", "", ""]
    one = rows["cosine"]
    assert (one["steps"], one["best_step"]) == ("30", "25")
    assert float(one["best_accuracy"]) == pytest.approx(1 - 2 / 15 + 0.05)
    assert float(one["last_accuracy"]) == pytest.approx(1 - 2 / 16)
    assert float(one["last_loss"]) == pytest.approx(4 / 6)
    assert (one["test_accuracy"], one["seconds"], one["examples_per_second"]) == ("0.98", "14.0", "99")
    unfinished = rows["short"]
    assert (unfinished["finished"], unfinished["test_accuracy"], unfinished["examples_per_second"]) == (
        "False",
        "",
        "100",
    )
    assert float(unfinished["seconds"]) == pytest.approx(2 * (STEPS * BATCH / 100 + 0.5))
    written = json.loads((out / "runs.json").read_text())
    assert [row["train_loss"] for row in written] == pytest.approx([1 / 6, 2 / 6, 3 / 2, None], nan_ok=True)


def test_seeds_are_repeats(tmp_path: Path, call: Any):
    """With --seeds, runs that differ in their seed alone are one: mean and standard deviation of each figure; without,
    they are as many as there are."""
    scales = {"adam": (1.0, 2.0, 4.0), "sgd": (3.0,)}
    runs = [
        write_run(tmp_path / f"{optimizer}_{seed}", scale, optimizer=optimizer, seed=seed)
        for optimizer, each in scales.items()
        for seed, scale in enumerate(each)
    ]
    status, output, _ = call(compare_runs.compare, *runs, "--seeds", "--out", tmp_path / "out")
    assert status == 0
    groups = {row["group"]: row for row in table(tmp_path / "out" / "groups.csv")}
    assert {name: row["runs"] for name, row in groups.items()} == {"optimizer adam": "3", "optimizer sgd": "1"}
    adam = groups["optimizer adam"]
    assert float(adam["test_loss"]) == pytest.approx(7 / 3)
    assert float(adam["test_loss_deviation"]) == pytest.approx(math.sqrt(7 / 3))
    assert groups["optimizer sgd"]["test_loss_deviation"] == ""
    assert "2.333 ± 1.5" in output
    assert len(table(tmp_path / "out" / "runs.csv")) == 4


@pytest.mark.parametrize("count", [1, 30])
def test_few_and_many_runs(count: int, tmp_path: Path, call: Any):
    """A single run, and more runs than there are colours in the usual palette, can be drawn."""
    runs = [write_run(tmp_path / f"run{number}", 1 + number, seed=number) for number in range(count)]
    status, _, _ = call(compare_runs.compare, *runs, "--out", tmp_path / "out")
    assert status == 0
    with Image.open(tmp_path / "out" / "curves.png") as picture:
        assert picture.width > 1000


def test_folders_of_one_name(tmp_path: Path, call: Any):
    """Are told apart by their paths."""
    runs = [write_run(tmp_path / parent / "run") for parent in "ab"]
    call(compare_runs.compare, *runs, "--out", tmp_path / "out")
    assert [row["run"] for row in table(tmp_path / "out" / "runs.csv")] == list(map(str, runs))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", None, "no run in"),
        ("config.json", '{"recipe": ', "cannot read"),
        ("report.json", "{", "cannot read"),
        ("metrics.jsonl", '{"loss": 1}\n', "has a line without step and epoch"),
        ("metrics.jsonl", "7\n", "has a line without step and epoch"),
    ],
)
def test_damaged_runs(file: str, content: str | None, message: str, tmp_path: Path, call: Any):
    """Are one line that names the file, and nothing is written."""
    folder = write_run(tmp_path / "run")
    (folder / file).unlink() if content is None else (folder / file).write_text(content)
    status, _, errors = call(compare_runs.compare, folder, "--out", tmp_path / "out")
    assert status == 2
    assert message in errors
    assert str(folder) in errors
    assert not (tmp_path / "out").exists()


def test_mistakes(tmp_path: Path, call: Any):
    """A run that is named twice, none at all, and a file in place of the folder."""
    folder = write_run(tmp_path / "run")
    for words, message in (
        ((folder, folder), "is named twice"),
        ((), "there is no run to compare"),
        ((folder, "--out", folder / "config.json"), "cannot write"),
    ):
        status, _, errors = call(compare_runs.compare, *words)
        assert (status, message in errors) == (2, True)
