"""MobileNet v1 and v2 against Keras and torchvision with the same random weights: `pytest -m oracle`."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from carried import assert_endpoints, coloured_images, from_keras, from_torch, keras_outputs, torch_modules
from zoo import apply, assert_close, endpoint_shapes, images_of, largest_difference, oracle, torch_output

import xxnet_jax as xx
from xxnet_jax.models import mobilenet
from xxnet_jax.models.layers import ConvUnit

pytestmark = oracle

# Of the largest number: float32 sums in another order differ by up to 2e-4 of it here, since random bottlenecks without
# ReLU magnify each other's rounding. `test_float64` has none.
TOLERANCE = 5e-4
sizes = pytest.mark.parametrize(
    ("height", "width"), [(64, 96), (75, 61), pytest.param(224, 224, marks=pytest.mark.full_size)]
)


def keras_network(keras: Any, name: str, height: int, width: int, **options: Any) -> Any:
    build = {"mobilenet": keras.applications.MobileNet, "mobilenet_v2": keras.applications.MobileNetV2}[name]
    return build(weights=None, input_shape=(height, width, 3), classes=11, classifier_activation=None, **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mobilenet", {}),
        ("mobilenet", {"alpha": 0.3}),
        ("mobilenet", {"alpha": 0.5, "depth_multiplier": 2}),
        ("mobilenet_v2", {}),
        ("mobilenet_v2", {"alpha": 0.35}),
        ("mobilenet_v2", {"alpha": 1.12}),  # torchvision would round 17.92 to 24
    ],
)
@sizes
def test_keras(keras: Any, name: str, options: dict[str, Any], height: int, width: int):
    """Every endpoint is Keras's layer of that name; the mean over the map has no name there."""
    theirs = keras_network(keras, name, height, width, **options)
    variables = from_keras(theirs, name, **options)
    model = xx.create_model(name, num_classes=11, **options)
    names = set(endpoint_shapes(model, images_of(height))) - {"avg_pool"}
    images = coloured_images(height, width)
    expected = keras_outputs(keras, theirs, images, names)
    assert expected.keys() == names
    assert_endpoints(model, variables, images, expected, TOLERANCE)


@pytest.mark.parametrize("alpha", [1.0, 0.56])  # Keras would round 8.96 and 17.92 to 8 and 16
@sizes
def test_torchvision(torch: Any, alpha: float, height: int, width: int):
    """Logits and the ends of all blocks are torchvision's."""
    build = pytest.importorskip("torchvision").models.MobileNetV2
    theirs = build(num_classes=11, width_mult=alpha).eval()
    variables = from_torch(torch, theirs, "mobilenet_v2.torchvision", alpha=alpha)
    model = xx.create_model("mobilenet_v2.torchvision", num_classes=11, alpha=alpha)
    ends = endpoint_shapes(model, images_of(height))
    renamed = {"features.0": "Conv1_relu", "features.18": "out_relu", "classifier": "predictions"}
    for block in range(17):
        prefix = f"block_{block}" if block else "expanded_conv"
        end = f"{prefix}_add"
        renamed[f"features.{block + 1}"] = end if end in ends else f"{prefix}_project_BN"
    images = coloured_images(height, width)
    outputs = torch_modules(theirs, images, list(renamed))
    assert_endpoints(model, variables, images, {renamed[name]: output for name, output in outputs.items()}, TOLERANCE)


def test_float64(torch: Any):
    """In float64 the features are torchvision's to eleven digits."""
    theirs = pytest.importorskip("torchvision").models.mobilenet_v2(num_classes=11).eval()
    variables = from_torch(torch, theirs, "mobilenet_v2.torchvision")
    images = coloured_images(64, 75).astype(np.float64)
    expected = torch_modules(theirs.double(), images, ["features"])["features"]
    with jax.enable_x64(True):
        model = xx.create_model("mobilenet_v2.torchvision", num_classes=None, dtype="float64")
        del variables["params"]["predictions"]
        double = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf, np.float64)), variables)
        found = np.asarray(model.apply(double, jnp.asarray(images), train=False))
    assert found.dtype == np.float64
    assert_close(found, expected, 1e-11)


# Where a stride is, and the convolution before it. In the one behind it would make no difference: that is a 1x1.
STRIDES = {"mobilenet": ("conv_dw_2", "conv_pw_1"), "mobilenet_v2": ("block_1_depthwise", "block_1_expand")}


def assert_slips_show(model: Any, variables: Any, images: Any, expected: Any, *, monkeypatch: Any, name: str) -> None:
    """With another epsilon, and with the stride of a depthwise convolution in the one before it."""
    assert_close(apply(model, variables, images), expected, TOLERANCE)
    wrong = model.clone(norm=replace(model.norm, epsilon=3e-4))
    assert largest_difference(apply(wrong, variables, images), expected) > TOLERANCE
    strided, before = STRIDES[name]

    def earlier(features: int, size: Any, strides: Any = (1, 1), *rest: Any, name: str, **options: Any) -> ConvUnit:
        if name == strided:
            strides, rest = (1, 1), (((1, 1), (1, 1)),)
        if name == before:
            strides = (2, 2)
        return ConvUnit(features, size, strides, *rest, name=name, **options)

    with monkeypatch.context() as patch:
        patch.setattr(mobilenet, "ConvUnit", earlier)
        assert largest_difference(apply(model, variables, images), expected) > TOLERANCE


@pytest.mark.parametrize("name", ["mobilenet", "mobilenet_v2"])
def test_a_slip_would_show(keras: Any, name: str, monkeypatch: pytest.MonkeyPatch):
    """The comparison with Keras fails with another epsilon, place of a stride, side of the padding."""
    theirs = keras_network(keras, name, 64, 64)
    variables = from_keras(theirs, name)
    images = coloured_images(64, 64)
    expected = keras_outputs(keras, theirs, images, {"predictions"})["predictions"]
    model: Any = xx.create_model(name, num_classes=11)
    assert_slips_show(model, variables, images, expected, monkeypatch=monkeypatch, name=name)
    if name == "mobilenet":
        around = mobilenet._around
        monkeypatch.setattr(mobilenet, "_around", lambda stride: around(1) if stride == 1 else ((1, 0), (1, 0)))
    else:
        model = model.clone(symmetric=True)
    assert largest_difference(apply(model, variables, images), expected) > TOLERANCE


def test_a_slip_of_torchvision_would_show(torch: Any, monkeypatch: pytest.MonkeyPatch):
    """The same for torchvision."""
    theirs = pytest.importorskip("torchvision").models.mobilenet_v2(num_classes=11).eval()
    variables = from_torch(torch, theirs, "mobilenet_v2.torchvision")
    images = coloured_images(64, 64)
    expected = torch_output(theirs, images)
    model: Any = xx.create_model("mobilenet_v2.torchvision", num_classes=11)
    assert_slips_show(model, variables, images, expected, monkeypatch=monkeypatch, name="mobilenet_v2")
    assert largest_difference(apply(model.clone(symmetric=False), variables, images), expected) > TOLERANCE
