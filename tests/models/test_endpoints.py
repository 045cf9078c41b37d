"""Named activations, and auxiliary heads, on LeNet's variants and on a small network with both."""

from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xxnet_jax as xx
from xxnet_jax.models import Network

# As published: the paper's figure, the notes' code, Keras's automatic names, TF-Slim's scopes.
NAMES = {
    "lenet5": ["C1", "S2", "C3", "S4", "C5", "F6", "output"],
    "lenet5.1998": ["C1", "S2", "C3", "S4", "C5", "F6", "output"],
    "lenet5.notebook": ["conv1", "pool1", "conv2", "pool2", "dense1", "logits"],
    "lenet5.xxnet": ["conv2d", "max_pooling2d", "conv2d_1", "max_pooling2d_1", "dense", "dense_1"],
    "lenet5.tf1": ["layer1_conv1", "layer2_pool1", "layer3_conv2", "layer4_pool2", "layer5_fc1", "layer6_fc2"],
    "lenet5.slim": ["conv1", "pool1", "conv2", "pool2", "fc3", "Logits"],
}
# [height, width, maps] or [units] of each, from the tables of the paper and of the notes.
SHAPES = {
    "lenet5": [(28, 28, 6), (14, 14, 6), (10, 10, 16), (5, 5, 16), (1, 1, 120), (84,), (10,)],
    "lenet5.1998": [(28, 28, 6), (14, 14, 6), (10, 10, 16), (5, 5, 16), (1, 1, 120), (84,), (10,)],
    "lenet5.notebook": [(32, 32, 6), (16, 16, 6), (16, 16, 16), (8, 8, 16), (500,), (10,)],
    "lenet5.xxnet": [(24, 24, 32), (12, 12, 32), (8, 8, 64), (4, 4, 64), (100,), (10,)],
    "lenet5.tf1": [(28, 28, 32), (14, 14, 32), (14, 14, 64), (7, 7, 64), (512,), (10,)],
    "lenet5.slim": [(28, 28, 32), (14, 14, 32), (14, 14, 64), (7, 7, 64), (1024,), (10,)],
}


def random_variables(model: Network, images: jax.Array) -> Any:
    """Random parameters without a compilation; small enough that no activation saturates."""
    random = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))
    shapes = {name: tree for name, tree in shapes.items() if name in ("params", "batch_stats")}
    return jax.tree.map(lambda leaf: jnp.asarray(random.uniform(0.01, 0.1, leaf.shape), leaf.dtype), shapes)


@pytest.mark.parametrize("name", NAMES)
def test_names_order_and_shapes(name: str):
    """Names, their order and the shapes are the published ones, and the last endpoint is the logits."""
    model = xx.create_model(name)
    shape = (2, *xx.model_info(name).input_shape)
    images = jnp.asarray(np.random.default_rng(1).standard_normal(shape), jnp.float32)
    variables = random_variables(model, images)
    points = xx.endpoints(model, variables, images)
    assert list(points) == NAMES[name]
    assert [value.shape for value in points.values()] == [(2, *shape) for shape in SHAPES[name]]
    logits: Any = jax.jit(lambda v: model.apply(v, images, train=False))(variables)
    # Compiled with and without the other outputs: a few roundings of the largest logit apart.
    tolerance = 1e-5 * np.abs(logits).max()
    np.testing.assert_allclose(points[NAMES[name][-1]], logits, rtol=0, atol=tolerance)
    assert tolerance > 0


def test_every_lenet_is_covered():
    """No variant is registered without its published endpoints in this file."""
    assert set(NAMES) == set(SHAPES) == set(xx.list_models("lenet5*"))


class Small(Network):
    """Normalization, a hidden layer, and an auxiliary head, as GoogLeNet has it: enough for every collection."""

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        calls.append(images.shape)
        dtypes: Any = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = nn.BatchNorm(use_running_average=not train, name="norm", **dtypes)(images)
        x = self.endpoint("norm", x)
        if self.num_classes is None:
            return self.pooled_features(x)
        classes = self.num_classes
        x = self.endpoint("z_hidden", nn.tanh(nn.Dense(4, name="z_hidden", **dtypes)(x.mean(axis=(1, 2)))))
        if train or self.is_initializing():
            self.auxiliary("aux", nn.Dense(classes, name="aux", **dtypes)(x))
        return self.endpoint("a_logits", nn.Dense(classes, name="a_logits", **dtypes)(x).astype(jnp.float32))


calls: list[tuple[int, ...]] = []  # one entry for each time that Small is traced or run
IMAGES = jnp.asarray(np.random.default_rng(2).normal(5, 2, (8, 3, 3, 2)), jnp.float32)


def initial(model: Network) -> Any:
    return jax.jit(lambda key: model.init(key, IMAGES, train=False))(jax.random.key(0))


def test_order_is_the_computations_and_not_the_alphabets():
    """Endpoints come in the order in which they were published, however their names sort, in a repeated call too."""
    model = Small(num_classes=3)
    variables = initial(model)
    for _ in range(2):
        assert list(xx.endpoints(model, variables, IMAGES)) == ["norm", "z_hidden", "a_logits"]


def test_endpoints_are_those_of_inference():
    """Running statistics are used, and what is published is what a NumPy line computes from the variables."""
    model = Small(num_classes=3)
    variables = initial(model)
    variables["batch_stats"]["norm"] = {"mean": jnp.array([5.0, 4.0]), "var": jnp.array([4.0, 9.0])}
    points = xx.endpoints(model, variables, IMAGES)
    normed = (np.asarray(IMAGES, np.float64) - [5, 4]) / np.sqrt(np.array([4, 9]) + 1e-5)
    np.testing.assert_allclose(points["norm"], normed, atol=1e-5)  # float32 numbers of a few units
    hidden = variables["params"]["z_hidden"]
    expected = np.tanh(normed.mean(axis=(1, 2)) @ np.float64(hidden["kernel"]) + np.float64(hidden["bias"]))
    np.testing.assert_allclose(points["z_hidden"], expected, atol=1e-5)


def test_endpoints_of_features():
    """Without classifier the endpoints end with the pooled features."""
    poolings: dict[Any, list[str]] = {None: [], "avg": ["global_pool"], "max": ["global_pool"]}
    for pooling, last in poolings.items():
        names = ["norm", *last]
        model = Small(num_classes=None, pooling=pooling)
        variables = initial(model)
        points = xx.endpoints(model, variables, IMAGES)
        assert list(points) == names
        features: Any = model.apply(variables, IMAGES, train=False)
        np.testing.assert_allclose(points[names[-1]], features, atol=1e-5)  # compiled and not: float32 of a few units


def test_endpoints_compile_once():
    """Repeated calls, of equal networks too, trace the network once; another shape traces it once more."""
    variables = initial(Small(num_classes=3))
    calls.clear()
    for _ in range(3):
        xx.endpoints(Small(num_classes=3), variables, IMAGES[:4])
    assert calls == [(4, 3, 3, 2)]
    assert list(xx.endpoints(Small(num_classes=3), variables, IMAGES[:2])) == ["norm", "z_hidden", "a_logits"]
    assert calls == [(4, 3, 3, 2), (2, 3, 3, 2)]


def test_auxiliary_heads_run_while_training_only():
    """While training the head's logits, float32, are in `aux_logits`; in inference the result is a bare array."""
    model = Small(num_classes=3, dtype=jnp.bfloat16)
    variables = initial(model)
    collections = ["batch_stats", "aux_logits", "intermediates"]
    results: Any = model.apply(variables, IMAGES, train=True, mutable=collections)
    logits, mutated = results
    heads = mutated["aux_logits"]["heads"]
    assert list(heads) == ["aux"]
    assert (heads["aux"].shape, heads["aux"].dtype) == ((8, 3), jnp.float32)
    head = variables["params"]["aux"]
    hidden = np.float64(mutated["intermediates"]["endpoints"]["z_hidden"])
    expected = np.dot(hidden, np.float64(head["kernel"])) + np.float64(head["bias"])
    # bfloat16 keeps 8 bits, of sums of four terms of at most a few units.
    np.testing.assert_allclose(heads["aux"], expected, atol=0.05)
    assert np.any(np.asarray(heads["aux"]) != np.asarray(logits))

    _, mutated = model.apply(variables, IMAGES, train=False, mutable=collections)
    assert "aux_logits" not in mutated
    assert isinstance(model.apply(variables, IMAGES, train=False), jax.Array)


def test_auxiliary_heads_are_parameters_from_the_start():
    """`init` makes the head's parameters whatever `train` is, but no `aux_logits`, and both trees are equal."""
    model = Small(num_classes=3)
    trees: list[Any] = [
        jax.eval_shape(lambda train=train: model.init(jax.random.key(0), IMAGES, train=train))
        for train in (False, True)
    ]
    chex.assert_trees_all_equal_shapes_and_dtypes(*trees)
    assert trees[0]["params"]["aux"]["kernel"].shape == (4, 3)
    for tree in trees:
        assert "aux_logits" not in tree


def test_auxiliary_heads_cost_nothing_unless_asked_for():
    """Without the collection among the mutable ones, training returns the same logits and no head."""
    model = Small(num_classes=3)
    variables = initial(model)
    logits, mutated = model.apply(variables, IMAGES, train=True, mutable=["batch_stats"])
    assert set(mutated) == {"batch_stats"}
    with_heads, _ = model.apply(variables, IMAGES, train=True, mutable=["batch_stats", "aux_logits"])
    np.testing.assert_array_equal(logits, with_heads)
