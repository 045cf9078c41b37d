"""DenseNet against Keras and torchvision with the same random weights: `pytest -m oracle`."""

from dataclasses import replace
from typing import Any

import pytest
from carried import assert_endpoints, coloured_images, from_keras, from_torch, keras_outputs, torch_modules
from zoo import apply, assert_close, endpoint_shapes, images_of, largest_difference, oracle, torch_output

import xxnet_jax as xx
from xxnet_jax.models import densenet
from xxnet_jax.models.layers import ConvUnit

pytestmark = oracle

sizes = pytest.mark.parametrize(
    ("height", "width"), [(64, 96), (75, 61), pytest.param(224, 224, marks=pytest.mark.full_size)]
)


@pytest.mark.parametrize("layers", [121, 169, 201])
@sizes
def test_keras(keras: Any, layers: int, height: int, width: int):
    """Every endpoint is Keras's layer of that name."""
    build = getattr(keras.applications, f"DenseNet{layers}")
    theirs = build(weights=None, input_shape=(height, width, 3), classes=11, classifier_activation=None)
    variables = from_keras(theirs, f"densenet{layers}")
    images = coloured_images(height, width)
    model = xx.create_model(f"densenet{layers}", num_classes=11)
    names = set(endpoint_shapes(model, images_of(height)))
    expected = keras_outputs(keras, theirs, images, names)
    assert expected.keys() == names
    assert_endpoints(model, variables, images, expected)


@pytest.mark.parametrize("name", ["densenet121.torchvision", "densenet161"])
@sizes
def test_torchvision(torch: Any, name: str, height: int, width: int):
    """Logits, blocks and transitions are torchvision's."""
    theirs = getattr(pytest.importorskip("torchvision").models, name.partition(".")[0])(num_classes=11).eval()
    variables = from_torch(torch, theirs, name)
    model: Any = xx.create_model(name, num_classes=11)
    renamed = {"features.pool0": "pool1", "classifier": "predictions"}
    for number, depth in enumerate(model.depths, start=1):
        renamed[f"features.denseblock{number}"] = f"conv{number + 1}_block{depth}_concat"
        if number < len(model.depths):
            renamed[f"features.transition{number}.conv"] = f"pool{number + 1}_conv"
            renamed[f"features.transition{number}"] = f"pool{number + 1}_pool"
    images = coloured_images(height, width)
    outputs = torch_modules(theirs, images, list(renamed))
    assert_endpoints(model, variables, images, {renamed[name]: output for name, output in outputs.items()})


def test_a_slip_would_show(torch: Any, monkeypatch: pytest.MonkeyPatch):
    """The comparison fails with another epsilon, another place of a stride, padding on the other side."""
    theirs = pytest.importorskip("torchvision").models.densenet121(num_classes=11).eval()
    variables = from_torch(torch, theirs, "densenet121.torchvision")
    images = coloured_images(75, 64)
    expected = torch_output(theirs, images)
    model: Any = xx.create_model("densenet121.torchvision", num_classes=11)
    assert_close(apply(model, variables, images), expected)
    wrong = model.clone(norm=replace(model.norm, epsilon=1e-3))
    assert largest_difference(apply(wrong, variables, images), expected) > 1e-4

    def changed(**options: Any) -> Any:
        def unit(*arguments: Any, name: str, **others: Any) -> ConvUnit:
            return ConvUnit(
                *(arguments[:2] if name == "conv1" else arguments),
                name=name,
                **others,
                **(options if name == "conv1" else {}),
            )

        return unit

    with monkeypatch.context() as patch:
        patch.setattr(densenet, "ConvUnit", changed(strides=(2, 2), padding=((2, 4), (2, 4))))
        assert largest_difference(apply(model, variables, images), expected) > 1e-4
    pool = densenet.max_pool
    monkeypatch.setattr(densenet, "ConvUnit", changed(strides=(1, 1), padding=((3, 3), (3, 3))))
    monkeypatch.setattr(densenet, "max_pool", lambda x, window, stride, padding: pool(x, window, 4, padding=padding))
    assert largest_difference(apply(model, variables, images), expected) > 1e-4
