"""Batch size: speed, and the loss after the same number of epochs at the same rate.

Small: 3 cells x 3 seeds of LeNet-5, 3 epochs of 6,000 images. Full: 12 epochs of all images.
"""

from paper_experiments import MNIST, Experiment, changed, fields_of, in_order
from recipes.lenet5_mnist import RECIPE

EXPERIMENT = Experiment(
    claim="large batches make faster use of the hardware, and small ones learn more of an epoch",
    source="LeCun, Bottou, Orr, Mueller, Efficient BackProp, 1998, section 4.1",
    small=changed(MNIST, optimizer="momentum", learning_rate=0.01),
    full=changed(RECIPE, optimizer="momentum", learning_rate=0.01),
    cells=fields_of(batch_size=(16, 64, 256)),
    expected=(
        *in_order("batch_size 256", "batch_size 64", "batch_size 16", figure="images_per_second"),
        *in_order("batch_size 16", "batch_size 64", "batch_size 256", figure="train_loss"),
    ),
    figures=("train_loss", "test_accuracy", "images_per_second"),
)
