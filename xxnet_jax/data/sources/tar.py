"""`tar:PATH`: a folder of tar archives ("shards"), read in any order without unpacking.

Archives are named by their split: train-00000.tar, validation-*.tar (or val-*.tar), test-*.tar, or train.tar. Their
members are images in one folder per class (CLASS/NAME.jpg), as `experiments/prepare_data.py shards` writes them; or
WebDataset's pairs, NAME.jpg and NAME.cls with the class number, for which PATH/classes.txt may have names, one a line.
The headers of all members are read once, when the source is opened. Archives must not be compressed.
"""

import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from xxnet_jax.data.images import IMAGE_SUFFIXES, decode_image
from xxnet_jax.data.source import EncodedImage, Example, IndexedExamples, Source, SourceRequest, register_source
from xxnet_jax.errors import CorruptData, InvalidArgument, MissingData

_SPLITS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}


class Member(NamedTuple):
    """A file in an archive: `size` bytes from `offset` on."""

    archive: Path
    name: PurePosixPath
    offset: int
    size: int

    def read(self) -> bytes:
        """Its content.

        Raises:
            FileNotFoundError: the archive has gone.
        """
        try:
            with self.archive.open("rb") as file:
                file.seek(self.offset)
                return file.read(self.size)
        except FileNotFoundError as error:
            raise MissingData(f"no archive {self.archive}") from error


@dataclass(frozen=True)
class MemberExamples(IndexedExamples):
    """Images in archives with their labels, decoded when read."""

    members: tuple[tuple[Member, int], ...]
    channels: int

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, index: int) -> Example:
        member, label = self.members[index]
        name = f"{member.name} in {member.archive}"
        return {"image": decode_image(io.BytesIO(member.read()), name, self.channels), "label": label}

    def encoded(self, index: int) -> EncodedImage:
        member, label = self.members[index]
        return EncodedImage(member.read(), member.name.suffix, label)


@register_source("tar", "channels")
def open_tar(request: SourceRequest) -> Source:
    if not request.body:
        raise InvalidArgument(f"cannot read '{request.uri}': write tar:FOLDER")
    root = Path(request.body).expanduser()
    channels = {"1": 1, "3": 3}.get(request.options.get("channels", "3"))
    if channels is None:
        raise InvalidArgument(f"{request.uri}: channels must be 1 or 3")
    archives = _archives(root)
    members = {split: [member for path in paths for member in _members(path)] for split, paths in archives.items()}
    every = [member for split in members.values() for member in split]
    numbered = any(member.name.suffix == ".cls" for member in every)
    classes, labels = _numbered(root, every) if numbered else _in_folders(every)
    splits = {}
    for split, found in members.items():
        images = [member for member in found if member.name.suffix.lower() in IMAGE_SUFFIXES]
        if not images:
            raise MissingData(f"no images in {', '.join(map(str, archives[split]))}: expected CLASS/IMAGE.jpg")
        splits[split] = MemberExamples(tuple((member, labels[_stem(member)]) for member in images), channels)
    return Source(uri=request.uri, classes=tuple(classes), image_shape=(None, None, channels), splits=splits)


def _archives(root: Path) -> dict[str, list[Path]]:
    """The archives of each split, by name."""
    if not root.is_dir():
        raise MissingData(f"no folder {root}")
    found: dict[str, list[Path]] = {}
    for path in sorted(root.glob("*.tar")):
        match = re.match(r"(train|validation|val|test)\b", path.name)
        if match is None:
            raise InvalidArgument(f"{path} names no split: call it train-*.tar, validation-*.tar or test-*.tar")
        found.setdefault(_SPLITS[match[1]], []).append(path)
    if not found:
        raise MissingData(f"no archives train-*.tar, validation-*.tar or test-*.tar in {root}")
    return found


def _members(path: Path) -> Iterator[Member]:
    """The files in an archive.

    Raises:
        ValueError: it is compressed, damaged or cut short.
    """
    length = path.stat().st_size
    try:
        with tarfile.open(path, "r:") as archive:
            for info in archive:
                if not info.isfile() or PurePosixPath(info.name).name.startswith("."):
                    continue
                if info.offset_data + info.size > length:
                    raise CorruptData(f"{path} is cut short: {info.name} ends behind the end of the archive")
                yield Member(path, PurePosixPath(info.name), info.offset_data, info.size)
    except (tarfile.TarError, EOFError) as error:
        raise CorruptData(f"cannot read {path} as an uncompressed tar archive: {error}") from error


Stem = tuple[Path, PurePosixPath]  # of a member: its archive, and its name without suffix


def _stem(member: Member) -> Stem:
    return member.archive, member.name.with_suffix("")


def _in_folders(members: list[Member]) -> tuple[list[str], dict[Stem, int]]:
    """The classes, and that of each image: the name of its folder."""
    folders: dict[Stem, str] = {}
    for member in members:
        if member.name.suffix.lower() in IMAGE_SUFFIXES:
            if member.name.parent.name == "":
                raise InvalidArgument(
                    f"{member.name} in {member.archive} is in no folder of a class and has no label beside it: "
                    "expected CLASS/IMAGE.jpg, or NAME.jpg and NAME.cls"
                )
            folders[_stem(member)] = member.name.parent.name
    classes = sorted(set(folders.values()))
    return classes, {stem: classes.index(folder) for stem, folder in folders.items()}


def _numbered(root: Path, members: list[Member]) -> tuple[list[str], dict[Stem, int]]:
    """The classes, and that of each image: the number in the file beside it."""
    numbers: dict[Stem, int] = {}
    for member in members:
        if member.name.suffix == ".cls":
            text = member.read().decode("ascii", errors="replace").strip()
            if not text.isdecimal():
                raise CorruptData(f"{member.name} in {member.archive} must have a class number, it has '{text[:20]}'")
            numbers[_stem(member)] = int(text)
    for member in members:
        if member.name.suffix.lower() in IMAGE_SUFFIXES and _stem(member) not in numbers:
            raise CorruptData(f"{member.name} in {member.archive} has no label: {member.name.stem}.cls is missing")
    return _class_names(root, max(numbers.values())), numbers


def _class_names(root: Path, largest: int) -> list[str]:
    """The lines of classes.txt, or else the numbers up to the largest."""
    path = root / "classes.txt"
    if not path.exists():
        return [str(number) for number in range(largest + 1)]
    names = path.read_text(encoding="utf-8").split("\n")
    names = names[:-1] if names[-1] == "" else names
    if largest >= len(names):
        raise CorruptData(f"{path} names {len(names)} classes, but there is a label {largest}")
    return names
