"""FCN (Long, Shelhamer and Darrell: Fully Convolutional Networks for Semantic Segmentation, 2015), Figure 3.

    images                padded by 100 pixels on each side
    block1 ... block5     VGG's, pooling rounds up
    fc1, fc2              VGG's dense layers as convolutions of 7x7 and 1x1, ReLU, dropout
    predictions           1x1 to the classes: a cell for every 32 pixels
                          FCN-32s    FCN-16s            FCN-8s
    upsample4, score4     -          2x, + block4_pool  2x, + block4_pool
    upsample3, score3     -          -                  2x, + block3_pool
    scores                32x        16x                8x, cut to the images

Every layer before `predictions` is VGG's, under VGG's names, and so are its parameters: `create_fcn("vgg16", 1000)` is
VGG-16 until the first of the rows that enlarge. Maps are enlarged by bilinear interpolation written as a transposed
convolution; in between its weights are learnt from there, and at the end they stay. What a block says of the classes,
`score4` and `score3`, begins at zero, so that training begins with the coarser network.

Deviation: maps are laid on each other and cut by where the middles of their cells are. The authors' files cut one pixel
earlier at the end (19, 27 and 31 pixels from the edge where the middles say 20, 28 and 32).
"""

import math
from typing import Any, Literal, NamedTuple, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from xxnet_jax.errors import InvalidArgument, UnknownName
from xxnet_jax.models.layers import Conv, Dtype, PoolPadding, Stages
from xxnet_jax.models.vgg import VARIANTS, VGG
from xxnet_jax.precision import at_least_float32

Upsampling = Literal[32, 16, 8]
SKIPS: dict[int, tuple[int, ...]] = {32: (), 16: (4,), 8: (4, 3)}  # blocks whose maps are added, coarsest first


class Grid(NamedTuple):
    """A map, and where its cells are on the images; the same along rows and columns.

    Attributes:
        values: [batch, rows, columns, features].
        stride: pixels from a cell to the next.
        first: the middle of the first cell; that of the first pixel is 0.
    """

    values: jax.Array
    stride: int
    first: float


class FCN(VGG):
    """FCN on VGG, see the table above.

    Maps images [batch, height, width, channels], with the default padding of any size, to float32 scores
    [batch, height, width, num_classes].

    Attributes:
        upsampling: 32, 16 or 8: the stride of the map that is enlarged to the images.
        padding: of the images with zeros, on each side. 100 gives every image a window for fc1; with a `window` of w it
            must be 16 (w - 2) at least.

    Raises:
        ValueError: no such upsampling; padding that leaves pixels at the edges without a score.
    """

    upsampling: Upsampling = 8
    padding: int = 100
    spatial: bool = True
    pool_padding: PoolPadding = "CEIL"

    def features(self, x: jax.Array, *, train: bool) -> Stages:
        if self.upsampling not in SKIPS:
            raise UnknownName("upsampling", str(self.upsampling), map(str, get_args(Upsampling)))
        size = x.shape[1:3]
        x = jnp.pad(x, ((0, 0), *[(self.padding, self.padding)] * 2, (0, 0)))
        maps: dict[str, jax.Array] = {}
        for name, activation in super().features(x, train=train):
            yield name, activation
            maps[name] = activation
        if self.num_classes is None:
            return
        for name, activation in super().classifier(maps[self._name("block5_pool")], train=train):
            yield name, activation
            maps[name] = activation
        grid = Grid(maps[self._name("predictions")], 32, self._middle(5) + 32 * (self.window - 1) / 2)
        for block in SKIPS[self.upsampling]:
            grid = self._enlarged_twice(grid, f"upsample{block}")
            yield f"upsample{block}", grid.values
            layer = Conv(
                self.num_classes, (1, 1), kernel_init=nn.initializers.zeros, **self.dtypes, name=f"score{block}"
            )
            said = Grid(layer(maps[self._name(f"block{block}_pool")]), 2**block, self._middle(block))
            yield f"score{block}", said.values
            one, other = overlap(grid, said)
            grid = one._replace(values=one.values + other.values)
            yield f"sum{block}", grid.values
        yield "scores", on_pixels(enlarged(grid, self.upsampling), size)

    def classifier(self, x: jax.Array, *, train: bool) -> Stages:
        """Nothing: the scores are the last features, as they are made of several of them."""
        del x, train
        yield from ()

    def smallest_input(self) -> int:
        """For which fc1 has a window: of n pixels there are ceil(n / 32) cells."""
        return max(1, 32 * (self.window - 1) + 1 - 2 * self.padding)

    def _middle(self, block: int) -> float:
        """Of the first cell behind the pooling of a block."""
        return (2**block - 1) / 2 - self.padding

    def _enlarged_twice(self, grid: Grid, name: str) -> Grid:
        """Bilinear interpolation to begin with, learnt."""
        assert self.num_classes is not None
        layer = nn.ConvTranspose(
            self.num_classes, (4, 4), (2, 2), "VALID", use_bias=False, kernel_init=bilinear, **self.dtypes, name=name
        )
        return Grid(layer(grid.values), *enlarged_places(grid, 2))


def create_fcn(backbone: str, num_classes: int, *, upsampling: Upsampling = 8, padding: int = 100, **knobs: Any) -> FCN:
    """The network on a VGG.

    Args:
        backbone: a name of `xxnet_jax.models.vgg.VARIANTS` with a dense head, such as vgg16.
        num_classes: with the background.
        upsampling: 32, 16 or 8.
        padding: see `FCN`.
        **knobs: of VGG in place of the backbone's, such as `features_of_blocks`.

    Raises:
        ValueError: no such backbone or knob, or one that an FCN cannot have.
    """
    if backbone not in VARIANTS:
        raise UnknownName("backbone", backbone, VARIANTS)
    known = set(FCN.__dataclass_fields__) - {"parent", "name"}
    options = VARIANTS[backbone][1] | {"pool_padding": "CEIL", "adaptive_pool": False} | knobs
    for knob in options:
        if knob not in known:
            raise UnknownName("knob of FCN", knob, known)
    return FCN(num_classes=num_classes, upsampling=upsampling, padding=padding, **options)


# --- Enlarging maps --------------------------------------------------------------------------------------------------


def bilinear_weights(factor: int) -> np.ndarray:
    """The kernel along one side, float32 [2 factor], of the transposed convolution that interpolates linearly."""
    places = np.arange(2 * factor) - (2 * factor - 1) / 2
    return (1 - np.abs(places) / factor).astype(np.float32)


def bilinear(key: jax.Array, shape: tuple[int, ...], dtype: Dtype = jnp.float32) -> jax.Array:
    """Initializer of a transposed convolution [2 s, 2 s, features, features] of stride s: each feature by itself."""
    del key
    rows, columns, inputs, outputs = shape
    if rows != columns or rows % 2 or inputs != outputs:
        raise InvalidArgument(f"a kernel that interpolates is [2 s, 2 s, features, features], not {shape}")
    weights = bilinear_weights(rows // 2)
    return jnp.asarray(np.einsum("i,j,ab->ijab", weights, weights, np.eye(inputs)), dtype)


def enlarged_places(grid: Grid, factor: int) -> tuple[int, float]:
    """Stride and first middle of a transposed convolution with 2 `factor` cells and the stride `factor`."""
    stride = grid.stride // factor
    return stride, grid.first - stride * (2 * factor - 1) / 2


def enlarged(grid: Grid, factor: int) -> Grid:
    """A map with `factor` (n + 1) cells for n, interpolated linearly, in float32; half a cell around it fades to zero.

    The transposed convolution of kernel `bilinear` as a product of matrices along each side, which every backend does
    fast.
    """
    x = at_least_float32(grid.values)
    for axis in (1, 2):
        cells = x.shape[axis]
        matrix = np.zeros((factor * (cells + 1), cells), np.float32)
        for cell in range(cells):
            matrix[factor * cell : factor * (cell + 2), cell] = bilinear_weights(factor)
        x = jnp.moveaxis(jnp.tensordot(matrix, x, ((1,), (axis,)), precision="float32"), 0, axis)
    return Grid(x, *enlarged_places(grid, factor))


def overlap(one: Grid, other: Grid) -> tuple[Grid, Grid]:
    """The cells that two maps of the same stride have both."""
    assert one.stride == other.stride
    first = max(one.first, other.first)
    starts = [round((first - grid.first) / grid.stride) for grid in (one, other)]
    rows, columns = (
        min(grid.values.shape[axis] - start for grid, start in zip((one, other), starts, strict=True))
        for axis in (1, 2)
    )
    return tuple(  # type: ignore[return-value]
        Grid(grid.values[:, start : start + rows, start : start + columns], grid.stride, first)
        for grid, start in zip((one, other), starts, strict=True)
    )


def on_pixels(grid: Grid, size: tuple[int, ...]) -> jax.Array:
    """The values of a map of stride 1 at the pixels of images of that size."""
    start = math.floor(-grid.first)
    ends = [start + side for side in size]
    if start < 0 or any(end > cells for end, cells in zip(ends, grid.values.shape[1:3], strict=True)):
        raise InvalidArgument(
            "pixels at the edges of the images would have no score: give the network more padding or a smaller window"
        )
    return grid.values[:, start : ends[0], start : ends[1]]
