"""Batch normalization against dropout, as regularizers of a network with few images.

Small: 4 cells x 3 seeds of LeNet-5, 20 epochs of 1,000 images. Full: 12 epochs of all images.
"""

from paper_experiments import MNIST, Better, Experiment, changed
from recipes.lenet5_mnist import RECIPE

EXPERIMENT = Experiment(
    claim="batch normalization regularizes: with it dropout is not needed",
    source="Ioffe, Szegedy, Batch Normalization, 2015, sections 3.4 and 4.2.1",
    small=changed(
        MNIST, model_options={"activation": "relu"}, train_split="train[:1000]", epochs=20, learning_rate=2e-3
    ),
    full=changed(RECIPE, model_options={"activation": "relu"}, ema_decay=None),
    cells={
        "neither": {},
        "dropout": {"model_options": {"dropout_rate": 0.5}},
        "batch normalization": {"model_options": {"batch_norm": True}},
        "both": {"model_options": {"batch_norm": True, "dropout_rate": 0.5}},
    },
    expected=(
        Better("batch normalization", "neither"),
        Better("batch normalization", "dropout", by=-0.005),
        Better("batch normalization", "both", by=-0.005),
    ),
    figures=("test_accuracy", "test_loss", "train_loss"),
)
