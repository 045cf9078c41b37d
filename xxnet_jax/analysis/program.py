"""What a traced function does, as one list of operations: those of functions that it calls stand in their place."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.extend.core import ClosedJaxpr

from xxnet_jax.errors import InvalidArgument
from xxnet_jax.models import create_model, model_info
from xxnet_jax.models.backend import plain_operations
from xxnet_jax.parameters import abstract_variables

CALLS = {
    "pjit",
    "jit",
    "closed_call",
    "core_call",
    "custom_jvp_call",
    "custom_vjp_call",
    "checkpoint",
    "remat",
    "remat2",
}
OUTPUT = "output"  # the name of what a model returns


class Operation(NamedTuple):
    """An operation; arrays are numbers.

    Attributes:
        equation: of the jaxpr.
        inputs: arrays, None for literals.
        outputs: arrays.
        scopes: names of the modules and named scopes that it is in, from the outermost.
    """

    equation: Any
    inputs: list[int | None]
    outputs: list[int]
    scopes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of the primitive."""
        return self.equation.primitive.name


@dataclass
class Program:
    """What a function does.

    Attributes:
        operations: in their order.
        avals: array -> its shape and dtype.
        constants: array -> its value, where the function holds it.
        arguments: the arrays that it takes.
        results: the arrays that it returns, None for literals.
    """

    operations: list[Operation] = field(default_factory=list)
    avals: list[Any] = field(default_factory=list)
    constants: dict[int, Any] = field(default_factory=dict)
    arguments: list[int] = field(default_factory=list)
    results: list[int | None] = field(default_factory=list)

    def new(self, aval: Any) -> int:
        """A further array."""
        self.avals.append(aval)
        return len(self.avals) - 1

    def constant(self, aval: Any, value: Any) -> int:
        """A further array that the function holds."""
        array = self.new(aval)
        self.constants[array] = value
        return array


def network_of(
    model_or_name: nn.Module | str, input_shape: tuple[int, int, int] | None
) -> tuple[nn.Module, tuple[int, int, int]]:
    """A network, and the shape of its images: of a registered name by default its own.

    Raises:
        ValueError: unknown name, or a model without a shape.
    """
    if isinstance(model_or_name, str):
        height, width, channels = input_shape or model_info(model_or_name).input_shape
        return create_model(model_or_name), (height, width, channels)
    if input_shape is None:
        raise InvalidArgument(
            "give input_shape, (height, width, channels): only registered names have one of their own"
        )
    height, width, channels = input_shape
    return model_or_name, (height, width, channels)


def traced_network(model: nn.Module, input_shape: tuple[int, int, int], batch_size: int = 1) -> tuple[Program, Any]:
    """What a network does in inference, with XLA's plain operations, and its arrays by endpoint.

    The first argument of the program is the images. The last endpoint is called `OUTPUT`: what the model returns.
    """
    variables, _ = abstract_variables(model, input_shape)
    images = jax.ShapeDtypeStruct((batch_size, *input_shape), jnp.float32)
    names: list[str] = []

    def activations(images: jax.Array, variables: Any) -> list[Any]:
        result: Any = model.apply(variables, images, train=False, mutable=["intermediates"])
        output, state = result
        published = state.get("intermediates", {}).get("endpoints", {})
        names[:] = [*published, OUTPUT]
        return [*published.values(), output]

    with plain_operations():
        program = traced(activations, images, variables)
    return program, dict(zip(names, program.results, strict=True))


def traced(function: Callable[..., Any], *arguments: Any) -> Program:
    """What `function` does with arrays, or `jax.ShapeDtypeStruct`s, in trees; nothing is computed.

    Loops and branches stay single operations.
    """
    closed = jax.make_jaxpr(function)(*arguments)
    program = Program()
    program.arguments = [program.new(aval) for aval in closed.in_avals]
    program.results = _inline(program, closed, program.arguments, ())
    return program


def _inline(program: Program, jaxpr: Any, arguments: Sequence[int | None], scopes: tuple[str, ...]) -> list[int | None]:
    arrays: dict[Any, int | None] = dict(zip(jaxpr.invars, arguments, strict=True))
    arrays |= {variable: program.new(variable.aval) for variable in jaxpr.constvars}

    def number(variable: Any) -> int | None:
        return None if hasattr(variable, "val") else arrays[variable]

    def argument(variable: Any) -> int | None:
        """As `number`, but a literal is an array too: the function that is called has a name for it."""
        return program.constant(variable.aval, variable.val) if hasattr(variable, "val") else arrays[variable]

    for equation in jaxpr.eqns:
        inner = (*scopes, *filter(None, str(equation.source_info.name_stack).split("/")))
        called = _called(equation)
        if called is not None:
            # Rules of a custom gradient stand before the arguments of the function.
            taken = equation.invars[len(equation.invars) - len(called.jaxpr.invars) :]
            results = _inline(program, called, [argument(variable) for variable in taken], inner)
            arrays |= zip(equation.outvars, results, strict=True)
            continue
        inputs = [number(variable) for variable in equation.invars]
        outputs = [program.new(variable.aval) for variable in equation.outvars]
        arrays |= zip(equation.outvars, outputs, strict=True)
        program.operations.append(Operation(equation, inputs, outputs, inner))
    return [number(variable) for variable in jaxpr.outvars]


def _called(equation: Any) -> Any:
    """The closed jaxpr of a function that an equation calls once."""
    if equation.primitive.name in CALLS:
        for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
            if name in equation.params:
                inner = equation.params[name]
                return inner if hasattr(inner, "consts") else ClosedJaxpr(inner, ())
    return None
