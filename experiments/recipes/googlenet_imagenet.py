"""GoogLeNet on ImageNet: Szegedy et al., Going Deeper with Convolutions, 2015, sections 5 and 6.

    python experiments/train.py googlenet_imagenet                        # tfds:imagenet2012
    python experiments/train.py googlenet_imagenet --data folder:FOLDER

- The paper: momentum .9, the rate down by 4 % every 8 epochs, an average of the parameters for inference, losses of the
  auxiliary heads times .3, dropout of 70 % in them and of 40 % before the logits; windows of 8 to 100 % of the area
  with ratios of 3/4 to 4/3, and photometric distortions.
- Caffe's replication (bvlc_googlenet, solver.prototxt), as the paper prints neither: rate .01, batches of 32, weight
  decay 2e-4 on kernels, 10,000,000 steps at most. Its 320,000 steps for one factor .96 are 8 epochs (320,000 x 32 /
  1,281,167 = 8.0). Biases have twice the rate there. Glorot's uniform, as in Caffe.

Deviations: one process in place of asynchronous ones; an exponential average in place of Polyak's, whose beginning the
paper does not say.

Takes a week and more on a GPU; only its first steps are run, by a test. Reaches, in the paper (Table 3), 89.93 % top-5
on validation with one crop, 92.11 % with 144: errors of 10.07 and 7.89 %. Caffe's replication has 68.7 % top-1 and
88.9 % top-5 with one crop.
"""

from dataclasses import replace

from recipes import IMAGENET, Published
from xxnet_jax.optimizers import ScheduleConfig

NETWORKS = ("googlenet",)
PUBLISHED: Published = {"Caffe, one crop": {"googlenet": (68.7, 88.9)}}

RECIPE = replace(
    IMAGENET,
    model="googlenet",
    augmentation="inception",
    auxiliary_weight=0.3,
    optimizer="momentum",
    learning_rate=0.01,
    rate_factors={"bias$": 2.0},
    schedule=ScheduleConfig("googlenet"),
    l2=2e-4,
    ema_decay=0.9999,
    batch_size=32,
    steps=10_000_000,
)
