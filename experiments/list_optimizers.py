"""List the optimizers, with their equations and with what each convention makes of them.

python experiments/list_optimizers.py            all: rates and hyperparameters by convention
python experiments/list_optimizers.py nadam      one: equation, reference, memory, and what was chosen where
"""

from dataclasses import dataclass
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table
from script import main

import xxnet_jax as xx
from xxnet_jax.optimizers import Convention


@dataclass(frozen=True)
class Arguments:
    """List the optimizers.

    Attributes:
        name: one of them, to be explained.
    """

    name: Annotated[str | None, tyro.conf.Positional] = None


def list_optimizers() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    console = Console(width=150)
    if arguments.name is None:
        table = Table("optimizer", "state", "convention", "rate", "hyperparameters", box=None)
        for name in xx.list_optimizers():
            info = xx.optimizer_info(name)
            for like, convention in info.conventions.items():
                first = like == next(iter(info.conventions))
                head = (name, f"{info.slots} x parameters") if first else ("", "")
                table.add_row(*head, like, *values(convention))
        console.print(table)
        return 0
    info = xx.optimizer_info(arguments.name)
    print(f"{info.name}\n  {info.reference}")
    print("\n".join(f"    {line}" for line in info.equation.split("; ")))
    print(f"  parameters, gradients and state take {info.memory_multiple} x the memory of the parameters")
    table = Table("convention", "rate", "hyperparameters", "remark", box=None)
    for like, convention in info.conventions.items():
        table.add_row(like, *values(convention), convention.remark)
    console.print(table)
    return 0


def values(convention: Convention) -> tuple[str, str]:
    rate = "to be given" if convention.learning_rate is None else f"{convention.learning_rate:g}"
    return rate, ", ".join(f"{name} {value:g}" for name, value in convention.hyperparameters.items())


if __name__ == "__main__":
    main(list_optimizers)
