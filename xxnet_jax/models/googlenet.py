"""GoogLeNet (Szegedy et al.: Going Deeper with Convolutions, 2015, arXiv 1409.4842), Table 1. Also called Inception v1.

    layer           map      1x1   3x3: reduce, out   5x5: reduce, out   pool: projection   out    parameters
    conv1 7x7/2     112x112                                                                 64     9,472
    pool1 3x3/2     56x56                                                                   64
    conv2_reduce    56x56                                                                   64     4,160
    conv2 3x3       56x56                                                                   192    110,784
    pool2 3x3/2     28x28                                                                   192
    inception_3a    28x28    64    96   128           16   32            32                 256    163,696
    inception_3b    28x28    128   128  192           32   96            64                 480    388,736
    pool3 3x3/2     14x14                                                                   480
    inception_4a    14x14    192   96   208           16   48            64                 512    376,176    aux1
    inception_4b    14x14    160   112  224           24   64            64                 512    449,160
    inception_4c    14x14    128   128  256           24   64            64                 512    510,104
    inception_4d    14x14    112   144  288           32   64            64                 528    605,376    aux2
    inception_4e    14x14    256   160  320           32   128           128                832    868,352
    pool4 3x3/2     7x7                                                                     832
    inception_5a    7x7      256   160  320           32   128           128                832    1,043,456
    inception_5b    7x7      384   192  384           48   128           128                1024   1,444,080
    global_pool     1x1                                                                     1024
    logits          -                                                                       1000   1,025,000

A module puts side by side a 1x1 convolution, a 3x3 and a 5x5 behind 1x1 reductions, and 3x3 max pooling with stride 1
before a 1x1 projection (Figure 2b; `naive` is 2a, without reductions and projection). All convolutions have a ReLU.
Local response normalization stands after pool1 and before pool2 (Figure 3). Dropout before the logits is 40 %.

An auxiliary head (section 5): 5x5 average pooling with stride 3, a 1x1 convolution of 128, a dense layer of 1024, 70 %
dropout, logits. Heads run while training, and their logits go to the collection `aux_logits`; the paper's loss weighs
them by .3. A map of 14 to 16 pixels is pooled to 4x4; of any other map the means of 4x4 regions that cover it are
taken, so a head has the same parameters, and works, at every size of the images.

Base name `googlenet` is the paper. What the paper leaves open is as in Caffe's replication: symmetric padding of the
stem, pools that keep an incomplete last window, constants of the normalization. Tags:

- `.slim`: batch normalization without scale, 3x3 in place of 5x5, 2x2 in place of the last 3x3 pool, SAME padding, no
  heads, 20 % dropout: TF-Slim's Inception v1 with its names (Mixed_3b is 3a).
- `.torchvision`: batch normalization, 3x3 in place of 5x5, 2x2 in place of the last 3x3 pool, heads on 4x4 regions.
- `.notebook`: the notes' notebook. 48 features for the 5x5 of 4d, projection before the pool, no normalization.
- `.xxnet`: the notes' XXNet. One width for all of a module, 1x1 in place of 5x5, normalization after the ReLU, no
  conv2_reduce, no heads, two dense layers.
"""

import functools
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import glorot_uniform, he_normal, truncated_normal

from xxnet_jax.models.layers import (
    ConvUnit,
    Dtype,
    Initializer,
    Network,
    Norm,
    Padding,
    PoolPadding,
    Stages,
    Unit,
    adaptive_avg_pool,
    auxiliary_pool,
    dropout,
    initializer,
    local_response_norm,
    max_pool,
    mean_of_windows,
    smallest_side,
    windows_along,
)
from xxnet_jax.models.registry import ModelInfo, Variants, register_variants

INITIALIZERS: dict[str, Initializer] = {
    "glorot_uniform": glorot_uniform(),  # Caffe, Keras
    "truncated_normal": truncated_normal(0.01),  # TF-Slim's convolutions, torchvision
    "he_normal": he_normal(),  # TF-Slim's logits
}


class Widths(NamedTuple):
    """A row of Table 1: features of the convolutions of a module."""

    one: int
    three_reduce: int
    three: int
    five_reduce: int
    five: int
    projection: int


TABLE_1 = (
    (Widths(64, 96, 128, 16, 32, 32), Widths(128, 128, 192, 32, 96, 64)),
    (
        Widths(192, 96, 208, 16, 48, 64),
        Widths(160, 112, 224, 24, 64, 64),
        Widths(128, 128, 256, 24, 64, 64),
        Widths(112, 144, 288, 32, 64, 64),
        Widths(256, 160, 320, 32, 128, 128),
    ),
    (Widths(256, 160, 320, 32, 128, 128), Widths(384, 192, 384, 48, 128, 128)),
)
NOTEBOOK = (TABLE_1[0], (*TABLE_1[1][:3], TABLE_1[1][3]._replace(five=48), TABLE_1[1][4]), TABLE_1[2])
XXNET = tuple(tuple(Widths(*[f] * 6) for f in stage) for stage in ((64, 120), (128, 128, 128, 132, 208), (208, 256)))

# Names of the endpoints: the paper's, then others for the same layers.
_LAYERS = """
    conv1 pool1 conv2_reduce conv2 pool2 inception_3a inception_3b pool3
    inception_4a inception_4b inception_4c inception_4d inception_4e pool4 inception_5a inception_5b global_pool logits
"""
_SLIM = """
    Conv2d_1a_7x7 MaxPool_2a_3x3 Conv2d_2b_1x1 Conv2d_2c_3x3 MaxPool_3a_3x3 Mixed_3b Mixed_3c MaxPool_4a_3x3
    Mixed_4b Mixed_4c Mixed_4d Mixed_4e Mixed_4f MaxPool_5a_2x2 Mixed_5b Mixed_5c global_pool Logits
"""
_TORCHVISION = """
    conv1 maxpool1 conv2 conv3 maxpool2 inception3a inception3b maxpool3
    inception4a inception4b inception4c inception4d inception4e maxpool4 inception5a inception5b avgpool fc
"""
NAMES: dict[str, dict[str, str]] = {
    "paper": {},
    "slim": dict(zip(_LAYERS.split(), _SLIM.split(), strict=True)),
    "torchvision": dict(zip(_LAYERS.split(), _TORCHVISION.split(), strict=True)),
}


class GoogLeNet(Network):
    """GoogLeNet; see the table above.

    Attributes:
        stages: widths of the modules at each resolution; a max pool stands between two stages.
        naive: modules without the 1x1 reductions and the projection (Figure 2a).
        five: size of the kernel in the branch that the paper calls 5x5.
        project_first: modules project before they pool, not after.
        stem_reduction: features of conv2_reduce, or None for no such layer.
        stem_padding, stem_stride: of conv1; stride 1 for small images.
        stem_pool: whether there is pool1; none for small images.
        pool_padding: of the pools with stride 2; "CEIL" keeps an incomplete last window.
        last_pool: window of pool4.
        lrn: local response normalization after pool1 and before pool2.
        norm: batch normalization of each convolution, or None.
        norm_last: normalization stands after the ReLU, and convolutions keep their biases.
        hidden: units of dense layers with a ReLU before the logits.
        dropout_rate: before the dense layers.
        auxiliary_heads: modules that have one; none do without logits (`num_classes=None` or a `final_endpoint`).
        auxiliary_regions: heads always pool 4x4 regions, as torchvision does.
        auxiliary_dropout_rate: in the heads.
        spatial: return the scores of every `window` x `window` pixels of the last map, [batch, rows, columns,
            num_classes]; of the whole map where it is smaller.
        window: see `spatial`.
        initialization: a name of `INITIALIZERS`.
        logits_initialization: the same for the last layer.
        names: of the endpoints, see `NAMES`.

    Raises:
        ValueError: the images are smaller than 31x31 with pools that are padded by "CEIL" (15x15 if the last is 2x2).
    """

    stages: tuple[tuple[Widths, ...], ...] = TABLE_1
    naive: bool = False
    five: int = 5
    project_first: bool = False
    stem_reduction: int | None = 64
    stem_padding: Padding = ((3, 3), (3, 3))
    stem_stride: int = 2
    stem_pool: bool = True
    pool_padding: PoolPadding = "CEIL"
    last_pool: int = 3
    lrn: bool = True
    norm: Norm | None = None
    norm_last: bool = False
    hidden: tuple[int, ...] = ()
    dropout_rate: float = 0.4
    auxiliary_heads: tuple[str, ...] = ("inception_4a", "inception_4d")
    auxiliary_regions: bool = False
    auxiliary_dropout_rate: float = 0.7
    spatial: bool = False
    window: int = 7
    initialization: str = "glorot_uniform"
    logits_initialization: str = "glorot_uniform"
    names: Literal["paper", "slim", "torchvision"] = "paper"

    def features(self, x: jax.Array, *, train: bool) -> Stages:
        strides = (self.stem_stride, self.stem_stride)
        x = self.unit(64, (7, 7), strides, self.stem_padding, name="conv1")(x, train=train)
        yield self._name("conv1"), x
        if self.stem_pool:
            yield self._name("pool1"), (x := max_pool(x, 3, 2, self.pool_padding))
        if self.lrn:
            yield "norm1", (x := caffe_lrn(x))
        if self.stem_reduction is not None:
            x = self.unit(self.stem_reduction, (1, 1), name="conv2_reduce")(x, train=train)
            yield self._name("conv2_reduce"), x
        yield self._name("conv2"), (x := self.unit(192, (3, 3), name="conv2")(x, train=train))
        if self.lrn:
            yield "norm2", (x := caffe_lrn(x))
        yield self._name("pool2"), (x := max_pool(x, 3, 2, self.pool_padding))
        for number, stage in enumerate(self.stages, start=3):
            for letter, widths in zip("abcdefghijklmnopqrstuvwxyz", stage, strict=False):
                name = f"inception_{number}{letter}"
                module = Inception(Widths(*widths), self.unit, self.five, self.naive, self.project_first, name=name)
                yield self._name(name), (x := module(x, train=train))
                self._auxiliary_head(name, x, train=train)
            if number < len(self.stages) + 2:
                window = self.last_pool if number == len(self.stages) + 1 else 3
                yield self._name(f"pool{number}"), (x := max_pool(x, window, 2, self.pool_padding))

    def classifier(self, x: jax.Array, *, train: bool) -> Stages:
        x = mean_of_windows(x, self.window if self.spatial else None)
        yield self._name("global_pool"), x
        x = dropout(x, self.dropout_rate, train=train)
        kernel_init = initializer(self.initialization, INITIALIZERS)
        for number, units in enumerate(self.hidden, start=1):
            layer = nn.Dense(units, kernel_init=kernel_init, **self.dtypes, name=f"dense{number}")
            yield f"dense{number}", (x := nn.relu(layer(x)))
        assert self.num_classes is not None
        kernel_init = initializer(self.logits_initialization, INITIALIZERS)
        yield self._name("logits"), nn.Dense(self.num_classes, kernel_init=kernel_init, **self.dtypes, name="logits")(x)

    @property
    def unit(self) -> Unit:
        """A convolution of this network, less its features, size and name."""
        order = "conv activation norm" if self.norm_last else "conv norm activation"
        kernel_init = initializer(self.initialization, INITIALIZERS)
        return functools.partial(ConvUnit, norm=self.norm, order=order, kernel_init=kernel_init, **self.dtypes)

    def _auxiliary_head(self, module: str, x: jax.Array, *, train: bool) -> None:
        if module not in self.auxiliary_heads or not self.runs_auxiliary_heads(train=train):
            return
        name = f"aux{self.auxiliary_heads.index(module) + 1}"
        assert self.num_classes is not None
        head = AuxiliaryHead(
            self.num_classes,
            self.unit,
            self.auxiliary_regions,
            self.auxiliary_dropout_rate,
            initializer(self.initialization, INITIALIZERS),
            **self.dtypes,
            name=name,
        )
        self.auxiliary(name, head(x, train=train))

    def _name(self, paper: str) -> str:
        return NAMES[self.names].get(paper, paper)

    def smallest_input(self) -> int:
        windows = (*(3,) * self.stem_pool, 3, *[3] * (len(self.stages) - 2), self.last_pool)

        def last_map(side: int) -> int:
            side = -(-side // self.stem_stride)  # conv1
            for window in windows:
                side = windows_along(side, window, 2, self.pool_padding)
            return side

        return smallest_side(last_map)


class Inception(nn.Module):
    """The module of Figure 2: four branches on the same map, their outputs one after the other in the channels.

    Attributes:
        widths: features of its convolutions.
        unit: makes a convolution of so many features, of a size, with a name.
        five: size of the kernel of the third branch.
        naive: without 1x1 reductions and projection: the pool hands on all channels.
        project_first: the projection stands before the pool.
    """

    widths: Widths
    unit: Unit
    five: int = 5
    naive: bool = False
    project_first: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        def conv(y: jax.Array, features: int, size: int, name: str) -> jax.Array:
            return self.unit(features, (size, size), name=name)(y, train=train)

        w = self.widths
        one = conv(x, w.one, 1, "1x1")
        three = conv(x if self.naive else conv(x, w.three_reduce, 1, "3x3_reduce"), w.three, 3, "3x3")
        five = conv(x if self.naive else conv(x, w.five_reduce, 1, "5x5_reduce"), w.five, self.five, "5x5")
        if self.naive:
            pool = max_pool(x, 3, 1, "SAME")
        elif self.project_first:
            pool = max_pool(conv(x, w.projection, 1, "pool_proj"), 3, 1, "SAME")
        else:
            pool = conv(max_pool(x, 3, 1, "SAME"), w.projection, 1, "pool_proj")
        return jnp.concatenate((one, three, five, pool), axis=-1)


class AuxiliaryHead(nn.Module):
    """Logits [batch, num_classes] from the map of a module, while training (section 5).

    Attributes:
        num_classes: size of the classifier.
        unit: makes a convolution.
        regions: pool 4x4 regions whatever the size of the map.
        dropout_rate: before the logits.
        kernel_init: of the dense layers.
        dtype, param_dtype: of computation and parameters.
    """

    num_classes: int
    unit: Unit
    regions: bool = False
    dropout_rate: float = 0.7
    kernel_init: Initializer = glorot_uniform()
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        options: dict[str, Any] = {
            "kernel_init": self.kernel_init,
            "dtype": self.dtype,
            "param_dtype": self.param_dtype,
        }
        x = adaptive_avg_pool(x, 4, 4) if self.regions else auxiliary_pool(x, 4)
        x = self.unit(128, (1, 1), name="conv")(x, train=train)
        x = nn.relu(nn.Dense(1024, **options, name="fc")(x.reshape(len(x), -1)))
        x = dropout(x, self.dropout_rate, train=train)
        return nn.Dense(self.num_classes, **options, name="logits")(x)


def caffe_lrn(x: jax.Array) -> jax.Array:
    """Local response normalization with Caffe's constants: 5 channels, bias 1, and 1e-4 / 5 for each square."""
    return local_response_norm(x, radius=2, bias=1.0, alpha=1e-4 / 5, beta=0.75)


_GOOGLENET = ModelInfo(
    name="googlenet",
    paper="Szegedy et al., Going Deeper with Convolutions",
    year=2014,
    url="https://arxiv.org/abs/1409.4842",
    input_shape=(224, 224, 3),
    num_classes=1000,
    parameters=6_998_552,
    total_parameters=6_998_552,
    auxiliary_parameters=6_379_728,
    preprocessing="caffe",
)
_SMALL_FILTERS = ("batch normalization in place of local response normalization", "3x3 in place of 5x5", "2x2 pool4")

# name: (facts that differ from googlenet, knobs)
VARIANTS: Variants = {
    "googlenet": ({}, {}),
    "googlenet.slim": (
        {
            "parameters": 6_617_624,
            "total_parameters": 6_632_184,
            "auxiliary_parameters": 0,
            "preprocessing": "tf",
            "deviations": (*_SMALL_FILTERS, "no auxiliary heads", "20 % dropout"),
        },
        {
            "five": 3,
            "stem_padding": "SAME",
            "pool_padding": "SAME",
            "last_pool": 2,
            "lrn": False,
            "norm": Norm(momentum=0.9997, epsilon=1e-3, scale=False),
            "dropout_rate": 0.2,
            "auxiliary_heads": (),
            "initialization": "truncated_normal",
            "logits_initialization": "he_normal",
            "names": "slim",
        },
    ),
    "googlenet.torchvision": (
        {
            "parameters": 6_624_904,
            "total_parameters": 6_639_976,  # with the 512 running statistics of the heads
            "auxiliary_parameters": 6_379_984,
            "preprocessing": "tf",  # its published weights undo the usual normalization for this one
            "deviations": (*_SMALL_FILTERS, "auxiliary heads pool 4x4 regions", "20 % dropout"),
        },
        {
            "five": 3,
            "last_pool": 2,
            "lrn": False,
            "norm": Norm(momentum=0.9, epsilon=1e-3),
            "dropout_rate": 0.2,
            "auxiliary_regions": True,
            "initialization": "truncated_normal",
            "logits_initialization": "truncated_normal",
            "names": "torchvision",
        },
    ),
    "googlenet.notebook": (
        {
            "parameters": 6_976_520,
            "auxiliary_parameters": 6_377_680,
            "preprocessing": "unit",
            "deviations": (
                "48 features in the 5x5 of 4d, where the paper has 64",
                "the projection of a module stands before its pool",
                "no local response normalization",
            ),
        },
        {
            "stages": NOTEBOOK,
            "project_first": True,
            "stem_padding": "SAME",
            "pool_padding": 1,
            "lrn": False,
        },
    ),
    "googlenet.xxnet": (
        {
            "parameters": 7_738_728,
            "total_parameters": 7_755_704,
            "auxiliary_parameters": 0,
            "preprocessing": "unit",
            "deviations": (
                "one width for all convolutions of a module",
                "1x1 in place of 5x5",
                "batch normalization after the ReLU",
                "no conv2_reduce, no local response normalization, no auxiliary heads",
                "a dense layer of 1000 with ReLU before the logits",
                "the notes' output is [batch, 1, 1, 1000], as here with spatial=True",
            ),
        },
        {
            "stages": XXNET,
            "five": 1,
            "stem_reduction": None,
            "stem_padding": "SAME",
            "pool_padding": "SAME",
            "lrn": False,
            "norm": Norm(),
            "norm_last": True,
            "hidden": (1000,),
            "auxiliary_heads": (),
        },
    ),
}

register_variants(_GOOGLENET, GoogLeNet, VARIANTS)
