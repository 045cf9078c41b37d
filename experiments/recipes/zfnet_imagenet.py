"""ZFNet on ImageNet: Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, 2013, section 3.

    python experiments/train.py zfnet_imagenet                        # tfds:imagenet2012
    python experiments/train.py zfnet_imagenet --data folder:FOLDER

Batches of 128, momentum .9, rate .01, reduced by hand when the validation error stalls; 70 epochs. Windows of the
photograph scaled to 256, mirrored; dropout .5 on fc6 and fc7; kernels from a normal of deviation .01, biases 0 (the
network's own initialization).

Deviations: the paper names no factor and no weight decay; 10 and 5e-4 are AlexNet's. It cuts the four corners and the
middle, here a window may lie anywhere. It renormalizes kernels of conv1 beyond a root mean square of .1, and subtracts
the mean image.

Takes days on a GPU (twelve on theirs); only its first steps are run, by a test. Reaches, in the paper, 61.6 % top-1 and
83.5 % top-5 on validation (Table 2, "1 convnet as per Fig. 3": errors of 38.4 and 16.5 %).
"""

from dataclasses import replace

from recipes import IMAGENET, Published
from xxnet_jax.optimizers import ScheduleConfig

NETWORKS = ("zfnet",)
PUBLISHED: Published = {"ten crops": {"zfnet": (61.6, 83.5)}}

RECIPE = replace(
    IMAGENET,
    model="zfnet",
    augmentation="alexnet",
    augmentation_options={"pca_noise": 0.0},
    optimizer="momentum",
    learning_rate=0.01,
    schedule=ScheduleConfig("plateau", decay_rate=0.1, max_reductions=3),
    l2=5e-4,
    batch_size=128,
    epochs=70,
)
