"""AlexNet on ImageNet: Krizhevsky, Sutskever, Hinton, ImageNet Classification with Deep Convolutional Neural Networks,
2012.

    python experiments/train.py alexnet_imagenet                        # tfds:imagenet2012
    python experiments/train.py alexnet_imagenet --data folder:FOLDER

- Section 5: batches of 128, momentum .9, weight decay 5e-4 in the gradient, rate .01, divided by 10 when the validation
  error stopped improving, three times; about 90 epochs. Kernels from a normal of deviation .01, biases of conv2, conv4,
  conv5 and the hidden dense layers 1 (the network's own initialization).
- Section 4: windows of the photograph scaled to 256, mirrored, PCA noise of deviation .1; dropout .5 on fc6 and fc7.

Deviations: five epochs without a better validation accuracy decide that it stopped improving, where the authors looked;
windows of 227, the mean colour in place of the mean image.

Takes days on a GPU; only its first steps are run, by a test. Reaches, in the paper, 59.3 % top-1 and 81.8 % top-5 on
validation (Table 2: errors of 40.7 and 18.2 %), as a mean of ten crops: `evaluate.py RUN --protocol ten_crop`.
"""

from dataclasses import replace

from recipes import IMAGENET, Published
from xxnet_jax.optimizers import ScheduleConfig

NETWORKS = ("alexnet",)
PUBLISHED: Published = {"ten crops": {"alexnet": (59.3, 81.8)}}

RECIPE = replace(
    IMAGENET,
    model="alexnet",
    augmentation="alexnet",
    optimizer="momentum",
    learning_rate=0.01,
    schedule=ScheduleConfig("plateau", decay_rate=0.1, max_reductions=3),
    l2=5e-4,
    batch_size=128,
    epochs=90,
)
