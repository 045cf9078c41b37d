"""NASNet against Keras and timm with the same random weights: `pytest -m oracle`."""

import re
from dataclasses import replace
from typing import Any

import pytest
from carried import assert_endpoints, coloured_images, from_keras, from_torch, keras_outputs, torch_modules
from zoo import apply, assert_close, endpoint_shapes, images_of, largest_difference, oracle

import xxnet_jax as xx
from xxnet_jax.models import nasnet

pytestmark = oracle

SMALL = {"penultimate_filters": 96, "cells": 2, "stem_features": 6}
SKIPPING = {**SMALL, "skip_reduction": True}
LARGE = {"penultimate_filters": 4032, "cells": 6, "stem_features": 96, "skip_reduction": True}


def keras_path(name: str) -> str:
    """`separable_conv_2_bn_reduction_left4_stem_1` is `reduction_stem_1/left5_2/bn`, `normal_bn_1_3` is
    `normal_3/conv_1/bn`; which kind of cell `adjust_bn_reduce_2` belongs to, its number says."""
    if name in ("stem_conv1", "stem_bn1", "predictions"):
        return name
    if match := re.fullmatch(r"separable_conv_([12])(_bn)?_(normal|reduction)_(left|right)(\d)_(\w+)", name):
        number, norm, kind, side, block, cell = match.groups()
        block = "5" if (kind, side, block) == ("reduction", "left", "4") else block
        return f"{kind}_{cell}/{side}{block}_{number}{'/bn' if norm else ''}"
    if match := re.fullmatch(r"(normal|reduction)_(conv|bn)_1_(\w+)", name):
        kind, layer, cell = match.groups()
        return f"{kind}_{cell}/conv_1/{layer}"
    match = re.fullmatch(r"adjust_(bn|conv_1|conv_2|conv_projection)_(\w+)", name)
    assert match, name
    layer, cell = match.groups()
    kind = "normal" if cell.isdigit() else "reduction"
    return f"{kind}_{cell}/adjust/{'conv' if layer == 'conv_projection' else layer}"


def keras_network(keras: Any, height: int, width: int, options: dict[str, Any]) -> Any:
    renamed = {"cells": "num_blocks", "stem_features": "stem_block_filters"}
    return keras.src.applications.nasnet.NASNet(
        (height, width, 3),
        **{renamed.get(name, name): value for name, value in {"skip_reduction": False, **options}.items()},
        weights=None,
        classes=11,
        classifier_activation=None,
    )


@pytest.mark.parametrize(
    ("options", "height", "width"),
    [
        (SMALL, 67, 96),
        (SKIPPING, 64, 45),
        ({**SMALL, "cells": 1, "filter_multiplier": 1}, 67, 64),
        pytest.param({**LARGE, "cells": 4, "penultimate_filters": 1056, "stem_features": 32, "skip_reduction": False},
                     224, 224, marks=pytest.mark.full_size),
        pytest.param(LARGE, 331, 331, marks=pytest.mark.full_size),
    ],
)  # fmt: skip
def test_keras(keras: Any, options: dict[str, Any], height: int, width: int):
    """Every endpoint is Keras's layer of that name, or the ReLU and the mean behind the last cell."""
    theirs = keras_network(keras, height, width, options)
    variables = from_keras(theirs, keras_path)
    model = xx.create_model("nasnet_mobile", num_classes=11, **options)
    last, mean = (layer.name for layer in theirs.layers[-3:-1])
    names = set(endpoint_shapes(model, images_of(height, width))) - {"relu", "avg_pool"}
    images = coloured_images(height, width)
    expected = keras_outputs(keras, theirs, images, names | {last, mean})
    expected |= {"relu": expected.pop(last), "avg_pool": expected.pop(mean)}
    assert expected.keys() == names | {"relu", "avg_pool"}
    assert_endpoints(model, variables, images, expected)


TIMM_PARTS = {
    "conv_1x1.": "conv_1/",
    "conv_prev_1x1.": "adjust/",
    "path_1.conv": "adjust/conv_1",
    "path_2.conv": "adjust/conv_2",
    "final_path_bn": "adjust/bn",
}


def timm_cell(name: str) -> str:
    """Ours of `cell_7`, `reduction_cell_0` or `cell_stem_0`."""
    kind, number = name.rsplit("_", 1)
    match kind:
        case "cell":
            return f"normal_{int(number) + (int(number) >= 6)}"
        case "reduction_cell":
            return f"reduction_reduce_{6 * (int(number) + 1)}"
    return f"reduction_stem_{int(number) + 1}"


def timm_path(name: str) -> str:
    """`cell_7.comb_iter_0_left.separable_1.depthwise_conv2d` is `normal_8/left1_1/depthwise`."""
    outside = {"conv0.conv": "stem_conv1", "conv0.bn": "stem_bn1", "last_linear": "predictions"}
    if name in outside:
        return outside[name]
    cell, inside = name.split(".", 1)
    if match := re.fullmatch(r"comb_iter_(\d)_(left|right)\.(separable|bn_sep)_([12])(?:\.(\w+)_conv2d)?", inside):
        block, side, _, number, layer = match.groups()
        return f"{timm_cell(cell)}/{side}{int(block) + 1}_{number}/{layer or 'bn'}"
    for theirs, ours in TIMM_PARTS.items():
        inside = inside.replace(theirs, ours)
    return f"{timm_cell(cell)}/{inside}"


@pytest.mark.parametrize(
    ("filters", "stem", "height", "width"),
    [(96, 6, 67, 96), pytest.param(4032, 96, 331, 331, marks=pytest.mark.full_size)],
)
def test_timm(torch: Any, filters: int, stem: int, height: int, width: int):
    """Cells and logits are timm's."""
    network = pytest.importorskip("timm.models.nasnet").NASNetALarge
    theirs = network(num_classes=11, num_features=filters, stem_size=stem).eval()
    variables = from_torch(torch, theirs, timm_path)
    knobs: Any = {"penultimate_filters": filters, "stem_features": stem, "num_classes": 11}
    model = xx.create_model("nasnet_large.timm", **knobs)
    names = {name: timm_cell(name).replace("_", "_concat_", 1) for name, _ in theirs.named_children() if "cell" in name}
    names |= {"conv0": "stem_bn1", "last_linear": "predictions"}
    images = coloured_images(height, width)
    outputs = torch_modules(theirs, images, list(names))
    assert_endpoints(model, variables, images, {names[name]: output for name, output in outputs.items()})


def test_a_slip_would_show(keras: Any, monkeypatch: pytest.MonkeyPatch):
    """The comparison with Keras fails with another epsilon, pools that do not count padding, the stride in the second
    of two separable convolutions, padding on the other side."""
    options: Any = {**SMALL, "cells": 1}
    theirs = keras_network(keras, 64, 64, options)
    variables = from_keras(theirs, keras_path)
    images = coloured_images(64, 64)
    expected = keras_outputs(keras, theirs, images, {"predictions"})["predictions"]
    model: Any = xx.create_model("nasnet_mobile", num_classes=11, **options)
    assert_close(apply(model, variables, images), expected)

    def assert_differs(wrong: Any) -> None:
        assert largest_difference(apply(wrong, variables, images), expected) > 1e-4

    assert_differs(model.clone(norm=replace(model.norm, epsilon=3e-4)))
    assert_differs(model.clone(pool_zeros=("max",)))
    assert_differs(model.clone(pool_zeros=("avg",)))

    unit, conv, held = nasnet.SeparableUnit, nasnet.Conv, [1]

    def later(features: int, size: int, stride: int, *rest: Any, name: str, **others: Any) -> Any:
        if name.endswith("_1"):
            held[0], stride = stride, 1
        else:
            stride = held[0]
        return unit(features, size, stride, *rest, name=name, **others)

    def symmetric(features: int, size: Any, strides: Any = (1, 1), padding: Any = "SAME", **others: Any) -> Any:
        if strides == (2, 2) and "feature_group_count" in others:
            padding = [(side // 2, side // 2) for side in size]
        return conv(features, size, strides, padding, **others)

    for name, slip in (("SeparableUnit", later), ("Conv", symmetric)):
        with monkeypatch.context() as patch:
            patch.setattr(nasnet, name, slip)
            assert_differs(model)
