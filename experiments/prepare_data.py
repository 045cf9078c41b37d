"""Prepare a dataset for training without a network, or write examples as image files.

    python experiments/prepare_data.py tfds idx:FOLDER mnist --version 3.0.1 --data-dir DIR
    python experiments/prepare_data.py tfds folder:FOLDER my_images --data-dir DIR
    python experiments/prepare_data.py shards folder:FOLDER --shards 16 --out SHARDS
    python experiments/prepare_data.py export digits --split test --count 10 --out images

After the first, `--data tfds:mnist --data-dir DIR` trains on it; so does `tfds.data_source("mnist", data_dir=DIR)`.
After the third, it is `--data tar:SHARDS`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from script import main, progress

from xxnet_jax.data import open_source
from xxnet_jax.data.prepare import export_images, prepare_tfds, write_shards


@dataclass(frozen=True)
class Tfds:
    """Write a source as a TFDS dataset (array_record), to be read without TensorFlow.

    Attributes:
        source: URI such as idx:FOLDER or folder:FOLDER.
        name: of the dataset.
        data_dir: folder of prepared datasets.
        version: of the dataset; one that TFDS knows should have TFDS's (mnist: 3.0.1).
    """

    source: Annotated[str, tyro.conf.Positional]
    name: Annotated[str, tyro.conf.Positional]
    data_dir: Path = Path("~/tensorflow_datasets")
    version: str = "1.0.0"

    def __call__(self) -> None:
        folder = prepare_tfds(open_source(self.source), self.name, self.data_dir.expanduser(), self.version)
        print(f"prepared {folder}: use it as --data tfds:{self.name} --data-dir {self.data_dir}")


@dataclass(frozen=True)
class Shards:
    """Write a source as tar archives, to be read in any order without unpacking; image files stay as they are.

    Attributes:
        source: URI such as folder:FOLDER or idx:FOLDER.
        out: folder.
        shards: archives for each split.
        data_dir: folder of prepared TFDS datasets.
    """

    source: Annotated[str, tyro.conf.Positional]
    out: Path = Path("shards")
    shards: int = 1
    data_dir: str | None = None

    def __call__(self) -> None:
        source = open_source(self.source, data_dir=self.data_dir)
        count = sum(map(len, source.splits.values()))
        with progress("images", count) as advance:
            archives = write_shards(source, self.out, self.shards, lambda *image: advance(1))
        print(f"wrote {count:,} images to {len(archives)} archives: use them as --data tar:{self.out}")


@dataclass(frozen=True)
class Export:
    """Write examples of a source as OUT/CLASS/NUMBER.png.

    Attributes:
        source: URI such as digits or tfds:mnist.
        split: expression such as test[:10].
        out: folder.
        count: examples at most; by default all.
        data_dir: folder of prepared TFDS datasets.
    """

    source: Annotated[str, tyro.conf.Positional]
    split: str = "test"
    out: Path = Path("images")
    count: int | None = None
    data_dir: str | None = None

    def __call__(self) -> None:
        source = open_source(self.source, data_dir=self.data_dir)
        files = export_images(source.examples(self.split), source.classes, self.out, self.count)
        print(f"wrote {len(files)} images to {self.out}")


def prepare() -> int:
    tyro.cli(Tfds | Shards | Export, description=__doc__)()  # type: ignore[arg-type]
    return 0


if __name__ == "__main__":
    main(prepare)
