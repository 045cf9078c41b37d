"""The MNIST chapter of the notes: a wider LeNet with dropout, plain gradient descent, and averaged parameters.

    python experiments/train.py lenet5_tf1_mnist --data idx:FOLDER     # the four files of MNIST
    python experiments/train.py lenet5_tf1_mnist                       # tfds:mnist, prepared by prepare_data.py

Takes 35 minutes on 2 CPU cores (70 ms a step). Reaches 99.03 % on test (99.30 % on validation) with the averaged
parameters after its 30,000 steps at seed 0.

As the notes have it: batch 100, rate .01 * .99^(step / 550), an average with decay min(.99, (1 + n) / (10 + n)), L2 of
1e-4 on the dense kernels only. `--optimizer adam` and so on take the optimizer's own rate, or --learning-rate.
"""

from xxnet_jax.optimizers import ScheduleConfig
from xxnet_jax.training import Recipe

RECIPE = Recipe(
    model="lenet5.tf1",
    data="tfds:mnist",
    train_split="train[:-5000]",
    validation_split="train[-5000:]",
    optimizer="sgd",
    learning_rate=0.01,
    schedule=ScheduleConfig(name="exponential", decay_rate=0.99, every=550),
    batch_size=100,
    steps=30_000,
    l2=1e-4,
    l2_pattern="fc[12]/kernel$",
    ema_decay=0.99,
    evaluate_every=1000,
    log_every=100,
)
