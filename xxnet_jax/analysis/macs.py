"""Multiply-accumulate operations of convolutions and matrix products."""

import math
from collections.abc import Iterator
from typing import Any

from flax import linen as nn

from xxnet_jax.analysis.program import traced_network


def count_macs(model: nn.Module, input_shape: tuple[int, int, int]) -> int:
    """Multiply-accumulates of a network for one image in inference: convolutions and matrix products, nothing else.

    Counted in what is computed, not in a list of layers: the network is traced with shapes only, and a convolution has
    (outputs) x (kernel height x width x input channels of its group), padding included; bias and norm have none.

    Args:
        model: takes images [batch, height, width, channels] and the keyword `train`.
        input_shape: (height, width, channels).
    """
    program, _ = traced_network(model, input_shape)
    return sum(macs_of_equation(operation.equation) for operation in program.operations)


def macs_of_equation(equation: Any) -> int:
    """Multiply-accumulates of an equation of a jaxpr."""
    match equation.primitive.name:
        case "conv_general_dilated":
            output, kernel = equation.outvars[0].aval, equation.invars[1].aval
            features = kernel.shape[equation.params["dimension_numbers"].rhs_spec[0]]
            return output.size * (kernel.size // features)
        case "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval
            return equation.outvars[0].aval.size * math.prod(left.shape[axis] for axis in contracted)
        case _:
            times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
            inside = (inner for jaxpr in _inner(equation.params.values()) for inner in jaxpr.eqns)
            return times * sum(map(macs_of_equation, inside))


def _inner(values: Any) -> Iterator[Any]:
    """The jaxprs among the parameters of an equation."""
    for value in values:
        if isinstance(value, tuple | list):
            yield from _inner(value)
        elif hasattr(value, "jaxpr"):
            yield value.jaxpr
        elif hasattr(value, "eqns"):
            yield value
