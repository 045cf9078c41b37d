"""What the sources of `voc:FOLDER` share: lists of the images of each split, and the images."""

from pathlib import Path

from xxnet_jax.data.images import IMAGE_SUFFIXES
from xxnet_jax.data.source import SourceRequest
from xxnet_jax.errors import InvalidArgument, MissingData

_SPLITS = {"train": "train", "val": "validation", "trainval": "trainval", "test": "test"}


def channels_of(request: SourceRequest) -> int:
    """The channels that a URI asks for, 3 by default."""
    channels = {"1": 1, "3": 3}.get(request.options.get("channels", "3"))
    if channels is None:
        raise InvalidArgument(f"{request.uri}: channels must be 1 or 3")
    return channels


def names_of_splits(lists: Path) -> dict[str, list[str]]:
    """The names of the images of each split for which the folder has a list.

    Raises:
        FileNotFoundError: it has none.
    """
    files = {split: lists / f"{name}.txt" for name, split in _SPLITS.items()}
    names = {split: _names(path) for split, path in files.items() if path.is_file()}
    if not names:
        raise MissingData(f"no lists of images {lists}/train.txt, val.txt, trainval.txt or test.txt")
    return names


def _names(path: Path) -> list[str]:
    return [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def image_files(folder: Path) -> dict[str, Path]:
    """The image files of a folder by their names without suffix.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if not folder.is_dir():
        raise MissingData(f"no folder {folder}")
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES}
