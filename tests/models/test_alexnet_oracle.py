"""AlexNet against torchvision with the same random weights: `pytest -m oracle`."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from carried import from_torch
from zoo import assert_close, largest_difference, oracle, random_images, torch_output

import xxnet_jax as xx
from xxnet_jax.models.alexnet import Convolution
from xxnet_jax.models.layers import local_response_norm

pytestmark = oracle


@pytest.fixture(scope="module")
def torchvision_weights(torch: Any) -> tuple[Any, Any]:
    """torchvision's network with random weights and biases, and the same as our variables."""
    theirs = pytest.importorskip("torchvision").models.alexnet(weights=None).eval()
    return theirs, from_torch(torch, theirs, "alexnet.torchvision", num_classes=1000)


@pytest.mark.parametrize(("height", "width"), [(224, 224), (131, 101), (63, 63), (260, 240)])
def test_logits(torchvision_weights: Any, height: int, width: int):
    """Logits are torchvision's, at the nominal size, an odd one, the smallest, and a larger one."""
    theirs, variables = torchvision_weights
    images = random_images(height, width)
    expected = torch_output(theirs, images)
    model = xx.create_model("alexnet.torchvision")
    assert_close(model.apply(variables, jnp.asarray(images), train=False), expected)
    if (height, width) == (224, 224):
        assert sum(p.numel() for p in theirs.parameters()) == xx.model_info("alexnet.torchvision").parameters


@pytest.mark.parametrize(
    "wrong",
    [
        {"convolutions": (Convolution(64, 11, stride=4, padding="SAME", pool=True), *[None] * 4)},
        {"convolutions": (Convolution(64, 11, stride=4, padding=1, pool=True), *[None] * 4)},
        {"pool_padding": "CEIL"},
        {"pool_window": 2},
    ],
    ids=["same", "padding", "ceil", "window"],
)
def test_a_slip_would_show(torchvision_weights: Any, wrong: Any):
    """The comparison fails when padding or a pool is another."""
    theirs, variables = torchvision_weights
    model: Any = xx.create_model("alexnet.torchvision")
    if "convolutions" in wrong:
        wrong = {"convolutions": wrong["convolutions"][:1] + model.convolutions[1:]}
    images = random_images(131, 102)
    expected = torch_output(theirs, images)
    found = model.clone(**wrong).apply(variables, jnp.asarray(images), train=False)
    assert largest_difference(found, expected) > 1e-4


def test_response_norm(torch: Any):
    """PyTorch divides alpha by the number of channels; else it is the same normalization."""
    x = np.random.default_rng(0).normal(0, 30, (2, 3, 4, 9)).astype(np.float32)
    layer = torch.nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0)
    expected = layer(torch.from_numpy(x.transpose(0, 3, 1, 2))).numpy().transpose(0, 2, 3, 1)
    found = local_response_norm(jnp.asarray(x), radius=2, bias=2.0, alpha=1e-4, beta=0.75)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
