"""What an evaluation leaves on disk: report.json and pictures."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xxnet_jax.files import make_folder, write_atomically
from xxnet_jax.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve
from xxnet_jax.metrics.classification import counts_of, scores_of
from xxnet_jax.metrics.streaming import examples_of, figures_of_layers
from xxnet_jax.training import Evaluation
from xxnet_jax.visualization.classification import Curve, plot_confusion, plot_precision_recall, plot_roc
from xxnet_jax.visualization.layers import plot_layers

FIGURES = ("precision", "recall", "f1", "auc", "average_precision")
TABLES = ("confusion", "score_histogram")


def top_k(classes: int) -> tuple[str, ...]:
    """The metric beside accuracy: top5, or the largest k that says something; none for two classes."""
    k = min(5, classes - 1)
    return (f"top{k}",) if k > 1 else ()


def errors_of(figures: dict[str, float]) -> dict[str, float]:
    """top1_error of the accuracy, top5_error of top5, and so on."""
    accuracies = {"top1": figures["accuracy"], **figures}
    return {f"{name}_error": 1 - value for name, value in accuracies.items() if re.fullmatch(r"top\d+", name)}


class Written(NamedTuple):
    """What was written.

    Attributes:
        classes: figures of each class, by name: precision, recall, f1, examples, and the areas where they are defined.
        pictures: names of the files.
    """

    classes: dict[str, dict[str, float]]
    pictures: tuple[str, ...]


def write_evaluation(out: Path, facts: dict[str, Any], evaluation: Evaluation, classes: tuple[str, ...]) -> Written:
    """Write report.json and the pictures.

    Args:
        out: folder; made if it is not there.
        facts: what was evaluated, for report.json.
        evaluation: with the tables of `TABLES`.
        classes: names, by label.

    Raises:
        OSError: the folder cannot be written.
    """
    make_folder(out)
    matrix, histograms = (evaluation.tables[name] for name in TABLES)
    precision, recall, f1 = scores_of(counts_of(matrix))
    each: dict[str, dict[str, float]] = {
        name: {"precision": precision[i], "recall": recall[i], "f1": f1[i], "examples": int(matrix[i].sum())}
        for i, name in enumerate(classes)
    }
    roc: dict[str, Curve] = {}
    precision_recall: dict[str, Curve] = {}
    for name, histogram in zip(classes[-len(histograms) :], histograms, strict=True):
        negatives, positives = histogram.sum(0)
        labels, scores, weights = examples_of(histogram)
        if positives and negatives:
            roc[name] = roc_curve(labels, scores, sample_weight=weights)[:2]
            each[name]["auc"] = float(roc_auc_score(labels, scores, sample_weight=weights))
        if positives:
            precision_recall[name] = precision_recall_curve(labels, scores, sample_weight=weights)[1::-1]
            each[name]["average_precision"] = float(average_precision_score(labels, scores, sample_weight=weights))
    report = {
        **facts,
        **evaluation.figures,
        **errors_of(evaluation.figures),
        "classes": each,
        "confusion": np.asarray(matrix).tolist(),
    }
    write_atomically(out / "report.json", json.dumps(report, indent=2) + "\n")
    plot_confusion(matrix, classes, out / "confusion.png")
    for curves, area, plot, file in (
        (roc, "auc", plot_roc, "roc.png"),
        (precision_recall, "average_precision", plot_precision_recall, "precision_recall.png"),
    ):
        plot(curves, {name: each[name][area] for name in curves}, out / file)
    pictures = ["confusion.png", "roc.png", "precision_recall.png"]
    if layers := figures_of_layers(evaluation.figures):
        plot_layers(layers, out / "layers.png")
        pictures.append("layers.png")
    return Written(each, tuple(pictures))
