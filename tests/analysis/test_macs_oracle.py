"""Multiply-accumulates against PyTorch's counter on the networks of torchvision and timm: `pytest -m oracle`."""

from typing import Any

import pytest

import xxnet_jax as xx
from xxnet_jax.analysis import summarize

pytestmark = pytest.mark.oracle

TORCHVISION = {
    "alexnet.torchvision": "alexnet",
    "densenet121.torchvision": "densenet121",
    "densenet161": "densenet161",
    "densenet169.torchvision": "densenet169",
    "densenet201.torchvision": "densenet201",
    "googlenet.torchvision": "googlenet",
    "inception_v3.torchvision": "inception_v3",
    "mobilenet_v2.torchvision": "mobilenet_v2",
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    "resnet50.torchvision": "resnet50",
    "resnet101.torchvision": "resnet101",
    "resnet152.torchvision": "resnet152",
    "resnext50.torchvision": "resnext50_32x4d",
    "resnext101_32x8d": "resnext101_32x8d",
    "vgg11.torchvision": "vgg11",
    "vgg11_bn": "vgg11_bn",
    "vgg13.torchvision": "vgg13",
    "vgg13_bn": "vgg13_bn",
    "vgg16.torchvision": "vgg16",
    "vgg16_bn": "vgg16_bn",
    "vgg19.torchvision": "vgg19",
    "vgg19_bn": "vgg19_bn",
    "wide_resnet50_2": "wide_resnet50_2",
}
TIMM = {
    "inception_resnet_v2.timm": "inception_resnet_v2",
    "inception_v3.timm": "inception_v3",
    "inception_v4": "inception_v4",
    "mobilenet": "mobilenetv1_100",
    "nasnet_large.timm": "nasnetalarge",
    "resnext101": "resnext101_32x4d",
    "xception": "legacy_xception",
}


def counted_by_torch(torch: Any, model: Any, side: int) -> int:
    """Shapes alone: the network lies on PyTorch's device "meta". A multiply-accumulate is two operations there."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.empty(1, 3, side, side, device="meta"))
    return counter.get_total_flops() // 2


def check(torch: Any, name: str, theirs: Any) -> None:
    assert summarize(name).macs == counted_by_torch(torch, theirs, xx.model_info(name).input_shape[0])


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision(torch: Any, name: str):
    """Convolutions and products of the network in torchvision that has the same definition."""
    import torchvision

    heads = {"aux_logits": False, "init_weights": False} if name.startswith(("googlenet", "inception")) else {}
    with torch.device("meta"):
        check(torch, name, getattr(torchvision.models, TORCHVISION[name])(weights=None, **heads))


@pytest.mark.parametrize("name", TIMM)
def test_timm(torch: Any, name: str):
    """Of the network in timm."""
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        check(torch, name, timm.create_model(TIMM[name], pretrained=False))
