"""Deleting one block of a trained network: what is left of the accuracy of a residual network, and of VGG.

Small: 2 networks x 3 seeds of a few narrow blocks, 6 epochs of 5,000 images at 16x16. Full: the recipe of ResNet-20.
"""

import re

import numpy as np
from paper_experiments import CIFAR10, Better, Experiment, changed
from recipes.resnet20_cifar10 import RECIPE

from xxnet_jax.data import open_source
from xxnet_jax.models.vgg import kernels
from xxnet_jax.training import Run

RESIDUAL = {"model": "resnet20", "model_options": {"widths": (12, 24, 48), "stem_features": 12}}
VGG = {
    "model": "vgg16_bn",
    "model_options": {"features_of_blocks": (16, 32, 64), "blocks": kernels(*["3 3 3 3 3 3"] * 3), "head": "gap"},
}


def without(variables: dict, name: str, epsilon: float) -> dict:
    """The variables with a residual block that adds nothing, or a layer of VGG that hands on what it gets."""
    params, statistics = dict(variables["params"]), variables["batch_stats"]
    unit, mean, var = dict(params[name]), statistics[name]["bn"]["mean"], statistics[name]["bn"]["var"]
    if name.startswith("conv"):
        unit["bn"] = {"scale": np.zeros_like(mean), "bias": np.zeros_like(mean)}
    else:
        identity = np.zeros_like(unit["conv"]["kernel"])
        identity[1, 1] = np.eye(identity.shape[-1])
        unit["conv"] = {"kernel": identity, "bias": np.zeros_like(mean)}
        unit["bn"] = {"scale": np.sqrt(var + epsilon), "bias": mean}
    return {**variables, "params": {**params, name: unit}}


def deletions(run: Run) -> dict[str, float]:
    """The accuracy without one block, in parts of the accuracy with all: mean of all blocks, and of the worst."""
    network, recipe = run.load(), run.config.recipe
    assert recipe.test_split is not None
    evaluate = run.evaluator(recipe.test_split, open_source(recipe.data, data_dir=recipe.data_dir))
    names = [name for name in network.variables["params"] if re.fullmatch(r"conv\d_block\d+_2|block\d_conv[2-9]", name)]
    epsilon = run.model.norm.epsilon  # type: ignore[attr-defined]
    left = [evaluate(without(network.variables, name, epsilon)).figures["accuracy"] for name in names]
    whole = max(evaluate(network.variables).figures["accuracy"], 1e-9)
    return {"kept_accuracy": float(np.mean(left)) / whole, "kept_at_worst_accuracy": min(left) / whole}


EXPERIMENT = Experiment(
    claim="a residual network without one of its blocks is hardly worse, VGG without one of its layers guesses",
    source="Veit, Wilber, Belongie, Residual Networks Behave Like Ensembles, 2016, Figure 3",
    small=changed(CIFAR10, image_size=16, learning_rate=2e-3),
    full=RECIPE,
    cells={"residual": RESIDUAL, "VGG": VGG},
    expected=(Better("residual", "VGG", "kept_accuracy"),),
    figures=("kept_accuracy", "kept_at_worst_accuracy", "test_accuracy"),
    measure=deletions,
)
