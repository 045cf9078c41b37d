"""List the networks: name, paper, year, input size, parameters, multiply-accumulates.

python experiments/list_models.py "lenet5.*"
python experiments/list_models.py --markdown docs/models.md
python experiments/list_models.py --readme README.md
"""

import itertools
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.progress import track
from rich.table import Table
from run_table import markdown_table
from script import main

import xxnet_jax as xx
from xxnet_jax.analysis import count_macs
from xxnet_jax.errors import InvalidArgument, UnknownName
from xxnet_jax.files import write_atomically


@dataclass(frozen=True)
class Arguments:
    """List the networks.

    Attributes:
        pattern: shell pattern on the names.
        deviations: show also what differs from the paper.
        markdown: write the table, with deviations, into this file.
        readme: write a table of the papers into this file, between its lines `<!-- models -->` and `<!-- /models -->`.
    """

    pattern: Annotated[str, tyro.conf.Positional] = "*"
    deviations: bool = False
    markdown: Path | None = None
    readme: Path | None = None


def list_models() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    names = xx.list_models(arguments.pattern)
    if not names:
        raise UnknownName("model", arguments.pattern, xx.list_models())
    if arguments.readme is not None:
        write_atomically(arguments.readme, with_papers(arguments.readme.read_text(encoding="utf-8"), names))
        print(f"{len(names)} networks: {arguments.readme}")
        return 0
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


def with_papers(text: str, names: list[str]) -> str:
    """`text` with the table of the papers of these networks between its two marks.

    Raises:
        ValueError: the marks are not there.
    """
    table = markdown_table(papers(names))
    new, found = re.subn(
        r"(<!-- models -->\n).*(\n<!-- /models -->)", rf"\1\n{table}\2", text, count=1, flags=re.DOTALL
    )
    if not found:
        raise InvalidArgument("there is no place for the table: add the lines <!-- models --> and <!-- /models -->")
    return new


def papers(names: list[str]) -> list[dict[str, str]]:
    """A row for each paper, by year: its networks, the number of further variants of them, their parameters."""
    infos = sorted(map(xx.model_info, names), key=lambda info: (info.year, info.paper))
    rows = []
    for (year, paper), group in itertools.groupby(infos, key=lambda info: (info.year, info.paper)):
        family = list(group)
        members = sorted((info.name for info in family), key=_with_numbers)
        shown = [name for name in members if name.split(".")[0] not in members or "." not in name]
        hidden = len(members) - len(shown)
        sizes = sorted(info.parameters for info in family)
        millions = dict.fromkeys(f"{size / 1e6:.3g} M" for size in (sizes[0], sizes[-1]))
        rows.append(
            {
                "year": str(year),
                "paper": f"[{paper}]({family[0].url})",
                "networks": ", ".join(shown) + (f"; {hidden} variant{'s' * (hidden > 1)}" if hidden else ""),
                "parameters": " to ".join(millions),
            }
        )
    return rows


def _with_numbers(name: str) -> list[Any]:
    """Sorts resnet18 before resnet101."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


if __name__ == "__main__":
    main(list_models)
