"""Files that are there as a whole or not at all."""

import contextlib
import csv
import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xxnet_jax.errors import CannotWrite, CorruptData, XXNetError


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON lines file, as far as they are whole; none if there is no file."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:  # a kill in the middle of a write: nothing whole follows
            break
    return lines


def make_folder(path: Path) -> None:
    """Make a folder, with those above it, if it is not there.

    Raises:
        OSError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(f"cannot write {path}: {error.strerror}") from error


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file under a temporary name and rename it: it is there as a whole or not at all.

    Raises:
        OSError: it could not be written; the message names it.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise CannotWrite(f"cannot write {path}: {error.strerror}") from error


@contextlib.contextmanager
def temporary(path: Path) -> Iterator[Path]:
    """A name to write a file under; it becomes `path` at the end, and is removed if anything fails.

    Raises:
        OSError: it could not be written; the message names it.
    """
    unfinished = path.with_name(f".{path.name}.tmp")
    try:
        yield unfinished
        unfinished.replace(path)
    except XXNetError:
        raise
    except OSError as error:
        raise CannotWrite(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def write_npz(path: Path, **arrays: Any) -> None:
    """Arrays by name as a .npz file, without pickles.

    Raises:
        OSError: it could not be written.
    """
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **arrays)
    write_atomically(path, stream.getvalue())


def read_npz(path: Path, *names: str) -> tuple[np.ndarray, ...]:
    """Arrays of a .npz file that `write_npz` wrote.

    Raises:
        ValueError: the file is damaged, or lacks one of them.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            return tuple(arrays[name] for name in names)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CorruptData(
            f"cannot read {', '.join(names)} in {path}: delete it, and it is made again ({error})"
        ) from error


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows with the same columns as a CSV file; None is an empty field.

    Raises:
        OSError: it could not be written.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, stream.getvalue())
