"""Names of layers in other frameworks and in ours, as tables of patterns."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax

from xxnet_jax.models.layers import ConvUnit, Network
from xxnet_jax.parameters import abstract_variables

# Their pattern -> our paths. A field of one letter stands for a number, one of more letters for a word, and numbers may
# be added to: "layer{s}.{b}.conv{i}" -> "conv{s+1}_block{b+1}_{i}/conv". The first pattern that fits is taken.
Names = Mapping[str, str]
Table = Names | Callable[[Network], Names]  # of a family; some depend on the network

_FIELD = re.compile(r"\{(\w+)([+-]\d+)?\}")


def renamer(names: Names) -> Callable[[str], str | None]:
    """A function that takes a name of theirs to ours, or to None where no pattern fits."""
    rules = [(_as_regex(theirs), ours) for theirs, ours in names.items()]

    def rename(name: str) -> str | None:
        for regex, ours in rules:
            if fits := regex.fullmatch(name):
                return _FIELD.sub(lambda field: _filled(fits[field[1]], field[2]), ours)
        return None

    return rename


def _as_regex(pattern: str) -> re.Pattern[str]:
    parts, end, seen = [], 0, set[str]()
    for field in _FIELD.finditer(pattern):
        parts.append(re.escape(pattern[end : field.start()]))
        content = r"\d+" if len(field[1]) == 1 else r"\w+?"
        parts.append(f"(?P={field[1]})" if field[1] in seen else f"(?P<{field[1]}>{content})")
        seen.add(field[1])
        end = field.end()
    return re.compile("".join(parts) + re.escape(pattern[end:]))


def _filled(value: str, addend: str | None) -> str:
    return str(int(value) + int(addend)) if addend else value


# --- What tables need to know of a network ----------------------------------------------------------------------------


def convolutions(model: Network) -> list[str]:
    """Paths of a network's convolutions with their normalization, in the order in which they run.

    That is the order in which other frameworks make those that have no name.
    """
    paths: list[str] = []

    def listen(next_function: Any, arguments: Any, keywords: Any, context: Any) -> Any:
        if isinstance(context.module, ConvUnit) and context.method_name == "__call__":
            paths.append("/".join(context.module.path))
        return next_function(*arguments, **keywords)

    side = model.smallest_input()
    variables, images = abstract_variables(model, (side, side, 3))
    with nn.intercept_methods(listen):
        jax.eval_shape(lambda variables, images: model.apply(variables, images, train=False), variables, images)
    return paths
