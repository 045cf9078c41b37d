"""DenseNet on ImageNet: Huang, Liu, van der Maaten, Weinberger, Densely Connected Convolutional Networks, 2016, section
4.

    python experiments/train.py densenet_imagenet                        # densenet121; tfds:imagenet2012
    python experiments/train.py densenet_imagenet --data folder:FOLDER
    python experiments/train.py densenet_imagenet --model densenet201    # or densenet169, densenet264, densenet161

Batches of 256, Nesterov momentum .9 without dampening, weight decay 1e-4, rate .1, divided by 10 after 30 and 60 of 90
epochs, kernels as in He et al., 2015. The augmentation is that of fb.resnet.torch, on which the authors' code stands
(section 4.1, "[8]"); there the decay acts on all parameters. `--model-options remat True` saves memory.

Takes weeks on a GPU; only its first steps are run, by a test. Reaches, in the paper (Table 3, one crop on validation),
74.98 % top-1 and 92.29 % top-5: errors of 25.02 and 7.71 %. The figure of densenet161 is from the authors' page.
"""

from dataclasses import replace

from recipes import IMAGENET, Published
from xxnet_jax.optimizers import ScheduleConfig

NETWORKS = ("densenet121", "densenet169", "densenet201", "densenet264", "densenet161")
PUBLISHED: Published = {
    "one crop": {
        "densenet121": (74.98, 92.29),
        "densenet169": (76.20, 93.15),
        "densenet201": (77.42, 93.66),
        "densenet264": (77.85, 93.88),
        "densenet161": (77.8, None),
    },
    "ten crops": {
        "densenet121": (76.39, 93.34),
        "densenet169": (77.92, 94.08),
        "densenet201": (78.54, 94.46),
        "densenet264": (79.20, 94.71),
    },
}

RECIPE = replace(
    IMAGENET,
    model="densenet121",
    model_options={"initialization": "he_normal"},
    augmentation="fb_resnet",
    optimizer="nesterov",
    like="torch",
    learning_rate=0.1,
    optimizer_options={"momentum": 0.9},
    schedule=ScheduleConfig("densenet_imagenet"),
    l2=1e-4,
    l2_pattern="",
    batch_size=256,
    epochs=90,
)
