"""NASNet-A on ImageNet: Zoph, Vasudevan, Shlens, Le, Learning Transferable Architectures for Scalable Image
Recognition, 2017, appendix A, with the numbers of TF-Slim's nasnet.py, which has those that the paper leaves out.

    python experiments/train.py nasnet_imagenet                        # nasnet_mobile.slim; tfds:imagenet2012
    python experiments/train.py nasnet_imagenet --data folder:FOLDER
    python experiments/train.py nasnet_imagenet --model nasnet_large.slim --learning-rate .015 --batch-size 16 --l2 5e-5

- RMSProp with decay .9 and epsilon 1.0, gradients clipped to a norm of 10, an average of the parameters, label
  smoothing .1, .4 for the loss of the auxiliary head, dropout of 50 % before the logits, drop path of up to 30 % in the
  large network.
- Rate .04 for each of 50 replicas of 32 images (2.0 for the 1,600), .015 for each of 100 replicas of 16 in the large
  one; times .97 every 2.4 epochs. 250,000 steps of 1,600 are 312 epochs. L2 of 4e-5 on kernels (large: 5e-5).
- Momentum .9 in RMSProp and the average's decay .9999 as in TF-Slim's Inceptions; windows and colours, too.

`nasnet_mobile` and `nasnet_large` are Keras's: without head, dropout and drop path.

Deviations: one replica; the rate of drop path does not grow with the steps.

Takes months on a GPU; only its first steps are run, by a test. Reaches, in the paper (Tables 2 and 3, one crop), 74.0 %
top-1 and 91.6 % top-5; the large one, at 331, 82.7 and 96.2 %.
"""

from dataclasses import replace

from recipes import IMAGENET, Published
from xxnet_jax.optimizers import ScheduleConfig

NETWORKS = ("nasnet_mobile", "nasnet_large", "nasnet_mobile.slim", "nasnet_large.slim")
PUBLISHED: Published = {"one crop": {"nasnet_mobile.slim": (74.0, 91.6), "nasnet_large.slim": (82.7, 96.2)}}

RECIPE = replace(
    IMAGENET,
    model="nasnet_mobile.slim",
    augmentation="inception",
    auxiliary_weight=0.4,
    optimizer="rmsprop",
    like="keras",
    optimizer_options={"decay": 0.9, "eps": 1.0, "momentum": 0.9},
    learning_rate=0.04,
    schedule=ScheduleConfig("exponential", unit="epochs", decay_rate=0.97, every=2.4, staircase=True),
    clip_norm=10.0,
    label_smoothing=0.1,
    l2=4e-5,
    ema_decay=0.9999,
    batch_size=32,
    epochs=312,
)
