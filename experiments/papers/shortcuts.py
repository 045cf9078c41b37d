"""Shortcuts of a residual network: zeros (A), projections where the features change (B), or everywhere (C).

Small: 3 networks x 3 seeds of half the width, 4 epochs of 5,000 images at 16x16. Full: 64,000 steps each.
"""

from paper_experiments import SMALL_RESNET, Experiment, changed, in_order, options
from recipes.resnet20_cifar10 import RECIPE

EXPERIMENT = Experiment(
    claim="B is slightly better than A, and C slightly better than B",
    source="He, Zhang, Ren, Sun, Deep Residual Learning for Image Recognition, 2015, Table 3 (ResNet-34 on ImageNet)",
    small=changed(SMALL_RESNET, model="resnet20"),
    full=RECIPE,
    cells=options(shortcut=("A", "B", "C")),
    expected=in_order("shortcut C", "shortcut B", "shortcut A"),
    figures=("test_accuracy", "train_loss", "parameters"),
    smoke={"model_options": {"depths": (1, 1, 1)}},
)
