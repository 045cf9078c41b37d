"""DeepOBS's 3c3d on CIFAR-10: Schneider, Balles, Hennig, DeepOBS: A Deep Learning Optimizer Benchmark Suite, 2019.

    python experiments/train.py deepobs_3c3d_cifar10 --data folder:FOLDER  # FOLDER/train/CLASS/*, FOLDER/test/CLASS/*
    python experiments/train.py deepobs_3c3d_cifar10                       # tfds:cifar10
    python experiments/train.py deepobs_3c3d_cifar10 --optimizer momentum --learning-rate 3.98e-4 \\
        --optimizer-options momentum .99
    python experiments/train.py deepobs_3c3d_cifar10 --optimizer adam --learning-rate 3.98e-4

Batches of 128, 100 epochs at a constant rate, here SGD's best of 36, L2 of .002 on kernels, Glorot's kernels; each
image standardized. From the suite's code (datasets/cifar10.py): images padded by 2 pixels, cropped, mirrored,
saturation times .5 to 1.5, contrast times .2 to 1.8. It adds up to 63/255 to values of 0 to 255, too, which nobody
sees: left out here.

Takes hours on 2 CPU cores; only its first steps are run, by a test. Reaches, as published (mean of ten seeds), 83.71 %
on test with SGD, 84.41 % with momentum .99, 84.75 % with Adam.
"""

from dataclasses import replace

from recipes import CIFAR10, Published

NETWORKS = ("deepobs_3c3d",)
PUBLISHED: Published = {"CIFAR-10, SGD": {"deepobs_3c3d": (83.71, None)}}

RECIPE = replace(
    CIFAR10,
    model="deepobs_3c3d",
    augmentation="mirror",
    augmentation_options={"shift": 2, "saturation": 0.5, "contrast": 0.8},
    optimizer="sgd",
    learning_rate=0.0631,
    l2=0.002,
    batch_size=128,
    epochs=100,
)
