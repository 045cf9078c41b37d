"""VGG-11 with batch normalization on CIFAR-10; five pools leave one pixel of 32x32, and one dense layer follows.

    python experiments/train.py vgg11_bn_cifar10 --data folder:FOLDER   # FOLDER/train/CLASS/*.jpg, FOLDER/test/CLASS/*
    python experiments/train.py vgg11_bn_cifar10                        # tfds:cifar10, prepared by prepare_data.py

Takes 13 minutes on 2 CPU cores. Reaches 71.5 % on test at seed 0, on JPEG copies of the images (73.1 % on
validation; 58.7 % after the first of its two epochs). Without augmentation.
"""

from xxnet_jax.optimizers import ScheduleConfig
from xxnet_jax.training import Recipe

RECIPE = Recipe(
    model="vgg11_bn",
    model_options={"head": "gap"},
    data="tfds:cifar10",
    image_size=32,
    train_split="train[:-5000]",
    validation_split="train[-5000:]",
    optimizer="momentum",
    learning_rate=0.05,
    schedule=ScheduleConfig(name="cosine", unit="fraction", warmup=0.1),
    l2=5e-4,
    batch_size=128,
    epochs=2,
)
