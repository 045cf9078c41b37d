"""Dropout: rates from none to .8 in the dense layer of a network with few images.

Small: 4 cells x 3 seeds of LeNet-5 with 256 hidden units, 30 epochs of 1,000 images. Full: the notes' LeNet on MNIST.
"""

from paper_experiments import MNIST, Better, Experiment, changed, options
from recipes.lenet5_tf1_mnist import RECIPE

EXPERIMENT = Experiment(
    claim="dropout at .5 lowers the test error; rates around it do as well, and much higher ones do not",
    source="Srivastava et al., Dropout, 2014, Figure 9a; Krizhevsky et al., 2012, section 4.2",
    small=changed(
        MNIST,
        model_options={"activation": "relu", "subsampling": "max", "dense": (256,)},
        train_split="train[:1000]",
        epochs=30,
    ),
    full=RECIPE,
    cells=options(dropout_rate=(0.0, 0.2, 0.5, 0.8)),
    expected=(
        Better("dropout_rate 0.5", "dropout_rate 0.0"),
        Better("dropout_rate 0.2", "dropout_rate 0.5", by=-0.005),
        Better("dropout_rate 0.5", "dropout_rate 0.8", by=-0.002),
    ),
    figures=("test_accuracy", "test_loss", "train_loss"),
)
