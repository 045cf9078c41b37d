"""Write docs/benchmarks.md from what the benchmarks left: tables, and a picture of the ratios to each peer.

    python experiments/benchmarks/report.py docs/benchmarks/*/

A folder is one machine; in it each benchmark has the folder that its --out named, with config.json and results.csv.
What people say of a table is notes.md beside it.
"""

import csv
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from measuring import OURS
from run_table import Row, markdown_table
from script import main

from xxnet_jax.errors import MissingData
from xxnet_jax.files import write_atomically
from xxnet_jax.visualization.figures import save_png

RATIO = "`ratio` says how many times faster than the peer ours is: median, lowest and highest of the rounds."
SECTIONS = {
    "train_step": f"""SGD with momentum, cross-entropy and accuracy on one batch that lies on the device. {RATIO}
`flax_plain` is the same network of Flax's and XLA's plain operations, `keras` is Keras on JAX, `torch` PyTorch with
channels_last, eager, and `torch_compile` the same with the network compiled.""",
    "inference": f"""Logits of one batch that lies on the device, after `fold_batch_norm`; `unfolded` is our network
before it. {RATIO}""",
    "operations": f"""Single operations as this project writes them for CPU against Flax's and XLA's own. {RATIO}""",
    "loop": f"""An epoch of LeNet-5 through the training loop: shuffling, logs and a checkpoint. {RATIO}""",
    "input": f"""Photographs to shuffled batches: decoded, a window of 8 to 100 % of the area resized, every other one
mirrored. {RATIO} Ours are threads; `processes_2` are two processes of ours, `torch_2` a DataLoader with two workers,
`tf_data` is tf.data, which resizes without antialiasing unless told to, `grain` has our functions.""",
    "input_stages": """One thread's work on a photograph in our pipeline, and what other decoders take in place of
`decode`.""",
    "compile": """Seconds to trace and to compile a training step, and to start again with the compilation cache that
the scripts have on by default; memory of intermediate values.""",
    "memory": """The peak of memory of a training step: `ratio` is what `training_memory` predicts in parts of what XLA
plans for the compiled step.""",
    "metrics": f"""A million examples: labels of 100 classes, or scores of two. {RATIO}""",
    "detection_metrics": f"""COCO's twelve numbers of random boxes that lie in memory, a detection for each
object. {RATIO}""",
    "detection_operations": f"""Non-maximum suppression, RoI align and RoI pooling of 2,000 boxes. {RATIO}""",
    "population": f"""Copies of LeNet-5 that differ in their seeds. {RATIO}""",
}
TICKS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 20, 30, 50, 100)
HEAD = """# Benchmarks

Made by `python experiments/benchmarks/report.py docs/benchmarks/*/` from the tables in `docs/benchmarks/`, which the
scripts of `experiments/benchmarks/` wrote; each says with `--help` how. Everyone has one turn in each round, networks
in processes of their own; milliseconds and units a second are medians, first calls are those that compile. Rows are of
different hours: compare within a row.
"""


@dataclass(frozen=True)
class Arguments:
    """Write the report.

    Attributes:
        machines: folders, each with the benchmarks of one machine.
        markdown: the file to write; pictures go to the folders.
    """

    machines: Annotated[tuple[Path, ...], tyro.conf.Positional]
    markdown: Path = Path("docs/benchmarks.md")


def write_report() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    parts = [HEAD]
    for machine in arguments.machines:
        folders = [machine / name for name in SECTIONS if (machine / name / "results.csv").exists()]
        if not folders:
            raise MissingData(
                f"no benchmark has left a results.csv in {machine}: run one with --out {machine}/train_step"
            )
        parts.append(f"\n## {machine.name}\n\n{facts(folders[0])}\n")
        parts += [section(folder, arguments.markdown.parent) for folder in folders]
    write_atomically(arguments.markdown, "".join(parts))
    print(arguments.markdown)
    return 0


def facts(folder: Path) -> str:
    """The machine and the versions that a benchmark ran with."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    packages = [name for name in ("jax", "flax") if name in config]
    versions = ", ".join(f"{name} {config[name]}" for name in packages)
    return f"{config['device']}, {config['cores']} cores, Python {config['python']}, {versions}."


def section(folder: Path, root: Path) -> str:
    """A benchmark with its picture, if its rows have peers."""
    with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
        rows: list[Row] = list(csv.DictReader(file))
    text = f"\n### {folder.name}\n\n{SECTIONS[folder.name]}\n\n"
    if folder.name in ("train_step", "inference"):
        picture = folder / "ratios.png"
        plot_ratios(rows, picture)
        text += f"![ratios to the peers]({os.path.relpath(picture, root)})\n\n"
    notes = folder / "notes.md"
    said = "\n" + notes.read_text(encoding="utf-8") if notes.exists() else ""
    return text + markdown_table(rows) + said


def plot_ratios(rows: list[Row], out: Path) -> None:
    """Draw the ratio of each network to each peer, with its range."""
    from matplotlib.figure import Figure

    labels = [f"{row['network']} ({row['input']}, {row['precision']})" for row in rows]
    places = {label: -place for place, label in enumerate(dict.fromkeys(labels))}
    peers = list(dict.fromkeys(row["peer"] for row in rows))
    figure = Figure(figsize=(9, 1 + 0.35 * len(places)), layout="constrained")
    axes = figure.subplots()
    for number, peer in enumerate(peers):
        shift = 0.5 * (number / max(1, len(peers) - 1) - 0.5)
        own = [(places[label] - shift, row) for label, row in zip(labels, rows, strict=True) if row["peer"] == peer]
        ratio, lowest, highest = ([float(row[key]) for _, row in own] for key in ("ratio", "lowest", "highest"))
        spread = [
            [a - b for a, b in zip(ratio, lowest, strict=True)],
            [a - b for a, b in zip(highest, ratio, strict=True)],
        ]
        axes.errorbar(ratio, [place for place, _ in own], xerr=spread, fmt="o", markersize=5, label=peer)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(list(places.values()), list(places))
    axes.set(xscale="log", xlabel=f"times faster than the peer {OURS} is")
    low, high = axes.get_xlim()
    ticks = [tick for tick in TICKS if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.grid(axis="x", which="both", alpha=0.3)
    axes.legend()
    save_png(figure, out)


if __name__ == "__main__":
    main(write_report)
