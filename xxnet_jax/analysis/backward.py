"""Backward passes of a network with other rules than the gradient's: deconvnets and guided backpropagation.

All of them carry a signal back through convolutions with the transposed filters and through max pooling to where the
maximum was. They differ in the ReLU: the gradient passes where the activation was positive, a deconvnet where the
signal itself is, guided backpropagation where both are. So the network is traced, with its plain operations, and
computed again with a ReLU of that rule: that works for every network and endpoint, without a list of layers.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from xxnet_jax.analysis.program import Operation, Program, traced_network
from xxnet_jax.errors import UnknownName
from xxnet_jax.models.layers import NORMALIZATION_SCOPE

Rule = Literal["gradient", "deconvnet", "guided"]
Network = Callable[..., dict[str, jax.Array]]


def network_with_rule(
    model: nn.Module, input_shape: tuple[int, int, int], batch_size: int, rule: Rule = "gradient"
) -> Network:
    """A network in inference as a function whose derivative has another rule for ReLUs.

    With "deconvnet" and "guided" the signal passes local response normalization as it is (Zeiler and Fergus, section
    2.1); batch normalization is a factor and a shift of the convolution before it, as ever in inference. Where windows
    of pooling overlap, a pixel that is the maximum of several gets the sum of their signals.

    Args:
        model: a network.
        input_shape: (height, width, channels).
        batch_size: images.
        rule: of the way back through a ReLU.

    Returns:
        `activations(variables, images, added={})`: endpoint -> activation, and what the model returns as
        `program.OUTPUT`; `added` has arrays by endpoint that are added to the activations, for derivatives by them.
    """
    program, endpoints = traced_network(model, input_shape, batch_size)

    def activations(
        variables: Any, images: jax.Array, added: Mapping[str, jax.Array] | None = None
    ) -> dict[str, jax.Array]:
        for name in added or {}:
            check_endpoint(name, endpoints)
        changes = {endpoints[name]: value for name, value in (added or {}).items()}
        arrays = _computed(program, [images, *jax.tree.leaves(variables)], rule, changes)
        return {name: arrays[array] for name, array in endpoints.items() if array is not None}

    return activations


def check_endpoint(name: str, known: Mapping[str, Any]) -> None:
    """Raises:
    ValueError: it is not one of the endpoints.
    """
    if name not in known:
        raise UnknownName("endpoint", name, known)


def _computed(
    program: Program, arguments: Sequence[Any], rule: Rule, changes: Mapping[int | None, jax.Array]
) -> dict[int, Any]:
    """All arrays of a program."""
    arrays: dict[int, Any] = {**program.constants, **dict(zip(program.arguments, arguments, strict=True))}
    of_image = {program.arguments[0]}
    entered: Any = None  # what came into a normalization
    for place, operation in enumerate(program.operations):
        varying = [array for array in operation.inputs if array in of_image]
        of_image.update(operation.outputs if varying else ())
        if rule == "gradient" or not varying:
            _compute(operation, arrays)
        elif _is_relu(operation, of_image):
            arrays[operation.outputs[0]] = _RELUS[rule](arrays[varying[0]])
        else:
            inside = NORMALIZATION_SCOPE in operation.scopes
            if inside and entered is None:
                entered = arrays[varying[0]]
            _compute(operation, arrays)
            if inside and not _goes_on(program.operations, place):
                output = operation.outputs[0]
                arrays[output] = _passed_back(entered, arrays[output])
                entered = None
        for output in operation.outputs:
            if output in changes:
                arrays[output] += changes[output]
    return arrays


def _compute(operation: Operation, arrays: dict[int, Any]) -> None:
    equation = operation.equation
    inputs = [
        variable.val if array is None else arrays[array]
        for variable, array in zip(equation.invars, operation.inputs, strict=True)
    ]
    results = equation.primitive.bind(*inputs, **equation.primitive.get_bind_params(equation.params))
    arrays.update(zip(operation.outputs, results if equation.primitive.multiple_results else [results], strict=True))


def _is_relu(operation: Operation, of_image: set[int]) -> bool:
    """Whether it is max(x, 0), also of the ReLU that is cut off at 6."""
    if operation.name != "max":
        return False
    literals = [v.val for v, array in zip(operation.equation.invars, operation.inputs, strict=True) if array is None]
    return len(literals) == 1 and float(literals[0]) == 0


def _goes_on(operations: Sequence[Operation], place: int) -> bool:
    """Whether the operation after that at `place` is of the same normalization."""
    return place + 1 < len(operations) and NORMALIZATION_SCOPE in operations[place + 1].scopes


def _relu_with(back: Callable[[jax.Array, jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    """A ReLU whose way back is `back(x, signal)`."""

    @jax.custom_vjp
    def relu(x: jax.Array) -> jax.Array:
        return jnp.maximum(x, 0)

    relu.defvjp(lambda x: (jnp.maximum(x, 0), x), lambda x, signal: (back(x, signal),))
    return relu


_RELUS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "deconvnet": _relu_with(lambda x, signal: jnp.maximum(signal, 0)),
    "guided": _relu_with(lambda x, signal: jnp.where(x > 0, jnp.maximum(signal, 0), 0)),
}


@jax.custom_vjp
def _passed_back(x: jax.Array, y: jax.Array) -> jax.Array:
    """`y`; the signal goes to `x`."""
    return y


_passed_back.defvjp(lambda x, y: (y, y), lambda y, signal: (signal, jnp.zeros_like(y)))
