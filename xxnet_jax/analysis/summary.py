"""What a network consists of, layer by layer, and what it costs."""

import functools
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import optax
from flax import linen as nn
from flax.traverse_util import flatten_dict

from xxnet_jax.analysis.macs import macs_of_equation
from xxnet_jax.analysis.memory import Memory, ModelMemory, model_memory, training_memory, tree_bytes
from xxnet_jax.analysis.program import Operation, Program, network_of, traced_network
from xxnet_jax.analysis.units import format_bytes
from xxnet_jax.models.layers import NORMALIZATION_SCOPE
from xxnet_jax.parameters import abstract_variables


class Row(NamedTuple):
    """A layer.

    Attributes:
        name: of the module with the parameters, such as "block1/conv1"; else of the endpoint that it makes, or of its
            place and kind.
        kind: conv, dense, norm, max_pool, avg_pool, global_pool, lrn, relu, tanh, sigmoid, add, concatenate; other.
        output_shape: with the batch.
        parameters: trainable ones.
        macs: multiply-accumulates of convolutions and products, for the batch.
        activation_bytes: of its output.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    macs: int
    activation_bytes: int


@dataclass(frozen=True)
class Summary:
    """A network, layer by layer, in the order of the computation. `print` shows the table.

    Attributes:
        model: the network.
        input_shape: (height, width, channels).
        batch_size: images.
        optimizer: of which `training_bytes` are.
        rows: the layers.
        auxiliary_parameters: of heads that only run in training; in no row.
        memory: bytes of parameters, gradients, optimizer and statistics.
    """

    model: nn.Module
    input_shape: tuple[int, int, int]
    batch_size: int
    optimizer: optax.GradientTransformation | str | None
    rows: tuple[Row, ...]
    auxiliary_parameters: int
    memory: ModelMemory

    @property
    def parameters(self) -> int:
        """Trainable ones, without those of auxiliary heads."""
        return sum(row.parameters for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of inference, for the batch."""
        return sum(row.macs for row in self.rows)

    @property
    def activation_bytes(self) -> int:
        """Of the outputs of all layers, for the batch: an upper bound, as a ReLU can take the place of its input."""
        return sum(row.activation_bytes for row in self.rows)

    @functools.cached_property
    def training_memory(self) -> Memory:
        """The predicted peak of a training step; traced when it is asked for, which takes seconds."""
        return training_memory(self.model, self.input_shape, self.optimizer, self.batch_size)

    @property
    def training_bytes(self) -> int:
        """The total of `training_memory`."""
        return self.training_memory.total

    def __str__(self) -> str:
        total = Row("total", "", (), self.parameters, self.macs, self.activation_bytes)
        cells = [cells_of(row) for row in (*self.rows, total)]
        widths = [max(map(len, column)) for column in zip(HEAD, *cells, strict=True)]
        line = "-" * (sum(widths) + 2 * (len(widths) - 1))

        def text(row: tuple[str, ...]) -> str:
            aligned = (
                cell.rjust(width) if column in NUMBERS else cell.ljust(width)
                for column, cell, width in zip(HEAD, row, widths, strict=True)
            )
            return "  ".join(aligned).rstrip()

        *layers, last = map(text, cells)
        return "\n".join([text(HEAD), line, *layers, line, last])


HEAD: tuple[str, ...] = ("layer", "kind", "output", "parameters", "MACs", "activations")
NUMBERS = HEAD[3:]


def cells_of(row: Row) -> tuple[str, ...]:
    """A layer as people read it, in the order of `HEAD`."""
    shape = "x".join(map(str, row.output_shape))
    return row.name, row.kind, shape, f"{row.parameters:,}", f"{row.macs:,}", format_bytes(row.activation_bytes)


def summarize(
    model_or_name: nn.Module | str,
    input_shape: tuple[int, int, int] | None = None,
    optimizer: optax.GradientTransformation | str | None = None,
    batch_size: int = 1,
) -> Summary:
    """The layers of a network and what they cost, from what the network computes in inference; nothing is run.

    Args:
        model_or_name: a network, or a registered name.
        input_shape: (height, width, channels); by default that of the name.
        optimizer: a name of `list_optimizers`, or a transformation, for the memory of training; by default SGD.
        batch_size: images.

    Raises:
        ValueError: unknown name, a model without a shape, or images that are too small for it.
    """
    model, input_shape = network_of(model_or_name, input_shape)
    variables, _ = abstract_variables(model, input_shape)
    program, endpoints = traced_network(model, input_shape, batch_size)
    params: Any = flatten_dict(variables["params"])
    rows = _rows(program, endpoints, _parameters_by_module(params))
    auxiliary = sum(math.prod(leaf.shape) for leaf in params.values()) - sum(row.parameters for row in rows)
    return Summary(
        model, input_shape, batch_size, optimizer, tuple(rows), auxiliary, model_memory(variables, optimizer)
    )


Path = tuple[str, ...]


def _parameters_by_module(params: Mapping[Path, Any]) -> dict[Path, int]:
    """Module -> the number of the parameters that are its own."""
    counts: Counter[Path] = Counter()
    for path, leaf in params.items():
        counts[path[:-1]] += math.prod(leaf.shape)
    return dict(counts)


ELEMENTWISE = {"max": "relu", "tanh": "tanh", "logistic": "sigmoid", "add": "add", "concatenate": "concatenate"}


def _rows(program: Program, endpoints: Mapping[str, int | None], parameters: Mapping[Path, int]) -> list[Row]:
    """Operations of a module with parameters are one layer; of the others those that have a kind are one each."""
    published = {array: name for name, array in reversed([*endpoints.items()]) if array is not None}
    of_image = {program.arguments[0]}
    groups: dict[Any, list[Operation]] = {}
    before: Any = None
    for operation in program.operations:
        if of_image.isdisjoint(operation.inputs):
            continue
        of_image.update(operation.outputs)
        modules = _modules(operation)
        owner = next((modules[:n] for n in range(len(modules), 0, -1) if modules[:n] in parameters), None)
        if owner is not None:
            key = owner
        elif NORMALIZATION_SCOPE in operation.scopes:
            key = before if isinstance(before, str) else f"{NORMALIZATION_SCOPE} {len(groups)}"
        else:
            key = len(groups) if _kind([operation], of_image) != "other" else None
        before = key
        if key is not None:
            groups.setdefault(key, []).append(operation)
    names: Counter[str] = Counter()
    return [_row(key, group, program, published, parameters, of_image, names) for key, group in groups.items()]


def _row(
    key: Any,
    group: list[Operation],
    program: Program,
    published: Mapping[int, str],
    parameters: Mapping[Path, int],
    of_image: set[int],
    names: Counter[str],
) -> Row:
    output = program.avals[group[-1].outputs[0]]
    owns = isinstance(key, tuple)
    kind = "lrn" if isinstance(key, str) else _kind(group, of_image)
    name = "/".join(key) if owns else published.get(group[-1].outputs[0], "")
    if not name or names[name]:
        name = "/".join(filter(None, (name or "/".join(_modules(group[-1])), kind)))
    names[name] += 1
    if names[name] > 1:
        name = f"{name}_{names[name]}"
    macs = sum(macs_of_equation(operation.equation) for operation in group)
    return Row(name, kind, output.shape, parameters[key] if owns else 0, macs, tree_bytes(output))


def _modules(operation: Operation) -> Path:
    """The path of the module that it is in, as in the tree of parameters."""
    # The first scope is the network, one with a point is a method.
    return tuple(scope for scope in operation.scopes[1:] if "." not in scope and scope != NORMALIZATION_SCOPE)


def _kind(group: list[Operation], of_image: set[int]) -> str:
    """Of a layer, by its operations."""
    names = {operation.name for operation in group}
    if "conv_general_dilated" in names:
        return "conv"
    if "dot_general" in names:
        return "dense"
    if len(group) > 1:
        return "avg_pool" if "reduce_window_sum" in names else "norm"
    (operation,) = group
    ndim = len(operation.equation.outvars[0].aval.shape)
    varying = sum(array in of_image for array in operation.inputs)
    match operation.name:
        case "reduce_window_max":
            return "max_pool"
        case "reduce_window_sum":
            return "avg_pool"
        case "reduce_sum" if tuple(operation.equation.params["axes"]) == (1, 2):
            return "global_pool"
        case "max" | "tanh" | "logistic" if varying == 1 and ndim > 1:
            return ELEMENTWISE[operation.name]
        case "add" | "concatenate" if varying > 1 and ndim == 4:
            return ELEMENTWISE[operation.name]
        case _:
            return "other"
