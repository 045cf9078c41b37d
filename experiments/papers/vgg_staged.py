"""Staged initialization: a deep VGG that begins with the layers of a shallow one.

Small: 3 cells x 3 seeds of a quarter of the width at 16x16, 6 epochs of 5,000 images. Full: the published widths on all
of CIFAR-10.
"""

from paper_experiments import CIFAR10, FULL_CIFAR10, Better, Experiment, changed

from xxnet_jax.models.vgg import kernels

SHALLOW = kernels("3", "3", "3 3", "3 3")
DEEP = kernels("3 3", "3 3", "3 3 3 3", "3 3 3 3")
FIRST_FOUR_AND_DENSE = "block1_conv1|block2_conv1|block3_conv[12]/|predictions"

EXPERIMENT = Experiment(
    claim="deep networks learn faster from the first four and the dense layers of a trained shallow one",
    source="Simonyan, Zisserman, Very Deep Convolutional Networks, 2015, section 3.1",
    small=changed(
        CIFAR10,
        model="vgg11",
        image_size=16,
        model_options={"features_of_blocks": (16, 32, 64, 64), "head": "gap"},
        learning_rate=1e-3,
    ),
    full=changed(FULL_CIFAR10, model="vgg11", model_options={"features_of_blocks": (64, 128, 256, 512), "head": "gap"}),
    cells={
        "shallow": {"model_options": {"blocks": SHALLOW}},
        "deep, random": {"model_options": {"blocks": DEEP}},
        "deep, staged": {
            "model_options": {"blocks": DEEP},
            "begin_with": "shallow",
            "begin_pattern": FIRST_FOUR_AND_DENSE,
        },
    },
    expected=(Better("deep, staged", "deep, random", "train_loss"), Better("deep, staged", "deep, random")),
)
