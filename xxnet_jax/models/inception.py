"""Inception v2 to v4, as tables of modules whose branches run side by side and are concatenated.

- v2, "BN-Inception" (Ioffe and Szegedy: Batch Normalization, 2015, appendix): GoogLeNet with batch normalization, and
  two 3x3 convolutions where that has one 5x5.
- v3 (Szegedy, Vanhoucke, Ioffe, Shlens, Wojna: Rethinking the Inception Architecture for Computer Vision, 2015),
  Table 1: on the middle maps 7x7 convolutions are 1x7 and 7x1, and the map is halved by strided convolutions beside a
  max pooling (section 5).
- v4 (Szegedy, Ioffe, Vanhoucke, Alemi: Inception-v4, Inception-ResNet and the Impact of Residual Connections on
  Learning, 2016), Figures 3 to 9: more modules of simpler form, and a stem that branches too.

The tables are in `inception_tables.py`: `V2`, `V3` and `V4`, read by `table`, which explains the notation. Each
convolution is followed by batch normalization and ReLU; behind the last map come its mean, dropout and one dense layer.

    map of    v2 (224)                v3 (299)                 v4 (299)                 features v2, v3, v4
    1/8       Mixed_3b, 3c            Mixed_5b, 5c, 5d         Mixed_5b to 5e           320, 288, 384
    1/16      Mixed_4a | 4b to 4e     Mixed_6a | 6b to 6e      Mixed_6a | 6b to 6h      576, 768, 1024
    1/32      Mixed_5a | 5b, 5c       Mixed_7a | 7b, 7c        Mixed_7a | 7b to 7d      1024, 2048, 1536

Names of modules and endpoints are TF-Slim's; the convolutions of a module are named by its rule (Branch_1_Conv2d_0b_3x3
is the second of the second branch; 1a where the map shrinks) without its slips. Base names and tags:

- `inception_v2`: TF-Slim's, with the separable first convolution that the paper's appendix mentions.
- `inception_v3`: Keras's network and names, mixed0 to mixed10; in the stem, which Keras leaves unnamed, conv0 to conv4,
  pool1 and pool2. `.slim` (Mixed_5b to Mixed_7c, auxiliary head, dropout), `.torchvision` (scales in the normalization,
  pools that count their padding, auxiliary head) and `.timm` (the same without the head and dropout).
- `inception_v4`: timm's, with scales. `.slim`: without scales, with an auxiliary head, which the paper does not draw.

Knobs for the papers' other variants: `stem_stride` and `stem_pool` (v3, section 8: images of 151 and 79 pixels),
`asymmetric` and `two_3x3` (v3, sections 3.1 and 3.2), `separable_stem`, `width_multiplier` (TF-Slim's).

Deviations from the papers, in all variants: 5x5 convolutions in Mixed_5b to 5d of v3, where Figure 5 has two 3x3
(`two_3x3=True`); the heads see the mean of the whole map, so images may have any size from `smallest_input()` on;
initial weights are those of the implementation that a name stands for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import glorot_uniform, he_normal, normal, truncated_normal, variance_scaling

from xxnet_jax.errors import InvalidArgument, UnknownName
from xxnet_jax.models.inception_tables import (
    V2,
    V3,
    V3_KERAS,
    V4,
    Branch,
    Pool,
    Row,
    Unit,
    each_branch,
    each_unit,
    is_asymmetric_pair,
    is_pair_of_3x3,
    merged,
    table,
    with_two_3x3,
)
from xxnet_jax.models.layers import (
    Conv,
    ConvUnit,
    Dtype,
    Initializer,
    Network,
    Norm,
    Stages,
    adaptive_avg_pool,
    avg_pool,
    dropout,
    initializer,
    max_pool,
    mean_of_windows,
    spatial_mean,
)
from xxnet_jax.models.registry import ModelInfo, Variants, register_variants

# -------------------------------------------------------------------------------------------------- initial weights

Role = Literal["stem", "reduction", "projection", "conv", "logits", "auxiliary_conv", "auxiliary_logits"]

# By role; roles that are missing are initialized as "conv". A reduction is the 1x1 that begins a branch of several
# convolutions, a projection the 1x1 after a pooling or alone in its row.
INITIALIZERS: dict[str, Mapping[Role, Initializer]] = {
    "glorot_uniform": {"conv": glorot_uniform()},  # Keras
    "he_normal": {  # TF-Slim's v3
        "conv": he_normal(),
        "auxiliary_conv": truncated_normal(0.01),
        "auxiliary_logits": truncated_normal(0.001),
    },
    "he_normal_v2": {  # TF-Slim's v2
        "conv": he_normal(),
        "stem": truncated_normal(1.0),
        "reduction": truncated_normal(0.09),
        "projection": truncated_normal(0.1),
    },
    "he_normal_v4": {  # TF-Slim's v4, whose logits are dense layers
        "conv": he_normal(),
        "logits": glorot_uniform(),
        "auxiliary_logits": glorot_uniform(),
    },
    "normal": {  # torchvision; it truncates at 20 standard deviations
        "conv": normal(0.1),
        "auxiliary_conv": normal(0.01),
        "auxiliary_logits": normal(0.001),
    },
    "torch": {"conv": variance_scaling(1 / 3, "fan_in", "uniform")},  # PyTorch's default; biases are zero here
}


@dataclass(frozen=True)
class Style:
    """What all layers of a network have in common.

    Attributes:
        norm: after each convolution, or None.
        count_padding: whether the zeros around a map count in average pooling.
        initialization: a name of `INITIALIZERS`.
        dtype, param_dtype: of computation and parameters.
    """

    norm: Norm | None
    count_padding: bool
    initialization: str
    dtype: Dtype
    param_dtype: Dtype

    def kernel_init(self, role: Role) -> Initializer:
        """The initializer of the kernels that have this role."""
        by_role = initializer(self.initialization, INITIALIZERS)
        return by_role.get(role, by_role["conv"])

    def convolution(self, unit: Unit, role: Role, name: str) -> ConvUnit:
        """The layer for `unit`."""
        return ConvUnit(
            unit.features,
            unit.kernel,
            (unit.stride, unit.stride),
            unit.padding,
            norm=self.norm,
            kernel_init=self.kernel_init(role),
            **self.dtypes,
            name=name,
        )

    def pool(self, x: jax.Array, pool: Pool) -> jax.Array:
        """`pool` of a map."""
        if pool.kind == "max":
            return max_pool(x, 3, pool.stride, pool.padding)
        if self.count_padding and pool.padding == "SAME":
            return avg_pool(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), 3, pool.stride)
        return avg_pool(x, 3, pool.stride, pool.padding)

    @property
    def dtypes(self) -> dict[str, Any]:
        return {"dtype": self.dtype, "param_dtype": self.param_dtype}


# ------------------------------------------------------------------------------------------------------ the network


class Block(nn.Module):
    """Branches on one map, concatenated in their order.

    Attributes:
        branches: a row of the table.
        style: of all layers.
    """

    branches: tuple[Branch, ...]
    style: Style

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return jnp.concatenate([self._branch(number, x, train=train) for number in range(len(self.branches))], axis=-1)

    def _branch(self, number: int, x: jax.Array, *, train: bool) -> jax.Array:
        letters = iter("abcdefgh")

        def convolved(unit: Unit, role: Role) -> jax.Array:
            letter = next(letters)
            place = "1a" if unit.stride > 1 or unit.padding == "VALID" else f"0{letter}"
            name = f"Branch_{number}_Conv2d_{place}_{unit.kernel[0]}x{unit.kernel[1]}"
            return self.style.convolution(unit, role, name)(x, train=train)

        steps = self.branches[number]
        for position, step in enumerate(steps):
            if isinstance(step, Pool):
                next(letters)
                x = self.style.pool(x, step)
            elif isinstance(step, Unit):
                x = convolved(step, _role(steps, position))
            else:
                x = jnp.concatenate([convolved(unit, "conv") for unit in step], axis=-1)
        return x


def _role(steps: Branch, position: int) -> Role:
    unit = steps[position]
    if not isinstance(unit, Unit) or unit.kernel != (1, 1):
        return "conv"
    if position == 0:
        return "reduction" if len(steps) > 1 else "conv"
    return "projection" if isinstance(steps[position - 1], Pool) else "conv"


class SeparableConv(nn.Module):
    """A depthwise convolution, a 1x1 convolution and ReLU, with a bias and without normalization: v2's first layer.

    Attributes:
        unit: kernel, stride and features.
        multiplier: features of the depthwise convolution for each channel of the input.
        style: for dtypes and initializer.
    """

    unit: Unit
    multiplier: int
    style: Style

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        options: dict[str, Any] = {"kernel_init": self.style.kernel_init("stem"), **self.style.dtypes}
        x = Conv(
            channels * self.multiplier,
            self.unit.kernel,
            (self.unit.stride, self.unit.stride),
            self.unit.padding,
            feature_group_count=channels,
            use_bias=False,
            **options,
            name="depthwise",
        )(x)
        return nn.relu(Conv(self.unit.features, (1, 1), **options, name="pointwise")(x))


class AuxiliaryHead(nn.Module):
    """5x5 average pooling with stride 3, a 1x1 and a 5x5 convolution, the mean of the map, a dense layer.

    A map of less than 17x17, from which that pooling leaves less than the 5x5 that the convolution needs, is pooled to
    5x5 regions: parameters do not depend on the size of the images. (TF-Slim gives the convolution a smaller kernel.)

    Attributes:
        units: features of the two convolutions.
        num_classes: size of the classifier.
        style: of all layers.
    """

    units: tuple[int, int]
    num_classes: int
    style: Style

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = avg_pool(x, 5, 3) if min(x.shape[1:3]) >= 17 else adaptive_avg_pool(x, 5, 5)
        x = self.style.convolution(Unit(self.units[0]), "conv", "Conv2d_1b_1x1")(x, train=train)
        last = Unit(self.units[1], (5, 5), padding="VALID")
        x = self.style.convolution(last, "auxiliary_conv", "Conv2d_2a_5x5")(x, train=train)
        init = self.style.kernel_init("auxiliary_logits")
        return nn.Dense(self.num_classes, kernel_init=init, **self.style.dtypes, name="Logits")(spatial_mean(x))


class Inception(Network):
    """Inception v2, v3 or v4; see the tables above.

    While training, the logits of the auxiliary head are in `aux_logits` under "AuxLogits"; it is made only where there
    is a classifier and no `final_endpoint`.

    Attributes:
        rows: the network from the images to the last map: one of the tables, or the text of one for `table`.
        head: names of mean, dropped mean (or none) and logits.
        width_multiplier: of the features of every convolution, which are max(int(features * multiplier), min_depth).
        min_depth: the fewest features that the multiplier leaves.
        asymmetric: 1xn and nx1 convolutions in succession stay; else one nxn is in their place.
        two_3x3: True for two 3x3 convolutions in the place of each 5x5, False for one 5x5 in that of two 3x3, None for
            what the table says.
        separable_stem: the first convolution is depthwise, then 1x1.
        stem_stride: of the first convolution; None for the table's 2. The paper takes 1 for images of 151 and 79.
        stem_pool: whether the first max pooling of the stem is there. The paper leaves it out for images of 79.
        norm: batch normalization after each convolution, or None for a bias.
        count_padding: whether the zeros around a map count in average pooling.
        auxiliary_block: name of the row whose map the auxiliary head sees, or None.
        spatial: return the scores of all windows of the last map, [batch, rows, columns, num_classes], and not those of
            its mean.
        window: side of such a window, or the map's where that is smaller.
        dropout_rate: before the logits.
        initialization: a name of `INITIALIZERS`.

    Raises:
        ValueError: the images are smaller than `smallest_input()`, or a knob has a value that makes no sense.
    """

    rows: tuple[Row, ...] | str = V3
    head: tuple[str, ...] = ("AvgPool_1a", "PreLogits", "Logits")
    width_multiplier: float = 1.0
    min_depth: int = 16
    asymmetric: bool = True
    two_3x3: bool | None = None
    separable_stem: bool = False
    stem_stride: int | None = None
    stem_pool: bool = True
    norm: Norm | None = Norm()
    count_padding: bool = False
    auxiliary_block: str | None = None
    spatial: bool = False
    window: int = 8
    dropout_rate: float = 0.0
    initialization: str = "glorot_uniform"

    def layout(self) -> tuple[Row, ...]:
        """The rows as the knobs change them."""
        rows = table(self.rows) if isinstance(self.rows, str) else self.rows
        if not self.asymmetric:
            rows = each_branch(rows, lambda branch: merged(branch, is_asymmetric_pair))
        if self.two_3x3 is not None:
            split = self.two_3x3
            rows = each_branch(rows, lambda b: with_two_3x3(b) if split else merged(b, is_pair_of_3x3))
        if not self.stem_pool:
            pools = [row for row in rows if isinstance(row.branches[0][0], Pool) and len(row.branches) == 1]
            if not pools:
                raise InvalidArgument("stem_pool=False: the stem of this network has no max pooling by itself")
            rows = tuple(row for row in rows if row is not pools[0])
        rows = each_unit(rows, lambda unit: replace(unit, features=self.depth(unit.features)))
        if self.stem_stride is not None:
            stride = self.stem_stride
            rows = (*each_unit(rows[:1], lambda unit: replace(unit, stride=stride)), *rows[1:])
        return rows

    def depth(self, features: int) -> int:
        """Features of a convolution that has `features` in the table."""
        if not self.width_multiplier > 0 or self.min_depth < 1:
            raise InvalidArgument(
                "width_multiplier must be positive and min_depth at least 1, "
                f"got {self.width_multiplier} and {self.min_depth}"
            )
        return max(int(features * self.width_multiplier), self.min_depth)

    def features(self, x: jax.Array, *, train: bool) -> Stages:
        rows, style = self.layout(), self.style
        names = [row.name for row in rows]
        if self.auxiliary_block is not None and self.auxiliary_block not in names:
            raise UnknownName("auxiliary_block", self.auxiliary_block, names)
        for row in rows:
            match row.branches:
                case ((Pool() as pool,),):
                    x = style.pool(x, pool)
                case ((Unit() as unit,),) if row is rows[0] and self.separable_stem:
                    multiplier = min(unit.features // 3, 8)
                    x = SeparableConv(unit, multiplier, style, name=row.name)(x)
                case ((Unit() as unit,),):
                    role = "stem" if row is rows[0] else "projection" if unit.kernel == (1, 1) else "conv"
                    x = style.convolution(unit, role, row.name)(x, train=train)
                case branches:
                    x = Block(branches, style, name=row.name)(x, train=train)
            yield row.name, x
            if row.name == self.auxiliary_block and self.runs_auxiliary_heads(train=train):
                assert self.num_classes is not None
                units = (self.depth(128), self.depth(768))
                head = AuxiliaryHead(units, self.num_classes, self.style, name="AuxLogits")
                self.auxiliary("AuxLogits", head(x, train=train))

    def classifier(self, x: jax.Array, *, train: bool) -> Stages:
        mean, *dropped, logits = self.head
        x = mean_of_windows(x, self.window if self.spatial else None)
        yield mean, x
        x = dropout(x, self.dropout_rate, train=train)
        for name in dropped:
            yield name, x
        assert self.num_classes is not None
        init = self.style.kernel_init("logits")
        yield logits, nn.Dense(self.num_classes, kernel_init=init, **self.dtypes, name=logits)(x)

    @property
    def style(self) -> Style:
        return Style(self.norm, self.count_padding, self.initialization, **self.dtypes)

    def smallest_input(self) -> int:
        rows = self.layout()
        names = [row.name for row in rows]
        if self.final_endpoint in names:
            rows = rows[: names.index(self.final_endpoint) + 1]
        side = 1
        for row in reversed(rows):
            side = max(_side_before(branch, side) for branch in row.branches)
        return side


def _side_before(branch: Branch, side: int) -> int:
    """The smallest side of a map of which `branch` makes one of `side` pixels."""
    for step in reversed(branch):
        one = step[0] if isinstance(step, tuple) else step  # the convolutions of a fork keep the size
        side = (side - 1) * one.stride + 1
        if one.padding != "SAME":
            pads = ((0, 0), (0, 0)) if isinstance(one.padding, str) else one.padding
            side += max(kernel - 1 - sum(pad) for kernel, pad in zip(one.kernel, pads, strict=True))
    return side


# ----------------------------------------------------------------------------------------------------- the variants

_V3 = ModelInfo(
    name="inception_v3",
    paper="Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, Rethinking the Inception Architecture for Computer Vision",
    year=2015,
    url="https://arxiv.org/abs/1512.00567",
    input_shape=(299, 299, 3),
    num_classes=1000,
    parameters=23_817_352,
    total_parameters=23_851_784,
    preprocessing="tf",
    deviations=("5x5 convolutions in the first three modules, where the paper's Figure 5 has two 3x3",),
)
_NO_SCALE = "batch normalization without scale"
_NO_HEAD = "no auxiliary head"
_V2_FACTS: dict[str, Any] = {
    "paper": "Ioffe and Szegedy, Batch Normalization: Accelerating Deep Network Training by Reducing Internal "
    "Covariate Shift",
    "url": "https://arxiv.org/abs/1502.03167",
    "input_shape": (224, 224, 3),
    "deviations": (_NO_SCALE, _NO_HEAD, "a first convolution without normalization", "dropout before the logits"),
}
_V4_FACTS: dict[str, Any] = {
    "paper": "Szegedy, Ioffe, Vanhoucke, Alemi, Inception-v4, Inception-ResNet and the Impact of Residual Connections "
    "on Learning",
    "year": 2016,
    "url": "https://arxiv.org/abs/1602.07261",
    "parameters": 42_679_816,
    "total_parameters": 42_742_984,
    "deviations": ("no dropout before the logits",),
}
_SLIM: dict[str, Any] = {"norm": Norm(momentum=0.9997, epsilon=1e-3, scale=False), "dropout_rate": 0.2}
_TORCH: dict[str, Any] = {"norm": Norm(momentum=0.9, epsilon=1e-3)}
_PYTORCH_V3: dict[str, Any] = {**_TORCH, "count_padding": True, "initialization": "normal"}
_V4_HEAD = ("global_pool", "PreLogitsFlatten", "Logits")

# name: (facts that differ from inception_v3's, knobs). Running statistics of the auxiliary heads, 2 * (128 + 768)
# scalars, are in total_parameters; their trainable parameters are not.
VARIANTS: Variants = {
    "inception_v2": (
        {**_V2_FACTS, "parameters": 11_178_336, "total_parameters": 11_198_112},
        {"rows": V2, "separable_stem": True, "window": 7, **_SLIM, "initialization": "he_normal_v2"},
    ),
    "inception_v3": (
        {"deviations": (*_V3.deviations, _NO_SCALE, _NO_HEAD)},
        {
            "rows": V3_KERAS,
            "head": ("avg_pool", "predictions"),
            "norm": Norm(momentum=0.99, epsilon=1e-3, scale=False),
            "initialization": "glorot_uniform",
        },
    ),
    "inception_v3.slim": (
        {
            "total_parameters": 23_853_576,
            "auxiliary_parameters": 3_325_800,
            "deviations": (*_V3.deviations, _NO_SCALE),
        },
        {"rows": V3, **_SLIM, "auxiliary_block": "Mixed_6e", "initialization": "he_normal"},
    ),
    "inception_v3.torchvision": (
        {
            "parameters": 23_834_568,
            "total_parameters": 23_870_792,
            "auxiliary_parameters": 3_326_696,
            "deviations": (*_V3.deviations, "average pooling counts the zeros around the map"),
        },
        {
            **_PYTORCH_V3,
            "rows": V3,
            "head": ("avgpool", "dropout", "fc"),
            "auxiliary_block": "Mixed_6e",
            "dropout_rate": 0.5,
        },
    ),
    "inception_v3.timm": (
        {
            "parameters": 23_834_568,
            "total_parameters": 23_869_000,
            "deviations": (*_V3.deviations, "average pooling counts the zeros around the map", _NO_HEAD),
        },
        {**_PYTORCH_V3, "rows": V3, "head": ("global_pool", "fc")},
    ),
    "inception_v4": (
        _V4_FACTS,
        {**_TORCH, "rows": V4, "head": ("global_pool", "last_linear"), "initialization": "torch"},
    ),
    "inception_v4.slim": (
        {
            **_V4_FACTS,
            "parameters": 42_648_232,
            "total_parameters": 42_713_192,
            "auxiliary_parameters": 3_358_568,
            "deviations": (_NO_SCALE, "an auxiliary head"),
        },
        {"rows": V4, "head": _V4_HEAD, **_SLIM, "auxiliary_block": "Mixed_6h", "initialization": "he_normal_v4"},
    ),
}

register_variants(_V3, Inception, VARIANTS)
