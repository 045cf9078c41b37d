"""ResNeXt on ImageNet: Xie, Girshick, Dollar, Tu, He, Aggregated Residual Transformations for Deep Neural Networks,
2016, section 4.

    python experiments/train.py resnext_imagenet                        # resnext50 (32x4d); tfds:imagenet2012
    python experiments/train.py resnext_imagenet --data folder:FOLDER
    python experiments/train.py resnext_imagenet --model resnext101     # 32x4d; or resnext101_32x8d

Batches of 256 (32 on each of 8 GPUs: `--batch-norm 32` normalizes as many together), momentum .9, weight decay 1e-4,
rate .1, divided by 10 three times, kernels as in He et al., 2015; windows and colours of fb.resnet.torch. From the
authors' code (github.com/facebookresearch/ResNeXt): Nesterov, after 30, 60 and 90 of 100 epochs, decay on all
parameters.

Takes weeks on a GPU; only its first steps are run, by a test. Reaches, in the paper (one crop of 224 on validation),
77.8 % top-1, an error of 22.2 %; resnext101 78.8 % and 94.4 % top-5. resnext101_32x8d is torchvision's (its figures,
too), not the paper's.
"""

from dataclasses import replace

from recipes import IMAGENET, Published
from xxnet_jax.optimizers import ScheduleConfig

NETWORKS = ("resnext50", "resnext101", "resnext101_32x8d")
PUBLISHED: Published = {
    "one crop": {"resnext50": (77.8, None), "resnext101": (78.8, 94.4)},
    "torchvision, one crop": {"resnext101_32x8d": (79.31, 94.53)},
}

RECIPE = replace(
    IMAGENET,
    model="resnext50",
    augmentation="fb_resnet",
    optimizer="nesterov",
    like="torch",
    learning_rate=0.1,
    optimizer_options={"momentum": 0.9},
    schedule=ScheduleConfig("multistep", unit="epochs", decay_rate=0.1, boundaries=(30, 60, 90)),
    l2=1e-4,
    l2_pattern="",
    batch_size=256,
    epochs=100,
)
