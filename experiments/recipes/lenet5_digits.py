"""LeNet-5 on scikit-learn's 1,797 handwritten digits, resized to 32x32; with ReLU and max pooling.

    python experiments/train.py lenet5_digits

Takes 15 s on 2 CPU cores. Reaches @@DIGITS@@ % on test (360 images, read once) at seed 0. The rate is Adam's own, 1e-3;
every other optimizer reaches 95 % and more at its own default rate, with nothing else changed.

1,149 training images are few: tanh and average pooling, the network's own, end at 97 %; label smoothing and averaged
parameters each give some tenths.
"""

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
