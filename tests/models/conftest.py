"""The other frameworks, which the tests marked `oracle` compare with."""

import os
from collections.abc import Iterator
from typing import Any

import jax
import pytest

pytest.register_assert_rewrite("zoo")  # its assertions say what they found, as those of the tests do


@pytest.fixture(scope="module")
def keras() -> Iterator[Any]:
    os.environ["KERAS_BACKEND"] = "jax"  # read when Keras is imported
    module = pytest.importorskip("keras")
    assert module.backend.backend() == "jax"
    with jax.numpy_rank_promotion("allow"):  # Keras adds biases by promotion
        yield module


@pytest.fixture(scope="session")
def torch() -> Any:
    module = pytest.importorskip("torch")
    module.set_num_threads(1)
    return module
