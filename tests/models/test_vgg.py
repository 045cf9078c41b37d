"""VGG: the table of the paper, dense evaluation, the variants of the notes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import zoo
from zoo import abstract_params, parameters_by_module, shapes

import xxnet_jax as xx
from xxnet_jax.models import count_parameters
from xxnet_jax.models.vgg import INITIALIZERS

create_model: Any = xx.create_model  # Flax types the result of apply as a union
SMALL: dict[str, Any] = {"features_of_blocks": (4, 6, 8, 8, 8), "dense": (12, 10), "num_classes": 5}


def initialized(name: str, side: int, **options: Any) -> tuple[Any, Any]:
    model = create_model(name, **{**SMALL, **options})
    return model, zoo.initialized(model, side)


@pytest.mark.parametrize("name", ["vgg11", "vgg13", "vgg16", "vgg16_1x1", "vgg19", "vgg11_lrn"])
def test_maps_of_the_table(name: str):
    """Each block halves the map and has the features of Table 1; Keras's names."""
    found = shapes(name, 224)
    for block, (side, features) in enumerate(zip((112, 56, 28, 14, 7), (64, 128, 256, 512, 512), strict=True), start=1):
        assert found[f"block{block}_pool"] == (side, side, features)
        assert found[f"block{block}_conv1"] == (2 * side, 2 * side, features)
    assert found["predictions"] == (1000,)
    convolutions = sum("conv" in endpoint for endpoint in found)
    depth = {"vgg11": 11, "vgg13": 13, "vgg16": 16, "vgg16_1x1": 16, "vgg19": 19, "vgg11_lrn": 11}[name]
    assert convolutions + 3 == depth  # weight layers


def test_parameters_by_layer():
    """The rows that the notes print for VGG-16, dense layers with the bias that they forget (1,000, not 4,096)."""
    printed = [1_792, 36_928, 73_856, 147_584, 295_168, *[590_080] * 2, 1_180_160, *[2_359_808] * 5]
    printed += [102_764_544, 16_781_312, 4_097_000]
    layers = parameters_by_module(create_model("vgg16"), 224)
    order = [f"block{b}_conv{n}" for b, count in enumerate((2, 2, 3, 3, 3), start=1) for n in range(1, count + 1)]
    assert [layers[name] for name in (*order, "fc1", "fc2", "predictions")] == printed


def test_the_slip_of_xxnet():
    """Its second block begins with a 3x2 kernel: 49,280 parameters in place of 73,856."""
    layer = abstract_params(create_model("vgg16.xxnet"), 224)["block2_conv1"]
    assert layer["conv"]["kernel"].shape == (3, 2, 64, 128)
    assert count_parameters(layer) == 49_280


def test_slim_names():
    """TF-Slim's names of the activations."""
    pools = {f"pool{block}" for block in range(1, 6)}
    convolutions = {f"conv{block}/conv{block}_1" for block in range(1, 6)}
    second = {f"conv{block}/conv{block}_2" for block in range(3, 6)}
    assert shapes("vgg11.slim", 224).keys() == pools | convolutions | second | {"fc6", "fc7", "fc8"}


def test_keras_features():
    """Features of the notes' example: block4_pool of VGG-19 is 14x14x512, the last map 7x7x512."""
    assert shapes("vgg19", 224)["block4_pool"] == (14, 14, 512)
    assert shapes("vgg16", 224, num_classes=None)["block5_pool"] == (7, 7, 512)


def test_final_endpoint_makes_nothing_behind_it():
    """Truncated at block3_pool there are the first two blocks' parameters and the third's, and no others."""
    model, variables = initialized("vgg16", 32, final_endpoint="block3_pool")
    images = jnp.ones((1, 32, 32, 3))
    assert {name.split("_")[0] for name in variables["params"]} == {"block1", "block2", "block3"}
    assert model.apply(variables, images, train=False).shape == (1, 4, 4, 8)
    with pytest.raises(ValueError, match="endpoint of VGG 'block3_pol': did you mean block3_pool"):
        shapes("vgg16", 224, final_endpoint="block3_pol")


def test_dense_evaluation_equals_every_window():
    """On 256x288 the scores are the ordinary head's on each 7x7 window of the last map; by default, their mean."""
    model, variables = initialized("vgg11", 224)
    images = jax.random.normal(jax.random.key(1), (2, 256, 288, 3))
    maps = create_model("vgg11", num_classes=None, features_of_blocks=SMALL["features_of_blocks"]).apply(
        variables, images, train=False
    )
    assert maps.shape == (2, 8, 9, 8)
    scores = create_model("vgg11", spatial=True, **SMALL).apply(variables, images, train=False)
    assert scores.shape == (2, 2, 3, 5)
    weights = jax.tree.map(lambda x: np.asarray(x, np.float64), variables["params"])
    for row in range(2):
        for column in range(3):
            x = np.asarray(maps[:, row : row + 7, column : column + 7], np.float64).reshape(2, -1)
            for layer in ("fc1", "fc2"):
                x = np.maximum(x @ weights[layer]["kernel"] + weights[layer]["bias"], 0)
            expected = x @ weights["predictions"]["kernel"] + weights["predictions"]["bias"]
            np.testing.assert_allclose(scores[:, row, column], expected, rtol=1e-4, atol=1e-5)  # float32
    mean = model.apply(variables, images, train=False)
    np.testing.assert_allclose(mean, scores.mean(axis=(1, 2)), rtol=1e-5, atol=1e-6)


def test_dense_equals_ordinary_at_the_nominal_size():
    """At 224 the score map has one entry, the ordinary logits."""
    model, variables = initialized("vgg11", 224)
    images = jax.random.normal(jax.random.key(2), (1, 224, 224, 3))
    spatial = create_model("vgg11", spatial=True, **SMALL).apply(variables, images, train=False)
    np.testing.assert_array_equal(spatial[:, 0, 0], model.apply(variables, images, train=False))


def test_too_small_images():
    """Below 224 the dense head says which size it needs; below 32 there is no feature map at all."""
    model, variables = initialized("vgg11", 224)
    with pytest.raises(ValueError, match="at least 224x224"):
        model.apply(variables, jnp.ones((1, 223, 224, 3)), train=False)
    features = create_model("vgg11", num_classes=None, features_of_blocks=SMALL["features_of_blocks"])
    assert features.apply(variables, jnp.ones((1, 32, 32, 3)), train=False).shape == (1, 1, 1, 8)
    with pytest.raises(ValueError, match="smallest size is 32x32"):
        features.apply(variables, jnp.ones((1, 31, 32, 3)), train=False)


@pytest.mark.parametrize("options", [{"head": "gap"}, {"window": 1}])
def test_small_images_with_a_small_head(options: dict[str, Any]):
    """Global pooling, or a window of one pixel, take 32x32."""
    model, variables = initialized("vgg11_bn", 32, **options)
    assert model.apply(variables, jnp.ones((3, 32, 32, 3)), train=False).shape == (3, 5)


def test_dropout_only_while_training():
    """Two training passes with different keys differ, two evaluations do not."""
    model, variables = initialized("vgg11", 32, window=1)
    images = jax.random.normal(jax.random.key(3), (2, 32, 32, 3))
    trained = [model.apply(variables, images, train=True, rngs={"dropout": jax.random.key(seed)}) for seed in (0, 1)]
    assert not np.allclose(*trained)
    np.testing.assert_array_equal(*(model.apply(variables, images, train=False) for _ in range(2)))


def test_lrn_changes_activations_and_no_parameters():
    """A-LRN has A's parameters; its first pooling gets what local response normalization makes of the convolution."""
    model, variables = initialized("vgg11_lrn", 224, final_endpoint="block1_lrn")
    images = jax.random.normal(jax.random.key(4), (1, 32, 32, 3))
    plain = create_model("vgg11", final_endpoint="block1_conv1", **SMALL)
    x = np.asarray(plain.apply(variables, images, train=False), np.float64)
    squares = np.pad(x**2, ((0, 0),) * 3 + ((2, 2),))
    near = sum(squares[..., i : i + 4] for i in range(5))
    np.testing.assert_allclose(model.apply(variables, images, train=False), x / (2 + 1e-4 * near) ** 0.75, rtol=1e-5)


@pytest.mark.parametrize("name", sorted(INITIALIZERS))
def test_initializations_by_name(name: str):
    """Each initialization has the spread of its definition; the biases are zero."""
    _, variables = initialized("vgg16", 32, initialization=name, window=1, dense=(500,))
    kernel = variables["params"]["fc1"]["kernel"]
    fan_in, fan_out = kernel.shape
    spread = {
        "glorot_uniform": (2 / (fan_in + fan_out)) ** 0.5,
        "paper": 0.1,  # variance 1e-2
        "he_normal": (2 / fan_in) ** 0.5,
        "normal": 0.01,
        "truncated_normal": 0.1 * scipy.stats.truncnorm(-2, 2).std(),
        "uniform": 0.1 / 12**0.5,
    }[name]
    np.testing.assert_allclose(np.std(kernel), spread, rtol=0.05)  # of 4,000 weights
    assert abs(np.mean(kernel)) < spread / 10
    assert not np.any(variables["params"]["fc1"]["bias"])
    with pytest.raises(ValueError, match="initialization 'papper': did you mean paper"):
        initialized("vgg16", 32, initialization="papper", window=1)
