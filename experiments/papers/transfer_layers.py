"""Features of MNIST for scikit-learn's digits: frozen at each depth, with the layers behind them trained anew.

Small: 6 cells x 3 seeds of LeNet-5; 10 epochs of 6,000 images, then 40 of 100. Full: all of MNIST.
"""

from paper_experiments import MNIST, Better, Experiment, changed
from recipes.lenet5_mnist import RECIPE

FEW = {"data": "digits?side=24", "train_split": "train[:100]", "test_split": "test", "epochs": 40, "batch_size": 20}


def frozen(layers: str) -> dict[str, object]:
    """Begins with the layers of MNIST's network that the pattern matches, and leaves them as they are."""
    return {**FEW, "begin_with": "MNIST", "begin_pattern": f"^{layers}/", "freeze": (f"^{layers}/",)}


EXPERIMENT = Experiment(
    claim="features of a large set of images make a good classifier for another, the better the more layers are kept",
    source="Zeiler, Fergus, Visualizing and Understanding Convolutional Networks, 2013, section 5 and Table 7",
    small=changed(MNIST, model_options={"activation": "relu"}, learning_rate=2e-3, epochs=10),
    full=changed(RECIPE, model_options={"activation": "relu"}, ema_decay=None, validation_split=None),
    cells={
        "MNIST": {},
        "digits alone": FEW,
        "C1": frozen("C1"),
        "C1, C3": frozen("C[13]"),
        "C1, C3, C5, new dense layer": frozen("C[135]"),
        "all but the output": frozen("(C[135]|F6)"),
    },
    expected=(
        Better("all but the output", "digits alone"),
        Better("C1, C3, C5, new dense layer", "C1"),
        Better("all but the output", "C1"),
    ),
    smoke={"begin_pattern": "^C1/"},
)
