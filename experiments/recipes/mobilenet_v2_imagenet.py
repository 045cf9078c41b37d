"""MobileNet v2 on ImageNet: Sandler, Howard, Zhu, Zhmoginov, Chen, MobileNetV2: Inverted Residuals and Linear
Bottlenecks, 2018, section 6.1.

    python experiments/train.py mobilenet_v2_imagenet                             # tfds:imagenet2012
    python experiments/train.py mobilenet_v2_imagenet --data folder:FOLDER
    python experiments/train.py mobilenet_v2_imagenet --model-options alpha 1.4   # their larger network

RMSProp with decay and momentum .9, weight decay 4e-5, rate .045, times .98 every epoch, batches of 96 on each of 16
asynchronous machines. From TF-Slim, where the paper says nothing: epsilon 1.0, dropout of 20 % before the logits, an
average with decay .9999.

Deviations: 16 asynchronous machines become one process; the paper does not say how long it trains: 200 epochs bring the
rate to .045 x .98^200 = 7.9e-4. Inception's windows without changes of colour.

Takes days on a GPU; only its first steps are run, by a test. Reaches, in the paper (Table 4), 72.0 % top-1, and 74.7 %
at alpha 1.4.
"""

from dataclasses import replace

from recipes import IMAGENET, Published
from xxnet_jax.optimizers import ScheduleConfig

NETWORKS = ("mobilenet_v2",)
PUBLISHED: Published = {"one crop": {"mobilenet_v2": (72.0, None)}}

RECIPE = replace(
    IMAGENET,
    model="mobilenet_v2",
    model_options={"dropout_rate": 0.2},
    augmentation="inception_crop",
    optimizer="rmsprop",
    like="keras",
    optimizer_options={"decay": 0.9, "eps": 1.0, "momentum": 0.9},
    learning_rate=0.045,
    schedule=ScheduleConfig("exponential", unit="epochs", decay_rate=0.98, every=1, staircase=True),
    l2=4e-5,
    ema_decay=0.9999,
    batch_size=96,
    epochs=200,
)
