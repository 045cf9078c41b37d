"""Depthwise before pointwise convolutions, as in Xception, and the other way round, as in an Inception module.

Small: 2 networks x 3 seeds of three narrow blocks, 6 epochs of 5,000 images. Full: Xception on all of CIFAR-10 at
64x64.
"""

from paper_experiments import Better, Experiment, options

from papers.xception_between import EXPERIMENT as BETWEEN

FIRST, LAST = "pointwise_first True", "pointwise_first False"

EXPERIMENT = Experiment(
    claim="the order of the two convolutions is unimportant",
    source="Chollet, Xception, 2016, section 1.2",
    small=BETWEEN.small,
    full=BETWEEN.full,
    cells=options(pointwise_first=(False, True)),
    expected=(Better(FIRST, LAST, by=-0.02), Better(LAST, FIRST, by=-0.02)),
)
