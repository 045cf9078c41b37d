"""DenseNet on SVHN: Huang, Liu, van der Maaten, Weinberger, Densely Connected Convolutional Networks, 2016, section 4.

    python experiments/train.py densenet_svhn                              # densenet40_12; tfds:svhn_cropped
    python experiments/train.py densenet_svhn --data folder:FOLDER         # FOLDER/train, extra and test with CLASS/*
    python experiments/train.py densenet_svhn --model densenet100_24       # and the others of the table

73,257 + 531,131 training images less 6,000 to validate on, that is 598,388; values divided by 255, no augmentation, so
dropout of 20 % behind each convolution but the first. Batches of 64, 40 epochs, and else as on CIFAR-10 (see
densenet_cifar10): Nesterov momentum .9, rate .1, divided by 10 after half and three quarters, weight decay 1e-4.

Deviation: the 6,000 are the last of `train`; the paper draws them from the training images.

Takes a day on a GPU; only its first steps are run, by a test. Reaches, in the paper (Table 2), 98.21 % with
densenet40_12 and 98.41 % with densenet100_24: errors of 1.79 and 1.59 %.
"""

from dataclasses import replace

from recipes import Published, densenet_cifar10

NETWORKS = ("densenet40_12", "densenet100_12", "densenet100_24", "densenet_bc100_12", "densenet_bc250_24")
PUBLISHED: Published = {
    "SVHN": {
        "densenet40_12": (98.21, None),
        "densenet100_12": (98.33, None),
        "densenet100_24": (98.41, None),
        "densenet_bc100_12": (98.24, None),
        "densenet_bc250_24": (98.26, None),
    }
}

RECIPE = replace(
    densenet_cifar10.RECIPE,
    model_options={"initialization": "he_normal", "dropout_rate": 0.2},
    data="tfds:svhn_cropped",
    train_split="train[:-6000]+extra",
    validation_split="train[-6000:]",
    preprocessing="unit",
    augmentation=None,
    epochs=40,
)
