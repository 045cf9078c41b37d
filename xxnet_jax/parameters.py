"""Parameters by path, with regular expressions on paths such as "F6/kernel"; variables as shapes alone."""

import re
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from xxnet_jax.errors import InvalidArgument


def abstract_variables(model: nn.Module, input_shape: tuple[int, int, int]) -> tuple[Any, jax.ShapeDtypeStruct]:
    """Shapes and dtypes of the variables of a network, and of an image [1, height, width, channels]; nothing is run."""
    images = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)
    return jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images), images


def parameter_paths(params: Any) -> Any:
    """The tree with the path of each leaf, such as "F6/kernel", in its place."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: jax.tree_util.keystr(path, simple=True, separator="/"), params
    )


def matches(params: Any, pattern: str, purpose: str) -> Any:
    """The tree with True where the regular expression `pattern` is found in the path of the leaf, else False.

    Args:
        params: tree of arrays.
        pattern: of `re.search`: "kernel$", "^C1/".
        purpose: what the pattern is for, as the error should say it.

    Raises:
        ValueError: it is not a regular expression, or matches nothing; then the message lists the paths.
    """
    paths = parameter_paths(params)
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InvalidArgument(f"the {purpose} pattern '{pattern}' is not a regular expression: {error}") from error
    mask = jax.tree.map(lambda path: expression.search(path) is not None, paths)
    if not any(jax.tree.leaves(mask)):
        known = ", ".join(sorted(jax.tree.leaves(paths)))
        raise InvalidArgument(f"the {purpose} pattern '{pattern}' matches no parameter; paths: {known}")
    return mask
