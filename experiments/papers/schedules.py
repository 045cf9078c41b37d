"""Schedules: a constant rate against steps, an exponential and a cosine.

Small: 4 cells x 3 seeds of LeNet-5, 5 epochs of 6,000 images. Full: ResNet-20 on CIFAR-10.
"""

from paper_experiments import MNIST, Better, Experiment, changed
from recipes.resnet20_cifar10 import RECIPE

from xxnet_jax.optimizers import ScheduleConfig

SCHEDULES = {
    "constant": ScheduleConfig(),
    "multistep": ScheduleConfig("multistep", unit="fraction", decay_rate=0.1, boundaries=(0.5, 0.75)),
    "exponential": ScheduleConfig("exponential", unit="fraction", decay_rate=0.01, every=1),
    "cosine": ScheduleConfig("cosine"),
}

EXPERIMENT = Experiment(
    claim="a network ends better when the rate is lowered on the way",
    source="Krizhevsky, Sutskever, Hinton, 2012, section 5; Loshchilov, Hutter, SGDR, 2017, Figure 2",
    small=changed(MNIST, optimizer="momentum", learning_rate=0.1, epochs=5),
    full=RECIPE,
    cells={name: {"schedule": schedule} for name, schedule in SCHEDULES.items()},
    expected=tuple(Better(name, "constant") for name in SCHEDULES if name != "constant"),
)
