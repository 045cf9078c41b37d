"""Filters of VGG: 3x3 against 1x1 in the last layer of a block, and pairs of 3x3 against single 5x5.

Small: 4 networks x 3 seeds of an eighth of the width, with batch normalization, 5 epochs of 5,000 images. Full: the
published widths on all of CIFAR-10, 60 epochs.
"""

from paper_experiments import CIFAR10, FULL_CIFAR10, Better, Experiment, changed

from xxnet_jax.models.vgg import B, C, D, kernels

CONFIGURATIONS = {"B": B, "B with 5x5": kernels(*["5"] * 5), "C": C, "D": D}

EXPERIMENT = Experiment(
    claim="3x3 (D) is better than 1x1 (C), that than none (B), and pairs of 3x3 (B) than one 5x5, by 7 points",
    source="Simonyan, Zisserman, Very Deep Convolutional Networks, 2015, Table 3 and section 4.1",
    small=changed(
        CIFAR10,
        model="vgg16_bn",
        model_options={"features_of_blocks": (8, 16, 32, 64, 64), "head": "gap"},
        learning_rate=2e-3,
        epochs=5,
    ),
    full=changed(FULL_CIFAR10, model="vgg16_bn", model_options={"head": "gap"}),
    cells={name: {"model_options": {"blocks": blocks}} for name, blocks in CONFIGURATIONS.items()},
    expected=(Better("D", "C"), Better("C", "B"), Better("B", "B with 5x5")),
    figures=("test_accuracy", "train_loss", "parameters"),
)
