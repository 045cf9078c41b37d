"""Inception v2 on ImageNet: Ioffe and Szegedy, Batch Normalization, 2015, section 4.2, their network "BN-x30".

    python experiments/train.py inception_v2_imagenet                        # tfds:imagenet2012
    python experiments/train.py inception_v2_imagenet --data folder:FOLDER

- Rate .045, thirty times that of the network without normalization (.0015; BN-x5 has .0075), batches of 32; 6,000,000
  steps to the figure below.
- Section 4.2.1: the rate falls six times as fast as GoogLeNet's, so by 4 % every 8 / 6 epochs; no dropout; a fifth of
  the L2 weight, here of the 2e-4 of GoogLeNet's replication, so 4e-5, which is also TF-Slim's; less photometric
  distortion: here none.

Deviations: one process in place of asynchronous ones. Momentum .9 and the windows are GoogLeNet's; the paper does not
repeat them.

Takes days on GPUs; only its first steps are run, by a test. Reaches, in the paper, 74.8 % top-1 with one crop (Figure
3), 92.18 % top-5 (Figure 4: an error of 7.82 %).
"""

from dataclasses import replace

from recipes import IMAGENET, Published
from xxnet_jax.optimizers import ScheduleConfig

NETWORKS = ("inception_v2",)
PUBLISHED: Published = {"one crop": {"inception_v2": (74.8, 92.18)}}

RECIPE = replace(
    IMAGENET,
    model="inception_v2",
    model_options={"dropout_rate": 0.0},
    augmentation="inception_crop",
    optimizer="momentum",
    learning_rate=0.045,
    schedule=ScheduleConfig("exponential", unit="epochs", decay_rate=0.96, every=8 / 6, staircase=True),
    l2=4e-5,
    batch_size=32,
    steps=6_000_000,
)
