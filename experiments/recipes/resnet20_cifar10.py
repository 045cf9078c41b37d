"""ResNet-20 on CIFAR-10, as in section 4.2 of the paper: He, Zhang, Ren, Sun, Deep Residual Learning for Image
Recognition, 2015. Batches of 128, momentum .9 at .1, divided by 10 at 32k and 48k of 64k steps, weight decay 1e-4,
images padded by 4 pixels, cropped and mirrored; 45,000 images to train on, 5,000 to choose the best checkpoint.

    python experiments/train.py resnet20_cifar10 --data folder:FOLDER   # FOLDER/train/CLASS/*.jpg, FOLDER/test/CLASS/*
    python experiments/train.py resnet20_cifar10                        # tfds:cifar10, prepared by prepare_data.py
    python experiments/train.py resnet20_cifar10 --model resnet56       # and the other networks of the table
    python experiments/train.py resnet20_cifar10 --model resnet110 --schedule.warmup 400 --schedule.warmup-rate 0.1
    python experiments/train.py resnet20_cifar10 --preprocessing pixel_mean    # the paper's; standardized by default

With 110 layers the paper trains at .01 until the error on training images is below 80 %, which are some 400 steps, and
then at .1; kernels as in He et al., 2015 (the network's own initialization).

Takes 6 minutes for its first two epochs on 2 CPU cores (`--steps 702`), so 9 hours for all; not run to the end.
Reaches 62.4 % on test after the two at seed 0, on JPEG copies of the images (50.6 and 63.0 % on validation). The paper
has 91.25 % at the end (92.49, 92.83, 93.03, 93.57 with 32, 44, 56, 110 layers), with the mean image subtracted, and
trained on all 50,000 images: `--train-split train --validation-split None`.
"""

from xxnet_jax.optimizers import ScheduleConfig
from xxnet_jax.training import Recipe

NETWORKS = (
    *("resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "resnet1202"),
    *("plain20", "plain32", "plain44", "plain56"),
)
PUBLISHED = {
    "CIFAR-10": {
        "resnet20": (91.25, None),
        "resnet32": (92.49, None),
        "resnet44": (92.83, None),
        "resnet56": (93.03, None),
        "resnet110": (93.57, None),
        "resnet1202": (92.07, None),
    }
}

RECIPE = Recipe(
    model="resnet20",
    data="tfds:cifar10",
    train_split="train[:-5000]",
    validation_split="train[-5000:]",
    augmentation="cifar",
    optimizer="momentum",
    learning_rate=0.1,
    schedule=ScheduleConfig(name="resnet_cifar"),
    l2=1e-4,
    batch_size=128,
    steps=64_000,
)
