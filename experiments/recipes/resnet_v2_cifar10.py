"""ResNet with pre-activation on CIFAR-10: He, Zhang, Ren, Sun, Identity Mappings in Deep Residual Networks, 2016,
appendix.

    python experiments/train.py resnet_v2_cifar10 --data folder:FOLDER     # FOLDER/train/CLASS/*, FOLDER/test/CLASS/*
    python experiments/train.py resnet_v2_cifar10                          # resnet110v2; tfds:cifar10
    python experiments/train.py resnet_v2_cifar10 --model resnet164v2      # or resnet1001v2, --batch-size 64
    python experiments/train.py resnet_v2_cifar10 --data tfds:cifar100 --model resnet164v2

Batches of 128, momentum .9, weight decay 1e-4, images padded by 4 pixels, cropped and mirrored; 400 steps at a rate of
.01, then .1, divided by 10 after 32,000 and 48,000 of 64,000 steps. Here these are fractions of the training: 1/160,
1/2 and 3/4. The mean of each pixel is subtracted; kernels as in He et al., 2015. As in the authors' code, which stands
on fb.resnet.torch, the decay acts on all parameters.

The paper trains on all 50,000 images (`--train-split train --validation-split None`); here 5,000 choose the checkpoint.

Takes hours on a GPU; only its first steps are run, by a test. Reaches, in the paper (Tables 2 to 4), 93.63, 94.54 and
95.08 % with 110, 164 and 1,001 layers: errors of 6.37, 5.46 and 4.92 %; CIFAR-100: 24.33 and 22.71 %.
"""

from dataclasses import replace

from recipes import CIFAR10, Published
from xxnet_jax.optimizers import ScheduleConfig

NETWORKS = ("resnet110v2", "resnet164v2", "resnet1001v2")
PUBLISHED: Published = {
    "CIFAR-10": {"resnet110v2": (93.63, None), "resnet164v2": (94.54, None), "resnet1001v2": (95.08, None)},
    "CIFAR-100": {"resnet164v2": (75.67, None), "resnet1001v2": (77.29, None)},
}

RECIPE = replace(
    CIFAR10,
    model="resnet110v2",
    preprocessing="pixel_mean",
    augmentation="cifar",
    optimizer="momentum",
    learning_rate=0.1,
    schedule=ScheduleConfig(
        "multistep", unit="fraction", warmup=1 / 160, warmup_rate=0.1, decay_rate=0.1, boundaries=(0.5, 0.75)
    ),
    l2=1e-4,
    l2_pattern="",
    batch_size=128,
    steps=64_000,
)
