"""Which parameters of a pretrained network stay as they are."""

import re
from typing import Any

from xxnet_jax.errors import InvalidArgument
from xxnet_jax.models import create_model
from xxnet_jax.pretrained.conversion import shapes_of


def freeze_through(name: str, endpoint: str | None = None, **knobs: Any) -> str:
    """A regular expression on paths for `Recipe.freeze`: the parameters up to an endpoint.

    Args:
        name: of a registered network.
        endpoint: the last activation whose parameters are frozen, such as "mixed8"; None: all but the classifier.
        **knobs: as in `create_model`.

    Raises:
        ValueError: unknown name or endpoint, or nothing stands before it that could be frozen.
    """
    before = _modules(name, endpoint, **knobs)
    whole = _modules(name, None, **knobs)
    cut = [module for module, leaves in before.items() if leaves != whole[module]]
    chosen = [module for module in before if module not in cut]
    chosen += [leaf for module in cut for leaf in sorted(before[module])]
    if not chosen:
        raise InvalidArgument(f"{name} has no parameters before its endpoint {endpoint}")
    return f"^({'|'.join(re.escape(path) for path in chosen)})(/|$)"


def _modules(name: str, endpoint: str | None, **knobs: Any) -> dict[str, set[str]]:
    """Outermost modules without a classifier -> paths of their parameters, as far as the endpoint needs them."""
    model = create_model(name, num_classes=None, final_endpoint=endpoint, **knobs)
    modules: dict[str, set[str]] = {}
    for path in shapes_of(model, name):
        collection, _, leaf = path.partition("/")
        if collection == "params":
            modules.setdefault(leaf.partition("/")[0], set()).add(leaf)
    return modules
