"""Metrics against scikit-learn's.

    python experiments/benchmarks/metrics.py
    python experiments/benchmarks/metrics.py "AUC*" --examples 100000

Labels of 100 classes, or scores of two. "ratio" says how many times faster ours is: median and range over the rounds,
in each of which everyone has one turn. Both get NumPy arrays; "compiled" is ours under `jax.jit`, with JAX's arrays.
Figures go to results.csv in OUT.
"""

import fnmatch
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import sklearn.metrics as theirs
import tyro
from measuring import OURS, Run, against_ours, in_turns, results, show
from script import main

from xxnet_jax import metrics as ours
from xxnet_jax.errors import UnknownName

CLASSES = 100
Arrays = tuple[np.ndarray, np.ndarray]


def classes(examples: int) -> Arrays:
    """True labels, and predicted ones that are right in seven of ten cases."""
    random = np.random.default_rng(0)
    y_true = random.integers(0, CLASSES, examples)
    return y_true, np.where(random.uniform(size=examples) < 0.7, y_true, random.integers(0, CLASSES, examples))


def scores(examples: int) -> Arrays:
    """Labels of two classes, and scores of which no two are equal."""
    random = np.random.default_rng(0)
    y_true = random.integers(0, 2, examples)
    return y_true, y_true + random.normal(size=examples)


MACRO: dict[str, Any] = {"average": "macro", "labels": tuple(range(CLASSES))}
CASES: dict[str, tuple[Callable[[int], Arrays], str, dict[str, Any]]] = {
    "accuracy": (classes, "accuracy_score", {}),
    "confusion matrix": (classes, "confusion_matrix", {"labels": MACRO["labels"]}),
    "F1": (classes, "f1_score", MACRO),
    "AUC": (scores, "roc_auc_score", {}),
    "average precision": (scores, "average_precision_score", {}),
}


def contestants(name: str, examples: int, *, compiled: bool) -> dict[str, Run]:
    """Ours and scikit-learn's."""
    draw, function, options = CASES[name]
    arrays = draw(examples)
    measure = functools.partial(getattr(ours, function), **options)
    run: Run = lambda: measure(*arrays)  # noqa: E731
    if compiled:
        traced, on_device = jax.jit(measure), jax.tree.map(jnp.asarray, arrays)
        run = lambda: jax.block_until_ready(traced(*on_device))  # noqa: E731
    return {OURS: run, "scikit-learn": lambda: getattr(theirs, function)(*arrays, **options)}


@dataclass(frozen=True)
class Arguments:
    """Measure.

    Attributes:
        pattern: shell pattern on the names of the metrics.
        examples: how many.
        rounds: turns of each after the first call.
        out: folder for the figures of one machine.
    """

    pattern: Annotated[str, tyro.conf.Positional] = "*"
    examples: int = 1_000_000
    rounds: int = 9
    out: Path = Path("runs/benchmarks/metrics")


def measure_metrics() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    names = fnmatch.filter(CASES, arguments.pattern)
    if not names:
        raise UnknownName("metric", arguments.pattern, CASES)
    table = results(arguments.out, "metrics", {"examples": arguments.examples}, ("metric", "as"))
    for name in names:
        for way in ("NumPy", "compiled"):
            if (name, way) not in table:
                runs = contestants(name, arguments.examples, compiled=way == "compiled")
                (row,) = against_ours(in_turns(runs, arguments.rounds), units=arguments.examples)
                table.add({"metric": name, "as": way, **row})
    show("metrics", [row for row in table if row["metric"] in names])
    print(f"{table.folder}/results.csv")
    return 0


if __name__ == "__main__":
    main(measure_metrics)
