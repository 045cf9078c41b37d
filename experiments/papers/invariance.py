"""Invariance: how far features move when the image is shifted, enlarged or turned, in the first and in the last layer.

Small: 1 network x 3 seeds of LeNet-5, 3 epochs of 6,000 images. Full: 12 epochs of all images.
Result: agrees. Shifted by 2 pixels the first layer moves .73 and the last .53 of the distance between two images,
enlarged by a fifth .66 and .32, turned by 90 degrees 1.05 and .95.
"""

import numpy as np
from paper_experiments import MNIST, Better, Experiment, first_images
from recipes.lenet5_mnist import RECIPE

from xxnet_jax.analysis.invariance import invariance, rotate, scale, translate
from xxnet_jax.training import Run

CHANGES = {"shifted": (translate, 2.0), "enlarged": (scale, 1.2), "turned": (rotate, 90.0)}


def distances(run: Run) -> dict[str, float]:
    """Distances between the features of an image and of the changed one, in parts of those between two images."""
    images, labels = first_images(run, 256)
    variables, layers = run.load().variables, {"first": "C1", "last": "F6"}

    def moved(transform, amount: float) -> dict[str, float]:
        found = invariance(
            run.model,
            variables,
            images,
            labels.tolist(),
            transform,
            [amount],
            list(layers.values()),
            inputs=run.config.inputs,
        )
        return {layer: float(found.distances[name].mean()) for layer, name in layers.items()}

    others = iter(np.roll(images, 1, axis=0))
    between = moved(lambda image, amount: next(others), 0.0)
    return {
        f"{change}_{layer}": distance / between[layer]
        for change, (transform, amount) in CHANGES.items()
        for layer, distance in moved(transform, amount).items()
    }


def less(figure: str, other: str) -> Better:
    return Better("lenet5", "lenet5", figure, other, less=True)


EXPERIMENT = Experiment(
    claim="small shifts and changes of size move the first layer more than the last; rotations move the last, too",
    source="Zeiler, Fergus, Visualizing and Understanding Convolutional Networks, 2013, section 4.1 and Figure 5",
    small=MNIST,
    full=RECIPE,
    cells={"lenet5": {}},
    expected=(
        less("shifted_last", "shifted_first"),
        less("enlarged_last", "enlarged_first"),
        less("shifted_last", "turned_last"),
        less("enlarged_last", "turned_last"),
    ),
    figures=("shifted_first", "shifted_last", "enlarged_first", "enlarged_last", "turned_first", "turned_last"),
    measure=distances,
)
