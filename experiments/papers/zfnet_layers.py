"""Layers left out of ZFNet: the dense ones, two in the middle, and both.

Small: 4 networks x 3 seeds of a narrow network, 8 epochs of 5,000 images at 24x24. Full: AlexNet at half width on all
of CIFAR-10.
"""

from paper_experiments import CIFAR10, Better, Experiment, changed
from recipes.alexnet_cifar10 import RECIPE

from xxnet_jax.models.alexnet import Convolution

FIRST = (Convolution(24, 5, padding=2, pool=True), Convolution(32, 3, padding=1, pool=True))
MIDDLE = (Convolution(48, 3, padding=1), Convolution(48, 3, padding=1))
LAST = (Convolution(32, 3, padding=1, pool=True),)

EXPERIMENT = Experiment(
    claim="without the dense or without two middle layers the error hardly grows, without both it does: depth matters",
    source="Zeiler, Fergus, Visualizing and Understanding Convolutional Networks, 2013, Table 3",
    small=changed(
        CIFAR10,
        model="alexnet.cifar10",
        image_size=24,
        model_options={"dense": (128, 128), "window": 2, "initialization": "glorot_uniform", "dropout_rate": 0.2},
        epochs=8,
    ),
    full=changed(RECIPE, epochs=30),
    cells={
        "all": {"model_options": {"convolutions": (*FIRST, *MIDDLE, *LAST)}},
        "no dense layers": {"model_options": {"convolutions": (*FIRST, *MIDDLE, *LAST), "dense": ()}},
        "no middle layers": {"model_options": {"convolutions": (*FIRST, *LAST)}},
        "neither": {"model_options": {"convolutions": (*FIRST, *LAST), "dense": ()}},
    },
    expected=(
        Better("no dense layers", "all", by=-0.03),
        Better("no middle layers", "all", by=-0.03),
        Better("no dense layers", "neither"),
        Better("no middle layers", "neither"),
    ),
)
