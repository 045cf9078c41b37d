"""ResNet on ImageNet: He, Zhang, Ren, Sun, Deep Residual Learning for Image Recognition, 2015, section 3.4.

    python experiments/train.py resnet_imagenet                          # resnet50.paper; tfds:imagenet2012
    python experiments/train.py resnet_imagenet --data folder:FOLDER
    python experiments/train.py resnet_imagenet --model resnet101.paper  # or resnet152.paper, resnet18, plain34 ...

Batches of 256, momentum .9, rate .1, divided by 10 when the error plateaus, up to 600,000 steps (120 epochs), weight
decay 1e-4, no dropout, kernels as in He et al., 2015 ("[13]": normal, by fan-in). Windows of 224 of the photograph
scaled so that the shorter side is 256 to 480, mirrored, AlexNet's noise of colours.

`resnet50`, `101` and `152` are Keras's, with biases in the convolutions; the paper's have none: `.paper`.

Deviations: a mean colour in place of the mean of each pixel (`--preprocessing pixel_mean`, which decodes the whole set
first); "plateaus" is five epochs without a better validation accuracy; the decay acts on kernels.

Takes weeks on a GPU; only its first steps are run, by a test. Reaches, in the paper (Tables 2 and 3, ten crops on
validation), 77.15 % top-1 and 93.29 % top-5: errors of 22.85 and 6.71 %; ResNet-18 with shortcuts A.
"""

from dataclasses import replace

from recipes import IMAGENET, Published
from xxnet_jax.optimizers import ScheduleConfig

NETWORKS = (
    *("plain18", "plain34", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *("resnet50.paper", "resnet101.paper", "resnet152.paper"),
)
PUBLISHED: Published = {
    "ten crops": {
        "plain18": (72.06, None),
        "plain34": (71.46, 89.98),
        "resnet18": (72.12, None),
        "resnet34": (75.48, 92.54),
        "resnet50.paper": (77.15, 93.29),
        "resnet101.paper": (78.25, 93.95),
        "resnet152.paper": (78.57, 94.29),
    }
}

RECIPE = replace(
    IMAGENET,
    model="resnet50.paper",
    model_options={"initialization": "he_normal"},
    augmentation="resnet",
    optimizer="momentum",
    learning_rate=0.1,
    schedule=ScheduleConfig("resnet"),
    l2=1e-4,
    batch_size=256,
    steps=600_000,
)
