"""Batch normalization on MNIST: with and without, for sigmoid, tanh and ReLU, at several rates.

Small: 12 cells x 3 seeds of LeNet-5, 2 epochs of 6,000 images. Full: 12 epochs of all images.
"""

from paper_experiments import MNIST, Better, Experiment, changed, crossed, fields_of, options
from recipes.lenet5_mnist import RECIPE

WITH = {"plain": {}, "normalized": {"model_options": {"batch_norm": True}}}
ACTIVATIONS = ("sigmoid", "tanh", "relu")

EXPERIMENT = Experiment(
    claim="normalized networks learn faster, bear higher rates, and learn even with sigmoids",
    source="Ioffe, Szegedy, Batch Normalization, 2015, sections 4.1 and 4.2, Figure 1a",
    small=changed(MNIST, optimizer="sgd", epochs=2),
    full=changed(RECIPE, optimizer="sgd"),
    cells=crossed(options(activation=ACTIVATIONS), WITH, fields_of(learning_rate=(0.03, 1.0))),
    expected=tuple(
        Better(f"activation {name}, normalized, {rate}", f"activation {name}, plain, {rate}")
        for name in ACTIVATIONS
        for rate in ("learning_rate 0.03", "learning_rate 1.0")
    ),
)
