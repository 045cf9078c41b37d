"""Degradation: plain networks get worse with depth, residual ones do not.

Small: 4 networks x 3 seeds of half the width, 4 epochs of 5,000 images. Full: 64,000 steps each as in the paper.
"""

from paper_experiments import SMALL_RESNET, Better, Experiment, models
from recipes.resnet20_cifar10 import RECIPE

EXPERIMENT = Experiment(
    claim="a plain network of 56 layers has a higher training and test error than one of 20, a residual one has not",
    source="He, Zhang, Ren, Sun, Deep Residual Learning for Image Recognition, 2015, Figure 6",
    small=SMALL_RESNET,
    full=RECIPE,
    cells=models("plain20", "plain56", "resnet20", "resnet56"),
    expected=(
        Better("plain20", "plain56", "train_loss"),
        Better("plain20", "plain56"),
        Better("resnet56", "plain56", "train_loss"),
        Better("resnet56", "resnet20", by=-0.02),
    ),
    figures=("test_accuracy", "train_accuracy", "train_loss", "parameters"),
    smoke={"model_options": {"depths": (1, 1, 1)}},
)
