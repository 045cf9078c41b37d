"""ZFNet (Zeiler and Fergus: Visualizing and Understanding Convolutional Networks, 2013), Figure 3.

    layer    zfnet                       map     zfnet.xxnet                 map
    image    224x224                     224     224x224                     224
    conv1    96   7x7/2, padding 1       110     96   7x7/2                  109
    pool1    3x3/2, to the edge, norm    55      3x3/2                       54
    conv2    256  5x5/2                  26      256  5x5/2, same            27
    pool2    3x3/2, to the edge, norm    13      3x3/2                       13
    conv3    384  3x3, padding 1         13      384                         13
    conv4    384  3x3, padding 1         13      384                         13
    conv5    256  3x3, padding 1         13      256                         13
    pool5    3x3/2                       6       3x3/2                       6
    fc6      4096, dropout
    fc7      4096, dropout
    fc8      1000                        62,357,608 parameters in both

AlexNet with a finer first layer, since the filters of 11x11 at stride 4 leave out middle frequencies and alias, and
without groups: it is `AlexNet` with other rows. The widths of conv3 to conv5 are AlexNet's; the notes name them as a
change. The paper also tries 512, 1024 and 512 maps there, and networks with layers left out (Table 3): give other
`convolutions` or `dense`.

Deviations of `zfnet`: the figure gives sizes, not padding. From 224 pixels its 110, 55, 26 and 13 come out with a
border of 1 at conv1 and pools whose last window reaches beyond the edge. Contrast normalization across maps stands
after the pools, as in the figure, with AlexNet's constants, since the paper has no formula. Dropout scales while
training. The filters of conv1 are not renormalized to a root mean square of .1 at most, which is a matter of
training.
`zfnet.xxnet` is the notes' XXNet: no normalization, no padding but "same" at conv2.
"""

from typing import Literal

from xxnet_jax.models.alexnet import AlexNet, Convolution
from xxnet_jax.models.layers import PoolPadding
from xxnet_jax.models.registry import ModelInfo, Variants, register_variants

AS_IN_ALEXNET = (
    Convolution(384, 3, padding=1),
    Convolution(384, 3, padding=1),
    Convolution(256, 3, padding=1, pool=True),
)
PAPER = (
    Convolution(96, 7, stride=2, padding=1, norm=True, pool=True),
    Convolution(256, 5, stride=2, norm=True, pool=True),
    *AS_IN_ALEXNET,
)
XXNET = (
    Convolution(96, 7, stride=2, pool=True),
    Convolution(256, 5, stride=2, padding="SAME", pool=True),
    *AS_IN_ALEXNET,
)


class ZFNet(AlexNet):
    """ZFNet; see the table above. Knobs and errors are those of `AlexNet`."""

    convolutions: tuple[Convolution, ...] = PAPER
    order: tuple[Literal["norm", "pool"], ...] = ("pool", "norm")
    pool_padding: PoolPadding = "CEIL"
    initialization: str = "normal"


_ZFNET = ModelInfo(
    name="zfnet",
    paper="Zeiler and Fergus, Visualizing and Understanding Convolutional Networks",
    year=2013,
    url="https://arxiv.org/abs/1311.2901",
    input_shape=(224, 224, 3),
    num_classes=1000,
    parameters=62_357_608,
    total_parameters=62_357_608,
    preprocessing="caffe",
    deviations=(
        "padding of 1 at conv1 and pooling to the edge of the map, so that the figure's sizes come out",
        "contrast normalization across maps is AlexNet's local response normalization: the paper has no formula",
        "dropout scales while training (classic_dropout=True: at test time)",
        "the mean colour is subtracted, not the mean image, and colours are in the order BGR",
    ),
)

# name: (facts that differ from zfnet, knobs)
VARIANTS: Variants = {
    "zfnet": ({}, {}),
    "zfnet.xxnet": (
        {
            "preprocessing": "unit",
            "deviations": (
                "no contrast normalization, other padding (maps of 109, 54 and 27 pixels), uniform initial kernels: "
                "the notes' XXNet",
            ),
        },
        {"convolutions": XXNET, "pool_padding": "VALID", "initialization": "uniform"},
    ),
}

register_variants(_ZFNET, ZFNet, VARIANTS)
