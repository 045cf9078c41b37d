"""Local response normalization in VGG's configuration A.

Small: 2 networks x 3 seeds of an eighth of the width, 8 epochs of 5,000 images. Full: the published widths on all of
CIFAR-10, 60 epochs.
"""

from paper_experiments import CIFAR10, FULL_CIFAR10, Better, Experiment, changed, models

START = {"head": "gap", "initialization": "he_normal"}

EXPERIMENT = Experiment(
    claim="local response normalization does not improve configuration A, and takes time and memory",
    source="Simonyan, Zisserman, Very Deep Convolutional Networks, 2015, Table 3 (A and A-LRN)",
    small=changed(
        CIFAR10, model_options={"features_of_blocks": (8, 16, 32, 64, 64), **START}, learning_rate=1e-3, epochs=8
    ),
    full=changed(FULL_CIFAR10, model_options=START),
    cells=models("vgg11", "vgg11_lrn"),
    expected=(
        Better("vgg11", "vgg11_lrn", by=-0.01),
        Better("vgg11", "vgg11_lrn", "images_per_second"),
    ),
    figures=("test_accuracy", "train_loss", "images_per_second"),
)
