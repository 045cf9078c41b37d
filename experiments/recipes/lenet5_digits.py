"""LeNet-5 on scikit-learn's 1,797 handwritten digits, resized to 32x32."""

from xxnet_jax.training import Recipe

RECIPE = Recipe(model="lenet5", data="digits", optimizer="adam", batch_size=32, epochs=60)
