"""Which pixels a unit of a network sees, derived from what the network computes.

The network is traced with shapes only, and a unit is followed back through each operation: a convolution or a pool
widens its region by the window, a padding or a slice shifts it, a sum of branches unites theirs, and what reduces an
axis needs all of it. Nothing is listed by hand, so branches, dilations and any padding are exact.

Coordinates are those of the notes: a pixel is 1 wide, and the centre of the first one is at .5.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from xxnet_jax.analysis.program import OUTPUT, network_of, traced_network
from xxnet_jax.errors import InvalidArgument, UnknownName
from xxnet_jax.models import Network


class Extent(NamedTuple):
    """Of a receptive field along one axis of the image, in pixels.

    On a map that a transposed convolution has enlarged neighbouring units see by turns more and less: then the size is
    the largest, jump and start are means.

    Attributes:
        size: from the first pixel to the last.
        jump: distance of the fields of two neighbouring units; 0 where there is but one unit.
        start: centre of the field of the first unit.
    """

    size: int
    jump: float
    start: float


@dataclass(frozen=True)
class ReceptiveField:
    """Of the units of an activation, as if the image had no borders.

    Attributes:
        rows, columns: along both axes.
    """

    rows: Extent
    columns: Extent

    @property
    def size(self) -> int:
        """Height and width, if they are the same."""
        return self._both("size")

    @property
    def jump(self) -> float:
        """Distance of neighbouring units, if it is the same in rows and columns."""
        return self._both("jump")

    @property
    def start(self) -> float:
        """Centre of the first unit, if it is the same in rows and columns."""
        return self._both("start")

    def box(self, row: int, column: int) -> tuple[float, float, float, float]:
        """(x1, y1, x2, y2) of the field of a unit; it may reach over the borders of the image."""
        (y1, y2), (x1, x2) = (
            (centre - extent.size / 2, centre + extent.size / 2)
            for extent, place in ((self.rows, row), (self.columns, column))
            for centre in (extent.start + place * extent.jump,)
        )
        return x1, y1, x2, y2

    def _both(self, name: str) -> Any:
        rows, columns = getattr(self.rows, name), getattr(self.columns, name)
        if rows != columns:
            raise InvalidArgument(f"{name} is {rows} in rows and {columns} in columns: see .rows and .columns")
        return rows


def receptive_field(
    model_or_name: nn.Module | str, endpoint: str = OUTPUT, input_shape: tuple[int, int, int] | None = None
) -> ReceptiveField:
    """The receptive field of an endpoint.

    Args:
        model_or_name: a network, or the name of a registered one.
        endpoint: a name of `xxnet_jax.endpoints`, or "output".
        input_shape: (height, width, channels); by default the registered one. SAME padding depends on it, as does what
            a dense layer sees.

    Raises:
        ValueError: an unknown name, no input_shape for a network without a name, or an operation whose pixels cannot be
            told.
    """
    return _one(_graph_of(model_or_name, input_shape), endpoint)


def receptive_fields(
    model_or_name: nn.Module | str, input_shape: tuple[int, int, int] | None = None
) -> dict[str, ReceptiveField]:
    """Those of all endpoints, in the order of the computation; arguments as in `receptive_field`."""
    graph = _graph_of(model_or_name, input_shape)
    return {name: _one(graph, name) for name in graph.outputs if name != OUTPUT or len(graph.outputs) == 1}


def seen_pixels(
    model_or_name: nn.Module | str,
    endpoint: str,
    unit: tuple[int, int],
    input_shape: tuple[int, int, int] | None = None,
) -> np.ndarray:
    """The pixels on which a unit depends, bool [height, width], borders and holes included.

    Args:
        model_or_name: as in `receptive_field`.
        endpoint: as in `receptive_field`.
        unit: row and column; (0, 0) where there is but one.
        input_shape: as in `receptive_field`.

    Raises:
        ValueError: as `receptive_field`, or there is no such unit.
    """
    graph = _graph_of(model_or_name, input_shape)
    output = graph.output(endpoint)
    axes = graph.axes.get(output, (None, None))
    sizes = tuple(1 if axis is None else graph.shapes[output][axis] for axis in axes)
    if not all(0 <= place < size for place, size in zip(unit, sizes, strict=True)):
        raise InvalidArgument(f"{endpoint} has {sizes[0]} x {sizes[1]} units, there is none at {unit}")
    region = graph.region(output, Region(unit, ONE), axes=(0, 1), clip=True)
    seen = np.zeros(graph.image_size, bool)
    if region is not None:
        rows, columns = (slice(o, o + n) for o, n in zip(region.origin, region.mask.shape, strict=True))
        seen[rows, columns] = region.mask
    return seen


def effective_receptive_field(
    model: Network, variables: Any, images: jax.Array, endpoint: str, unit: tuple[int, int]
) -> np.ndarray:
    """How much each pixel matters to a unit (Luo et al., 2016): the mean over images of |gradient|, at most 1.

    Args:
        model: a network of the zoo.
        variables: of it.
        images: float32 [batch, height, width, channels].
        endpoint: a name of `xxnet_jax.endpoints`.
        unit: row and column; its features are added with random signs, so that they do not cancel out.

    Returns:
        float32 [height, width].
    """
    height, width, channels = images.shape[1:]
    _graph_of(model, (height, width, channels)).output(endpoint)  # an unknown endpoint is named before anything runs
    gradient = _gradient(model, endpoint)(variables, images, jnp.asarray(unit))  # type: ignore[arg-type]
    strength = np.abs(np.asarray(gradient)).sum(-1).mean(0)
    return strength / max(strength.max(), np.finfo(np.float32).tiny)


@functools.lru_cache(maxsize=8)
def _gradient(model: Network, endpoint: str) -> Callable[..., jax.Array]:
    def response(images: jax.Array, variables: Any, unit: jax.Array) -> jax.Array:
        result: Any = model.apply(variables, images, train=False, mutable=["intermediates"])
        _, state = result
        value = state["intermediates"]["endpoints"][endpoint]
        if value.ndim == 4:
            value = value[:, unit[0], unit[1]]
        signs = jax.random.rademacher(jax.random.key(0), value.shape, value.dtype)
        return (value * signs).sum()

    return jax.jit(lambda variables, images, unit: jax.grad(response)(images, variables, unit))


def _one(graph: "Graph", endpoint: str) -> ReceptiveField:
    output = graph.output(endpoint)
    return ReceptiveField(*(_extent(graph, output, axis) for axis in (0, 1)))


def _extent(graph: "Graph", output: int, axis: int) -> Extent:
    """Along one axis, as if the map went on. Fields repeat after one unit, or several of a map that was enlarged."""
    only_one = graph.axes.get(output, (None, None))[axis] is None
    period = 1 if only_one else graph.period(axis)
    ends: dict[int, tuple[int, int]] = {}
    for place in range(1 if only_one else 2 * period):
        region = graph.region(output, Region((place, 0), ONE), axes=(axis,), clip=False)
        if region is not None:
            seen = np.flatnonzero(region.mask[:, 0]) + region.origin[0]
            ends[place] = int(seen[0]), int(seen[-1]) + 1
    if not ends:
        return Extent(0, 0, math.nan)
    place = min(ends)
    jump = 0 if only_one else (ends[place + period][0] - ends[place][0]) / period
    starts = [(first + last) / 2 - place * jump for place, (first, last) in ends.items()]
    size = max(last - first for first, last in ends.values())
    return Extent(size, int(jump) if jump == int(jump) else jump, sum(starts) / len(starts))


# --- The network as a list of operations ------------------------------------------------------------------------------


class Region(NamedTuple):
    """Positions on a map: bool [rows, columns], the first of which is at `origin`."""

    origin: tuple[int, int]
    mask: np.ndarray


ONE = np.ones((1, 1), bool)


class Operation(NamedTuple):
    """An operation of the traced network; arrays are numbers, None for those that do not depend on the image."""

    name: str
    parameters: Mapping[str, Any]
    inputs: list[int | None]
    input_shapes: list[tuple[int, ...]]
    output: int
    output_shape: tuple[int, ...]


Axes = tuple[int | None, int | None]  # of an array: which are the rows and the columns of the image


@dataclass
class Graph:
    """What a function computes of an image.

    Attributes:
        image_size: height and width.
        operations: in their order.
        outputs: name -> array.
        shapes: array -> its shape.
        axes: array -> its axes of rows and columns; an array without one does not vary along it.
    """

    image_size: tuple[int, int]
    operations: list[Operation] = field(default_factory=list)
    outputs: dict[str, int | None] = field(default_factory=dict)
    shapes: dict[int, tuple[int, ...]] = field(default_factory=dict)
    axes: dict[int, Axes] = field(default_factory=dict)

    def output(self, name: str) -> int:
        """Its array.

        Raises:
            ValueError: there is none.
        """
        if name not in self.outputs:
            raise UnknownName("endpoint", name, self.outputs)
        return -1 if (number := self.outputs[name]) is None else number

    def add(self, operation: Operation) -> None:
        """Append an operation."""
        self.operations.append(operation)
        self.shapes[operation.output] = operation.output_shape
        self.axes[operation.output] = tuple(  # type: ignore[assignment]
            next(
                (
                    to
                    for number, shape in zip(operation.inputs, operation.input_shapes, strict=True)
                    if number is not None and (at := self.axes[number][axis]) is not None
                    if (to := _moved(operation, at, shape)) is not None
                ),
                None,
            )
            for axis in (0, 1)
        )

    def period(self, axis: int) -> int:
        """After how many units of any map the fields repeat."""
        bases = [1]
        for operation in self.operations:
            for place, number in enumerate(operation.inputs):
                at = None if number is None else self.axes[number][axis]
                if at is not None and _moved(operation, at, operation.input_shapes[place]) is not None:
                    bases.append(_window(operation, place, at).base)
        return math.prod(bases)

    def region(self, output: int, region: Region, *, axes: tuple[int, ...], clip: bool) -> Region | None:
        """The part of the image that a region of an array needs.

        Args:
            output: the array.
            region: of it.
            axes: of the image that are looked at: (0, 1), or one of them, then rows of the regions are it.
            clip: what lies outside of maps is zero and needs nothing; else maps go on.
        """
        needed: dict[int, Region] = {output: region}
        for operation in reversed(self.operations):
            region_of_output = needed.pop(operation.output, None)
            if region_of_output is None:
                continue
            for place, number in enumerate(operation.inputs):
                if number is None:
                    continue
                part = self._needed(operation, place, region_of_output, axes, clip)
                if part is not None:
                    needed[number] = part if number not in needed else _united(needed[number], part)
        return needed.get(0)

    def _needed(
        self, operation: Operation, place: int, region: Region, axes: tuple[int, ...], clip: bool
    ) -> Region | None:
        """Of an input of an operation, for a region of its output."""
        number, shape = operation.inputs[place], operation.input_shapes[place]
        assert number is not None
        for dimension, axis in enumerate(axes):
            at = self.axes[number][axis]
            if at is None:  # it is the same everywhere
                region = _replaced(region, dimension, 0, _anywhere(region, dimension))
            elif _moved(operation, at, shape) is None:  # all of it is reduced
                everything = np.repeat(_anywhere(region, dimension), shape[at], axis=dimension)
                region = _replaced(region, dimension, 0, everything)
            else:
                region = _through(_window(operation, place, at), region, dimension)
                beside = operation.name == "concatenate" and operation.parameters["dimension"] == at
                if clip or beside:
                    region = _clipped(region, dimension, shape[at])
            if not region.mask.any():
                return None
        return region


class Window(NamedTuple):
    """Along one axis: output position p needs the inputs (p stride - before + k dilation) / base, k < size."""

    size: int = 1
    stride: int = 1
    before: int = 0
    dilation: int = 1
    base: int = 1


def _through(window: Window, region: Region, dimension: int) -> Region:
    mask = np.moveaxis(region.mask, dimension, 0)
    span = (len(mask) - 1) * window.stride + 1
    wider = np.zeros((span + (window.size - 1) * window.dilation, *mask.shape[1:]), bool)
    for k in range(window.size):
        wider[k * window.dilation :][: span : window.stride] |= mask
    origin = region.origin[dimension] * window.stride - window.before
    first = -origin % window.base  # between them there are zeros
    wider, origin = wider[first :: window.base], (origin + first) // window.base
    return _replaced(region, dimension, origin, np.moveaxis(wider, 0, dimension))


def _clipped(region: Region, dimension: int, size: int) -> Region:
    origin, mask = region.origin[dimension], np.moveaxis(region.mask, dimension, 0)
    first = max(0, -origin)
    mask = mask[first : max(first, size - origin)]
    return _replaced(region, dimension, origin + first, np.moveaxis(mask, 0, dimension))


def _anywhere(region: Region, dimension: int) -> np.ndarray:
    return np.asarray(region.mask.any(axis=dimension, keepdims=True))


def _replaced(region: Region, dimension: int, origin: int, mask: np.ndarray) -> Region:
    origins = list(region.origin)
    origins[dimension] = origin
    return Region((origins[0], origins[1]), mask)


def _united(a: Region, b: Region) -> Region:
    low = tuple(min(pair) for pair in zip(a.origin, b.origin, strict=True))
    high = tuple(
        max(o + n for o, n in pairs)
        for pairs in zip(*(zip(r.origin, r.mask.shape, strict=True) for r in (a, b)), strict=True)
    )
    mask = np.zeros([h - lo for lo, h in zip(low, high, strict=True)], bool)
    for region in (a, b):
        rows, columns = (
            slice(o - lo, o - lo + n) for o, lo, n in zip(region.origin, low, region.mask.shape, strict=True)
        )
        mask[rows, columns] |= region.mask
    return Region((low[0], low[1]), mask)


# --- What operations do with positions --------------------------------------------------------------------------------

REDUCTIONS = ("reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_and", "reduce_or", "argmax", "argmin")


def _moved(operation: Operation, axis: int, shape: tuple[int, ...]) -> int | None:
    """The axis of the output that an axis of an input becomes; None if it is reduced."""
    parameters, name = operation.parameters, operation.name
    match name:
        case "conv_general_dilated":
            numbers = parameters["dimension_numbers"]
            place = numbers.lhs_spec.index(axis)
            return None if place == 1 else numbers.out_spec[place]
        case "transpose":
            return parameters["permutation"].index(axis)
        case "broadcast_in_dim":
            to = parameters["broadcast_dimensions"][axis]
            return to if operation.output_shape[to] == shape[axis] else None
        case "reshape" | "squeeze" | "expand_dims":
            return _kept(shape, operation.output_shape, axis)
        case "dot_general":
            return _free_of_product(operation, axis)
        case _ if name in REDUCTIONS:
            axes = parameters["axes"]
            return None if axis in axes else axis - sum(reduced < axis for reduced in axes)
        case _:
            return axis


def _kept(before: Sequence[int], after: Sequence[int], axis: int) -> int | None:
    """The axis with as many arrays before it and as many positions, or fewer, whose parts become features."""
    for to in range(len(after)):
        whole = after[to] > 1 and before[axis] % after[to] == 0
        if whole and math.prod(after[:to]) == math.prod(before[:axis]):
            return to
    return None


def _free_of_product(operation: Operation, axis: int) -> int | None:
    """Of a matrix product, whose first argument it is that depends on the image."""
    (contracted, _), (batch, _) = operation.parameters["dimension_numbers"]
    if operation.inputs[1] is not None:
        raise InvalidArgument("the network multiplies two activations: it cannot be told which pixels they are of")
    if axis in contracted:
        return None
    if axis in batch:
        return list(batch).index(axis)
    return len(batch) + sum(other not in (*contracted, *batch) for other in range(axis))


def _window(operation: Operation, place: int, axis: int) -> Window:
    """How an axis of an input is gone over."""
    parameters, name = operation.parameters, operation.name
    if name == "conv_general_dilated":
        numbers = parameters["dimension_numbers"]
        i = numbers.lhs_spec.index(axis) - 2
        if i < 0:
            return Window()
        size = operation.input_shapes[1][numbers.rhs_spec[i + 2]]
        before = parameters["padding"][i][0]
        dilations = parameters["rhs_dilation"][i], parameters["lhs_dilation"][i]
        return Window(size, parameters["window_strides"][i], before, *dilations)
    if name.startswith("reduce_window"):
        return Window(
            parameters["window_dimensions"][axis],
            parameters["window_strides"][axis],
            parameters["padding"][axis][0],
            parameters["window_dilation"][axis],
            parameters["base_dilation"][axis],
        )
    if name == "pad":
        before, _, between = parameters["padding_config"][axis]
        return Window(before=before, base=between + 1)
    if name == "reshape":
        to = _moved(operation, axis, operation.input_shapes[place])
        assert to is not None
        block = operation.input_shapes[place][axis] // operation.output_shape[to]
        return Window(size=block, stride=block)
    if name == "slice":
        strides = parameters["strides"]
        return Window(stride=strides[axis] if strides else 1, before=-parameters["start_indices"][axis])
    if name == "concatenate" and axis == parameters["dimension"]:
        return Window(before=sum(shape[axis] for shape in operation.input_shapes[:place]))
    return Window()


# One position of the output needs the same position of each input, which has its shape, or is a scalar.
ELEMENTWISE_ONLY = "an operation of the network, {}, may mix positions in a way that is not known here"
KNOWN = {
    *("conv_general_dilated", "transpose", "broadcast_in_dim", "reshape", "squeeze", "expand_dims", "dot_general"),
    *("pad", "slice", "concatenate", *REDUCTIONS),
}


def _check_known(operation: Operation) -> None:
    name = operation.name
    if name in KNOWN or name.startswith("reduce_window"):
        return
    shapes = [s for n, s in zip(operation.inputs, operation.input_shapes, strict=True) if n is not None]
    if any(shape != operation.output_shape for shape in shapes) or name in ("rev", "sort", "fft") or "cum" in name:
        raise InvalidArgument(ELEMENTWISE_ONLY.format(name))


# --- Tracing ----------------------------------------------------------------------------------------------------------


def _graph_of(model_or_name: nn.Module | str, input_shape: tuple[int, int, int] | None) -> Graph:
    return _traced(*network_of(model_or_name, input_shape))


@functools.lru_cache(maxsize=8)
def _traced(model: nn.Module, input_shape: tuple[int, int, int]) -> Graph:
    program, endpoints = traced_network(model, input_shape)
    graph = Graph(input_shape[:2])
    graph.shapes[0], graph.axes[0] = (1, *input_shape), (1, 2)
    arrays: dict[int | None, int] = {program.arguments[0]: 0}  # those that depend on the image
    for equation, inputs, outputs, _ in program.operations:
        numbers = [arrays.get(array) for array in inputs]
        if all(number is None for number in numbers):
            continue
        operation = Operation(
            equation.primitive.name,
            equation.params,
            numbers,
            [variable.aval.shape for variable in equation.invars],
            len(graph.shapes),
            equation.outvars[0].aval.shape,
        )
        _check_known(operation)
        graph.add(operation)
        arrays |= dict.fromkeys(outputs, operation.output)
    graph.outputs = {name: arrays.get(array) for name, array in endpoints.items()}
    return graph
