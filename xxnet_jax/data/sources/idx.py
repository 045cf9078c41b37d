"""`idx:FOLDER`: MNIST and its kin as they are published, four IDX files, gzipped or not (http://yann.lecun.com/exdb/mnist)."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from xxnet_jax.data.source import ArrayExamples, Source, SourceRequest, register_source
from xxnet_jax.errors import CorruptData, InvalidArgument, MissingData

_FILES = {"train": "train", "test": "t10k"}


@register_source("idx")
def open_idx(request: SourceRequest) -> Source:
    if not request.body:
        raise InvalidArgument(f"cannot read '{request.uri}': write idx:FOLDER")
    folder = Path(request.body).expanduser()
    splits = {split: _read_split(folder, prefix) for split, prefix in _FILES.items()}
    num_classes = int(splits["train"].labels.max()) + 1
    height, width = splits["train"].images.shape[1:3]
    return Source(
        uri=request.uri,
        classes=tuple(str(number) for number in range(num_classes)),
        image_shape=(height, width, 1),
        splits=splits,
    )


def _read_split(folder: Path, prefix: str) -> ArrayExamples:
    images = read_idx(_find(folder, f"{prefix}-images", "idx3-ubyte"), axes=3)
    labels = read_idx(_find(folder, f"{prefix}-labels", "idx1-ubyte"), axes=1)
    if len(images) != len(labels):
        raise CorruptData(f"{folder}: {len(images)} {prefix} images, but {len(labels)} labels: files of two datasets?")
    return ArrayExamples(images[..., None], labels.astype(np.int32))


def _find(folder: Path, stem: str, kind: str) -> Path:
    names = [f"{stem}{dot}{kind}{gz}" for dot in "-." for gz in (".gz", "")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise MissingData(f"no IDX file {names[0]} (or {', '.join(names[1:])}) in {folder}")


def read_idx(path: Path, axes: int) -> np.ndarray:
    """The array in an IDX file of unsigned bytes, uint8 with `axes` axes.

    Raises:
        ValueError: not such a file, or its length is not what its header says.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise CorruptData(f"{path} is not a whole gzip file: {error}") from error
    header = struct.calcsize(f">{1 + axes}i")
    if len(content) < header:
        raise CorruptData(f"{path} has {len(content)} bytes: too short for an IDX header")
    magic, *shape = struct.unpack(f">{1 + axes}i", content[:header])
    if magic != 0x0800 + axes:
        raise CorruptData(
            f"{path} begins with {magic:#06x}, an IDX file of bytes with {axes} axes with {0x0800 + axes:#06x}"
        )
    if min(shape) < 1 or len(content) - header != math.prod(shape):
        raise CorruptData(
            f"{path} has {len(content) - header} bytes after its header, which promises shape {tuple(shape)}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
