"""MobileNet on ImageNet: Howard et al., MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
Applications, 2017, section 3.2.

    python experiments/train.py mobilenet_imagenet                                    # tfds:imagenet2012
    python experiments/train.py mobilenet_imagenet --data folder:FOLDER
    python experiments/train.py mobilenet_imagenet --model-options alpha .5 --image-size 160     # Tables 6 and 7

- The paper: RMSProp, asynchronous, "similar to Inception V3"; less regularization, for small networks overfit less: no
  side heads, no label smoothing, less distortion, small windows limited, little or no weight decay on the depthwise
  kernels.
- It prints no numbers. Those of Inception v3's paper: decay .9, epsilon 1.0, rate .045, times .94 every two epochs,
  batches of 32, 100 epochs; and of TF-Slim: momentum .9, L2 of 4e-5, here on all but the depthwise kernels, average
  with decay .9999.

Choices: windows of at least 25 % of the area (Inception: 8 %), no changes of colour.

Takes days on a GPU; only its first steps are run, by a test. Reaches, in the paper (Table 4), 70.6 % top-1; 68.4, 63.7
and 50.6 % at alpha .75, .5 and .25.
"""

from dataclasses import replace

from recipes import IMAGENET, Published
from xxnet_jax.optimizers import ScheduleConfig

NETWORKS = ("mobilenet",)
PUBLISHED: Published = {"one crop": {"mobilenet": (70.6, None)}}

RECIPE = replace(
    IMAGENET,
    model="mobilenet",
    augmentation="inception_crop",
    augmentation_options={"smallest_area": 0.25},
    optimizer="rmsprop",
    like="keras",
    optimizer_options={"decay": 0.9, "eps": 1.0, "momentum": 0.9},
    learning_rate=0.045,
    schedule=ScheduleConfig("exponential", unit="epochs", decay_rate=0.94, every=2, staircase=True),
    l2=4e-5,
    l2_pattern="^(?!conv_dw).*kernel$",
    ema_decay=0.9999,
    batch_size=32,
    epochs=100,
)
