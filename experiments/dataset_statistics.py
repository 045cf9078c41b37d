"""Count and measure the images of a dataset: classes, sizes, colours, and what preprocessing takes from them.

    python experiments/dataset_statistics.py folder:PHOTOGRAPHS
    python experiments/dataset_statistics.py tfds:cifar10 --split "train[:-5000]" --whiten

OUT gets statistics.json (counts, means, deviations and covariance of the channels, principal components of the
colours), statistics.npz (also the mean image and what whitens) and statistics.png. Images of different sizes are
stretched to one size for the mean image; sizes are those of the files.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table
from script import counted, main

from xxnet_jax.data import ImageFormat, Statistics, image_statistics, open_source
from xxnet_jax.data.source import Example, Examples, IndexedExamples
from xxnet_jax.errors import CorruptData
from xxnet_jax.files import make_folder, write_atomically
from xxnet_jax.visualization.statistics import plot_statistics

LARGEST_SIDE = 64


@dataclass(frozen=True)
class Arguments:
    """Count and measure.

    Attributes:
        data: URI of the dataset, as of train.py.
        split: of it.
        data_dir: folder of prepared TFDS datasets.
        size: side that images are stretched to; by default the size of the first one, at most 64.
        whiten: compute principal components of whole images, too.
        out: folder; by default runs/statistics/DATA.
    """

    data: Annotated[str, tyro.conf.Positional]
    split: str = "train"
    data_dir: str | None = None
    size: int | None = None
    whiten: bool = False
    out: Path | None = None


def measure() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    source = open_source(arguments.data, data_dir=arguments.data_dir)
    examples = source.examples(arguments.split)
    first = next(iter(examples))["image"]
    rows, columns = (arguments.size or min(side, LARGEST_SIDE) for side in first.shape[:2])
    image_format = ImageFormat(rows, columns, first.shape[-1])
    count = _Count()
    images = count.of(counted(readable(examples, count), len(examples), 1), image_format)
    statistics = image_statistics(images, whiten=arguments.whiten)

    out = arguments.out or Path("runs/statistics") / re.sub(r"\W+", "_", arguments.data)
    report = summary(statistics, count, source.classes)
    show(report)
    make_folder(out)
    write_atomically(out / "statistics.json", json.dumps(report, indent=2) + "\n")
    statistics.save(out / "statistics.npz")
    plot_statistics(statistics, report["classes"], out / "statistics.png")
    print(f"{out}/statistics.json, statistics.npz, statistics.png")
    return 0


class _Count:
    """What is counted while the images pass by."""

    def __init__(self) -> None:
        self.labels: Counter[int] = Counter()
        self.sizes: list[tuple[int, int]] = []
        self.corrupt: list[str] = []

    def of(self, examples: Iterator[Example], image_format: ImageFormat) -> Iterator[np.ndarray]:
        for example in examples:
            self.labels[example["label"]] += 1
            self.sizes.append(example["image"].shape[:2])
            yield image_format(example["image"])


def readable(examples: Examples, count: _Count) -> Iterator[Example]:
    """The examples that can be decoded; of the others the message is kept."""
    if not isinstance(examples, IndexedExamples):
        yield from examples
        return
    for index in range(len(examples)):
        try:
            yield examples[index]
        except CorruptData as error:
            count.corrupt.append(str(error))


def summary(statistics: Statistics, count: _Count, classes: tuple[str, ...]) -> dict[str, Any]:
    heights, widths = np.transpose(count.sizes)
    variances, directions = np.linalg.eigh(statistics.channel_covariance.astype(np.float64))
    return {
        "images": statistics.images,
        "corrupt": count.corrupt,
        "classes": {name: count.labels[label] for label, name in enumerate(classes)},
        "height": {"smallest": int(heights.min()), "median": float(np.median(heights)), "largest": int(heights.max())},
        "width": {"smallest": int(widths.min()), "median": float(np.median(widths)), "largest": int(widths.max())},
        "channel_mean": statistics.channel_mean.tolist(),
        "channel_std": statistics.channel_std.tolist(),
        "channel_covariance": statistics.channel_covariance.tolist(),
        "colour_variances": np.maximum(variances[::-1], 0).tolist(),
        "colour_directions": directions[:, ::-1].T.tolist(),
    }


def show(report: dict[str, Any]) -> None:
    table = Table(show_header=False, box=None)
    sizes = report["classes"].values()
    table.add_row("images", f"{report['images']:,}, {len(report['corrupt'])} corrupt")
    table.add_row("classes", f"{len(sizes):,}, of {min(sizes):,} to {max(sizes):,} images")
    for side in ("height", "width"):
        table.add_row(side, "{smallest} to {largest}, median {median:g}".format(**report[side]))
    for name in ("mean", "std"):
        values = report[f"channel_{name}"]
        table.add_row(f"{name} by channel", f"{numbers(values)}, of 255: {numbers([255 * value for value in values])}")
    for variance, direction in zip(report["colour_variances"], report["colour_directions"], strict=True):
        table.add_row("colours vary", f"along {numbers(direction)}, deviation {variance**0.5:.4f}")
    Console().print(table)
    for message in report["corrupt"]:
        print(f"corrupt: {message}")


def numbers(values: list[float]) -> str:
    return " ".join(f"{value:.4f}" for value in values)


if __name__ == "__main__":
    main(measure)
