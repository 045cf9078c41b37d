"""Archives that the tests write with Python's tarfile."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from xxnet_jax.data import open_source
from xxnet_jax.data.images import png_bytes
from xxnet_jax.data.prepare import write_shards
from xxnet_jax.errors import CorruptData, InvalidArgument, MissingData


def image(number: int) -> bytes:
    return png_bytes(np.full((3, 5, 3), number, np.uint8))


def archive(path: Path, members: dict[str, bytes], mode: str = "w") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as file:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))


def numbers(uri: str, split: str = "train") -> list[tuple[int, int]]:
    return [(int(example["image"][0, 0, 0]), example["label"]) for example in open_source(uri).examples(split)]


def test_folders_are_classes(tmp_path: Path):
    """In all archives of all splits, in the order of their names, long and unusual ones too."""
    long = "x" * 150 + " ü 猫"
    archive(tmp_path / "train-0.tar", {f"b/{long}.png": image(1), "a/2.PNG": image(2), "a/notes.txt": b"no image"})
    archive(tmp_path / "train-1.tar", {"./c/3.png": image(3)})
    archive(tmp_path / "val-0.tar", {"deep/a/4.png": image(4), "a/._4.png": b"of another system"})
    source = open_source(f"tar:{tmp_path}")
    assert source.classes == ("a", "b", "c")
    assert numbers(f"tar:{tmp_path}") == [(1, 1), (2, 0), (3, 2)]
    assert numbers(f"tar:{tmp_path}", "validation") == [(4, 0)]
    assert source.examples("train")[1]["image"].shape == (3, 5, 3)  # type: ignore[index]


def test_labels_beside_images(tmp_path: Path):
    """WebDataset: NAME.cls has the class number; names of classes are those of classes.txt, or else the numbers."""
    archive(tmp_path / "train.tar", {"7.cls": b"2\n", "7.png": image(7), "sub/8.png": image(8), "sub/8.cls": b"0"})
    assert open_source(f"tar:{tmp_path}").classes == ("0", "1", "2")
    assert numbers(f"tar:{tmp_path}") == [(7, 2), (8, 0)]
    (tmp_path / "classes.txt").write_text("ant\nbee\nsea cow\n")
    assert open_source(f"tar:{tmp_path}").classes == ("ant", "bee", "sea cow")
    (tmp_path / "classes.txt").write_text("ant\nbee\n")
    with pytest.raises(CorruptData, match="names 2 classes, but there is a label 2"):
        open_source(f"tar:{tmp_path}")


@pytest.mark.parametrize(
    ("members", "error", "message"),
    [
        ({"1.png": image(1)}, InvalidArgument, "in no folder of a class"),
        ({"1.png": image(1), "2.cls": b"0"}, CorruptData, "1.cls is missing"),
        ({"1.png": image(1), "1.cls": b"cat"}, CorruptData, "must have a class number, it has 'cat'"),
        ({"a/readme.txt": b""}, MissingData, "no images in"),
    ],
)
def test_archives_that_cannot_be_used(members: dict[str, bytes], error: type[Exception], message: str, tmp_path: Path):
    archive(tmp_path / "train.tar", members)
    with pytest.raises(error, match=message):
        open_source(f"tar:{tmp_path}")


def test_compressed_and_cut_archives(tmp_path: Path):
    """They are named, and nothing is read from them."""
    archive(tmp_path / "z" / "train.tar", {"a/1.png": image(1)}, "w:gz")
    with pytest.raises(CorruptData, match="as an uncompressed tar archive"):
        open_source(f"tar:{tmp_path}/z")
    archive(tmp_path / "cut" / "train.tar", {"a/1.png": image(1), "a/2.png": bytes(100_000)})
    whole = (tmp_path / "cut" / "train.tar").read_bytes()
    (tmp_path / "cut" / "train.tar").write_bytes(whole[:20_000])
    with pytest.raises(CorruptData, match=r"cut short|as an uncompressed tar archive"):
        open_source(f"tar:{tmp_path}/cut")


def test_a_damaged_member_is_named(tmp_path: Path):
    archive(tmp_path / "train.tar", {"a/1.png": image(1)[:40]})
    with pytest.raises(CorruptData, match=r"a/1.png in .*train.tar"):
        numbers(f"tar:{tmp_path}")


def test_folders_that_are_none(tmp_path: Path):
    with pytest.raises(MissingData, match="no folder"):
        open_source(f"tar:{tmp_path}/no")
    with pytest.raises(MissingData, match="no archives train"):
        open_source(f"tar:{tmp_path}")
    archive(tmp_path / "training.tar", {"a/1.png": image(1)})
    with pytest.raises(InvalidArgument, match="names no split"):
        open_source(f"tar:{tmp_path}")


def test_files_are_archived_as_they_are(tmp_path: Path):
    """JPEG files of a folder come out of the archives with all their bytes, each once, divided among the shards."""
    rng = np.random.default_rng(0)
    contents = set()
    for number in range(5):
        path = tmp_path / "folder" / "train" / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image(number) + rng.bytes(10))  # not even decoded
        contents.add(path.read_bytes())
    seen = []
    written = write_shards(
        open_source(f"folder:{tmp_path}/folder"), tmp_path / "out", 2, lambda *image: seen.append(image)
    )
    assert [path.name for path in written] == ["train-00000-of-00002.tar", "train-00001-of-00002.tar"]
    found = []
    for path in written:
        with tarfile.open(path) as file:
            found += [file.extractfile(member).read() for member in file.getmembers()]  # type: ignore[union-attr]
    assert len(found) == 5
    assert set(found) == contents
    assert seen == [("train", number, 5) for number in range(1, 6)]
    with pytest.raises(InvalidArgument, match="is there already"):
        write_shards(open_source(f"folder:{tmp_path}/folder"), tmp_path / "out", 2)
    with pytest.raises(InvalidArgument, match="fewer than 6 shards"):
        write_shards(open_source(f"folder:{tmp_path}/folder"), tmp_path / "more", 6)


def test_a_failure_leaves_no_archive(tmp_path: Path):
    """The archive that was being written is removed."""
    for name in ("1.jpg", "2.jpg"):
        path = tmp_path / "folder" / "train" / "a" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image(1))
    source = open_source(f"folder:{tmp_path}/folder")
    (tmp_path / "folder" / "train" / "a" / "2.jpg").unlink()
    with pytest.raises(OSError, match=r"no image file .*2\.jpg"):
        write_shards(source, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
