"""Inception modules: naive ones against those with 1x1 reductions, cost and accuracy.

Small: 2 networks x 3 seeds of two narrow stages, 5 epochs of 5,000 images. Full: GoogLeNet on all of CIFAR-10 at 64x64.
"""

from paper_experiments import CIFAR10, FULL_CIFAR10, Better, Experiment, changed, options

from xxnet_jax.analysis import count_macs
from xxnet_jax.models.googlenet import Widths
from xxnet_jax.training import Run

STAGES = (
    (Widths(16, 24, 32, 4, 8, 8), Widths(32, 32, 48, 8, 24, 16)),
    (Widths(48, 24, 52, 4, 12, 16), Widths(40, 28, 56, 6, 16, 16)),
)


def cost(run: Run) -> dict[str, float]:
    """Multiply-accumulates of an image, in millions."""
    return {"million_macs": count_macs(run.model, run.config.image_format.shape) / 1e6}


EXPERIMENT = Experiment(
    claim="1x1 reductions cut the cost of a module several times and lose nothing",
    source="Szegedy et al., Going Deeper with Convolutions, 2015, section 4 and Figure 2",
    small=changed(
        CIFAR10,
        model="googlenet.torchvision",
        model_options={"stages": STAGES, "auxiliary_heads": (), "five": 5, "initialization": "he_normal"},
        learning_rate=2e-3,
        epochs=5,
    ),
    full=changed(FULL_CIFAR10, model="googlenet.torchvision", image_size=64),
    cells=options(naive=(True, False)),
    expected=(
        Better("naive False", "naive True", "million_macs", less=True),
        Better("naive False", "naive True", by=-0.01),
    ),
    figures=("test_accuracy", "million_macs", "parameters", "images_per_second"),
    measure=cost,
    smoke={"model_options": {"stages": tuple(modules[:1] for modules in STAGES)}},
)
