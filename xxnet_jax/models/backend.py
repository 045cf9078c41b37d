"""What a network is written for: the backend, and values that hold for what is traced within a `with`."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Generic, TypeVar

import jax

Value = TypeVar("Value")


class Ambient(Generic[Value]):
    """A value that functions read without being given it, such as a setting of all layers of a network.

    Args:
        default: outside of every `holding`.
    """

    def __init__(self, default: Value):
        self._value = contextvars.ContextVar("ambient", default=default)

    def get(self) -> Value:
        return self._value.get()

    @contextlib.contextmanager
    def holding(self, value: Value) -> Iterator[None]:
        """Within, `get` gives `value`."""
        token = self._value.set(value)
        try:
            yield
        finally:
            self._value.reset(token)


_plain = Ambient(False)


def for_cpu() -> bool:
    """Whether to write things as they run well on CPU: it is the backend, and nobody asked for `plain_operations`."""
    return jax.default_backend() == "cpu" and not _plain.get()


def plain_operations() -> contextlib.AbstractContextManager[None]:
    """What is traced within has plain convolutions, pools, means and gradients on CPU too.

    For comparison, to count operations, and for derivatives in forward mode, which gradients that are written out do
    not have.
    """
    return _plain.holding(True)


def materialized(x: jax.Array) -> jax.Array:
    """`x`, computed once: what XLA fuses on CPU does not reach across.

    In a chain of sums, x + f(x) + g(x + f(x)) + ..., XLA for CPU computes earlier sums again in many later fusions, and
    what it has to compile grows with the square of the depth (`experiments/benchmarks/compile.py`). With jax 0.10
    it still does: XLA drops the barrier before it fuses.
    """
    return jax.lax.optimization_barrier(x) if for_cpu() else x
