"""The networks in one chart: published accuracy on ImageNet over multiply-accumulates, with circles for parameters.

    python experiments/zoo_chart.py --out docs

Multiply-accumulates and parameters are counted here. Accuracies (top-1 on the validation images, one crop) are those
that Keras and torchvision publish with their weights, of `xxnet_jax/pretrained/imagenet_weights.csv`: networks for
which they publish none are not in the chart, and recipes differ. Of a network that both have, the chart shows Keras's;
zoo.csv has all, with their sources.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.progress import track
from run_table import Row
from script import main

import xxnet_jax as xx
from xxnet_jax.analysis import count_macs
from xxnet_jax.files import make_folder, write_csv
from xxnet_jax.pretrained.manifest import Published, manifest
from xxnet_jax.visualization.zoo import Costs, plot_zoo

SOURCES = {
    "storage.googleapis.com": "https://keras.io/api/applications",
    "download.pytorch.org": "https://docs.pytorch.org/vision/stable/models.html",
}


@dataclass(frozen=True)
class Arguments:
    """Draw the networks.

    Attributes:
        out: folder for zoo.png and zoo.csv.
    """

    out: Path = Path()


def draw_zoo() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    make_folder(arguments.out)
    rows = [facts(published) for published in track(manifest(), "counting", transient=True)]
    write_csv(arguments.out / "zoo.csv", rows)
    chosen = shown(rows)
    plot_zoo(chosen, arguments.out / "zoo.png", title="ImageNet: published accuracy, operations, parameters")
    print(f"{arguments.out}/zoo.csv with {len(rows)} weights, zoo.png with {len(chosen)} networks")
    return 0


def facts(published: Published) -> Row:
    info = xx.model_info(published.model)
    (source,) = (page for host, page in SOURCES.items() if f"//{host}/" in published.url)
    shape = (published.size, published.size, info.input_shape[2])
    return {
        "model": published.model,
        "weights": published.weights,
        "year": info.year,
        "top1": published.top1,
        "top5": published.top5,
        "size": published.size,
        "macs": count_macs(xx.create_model(published.model), shape),
        "parameters": info.parameters,
        "source": source,
    }


def shown(rows: Sequence[Row]) -> list[Costs]:
    """The first weights of each network, by year; not a variant beside its base."""
    names = {row["model"] for row in rows}
    chosen = [row for row in rows if row["weights"] == "imagenet" and base(row["model"]) not in names - {row["model"]}]
    families = {row["model"]: type(xx.create_model(row["model"])).__module__.rsplit(".", 1)[1] for row in rows}
    return [
        Costs(base(row["model"]), families[row["model"]], row["top1"], row["macs"], row["parameters"])
        for row in sorted(chosen, key=lambda row: row["year"])
    ]


def base(name: str) -> str:
    return name.split(".")[0]


if __name__ == "__main__":
    main(draw_zoo)
