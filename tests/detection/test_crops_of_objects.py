"""What R-CNN's network learns from: how many windows of which kind, their labels and pixels; and the network."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xxnet_jax.boxes import pairwise_iou
from xxnet_jax.data import ObjectsDecoder, ObjectsFormat
from xxnet_jax.data.loader import draws
from xxnet_jax.data.objects import make_example
from xxnet_jax.detection.backbones import create_parts
from xxnet_jax.detection.crops import CropDecoder, CropSettings, PyramidNetwork, learnable, sample_windows
from xxnet_jax.detection.roi import window_of_features
from xxnet_jax.detection.sppnet import MappedWindows, nearest_scales
from xxnet_jax.errors import InvalidArgument, UnknownName
from xxnet_jax.models.darknet import table

TINY = {"stages": table("3x3 4", "3x3 6", "3x3 8", "3x3 8, 3x3 8, 3x3 8, 3x3 8")}


def windows_and_objects(seed: int, count: int, objects: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    corner = random.uniform(0, 60, (count + objects, 2))
    boxes = np.concatenate([corner, corner + random.uniform(8, 40, (count + objects, 2))], 1).astype(np.float32)
    true = boxes[count:]
    near = true[random.integers(0, objects, count // 2)] if objects else true
    boxes[: len(near)] = near + random.uniform(-2, 2, near.shape)
    return boxes[:count], true, random.integers(0, 3, objects).astype(np.int32)


@given(st.integers(0, 1000), st.integers(0, 300), st.integers(0, 6))
def test_as_many_of_each_kind(seed: int, count: int, objects: int):
    """8 of 32 windows have an IoU of .5 or more with an object, and the class of the one that they overlap most; the
    others have less with every object; where there is nothing of a kind, the other fills up, or rows are empty."""
    windows, true, labels = windows_and_objects(seed, count, objects)
    rng = np.random.default_rng(seed)
    boxes, found = sample_windows(rng, windows, true, labels, count=32, positives=8, positive_iou=0.5)
    assert boxes.shape == (32, 4)
    overlap = pairwise_iou(boxes, true) if objects else np.zeros((32, 1))
    others = pairwise_iou(windows, true).max(1) < 0.5 if objects else np.ones(count, bool)
    positives, background = found > 0, found == 0
    assert positives.sum() == (8 if objects else 0)
    assert background.sum() == ((32 - positives.sum()) if others.any() else 0)
    assert (found >= -1).all()
    assert (overlap[positives].max(1) >= 0.5).all()
    assert (overlap[background].max(1) < 0.5).all()
    if objects:
        assert (found[positives] - 1 == labels[overlap[positives].argmax(1)]).all()
    if others.sum() >= 32:
        assert len(np.unique(boxes[background], axis=0)) == len(np.unique(windows[others], axis=0)) or (
            len(np.unique(boxes[background], axis=0)) == background.sum()
        )


def decoder(settings: CropSettings, windows: np.ndarray) -> CropDecoder:
    objects = ObjectsDecoder(ObjectsFormat(40, 60, 3, 4, max_windows=50), 3, search=lambda image: windows)
    return CropDecoder(objects, settings)


def example() -> Any:
    image = np.zeros((40, 60, 3), np.uint8)
    image[10:30, 5:25] = (200, 0, 0)
    image[5:15, 40:50] = (0, 200, 0)
    return make_example(image, [[5, 10, 25, 30], [40, 5, 50, 15], [0, 0, 9, 9]], [0, 1, 2], [False, False, True])


def test_a_batch_of_fine_tuning_has_32_and_96():
    """Four images: 32 windows with objects, 96 without, and the pixels of each are those of its window."""
    windows = np.array([[6, 10, 25, 30], [40, 6, 50, 15], [28, 20, 58, 38], [0, 31, 30, 40], [0, 0, 9, 9]], np.float32)
    settings = CropSettings(sizes=(12,), context=0.0)
    own = decoder(settings, windows)
    rows = [own(example(), draws(0, 0, np.array([place]))[0]) for place in range(4)]
    batch = own.stack(rows, 4)
    assert batch["image"].shape == (4, 32, 12, 12, 3)
    assert (batch["label"] > 0).sum() == 32
    assert (batch["label"] == 0).sum() == 96
    colours = batch["image"].mean((2, 3)).argmax(-1)
    bright = batch["image"].mean((2, 3)).max(-1)
    assert (colours[batch["label"] == 1] == 0).all()
    assert (colours[batch["label"] == 2] == 1).all()
    assert (bright[batch["label"] > 0] > 150).all()
    assert (bright[batch["label"] == 0] == 0).all()  # the difficult one is background
    again = own(example(), draws(0, 0, np.array([2]))[0])
    np.testing.assert_array_equal(again["image"], rows[2]["image"])
    np.testing.assert_array_equal(own(example())["label"], own(example())["label"])


def test_crops_of_objects_come_in_one_size_an_epoch():
    """Classes without background; an image without objects has no crops; a batch has the size of its epoch."""
    settings = CropSettings(of="objects", sizes=(16, 12), count=4, positives=4)
    own = decoder(settings, np.zeros((0, 4)))
    seen = set()
    for epoch in range(8):
        nothing = make_example(np.zeros((9, 9, 3), np.uint8), (), ())
        rows = [own(each, draws(0, epoch, np.array([i]))[0]) for i, each in enumerate([example(), example(), nothing])]
        batch = own.stack([*rows, own.blank()], 5)
        assert set(batch["label"][:2].ravel()) <= {0, 1}
        assert (batch["label"][2:] == -1).all()
        assert batch["mask"].tolist() == [True, True, True, False, False]
        seen.add(batch["image"].shape[2])
    assert seen == {16, 12}
    assert own(example())["image"].shape == (4, 16, 16, 3)
    assert own.stack([own.blank()], 2)["image"].shape == (2, 4, 16, 16, 3)
    assert learnable(example())["labels"].tolist() == [0, 1]


@pytest.fixture(scope="module")
def network() -> tuple[PyramidNetwork, Any]:
    backbone, stride, _ = create_parts("small", **TINY)
    model = PyramidNetwork(backbone, stride, 4, (3, 2, 1), (10,), 0.0)
    return model, jax.jit(lambda: model.init(jax.random.key(0), jnp.zeros((1, 24, 24, 3)), train=False))()


def test_the_network_takes_images_of_any_size(network):
    """The same parameters, 14 bins of 8 features; what is described are the features under the logits."""
    model, variables = network
    params = variables["params"]["cls_score"]

    @jax.jit
    def both(images: jax.Array) -> Any:
        return (
            model.apply(variables, images, describes=True, train=False),
            model.apply(variables, images, train=False),
        )

    for height, width in ((24, 24), (40, 57)):
        images = np.random.default_rng(height).normal(size=(2, height, width, 3)).astype(np.float32)
        features, logits = both(images)
        assert features.pooled.shape == (2, 14 * 8)
        np.testing.assert_allclose(logits, features.hidden @ params["kernel"] + params["bias"][None], atol=1e-5)


def test_windows_of_maps_are_parts_of_them(network):
    """The features of a window are maxima of the cells in it, whichever of the image's sizes it is seen in."""
    model, variables = network
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    inputs = lambda images: images / 255.0  # noqa: E731
    describe = MappedWindows(model, variables, inputs, (48, 96), 40.0)
    boxes = np.array([[0, 0, 64, 48], [3, 5, 20, 25], [30, 10, 60, 44], [1, 1, 4, 4]], np.float32)
    chosen = nearest_scales(boxes, (1, 2), 40.0)
    assert chosen.tolist() == [0, 1, 0, 1]
    found = describe(image, boxes)
    assert found.pooled.shape == (4, 14 * 8)
    backbone = jax.jit(lambda x: model.apply(variables, x, method=lambda m, x: m.backbone(x, train=False)))
    map_ = np.asarray(backbone(np.asarray(image[None] / 255.0, np.float32)))[0]
    rows, columns = map_.shape[:2]
    for row in np.flatnonzero(chosen == 0):
        x1, y1, x2, y2 = np.asarray(window_of_features(boxes[row], rows, columns, 8))
        whole = map_[y1 : y2 + 1, x1 : x2 + 1].max((0, 1))
        np.testing.assert_allclose(found.pooled[row, -8:], whole, atol=1e-5)  # the last level is one bin
    none = describe(image, boxes[:0])
    assert none.hidden.shape == (0, 10)


def test_scale_nearest_to_the_square():
    """A worked example at the paper's scales: 100 x 100 pixels of 480 are nearest to 224 x 224 at 1,200."""
    factors = [scale / 480 for scale in (480, 576, 688, 864, 1200)]
    boxes = np.array([[0, 0, 100, 100], [0, 0, 300, 300], [0, 0, 190, 190], [0, 0, 10, 20], [5, 5, 5, 5]])
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    expected = [int(np.argmin([abs(a * f * f - 224**2) for f in factors])) for a in areas]
    assert nearest_scales(boxes, factors).tolist() == expected == [4, 0, 1, 4, 0]
    assert nearest_scales(boxes[:0], factors).tolist() == []


def test_bad_settings():
    """Each says what was wrong."""
    with pytest.raises(UnknownName, match="windows"):
        CropSettings(of="window")  # type: ignore[arg-type]
    with pytest.raises(UnknownName, match="anisotropic"):
        CropSettings(warp="stretched")  # type: ignore[arg-type]
    bad: tuple[tuple[dict[str, Any], str], ...] = (
        ({"sizes": ()}, "size"),
        ({"positives": 33}, "positives"),
        ({"context": 0.5}, "context"),
    )
    for change, message in bad:
        with pytest.raises(InvalidArgument, match=message):
            CropSettings(**change)
