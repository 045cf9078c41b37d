"""Momentum: none, .5, .9 and .99 at the same rate.

Small: 4 cells x 3 seeds of LeNet-5, 3 epochs of 6,000 images. Full: 12 epochs of all images.
"""

from paper_experiments import MNIST, Experiment, changed, in_order
from recipes.lenet5_mnist import RECIPE

EXPERIMENT = Experiment(
    claim="momentum of .9 and more trains much faster than less of it",
    source="Sutskever, Martens, Dahl, Hinton, On the Importance of Initialization and Momentum, 2013, Table 1",
    small=changed(MNIST, optimizer="momentum", learning_rate=1e-3),
    full=changed(RECIPE, optimizer="momentum", learning_rate=1e-3),
    cells={f"momentum {value}": {"optimizer_options": {"momentum": value}} for value in (0.0, 0.5, 0.9, 0.99)},
    expected=in_order("momentum 0.99", "momentum 0.9", "momentum 0.5", "momentum 0.0", figure="train_loss"),
    figures=("train_loss", "test_accuracy"),
)
