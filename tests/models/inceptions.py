"""The Inceptions with one module of each kind, for the tests of them."""

import re
from typing import Any

import pytest

import xxnet_jax as xx
from xxnet_jax.models.inception_tables import V2, V3, V3_KERAS, V4

# name: trainable parameters without the auxiliary head, those of the head, running statistics with the head's.
COUNTS = {
    "inception_v2": (11_178_336, 0, 19_776),
    "inception_v3": (23_817_352, 0, 34_432),
    "inception_v3.slim": (23_817_352, 3_325_800, 34_432 + 1_792),
    "inception_v3.timm": (23_834_568, 0, 34_432),
    "inception_v3.torchvision": (23_834_568, 27_161_264 - 23_834_568, 34_432 + 1_792),
    "inception_v4": (42_679_816, 0, 63_168),
    "inception_v4.slim": (42_648_232, 46_006_800 - 42_648_232, 63_168 + 1_792),
}
every_variant = pytest.mark.parametrize("name", COUNTS)


def network(name: str, **options: Any) -> Any:
    return xx.create_model(name, **options)


# One module of each kind is enough for most tests, and much faster.
KINDS = {
    "inception_v2": [row for row in V2 if not re.match("Mixed_(3c|4[bcde]|5b)", row.name)],
    "inception_v3": [
        row for row in V3_KERAS if row.name not in ("mixed1", "mixed2", "mixed4", "mixed5", "mixed6", "mixed9")
    ],
    "inception_v3.": [row for row in V3 if not re.match("Mixed_(5[cd]|6[bcd]|7b)", row.name)],
    "inception_v4": [row for row in V4 if not re.match("Mixed_(5[bcd]|6[bcdefg]|7[bc])", row.name)],
}


def short(name: str, **options: Any) -> Any:
    """The network with one module of each kind."""
    kinds = KINDS["inception_v3." if name.startswith("inception_v3.") else name.removesuffix(".slim")]
    return network(name, rows=tuple(kinds), **options)


def tiny(name: str, **options: Any) -> Any:
    """The same, and narrow."""
    return short(name, width_multiplier=0.02, min_depth=3, **options)
