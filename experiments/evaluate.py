"""Evaluate a run on a split.

    python experiments/evaluate.py runs/lenet5_digits              the best checkpoint, on the test split
    python experiments/evaluate.py runs/lenet5_digits --metrics top3 mcc
    python experiments/evaluate.py runs/lenet5_digits --watch      each new checkpoint, on the validation split

RUN/evaluation/SPLIT then has report.json (figures, confusion matrix, figures of each class) and pictures of the
confusion matrix, the ROC curves and the precision-recall curves, each class against the rest; with --metrics dead_units
or response_spread also one of the layers.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from evaluation_folder import FIGURES, TABLES, write_evaluation
from script import main, open_run

from xxnet_jax.data import open_source
from xxnet_jax.errors import CorruptData, InvalidArgument, MissingData
from xxnet_jax.training import Evaluation, Run


@dataclass(frozen=True)
class Arguments:
    """Evaluate a run on a split.

    Attributes:
        run: the run folder, or the name of a model: then its last run in runs/.
        split: by default the recipe's test split, with --watch its validation split.
        data: another dataset than the recipe's, of the same classes.
        data_dir: folder of prepared TFDS datasets; by default the recipe's.
        step: of the checkpoint; by default the best one.
        metrics: besides loss and accuracy: top5 or another top-k, precision, recall, f1, mcc, auc, average_precision;
            dead_units, response_spread.
        out: folder for report.json and pictures; by default RUN/evaluation/SPLIT.
        watch: evaluate the last checkpoint, then wait for new ones, until the run is finished.
        interval: seconds between two looks.
        timeout: seconds without a new checkpoint after which watching ends; by default never.
    """

    run: Annotated[str, tyro.conf.Positional]
    split: str | None = None
    data: str | None = None
    data_dir: str | None = None
    step: int | None = None
    metrics: tuple[str, ...] = FIGURES
    out: Path | None = None
    watch: bool = False
    interval: float = 10.0
    timeout: float | None = None


def evaluate() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    run = open_run(arguments.run)
    recipe = run.config.recipe
    split = arguments.split or (recipe.validation_split if arguments.watch else recipe.test_split)
    if split is None:
        raise InvalidArgument("the recipe names no such split: give one with --split")
    source = open_source(arguments.data or recipe.data, data_dir=arguments.data_dir or recipe.data_dir)
    if not arguments.watch:
        trained = run.load(arguments.step)
        evaluation = run.evaluator(split, source, (*arguments.metrics, *TABLES))(trained.variables)
        show(trained.step, split, evaluation)
        out = arguments.out or run.folder.path / "evaluation" / split
        facts = {"model": recipe.model, "data": source.uri, "split": split, "step": trained.step}
        pictures = write_evaluation(out, facts, evaluation, run.config.classes).pictures
        print(f"{out}/report.json, {', '.join(pictures)}")
        return 0

    score = run.evaluator(split, source, arguments.metrics)
    seen: int | None = None
    last_news = time.monotonic()
    while True:
        finished = run.folder.report() is not None
        step = newest(run)
        if step is not None and step != seen:
            try:
                show(step, split, score(run.load(step).variables))
            except CorruptData:  # the training run has removed it in the meantime
                if step in run.checkpoints().steps():
                    raise
            seen, last_news = step, time.monotonic()
        elif finished:
            print("the run is finished")
            return 0
        elif arguments.timeout is not None and time.monotonic() - last_news > arguments.timeout:
            print(f"no new checkpoint in {arguments.timeout:g} s")
            return 0
        else:
            time.sleep(arguments.interval)


def newest(run: Run) -> int | None:
    """The step of the last checkpoint, if there is one yet."""
    try:
        return max(run.checkpoints().steps(), default=None)
    except MissingData:
        return None


def show(step: int, split: str, evaluation: Evaluation) -> None:
    of_all = {name: value for name, value in evaluation.figures.items() if "/" not in name}  # not those of one layer
    figures = "  ".join(f"{name} {value:.4f}" for name, value in sorted(of_all.items()))
    print(f"after {step} training steps, {split}: {figures}", flush=True)


if __name__ == "__main__":
    main(evaluate)
