"""VGG (Simonyan and Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, 2015), Table 1.

              A       A-LRN       B       C               D           E
    block1    3       3, LRN      3 3     3 3             3 3         3 3           64 features
    block2    3       3           3 3     3 3             3 3         3 3           128
    block3    3 3     3 3         3 3     3 3 1           3 3 3       3 3 3 3       256
    block4    3 3     3 3         3 3     3 3 1           3 3 3       3 3 3 3       512
    block5    3 3     3 3         3 3     3 3 1           3 3 3       3 3 3 3       512
    name      vgg11   vgg11_lrn   vgg13   vgg16_1x1       vgg16       vgg19

Numbers are sizes of kernels. Each convolution keeps the size of the map and is followed by a ReLU, each block by 2x2
max pooling; then come dense layers of 4096, 4096 and num_classes, the first two with dropout .5.

The dense layers are also convolutions (section 3.2): on images larger than 224 they see every 7x7 window of the last
map, and the scores are their mean, or with `spatial` the map of scores. Tags and further names:

- `*_bn`: batch normalization after each convolution, as torchvision has it; `.torchvision` pools any image to 7x7.
- `vgg13.shallow`: one 5x5 in place of each pair of 3x3 (section 2.3 of the paper: 7 % worse).
- `vgg16.gap`: global average pooling in place of the hidden dense layers.
- `vgg16.localization` and `.localization_per_class`: 4 outputs, or 4 for each of 1000 classes (appendix A).
- `.slim`: TF-Slim's names of the activations. `vgg16.xxnet`: the notes' XXNet, whose second block begins with a 3x2.
"""

from typing import Any, Literal

import flax.linen as nn
import jax
from flax.linen.initializers import glorot_uniform, he_normal, normal, truncated_normal

from xxnet_jax.errors import InvalidArgument
from xxnet_jax.models.layers import (
    ConvUnit,
    DenseOnMap,
    Initializer,
    Network,
    Norm,
    PoolPadding,
    Stages,
    adaptive_avg_pool,
    dropout,
    initializer,
    keras_uniform,
    local_response_norm,
    max_pool,
)
from xxnet_jax.models.registry import ModelInfo, Variants, register_variants

Kernel = tuple[int, int]


INITIALIZERS: dict[str, Initializer] = {
    "glorot_uniform": glorot_uniform(),  # Keras, TF-Slim; the paper's alternative
    "paper": normal(0.1),  # variance 1e-2, for configuration A
    "he_normal": he_normal(),
    "normal": normal(0.01),  # AlexNet's
    "truncated_normal": truncated_normal(0.1),  # the notes' TensorFlow chapters
    "uniform": keras_uniform,  # the notes' XXNet
}


def kernels(*blocks: str) -> tuple[tuple[Kernel, ...], ...]:
    """Sizes of kernels by block: "3 3 1" is ((3, 3), (3, 3), (1, 1)), "3x2" is (3, 2)."""

    def kernel(word: str) -> Kernel:
        height, _, width = word.partition("x")
        return int(height), int(width or height)

    return tuple(tuple(kernel(word) for word in block.split()) for block in blocks)


class VGG(Network):
    """VGG; see the table above.

    Attributes:
        blocks: sizes of the kernels of each block.
        features_of_blocks: of each block.
        lrn: local response normalization after the first convolution.
        norm: batch normalization after each convolution, or None.
        head: "dense", or "gap" for global average pooling and one dense layer.
        dense: units of the hidden dense layers.
        window: side of the feature map that the first dense layer sees.
        adaptive_pool: pool any feature map to `window` x `window` pixels first.
        pool_padding: "CEIL" keeps the last row and column of a map of odd size, as Caffe does.
        spatial: return the scores of all windows, [batch, rows, columns, num_classes], not their mean.
        dropout_rate: after each hidden dense layer.
        initialization: a name of `INITIALIZERS`.
        names: "keras" (block1_conv1, block1_pool, fc1, predictions) or "slim" (conv1/conv1_1, pool1, fc6, fc8).

    Raises:
        ValueError: the images are smaller than 224x224 with the dense head and a window of 7, than 32x32 else.
    """

    blocks: tuple[tuple[Kernel, ...], ...] = kernels("3 3", "3 3", "3 3 3", "3 3 3", "3 3 3")
    features_of_blocks: tuple[int, ...] = (64, 128, 256, 512, 512)
    lrn: bool = False
    norm: Norm | None = None
    head: Literal["dense", "gap"] = "dense"
    dense: tuple[int, ...] = (4096, 4096)
    window: int = 7
    adaptive_pool: bool = False
    pool_padding: PoolPadding = "VALID"
    spatial: bool = False
    dropout_rate: float = 0.5
    initialization: str = "glorot_uniform"
    names: Literal["keras", "slim"] = "keras"

    def features(self, x: jax.Array, *, train: bool) -> Stages:
        for block, (sizes, features) in enumerate(zip(self.blocks, self.features_of_blocks, strict=True), start=1):
            for number, size in enumerate(sizes, start=1):
                unit = ConvUnit(
                    features,
                    size,
                    norm=self.norm,
                    use_bias=True,
                    kernel_init=self.kernel_init,
                    **self.dtypes,
                    name=f"block{block}_conv{number}",
                )
                yield self._name(f"block{block}_conv{number}"), (x := unit(x, train=train))
                if self.lrn and (block, number) == (1, 1):
                    yield "block1_lrn", (x := local_response_norm(x, radius=2, bias=2.0, alpha=1e-4, beta=0.75))
            yield self._name(f"block{block}_pool"), (x := max_pool(x, 2, padding=self.pool_padding))

    def classifier(self, x: jax.Array, *, train: bool) -> Stages:
        if self.head == "gap":
            x = x if self.spatial else x.mean(axis=(1, 2), keepdims=True)
        else:
            if self.adaptive_pool:
                x = adaptive_avg_pool(x, self.window, self.window)
            rows, columns = x.shape[1:3]
            if min(rows, columns) < self.window:
                side = self.window * 2 ** len(self.blocks)
                raise InvalidArgument(
                    f"the dense layers need images of at least {side}x{side}; for smaller ones give a smaller window "
                    "(1 for 32x32), head='gap' or num_classes=None"
                )
            for number, units in enumerate(self.dense, start=1):
                size = self.window if number == 1 else 1
                layer = DenseOnMap(units, size, kernel_init=self.kernel_init, **self.dtypes, name=f"fc{number}")
                yield self._name(f"fc{number}"), (x := nn.relu(layer(x)))
                x = dropout(x, self.dropout_rate, train=train)
        assert self.num_classes is not None
        layer = DenseOnMap(self.num_classes, 1, kernel_init=self.kernel_init, **self.dtypes, name="predictions")
        scores = layer(x)
        yield self._name("predictions"), scores if self.spatial else scores.mean(axis=(1, 2))

    @property
    def kernel_init(self) -> Initializer:
        return initializer(self.initialization, INITIALIZERS)

    def _name(self, keras: str) -> str:
        if self.names == "keras":
            return keras
        renamed = {"fc1": "fc6", "fc2": "fc7", "predictions": "fc8"}
        if keras in renamed:
            return renamed[keras]
        block, layer = keras.removeprefix("block").split("_")
        return f"pool{block}" if layer == "pool" else f"conv{block}/conv{block}_{layer.removeprefix('conv')}"

    def smallest_input(self) -> int:
        return 2 ** len(self.blocks)


_VGG = ModelInfo(
    name="vgg16",
    paper="Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition",
    year=2014,
    url="https://arxiv.org/abs/1409.1556",
    input_shape=(224, 224, 3),
    num_classes=1000,
    parameters=138_357_544,
    total_parameters=138_357_544,
    preprocessing="caffe",
)
A = kernels("3", "3", "3 3", "3 3", "3 3")
B = kernels("3 3", "3 3", "3 3", "3 3", "3 3")
C = kernels("3 3", "3 3", "3 3 1", "3 3 1", "3 3 1")
D = kernels("3 3", "3 3", "3 3 3", "3 3 3", "3 3 3")
E = kernels("3 3", "3 3", "3 3 3 3", "3 3 3 3", "3 3 3 3")
_TORCH: dict[str, Any] = {"preprocessing": "torch"}
_BN: dict[str, Any] = {"norm": Norm(momentum=0.9, epsilon=1e-5), "adaptive_pool": True, "initialization": "he_normal"}


def _with_norm(parameters: int, channels: int, note: str) -> dict[str, Any]:
    """Facts of a twin with batch normalization of so many channels in all."""
    return {
        **_TORCH,
        "parameters": parameters + 2 * channels,
        "total_parameters": parameters + 4 * channels,
        "deviations": (f"batch normalization, which the paper does not have: {note}",),
    }


# name: (facts that differ from vgg16, knobs)
VARIANTS: Variants = {
    "vgg11": ({"parameters": 132_863_336}, {"blocks": A}),
    "vgg11_lrn": ({"parameters": 132_863_336}, {"blocks": A, "lrn": True}),
    "vgg13": ({"parameters": 133_047_848}, {"blocks": B}),
    "vgg16_1x1": ({"parameters": 133_638_952}, {"blocks": C}),
    "vgg16": ({}, {"blocks": D}),
    "vgg19": ({"parameters": 143_667_240}, {"blocks": E}),
    "vgg11_bn": (_with_norm(132_863_336, 2_752, "torchvision"), {"blocks": A, **_BN}),
    "vgg13_bn": (_with_norm(133_047_848, 2_944, "torchvision"), {"blocks": B, **_BN}),
    "vgg16_bn": (_with_norm(138_357_544, 4_224, "torchvision"), {"blocks": D, **_BN}),
    "vgg19_bn": (_with_norm(143_667_240, 5_504, "torchvision"), {"blocks": E, **_BN}),
    "vgg11.torchvision": ({"parameters": 132_863_336, **_TORCH}, {"blocks": A, "adaptive_pool": True}),
    "vgg13.torchvision": ({"parameters": 133_047_848, **_TORCH}, {"blocks": B, "adaptive_pool": True}),
    "vgg16.torchvision": (_TORCH, {"blocks": D, "adaptive_pool": True}),
    "vgg19.torchvision": ({"parameters": 143_667_240, **_TORCH}, {"blocks": E, "adaptive_pool": True}),
    "vgg11.slim": ({"parameters": 132_863_336}, {"blocks": A, "names": "slim"}),
    "vgg16.slim": ({}, {"blocks": D, "names": "slim"}),
    "vgg19.slim": ({"parameters": 143_667_240}, {"blocks": E, "names": "slim"}),
    "vgg13.shallow": ({"parameters": 134_503_528}, {"blocks": kernels(*["5"] * 5)}),
    "vgg16.gap": (
        {"parameters": 15_227_688, "deviations": ("global average pooling in place of the hidden dense layers",)},
        {"blocks": D, "head": "gap"},
    ),
    "vgg16.localization": ({"parameters": 134_276_932, "num_classes": 4}, {"blocks": D}),
    "vgg16.localization_per_class": ({"parameters": 150_648_544, "num_classes": 4_000}, {"blocks": D}),
    "vgg16.xxnet": (
        {
            "parameters": 138_332_968,
            "preprocessing": "unit",
            "deviations": ("the second block begins with a 3x2 kernel: a slip of the notes",),
        },
        {"blocks": kernels("3 3", "3x2 3", "3 3 3", "3 3 3", "3 3 3"), "initialization": "uniform"},
    ),
}

register_variants(_VGG, VGG, VARIANTS)
