"""Multiply-accumulate operations of convolutions and matrix products."""

import math
from collections.abc import Iterator
from typing import Any

import jax
from flax import linen as nn

from xxnet_jax.models.backend import plain_operations
from xxnet_jax.parameters import abstract_variables


def count_macs(model: nn.Module, input_shape: tuple[int, int, int]) -> int:
    """Multiply-accumulates of a network for one image in inference: convolutions and matrix products, nothing else.

    Counted in what is computed, not in a list of layers: the network is traced with shapes only, and a convolution has
    (outputs) x (kernel height x width x input channels of its group), padding included; bias and norm have none.

    Args:
        model: takes images [batch, height, width, channels] and the keyword `train`.
        input_shape: (height, width, channels).
    """
    variables, images = abstract_variables(model, input_shape)
    with plain_operations():
        traced = jax.make_jaxpr(lambda v, x: model.apply(v, x, train=False))(variables, images)
    return _macs_of(traced.jaxpr)


def _macs_of(jaxpr: Any) -> int:
    return sum(_macs_of_equation(equation) for equation in jaxpr.eqns)


def _macs_of_equation(equation: Any) -> int:
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
            return times * sum(_macs_of(inner) for inner in _inner(equation.params.values()))


def _inner(values: Any) -> Iterator[Any]:
    """The jaxprs among the parameters of an equation."""
    for value in values:
        if isinstance(value, tuple | list):
            yield from _inner(value)
        elif hasattr(value, "jaxpr"):
            yield value.jaxpr
        elif hasattr(value, "eqns"):
            yield value
