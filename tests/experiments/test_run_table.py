"""The table of runs: what is on disk after each run, an interruption, or a mistake."""

import csv
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_table import RunTable, markdown_table

from xxnet_jax import files

CONFIG = {"problem": "made up", "steps": 10}
KEY = ("optimizer", "learning_rate", "seed")
numbers = st.floats(allow_nan=False, allow_infinity=False)
rows = st.fixed_dictionaries(
    {
        "optimizer": st.sampled_from(["sgd", 'a "quoted", name', "two\nlines", "größer"]),
        "learning_rate": numbers,
        "seed": st.integers(0, 3),
        "score": st.none() | numbers,
        "curve": st.lists(st.tuples(st.integers(), numbers).map(list), max_size=3),
    }
)


def key_of(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEY)


def row(seed: int, **changes: Any) -> dict[str, Any]:
    return {"optimizer": "sgd", "learning_rate": 0.1, "seed": seed, "score": seed / 3, "curve": [[1, 2.5]], **changes}


@given(st.lists(rows, max_size=5))
def test_what_was_added_is_there_when_it_is_opened_again(added: list[dict[str, Any]]):
    """After each run the folder holds all of them, the last of each key, to the last digit; results.csv has the same
    rows without curves for Python's own reader, None being an empty field."""
    with tempfile.TemporaryDirectory() as name:
        folder, expected = Path(name) / "deeper" / "folder", {}
        assert len(RunTable(folder, CONFIG, KEY)) == 0
        for new in added:
            assert (key_of(new) in RunTable(folder, CONFIG, KEY)) == (key_of(new) in expected)
            RunTable(folder, CONFIG, KEY).add(new)
            expected[key_of(new)] = new
            opened = RunTable(folder, CONFIG, KEY)
            assert len(opened) == len(expected)
            assert list(opened) == list(expected.values())
            with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
                read = list(csv.DictReader(file))
            assert len(read) == len(expected)
            for fields, one in zip(read, expected.values(), strict=True):
                assert list(fields) == [name for name in next(iter(expected.values())) if name != "curve"]
                assert fields["optimizer"] == one["optimizer"]
                assert float(fields["learning_rate"]) == one["learning_rate"]
                assert int(fields["seed"]) == one["seed"]
                assert (float(fields["score"]) if fields["score"] else None) == one["score"]


@given(st.data())
def test_a_half_written_line_is_no_run(data: st.DataObject):
    """Of a file that ends anywhere, the runs whose lines are whole are there, and the next one can be added."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = RunTable(folder, CONFIG, KEY)
        for seed in range(3):
            table.add(row(seed))
        content = (folder / "runs.jsonl").read_bytes()
        end = data.draw(st.integers(0, len(content)))
        (folder / "runs.jsonl").write_bytes(content[:end])
        whole = (content[:end] + b"\n").count(b"}\n")
        opened = RunTable(folder, CONFIG, KEY)
        assert [one["seed"] for one in opened] == list(range(whole))
        opened.add(row(7))
        assert [one["seed"] for one in RunTable(folder, CONFIG, KEY)] == [*range(whole), 7]


def test_another_configuration_is_refused(tmp_path):
    """The error lists each difference with both values, in either direction, and what to do; nothing is changed."""
    RunTable(tmp_path, {**CONFIG, "tuple": (1, 2), "old": True}, KEY).add(row(0))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="another configuration") as error:
        RunTable(tmp_path, {**CONFIG, "tuple": (1, 2), "steps": 20, "new": "x"}, KEY)
    for line in ("steps: 10 -> 20", "old: True -> None", "new: None -> 'x'", "--out"):
        assert line in str(error.value)
    assert "problem" not in str(error.value)
    assert "tuple" not in str(error.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert len(RunTable(tmp_path, {**CONFIG, "tuple": (1, 2), "old": True}, KEY)) == 1


def test_a_configuration_that_cannot_be_read(tmp_path):
    """Half a config.json is named."""
    (tmp_path / "config.json").write_text('{"problem": "ma')
    with pytest.raises(ValueError, match=r"cannot read .*config\.json"):
        RunTable(tmp_path, CONFIG, KEY)


def test_a_full_disk_spoils_nothing(tmp_path, monkeypatch):
    """When a run cannot be written the error names the file, and the files still hold the runs before."""
    table = RunTable(tmp_path, CONFIG, KEY)
    table.add(row(0))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(OSError, match=r"cannot write .*runs\.jsonl: No space left"):
            table.add(row(1))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if not path.name.startswith(".")} == before
    assert len(RunTable(tmp_path, CONFIG, KEY)) == 1


def test_a_number_that_json_does_not_have(tmp_path):
    """NaN is refused before anything is written: the file stays one that every program can read."""
    table = RunTable(tmp_path, CONFIG, KEY)
    table.add(row(0))
    with pytest.raises(ValueError, match="JSON"):
        table.add(row(1, score=float("nan")))
    (line,) = (tmp_path / "runs.jsonl").read_text().splitlines()
    assert json.loads(line) == row(0)


def test_a_folder_that_cannot_be_made(tmp_path):
    """A file in the way is an error that names it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot write .*file"):
        RunTable(tmp_path / "file" / "folder", CONFIG, KEY)


def test_markdown():
    """A header, a line below it, and a line for each row."""
    table = markdown_table([{"a": "1", "b b": None}, {"a": 2.5, "b b": "x"}])
    assert table == "| a | b b |\n| --- | --- |\n| 1 | None |\n| 2.5 | x |\n"
