"""GoogLeNet against torchvision with the same random weights: `pytest -m oracle`."""

from dataclasses import replace
from typing import Any

import chex
import pytest
from carried import from_torch
from zoo import abstract_init, apply, assert_close, images_of, largest_difference, oracle, random_images, torch_output

import xxnet_jax as xx
from xxnet_jax.models import googlenet
from xxnet_jax.models.layers import ConvUnit

pytestmark = oracle


@pytest.mark.parametrize("side", [75, 96])
def test_logits_are_torchvisions(torch: Any, side: int, monkeypatch: pytest.MonkeyPatch):
    """With the same weights and statistics logits are torchvision's, those of the heads while training too, and with
    another epsilon, another place of a stride or the padding on the other side they are not."""
    build = pytest.importorskip("torchvision").models.GoogLeNet
    options = {"dropout": 0.0, "dropout_aux": 0.0, "aux_logits": True, "init_weights": False}
    reference = build(num_classes=11, **options)
    assert sum(p.numel() for p in build(**options).parameters()) == 13_004_888
    variables = from_torch(torch, reference, "googlenet.torchvision")
    images = random_images(side, side, scales=(0.3, 1, 2), seed=1)  # else random images look alike

    def ours(train: bool = False, **knobs: Any) -> Any:
        rates: Any = {"dropout_rate": 0.0, "auxiliary_dropout_rate": 0.0}
        model: Any = xx.create_model("googlenet.torchvision", num_classes=11, **rates, **knobs)
        mutable: Any = ["batch_stats", "aux_logits"] if train else False
        return apply(model, variables, images, train=train, mutable=mutable)

    model = xx.create_model("googlenet.torchvision", num_classes=11)
    chex.assert_trees_all_equal_shapes_and_dtypes(variables, abstract_init(model, images_of(side)))
    expected = torch_output(reference.eval(), images)
    assert_close(ours(), expected)

    logits, state = ours(train=True)
    heads = state["aux_logits"]["heads"]
    training = torch_output(reference.train(), images)
    for found, theirs in zip((logits, heads["aux2"], heads["aux1"]), training, strict=True):
        assert_close(found, theirs, 1e-3)  # normalized by the few numbers of this batch

    assert largest_difference(ours(norm=replace(model.norm, epsilon=1e-5)), expected) > 1e-4  # type: ignore[attr-defined]
    assert largest_difference(ours(stem_padding=((2, 4), (2, 4))), expected) > 1e-4

    def later(features: int, size: Any, strides: Any = (1, 1), *rest: Any, name: str, **options: Any) -> ConvUnit:
        strides = {"conv1": (1, 1), "conv2_reduce": (2, 2)}.get(name, strides)
        return ConvUnit(features, size, strides, *rest, name=name, **options)

    monkeypatch.setattr(googlenet, "ConvUnit", later)
    assert largest_difference(ours(), expected) > 1e-4
