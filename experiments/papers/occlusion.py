"""Occlusion: the probability of the right class with a square over the middle of the image, and over a corner.

Small: 1 network x 3 seeds of LeNet-5, 3 epochs of 6,000 images. Full: 12 epochs of all images.
Result: agrees. .42 with the middle covered, .84 with a corner covered.
"""

import numpy as np
from paper_experiments import MNIST, Better, Experiment, first_images
from recipes.lenet5_mnist import RECIPE

from xxnet_jax.analysis.occlusion import Occluder
from xxnet_jax.analysis.responses import responses
from xxnet_jax.training import Run

SQUARE = Occluder(size=10, stride=1, grey=0)  # of the colour of the background


def covered(run: Run) -> dict[str, float]:
    """The mean probability of the right class, over 256 test images."""
    images, labels = first_images(run, 256)
    respond = responses(run.model, (), run.config.inputs)
    variables, side = run.load().variables, images.shape[1]

    def probability(row: int, column: int) -> float:
        found = respond(variables, np.stack([SQUARE.cover(image, row, column) for image in images]))[0]
        return float(np.asarray(found)[np.arange(len(images)), labels].mean())

    return {"p_centre_covered": probability(side // 2, side // 2), "p_corner_covered": probability(5, 5)}


EXPERIMENT = Experiment(
    claim="the network looks at the object, not at what is around it: its answer falls where the object is covered",
    source="Zeiler, Fergus, Visualizing and Understanding Convolutional Networks, 2013, section 4.2 and Figure 7",
    small=MNIST,
    full=RECIPE,
    cells={"lenet5": {}},
    expected=(Better("lenet5", "lenet5", "p_corner_covered", "p_centre_covered"),),
    figures=("p_corner_covered", "p_centre_covered", "test_accuracy"),
    measure=covered,
)
