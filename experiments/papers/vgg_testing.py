"""Ways to test a VGG: whole images at one scale and at three, many crops of them, and both together.

Small: 1 network x 3 seeds of a narrow VGG for windows of 24x24, 6 epochs of 5,000 images. Full: all of CIFAR-10.
"""

import numpy as np
from paper_experiments import Better, Experiment

from papers.scale_jitter import EXPERIMENT as JITTER
from xxnet_jax.data import open_source
from xxnet_jax.training import Run
from xxnet_jax.training.protocols import make_protocol, predict_examples

PROTOCOLS = {"single_scale": "vgg_dense", "multi_scale": "vgg_multi_scale", "multi_crop": "vgg_150"}
NETWORK = "28 to 48"


def accuracies(run: Run) -> dict[str, float]:
    """Of the first 1,000 test images, by protocol; "both" is the mean of the probabilities of the last two."""
    classifier, recipe = run.load().classifier, run.config.recipe
    assert recipe.test_split is not None
    examples = open_source(recipe.data, data_dir=recipe.data_dir).examples(recipe.test_split)
    examples = examples.slice(0, min(1000, len(examples)))
    found = {
        name: predict_examples(classifier, make_protocol(protocol, classifier.image_shape), examples)
        for name, protocol in PROTOCOLS.items()
    }
    by_name = {name: each.probabilities for name, each in found.items()}
    by_name["both"] = (by_name["multi_scale"] + by_name["multi_crop"]) / 2
    labels = found["multi_crop"].labels
    return {f"{name}_accuracy": float(np.mean(each.argmax(1) == labels)) for name, each in by_name.items()}


EXPERIMENT = Experiment(
    claim="three scales are better than one, crops slightly better than whole images, and both together best",
    source="Simonyan, Zisserman, Very Deep Convolutional Networks, 2015, Tables 3, 4 and 5",
    small=JITTER.small,
    full=JITTER.full,
    cells={NETWORK: JITTER.cells[NETWORK]},
    expected=(
        Better(NETWORK, NETWORK, "multi_scale_accuracy", "single_scale_accuracy"),
        Better(NETWORK, NETWORK, "multi_crop_accuracy", "multi_scale_accuracy"),
        Better(NETWORK, NETWORK, "both_accuracy", "multi_crop_accuracy"),
    ),
    figures=("single_scale_accuracy", "multi_scale_accuracy", "multi_crop_accuracy", "both_accuracy", "test_accuracy"),
    measure=accuracies,
)
