"""Memory of training against counts by hand and XLA's analysis of the compiled step."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

import xxnet_jax as xx
from xxnet_jax.analysis import (
    Memory,
    compiled_memory,
    largest_batch,
    model_memory,
    predicted_memory,
    training_memory,
)
from xxnet_jax.analysis.memory import Schedule
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.optimizers import list_optimizers, optimizer_info
from xxnet_jax.parameters import abstract_variables
from xxnet_jax.training.step import lowered_train_step

KILO = jax.ShapeDtypeStruct((16, 16), jnp.float32)  # 1,024 bytes


@pytest.mark.parametrize("name", list_optimizers())
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_multiples(name: str, dtype: Any):
    """The state has as many sizes of the parameters as the table of optimizers says, and the number of the update."""
    params = {"kernel": jax.ShapeDtypeStruct((300, 40), dtype), "bias": jax.ShapeDtypeStruct((40,), dtype)}
    tx = xx.create_optimizer(name, learning_rate=0.1)
    memory = model_memory({"params": params}, tx)
    size = (300 * 40 + 40) * jnp.dtype(dtype).itemsize
    assert memory.parameters == memory.gradients == size
    state = jax.tree.leaves(tx.init(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), params)))
    scalars = sum(leaf.nbytes for leaf in state if leaf.ndim == 0)
    wide = sum(leaf.nbytes for leaf in state if leaf.ndim and leaf.dtype != dtype)  # kept in float32
    if not wide:
        assert memory.optimizer == optimizer_info(name).slots * size + scalars
    assert memory.optimizer == sum(leaf.nbytes for leaf in state)


def two_products(x: jax.Array, w: jax.Array) -> jax.Array:
    return jax.nn.relu(x @ w) @ w


def many(x: jax.Array) -> jax.Array:
    """Four products, of which the one sum after another is needed."""
    return sum((jnp.sum((x + i) @ x) for i in range(4)), start=jnp.zeros(()))


@pytest.mark.parametrize(
    ("function", "arguments", "schedule", "expected"),
    [
        # The first product and its ReLU, which the second product reads; the result has a place of its own.
        (two_products, (KILO, KILO), "program", Memory(2048, 1024, 2048)),
        # An elementwise chain is one loop.
        (lambda x: jnp.tanh(x * 2 + 1).astype(jnp.bfloat16), (KILO,), "program", Memory(1024, 512, 0)),
        # One after another: x + i, which the product reads, and the product; and the sums, 4 bytes each.
        (many, (KILO,), "program", Memory(1024, 4, 2 * 1024 + 3 * 4)),
        # First come, first served: four sums x + i, then four products before the first of those is free.
        (many, (KILO,), "breadth_first", Memory(1024, 4, 5 * 1024)),
    ],
)
def test_by_hand(function: Callable[..., Any], arguments: Any, schedule: Schedule, expected: Memory):
    found = predicted_memory(function, *arguments, schedule=schedule)
    assert found[:2] == expected[:2]
    assert found.temporaries == pytest.approx(expected.temporaries, abs=16)


def test_donated():
    """A result takes the place of an argument of the same shape and dtype, once."""
    function: Any = lambda x, y: (x + y, x - y, x.astype(jnp.int32))  # noqa: E731
    assert predicted_memory(function, KILO, KILO).results == 3 * 1024
    assert predicted_memory(function, KILO, KILO, donated=1).results == 2 * 1024
    assert predicted_memory(function, KILO, KILO, donated=2).results == 1024


@pytest.mark.parametrize(
    ("name", "shape", "batch_size", "lowest", "highest"),
    [
        ("lenet5", (32, 32, 1), 64, 0.55, 1.3),
        ("resnet20", (32, 32, 3), 32, 0.7, 1.3),
        ("vgg11", (64, 64, 3), 8, 0.7, 1.3),
    ],
)
def test_xla(name: str, shape: tuple[int, int, int], batch_size: int, lowest: float, highest: float):
    """The predicted peak is near XLA's; that of the smallest network is mostly what XLA copies."""
    knobs: dict[str, Any] = {"window": 2} if name == "vgg11" else {}  # of the dense layers, for small images
    model, tx = xx.create_model(name, **knobs), xx.create_optimizer("momentum", learning_rate=0.1)
    predicted = training_memory(model, shape, tx, batch_size)
    compiled = compiled_memory(lowered_train_step(model, tx, shape, batch_size).compile())
    assert lowest < predicted.total / compiled.total < highest
    assert predicted.arguments == pytest.approx(compiled.arguments, rel=0.001)


def test_grows_with_the_batch():
    """By what examples add, and up to 4 MiB of patches of a band; what belongs to the parameters stays."""
    model = xx.create_model("lenet5")
    peaks = [training_memory(model, (32, 32, 1), "adam", batch).total for batch in (512, 1024, 2048)]
    assert peaks[2] - peaks[1] == pytest.approx(2 * (peaks[1] - peaks[0]), abs=2**22)
    variables, _ = abstract_variables(model, (32, 32, 1))
    memory = model_memory(variables, "adam")
    assert peaks[0] > memory.parameters + memory.optimizer


@given(
    base=st.integers(0, 10**9),
    each=st.floats(1, 1e6),
    bend=st.floats(0.6, 1.4),
    memory=st.integers(10**6, 10**11),
)
def test_largest_batch(base: int, each: float, bend: float, memory: int):
    """It fits, one more does not; of a straight line a few batch sizes tell."""
    tried = []

    def bytes_of(batch: int) -> int:
        tried.append(batch)
        return base + int(each * batch**bend)

    if bytes_of(1) > memory:
        with pytest.raises(InvalidArgument, match="a batch of 1 takes"):
            largest_batch(bytes_of, memory)
        return
    limit = 100_000
    found = largest_batch(bytes_of, memory, limit=limit)
    assert base + int(each * found**bend) <= memory
    assert found == limit or base + int(each * (found + 1) ** bend) > memory
    assert len(tried) <= 12 + math.log2(limit)


def test_a_straight_line_takes_few_tries():
    tried = []

    def bytes_of(batch: int) -> int:
        tried.append(batch)
        return 10**9 + 7_654_321 * batch

    assert largest_batch(bytes_of, 16 * 2**30) == (16 * 2**30 - 10**9) // 7_654_321
    assert len(tried) <= 5


def test_any_transformation():
    """Not only names."""
    variables = {"params": {"w": KILO}}
    assert model_memory(variables, optax.adam(0.1)).optimizer == 2 * 1024 + 4
