"""ResNet with pre-activation on ImageNet: He, Zhang, Ren, Sun, Identity Mappings in Deep Residual Networks, 2016,
section 5 and appendix.

    python experiments/train.py resnet_v2_imagenet                          # resnet152v2; tfds:imagenet2012
    python experiments/train.py resnet_v2_imagenet --data folder:FOLDER
    python experiments/train.py resnet_v2_imagenet --model resnet50v2       # or resnet101v2

Rate .1 without warm-up, divided by 10 after 30 and 60 epochs, batches of 256, and else as ResNet: momentum .9, weight
decay 1e-4, kernels as in He et al., 2015, windows of 224 with a shorter side of 256 to 480. 90 epochs, as in
fb.resnet.torch, on which the authors' code stands; there the decay acts on all parameters.

Deviation: the networks are Keras's, with the stride in the last block of a stage.

Takes weeks on a GPU; only its first steps are run, by a test. Reaches, in the paper (Table 5), 78.9 % top-1 and 94.5 %
top-5 for ResNet-152, on one crop of 320: `--image-size 320 --shorter-side 320`. The others are not in the paper.
"""

from dataclasses import replace

from recipes import IMAGENET, Published
from xxnet_jax.optimizers import ScheduleConfig

NETWORKS = ("resnet50v2", "resnet101v2", "resnet152v2")
PUBLISHED: Published = {"one crop of 320": {"resnet152v2": (78.9, 94.5)}}

RECIPE = replace(
    IMAGENET,
    model="resnet152v2",
    model_options={"initialization": "he_normal"},
    augmentation="resnet",
    optimizer="momentum",
    learning_rate=0.1,
    schedule=ScheduleConfig("multistep", unit="epochs", decay_rate=0.1, boundaries=(30, 60)),
    l2=1e-4,
    l2_pattern="",
    batch_size=256,
    epochs=90,
)
