"""Multiply-accumulates against published counts and arithmetic."""

import flax.linen as nn
import jax
import pytest

import xxnet_jax as xx
from xxnet_jax.analysis import count_macs


@pytest.mark.parametrize(
    ("name", "macs"),
    [
        # LeNet-5: 122,304 and 151,600 or 241,600 connections of C1 and C3 hold a bias for each output.
        ("lenet5", 28 * 28 * 6 * 25 + 10 * 10 * 16 * 150 + 120 * 400 + 84 * 120 + 10 * 84),
        ("vgg16", 15_470_264_320),
        ("vgg19", 19_632_062_464),
        ("vgg16.xxnet", 15_161_982_976),
    ],
)
def test_published_counts(name: str, macs: int):
    """Convolutions and dense layers of known networks give the published number, to the digit."""
    assert count_macs(xx.create_model(name), xx.model_info(name).input_shape) == macs


class Layers(nn.Module):
    """A grouped, a strided and a dilated convolution, one in a loop, and a dense layer."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = nn.Conv(8, (3, 3), padding="VALID", feature_group_count=2, name="grouped")(x)
        x = nn.Conv(6, (5, 3), strides=(2, 1), padding="SAME", name="strided")(x)
        kernel = self.param("kernel", nn.initializers.ones, (6, 6))
        x, _ = jax.lax.scan(lambda carry, _: (carry @ kernel, None), x, length=5)
        return nn.Dense(7, name="dense")(nn.relu(x))


def test_each_kind_of_layer():
    """Groups divide, strides thin out, loops multiply: against the sum by hand."""
    grouped = 10 * 8 * 8 * (9 * 4 // 2)
    strided = 5 * 8 * 6 * (15 * 8)
    looped = 5 * (5 * 8 * 6 * 6)
    dense = 5 * 8 * 7 * 6
    assert count_macs(Layers(), (12, 10, 4)) == grouped + strided + looped + dense
