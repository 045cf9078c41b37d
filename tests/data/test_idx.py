"""IDX files that the tests write with `struct`, damaged ones, and the real MNIST where it is."""

import gzip
import hashlib
import re
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xxnet_jax.data import open_source
from xxnet_jax.data.source import ArrayExamples
from xxnet_jax.errors import CorruptData, MissingData

MNIST = Path(__file__).parents[3] / "shared" / "data" / "mnist"
NAMES = {"train": "train", "test": "t10k"}
FILES = [f"{prefix}-{kind}" for prefix in NAMES.values() for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")]


def idx_bytes(array: np.ndarray) -> bytes:
    """As http://yann.lecun.com/exdb/mnist describes: zero, zero, type 8, axes; big-endian sizes; the bytes."""
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + b"".join(struct.pack(">I", size) for size in array.shape)
    return header + bytes(array.ravel().tolist())


def dataset(seed: int, sizes: tuple[int, int], height: int, width: int, classes: int = 10) -> dict[str, np.ndarray]:
    """Random arrays by file name, with every class in the train labels."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for prefix, size in zip(NAMES.values(), sizes, strict=True):
        arrays[f"{prefix}-images-idx3-ubyte"] = rng.integers(0, 256, (size, height, width), np.uint8)
        arrays[f"{prefix}-labels-idx1-ubyte"] = rng.integers(0, classes, size, np.uint8)
    arrays["train-labels-idx1-ubyte"][0] = classes - 1
    return arrays


def write(folder: Path, arrays: dict[str, np.ndarray], *, dot: bool = False, zipped: bool = False) -> None:
    for name, array in arrays.items():
        file = name.replace("-idx", ".idx") if dot else name
        content = idx_bytes(array)
        if zipped:
            (folder / f"{file}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / file).write_bytes(content)


@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**32),
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    classes=st.integers(1, 256),
    dot=st.booleans(),
    zipped=st.booleans(),
)
def test_what_was_written_is_read(
    seed: int, sizes: tuple[int, int], height: int, width: int, classes: int, dot: bool, zipped: bool
):
    """Random images and labels, zipped or not, by both naming styles, come back byte by byte."""
    arrays = dataset(seed, sizes, height, width, classes)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), arrays, dot=dot, zipped=zipped)
        source = open_source(f"idx:{folder}")
    assert source.image_shape == (height, width, 1)
    assert source.classes == tuple(str(number) for number in range(classes))
    assert set(source.splits) == {"train", "test"}
    for split, prefix in NAMES.items():
        examples = list(source.examples(split))
        images = np.stack([example["image"] for example in examples])
        assert images.dtype == np.uint8
        np.testing.assert_array_equal(images, arrays[f"{prefix}-images-idx3-ubyte"][..., None])
        assert [example["label"] for example in examples] == arrays[f"{prefix}-labels-idx1-ubyte"].tolist()


def test_files_of_mixed_styles_are_found(tmp_path: Path):
    """Each of the four files may have its own naming style and compression."""
    arrays = dataset(0, (5, 4), 2, 3)
    styles = [(False, False), (False, True), (True, False), (True, True)]
    for (name, array), (dot, zipped) in zip(arrays.items(), styles, strict=True):
        write(tmp_path, {name: array}, dot=dot, zipped=zipped)
    source = open_source(f"idx:{tmp_path}")
    assert (len(source.examples("train")), len(source.examples("test"))) == (5, 4)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(tmp_path: Path, name: str):
    """Without one of the four files the error names it and the folder."""
    write(tmp_path, dataset(0, (3, 2), 2, 2))
    (tmp_path / name).unlink()
    with pytest.raises(MissingData, match=f"{name}.*{re.escape(str(tmp_path))}"):
        open_source(f"idx:{tmp_path}")


def test_a_missing_folder_is_named(tmp_path: Path):
    """A folder that does not exist is an error that names it."""
    with pytest.raises(MissingData, match=re.escape(str(tmp_path / "nowhere"))):
        open_source(f"idx:{tmp_path / 'nowhere'}")


WHOLE = idx_bytes(np.arange(12, dtype=np.uint8).reshape(3, 2, 2))
DAMAGED = {
    "empty": b"",
    "half a header": WHOLE[:7],
    "a header alone": WHOLE[:16],
    "cut off": WHOLE[:-1],
    "too long": WHOLE + b"\0",
    "labels for images": idx_bytes(np.arange(12, dtype=np.uint8)),
    "floats": b"\0\0\x0d\x03" + WHOLE[4:],
    "little-endian": WHOLE[3::-1] + WHOLE[4:],
    "a page of HTML": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "no images": struct.pack(">4I", 0x803, 0, 2, 2),
    # 2**31 - 1 of each: the product wraps around in 64 bits
    "more than memory": struct.pack(">4I", 0x803, *[2**31 - 1] * 3) + WHOLE[16:],
    # 2**22 * 2**21 * 2**21 = 2**64, which is 0 in 64 bits, the number of bytes that follow
    "nothing, modulo 2**64": struct.pack(">4I", 0x803, 2**22, 2**21, 2**21),
}


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_file_is_named(tmp_path: Path, damage: str, zipped: bool):
    """A file whose content is not what its name promises is an error that names it."""
    write(tmp_path, dataset(0, (3, 2), 2, 2))
    path = tmp_path / "train-images-idx3-ubyte"
    path.unlink()
    if zipped:
        path = path.with_name(path.name + ".gz")
    path.write_bytes(gzip.compress(DAMAGED[damage]) if zipped else DAMAGED[damage])
    with pytest.raises(CorruptData, match=re.escape(str(path))):
        open_source(f"idx:{tmp_path}")


@given(st.data())
def test_damage_to_a_gzip_file_never_goes_unseen(data: st.DataObject):
    """A gzip file that is cut off or has one byte changed is refused by name, or its images are as they were."""
    arrays = dataset(1, (6, 2), 3, 3)
    zipped = gzip.compress(idx_bytes(arrays["train-images-idx3-ubyte"]), mtime=0)
    position = data.draw(st.integers(0, len(zipped) - 1))
    if data.draw(st.booleans()):
        damaged = zipped[:position]
    else:
        damaged = zipped[:position] + bytes([data.draw(st.integers(0, 255))]) + zipped[position + 1 :]
    message = ""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), arrays)
        path = Path(folder, "train-images-idx3-ubyte.gz")
        path.write_bytes(damaged)
        path.with_suffix("").unlink()
        try:
            images = [example["image"] for example in open_source(f"idx:{folder}").examples("train")]
        except CorruptData as error:
            images, message = None, str(error)
    if images is None:
        assert str(path) in message
    else:
        np.testing.assert_array_equal(np.stack(images)[..., 0], arrays["train-images-idx3-ubyte"])


def test_images_and_labels_must_be_as_many(tmp_path: Path):
    """A label file of another dataset, with another length, is refused; the error names folder, split and numbers."""
    arrays = dataset(0, (5, 4), 2, 2)
    arrays["t10k-labels-idx1-ubyte"] = arrays["t10k-labels-idx1-ubyte"][:3]
    write(tmp_path, arrays)
    with pytest.raises(CorruptData, match=f"{re.escape(str(tmp_path))}.*4 t10k images.*3 labels"):
        open_source(f"idx:{tmp_path}")


@pytest.mark.skipif(not MNIST.is_dir(), reason=f"the MNIST files are not in {MNIST}")
def test_the_real_mnist_is_read_byte_by_byte():
    """60,000 and 10,000 digits with the known label counts; what was read has the MD5 sums of the published files."""
    source = open_source(f"idx:{MNIST}")
    assert source.image_shape == (28, 28, 1)
    assert source.num_classes == 10
    sums = []
    for split, size in (("train", 60_000), ("test", 10_000)):
        examples = source.examples(split)
        assert isinstance(examples, ArrayExamples)
        assert examples.images.shape == (size, 28, 28, 1)
        images = struct.pack(">4I", 0x803, size, 28, 28) + examples.images.tobytes()
        labels = struct.pack(">2I", 0x801, size) + examples.labels.astype(np.uint8).tobytes()
        sums += [hashlib.md5(content).hexdigest()[:8] for content in (images, labels)]
    assert sums == ["6bbc9ace", "a25bea73", "2646ac64", "27ae3e4e"]
    train = source.examples("train")
    assert isinstance(train, ArrayExamples)
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(train.labels).tolist() == counts
