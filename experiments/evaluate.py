"""Evaluate a run on a split.

    python experiments/evaluate.py runs/lenet5_digits              the best checkpoint, on the test split
    python experiments/evaluate.py runs/lenet5_digits --metrics top3 mcc
    python experiments/evaluate.py runs/lenet5_digits --watch      each new checkpoint, on the validation split
    python experiments/evaluate.py runs/alexnet --protocol ten_crop                  many views of each image
    python experiments/evaluate.py runs/a runs/b runs/c --out runs/ensemble          several networks as one

docs/protocols.md has the protocols. RUN/evaluation/SPLIT, with a protocol RUN/evaluation/SPLIT_PROTOCOL, then has
report.json (figures, top-1 and top-5 errors, confusion matrix, figures of each class) and pictures of the confusion
matrix, the ROC curves and the precision-recall curves, each class against the rest; with --metrics dead_units or
response_spread also one of the layers. Of less than six classes the second error is of the largest k that says
something.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
from evaluation_folder import FIGURES, TABLES, top_k, write_evaluation
from protocol_options import ProtocolOptions, predict_with_all
from script import main, open_run

from xxnet_jax.data import Source, open_source
from xxnet_jax.errors import CorruptData, InvalidArgument, MissingData
from xxnet_jax.training import Evaluation, Run
from xxnet_jax.training.evaluation import evaluate_probabilities
from xxnet_jax.training.run import check_classes


@dataclass(frozen=True)
class Arguments:
    """Evaluate a run on a split.

    Attributes:
        runs: the run folder, or the name of a model: then its last run in runs/; several are an ensemble.
        test: how images are looked at, and networks combined.
        split: by default the recipe's test split, with --watch its validation split.
        data: another dataset than the recipe's, of the same classes.
        data_dir: folder of prepared TFDS datasets; by default the recipe's.
        step: of the checkpoint; by default the best one.
        metrics: besides loss and accuracy: top5 or another top-k, precision, recall, f1, mcc, auc, average_precision;
            dead_units, response_spread.
        out: folder for report.json and pictures; by default RUN/evaluation/SPLIT; for an ensemble it must be given.
        watch: evaluate the last checkpoint, then wait for new ones, until the run is finished.
        interval: seconds between two looks.
        timeout: seconds without a new checkpoint after which watching ends; by default never.
    """

    runs: Annotated[tuple[str, ...], tyro.conf.Positional]
    test: Annotated[ProtocolOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=ProtocolOptions)
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
    if not arguments.runs:
        raise InvalidArgument("give a run to evaluate")
    runs = [open_run(name) for name in arguments.runs]
    recipe = runs[0].config.recipe
    split = arguments.split or (recipe.validation_split if arguments.watch else recipe.test_split)
    if split is None:
        raise InvalidArgument("the recipe names no such split: give one with --split")
    source = open_source(arguments.data or recipe.data, data_dir=arguments.data_dir or recipe.data_dir)
    by_protocol = len(runs) > 1 or arguments.test != ProtocolOptions()
    if arguments.watch:
        if by_protocol:
            raise InvalidArgument("--watch follows one run, without a protocol")
        watch(runs[0], source, split, arguments)
    elif by_protocol:
        evaluate_by_protocol(runs, source, split, arguments)
    else:
        evaluate_run(runs[0], source, split, arguments)
    return 0


def evaluate_run(run: Run, source: Source, split: str, arguments: Arguments) -> None:
    """The checkpoint, on the images as the run validates on them."""
    trained = run.load(arguments.step)
    metrics = (*arguments.metrics, *top_k(len(run.config.classes)), *TABLES)
    evaluation = run.evaluator(split, source, metrics)(trained.variables)
    show(f"after {trained.step} training steps, {split}", evaluation)
    out = arguments.out or run.folder.path / "evaluation" / split
    facts = {"model": run.config.recipe.model, "data": source.uri, "split": split, "step": trained.step}
    write(out, facts, evaluation, run.config.classes)


def evaluate_by_protocol(runs: list[Run], source: Source, split: str, arguments: Arguments) -> None:
    """One or more networks by a test protocol."""
    name = arguments.test.name
    if len(runs) > 1 and arguments.out is None:
        raise InvalidArgument("an ensemble belongs to no run: say with --out where its report shall be")
    for run in runs:
        check_classes(source, run.config)
    trained = [run.load(arguments.step) for run in runs]
    skip_corrupt = runs[0].config.recipe.skip_corrupt
    predictions = predict_with_all(
        [network.classifier for network in trained], source.examples(split), arguments.test, skip_corrupt
    )
    classes = runs[0].config.classes
    metrics = (*arguments.metrics, *top_k(len(classes)), *TABLES)
    evaluation = evaluate_probabilities(predictions.probabilities, predictions.labels, metrics)
    show(f"{len(predictions.labels):,} images of {split}, {arguments.test.describe(len(runs))}", evaluation)
    facts = {
        "models": [run.config.recipe.model for run in runs],
        "runs": [str(run.folder.path) for run in runs],
        "steps": [network.step for network in trained],
        "data": source.uri,
        "split": split,
        **arguments.test.facts(),
        "examples": len(predictions.labels),
        "skipped_images": sorted(predictions.skipped),
    }
    write(arguments.out or runs[0].folder.path / "evaluation" / f"{split}_{name}", facts, evaluation, classes)


def write(out: Path, facts: dict[str, Any], evaluation: Evaluation, classes: tuple[str, ...]) -> None:
    pictures = write_evaluation(out, facts, evaluation, classes).pictures
    print(f"{out}/report.json, {', '.join(pictures)}")


def watch(run: Run, source: Source, split: str, arguments: Arguments) -> None:
    """Each new checkpoint, until the run is finished or nothing new comes."""
    score = run.evaluator(split, source, arguments.metrics)
    seen: int | None = None
    last_news = time.monotonic()
    while True:
        finished = run.folder.report() is not None
        step = newest(run)
        if step is not None and step != seen:
            try:
                show(f"after {step} training steps, {split}", score(run.load(step).variables))
            except CorruptData:  # the training run has removed it in the meantime
                if step in run.checkpoints().steps():
                    raise
            seen, last_news = step, time.monotonic()
        elif finished:
            print("the run is finished")
            return
        elif arguments.timeout is not None and time.monotonic() - last_news > arguments.timeout:
            print(f"no new checkpoint in {arguments.timeout:g} s")
            return
        else:
            time.sleep(arguments.interval)


def newest(run: Run) -> int | None:
    """The step of the last checkpoint, if there is one yet."""
    try:
        return max(run.checkpoints().steps(), default=None)
    except MissingData:
        return None


def show(what: str, evaluation: Evaluation) -> None:
    of_all = {name: value for name, value in evaluation.figures.items() if "/" not in name}  # not those of one layer
    figures = "  ".join(f"{name} {value:.4f}" for name, value in sorted(of_all.items()))
    print(f"{what}: {figures}", flush=True)


if __name__ == "__main__":
    main(evaluate)
