"""Scaling of residuals: Inception-ResNet with many filters, its residuals scaled by .1 and not at all.

Small: 2 networks x 3 seeds of 14 narrow blocks, 3 epochs of 5,000 images. Full: Inception-ResNet-v2 on all of CIFAR-10
at 96x96.
"""

from paper_experiments import CIFAR10, FULL_CIFAR10, Better, Experiment, changed, options

from xxnet_jax.models.inception_resnet import branches, named_layers

MANY = {
    "stem": named_layers(conv2d_1a="3x3/2 32"),
    "mixed_5b": None,
    "block35": branches("1x1 8 | 1x1 8, 3x3 8"),
    "mixed_6a": branches("3x3/2V 192 | 3x3/2V max"),
    "block17": branches("1x1 16 | 1x1 16, 1x3 16, 3x1 16"),
    "mixed_7a": branches("3x3/2V 384 | 3x3/2V max"),
    "block8": branches("1x1 24 | 1x1 24, 1x3 24, 3x1 24"),
    "repeats": (2, 8, 4),
    "last": None,
}

EXPERIMENT = Experiment(
    claim="with more than 1,000 filters the network dies early in training unless residuals are scaled down",
    source="Szegedy, Ioffe, Vanhoucke, Alemi, Inception-v4, Inception-ResNet, 2016, section 3.3",
    small=changed(
        CIFAR10, model="inception_resnet_v2", model_options=MANY, optimizer="rmsprop", learning_rate=0.01, epochs=3
    ),
    full=changed(FULL_CIFAR10, model="inception_resnet_v2", image_size=96, optimizer="rmsprop", learning_rate=0.045),
    cells=options(scales=((0.1, 0.1, 0.1), (1.0, 1.0, 1.0))),
    expected=(Better("scales (0.1, 0.1, 0.1)", "scales (1.0, 1.0, 1.0)"),),
    figures=("test_accuracy", "train_loss"),
    smoke={"model_options": {"repeats": (1, 1, 1)}},
)
