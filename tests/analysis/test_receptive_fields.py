"""Receptive fields against gradients, the notes' program, and published sizes."""

from typing import Any

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given, settings

import xxnet_jax as xx
from xxnet_jax.analysis import effective_receptive_field, receptive_field, receptive_fields, seen_pixels


class Random(nn.Module):
    """A linear network of random windows, in a chain with branches; all weights are positive."""

    seed: int
    enlarging: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        del train
        random = np.random.default_rng(self.seed)
        for _ in range(random.integers(1, 4)):
            if random.uniform() < 0.5:
                x = self.layer(random, x, stride=True)
            else:
                x = self.branches(random, x)
        return x

    def branches(self, random: np.random.Generator, x: jax.Array) -> jax.Array:
        parts = [self.layer(random, x, stride=False) for _ in range(random.integers(2, 4))]
        if random.uniform() < 0.5:
            parts.append(x)
        if random.uniform() < 0.5:
            return jnp.concatenate(parts, -1)
        return sum((part.sum(-1, keepdims=True) for part in parts), jnp.zeros(()))

    def layer(self, random: np.random.Generator, x: jax.Array, *, stride: bool) -> jax.Array:
        """A convolution or a mean, or a transposed convolution; without a stride the map keeps its size."""
        kernel = tuple(int(k) for k in random.integers(1, 5, 2))
        strides = tuple(int(s) for s in random.integers(1, 4, 2)) if stride else (1, 1)
        kind = random.integers(4) if stride else 0
        weights = jnp.asarray(random.uniform(0.5, 1, (*kernel, x.shape[-1], 2)), x.dtype)
        if kind == 1:
            return nn.avg_pool(x, kernel, strides, "SAME")
        if kind == 2 and self.enlarging:
            return jax.lax.conv_transpose(x, weights, strides, "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        if kind == 3:
            low, high = (int(n) for n in random.integers(0, 3, 2))
            x = jnp.pad(x, ((0, 0), (low, high), (high, low), (0, 0)))[:, :: strides[0], 1 :: strides[1]]
            strides = (1, 1)
        dilation = tuple(int(d) for d in random.integers(1, 4, 2))
        padding: Any = (
            "SAME" if not stride or random.uniform() < 0.5 else [tuple(map(int, random.integers(0, 4, 2)))] * 2
        )
        return jax.lax.conv_general_dilated(
            x, weights, strides, padding, rhs_dilation=dilation, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )


def output(model: nn.Module, images: jax.Array) -> Any:
    return model.apply({}, images, train=False)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(9, 24), st.integers(9, 24))
def test_seen_pixels_are_those_with_a_gradient(seed: int, height: int, width: int):
    """Of any unit of a linear network with positive weights, exactly, with holes and at borders, in float64."""
    model = Random(seed)
    with jax.enable_x64(True):
        images = jnp.ones((1, height, width, 1), jnp.float64)
        shape = output(model, images).shape
        if 0 in shape:
            return
        random = np.random.default_rng(seed)
        for _ in range(3):
            unit = int(random.integers(shape[1])), int(random.integers(shape[2]))
            gradient = jax.grad(lambda x, row, column: output(model, x)[0, row, column].sum())(images, *unit)
            np.testing.assert_array_equal(
                seen_pixels(model, "output", unit, (height, width, 1)), gradient[0, ..., 0] != 0
            )


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_field_is_where_the_pixels_lie(seed: int):
    """In an image that is large enough, the box of a unit is the smallest around the pixels that it sees."""
    model, side = Random(seed, enlarging=False), 160
    shape = jax.eval_shape(lambda x: output(model, x), jnp.ones((1, side, side, 1))).shape
    unit = shape[1] // 2, shape[2] // 2
    field = receptive_field(model, input_shape=(side, side, 1))
    seen = seen_pixels(model, "output", unit, (side, side, 1))
    x1, y1, x2, y2 = field.box(*unit)
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    if min(x1, y1) >= 0 and max(x2, y2) <= side:
        assert (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1) == (y1, y2, x1, x2)
        assert (x2 - x1, y2 - y1) == (field.columns.size, field.rows.size)


# The notes' program, l. 718-784: (size, jump, start).
ALEXNET = {
    "conv1": (11, 4, 5.5),
    "pool1": (19, 8, 9.5),
    "conv2": (51, 8, 9.5),
    "pool2": (67, 16, 17.5),
    "conv3": (99, 16, 17.5),
    "conv4": (131, 16, 17.5),
    "conv5": (163, 16, 17.5),
    "pool5": (195, 32, 33.5),
    "fc6": (355, 0, 113.5),  # the notes' convolution of 6x6 would go on by 32; a dense layer has one unit
}
VGG16 = {
    "block1_conv2": (5, 1, 0.5),
    "block1_pool": (6, 2, 1),
    "block2_conv2": (14, 2, 1),
    "block3_conv3": (40, 4, 2),
    "block4_pool": (100, 16, 8),
    "block5_conv3": (196, 16, 8),
    "block5_pool": (212, 32, 16),
    "fc1": (404, 0, 112),
}


@pytest.mark.parametrize(("name", "expected"), [("alexnet", ALEXNET), ("vgg16", VGG16)])
def test_fields_of_the_notes(name: str, expected: dict[str, tuple[int, int, float]]):
    """What the notes' program prints for AlexNet, and its formulas give for VGG-16."""
    found = receptive_fields(name)
    for endpoint, (size, jump, start) in expected.items():
        field = found[endpoint]
        assert (field.size, field.jump, field.start) == (size, jump, start), endpoint


@pytest.mark.parametrize(
    ("name", "endpoint", "size"),
    [
        ("resnet50", "conv5_block3_out", 483),
        ("resnet101", "conv5_block3_out", 1027),
        ("inception_v3", "mixed10", 1311),
        ("inception_v4", "Mixed_7d", 2071),
        ("inception_resnet_v2", "conv_7b", 3039),
        ("mobilenet", "conv_pw_13_relu", 315),
    ],
)
def test_published_sizes(name: str, endpoint: str, size: int):
    """Those of Araujo, Norris and Sim, Computing Receptive Fields of Convolutional Neural Networks (Distill, 2019)."""
    assert receptive_field(name, endpoint).size == size


def test_an_enlarged_map():
    """Behind a transposed convolution of 4x4/2 there are two units for each pixel, and each sees two; of 3x3/4 some see
    none."""

    class Enlarged(nn.Module):
        size: int
        stride: int

        @nn.compact
        def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
            del train
            return nn.ConvTranspose(1, (self.size, self.size), (self.stride, self.stride), padding="VALID")(x)

    field = receptive_field(Enlarged(4, 2), input_shape=(8, 8, 1))
    assert (field.size, field.jump) == (2, 0.5)
    assert field.start == -0.25  # units 0 and 1 both see pixels -1 and 0: centres 0 and 0, less 0 and half a pixel
    assert receptive_field(Enlarged(3, 4), input_shape=(8, 8, 1)).rows[:2] == (1, 0.25)
    assert not seen_pixels(Enlarged(3, 4), "output", (3, 3), (8, 8, 1)).any()


def test_a_column_and_a_row():
    """A kernel of 1x7 is wide, and is told apart from its height."""

    class Wide(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
            del train
            return nn.Conv(2, (1, 7))(x)

    field = receptive_field(Wide(), input_shape=(16, 16, 3))
    assert (field.rows, field.columns) == ((1, 1, 0.5), (7, 1, 0.5))
    assert field.box(3, 5) == (2, 3, 9, 4)
    with pytest.raises(ValueError, match="size is 1 in rows and 7 in columns"):
        _ = field.size


def test_what_cannot_be_told():
    """An unknown endpoint, a unit that is not there, a network without a size, and a mixing of positions."""

    class Mixing(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
            del train
            return jnp.cumsum(x, 1)

    with pytest.raises(ValueError, match="unknown endpoint 'conv9': did you mean conv"):
        receptive_field("alexnet", "conv9")
    with pytest.raises(ValueError, match=r"pool5 has 6 x 6 units, there is none at \(6, 0\)"):
        seen_pixels("alexnet", "pool5", (6, 0))
    with pytest.raises(ValueError, match="give input_shape"):
        receptive_field(xx.create_model("lenet5"), "C1")
    with pytest.raises(ValueError, match="cumsum, may mix positions"):
        receptive_field(Mixing(), input_shape=(8, 8, 1))


def test_effective_field_lies_in_the_field():
    """Only pixels that a unit sees have a strength, those in the middle more than those at the border."""
    model = xx.create_model("vgg11_bn", num_classes=None)
    images = jax.random.normal(jax.random.key(0), (2, 64, 64, 3))
    variables = model.init(jax.random.key(1), images, train=False)
    strength = effective_receptive_field(model, variables, images, "block3_pool", (4, 4))
    seen = seen_pixels(model, "block3_pool", (4, 4), (64, 64, 3))
    assert strength.max() == 1
    assert not strength[~seen].any()
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    field = strength[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    quarter = len(field) // 4
    middle = field[quarter:-quarter, quarter:-quarter]
    assert middle.mean() > 1.3 * field.mean()
