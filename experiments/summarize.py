"""A network layer by layer: outputs, parameters, multiply-accumulates, activations; and the memory that it takes.

    python experiments/summarize.py alexnet
    python experiments/summarize.py resnet50 --optimizer adam --batch-size 32 --memory 16GiB
    python experiments/summarize.py vgg16 --size 320 --markdown vgg16.md --csv vgg16.csv

Memory is that of parameters and what belongs to them, and the peak of a training step: predicted from its operations,
or with --compiled what XLA says of the compiled one. With --memory the largest batch that fits is looked for, which
compiles a few steps.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table
from run_table import markdown_table
from script import main

from xxnet_jax.analysis import (
    Memory,
    Summary,
    compiled_memory,
    format_bytes,
    largest_batch,
    parse_bytes,
    summarize,
)
from xxnet_jax.analysis.summary import HEAD, cells_of
from xxnet_jax.files import write_atomically, write_csv
from xxnet_jax.models import create_model, model_info
from xxnet_jax.optimizers import create_optimizer
from xxnet_jax.training.recipe import KnobValue
from xxnet_jax.training.step import lowered_train_step


@dataclass(frozen=True)
class Arguments:
    """Summarize a network.

    Attributes:
        model: a registered network.
        size: side of the images; by default the network's.
        batch_size: images.
        optimizer: whose state is counted in the memory of training.
        memory: look for the largest batch whose training step fits into it, such as 16GiB.
        compiled: ask XLA for the peak of memory, instead of predicting it; that takes a compilation.
        model_options: knobs of the network, such as alpha 0.75 or dtype bfloat16.
        markdown: write the layers into this file, as a table.
        csv: write the layers into this file.
    """

    model: Annotated[str, tyro.conf.Positional]
    size: int | None = None
    batch_size: int = 1
    optimizer: str = "sgd"
    memory: str | None = None
    compiled: bool = False
    model_options: dict[str, KnobValue] = field(default_factory=dict)
    markdown: Path | None = None
    csv: Path | None = None


def summarize_network() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    cap = None if arguments.memory is None else parse_bytes(arguments.memory)
    height, width, channels = model_info(arguments.model).input_shape
    shape = (arguments.size or height, arguments.size or width, channels)
    options: dict[str, Any] = arguments.model_options
    model = create_model(arguments.model, **options)
    summary = summarize(model, shape, arguments.optimizer, arguments.batch_size)
    print(summary)
    if summary.auxiliary_parameters:
        print(f"and {summary.auxiliary_parameters:,} parameters of heads that only run in training")
    if arguments.markdown is not None:
        layers = [dict(zip(HEAD, cells_of(row), strict=True)) for row in summary.rows]
        write_atomically(arguments.markdown, markdown_table(layers))
        print(arguments.markdown)
    if arguments.csv is not None:
        write_csv(
            arguments.csv,
            [{**row._asdict(), "output_shape": "x".join(map(str, row.output_shape))} for row in summary.rows],
        )
        print(arguments.csv)

    tx = create_optimizer(arguments.optimizer)

    def compiled(batch_size: int) -> Memory:
        return compiled_memory(lowered_train_step(model, tx, shape, batch_size).compile())

    show_memory(summary, compiled(arguments.batch_size) if arguments.compiled else summary.training_memory)
    if cap is not None:
        batch = largest_batch(lambda size: compiled(size).total, cap)
        print(f"a step of {batch:,} images fits into {format_bytes(cap)}, one of {batch + 1:,} does not")
    return 0


def show_memory(summary: Summary, step: Memory) -> None:
    table = Table("memory", "", box=None)
    for name, size in summary.memory._asdict().items():
        table.add_row(name, format_bytes(size))
    table.add_row("parameters, gradients, optimizer", f"x{summary.memory.multiple:.2f}")
    for name, size in step._asdict().items():
        table.add_row(f"step: {name}", format_bytes(size))
    table.add_row("step: peak", format_bytes(step.total))
    Console().print(table)


if __name__ == "__main__":
    main(summarize_network)
