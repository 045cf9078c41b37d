"""A table of runs that survives interruptions: what an experiment that consists of many runs leaves on disk."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from xxnet_jax.errors import ConfigMismatch, CorruptData
from xxnet_jax.files import make_folder, read_json_lines, write_atomically, write_csv

Row = dict[str, Any]


class RunTable:
    """The runs of an experiment in a folder.

    config.json    what all runs have in common; another one in the same folder is an error
    runs.jsonl     one object a line and run, with its curve
    results.csv    the same without curves

    Args:
        folder: of the experiment; made if it is not there.
        config: what all runs have in common.
        key: the columns that tell a run from the others.

    Raises:
        ValueError: the folder holds runs with another configuration; the message lists the differences.
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], key: tuple[str, ...]):
        self.folder, self._key = folder, key
        make_folder(folder)
        path = folder / "config.json"
        text = json.dumps(dict(config), indent=2) + "\n"
        if path.exists():
            self._check(path, json.loads(text))
        else:
            write_atomically(path, text)
        self._runs = folder / "runs.jsonl"
        self._rows = {self._key_of(row): row for row in read_json_lines(self._runs)}

    def _check(self, path: Path, config: Mapping[str, Any]) -> None:
        try:
            old = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise CorruptData(f"cannot read {path}: {error}") from error
        changed = [
            f"{name}: {old.get(name)!r} -> {config.get(name)!r}"
            for name in sorted({*old, *config})
            if old.get(name) != config.get(name)
        ]
        if changed:
            raise ConfigMismatch(
                f"{path.parent} holds runs with another configuration:\n  "
                + "\n  ".join(changed)
                + "\ngive it the old values to go on, or name another --out"
            )

    def _key_of(self, row: Row) -> tuple[Any, ...]:
        return tuple(row[column] for column in self._key)

    def __contains__(self, key: tuple[Any, ...]) -> bool:
        return key in self._rows

    def __getitem__(self, key: tuple[Any, ...]) -> Row:
        return self._rows[key]

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, row: Row) -> None:
        """Keep a run: when this returns it is on disk.

        Raises:
            OSError: it could not be written.
        """
        self._rows[self._key_of(row)] = row
        write_atomically(self._runs, "".join(json.dumps(row, allow_nan=False) + "\n" for row in self))
        write_csv(self.folder / "results.csv", [{k: v for k, v in row.items() if k != "curve"} for row in self])


def markdown_table(rows: list[Row]) -> str:
    """Rows with the same columns as a Markdown table."""
    header = list(rows[0])
    lines = [header, ["---"] * len(header), *([str(row[column]) for column in header] for row in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
