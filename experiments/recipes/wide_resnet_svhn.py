"""Wide ResNets on SVHN: Zagoruyko and Komodakis, Wide Residual Networks, 2016, section 3, and the authors' code.

    python experiments/train.py wide_resnet_svhn                           # wide_resnet16_4; tfds:svhn_cropped
    python experiments/train.py wide_resnet_svhn --data folder:FOLDER      # FOLDER/train, extra and test with CLASS/*

Nesterov momentum .9 without dampening, rate .01, divided by 10 after 80 and 120 of 160 epochs, batches of 128, weight
decay 5e-4 on all parameters, dropout .4 (train_svhn.sh); values divided by 255, no augmentation; kernels as in He et
al., 2015.

Deviation: the last 6,000 training images choose the checkpoint, as in DenseNet's paper.

Takes a day on a GPU; only its first steps are run, by a test. Reaches, in the paper (Table 6), 98.36 % with dropout, an
error of 1.64 %, and 1.85 % without.
"""

from xxnet_jax.optimizers import ScheduleConfig
from xxnet_jax.training import Recipe

NETWORKS = ("wide_resnet16_4",)
PUBLISHED = {"SVHN": {"wide_resnet16_4": (98.36, None)}}

RECIPE = Recipe(
    model="wide_resnet16_4",
    model_options={"dropout_rate": 0.4},
    data="tfds:svhn_cropped",
    train_split="train[:-6000]+extra",
    validation_split="train[-6000:]",
    preprocessing="unit",
    optimizer="nesterov",
    like="torch",
    learning_rate=0.01,
    optimizer_options={"momentum": 0.9},
    schedule=ScheduleConfig("multistep", unit="epochs", decay_rate=0.1, boundaries=(80, 120)),
    l2=5e-4,
    l2_pattern="",
    batch_size=128,
    epochs=160,
)
