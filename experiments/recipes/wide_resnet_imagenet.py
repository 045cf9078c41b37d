"""Wide ResNet on ImageNet: Zagoruyko and Komodakis, Wide Residual Networks, 2016, section 3 (ImageNet).

    python experiments/train.py wide_resnet_imagenet                        # wide_resnet50_2; tfds:imagenet2012
    python experiments/train.py wide_resnet_imagenet --data folder:FOLDER

The paper trains it with the code and the numbers of fb.resnet.torch: Nesterov momentum .9, rate .1, divided by 10 after
30 and 60 of 90 epochs, batches of 256, weight decay 1e-4 on all parameters, kernels by fan-out, windows of 8 to 100 %
of the area, changes of brightness, contrast and saturation, PCA noise (`fb_resnet`).

Takes weeks on a GPU; only its first steps are run, by a test. Reaches, in the paper (WRN-50-2-bottleneck, one crop on
validation), 78.1 % top-1 and 93.97 % top-5: errors of 21.9 and 6.03 %.
"""

from dataclasses import replace

from recipes import IMAGENET, Published
from xxnet_jax.optimizers import ScheduleConfig

NETWORKS = ("wide_resnet50_2",)
PUBLISHED: Published = {"one crop": {"wide_resnet50_2": (78.1, 93.97)}}

RECIPE = replace(
    IMAGENET,
    model="wide_resnet50_2",
    augmentation="fb_resnet",
    optimizer="nesterov",
    like="torch",
    learning_rate=0.1,
    optimizer_options={"momentum": 0.9},
    schedule=ScheduleConfig("multistep", unit="epochs", decay_rate=0.1, boundaries=(30, 60)),
    l2=1e-4,
    l2_pattern="",
    batch_size=256,
    epochs=90,
)
