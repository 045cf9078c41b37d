"""ResNets against Keras, torchvision and timm with the same random weights: `pytest -m oracle`."""

from typing import Any

import pytest
from carried import assert_endpoints, from_keras, from_torch, keras_outputs, torch_modules
from zoo import apply, endpoint_shapes, images_of, largest_difference, oracle, random_images

import xxnet_jax as xx
from xxnet_jax.models.layers import Norm

pytestmark = oracle

SCALES = (0.3, 1, 3)  # of the images: else random ones look alike
TORCH = Norm(momentum=0.9, epsilon=1e-5)
sizes = pytest.mark.parametrize(
    ("height", "width"), [(64, 96), (75, 61), pytest.param(224, 224, marks=pytest.mark.full_size)]
)


def built(keras: Any, name: str, height: int, width: int) -> Any:
    build = getattr(keras.applications, f"ResNet{name.removeprefix('resnet').upper()}")
    return build(weights=None, input_shape=(height, width, 3), classes=11, classifier_activation=None)


@pytest.mark.parametrize("name", ["resnet50", "resnet101", "resnet152", "resnet50v2", "resnet101v2", "resnet152v2"])
@sizes
def test_keras(keras: Any, name: str, height: int, width: int):
    """Every endpoint is Keras's layer of that name."""
    theirs = built(keras, name, height, width)
    variables = from_keras(theirs, name)
    images = random_images(height, width, SCALES)
    model = xx.create_model(name, num_classes=11)
    names = set(endpoint_shapes(model, images_of(height)))
    expected = keras_outputs(keras, theirs, images, names)
    assert expected.keys() == names
    assert_endpoints(model, variables, images, expected)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("resnet50", {"norm": Norm(epsilon=1e-2)}),
        ("resnet50", {"stride_in_3x3": True}),
        ("resnet50", {"stem_padding": "SAME"}),
        ("resnet50v2", {"norm": Norm(epsilon=1e-2)}),
        ("resnet50v2", {"stride_last": False}),
        ("resnet50v2", {"pool_zeros": False}),
    ],
)
def test_a_slip_would_show(keras: Any, name: str, wrong: Any):
    """The comparison fails for another epsilon, another place of the stride, another padding."""
    theirs = built(keras, name, 64, 64)
    variables = from_keras(theirs, name)
    images = random_images(64, 64, SCALES)
    expected = keras_outputs(keras, theirs, images, {"predictions"})["predictions"]
    assert largest_difference(apply(xx.create_model(name, num_classes=11), variables, images), expected) <= 1e-4
    slip = xx.create_model(name, num_classes=11, **wrong)
    assert largest_difference(apply(slip, variables, images), expected) > 3e-4


# ours: (library, theirs)
IN_TORCH = {
    "resnet18": ("torchvision", "resnet18"),
    "resnet34": ("torchvision", "resnet34"),
    "resnet50.torchvision": ("torchvision", "resnet50"),
    "resnet101.torchvision": ("torchvision", "resnet101"),
    "resnet152.torchvision": ("torchvision", "resnet152"),
    "wide_resnet50_2": ("torchvision", "wide_resnet50_2"),
    "resnext50": ("torchvision", "resnext50_32x4d"),
    "resnext101": ("timm", "resnext101_32x4d"),
    "resnext101_32x8d": ("torchvision", "resnext101_32x8d"),
}


@pytest.mark.parametrize("name", IN_TORCH)
@sizes
def test_torch(torch: Any, name: str, height: int, width: int):
    """Every block and the logits, with the parameters that both have; and the count with 1000 classes."""
    library, their_name = IN_TORCH[name]
    models = pytest.importorskip(library)
    build = getattr(models.models, their_name) if library == "torchvision" else models.create_model
    arguments = () if library == "torchvision" else (their_name,)
    theirs = build(*arguments, num_classes=11).eval()
    variables = from_torch(torch, theirs, name)
    images = random_images(height, width, SCALES)
    model: Any = xx.create_model(name, num_classes=11, norm=TORCH)
    blocks = {
        f"layer{stage}.{number}": f"conv{stage + 1}_block{number + 1}_out"
        for stage, depth in enumerate(model.depths, start=1)
        for number in range(depth)
    }
    ours = {"maxpool": "pool1_pool", **blocks, "fc": "predictions"}
    found = torch_modules(theirs, images, list(ours))
    assert_endpoints(model, variables, images, {ours[module]: output for module, output in found.items()})
    parameters = sum(p.numel() for p in theirs.parameters()) + (1000 - 11) * (theirs.fc.in_features + 1)
    assert parameters == xx.model_info(name).parameters
