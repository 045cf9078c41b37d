"""Growth rate of DenseNet: features that a layer adds.

Small: 3 networks x 3 seeds of three blocks of four layers, 6 epochs of 5,000 images at 16x16. Full: 40 layers, 300
epochs.
"""

from paper_experiments import Experiment, changed, in_order, options

from papers.densenet import EXPERIMENT as DENSENET

EXPERIMENT = Experiment(
    claim="accuracy grows with the growth rate, and small rates suffice",
    source="Huang, Liu, van der Maaten, Weinberger, Densely Connected Convolutional Networks, 2016, Table 2",
    small=changed(DENSENET.small, model="densenet40_12"),
    full=changed(DENSENET.full, model="densenet40_12"),
    cells=options(growth_rate=(4, 12, 24)),
    expected=in_order("growth_rate 24", "growth_rate 12", "growth_rate 4"),
    figures=("test_accuracy", "parameters", "train_loss"),
    smoke=DENSENET.smoke,
)
