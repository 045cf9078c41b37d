"""Inception v2 to v4: auxiliary heads, classifiers, and the parts that knobs change."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from inceptions import KINDS, every_variant, network, tiny
from zoo import (
    abstract_apply,
    abstract_init,
    abstract_output,
    abstract_params,
    assert_every_parameter_learns,
    images_of,
    initialized,
    random_images,
)

from xxnet_jax.models import count_parameters
from xxnet_jax.models.inception import AuxiliaryHead, Style
from xxnet_jax.models.inception_tables import V3, Pool
from xxnet_jax.models.layers import Norm

# -------------------------------------------------------------------------------------------------- auxiliary heads


@every_variant
def test_variables_do_not_depend_on_train(name: str):
    """Initialized with train=True and train=False, the variables are the same."""
    model = tiny(name, num_classes=3)
    assert abstract_init(model, images_of(75)) == abstract_init(model, images_of(75), train=True)


@pytest.mark.parametrize("name", ["inception_v3.slim", "inception_v3.torchvision", "inception_v4.slim"])
def test_auxiliary_logits_only_while_training(name: str):
    """While training there are float32 logits of the auxiliary head; in inference `apply` returns a bare array."""
    model = tiny(name, num_classes=5, dtype=jnp.bfloat16)
    collections = ["aux_logits", "batch_stats"]
    logits, state = abstract_apply(model, images_of(75), train=True, mutable=collections)
    heads = state["aux_logits"]["heads"]
    assert {head: (x.shape, x.dtype) for head, x in heads.items()} == {"AuxLogits": ((2, 5), jnp.float32)}
    assert (logits.shape, logits.dtype) == ((2, 5), jnp.float32)
    assert "AuxLogits" in state["batch_stats"]
    _, state = abstract_apply(model, images_of(75), mutable=collections)
    assert "aux_logits" not in state
    assert isinstance(abstract_apply(model, images_of(75)), jax.ShapeDtypeStruct)


@pytest.mark.parametrize("name", ["inception_v3.slim", "inception_v4.slim"])
def test_no_auxiliary_head_without_classifier(name: str):
    """Features come without the parameters of an auxiliary head, also while training."""
    model = tiny(name, num_classes=None)
    assert "AuxLogits" not in abstract_params(model, 75, train=True)
    _, state = abstract_apply(model, images_of(75), train=True, mutable=["aux_logits", "batch_stats"])
    assert "aux_logits" not in state


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (5, 16), (16, 17), (17, 17), (19, 24)])
def test_auxiliary_parameters_for_maps_of_any_size(size: tuple[int, int]):
    """The auxiliary head runs on maps from 1x1 on with one set of parameters, 3,325,800 for 768 channels."""
    style = Style(Norm(scale=False), False, "he_normal", jnp.float32, jnp.float32)
    head = AuxiliaryHead((128, 768), 1000, style)
    features = images_of(*size, 768)
    assert count_parameters(abstract_init(head, features)["params"]) == 3_325_800
    assert abstract_output(head, features).shape == (2, 1000)


def test_training_on_small_images():
    """At 75 pixels, the smallest size, the auxiliary head has the parameters that it has at 299."""
    model = tiny("inception_v3.slim")
    assert abstract_init(model, images_of(75)) == abstract_init(model, images_of(299))


def test_unknown_auxiliary_block():
    """An auxiliary head on a row that does not exist is a ValueError that suggests the nearest."""
    with pytest.raises(ValueError, match=r"auxiliary_block 'Mixed_6z': did you mean .*Mixed_6"):
        abstract_init(tiny("inception_v3.slim", auxiliary_block="Mixed_6z"), images_of(299))


def test_auxiliary_head_where_asked():
    """Keras's network gets an auxiliary head with 3,325,800 parameters from `auxiliary_block="mixed7"`."""
    params = abstract_params(network("inception_v3", auxiliary_block="mixed7"), 299)
    assert count_parameters(params["AuxLogits"]) == 3_325_800


@pytest.mark.parametrize("name", ["inception_v2", "inception_v3.slim"])
def test_every_parameter_learns(name: str):
    """Of the sum of main and auxiliary losses every parameter array has a finite gradient that is not all zero."""
    kept = ("Conv2d_1a_3x3", "Mixed_5b", "Mixed_6a", "Mixed_6e", "Mixed_7c")
    rows = KINDS["inception_v2"] if name == "inception_v2" else [row for row in V3 if row.name in kept]
    model = network(name, rows=tuple(rows), width_multiplier=0.02, min_depth=3, num_classes=3)
    side = 27
    variables = initialized(model, side)
    assert ("AuxLogits" in variables["params"]) == (name != "inception_v2")
    assert_every_parameter_learns(model, variables, random_images(side, side, scales=(1, 1, 1, 1)))


# -------------------------------------------------------------------------------------------------- heads and parts


def test_features_and_scores():
    """Without classifier the last map, its mean or its maximum; with `spatial` the scores of the mean of each window,
    with a classifier alone those of the mean of the map."""
    side = 65
    model = tiny("inception_v2", num_classes=4)
    variables = initialized(model, side)
    body = {key: {k: v for k, v in leaves.items() if k != "Logits"} for key, leaves in variables.items()}
    images = jax.random.normal(jax.random.key(3), (2, side, 40, 3))

    def run() -> dict[str, Any]:
        found: dict[str, Any] = {}
        for pooling in (None, "avg", "max"):
            features = tiny("inception_v2", num_classes=None, pooling=pooling)
            found[str(pooling)] = features.apply(body, images, train=False)
        for key, spatial in (("logits", False), ("scores", True)):
            classifier = tiny("inception_v2", num_classes=4, spatial=spatial, window=2)
            found[key] = classifier.apply(variables, images, train=False)
        return found

    found = jax.tree.map(np.asarray, jax.jit(run)())
    assert found["None"].shape[:3] == (2, 3, 2)
    np.testing.assert_allclose(found["avg"], found["None"].mean(axis=(1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found["max"], found["None"].max(axis=(1, 2)))
    weights = variables["params"]["Logits"]
    kernel, bias = np.asarray(weights["kernel"], np.float64), np.asarray(weights["bias"])
    assert found["scores"].shape == (2, 2, 1, 4)
    assert found["scores"].dtype == np.float32
    windows = np.stack([found["None"][:, row : row + 2].mean(axis=(1, 2)) for row in (0, 1)], axis=1)
    # float32 sums of tens of products
    np.testing.assert_allclose(found["scores"][:, :, 0], windows @ kernel + bias, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["logits"], found["avg"] @ kernel + bias, rtol=1e-4, atol=1e-5)


@every_variant
def test_dtypes(name: str):
    """In bfloat16 every activation is bfloat16 and the logits are float32; parameters have `param_dtype`."""
    model = tiny(name, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)
    variables = abstract_init(model, images_of(75))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables["params"])} == {jnp.dtype("bfloat16")}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables["batch_stats"])} == {jnp.dtype("float32")}
    logits, state = abstract_apply(model, images_of(75), mutable=["intermediates"])
    assert (logits.shape, logits.dtype) == ((2, 1000), jnp.float32)
    dtypes = sorted(activation.dtype.name for activation in state["intermediates"]["endpoints"].values())
    assert dtypes == ["bfloat16"] * (len(dtypes) - 1) + ["float32"]  # the logits


@pytest.mark.parametrize("size", [(8, 9), (9, 8)])
def test_separable_stem(size: tuple[int, int]):
    """The first layer of v2 is, in float64 NumPy, depthwise 7x7 with stride 2 and more zeros below and to the right
    where the size is even, then 1x1, bias and ReLU."""
    model = network("inception_v2", num_classes=None, final_endpoint="Conv2d_1a_7x7", width_multiplier=0.1, min_depth=4)
    random = np.random.default_rng(0)
    images = random.normal(size=(1, *size, 3))
    depthwise = random.normal(size=(7, 7, 1, 6))  # int(6.4) features // 3 channels: 2 for each
    pointwise, bias = random.normal(size=(1, 1, 6, 6)), random.normal(size=6)
    params = {"depthwise": {"kernel": depthwise}, "pointwise": {"kernel": pointwise, "bias": bias}}
    params = {"Conv2d_1a_7x7": jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)}
    found = model.apply({"params": params}, jnp.asarray(images, jnp.float32), train=False)

    rows, columns = (-(-side // 2) for side in size)
    padded = np.zeros((1, 2 * rows + 5, 2 * columns + 5, 3))
    top, left = (2 if side % 2 == 0 else 3 for side in size)
    padded[:, top : top + size[0], left : left + size[1]] = images
    between = np.zeros((1, rows, columns, 6))
    for i in range(rows):
        for j in range(columns):
            window = padded[0, 2 * i : 2 * i + 7, 2 * j : 2 * j + 7]
            for channel in range(6):  # of the output; two for each of the input
                between[0, i, j, channel] = np.sum(window[:, :, channel // 2] * depthwise[:, :, 0, channel])
    expected = np.maximum(between @ pointwise[0, 0] + bias, 0)
    assert (expected > 0).any()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)  # float32 sums of up to 147 products


@pytest.mark.parametrize("count_padding", [True, False])
def test_average_pooling_at_the_sides(count_padding: bool):
    """On a map of ones the mean is 1, or 4/9 in the corners and 6/9 at the sides where zeros around the map count."""
    style = Style(None, count_padding, "glorot_uniform", jnp.float32, jnp.float32)
    found = style.pool(jnp.ones((1, 4, 5, 1)), Pool("avg"))[0, :, :, 0]
    rows, columns = np.array([2, 3, 3, 2]) / 3, np.array([2, 3, 3, 3, 2]) / 3
    expected = np.outer(rows, columns) if count_padding else np.ones((4, 5))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_initial_weights_of_v2():
    """TF-Slim's truncated normals: 1 in the first layer, .09 in reductions, .1 in projections; He elsewhere."""
    model = network("inception_v2", num_classes=None, final_endpoint="Mixed_3b")
    params = initialized(model, 16)["params"]
    cut = 0.8796  # standard deviation of a normal that is cut at 2

    def spread(*path: str) -> float:
        leaf = params
        for name in path:
            leaf = leaf[name]
        return float(jnp.std(leaf["kernel"]))

    assert spread("Conv2d_1a_7x7", "depthwise") == pytest.approx(cut, rel=0.1)
    assert spread("Conv2d_1a_7x7", "pointwise") == pytest.approx(cut, rel=0.1)
    assert spread("Conv2d_2b_1x1", "conv") == pytest.approx(0.1 * cut, rel=0.05)
    assert spread("Conv2d_2c_3x3", "conv") == pytest.approx(np.sqrt(2 / 576), rel=0.05)
    assert spread("Mixed_3b", "Branch_0_Conv2d_0a_1x1", "conv") == pytest.approx(np.sqrt(2 / 192), rel=0.05)
    assert spread("Mixed_3b", "Branch_1_Conv2d_0a_1x1", "conv") == pytest.approx(0.09 * cut, rel=0.05)
    assert spread("Mixed_3b", "Branch_2_Conv2d_0a_1x1", "conv") == pytest.approx(0.09 * cut, rel=0.05)
    assert spread("Mixed_3b", "Branch_2_Conv2d_0c_3x3", "conv") == pytest.approx(np.sqrt(2 / 864), rel=0.05)
    assert spread("Mixed_3b", "Branch_3_Conv2d_0b_1x1", "conv") == pytest.approx(0.1 * cut, rel=0.05)


def test_unknown_initialization():
    """An initialization that the family does not have is a ValueError that suggests the nearest."""
    with pytest.raises(ValueError, match="unknown initialization 'he_norml': did you mean he_normal"):
        abstract_init(tiny("inception_v3", initialization="he_norml"), images_of(75))


def test_without_normalization():
    """Without batch normalization the convolutions have a bias in the place of beta, and nothing is counted else."""
    variables = abstract_init(network("inception_v3", norm=None), images_of(299))
    assert "batch_stats" not in variables
    assert count_parameters(variables["params"]) == 23_817_352
