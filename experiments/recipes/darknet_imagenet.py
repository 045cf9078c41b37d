"""The classifiers under YOLO on ImageNet: Redmon, Divvala, Girshick, Farhadi, You Only Look Once, 2015, section 2.2.

    python experiments/train.py darknet_imagenet                         # darknet20; tfds:imagenet2012
    python experiments/train.py darknet_imagenet --data folder:FOLDER
    python experiments/train.py darknet_imagenet --model darknet_tiny --image-size 224        # for Fast YOLO
    python experiments/train.py darknet_imagenet --model darknet24 --begin-with runs/darknet_imagenet   # all 24, at 448

The paper says only that twenty convolutions are trained as a classifier on 224x224 for about a week, and their top-5
accuracy. Momentum .9 and weight decay 5e-4 are those of its detector; batches of 128 and a rate that falls as a
polynomial, (1 - t/T)^4 over 1,600,000 steps, are those of its authors' later classifiers (YOLO9000, section 3).

Choices: their rate .1 is for networks with normalization; these have none, and begin at .01. Windows as Inception's,
with changes of saturation, exposure and hue, and rotations up to 7 degrees, as for Darknet-19.

Takes a week on a GPU, in the paper; only its first steps are run, by a test. Reaches, in the paper, 88 % top-5 with one
crop on validation. The other two are nowhere published as classifiers.
"""

from dataclasses import replace

from recipes import IMAGENET, Published
from xxnet_jax.optimizers import ScheduleConfig

NETWORKS = ("darknet20", "darknet24", "darknet_tiny")
PUBLISHED: Published = {"one crop": {}}

RECIPE = replace(
    IMAGENET,
    model="darknet20",
    augmentation="inception_crop",
    augmentation_options={"saturation": 0.75, "brightness": 0.25, "hue": 0.1, "rotation": 7.0},
    optimizer="momentum",
    learning_rate=0.01,
    schedule=ScheduleConfig("polynomial", power=4.0),
    l2=5e-4,
    batch_size=128,
    steps=1_600_000,
)
