"""Network in Network on ImageNet: Lin, Chen, Yan, 2014. The paper has no such experiment; its authors published the
network and its solver in Caffe's model zoo ("Network in Network Imagenet Model"), and all numbers are from there.

    python experiments/train.py nin_imagenet                        # tfds:imagenet2012
    python experiments/train.py nin_imagenet --data folder:FOLDER

Batches of 64, momentum .9, rate .01, divided by 10 after every 200,000 of 450,000 steps (22 epochs), weight decay 5e-4
on kernels, twice the rate and no decay on biases; windows of 224 out of 256, mirrored; dropout .5 before the last
layer.

Deviations: a mean colour in place of the mean image; kernels start from a normal of deviation .05 everywhere.

Takes days on a GPU (four to five on theirs); only its first steps are run, by a test. Reaches, as its authors say,
59.36 % top-1 on validation.
"""

from dataclasses import replace

from recipes import IMAGENET, Published
from xxnet_jax.optimizers import ScheduleConfig

NETWORKS = ("nin",)
PUBLISHED: Published = {"one crop": {"nin": (59.36, None)}}

RECIPE = replace(
    IMAGENET,
    model="nin",
    augmentation="alexnet",
    augmentation_options={"pca_noise": 0.0},
    optimizer="momentum",
    learning_rate=0.01,
    rate_factors={"bias$": 2.0},
    schedule=ScheduleConfig("step", every=200_000),
    l2=5e-4,
    batch_size=64,
    steps=450_000,
)
