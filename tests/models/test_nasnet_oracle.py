"""NASNet against Keras and timm with the same random weights: `pytest -m oracle`."""

from dataclasses import replace
from typing import Any

import pytest
from carried import assert_endpoints, coloured_images, from_keras, from_torch, keras_outputs, torch_modules
from zoo import apply, assert_close, endpoint_shapes, images_of, largest_difference, oracle

import xxnet_jax as xx
from xxnet_jax.models import nasnet
from xxnet_jax.pretrained.torch_names import NASNET_CELLS

pytestmark = oracle

SMALL = {"penultimate_filters": 96, "cells": 2, "stem_features": 6}
SKIPPING = {**SMALL, "skip_reduction": True}
LARGE = {"penultimate_filters": 4032, "cells": 6, "stem_features": 96, "skip_reduction": True}


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
    variables = from_keras(theirs, "nasnet_mobile", **options)
    model = xx.create_model("nasnet_mobile", num_classes=11, **options)
    last, mean = (layer.name for layer in theirs.layers[-3:-1])
    names = set(endpoint_shapes(model, images_of(height, width))) - {"relu", "avg_pool"}
    images = coloured_images(height, width)
    expected = keras_outputs(keras, theirs, images, names | {last, mean})
    expected |= {"relu": expected.pop(last), "avg_pool": expected.pop(mean)}
    assert expected.keys() == names | {"relu", "avg_pool"}
    assert_endpoints(model, variables, images, expected)


@pytest.mark.parametrize(
    ("filters", "stem", "height", "width"),
    [(96, 6, 67, 96), pytest.param(4032, 96, 331, 331, marks=pytest.mark.full_size)],
)
def test_timm(torch: Any, filters: int, stem: int, height: int, width: int):
    """Cells and logits are timm's."""
    network = pytest.importorskip("timm.models.nasnet").NASNetALarge
    theirs = network(num_classes=11, num_features=filters, stem_size=stem).eval()
    knobs: Any = {"penultimate_filters": filters, "stem_features": stem}
    variables = from_torch(torch, theirs, "nasnet_large.timm", **knobs)
    model = xx.create_model("nasnet_large.timm", num_classes=11, **knobs)
    names = {theirs: ours.replace("_", "_concat_", 1) for theirs, ours in NASNET_CELLS.items()}
    names |= {"conv0": "stem_bn1", "last_linear": "predictions"}
    images = coloured_images(height, width)
    outputs = torch_modules(theirs, images, list(names))
    assert_endpoints(model, variables, images, {names[name]: output for name, output in outputs.items()})


def test_a_slip_would_show(keras: Any, monkeypatch: pytest.MonkeyPatch):
    """The comparison with Keras fails with another epsilon, pools that do not count padding, the stride in the second
    of two separable convolutions, padding on the other side."""
    options: Any = {**SMALL, "cells": 1}
    theirs = keras_network(keras, 64, 64, options)
    variables = from_keras(theirs, "nasnet_mobile", **options)
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
