"""MobileNet v2 on CIFAR-10, short: the first convolution has stride 1, so that the last map has 2x2 pixels.

    python experiments/train.py mobilenet_v2_cifar10 --data folder:FOLDER  # FOLDER/train/CLASS/*, FOLDER/test/CLASS/*
    python experiments/train.py mobilenet_v2_cifar10                       # tfds:cifar10

The numbers are those of vgg11_bn_cifar10, with the augmentation for CIFAR and the paper's weight decay; the network is
torchvision's, whose statistics follow faster than Keras's. No paper has it.

Takes minutes an epoch on 2 CPU cores, for 24 million multiply-accumulates an image: not measured. Reaches: not run to
the end.
"""

from dataclasses import replace

from recipes import CIFAR10
from xxnet_jax.optimizers import ScheduleConfig

RECIPE = replace(
    CIFAR10,
    model="mobilenet_v2.torchvision",
    model_options={"stem_stride": 1, "dropout_rate": 0.0},
    preprocessing="standardized",
    augmentation="cifar",
    optimizer="momentum",
    learning_rate=0.05,
    schedule=ScheduleConfig("cosine", unit="fraction", warmup=0.1),
    l2=4e-5,
    batch_size=128,
    epochs=4,
)
