"""List the networks: name, paper, year, input size, parameters.

python experiments/list_models.py "lenet5.*"
"""

from dataclasses import dataclass
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table
from script import main

import xxnet_jax as xx
from xxnet_jax.errors import UnknownName


@dataclass(frozen=True)
class Arguments:
    """List the networks.

    Attributes:
        pattern: shell pattern on the names.
        deviations: show also what differs from the paper.
    """

    pattern: Annotated[str, tyro.conf.Positional] = "*"
    deviations: bool = False


def list_models() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    names = xx.list_models(arguments.pattern)
    if not names:
        raise UnknownName("model", arguments.pattern, xx.list_models())
    table = Table("name", "paper", "year", "input", box=None)
    table.add_column("parameters", justify="right")
    if arguments.deviations:
        table.add_column("deviations from the paper")
    for name in names:
        info = xx.model_info(name)
        size = "x".join(map(str, info.input_shape))
        row = [info.name, info.paper, str(info.year), size, f"{info.parameters:,}"]
        if arguments.deviations:
            row.append("; ".join(info.deviations))
        table.add_row(*row)
    Console(width=None if arguments.deviations else 140).print(table)
    return 0


if __name__ == "__main__":
    main(list_models)
