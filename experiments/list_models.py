"""List the networks: name, paper, year, input size, parameters, multiply-accumulates.

python experiments/list_models.py "lenet5.*"
python experiments/list_models.py --markdown docs/models.md
"""

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.progress import track
from rich.table import Table
from run_table import markdown_table
from script import main

import xxnet_jax as xx
from xxnet_jax.analysis import count_macs
from xxnet_jax.errors import UnknownName
from xxnet_jax.files import write_atomically


@dataclass(frozen=True)
class Arguments:
    """List the networks.

    Attributes:
        pattern: shell pattern on the names.
        deviations: show also what differs from the paper.
        markdown: write the table, with deviations, into this file.
    """

    pattern: Annotated[str, tyro.conf.Positional] = "*"
    deviations: bool = False
    markdown: Path | None = None


def list_models() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    names = xx.list_models(arguments.pattern)
    if not names:
        raise UnknownName("model", arguments.pattern, xx.list_models())
    rows = [facts(name) for name in track(names, "counting", transient=True)]
    if arguments.markdown is not None:
        write_atomically(arguments.markdown, MARKDOWN_HEAD + markdown_table(rows))
        print(f"{len(rows)} networks: {arguments.markdown}")
        return 0
    table = Table(box=None)
    for column in rows[0]:
        if column != "deviations" or arguments.deviations:
            number = column in ("parameters", "MACs")
            table.add_column(column, justify="right" if number else "left", no_wrap=column != "deviations")
    for row in rows:
        short = {**row, "paper": textwrap.shorten(row["paper"], 60, placeholder=" ...")}
        table.add_row(*list(short.values())[: len(table.columns)])
    Console(width=240 if arguments.deviations else 150).print(table)
    return 0


MARKDOWN_HEAD = """# Networks

Made by `python experiments/list_models.py --markdown docs/models.md`. Parameters are the trainable ones without those
of auxiliary heads; MACs are the multiply-accumulates of convolutions and dense layers for one image of that size.

"""


def facts(name: str) -> dict[str, str]:
    info = xx.model_info(name)
    return {
        "name": info.name,
        "paper": info.paper,
        "year": str(info.year),
        "input": "x".join(map(str, info.input_shape)),
        "parameters": f"{info.parameters:,}",
        "MACs": f"{count_macs(xx.create_model(name), info.input_shape):,}",
        "deviations": "; ".join(info.deviations),
    }


if __name__ == "__main__":
    main(list_models)
