"""Depth of VGG: configurations A, B, D and E, from 11 to 19 layers.

Small: 4 networks x 3 seeds of an eighth of the width, with batch normalization, 5 epochs of 5,000 images. Full: the
published widths on all of CIFAR-10, 60 epochs.
"""

from paper_experiments import CIFAR10, FULL_CIFAR10, Experiment, changed, in_order, models

EXPERIMENT = Experiment(
    claim="the error falls with depth from 11 to 19 layers, where it saturates",
    source="Simonyan, Zisserman, Very Deep Convolutional Networks, 2015, Table 3",
    small=changed(
        CIFAR10,
        model_options={"features_of_blocks": (8, 16, 32, 64, 64), "head": "gap"},
        learning_rate=2e-3,
        epochs=5,
    ),
    full=changed(FULL_CIFAR10, model_options={"head": "gap"}),
    cells=models("vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"),
    expected=in_order("vgg19_bn", "vgg16_bn", "vgg13_bn", "vgg11_bn"),
    figures=("test_accuracy", "train_loss", "parameters"),
    smoke={"model_options": {"features_of_blocks": (4, 4, 4, 4, 4)}, "image_size": 32},
)
