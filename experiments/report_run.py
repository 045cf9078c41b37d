"""Make a report of a run: one HTML file with all that is in it, to be read in a browser or sent to somebody.

    python experiments/report_run.py runs/lenet5_digits
    python experiments/report_run.py runs/lenet5_digits --split validation --metrics top3 response_spread

RUN/report.html has the figures, the learning curves, confusion matrix, ROC and precision-recall curves and figures of
each class on the split, images that were named rightly and wrongly, the filters of the first convolution, the
configuration and the environment. Pictures are inside: the file needs nothing else.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, NamedTuple

import numpy as np
import tyro
from evaluation_folder import FIGURES, TABLES, Written, write_evaluation
from script import counted, main, open_run

from xxnet_jax.analysis import convolution_kernels
from xxnet_jax.data import Decoder, open_source
from xxnet_jax.data.loader import permutation
from xxnet_jax.data.source import Examples, IndexedExamples
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.files import write_atomically
from xxnet_jax.metrics.streaming import figures_of_layers
from xxnet_jax.training import Evaluation, Recipe, Run
from xxnet_jax.training.recipe import settings, varying
from xxnet_jax.training.run import TrainedNetwork
from xxnet_jax.visualization import html
from xxnet_jax.visualization.curves import plot_curves
from xxnet_jax.visualization.filters import plot_filters
from xxnet_jax.visualization.html import Html

BATCH = 256
ROWS_UP_TO = 20  # classes; the table of more is folded


@dataclass(frozen=True)
class Arguments:
    """Make a report of a run.

    Attributes:
        run: the run folder, or the name of a model: then its last run in runs/.
        split: that is evaluated; by default the recipe's test split, else its validation split.
        data: another dataset than the recipe's, of the same classes.
        data_dir: folder of prepared TFDS datasets; by default the recipe's.
        step: of the checkpoint; by default the best one.
        metrics: besides loss and accuracy, as for evaluate.py.
        samples: images to show, of those named rightly and of those named wrongly.
        samples_of: examples of the split, drawn at random, among which they are looked for.
        out: the file; by default RUN/report.html.
    """

    run: Annotated[str, tyro.conf.Positional]
    split: str | None = None
    data: str | None = None
    data_dir: str | None = None
    step: int | None = None
    metrics: tuple[str, ...] = FIGURES
    samples: int = 12
    samples_of: int = 2000
    out: Path | None = None


class Sample(NamedTuple):
    """An image, uint8 [height, width, channels], its class, and the likeliest class with its probability."""

    image: np.ndarray
    truth: str
    predicted: str
    probability: float


def report() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    run = open_run(arguments.run)
    recipe = run.config.recipe
    split = arguments.split or recipe.test_split or recipe.validation_split
    if split is None:
        raise InvalidArgument("the recipe names no split to evaluate: give one with --split")
    source = open_source(arguments.data or recipe.data, data_dir=arguments.data_dir or recipe.data_dir)
    trained = run.load(arguments.step)
    evaluation = run.evaluator(split, source, (*arguments.metrics, *TABLES))(trained.variables)
    samples = list(sampled(trained, source.examples(split), arguments.samples_of))
    facts = {"model": recipe.model, "data": source.uri, "split": split, "step": trained.step}
    with TemporaryDirectory() as folder:
        written = write_evaluation(Path(folder), facts, evaluation, run.config.classes)
        sections = {
            "Result": result(run, trained, split, evaluation),
            "Learning curves": learning_curves(run, Path(folder)),
            "Errors": errors(written, split, Path(folder)),
            "Predictions": predictions(samples, arguments.samples),
            "Layers": layers(trained, evaluation, Path(folder)),
            "Configuration": configuration(recipe),
            "Environment": environment(run),
        }
        subtitle = f"{run.folder.path.resolve().name}: the checkpoint of step {trained.step:,}, evaluated on {split}"
        text = html.page(f"{recipe.model} on {source.uri}", subtitle, sections)
    out = arguments.out or run.folder.path / "report.html"
    write_atomically(out, text)
    print(out)
    return 0


def sampled(trained: TrainedNetwork, examples: Examples, count: int) -> Iterator[Sample]:
    """What the network says of so many examples, drawn at random; of a stream, of the first ones."""
    config = trained.config
    decoder = Decoder(config.image_format, len(config.classes), config.recipe.skip_corrupt)
    if isinstance(examples, IndexedExamples):
        drawn = permutation(len(examples), seed=0, epoch=0)[:count]
        decoded = (decoder.read(examples, int(index)) for index in drawn)
    else:
        decoded = itertools.islice(decoder.read_all(examples), count)
    total = min(count, len(examples))
    batches = (decoder.stack(itertools.islice(decoded, BATCH), BATCH) for _ in range(0, total, BATCH))
    for batch in counted(batches, total, BATCH, "samples"):
        probabilities = trained.probabilities(batch["image"])
        for place in np.flatnonzero(batch["mask"]):
            label = int(probabilities[place].argmax())
            truth, predicted = config.classes[batch["label"][place]], config.classes[label]
            yield Sample(batch["image"][place], truth, predicted, float(probabilities[place, label]))


def result(run: Run, trained: TrainedNetwork, split: str, evaluation: Evaluation) -> Iterator[Html]:
    of_all = {name: value for name, value in evaluation.figures.items() if "/" not in name}  # not those of one layer
    figures = {f"{split} {name.replace('_', ' ')}": value for name, value in of_all.items()}
    finished = run.folder.report()
    if finished is None:
        yield html.paragraph("The run is not finished.")
        yield html.cards(figures)
        return
    trainings = {
        "parameters": finished["parameters"],
        "steps": finished["step"],
        "best step": finished["best_step"],
        "seconds": finished["seconds"],
        "examples/s": finished["examples_per_second"],
    }
    yield html.cards({**figures, **trainings})


def learning_curves(run: Run, folder: Path) -> Iterator[Html]:
    history = run.folder.history()
    if not history:
        return
    plot_curves(run.folder.metrics, folder / "curves.png")
    last = {name: value for line in history for name, value in line.items()}
    told = ", ".join(
        f"{name} {last[name]:.4g}"
        for name in ("train/loss", "validation/loss", "train/accuracy", "validation/accuracy")
        if name in last
    )
    alt = f"loss, accuracy and learning rate over {last['epoch']:g} epochs; at the end {told}"
    yield html.picture(folder / "curves.png", alt)


def errors(written: Written, split: str, folder: Path) -> Iterator[Html]:
    def shown(name: str, what: str) -> Html:
        return html.picture(folder / f"{name}.png", f"{what} The figures are in the table of the classes.", what)

    yield shown("confusion", f"Confusion matrix, {split}: a row for each true class, shaded by its share of the row.")
    yield html.side_by_side(
        shown("roc", f"ROC curves, {split}: each class against the rest."),
        shown("precision_recall", f"Precision over recall, {split}: each class against the rest."),
    )
    columns = dict.fromkeys(column for figures in written.classes.values() for column in figures)
    rows = [{"class": name, **{c: figures.get(c) for c in columns}} for name, figures in written.classes.items()]
    table = html.table(rows)
    yield table if len(rows) <= ROWS_UP_TO else html.folded(f"Figures of {len(rows)} classes", table)


def predictions(samples: Sequence[Sample], count: int) -> Iterator[Html]:
    """The wrong ones of which the network was surest, and the first right ones."""
    right = [sample for sample in samples if sample.truth == sample.predicted]
    wrong = [sample for sample in samples if sample.truth != sample.predicted]
    wrong.sort(key=lambda sample: -sample.probability)
    for kind, found, which in (("Wrong", wrong, "the surest of"), ("Right", right, "some of")):
        if found and count:
            yield html.heading(f"{kind}: {which} {len(found):,} among {len(samples):,}")
            yield html.samples(found[:count])


def layers(trained: TrainedNetwork, evaluation: Evaluation, folder: Path) -> Iterator[Html]:
    kernels = convolution_kernels(trained.model, trained.variables, trained.config.image_format.shape)
    for path, values in islice(kernels.items(), 1):
        plot_filters(values, folder / "filters.png")
        what = (
            f"The {values.shape[-1]} filters of {path}, {values.shape[0]} x {values.shape[1]}, each in its own range."
        )
        yield html.picture(folder / "filters.png", what, what)
    if figures := figures_of_layers(evaluation.figures):
        what = ", ".join(name.replace("_", " ") for name in figures)
        yield html.picture(folder / "layers.png", f"{what} of each layer, from the first to the last", what)
        for name, values in figures.items():
            yield html.folded(f"{name.replace('_', ' ')} as numbers", html.facts(values))


def configuration(recipe: Recipe) -> Iterator[Html]:
    _, changed = varying([Recipe(), recipe])
    if changed:
        yield html.heading("What differs from the defaults")
        yield html.facts(changed)
    yield html.folded("All settings", html.facts(settings(recipe)))


def environment(run: Run) -> Iterator[Html]:
    if finished := run.folder.report():
        devices = finished["devices"]
        yield html.facts(
            {
                "devices": ", ".join(f"{devices.count(kind)} x {kind}" for kind in dict.fromkeys(devices)),
                "finished": finished["finished"],
                **finished["versions"],
            }
        )


if __name__ == "__main__":
    main(report)
