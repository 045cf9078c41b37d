"""Eight simulated CPU devices, strict promotion of ranks, warnings as errors, and reproducible random examples."""

import os
from importlib.metadata import version
from pathlib import Path

# Before the first import of JAX, which reads these when it starts a backend.
FLAGS = {"--xla_force_host_platform_device_count": "8"}
# The tests wait for compilations, so these are done in haste. JAX 0.10 can also do without XLA's new emitters of
# fusions, four fifths of what is left; with later releases the tests take longer.
if version("jax").startswith("0.10."):
    FLAGS["--xla_cpu_use_fusion_emitters"] = "false"
given = os.environ.get("XLA_FLAGS", "")
os.environ["XLA_FLAGS"] = " ".join([given, *(f"{flag}={value}" for flag, value in FLAGS.items() if flag not in given)])
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

# Many tests train the same small networks: each program is compiled once for all of them, and for the next time.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "xla"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import functools  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from typing import Any  # noqa: E402

import hypothesis  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import pytest  # noqa: E402

import xxnet_jax as xx  # noqa: E402

pytest.register_assert_rewrite("carried", "zoo")  # their assertions say what they found, as those of the tests do
jax.config.update("jax_numpy_rank_promotion", "raise")

# The same examples in every run, and no deadline: a test that meets a compilation is slow once.
hypothesis.settings.register_profile("tests", derandomize=True, deadline=None, max_examples=20)
hypothesis.settings.load_profile("tests")

# Other people's warnings, each by message and module. Ours are errors.
TOLERATED_WARNINGS: tuple[str, ...] = ()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", "error")
    for warning in TOLERATED_WARNINGS:
        config.addinivalue_line("filterwarnings", f"ignore:{warning}")


@pytest.fixture
def optimized() -> Iterator[None]:
    """Programs are compiled as they are for users: different ones that must agree in every bit need it."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="session")
def initial_variables() -> Callable[[str], Any]:
    """The variables of a registered network at its nominal input, made once for all tests.

    Before training nothing is normalized in inference, and each residual block doubles the variance: over hundreds of
    them it would overflow. There the scales of the norms are halved, after which a block adds a 64th or a 16th.
    """

    @functools.lru_cache(maxsize=2)  # the tests of a network follow each other
    def make(name: str) -> Any:
        model, shape = xx.create_model(name), xx.model_info(name).input_shape

        variables = jax.jit(lambda key: model.init(key, jnp.zeros((1, *shape)), train=False))(jax.random.key(0))
        scales = [path for path, _ in jax.tree.leaves_with_path(variables["params"]) if path[-1].key == "scale"]
        if len(scales) < 500:
            return variables
        halved = lambda path, leaf: leaf / 2 if path[-1].key == "scale" else leaf  # noqa: E731
        return {**variables, "params": jax.tree.map_with_path(halved, variables["params"])}

    return make


# --- The other frameworks, which the tests marked `oracle` compare with -----------------------------------------------


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
