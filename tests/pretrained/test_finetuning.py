"""Freezing, beginning with given weights, new heads."""

import re
from pathlib import Path
from typing import Any

import chex
import jax
import numpy as np
import pytest

import xxnet_jax as xx
from xxnet_jax.parameters import parameter_paths
from xxnet_jax.pretrained import freeze_through
from xxnet_jax.pretrained.conversion import shapes_of
from xxnet_jax.training import Recipe, Run, run

RECIPE = Recipe(
    model="resnet20",
    model_options={"new_head": 8},
    data="fake:32x32x3/3?examples=24",
    test_split=None,
    batch_size=8,
    optimizer="sgd",
    learning_rate=0.1,
    steps=3,
)


def trained(shapes: dict[str, tuple[int, ...]], pattern: str) -> int:
    """Parameters that the pattern leaves."""
    names = [path.removeprefix("params/") for path in shapes if path.startswith("params/")]
    return sum(int(np.prod(shapes[f"params/{name}"])) for name in names if not re.search(pattern, name))


def test_the_notes_inception():
    """The two counts of trainable parameters that Keras gives for its example, with 200 classes."""
    shapes = shapes_of(xx.create_model("inception_v3", num_classes=200, new_head=1024), "inception_v3")
    assert trained(shapes, freeze_through("inception_v3")) == 2_303_176
    assert trained(shapes, freeze_through("inception_v3", "mixed8")) == 13_418_056


@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2", "vgg16"])
def test_what_is_frozen_is_what_the_endpoint_needs(name: str):
    """For each endpoint the parameters grow, and the last one freezes all but the classifier."""
    model = xx.create_model(name)
    images = jax.ShapeDtypeStruct((1, *xx.model_info(name).input_shape), np.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    paths = jax.tree.leaves(parameter_paths(variables["params"]))

    def frozen(endpoint: str | None = None) -> set[str]:
        pattern = re.compile(freeze_through(name, endpoint))
        return set(filter(pattern.search, paths))

    features = shapes_of(xx.create_model(name, num_classes=None), name)
    assert frozen() == {path.removeprefix("params/") for path in features if path.startswith("params/")}
    if middle := {"vgg16": "block3_pool", "resnet50": "conv3_block4_out"}.get(name):
        assert set() < frozen(middle) < frozen()


def test_frozen_parts_stay_as_they_are(tmp_path: Path):
    """Parameters and running statistics, bit for bit; the new head learns, and what was given is what it began with."""
    first = replaced(freeze=(freeze_through("resnet20"),))
    model = xx.create_model("resnet20", num_classes=None)
    initial: Any = model.init(jax.random.key(7), np.zeros((1, 32, 32, 3), np.float32), train=False)
    run(first, tmp_path / "head", initial=initial, quiet=True)
    found = Run(tmp_path / "head").load().variables
    heads = {name: found["params"].pop(name) for name in ("head_dense", "head_logits")}
    chex.assert_trees_all_equal(found, initial)
    assert heads["head_dense"]["kernel"].shape == (64, 8)

    second = replaced(freeze=(freeze_through("resnet20", "conv3_block3_out"),))
    before = Run(tmp_path / "head").load().variables
    run(second, tmp_path / "deep", initial=before, quiet=True)
    after = Run(tmp_path / "deep").load().variables
    for collection in ("params", "batch_stats"):
        for module, leaves in after[collection].items():
            same = all(map(np.array_equal, jax.tree.leaves(leaves), jax.tree.leaves(before[collection][module])))
            assert same == module.startswith(("conv1", "conv2", "conv3")), module


def replaced(**changes: Any) -> Recipe:
    from dataclasses import replace

    return replace(RECIPE, **changes)


def test_other_weights_are_refused(tmp_path: Path):
    """Before anything is written."""
    with pytest.raises(ValueError, match=r"cannot begin with a params/conv1/conv/kernel of shape \(1,\): it has shape"):
        run(RECIPE, tmp_path / "run", initial={"params": {"conv1": {"conv": {"kernel": np.zeros(1)}}}}, quiet=True)
    with pytest.raises(ValueError, match="there is none in the network"):
        run(RECIPE, tmp_path / "run", initial={"params": {"conv9": np.zeros(1)}}, quiet=True)
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize("features", [0, 8])
def test_new_heads(features: int):
    """The mean of the last map, a dense layer with a ReLU, and the logits: a float64 line of NumPy."""
    model = xx.create_model("resnet20", num_classes=3, new_head=features)
    images = np.random.default_rng(0).normal(size=(2, 32, 40, 3)).astype(np.float32)
    variables: Any = model.init(jax.random.key(0), images, train=False)
    points = xx.endpoints(model, variables, jax.numpy.asarray(images))
    x = np.asarray(points["conv4_block3_out"], np.float64).mean(axis=(1, 2))

    def dense(x: np.ndarray, name: str) -> np.ndarray:
        kernel, bias = (np.asarray(variables["params"][name][leaf], np.float64) for leaf in ("kernel", "bias"))
        return x @ kernel + bias

    if features:
        x = np.maximum(dense(x, "head_dense"), 0)
    np.testing.assert_allclose(points["head_logits"], dense(x, "head_logits"), rtol=1e-4)


def test_new_heads_need_classes():
    """Features have no head."""
    with pytest.raises(ValueError, match="new_head"):
        xx.create_model("resnet20", num_classes=None, new_head=8)
