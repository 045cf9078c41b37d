"""NASNet-A (6 @ 768) on CIFAR-10: Zoph, Vasudevan, Shlens, Le, Learning Transferable Architectures for Scalable Image
Recognition, 2017, appendix A, with the numbers of TF-Slim's nasnet.py.

    python experiments/train.py nasnet_cifar10 --data folder:FOLDER        # FOLDER/train/CLASS/*, FOLDER/test/CLASS/*
    python experiments/train.py nasnet_cifar10                             # tfds:cifar10

Batches of 32, 600 epochs, rate .025 on one period of a cosine, gradients clipped to a norm of 5, .4 for the loss of the
auxiliary head, L2 of 5e-4, drop path of up to 40 %. 937,500 steps are the 600 epochs of all 50,000 images
(`--train-split train --validation-split None`); here 5,000 choose the checkpoint.

Deviations: momentum .9 is not printed there; the rate of drop path grows with depth, not with the steps; each image is
standardized.

Takes days on a GPU; only its first steps are run, by a test. Reaches, in the paper (Table 1), 96.59 %, an error of 3.41
% (2.65 % with cutout, which is not here).
"""

from dataclasses import replace

from recipes import CIFAR10, Published
from xxnet_jax.optimizers import ScheduleConfig

NETWORKS = ("nasnet_cifar10",)
PUBLISHED: Published = {"CIFAR-10": {"nasnet_cifar10": (96.59, None)}}

RECIPE = replace(
    CIFAR10,
    model="nasnet_cifar10",
    augmentation="cifar",
    auxiliary_weight=0.4,
    optimizer="momentum",
    learning_rate=0.025,
    schedule=ScheduleConfig("cosine"),
    clip_norm=5.0,
    l2=5e-4,
    batch_size=32,
    epochs=600,
)
