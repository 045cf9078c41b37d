"""Inception v3 on ImageNet: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, Rethinking the Inception Architecture for
Computer Vision, 2015, sections 7 and 8.

    python experiments/train.py inception_v3_imagenet                        # tfds:imagenet2012
    python experiments/train.py inception_v3_imagenet --data folder:FOLDER

- Section 8: RMSProp with decay .9 and epsilon 1.0, rate .045, times .94 every two epochs, gradients clipped at 2.0,
  batches of 32 on each of 50 machines for 100 epochs, evaluation with a running average of the parameters.
- Section 7: label smoothing .1. Section 4: an auxiliary head with batch normalization.
- TF-Slim's code, where the paper says nothing: momentum .9 in RMSProp, L2 of 4e-5 on kernels, dropout of 20 %, .4 for
  the loss of the head, average with decay .9999. TensorFlow's RMSProp has epsilon inside the root, as Keras's here; its
  mean squares start at 1, here at 0.

Deviations: 50 asynchronous machines become one process with batches of 32; the norm of the whole gradient is clipped.

Takes weeks on a GPU; only its first steps are run, by a test. Reaches, in the paper (Table 3), 78.8 % top-1 and 94.4 %
top-5 with one crop: errors of 21.2 and 5.6 %.
"""

from dataclasses import replace

from recipes import IMAGENET, Published
from xxnet_jax.optimizers import ScheduleConfig

NETWORKS = ("inception_v3",)
PUBLISHED: Published = {"one crop": {"inception_v3": (78.8, 94.4)}}

RECIPE = replace(
    IMAGENET,
    model="inception_v3",
    model_options={"auxiliary_block": "mixed7", "dropout_rate": 0.2},
    augmentation="inception",
    auxiliary_weight=0.4,
    optimizer="rmsprop",
    like="keras",
    optimizer_options={"decay": 0.9, "eps": 1.0, "momentum": 0.9},
    learning_rate=0.045,
    schedule=ScheduleConfig("exponential", unit="epochs", decay_rate=0.94, every=2, staircase=True),
    clip_norm=2.0,
    label_smoothing=0.1,
    l2=4e-5,
    ema_decay=0.9999,
    batch_size=32,
    epochs=100,
)
