"""Lower resolution at the same cost: the stem shrinks smaller images less.

Small: 3 cells x 3 seeds of three narrow modules, 5 epochs of 5,000 images. Full: four times the width on all of
CIFAR-10.
"""

from paper_experiments import CIFAR10, FULL_CIFAR10, Better, Experiment, changed

from papers.inception_modules import cost

ROWS = """
    Conv2d_1a_3x3   16:3x3/2
    MaxPool_2a_3x3  max/2
    Mixed_3abc      24 | 16 32:3x3 | 16 24:3x3 24:3x3 | avg 16
"""

EXPERIMENT = Experiment(
    claim="with a stem that shrinks less, images of a half and a quarter of the side lose .2 and 1.4 points",
    source="Szegedy et al., Rethinking the Inception Architecture, 2015, section 8 and Table 2",
    small=changed(CIFAR10, model="inception_v3", model_options={"rows": ROWS}, learning_rate=2e-3, epochs=5),
    full=changed(
        FULL_CIFAR10,
        model="inception_v3",
        model_options={"rows": ROWS, "width_multiplier": 4.0},
        augmentation="mirror",  # the usual shift of 4 pixels is half of the smallest images
    ),
    cells={
        "stride 2, pool": {"image_size": 32},
        "pool": {"image_size": 16, "model_options": {"stem_stride": 1}},
        "neither": {"image_size": 8, "model_options": {"stem_stride": 1, "stem_pool": False}},
    },
    expected=(
        Better("stride 2, pool", "pool"),
        Better("pool", "neither"),
        Better("neither", "stride 2, pool", by=-0.03),
    ),
    figures=("test_accuracy", "million_macs", "train_loss"),
    measure=cost,
)
