"""The worked numbers of the notes (specification 3, T6 to T8 and T20 to T27), and shapes that XLA and NumPy give."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xxnet_jax.analysis import arithmetic, format_bytes, parse_bytes
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.models.lenet import C3_TABLE
from xxnet_jax.optimizers import optimizer_info

SIZES = {"kernel": st.integers(1, 5), "stride": st.integers(1, 4), "padding": st.integers(0, 3)}


@given(size=st.integers(1, 30), dilation=st.integers(1, 3), **SIZES)
def test_output_size(size: int, kernel: int, stride: int, padding: int, dilation: int):
    """XLA's convolution gives as many pixels, or the formula says that there is none."""
    if size + 2 * padding < dilation * (kernel - 1) + 1:
        with pytest.raises(InvalidArgument, match="does not fit"):
            arithmetic.output_size(size, kernel, stride, padding, dilation)
        return
    result = jax.eval_shape(
        lambda x, w: jax.lax.conv_general_dilated(x, w, (stride,), [(padding, padding)], rhs_dilation=(dilation,)),
        jnp.zeros((1, 1, size)),
        jnp.zeros((1, 1, kernel)),
    )
    assert arithmetic.output_size(size, kernel, stride, padding, dilation) == result.shape[-1]


@given(size=st.integers(1, 30), stride=st.integers(1, 4), kernel=st.integers(1, 5))
def test_same_size(size: int, stride: int, kernel: int):
    """As XLA's SAME padding."""
    result = jax.eval_shape(
        lambda x, w: jax.lax.conv_general_dilated(x, w, (stride,), "SAME"),
        jnp.zeros((1, 1, size)),
        jnp.zeros((1, 1, kernel)),
    )
    assert arithmetic.same_size(size, stride) == result.shape[-1]


@given(size=st.integers(1, 12), dilation=st.integers(1, 3), extra=st.integers(0, 3), **SIZES)
def test_a_transposed_convolution_undoes_the_size(
    size: int, kernel: int, stride: int, padding: int, dilation: int, extra: int
):
    """A convolution of its output has the size that it began with; as does one of each larger size below a stride."""
    extra = min(extra, stride - 1)
    try:
        larger = arithmetic.transposed_output_size(size, kernel, stride, padding, dilation, extra)
    except InvalidArgument:
        assert stride * (size - 1) + dilation * (kernel - 1) + 1 + extra <= 2 * padding
        return
    assert arithmetic.output_size(larger, kernel, stride, padding, dilation) == size


def test_transposed_convolutions_of_the_notes():
    """2x2 becomes 4x4 with a kernel of 3, and 5x5 with a stride of 2 (specification 3, section 6)."""
    assert arithmetic.transposed_output_size(2, 3) == 4
    assert arithmetic.transposed_output_size(2, 3, stride=2) == 5


def test_out_of_range():
    for wrong in ({"size": 0, "kernel": 1}, {"size": 5, "kernel": 0}, {"size": 5, "kernel": 3, "stride": 0}):
        with pytest.raises(InvalidArgument, match="must be at least 1"):
            arithmetic.output_size(**wrong)
    with pytest.raises(InvalidArgument, match="leaves nothing"):
        arithmetic.transposed_output_size(1, 1, padding=1)


def test_reduction_by_1x1():
    """T6: 192 channels of 32x32 to 256 by 3x3, directly and through 96 channels."""
    assert arithmetic.conv_macs(32, 32, 192, 256, 3) == 452_984_832
    assert arithmetic.reduced_conv_macs(32, 32, 192, 96, 256, 3) == 245_366_784


def test_grid_reduction():
    """T7: 35x35x320 to 17x17x640, in sequence both ways; and beside each other, counted by hand."""
    costs = arithmetic.grid_reduction_macs(35, 320, 640)
    assert costs["convolution, pooling"] == 35 * 35 * 320 * 640 == 250_880_000
    assert costs["pooling, convolution"] == 17 * 17 * 320 * 640 == 59_187_200
    assert costs["parallel"] == 17 * 17 * 320 * 320 * 9
    with pytest.raises(InvalidArgument, match="widens"):
        arithmetic.grid_reduction_macs(35, 320, 320)


def test_factorization():
    """T8: 1x3 and 3x1 save a third of 3x3, two 2x2 a ninth; two 3x3 save 28 % of 5x5."""
    assert arithmetic.factorization_saving(3, [(1, 3), (3, 1)]) == pytest.approx(1 / 3)
    assert arithmetic.factorization_saving(3, [2, 2]) == pytest.approx(1 / 9)
    assert arithmetic.factorization_saving(5, [3, 3]) == pytest.approx(0.28)


def test_one_operation():
    """T20: 1 x 2 + 3 is one, 1 x 2 + 3 x 4 + 4 x 5 are three: a dense layer of as many inputs and one output."""
    assert arithmetic.dense_macs(1, 1) == 1
    assert arithmetic.dense_macs(3, 1) == 3


def test_bytes():
    """T21 and T22: a million floats are 4 MB, a batch of images 24 MiB; a disk of 512 GB has 476.84 GiB."""
    assert format_bytes(np.zeros((1000, 1000), np.float32).nbytes, decimal=True) == "4.00 MB"
    assert format_bytes(np.zeros((32, 3, 256, 256), np.float32).nbytes) == "24.00 MiB"
    assert format_bytes(parse_bytes("512 GB")) == "476.84 GiB"
    assert format_bytes(1023) == "1,023 B"
    assert format_bytes(0) == "0 B"


@pytest.mark.parametrize(
    ("text", "size"), [("16GiB", 2**34), ("1.5 gb", 1_500_000_000), ("4096", 4096), ("1e3KB", 10**6)]
)
def test_parse_bytes(text: str, size: int):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "16 GX", "-3", "1.2.3 GB", "3 4"])
def test_no_bytes(text: str):
    with pytest.raises(InvalidArgument, match="expected bytes"):
        parse_bytes(text)


def test_parameters_and_operations_of_layers():
    """T23, and the formulas of 7.7 with numbers by hand."""
    assert arithmetic.dense_parameters(7, 5) == 35
    assert arithmetic.dense_parameters(7, 5, bias=True) == 40
    assert arithmetic.conv_parameters(3, 96, 11, bias=True) == 34_944
    assert arithmetic.conv_parameters(96, 256, 5, groups=2) == 307_200
    assert arithmetic.norm_parameters(64) == 128
    assert arithmetic.embedding_parameters(1000, 8) == 8000
    assert arithmetic.conv_macs(55, 55, 3, 96, 11) == 105_415_200
    assert arithmetic.conv_macs(27, 27, 96, 256, 5, groups=2) == 223_948_800
    assert arithmetic.conv_macs(17, 17, 4, 8, (1, 7), batch_size=2) == 2 * 289 * 32 * 7
    assert arithmetic.pool_operations(27, 27, 96, 3) == 629_856
    assert arithmetic.relu_operations(55, 55, 96, 2) == 580_800
    assert arithmetic.norm_operations(2, 3, 4, each=4) == 96


def test_memory_multiples():
    """T24: SGD 2, momentum 3, Adam 4."""
    multiples = {name: optimizer_info(name).memory_multiple for name in ("sgd", "momentum", "adam")}
    assert multiples == {"sgd": 2, "momentum": 3, "adam": 4}


@pytest.mark.parametrize(
    ("outputs", "kernel", "ratio"),
    [(32, 3, 0.1424), (256, 3, 0.1150174), (1024, 3, 0.1121), (64, 5, 0.0556)],
)
def test_separable_ratio(outputs: int, kernel: int, ratio: float):
    """T26 and section 7.9."""
    assert arithmetic.separable_ratio(outputs, kernel) == pytest.approx(ratio, abs=5e-5)
    parts = arithmetic.conv_macs(9, 9, 48, 48, kernel, groups=48) + arithmetic.conv_macs(9, 9, 48, outputs, 1)
    assert parts / arithmetic.conv_macs(9, 9, 48, outputs, kernel) == pytest.approx(
        arithmetic.separable_ratio(outputs, kernel)
    )


def test_relu_is_differentiated_from_its_output():
    """T27: the gradient passes where the output is positive."""
    x = np.random.default_rng(0).normal(size=50).astype(np.float32)
    y, pull = jax.vjp(jax.nn.relu, jnp.asarray(x))
    (dx,) = pull(jnp.arange(50.0))
    np.testing.assert_array_equal(dx, np.where(np.asarray(y) <= 0, 0, np.arange(50)))


def test_connections_of_lenet5():
    """The paper: C1 122,304, S2 5,880, C3 151,600, S4 2,000, C5 48,120 (fully connected, one pixel)."""
    assert arithmetic.conv_connections(28, 5, 6) == 122_304
    assert arithmetic.subsampling_connections(14, 2, 6) == 5_880
    assert arithmetic.conv_connections(10, 5, 16, C3_TABLE) == 151_600
    assert arithmetic.subsampling_connections(5, 2, 16) == 2_000
    assert arithmetic.conv_connections(1, 5, 120, [range(16)] * 120) == 48_120
