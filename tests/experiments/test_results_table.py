"""results_table.py, on run folders that are written by hand."""

import csv
from pathlib import Path
from typing import Any

import results_table
from written_runs import EPOCHS, STEPS, write_run


def test_rows_of_runs(tmp_path: Path, call: Any):
    """A finished run has its test, one under way is marked; the command has what differs from the recipe; the same
    network again takes the place of its row, and what is kept is enough to write the page."""
    folder = tmp_path / "docs" / "results"
    short = write_run(tmp_path / "short", finished=False, epochs=2, optimizer="sgd", data="folder:some/where")
    whole = write_run(tmp_path / "whole", model_options={"activation": "relu"}, train_split="train[:50%]")
    for run in (short, whole):
        status, output, errors = call(results_table.results_table, "lenet5_digits", run, "--folder", folder)
        assert (status, errors) == (0, "")
        assert output.strip() == str(folder.with_suffix(".md"))
    with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["data"], row["steps"], row["finished"]) for row in rows] == [
        ("folder:where", str(2 * STEPS), "False"),
        ("digits", str(EPOCHS * STEPS), "True"),
    ]
    assert "--optimizer sgd" in rows[0]["command"]
    assert "--data folder:FOLDER" in rows[0]["command"]
    assert '--train-split "train[:50%]"' in rows[1]["command"]
    assert "--model-options subsampling None" in rows[1]["command"]
    assert [row["parameters"] for row in rows] == [str(61_706 - 8 * 85)] * 2  # 2 classes in place of 10
    page = folder.with_suffix(".md").read_text(encoding="utf-8")
    assert f"| {2 * STEPS} of {40 * STEPS}, unfinished |" in page
    assert "| 99.00 | 98.33 |" in page  # 1 - 1 / 15 + .05

    call(results_table.results_table, "lenet5_digits", write_run(tmp_path / "again"), "--folder", folder)
    with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 2
    page = folder.with_suffix(".md").read_text(encoding="utf-8")
    call(results_table.results_table, "--folder", folder)
    assert folder.with_suffix(".md").read_text(encoding="utf-8") == page


def test_a_run_of_another_recipe(tmp_path: Path, call: Any):
    """The network must be one of the recipe's, and a recipe alone is nothing to add."""
    run = write_run(tmp_path / "run")
    status, _, errors = call(results_table.results_table, "nin_cifar10", run, "--folder", tmp_path / "results")
    assert status == 2
    assert "trains lenet5, the recipe nin_cifar10 is for" in errors
    assert call(results_table.results_table, "nin_cifar10", "--folder", tmp_path / "results")[0] == 2
