"""LeNet-5 on MNIST."""

from xxnet_jax.optimizers import ScheduleConfig
from xxnet_jax.training import Recipe

RECIPE = Recipe(
    model="lenet5",
    data="tfds:mnist",
    fit="pad",
    train_split="train[:-5000]",
    validation_split="train[-5000:]",
    optimizer="adam",
    learning_rate=2e-3,
    schedule=ScheduleConfig(name="cosine"),
    ema_decay=0.999,
    batch_size=128,
    epochs=12,
)
