"""Internal covariate shift: how far the inputs of the last hidden layer's sigmoids wander while the network learns.

Small: 2 cells x 3 seeds of LeNet-5 with sigmoids, 6 epochs of 6,000 images. Full: 12 epochs of all images.
"""

import numpy as np
from paper_experiments import MNIST, Better, Experiment, changed, first_images, options
from recipes.lenet5_mnist import RECIPE

from xxnet_jax.analysis.responses import responses
from xxnet_jax.training import Run

SIGMOID = {"model_options": {"activation": "sigmoid"}, "learning_rate": 2e-3}
EPOCHS = (1, 2, 3, 4, 5, 6)


def wandering(run: Run) -> dict[str, float]:
    """Over the kept epochs, the deviation of the {15, 50, 85}th percentiles of a unit's input, in parts of the distance
    between the outer ones; the mean of all units. The input of a sigmoid is the logit of its output."""
    images, _ = first_images(run, 256)
    respond = responses(run.model, ("F6",), run.config.inputs)
    percentiles = []
    for step in run.checkpoints().steps():
        outputs = np.asarray(respond(run.load(step).variables, images)[1]["F6"], np.float64).clip(1e-7, 1 - 1e-7)
        percentiles.append(np.percentile(np.log(outputs / (1 - outputs)), (15, 50, 85), axis=0))
    low, _, high = np.mean(percentiles, axis=0)
    return {"wandering": float(np.std(percentiles, axis=0).mean() / (high - low).mean())}


EXPERIMENT = Experiment(
    claim="with batch normalization the distribution of a sigmoid's input stays much more stable",
    source="Ioffe, Szegedy, Batch Normalization, 2015, Figures 1b and 1c",
    small=changed(MNIST, SIGMOID, epochs=6, keep_epochs=EPOCHS),
    full=changed(RECIPE, SIGMOID, ema_decay=None, keep_epochs=EPOCHS),
    cells=options(batch_norm=(False, True)),
    expected=(Better("batch_norm True", "batch_norm False", "wandering", less=True),),
    figures=("wandering", "test_accuracy"),
    measure=wandering,
)
