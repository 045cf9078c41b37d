"""ReLU, tanh and sigmoid: steps until a convolutional network of four layers has a training error of 50 %.

Small: 3 cells x 3 seeds of a narrow network, 12 epochs of 5,000 images at 16x16. Full: AlexNet at half width, and the
paper's 25 %, for at most 40 epochs.
"""

from paper_experiments import CIFAR10, Better, Experiment, changed, options, steps_to
from recipes.alexnet_cifar10 import RECIPE

from xxnet_jax.models.alexnet import Convolution

LAYERS = (
    Convolution(16, 5, padding=2, pool=True),
    Convolution(24, 5, padding=2, pool=True),
    Convolution(32, 3, padding=1, pool=True),
)

EXPERIMENT = Experiment(
    claim="with ReLUs a training error of 25 % is reached six times faster than with tanh",
    source="Krizhevsky, Sutskever, Hinton, ImageNet Classification with Deep CNNs, 2012, Figure 1 (CIFAR-10)",
    small=changed(
        CIFAR10,
        model="alexnet.cifar10",
        image_size=16,
        model_options={"convolutions": LAYERS, "dense": (), "window": 1, "initialization": "glorot_uniform"},
        learning_rate=1e-3,
        epochs=12,
        log_every=20,
    ),
    full=changed(RECIPE, epochs=40, log_every=100),
    cells=options(activation=("relu", "tanh", "sigmoid")),
    expected=(
        Better("activation relu", "activation tanh", "steps_to_half", less=True),
        Better("activation tanh", "activation sigmoid", "steps_to_half", less=True),
    ),
    figures=("steps_to_half", "train_accuracy", "test_accuracy"),
    measure=lambda run: {"steps_to_half": steps_to(run, 0.5)},
)
