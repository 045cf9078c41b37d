"""Xception on ImageNet: Chollet, Xception: Deep Learning with Depthwise Separable Convolutions, 2016, section 4.

    python experiments/train.py xception_imagenet                        # tfds:imagenet2012
    python experiments/train.py xception_imagenet --data folder:FOLDER

SGD with momentum .9, rate .045, times .94 every two epochs (section 4.3), weight decay 1e-5, which is not Inception
v3's 4e-5, dropout .5 before the logits, no auxiliary tower (4.4), an average of the parameters for inference ("Polyak",
4.3).

Deviations and choices, as the paper says nothing: batches of 32 and 100 epochs as in Inception v3's paper, whose rate
it has; an exponential average with decay .9999; Inception's windows and colours.

Takes weeks on a GPU (three days on sixty of theirs); only its first steps are run, by a test. Reaches, in the paper
(Table 1, one crop on validation), 79.0 % top-1 and 94.5 % top-5.
"""

from dataclasses import replace

from recipes import IMAGENET, Published
from xxnet_jax.optimizers import ScheduleConfig

NETWORKS = ("xception",)
PUBLISHED: Published = {"one crop": {"xception": (79.0, 94.5)}}

RECIPE = replace(
    IMAGENET,
    model="xception",
    model_options={"dropout_rate": 0.5},
    augmentation="inception",
    optimizer="momentum",
    learning_rate=0.045,
    schedule=ScheduleConfig("xception"),
    l2=1e-5,
    ema_decay=0.9999,
    batch_size=32,
    epochs=100,
)
