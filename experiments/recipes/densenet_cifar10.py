"""DenseNet on CIFAR-10 and CIFAR-100: Huang, Liu, van der Maaten, Weinberger, Densely Connected Convolutional Networks,
2016, section 4.

    python experiments/train.py densenet_cifar10 --data folder:FOLDER       # FOLDER/train/CLASS/*, FOLDER/test/CLASS/*
    python experiments/train.py densenet_cifar10                            # densenet40_12; tfds:cifar10
    python experiments/train.py densenet_cifar10 --model densenet_bc100_12  # and the others of the table
    python experiments/train.py densenet_cifar10 --data tfds:cifar100       # "C100+"
    python experiments/train.py densenet_cifar10 --augmentation None --model-options dropout_rate .2    # "C10"

Batches of 64, 300 epochs, Nesterov momentum .9 without dampening, rate .1, divided by 10 after half and three quarters
of the training, weight decay 1e-4 (on all parameters, as in the authors' code, which stands on fb.resnet.torch),
kernels as in He et al., 2015. Mean and deviation of the channels; "+": padded by 4 pixels, cropped, mirrored. Without
augmentation, dropout of 20 % behind each convolution but the first. 5,000 images to validate on; the figures are of
networks trained on all 50,000: `--train-split train --validation-split None`.

Takes hours on a GPU; only its first steps are run, by a test. Reaches, in the paper (Table 2), what the table says as
accuracies: an error of 5.24 % for densenet40_12 on C10+.
"""

from dataclasses import replace

from recipes import CIFAR10, Published
from xxnet_jax.optimizers import ScheduleConfig

NETWORKS = (
    *("densenet40_12", "densenet100_12", "densenet100_24"),
    *("densenet_bc40_12", "densenet_bc100_12", "densenet_bc250_24", "densenet_bc190_40"),
)
PUBLISHED: Published = {
    "C10": {
        "densenet40_12": (93.00, None),
        "densenet100_12": (94.23, None),
        "densenet100_24": (94.17, None),
        "densenet_bc100_12": (94.08, None),
        "densenet_bc250_24": (94.81, None),
    },
    "C10+": {
        "densenet40_12": (94.76, None),
        "densenet100_12": (95.90, None),
        "densenet100_24": (96.26, None),
        "densenet_bc100_12": (95.49, None),
        "densenet_bc250_24": (96.38, None),
        "densenet_bc190_40": (96.54, None),
    },
    "C100": {
        "densenet40_12": (72.45, None),
        "densenet100_12": (76.21, None),
        "densenet100_24": (76.58, None),
        "densenet_bc100_12": (75.85, None),
        "densenet_bc250_24": (80.36, None),
    },
    "C100+": {
        "densenet40_12": (75.58, None),
        "densenet100_12": (79.80, None),
        "densenet100_24": (80.75, None),
        "densenet_bc100_12": (77.73, None),
        "densenet_bc250_24": (82.40, None),
        "densenet_bc190_40": (82.82, None),
    },
}

RECIPE = replace(
    CIFAR10,
    model="densenet40_12",
    model_options={"initialization": "he_normal"},
    preprocessing="channels",
    augmentation="cifar",
    optimizer="nesterov",
    like="torch",
    learning_rate=0.1,
    optimizer_options={"momentum": 0.9},
    schedule=ScheduleConfig("densenet"),
    l2=1e-4,
    l2_pattern="",
    batch_size=64,
    epochs=300,
)
