"""Inception v4 and the Inception-ResNets on ImageNet: Szegedy, Ioffe, Vanhoucke, Alemi, Inception-v4, Inception-ResNet
and the Impact of Residual Connections on Learning, 2016, section 4.

    python experiments/train.py inception_v4_imagenet                                 # tfds:imagenet2012
    python experiments/train.py inception_v4_imagenet --data folder:FOLDER
    python experiments/train.py inception_v4_imagenet --model inception_resnet_v2     # or inception_resnet_v1

- Section 4: RMSProp with decay .9 and epsilon 1.0, rate .045, times .94 every two epochs, on 20 machines; evaluation
  with a running average of the parameters. Figures 9 and 15: dropout that keeps .8. Section 3.3: residuals scaled by .1
  to .3 (in the networks).
- As for Inception v3, of which the paper repeats nothing: batches of 32, label smoothing .1, windows and colours; from
  TF-Slim momentum .9, L2 of 4e-5 on kernels, average with decay .9999.

Deviations: 20 asynchronous machines become one process; the paper does not say how long it trains: 160 epochs are
a choice. `inception_v4.slim` has an auxiliary head, which the paper does not draw.

Takes weeks on a GPU; only its first steps are run, by a test. Reaches, in the paper (Table 2, one crop), 80.0, 78.7 and
80.1 % top-1, 95.0, 94.5 and 95.1 % top-5 on validation without the images that the organizers excluded.
"""

from dataclasses import replace

from recipes import IMAGENET, Published
from xxnet_jax.optimizers import ScheduleConfig

NETWORKS = ("inception_v4", "inception_resnet_v1", "inception_resnet_v2")
PUBLISHED: Published = {
    "one crop": {
        "inception_v4": (80.0, 95.0),
        "inception_resnet_v1": (78.7, 94.5),
        "inception_resnet_v2": (80.1, 95.1),
    }
}

RECIPE = replace(
    IMAGENET,
    model="inception_v4",
    model_options={"dropout_rate": 0.2},
    augmentation="inception",
    optimizer="rmsprop",
    like="keras",
    optimizer_options={"decay": 0.9, "eps": 1.0, "momentum": 0.9},
    learning_rate=0.045,
    schedule=ScheduleConfig("exponential", unit="epochs", decay_rate=0.94, every=2, staircase=True),
    label_smoothing=0.1,
    l2=4e-5,
    ema_decay=0.9999,
    batch_size=32,
    epochs=160,
)
