"""From a regular convolution to a separable one: parts of the channels that the 3x3 of Xception sees apart.

Small: 4 networks x 3 seeds of three narrow blocks, 6 epochs of 5,000 images. Full: Xception on all of CIFAR-10 at
64x64.
"""

from paper_experiments import Better, Experiment, options

from papers.xception_between import EXPERIMENT as BETWEEN

EXPERIMENT = Experiment(
    claim="separable convolutions, with a segment for each channel, use parameters better than fewer segments",
    source="Chollet, Xception, 2016, sections 1.2 and 4.4 (which leaves what is in between unexplored)",
    small=BETWEEN.small,
    full=BETWEEN.full,
    cells=options(segments=(1, 2, 4, None)),
    expected=(
        Better("segments None", "segments 1", "parameters", less=True),
        Better("segments None", "segments 1", by=-0.01),
    ),
    figures=("test_accuracy", "parameters", "train_loss"),
)
