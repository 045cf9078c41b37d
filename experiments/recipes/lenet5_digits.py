"""LeNet-5 with ReLU and max pooling on scikit-learn's 1,797 handwritten digits.

    python experiments/train.py lenet5_digits

Takes 15 s on 2 CPU cores. Reaches 98.89 % on test (360 images, read once) at seed 0; 97.8 to 98.9 % at other seeds.
The rate is Adam's own, 1e-3; each other optimizer reaches 95 % and more at its own rate, with nothing else changed.

The 8x8 digits are enlarged to 24x24 and padded to the network's 32x32, for the reason that the paper has for its
margin: strokes at the border come into the centre of some receptive fields. With 1,149 training images, tanh and
average pooling end at 97 %; label smoothing and averaged parameters each give some tenths.
"""

from xxnet_jax.training import Recipe

RECIPE = Recipe(
    model="lenet5",
    model_options={"activation": "relu", "subsampling": "max"},
    data="digits?side=24",
    fit="pad",
    optimizer="adam",
    label_smoothing=0.1,
    ema_decay=0.99,
    batch_size=32,
    epochs=40,
)
