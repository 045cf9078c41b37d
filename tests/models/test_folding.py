"""Folded batch normalization against the network as it was."""

from typing import Any

import flax.errors
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zoo import random_variables

import xxnet_jax as xx
from xxnet_jax.models import fold_batch_norm
from xxnet_jax.models.normalization import BatchNorm

# How many normalizations remain: those before the first convolution of a block, and at the end.
SMALL: dict[str, tuple[dict[str, Any], int, int]] = {
    "resnet50": ({"depths": (1, 1), "widths": (4, 8), "stem_features": 4}, 64, 0),
    "resnet20": ({"depths": (1, 1), "widths": (4, 8), "stem_features": 4}, 16, 0),
    "resnet50v2": ({"depths": (2, 1), "widths": (4, 8), "stem_features": 4}, 64, 4),
    "densenet40_12": ({"depths": (2, 2)}, 16, 6),
    "mobilenet": ({"alpha": 0.25}, 64, 0),
    "inception_v3": ({"width_multiplier": 0.1, "min_depth": 4}, 96, 0),
    "vgg11_bn": ({"features_of_blocks": (4, 4, 4, 4, 4), "head": "gap"}, 32, 0),
    "resnet50.xxnet": ({"depths": (1, 1), "widths": (4, 8), "stem_features": 4}, 64, 9),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.full_size if name in ("inception_v3", "resnet50") else ()) for name in SMALL],
)
def test_logits_stay(name: str):
    """The same logits from fewer numbers; what precedes its convolution, or stands behind a ReLU, is left."""
    options, side, left = SMALL[name]
    model = xx.create_model(name, num_classes=7, **options)
    variables = jax.tree.map(jnp.asarray, random_variables(model, side))
    folded = fold_batch_norm(model, variables, (side, side, 3))
    images = jnp.asarray(np.random.default_rng(1).normal(size=(2, side, side, 3)), jnp.float32)
    results: Any = [model.apply(v, images, train=False) for v in (variables, folded)]
    expected, found = results
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * float(jnp.abs(expected).max()))
    paths = flax.traverse_util.flatten_dict(folded["batch_stats"])
    assert sum(path[-1] == "var" for path in paths) == left
    before = flax.traverse_util.flatten_dict(variables["batch_stats"])
    assert sum(path[-1] in ("var", "folded") for path in paths) == sum(path[-1] == "var" for path in before)


def test_no_product_is_left():
    """A folded network of convolutions and normalizations multiplies in its convolutions alone, and has no root."""
    options, side, _ = SMALL["vgg11_bn"]
    model = xx.create_model("vgg11_bn", num_classes=7, **options)
    folded = fold_batch_norm(model, random_variables(model, side), (side, side, 3))
    program = str(jax.make_jaxpr(lambda x: model.apply(folded, x, train=False))(jnp.zeros((1, side, side, 3))))
    assert "rsqrt" not in program
    assert " mul " not in program


def test_statistics_that_are_missing_are_an_error():
    """Only folded variables do without; forgotten ones are not taken for folded ones."""
    layer = BatchNorm(use_running_average=True)
    variables = layer.init(jax.random.key(0), jnp.zeros((2, 3)))
    with pytest.raises(flax.errors.FlaxError):
        layer.apply({"params": variables["params"]}, jnp.zeros((2, 3)))
