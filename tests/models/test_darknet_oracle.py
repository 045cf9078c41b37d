"""Darknet against a transcription of the papers' tables in torch, with the same random weights: `pytest -m oracle`."""

from dataclasses import replace
from typing import Any

import pytest
from carried import assert_endpoints, coloured_images, redraw_torch, torch_modules
from zoo import apply, assert_close, endpoint_shapes, images_of, largest_difference, oracle, torch_output

import xxnet_jax as xx
from xxnet_jax.models import darknet
from xxnet_jax.models.layers import ConvUnit
from xxnet_jax.pretrained.conversion import assembled, shapes_of

pytestmark = oracle

# Size and features of a convolution, "s" for stride 2, "pool" for a pool: Table 6 of YOLO9000, Figure 3 of YOLO.
TABLE_6 = """3-32 pool 3-64 pool 3-128 1-64 3-128 pool 3-256 1-128 3-256 pool 3-512 1-256 3-512 1-256 3-512 pool
    3-1024 1-512 3-1024 1-512 3-1024"""
CLASSIFIER = """7s-64 pool 3-192 pool 1-128 3-256 1-256 3-512 pool 1-256 3-512 1-256 3-512 1-256 3-512 1-256 3-512
    1-512 3-1024 pool 1-512 3-1024 1-512 3-1024"""
LAYERS = {
    "darknet19": TABLE_6,
    "darknet20": CLASSIFIER,
    "darknet24": f"{CLASSIFIER} 3-1024 3s-1024 3-1024 3-1024",
    "darknet_tiny": "3-16 pool 3-32 pool 3-64 pool 3-128 pool 3-256 pool 3-512 pool 3-1024 3-1024 3-1024",
}


def transcription(torch: Any, layers: str, norm: bool) -> Any:
    """A torch.nn.Sequential whose modules have our endpoints' names."""
    nn = torch.nn
    network, channels, count = nn.Sequential(), 3, {"conv": 0, "pool": 0}
    for word in layers.split():
        kind = "pool" if word == "pool" else "conv"
        count[kind] += 1
        name = f"{kind}{count[kind]}"
        if kind == "pool":
            network.add_module(name, nn.MaxPool2d(2, 2, ceil_mode=True))
            continue
        size, features = word.split("-")
        stride, side, width = 1 + size.endswith("s"), int(size[0]), int(features)
        conv = nn.Conv2d(channels, width, side, stride, padding=side // 2, bias=not norm)
        unit = nn.Sequential()
        unit.add_module("conv", conv)
        if norm:
            unit.add_module("bn", nn.BatchNorm2d(width, eps=1e-5))
        unit.add_module("activation", nn.LeakyReLU(0.1))
        network.add_module(name, unit)
        channels = width
    network.add_module(f"conv{count['conv'] + 1}", nn.Conv2d(channels, 11, 1))
    network.add_module("mean", nn.AdaptiveAvgPool2d(1))
    network.add_module("avgpool", nn.Flatten())
    return network.eval()


def carried(torch: Any, theirs: Any, name: str) -> Any:
    """Redraws all weights of a transcription, and gives them as variables of ours."""
    names = {"{unit}.{kind}": "{unit}/{kind}", "{unit}": "{unit}"}
    shapes = shapes_of(xx.create_model(name, num_classes=11), name)
    return assembled(redraw_torch(torch, theirs), names, shapes, shapes, of=name)


@pytest.mark.parametrize("name", list(LAYERS))
@pytest.mark.parametrize(("height", "width"), [(64, 96), (75, 61), pytest.param(448, 448, marks=pytest.mark.full_size)])
def test_torch(torch: Any, name: str, height: int, width: int):
    """Every endpoint is the transcription's module of that name."""
    theirs = transcription(torch, LAYERS[name], norm=name == "darknet19")
    variables = carried(torch, theirs, name)
    model = xx.create_model(name, num_classes=11)
    images = coloured_images(height, width)
    names = list(endpoint_shapes(model, images_of(height, width)))
    assert [module for module, _ in theirs.named_children() if module != "mean"] == names
    assert_endpoints(model, variables, images, torch_modules(theirs, images, names))


def test_a_slip_would_show(torch: Any, monkeypatch: pytest.MonkeyPatch):
    """The comparison fails with another epsilon, another slope, the stride one convolution later, padding on one side,
    pools that drop the last row."""
    theirs = transcription(torch, TABLE_6, norm=True)
    images = coloured_images(75, 61)
    model: Any = xx.create_model("darknet19", num_classes=11)
    variables = carried(torch, theirs, "darknet19")
    expected = torch_output(theirs, images)
    assert_close(apply(model, variables, images), expected)
    for wrong in (
        model.clone(norm=replace(model.norm, epsilon=1e-3)),
        model.clone(negative_slope=0.11),
        model.clone(pool_padding="VALID"),
    ):
        assert largest_difference(apply(wrong, variables, images), expected) > 1e-4
    with monkeypatch.context() as patch:
        patch.setattr(darknet, "_around", lambda size: ((0, size - 1), (0, size - 1)))
        assert largest_difference(apply(model, variables, images), expected) > 1e-4

    theirs = transcription(torch, LAYERS["darknet24"], norm=False)
    variables = carried(torch, theirs, "darknet24")
    expected = torch_output(theirs, images)
    model = xx.create_model("darknet24", num_classes=11)
    assert_close(apply(model, variables, images), expected)

    def later(features: int, size: Any, strides: Any, *rest: Any, name: str, **options: Any) -> ConvUnit:
        strides = {"conv22": (1, 1), "conv23": (2, 2)}.get(name, strides)
        return ConvUnit(features, size, strides, *rest, name=name, **options)

    monkeypatch.setattr(darknet, "ConvUnit", later)
    assert largest_difference(apply(model, variables, images), expected) > 1e-4
