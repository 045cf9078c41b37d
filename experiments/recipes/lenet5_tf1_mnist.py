"""The notes' MNIST chapter."""

from xxnet_jax.optimizers import ScheduleConfig
from xxnet_jax.training import Recipe

RECIPE = Recipe(
    model="lenet5.tf1",
    data="tfds:mnist",
    train_split="train[:-5000]",
    validation_split="train[-5000:]",
    optimizer="sgd",
    learning_rate=0.01,
    schedule=ScheduleConfig(name="exponential", decay_rate=0.99, decay_steps=550),
    batch_size=100,
    steps=30_000,
    l2=1e-4,
    l2_pattern="fc[12]/kernel$",
    ema_decay=0.99,
    evaluate_every=1000,
    log_every=100,
)
