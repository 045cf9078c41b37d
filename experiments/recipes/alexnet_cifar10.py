"""AlexNet at half width on CIFAR-10: groups, local response normalization, overlapping pools and dropout at 32x32.

    python experiments/train.py alexnet_cifar10 --data folder:FOLDER   # FOLDER/train/CLASS/*.jpg, FOLDER/test/CLASS/*
    python experiments/train.py alexnet_cifar10                        # tfds:cifar10, prepared by prepare_data.py

Takes 24 minutes on 2 busy CPU cores. Reaches 65.3 % on test at seed 0, on JPEG copies of the images (66.9 % on
validation; 52.0 and 62.9 % after one and two epochs). Without augmentation, which the paper has; more epochs help.
"""

from xxnet_jax.optimizers import ScheduleConfig
from xxnet_jax.training import Recipe

RECIPE = Recipe(
    model="alexnet.cifar10",
    data="tfds:cifar10",
    train_split="train[:-5000]",
    validation_split="train[-5000:]",
    optimizer="adam",
    learning_rate=1e-3,
    schedule=ScheduleConfig(name="cosine"),
    batch_size=128,
    epochs=3,
)
