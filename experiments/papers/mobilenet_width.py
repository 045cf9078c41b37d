"""Width and resolution of MobileNet, and regular in place of separable convolutions.

Small: 5 networks x 3 seeds of six blocks, 6 epochs of 5,000 images. Full: ten blocks of the published widths on
all of CIFAR-10.
"""

from paper_experiments import CIFAR10, FULL_CIFAR10, Better, Experiment, changed, in_order

from xxnet_jax.models.mobilenet import Block

BLOCKS = (Block(32, 1), Block(64, 2), Block(64, 1), Block(128, 2), Block(128, 1), Block(128, 1))
FULL_BLOCKS = (Block(64, 1), Block(128, 2), Block(128, 1), Block(256, 2), Block(256, 1), *(Block(512, 1),) * 5)

EXPERIMENT = Experiment(
    claim="accuracy falls gently with width and resolution; separable convolutions lose 1 % for a ninth of the cost",
    source="Howard et al., MobileNets, 2017, Tables 4, 6 and 7",
    small=changed(CIFAR10, model="mobilenet", model_options={"blocks": BLOCKS, "stem_features": 16}, image_size=32),
    full=changed(FULL_CIFAR10, model="mobilenet", model_options={"blocks": FULL_BLOCKS}),
    cells={
        "regular": {"model_options": {"separable": False}},
        "1.0": {},
        "0.5": {"model_options": {"alpha": 0.5}},
        "0.25": {"model_options": {"alpha": 0.25}},
        "1.0 at 24x24": {"image_size": 24},
    },
    expected=(
        *in_order("1.0", "0.5", "0.25"),
        Better("1.0", "1.0 at 24x24"),
        Better("1.0", "regular", by=-0.03),
    ),
    figures=("test_accuracy", "parameters", "train_loss"),
)
