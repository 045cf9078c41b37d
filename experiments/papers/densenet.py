"""DenseNet, with bottlenecks, with compression and with both, against a residual network: accuracy and parameters.

Small: 5 networks x 3 seeds of three blocks of four layers, 6 epochs of 5,000 images at 16x16. Full: the paper's, with
300 epochs.
"""

from paper_experiments import CIFAR10, Better, Experiment, changed
from recipes.resnet20_cifar10 import RECIPE

from xxnet_jax.optimizers import ScheduleConfig

SMALL = {"depths": (4, 4, 4)}
DENSE = {"model": "densenet40_12"}

EXPERIMENT = Experiment(
    claim="a DenseNet needs fewer parameters than a residual network of the same accuracy, and BC the fewest",
    source="Huang, Liu, van der Maaten, Weinberger, Densely Connected Convolutional Networks, 2016, Figure 4",
    small=changed(CIFAR10, image_size=16, model_options=SMALL, learning_rate=2e-3),
    full=changed(
        RECIPE, optimizer="nesterov", batch_size=64, steps=None, epochs=300, schedule=ScheduleConfig(name="densenet")
    ),
    cells={
        "plain": DENSE,
        "B": {**DENSE, "model_options": {"bottleneck": 4}},
        "C": {**DENSE, "model_options": {"compression": 0.5}},
        "BC": {**DENSE, "model_options": {"bottleneck": 4, "compression": 0.5}},
        "residual": {"model": "resnet110v2", "model_options": {"depths": (2, 2, 2)}},
    },
    expected=(
        Better("plain", "residual", by=-0.01),
        Better("plain", "residual", "parameters", less=True),
        Better("BC", "plain", "parameters", less=True),
        Better("BC", "plain", by=-0.02),
    ),
    figures=("test_accuracy", "parameters", "train_loss"),
    smoke={"model_options": {"depths": (2, 2, 2)}},
)
