"""Inception v3 and v4 against Keras, torchvision and timm with the same random weights: `pytest -m oracle`."""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from carried import from_keras, from_torch
from zoo import apply, assert_close, largest_difference, oracle, random_images, torch_output

import xxnet_jax as xx
from xxnet_jax.models.inception import AuxiliaryHead, Style
from xxnet_jax.models.inception_tables import Row
from xxnet_jax.models.layers import Norm

pytestmark = oracle

TOLERANCE = 1e-4  # of the largest output: float32 sums in another order through some 20 to 40 layers


def mutations(model: Any) -> dict[str, Any]:
    """The model with another epsilon, a stride one convolution earlier, padding on one side only, other averages."""
    stem, reduction = model.rows[2], next(row for row in model.rows if row.name in ("Mixed_6a", "mixed3"))
    (unit,) = stem.branches[0]
    padded = replace(stem, branches=((replace(unit, padding=((0, 2), (0, 2))),),))
    first, second, third = reduction.branches[1]
    branch = (first, replace(second, stride=2, padding="VALID"), replace(third, stride=1, padding="SAME"))
    strided = replace(reduction, branches=(reduction.branches[0], branch, reduction.branches[2]))

    def with_row(old: Row, new: Row) -> Any:
        return model.clone(rows=tuple(new if row is old else row for row in model.rows))

    return {
        "epsilon": model.clone(norm=replace(model.norm, epsilon=1e-5)),
        "stride": with_row(reduction, strided),
        "padding": with_row(stem, padded),
        "averages": model.clone(count_padding=not model.count_padding),
    }


def check(model: Any, variables: Any, theirs: Callable[[np.ndarray], np.ndarray]) -> None:
    """Logits are theirs at an even and an odd size; four mutations of the model are noticed."""
    for side in (80, 75):
        images = random_images(side, side, scales=(1, 3), seed=side)
        expected = theirs(images)
        assert_close(apply(model, variables, images), expected, TOLERANCE)
    for name, mutated in mutations(model).items():
        assert largest_difference(apply(mutated, variables, images), expected) > 5 * TOLERANCE, name


def test_keras_inception_v3(keras: Any):
    """With random weights and statistics the logits are those of Keras's InceptionV3."""
    # With its own classifier Keras fixes the size of the images.
    base = keras.applications.InceptionV3(weights=None, input_shape=(None, None, 3), include_top=False, pooling="avg")
    theirs = keras.Model(base.input, keras.layers.Dense(11, name="predictions")(base.output))
    variables = from_keras(theirs, "inception_v3")
    model = xx.create_model("inception_v3", num_classes=11)
    check(model, variables, lambda images: np.asarray(theirs(images, training=False)))


def test_torchvision_inception_v3(torch: Any):
    """With random weights and statistics the logits are those of torchvision's inception_v3."""
    build = pytest.importorskip("torchvision").models.inception_v3
    theirs = build(weights=None, num_classes=11, init_weights=False).eval()
    variables = from_torch(torch, theirs, "inception_v3.torchvision")
    model = xx.create_model("inception_v3.torchvision", num_classes=11)
    check(model, variables, functools.partial(torch_output, theirs))


@pytest.mark.parametrize("size", [(17, 17), (20, 23)])
def test_torchvision_auxiliary_head(torch: Any, size: tuple[int, int]):
    """The auxiliary logits are those of torchvision's head, on the nominal map and on a larger one."""
    build = pytest.importorskip("torchvision").models.inception_v3
    theirs = build(weights=None, num_classes=11, init_weights=False).eval()
    variables = from_torch(torch, theirs, "inception_v3.torchvision")
    head = {collection: tree["AuxLogits"] for collection, tree in variables.items()}
    style = Style(Norm(momentum=0.9, epsilon=1e-3), True, "normal", jnp.float32, jnp.float32)
    features = np.random.default_rng(1).normal(size=(2, *size, 768)).astype(np.float32)
    found = apply(AuxiliaryHead((128, 768), 11, style), head, features)
    assert_close(found, torch_output(theirs.AuxLogits, features), TOLERANCE)


@pytest.mark.parametrize("name", ["inception_v3", "inception_v4"])
def test_timm(torch: Any, name: str):
    """With random weights and statistics the logits are those of timm's networks."""
    theirs = pytest.importorskip("timm").create_model(name, pretrained=False, num_classes=11).eval()
    ours = "inception_v3.timm" if name == "inception_v3" else name
    variables = from_torch(torch, theirs, ours)
    check(xx.create_model(ours, num_classes=11), variables, functools.partial(torch_output, theirs))
