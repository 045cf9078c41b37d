"""How much memory training takes: of parameters and what belongs to them, and at the peak of a step.

The notes' rule is: total = memory of the model + batch size x memory of an example. The first part is exact (parameters
x2 for SGD, x3 for momentum, x4 for Adam). The second depends on what a compiler keeps at once; it is predicted from the
operations of the step, or read off the step that XLA has compiled.
"""

import collections
import functools
import math
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.extend.core import jaxpr_as_fun

from xxnet_jax.analysis.program import Operation, Program, traced
from xxnet_jax.errors import InvalidArgument, XXNetError
from xxnet_jax.losses import Outputs, classification_loss
from xxnet_jax.optimizers import create_optimizer
from xxnet_jax.parameters import abstract_variables

Schedule = Literal["program", "breadth_first"]


def tree_bytes(tree: Any) -> int:
    """Bytes of the arrays, or `jax.ShapeDtypeStruct`s, of a tree."""
    return sum(map(_bytes, jax.tree.leaves(tree)))


def _bytes(array: Any) -> int:
    if not hasattr(array, "dtype"):
        return 0
    if jnp.issubdtype(array.dtype, jax.dtypes.extended):
        return math.prod(array.shape) * 8  # keys of random numbers
    return math.prod(array.shape) * array.dtype.itemsize


# --- Parameters and what belongs to them ------------------------------------------------------------------------------


class ModelMemory(NamedTuple):
    """Bytes that do not depend on the batch.

    Attributes:
        parameters: trainable ones.
        gradients: of them.
        optimizer: its state.
        statistics: running ones of norms.
    """

    parameters: int
    gradients: int
    optimizer: int
    statistics: int

    @property
    def multiple(self) -> float:
        """Parameters, gradients and state in sizes of the parameters: about 2 for SGD, 3 for momentum, 4 for Adam."""
        return (self.parameters + self.gradients + self.optimizer) / self.parameters


def model_memory(variables: Any, optimizer: optax.GradientTransformation | str | None = None) -> ModelMemory:
    """Bytes of variables, their gradients and the state of an optimizer.

    Args:
        variables: `{"params": ..., "batch_stats": ...}`, arrays or shapes.
        optimizer: as in `training_memory`.
    """
    params = variables["params"]
    size = tree_bytes(params)
    state = jax.eval_shape(_optimizer(optimizer).init, params)
    return ModelMemory(size, size, tree_bytes(state), tree_bytes(variables.get("batch_stats", {})))


def _optimizer(optimizer: optax.GradientTransformation | str | None) -> optax.GradientTransformation:
    return create_optimizer(optimizer or "sgd") if optimizer is None or isinstance(optimizer, str) else optimizer


# --- The peak of a function -------------------------------------------------------------------------------------------


class Memory(NamedTuple):
    """Bytes of a compiled function while it runs.

    Attributes:
        arguments: what it takes.
        results: what it returns, less what takes the place of arguments.
        temporaries: intermediate values that are there at once, at the peak.
    """

    arguments: int
    results: int
    temporaries: int

    @property
    def total(self) -> int:
        return sum(self)


def compiled_memory(compiled: jax.stages.Compiled) -> Memory:
    """What XLA says of a compiled function: `jax.jit(f).lower(...).compile()`.

    Raises:
        XXNetError: the backend does not say.
    """
    found = compiled.memory_analysis()
    if found is None:
        raise XXNetError(f"the backend {jax.default_backend()} does not tell the memory of compiled functions")
    results = found.output_size_in_bytes - found.alias_size_in_bytes
    return Memory(found.argument_size_in_bytes, results, found.temp_size_in_bytes)


def predicted_memory(
    function: Callable[..., Any], *arguments: Any, donated: int = 0, schedule: Schedule | None = None
) -> Memory:
    """The peak of memory of a function, from its operations; it is traced, not compiled.

    What is cheap and elementwise is taken to be fused into its users, as XLA does: it exists only where a convolution,
    a product or another operation that is not fused reads it. Then the bytes of what is alive are counted along the
    order in which the operations run. XLA for CPU runs what is ready first come, first served, so as to keep its
    threads busy, and needs up to three times the memory of the order in which a program is written; others keep to
    that, or do better. `experiments/benchmarks/memory.py` compares with XLA's own analysis.

    Args:
        function: of trees of arrays.
        arguments: arrays or `jax.ShapeDtypeStruct`s.
        donated: so many of the first arguments give their memory to results, as by `jax.jit(donate_argnums=...)`.
        schedule: the order; by default that of the backend.
    """
    program = traced(function, *arguments)
    if schedule is None:
        schedule = "breadth_first" if jax.default_backend() == "cpu" else "program"
    operations = _breadth_first(program.operations) if schedule == "breadth_first" else program.operations
    results = [array for array in program.results if array is not None]
    reused = collections.Counter(_kinds(jax.tree.leaves(arguments[:donated])))
    new = collections.Counter(_kinds(program.avals[array] for array in results)) - reused
    return Memory(
        tree_bytes(arguments),
        sum(size * count for (_, _, size), count in new.items()),
        _peak(operations, program),
    )


def _kinds(arrays: Iterable[Any]) -> Iterable[tuple[Any, str, int]]:
    return ((array.shape, str(array.dtype), _bytes(array)) for array in arrays)


# Elementwise, or moving elements: XLA computes them where they are read.
FUSED = set(
    """abs add add_any and broadcast_in_dim ceil clamp concatenate convert_element_type copy div dynamic_slice eq exp
    expand_dims floor ge gt integer_pow iota is_finite le log log1p logistic lt max min mul ne neg not or pad pow
    random_bits reduce_precision reshape rev round rsqrt select_n shift_left shift_right_arithmetic shift_right_logical
    sign slice split sqrt square squeeze stop_gradient sub tanh transpose xor""".split()  # noqa: SIM905
)
COSTLY = {"concatenate", "exp", "log", "log1p", "logistic", "pow", "random_bits", "tanh"}  # not computed twice
REDUCTIONS = {"argmax", "argmin", "reduce_and", "reduce_max", "reduce_min", "reduce_or", "reduce_prod", "reduce_sum"}


def _peak(operations: list[Operation], program: Program) -> int:
    """The largest sum of bytes of intermediate values that are alive at once."""
    readers: dict[int, list[str]] = collections.defaultdict(list)
    for operation in operations:
        for array in operation.inputs:
            if array is not None:
                readers[array].append(operation.name)

    def exists(operation: Operation) -> bool:
        names = readers[operation.outputs[0]] if operation.outputs else []
        return (
            operation.name not in FUSED
            or any(name not in FUSED | REDUCTIONS for name in names)
            or (operation.name in COSTLY and len(names) > 1)
        )

    last_read: dict[int, int] = {}  # what is fused reads its inputs when it is read itself
    for time in reversed(range(len(operations))):
        operation = operations[time]
        read = time if exists(operation) else last_read.get(operation.outputs[0], -1)
        for array in operation.inputs:
            if array is not None:
                last_read[array] = max(last_read.get(array, -1), read)

    elsewhere = set(program.results)  # results have a place of their own
    freed: dict[int, int] = collections.Counter()
    alive = peak = 0
    for time, operation in enumerate(operations):
        if exists(operation):
            for array in operation.outputs:
                if array not in elsewhere:
                    size = _bytes(program.avals[array])
                    alive += size
                    freed[max(last_read.get(array, time), time)] += size
        peak = max(peak, alive + _within(operation))
        alive -= freed[time]
    return peak


def _within(operation: Operation) -> int:
    """The peak of a pass through a loop; 0 where there is none."""
    if operation.name != "scan":
        return 0
    body = operation.equation.params["jaxpr"]
    program = traced(jaxpr_as_fun(body), *(jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in body.in_avals))
    return _peak(program.operations, program)


def _breadth_first(operations: list[Operation]) -> list[Operation]:
    """The operations in the order in which they become ready."""
    maker = {array: place for place, operation in enumerate(operations) for array in operation.outputs}
    needs = [{maker[array] for array in op.inputs if array is not None and array in maker} for op in operations]
    readers: list[list[int]] = [[] for _ in operations]
    for place, makers in enumerate(needs):
        for other in sorted(makers):
            readers[other].append(place)
    waits = [len(makers) for makers in needs]
    ready = collections.deque(place for place, count in enumerate(waits) if count == 0)
    order = []
    while ready:
        place = ready.popleft()
        order.append(operations[place])
        for reader in readers[place]:
            waits[reader] -= 1
            if waits[reader] == 0:
                ready.append(reader)
    return order


# --- The peak of training ---------------------------------------------------------------------------------------------


def training_memory(
    model: nn.Module,
    input_shape: tuple[int, int, int],
    optimizer: optax.GradientTransformation | str | None = None,
    batch_size: int = 1,
    schedule: Schedule | None = None,
) -> Memory:
    """The predicted peak of a training step of a classifier, with cross-entropy; see `predicted_memory`.

    Args:
        model: a network.
        input_shape: (height, width, channels).
        optimizer: a name of `list_optimizers`, or a transformation; by default SGD, which has no state.
        batch_size: images.
        schedule: as in `predicted_memory`.
    """
    tx = _optimizer(optimizer)
    variables, _ = abstract_variables(model, input_shape)
    params, statistics = variables["params"], variables.get("batch_stats", {})
    state = (params, statistics, jax.eval_shape(tx.init, params))
    batch = {
        "image": jax.ShapeDtypeStruct((batch_size, *input_shape), jnp.float32),
        "label": jax.ShapeDtypeStruct((batch_size,), jnp.int32),
        "mask": jax.ShapeDtypeStruct((batch_size,), jnp.bool_),
    }
    return predicted_memory(functools.partial(_step, model, tx), state, batch, donated=1, schedule=schedule)


def _step(model: nn.Module, tx: optax.GradientTransformation, state: Any, batch: Any) -> Any:
    params, statistics, opt_state = state
    key = jax.random.key(0)

    def objective(params: Any) -> tuple[jax.Array, Any]:
        result: Any = model.apply(
            {"params": params, "batch_stats": statistics},
            batch["image"],
            train=True,
            mutable=["batch_stats", "aux_logits"],
            rngs={"dropout": key},
        )
        prediction, changed = result
        auxiliary = changed.get("aux_logits", {}).get("heads", {})
        loss, _ = classification_loss()(Outputs(prediction, auxiliary, jnp.zeros((), jnp.int32)), batch, key)
        return loss, changed.get("batch_stats", {})

    gradients, statistics = jax.grad(objective, has_aux=True)(params)
    updates, opt_state = tx.update(gradients, opt_state, params)
    return optax.apply_updates(params, updates), statistics, opt_state


STRAIGHT_TRIES = 10


def largest_batch(bytes_of: Callable[[int], int], memory: int, *, limit: int = 1 << 20) -> int:
    """The largest batch whose step fits into so many bytes, at most `limit`.

    Args:
        bytes_of: batch size -> bytes; it grows with the batch. With `training_memory` that is seconds of tracing, with
            `compiled_memory` exact: few batch sizes are tried, as memory is nearly a straight line.
        memory: bytes.
        limit: the largest that is tried.

    Raises:
        ValueError: not one example fits.
    """
    sizes = {1: bytes_of(1)}
    if sizes[1] > memory:
        raise InvalidArgument(f"a batch of 1 takes {sizes[1]:,} bytes, more than the {memory:,} that there are")
    fits, too_large, guess = 1, limit + 1, 2
    while too_large - fits > 1:
        sizes[guess] = bytes_of(guess)
        if sizes[guess] <= memory:
            fits = guess
        else:
            too_large = guess
        a, b = sorted(sizes)[-2:]
        on_the_line = fits + int((memory - sizes[fits]) * (b - a) / max(sizes[b] - sizes[a], 1))
        guess = on_the_line if len(sizes) < STRAIGHT_TRIES else (fits + too_large) // 2
        guess = min(max(guess, fits + 1), too_large - 1)
    return fits
