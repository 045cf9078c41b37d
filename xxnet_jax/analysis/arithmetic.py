"""The arithmetic of layers that the notes teach: sizes of outputs, parameters, and operations.

Operations are multiply-accumulates, "1 x 2 + 3" is one; sizes are those of the output, for one image.
"""

import math
from collections.abc import Collection, Sequence

from xxnet_jax.errors import InvalidArgument

# --- Sizes along one axis ---------------------------------------------------------------------------------------------


def dilated_kernel(kernel: int, dilation: int = 1) -> int:
    """The pixels from the first to the last that a dilated kernel touches: dilation (k - 1) + 1."""
    return dilation * (kernel - 1) + 1


def output_size(size: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """Of a convolution or a pool: floor((n + 2p - k') / s) + 1, with k' the dilated kernel.

    Raises:
        ValueError: the kernel is larger than the padded input, or an argument is out of range.
    """
    _check(size=size, kernel=kernel, stride=stride, dilation=dilation)
    extent = dilated_kernel(kernel, dilation)
    if padding < 0 or size + 2 * padding < extent:
        raise InvalidArgument(f"a kernel of {extent} pixels does not fit into {size} with padding {padding}")
    return (size + 2 * padding - extent) // stride + 1


def same_size(size: int, stride: int = 1) -> int:
    """Of a convolution with SAME padding: ceil(n / s)."""
    _check(size=size, stride=stride)
    return -(-size // stride)


def transposed_output_size(
    size: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1, output_padding: int = 0
) -> int:
    """Of a transposed convolution: s (n - 1) + k' - 2p + what is added behind, the input of a convolution that gives n.

    A convolution with a stride has several such inputs; the smallest is that with `output_padding` 0.

    Raises:
        ValueError: nothing is left, or an argument is out of range.
    """
    _check(size=size, kernel=kernel, stride=stride, dilation=dilation)
    result = stride * (size - 1) + dilated_kernel(kernel, dilation) - 2 * padding + output_padding
    if result < 1:
        raise InvalidArgument(f"padding {padding} leaves nothing of {size} pixels and a kernel of {kernel}")
    return result


def _check(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise InvalidArgument(f"{name} must be at least 1, got {value}")


# --- Parameters -------------------------------------------------------------------------------------------------------


def dense_parameters(inputs: int, outputs: int, *, bias: bool = False) -> int:
    """M N, and N of the bias."""
    return inputs * outputs + outputs * bias


def conv_parameters(inputs: int, outputs: int, kernel: int, *, groups: int = 1, bias: bool = False) -> int:
    """C_in C_out k^2 / groups, and C_out of the bias."""
    return inputs // groups * outputs * kernel**2 + outputs * bias


def norm_parameters(features: int) -> int:
    """2 N: scale and shift."""
    return 2 * features


def embedding_parameters(entries: int, width: int) -> int:
    """N W."""
    return entries * width


# --- Operations -------------------------------------------------------------------------------------------------------


def dense_macs(inputs: int, outputs: int, batch_size: int = 1) -> int:
    """B M N."""
    return batch_size * inputs * outputs


def conv_macs(
    rows: int,
    columns: int,
    inputs: int,
    outputs: int,
    kernel: int | tuple[int, int],
    *,
    groups: int = 1,
    batch_size: int = 1,
) -> int:
    """B H W C_out C_in k^2 / groups; a kernel has one size or (height, width)."""
    area = kernel**2 if isinstance(kernel, int) else math.prod(kernel)
    return batch_size * rows * columns * outputs * (inputs // groups) * area


def pool_operations(rows: int, columns: int, channels: int, window: int, batch_size: int = 1) -> int:
    """B H W C k^2."""
    return batch_size * rows * columns * channels * window**2


def relu_operations(rows: int, columns: int, channels: int, batch_size: int = 1) -> int:
    """B H W C."""
    return batch_size * rows * columns * channels


def norm_operations(rows: int, columns: int, channels: int, batch_size: int = 1, *, each: int = 5) -> int:
    """B H W C times 4 to 6 of each element, the notes' estimate for batch normalization."""
    return batch_size * rows * columns * channels * each


# --- Cheaper convolutions ---------------------------------------------------------------------------------------------


def reduced_conv_macs(rows: int, columns: int, inputs: int, reduced: int, outputs: int, kernel: int) -> int:
    """A 1x1 convolution to fewer channels and then the large one (Inception; NIN). Without: `conv_macs`."""
    return conv_macs(rows, columns, inputs, reduced, 1) + conv_macs(rows, columns, reduced, outputs, kernel)


def grid_reduction_macs(side: int, inputs: int, outputs: int) -> dict[str, int]:
    """Halving a map while widening it (Inception v3, section 5, Figures 9 and 10), with a 3x3 window, unpadded.

    Args:
        side: of the map.
        inputs, outputs: channels.

    Returns:
        "convolution, pooling": a 1x1 convolution of the whole map, then a pool: costly. "pooling, convolution": a pool,
        then a 1x1 convolution: cheap, but a bottleneck of representation. "parallel": a 3x3 convolution of stride 2 to
        the channels that are missing, beside a pool, and both concatenated.

    Raises:
        ValueError: the outputs are not more than the inputs.
    """
    if outputs <= inputs:
        raise InvalidArgument(f"a reduction of the grid widens the map: {inputs} channels to more, got {outputs}")
    half = output_size(side, 3, 2)
    return {
        "convolution, pooling": conv_macs(side, side, inputs, outputs, 1),
        "pooling, convolution": conv_macs(half, half, inputs, outputs, 1),
        "parallel": conv_macs(half, half, inputs, outputs - inputs, 3),
    }


def factorization_saving(kernel: int | tuple[int, int], factors: Sequence[int | tuple[int, int]]) -> float:
    """The share of weights saved by several small convolutions in place of a large one, with equal channels.

    3x3 as 1x3 and 3x1: 1/3; as two of 2x2: 1/9; 5x5 as two of 3x3: 28 % (Inception v3, section 3).
    """

    def area(size: int | tuple[int, int]) -> int:
        return size**2 if isinstance(size, int) else math.prod(size)

    return 1 - sum(map(area, factors)) / area(kernel)


def separable_ratio(outputs: int, kernel: int) -> float:
    """Cost of a depthwise separable convolution against a whole one: 1 / C_out + 1 / k^2 (MobileNet, section 3.1)."""
    return 1 / outputs + 1 / kernel**2


# --- Connections ------------------------------------------------------------------------------------------------------


def conv_connections(side: int, kernel: int, maps: int, connected: Sequence[Collection[int]] | None = None) -> int:
    """Connections of a convolution as LeNet-5's paper counts them: weights and bias of each output.

    C1 of LeNet-5 has 28 x 28 x 6 x (25 + 1) = 122,304, and C3, whose maps see 3 to 6 maps, 151,600.

    Args:
        side: of the output.
        kernel: its side.
        maps: of the output; each sees one map, unless `connected` says otherwise.
        connected: for each map of the output the maps that it sees (Table I).
    """
    seen = maps if connected is None else sum(map(len, connected))
    return side**2 * (seen * kernel**2 + maps)


def subsampling_connections(side: int, window: int, maps: int) -> int:
    """Connections of LeNet-5's trainable subsampling: the window and a bias; S2 has 5,880, S4 2,000."""
    return side**2 * maps * (window**2 + 1)
