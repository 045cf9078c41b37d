"""Factorized convolutions: 1x7 and 7x1 against 7x7, and two 3x3 against 5x5, cost and accuracy.

Small: 3 networks x 3 seeds of four narrow modules, 5 epochs of 5,000 images. Full: Inception v3 on all of CIFAR-10 at
96x96.
"""

from paper_experiments import CIFAR10, FULL_CIFAR10, Better, Experiment, changed

from papers.inception_modules import cost

ROWS = """
    Conv2d_1a_3x3   16:3x3
    MaxPool_2a_3x3  max/2
    Mixed_3ab       16 | 12 16:1x7 16:7x1 | 12 16:3x3 16:3x3 | avg 16
    MaxPool_4a_3x3  max/2
    Mixed_4bc       24 | 16 32:1x7 32:7x1 | 16 32:3x3 32:3x3 | avg 24
"""
CELLS = {
    "factorized": {"two_3x3": True},
    "5x5": {"two_3x3": False},
    "5x5 and 7x7": {"two_3x3": False, "asymmetric": False},
}

EXPERIMENT = Experiment(
    claim="factorized convolutions cost a part of the large ones and lose nothing",
    source="Szegedy et al., Rethinking the Inception Architecture, 2015, sections 3.1 and 3.2",
    small=changed(CIFAR10, model="inception_v3", model_options={"rows": ROWS}, learning_rate=2e-3, epochs=5),
    full=changed(FULL_CIFAR10, model="inception_v3", image_size=96),
    cells={name: {"model_options": knobs} for name, knobs in CELLS.items()},
    expected=(
        Better("factorized", "5x5", "million_macs", less=True),
        Better("5x5", "5x5 and 7x7", "million_macs", less=True),
        Better("factorized", "5x5 and 7x7", by=-0.01),
    ),
    figures=("test_accuracy", "million_macs", "parameters"),
    measure=cost,
)
