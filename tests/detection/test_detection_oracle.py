"""Operations of detection against torchvision's own: `pytest -m oracle`."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xxnet_jax.detection as det

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("default")]  # the framework's warnings are not ours

SCALE = 1 / 16
HEIGHT, WIDTH, CHANNELS = 19, 25, 4


@pytest.fixture(scope="module")
def ops(torch: Any) -> Any:
    """torchvision's operations, compiled ones too."""
    del torch
    try:
        torchvision = pytest.importorskip("torchvision")
    except RuntimeError as error:  # operators that are not there, of a build for another torch
        pytest.skip(f"torchvision cannot be imported: {error}")
    if not torchvision.extension._has_ops():
        pytest.skip("torchvision has no compiled operations here: it was built for another torch")
    return torchvision.ops


def random_boxes(random: np.random.Generator, n: int) -> np.ndarray:
    """In and around an image of 400 x 304, in clusters."""
    centre = random.uniform(0, [400, 304], (n // 8 + 1, 2))[random.integers(0, n // 8 + 1, n)]
    centre += random.normal(0, 15, (n, 2))
    sides = np.exp(random.uniform(np.log(10), np.log(250), (n, 2)))
    return np.concatenate([centre - sides / 2, centre + sides / 2], -1).astype(np.float32)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_nms(ops: Any, torch: Any, threshold: float):
    """The same boxes in the same order, of 2,000; per class too."""
    random = np.random.default_rng(0)
    boxes, scores = random_boxes(random, 2000), random.permutation(2000).astype(np.float32)
    labels = random.integers(0, 20, 2000)
    tensors = torch.tensor(boxes), torch.tensor(scores)
    indices, valid = jax.jit(det.nms, static_argnums=3)(boxes, scores, threshold, 2000)
    np.testing.assert_array_equal(indices[valid], ops.nms(*tensors, threshold))
    indices, valid = jax.jit(det.batched_nms, static_argnums=4)(boxes, scores, labels, threshold, 2000)
    np.testing.assert_array_equal(indices[valid], ops.batched_nms(*tensors, torch.tensor(labels), threshold))


def test_overlaps_and_loss(ops: Any, torch: Any):
    """IoU and GIoU of each with each, the GIoU loss, and boxes cut to the image."""
    from xxnet_jax.losses import giou_loss

    random = np.random.default_rng(1)
    a, b = (random_boxes(random, 60).astype(np.float64) for _ in range(2))
    ta, tb = torch.tensor(a), torch.tensor(b)
    np.testing.assert_allclose(det.iou_matrix(a, b), ops.box_iou(ta, tb), atol=1e-12)  # float64
    np.testing.assert_allclose(det.giou_matrix(a, b), ops.generalized_box_iou(ta, tb), atol=1e-12)
    found = giou_loss(jnp.asarray(a), jnp.asarray(b))
    np.testing.assert_allclose(found, ops.generalized_box_iou_loss(ta, tb), atol=2e-6)  # float32, and its epsilon
    np.testing.assert_allclose(det.clip_boxes(a, 304, 400), ops.clip_boxes_to_image(ta, (304, 400)))


def test_box_coder(ops: Any, torch: Any):
    """Encoding and decoding are its detectors': weights are 1 / stds, and the limit of the scale is the same."""
    from torchvision.models.detection._utils import BoxCoder

    del ops
    random = np.random.default_rng(2)
    boxes, anchors = (random_boxes(random, 50).astype(np.float64) for _ in range(2))
    coder, stds = BoxCoder((10.0, 10.0, 5.0, 5.0)), (0.1, 0.1, 0.2, 0.2)
    theirs = coder.encode_single(torch.tensor(boxes), torch.tensor(anchors))
    np.testing.assert_allclose(det.encode_boxes(boxes, anchors, stds=stds), theirs, atol=1e-9)
    deltas = random.normal(0, 10, (50, 4))
    theirs = coder.decode_single(torch.tensor(deltas), torch.tensor(anchors))
    # its limit and the rest are float64 as ours
    np.testing.assert_allclose(det.decode_boxes(deltas, anchors, stds=stds), theirs, rtol=1e-9, atol=1e-6)


def features_and_boxes(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random features without ties, and boxes in, around and outside of the image, padding among them."""
    random = np.random.default_rng(seed)
    odd = [[0, 0, 0, 0], [500, 500, 700, 700], [-300, -200, -200, -100], [40, 40, 20, 20], [0, 0, 399, 303]]
    boxes = np.concatenate([random_boxes(random, 60), np.array(odd, np.float32)])
    return random.normal(size=(HEIGHT, WIDTH, CHANNELS)).astype(np.float32), boxes


def with_gradient(torch: Any, function: Any, features: np.ndarray, boxes: np.ndarray, weights: np.ndarray) -> Any:
    """Its output and the gradient of the features, [height, width, channels] last, in float64."""
    x = torch.tensor(features).double().permute(2, 0, 1)[None].requires_grad_()
    out = function(x, [torch.tensor(boxes).double()])
    out.backward(torch.tensor(weights).double().permute(0, 3, 1, 2))
    return out.detach().permute(0, 2, 3, 1).numpy(), x.grad[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("size", [(7, 7), (3, 5)])
def test_roi_pool(ops: Any, torch: Any, size: tuple[int, int]):
    """The same maxima exactly, and gradients."""
    features, boxes = features_and_boxes(3)
    weights = np.random.default_rng(0).normal(size=(len(boxes), *size, CHANNELS)).astype(np.float32)
    expected = with_gradient(torch, lambda x, b: ops.roi_pool(x, b, size, SCALE), features, boxes, weights)
    pool = jax.jit(lambda x: det.roi_pool(x, boxes, size, SCALE))
    np.testing.assert_array_equal(pool(features), expected[0])
    gradient = jax.jit(lambda x: jax.vjp(pool, x)[1](weights)[0])(features)
    np.testing.assert_allclose(gradient, expected[1], atol=1e-4)  # float32 sums of up to hundreds of weights


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling_ratio", [0, 1, 2, 3])
def test_roi_align(ops: Any, torch: Any, sampling_ratio: int, aligned: bool):
    """The same means, and gradients, with as many samples as needed (-1 there) and with a fixed number."""
    features, boxes = features_and_boxes(4)
    weights = np.random.default_rng(0).normal(size=(len(boxes), 7, 7, CHANNELS)).astype(np.float32)
    theirs = lambda x, b: ops.roi_align(x, b, 7, SCALE, sampling_ratio or -1, aligned)  # noqa: E731
    expected = with_gradient(torch, theirs, features, boxes, weights)
    align = jax.jit(lambda x: det.roi_align(x, boxes, 7, SCALE, sampling_ratio=sampling_ratio, aligned=aligned))
    # Float32 places of up to 45 cells (2e-6) between features that differ by up to 6; sums of the gradient
    np.testing.assert_allclose(align(features), expected[0], atol=5e-5)
    gradient = jax.jit(lambda x: jax.vjp(align, x)[1](weights)[0])(features)
    np.testing.assert_allclose(gradient, expected[1], atol=5e-4)
