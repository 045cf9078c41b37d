"""LeNet-5 on MNIST."""

from xxnet_jax.training import Recipe

RECIPE = Recipe(
    model="lenet5",
    data="tfds:mnist",
    fit="pad",
    train_split="train[:-5000]",
    validation_split="train[-5000:]",
    optimizer="adam",
    batch_size=128,
    epochs=12,
)
