"""LeNet-5 on scikit-learn's 1,797 handwritten digits, resized to 32x32."""

from xxnet_jax.training import Recipe

RECIPE = Recipe(
    model="lenet5",
    model_options={"activation": "relu", "subsampling": "max"},
    data="digits",
    optimizer="adam",
    label_smoothing=0.1,
    ema_decay=0.99,
    batch_size=32,
    epochs=40,
)
