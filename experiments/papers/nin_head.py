"""Global average pooling against a dense layer at the end of Network in Network, with and without dropout.

Small: 3 networks x 3 seeds of an eighth of the width, 8 epochs of 5,000 images. Full: the published widths on all of
CIFAR-10.
"""

from paper_experiments import CIFAR10, Experiment, changed, in_order, models
from recipes.resnet20_cifar10 import RECIPE

from xxnet_jax.models.nin import Row

NARROW = (
    Row((24, 20, 12), 5, padding=2, pool="max", dropout=True),
    Row((24, 24, 24), 5, padding=2, pool="average", dropout=True),
    Row((24, 24), 3, padding=1),
)

EXPERIMENT = Experiment(
    claim="global average pooling has 10.41 % error, a dense layer 11.59 %, and 10.88 % with dropout before it",
    source="Lin, Chen, Yan, Network In Network, 2014, Table 5",
    small=changed(
        CIFAR10,
        model_options={"rows": NARROW, "relu_scores": False, "initialization": "he_normal", "dropout_rate": 0.2},
        learning_rate=2e-3,
        epochs=8,
    ),
    full=changed(RECIPE, augmentation=None, steps=60_000),
    cells=models("nin_cifar10", "nin_cifar10.fc_dropout", "nin_cifar10.fc"),
    expected=in_order("nin_cifar10", "nin_cifar10.fc_dropout", "nin_cifar10.fc"),
    figures=("test_accuracy", "train_loss", "parameters"),
)
