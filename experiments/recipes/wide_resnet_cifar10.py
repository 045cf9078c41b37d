"""Wide ResNets on CIFAR-10: Zagoruyko and Komodakis, Wide Residual Networks, 2016, section 3, and the authors' code.

    python experiments/train.py wide_resnet_cifar10 --data folder:FOLDER   # FOLDER/train/CLASS/*, FOLDER/test/CLASS/*
    python experiments/train.py wide_resnet_cifar10                        # wide_resnet28_10; tfds:cifar10
    python experiments/train.py wide_resnet_cifar10 --model wide_resnet16_4
    python experiments/train.py wide_resnet_cifar10 --model-options dropout_rate .3
    python experiments/train.py wide_resnet_cifar10 --data tfds:cifar100

Nesterov momentum .9 without dampening, rate .1, divided by 5 after 60, 120 and 160 of 200 epochs, batches of 128,
weight decay 5e-4 on all parameters (train_cifar.sh); images padded by 4 pixels, cropped and mirrored; mean and
deviation of the channels; kernels as in He et al., 2015. With dropout, .3 between the convolutions of a block.

Deviations: zeros are padded where the authors' code reflects; the paper trains on all 50,000 images (`--train-split
train --validation-split None`), here 5,000 choose the checkpoint.

Takes hours on a GPU; only its first steps are run, by a test. Reaches, in the paper (Tables 5 and 6), 96.00 % and with
dropout 96.11 %, on CIFAR-100 80.75 and 81.15 %: errors of 4.00, 3.89, 19.25 and 18.85 %.
"""

from dataclasses import replace

from recipes import CIFAR10, Published
from xxnet_jax.optimizers import ScheduleConfig

NETWORKS = ("wide_resnet28_10", "wide_resnet16_4")
PUBLISHED: Published = {
    "CIFAR-10": {"wide_resnet28_10": (96.00, None), "wide_resnet16_4": (94.98, None)},
    "CIFAR-100": {"wide_resnet28_10": (80.75, None), "wide_resnet16_4": (75.97, None)},
}

RECIPE = replace(
    CIFAR10,
    model="wide_resnet28_10",
    preprocessing="channels",
    augmentation="cifar",
    optimizer="nesterov",
    like="torch",
    learning_rate=0.1,
    optimizer_options={"momentum": 0.9},
    schedule=ScheduleConfig("multistep", unit="epochs", decay_rate=0.2, boundaries=(60, 120, 160)),
    l2=5e-4,
    l2_pattern="",
    batch_size=128,
    epochs=200,
)
