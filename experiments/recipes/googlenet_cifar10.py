"""GoogLeNet on CIFAR-10, short: batch normalization, and a stem for small images, whose convolution has stride 1 and no
pool behind it, so that 3a sees 16x16 pixels.

    python experiments/train.py googlenet_cifar10 --data folder:FOLDER     # FOLDER/train/CLASS/*, FOLDER/test/CLASS/*
    python experiments/train.py googlenet_cifar10                          # tfds:cifar10

The numbers are those of vgg11_bn_cifar10, with the augmentation for CIFAR; the network is torchvision's (3x3 in place
of 5x5) with both auxiliary heads, at .3 each. No paper has it.

Takes some 40 minutes on 2 CPU cores, if its 460 million multiply-accumulates an image run as vgg11_bn's 153 million do:
not measured. Reaches: not run to the end.
"""

from dataclasses import replace

from recipes import CIFAR10
from xxnet_jax.optimizers import ScheduleConfig

RECIPE = replace(
    CIFAR10,
    model="googlenet.torchvision",
    model_options={"stem_stride": 1, "stem_pool": False},
    preprocessing="standardized",
    augmentation="cifar",
    optimizer="momentum",
    learning_rate=0.05,
    schedule=ScheduleConfig("cosine", unit="fraction", warmup=0.1),
    l2=5e-4,
    batch_size=128,
    epochs=2,
)
