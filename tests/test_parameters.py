"""Parameters by path, against Flax's own flattening and Python's own `re`."""

import re
from typing import Any

import flax.traverse_util
import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import xxnet_jax as xx
from xxnet_jax.parameters import matches, parameter_paths

names = st.sampled_from(["C1", "F6", "kernel", "bias", "block_1", "conv1.a"])
leaves = st.builds(np.zeros, st.sampled_from([(), (2,), (3, 1)]))
trees: st.SearchStrategy[Any] = st.dictionaries(
    names, st.recursive(leaves, lambda inner: st.dictionaries(names, inner, min_size=1), max_leaves=6), min_size=1
)
PATTERNS = ["kernel", "kernel$", "^C1/", "C1", ".", r"block_\d", r"conv1\.a", "(F6|C1)/bias$", "^$", "K", "kernel/bias"]


def flat(tree: Any) -> dict[str, Any]:
    return flax.traverse_util.flatten_dict(tree, sep="/")  # type: ignore[return-value]


@given(trees)
def test_paths_are_those_of_flax(tree: Any):
    """Each leaf's path is the names on the way to it, joined by slashes."""
    assert {path: path for path in flat(tree)} == flat(parameter_paths(tree))


@given(trees, st.sampled_from(PATTERNS))
def test_matches_where_the_expression_is_found(tree: Any, pattern: str):
    """True just where `re.search` finds the pattern in the path; a pattern that is found nowhere is an error, which
    quotes it, says what it was for, and lists all paths."""
    expected = {path: re.search(pattern, path) is not None for path in flat(tree)}
    if any(expected.values()):
        assert flat(matches(tree, pattern, "freeze")) == expected
        return
    with pytest.raises(ValueError, match="matches no parameter") as error:
        matches(tree, pattern, "freeze")
    assert str(error.value).startswith(f"the freeze pattern '{pattern}' ")
    assert str(error.value).endswith("; paths: " + ", ".join(sorted(expected)))


@pytest.mark.parametrize("pattern", ["(", "*kernel", "[a", "kernel)"])
def test_what_is_no_regular_expression(pattern: str):
    """The error quotes the pattern and says what it was for."""
    with pytest.raises(ValueError, match=r"not a regular expression") as error:
        matches({"C1": {"kernel": np.zeros(2)}}, pattern, "weight decay")
    assert f"the weight decay pattern '{pattern}'" in str(error.value)


def test_matches_of_shapes():
    """Trees without arrays work, too, so that patterns can be tried before anything is computed."""
    model = xx.create_model("lenet5")
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), np.zeros((1, 32, 32, 1)), train=False))["params"]
    chosen = [path for path, match in flat(matches(shapes, "^(C1|F6)/", "freeze")).items() if match]
    assert sorted(chosen) == ["C1/bias", "C1/kernel", "F6/bias", "F6/kernel"]
