"""Weight decay of Xception: none, its own 1e-5, and the 4e-5 of Inception v3.

Small: 3 cells x 3 seeds of three narrow blocks, 6 epochs of 5,000 images. Full: Xception on all of CIFAR-10 at 64x64.
"""

from paper_experiments import Better, Experiment, fields_of

from papers.xception_between import EXPERIMENT as BETWEEN

EXPERIMENT = Experiment(
    claim="a weight decay of 4e-5 is quite suboptimal for Xception, for which 1e-5 is used",
    source="Chollet, Xception, 2016, section 4.3",
    small=BETWEEN.small,
    full=BETWEEN.full,
    cells=fields_of(l2=(0.0, 1e-5, 4e-5)),
    expected=(Better("l2 1e-05", "l2 4e-05"),),
)
