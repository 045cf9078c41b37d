"""Initialization of a deep network without normalization: He, Glorot, truncated normal .1, normal .01, uniform .05.

Small: 5 cells x 3 seeds of a narrow plain VGG of 12 convolutions, 4 epochs of 5,000 images at 16x16. Full: VGG-19 on
all of CIFAR-10.
"""

from paper_experiments import CIFAR10, FULL_CIFAR10, Better, Experiment, changed, options

from xxnet_jax.models.vgg import kernels

DEEP = {"features_of_blocks": (16, 32, 64), "blocks": kernels("3 3 3 3", "3 3 3 3", "3 3 3 3")}

EXPERIMENT = Experiment(
    claim="deep rectifier networks learn with He's initialization, more slowly with Glorot's, not from small numbers",
    source="He, Zhang, Ren, Sun, Delving Deep into Rectifiers, 2015, section 2.2 and Figures 2 and 3",
    small=changed(
        CIFAR10,
        model="vgg19",
        image_size=16,
        model_options={**DEEP, "head": "gap"},
        optimizer="momentum",
        learning_rate=0.02,
        clip_norm=1.0,
        epochs=4,
    ),
    full=changed(FULL_CIFAR10, model="vgg19", model_options={"head": "gap"}, learning_rate=0.01),
    cells=options(initialization=("he_normal", "glorot_uniform", "truncated_normal", "normal", "uniform")),
    expected=(
        Better("initialization he_normal", "initialization glorot_uniform", "train_loss"),
        Better("initialization glorot_uniform", "initialization normal", "train_loss"),
        Better("initialization he_normal", "initialization uniform", "train_loss"),
    ),
    figures=("train_loss", "test_accuracy"),
)
