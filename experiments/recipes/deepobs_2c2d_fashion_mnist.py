"""DeepOBS's 2c2d on Fashion-MNIST: Schneider, Balles, Hennig, DeepOBS: A Deep Learning Optimizer Benchmark Suite, 2019.

    python experiments/train.py deepobs_2c2d_fashion_mnist --data idx:FOLDER   # the four files of Fashion-MNIST
    python experiments/train.py deepobs_2c2d_fashion_mnist                     # tfds:fashion_mnist
    python experiments/train.py deepobs_2c2d_fashion_mnist --optimizer momentum --learning-rate 2.51e-3 \\
        --optimizer-options momentum .99
    python experiments/train.py deepobs_2c2d_fashion_mnist --optimizer adam --learning-rate 2.51e-4

Batches of 128, 100 epochs at a constant rate, here SGD's best of 36; no regularization, no augmentation, values divided
by 255. Kernels from a truncated normal of deviation .05, biases of .05 (the network's own initialization).

Takes hours on 2 CPU cores; only its first steps are run, by a test. Reaches, as published (mean of ten seeds), 92.27 %
on test with SGD, 92.14 % with momentum .99, 92.34 % with Adam.
"""

from xxnet_jax.training import Recipe

NETWORKS = ("deepobs_2c2d",)
PUBLISHED = {"Fashion-MNIST, SGD": {"deepobs_2c2d": (92.27, None)}}

RECIPE = Recipe(
    model="deepobs_2c2d",
    data="tfds:fashion_mnist",
    train_split="train[:-5000]",
    validation_split="train[-5000:]",
    preprocessing="unit",
    optimizer="sgd",
    learning_rate=0.158,
    batch_size=128,
    epochs=100,
)
