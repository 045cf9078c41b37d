"""VGG's localisation: targets, loss, merging and boxes of whole images, against the pixels and plain loops."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xxnet_jax.boxes import iou
from xxnet_jax.data import ImageFormat
from xxnet_jax.data.loader import draws
from xxnet_jax.data.objects import make_example
from xxnet_jax.detection.localization import (
    DenseLocalizer,
    LocalizationDecoder,
    LocalizationRecipe,
    boxes_of_class,
    boxes_of_map,
    euclidean_loss,
    merge_boxes,
)
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.losses import Outputs
from xxnet_jax.models import create_model
from xxnet_jax.training.folder import RunConfig

TINY: dict[str, Any] = {"blocks": (((3, 3),),) * 3, "features_of_blocks": (2, 2, 4), "dense": (8, 8), "window": 4}


def bright(image: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(image[..., 0] > 127)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float32)


def test_the_target_is_where_the_object_is():
    """In parts of the window, whichever was drawn; the largest object of several; without one the row is masked."""
    image = np.zeros((60, 90, 3), np.uint8)
    image[20:50, 25:60] = 255
    example = make_example(image, [[80, 0, 84, 6], [25, 20, 60, 50]], [2, 1])
    decoder = LocalizationDecoder(ImageFormat(32, 32, 3, "crop", 40), 3)
    whole = 0
    for number in range(12):
        row = decoder(example, draws(0, number, np.array([0]))[0] if number else None)
        assert row["label"] == 1
        cx, cy, w, h = row["box"] * 32
        box = np.array([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
        if (box >= 1).all() and (box <= 31).all():
            np.testing.assert_allclose(bright(row["image"]), box, atol=1)
            whole += 1
    assert whole > 3
    empty = decoder(make_example(image, (), ()))
    assert not empty["mask"]
    assert decoder.stack([decoder(example), empty], 3)["mask"].tolist() == [True, False, False]


def test_euclidean_loss_of_the_true_class():
    """Half the squared distance, with one box or one for each class; images that are not there do not count."""
    random = np.random.default_rng(0)
    labels = np.array([2, 0, 1, 1])
    target = random.uniform(0.3, 0.6, (4, 4)).astype(np.float32)
    mask = np.array([True, True, True, False])
    for boxes in (1, 3):
        outputs = random.uniform(0.2, 0.7, (4, 4 * boxes)).astype(np.float32)
        own = [outputs[i].reshape(boxes, 4)[labels[i] if boxes > 1 else 0] for i in range(4)]
        np.testing.assert_array_equal(boxes_of_class(jnp.asarray(outputs), jnp.asarray(labels)), own)
        batch: Any = {"label": labels, "box": target, "mask": mask}
        step = jnp.zeros((), jnp.int32)
        loss, metrics = euclidean_loss(Outputs(jnp.asarray(outputs), {}, step), batch, jax.random.key(0))
        expected = np.mean([np.sum((own[i] - target[i]) ** 2) / 2 for i in range(3)])
        np.testing.assert_allclose(loss, expected, rtol=1e-5)
        assert 0 <= float(metrics["localized"].value()) <= 1
    gradient = jax.grad(lambda x: euclidean_loss(Outputs(x, {}, step), batch, jax.random.key(0))[0])(
        jnp.asarray(outputs)
    )
    assert np.isfinite(gradient).all()
    assert (np.asarray(gradient[3]) == 0).all()
    assert ((np.asarray(gradient[:3]) != 0).sum(1) == 4).all()


def test_merging():
    """Two clouds of boxes become their means, with the sums of their scores; a box alone stays; none is no error."""
    random = np.random.default_rng(1)
    first, second = np.array([10, 10, 50, 40.0]), np.array([60, 20, 90, 70.0])
    noise = random.uniform(-2, 2, (9, 4))
    boxes = np.concatenate([first + noise[:5], second + noise[5:], [[200, 200, 210, 210]]])
    scores = random.uniform(0.1, 1, 10)
    scores[-1] = 0.01
    order = random.permutation(10)
    found, rated = merge_boxes(boxes[order], scores[order])
    clouds = sorted(
        ((scores[:5].sum(), boxes[:5].mean(0)), (scores[5:9].sum(), boxes[5:9].mean(0))), key=lambda c: -c[0]
    )
    np.testing.assert_allclose(rated, [clouds[0][0], clouds[1][0], 0.01])
    np.testing.assert_allclose(found, [clouds[0][1], clouds[1][1], boxes[-1]])
    assert merge_boxes(boxes[:0], scores[:0])[0].shape == (0, 4)


def test_boxes_of_places():
    """What a place says is relative to its window: worked by hand."""
    outputs = np.zeros((2, 3, 4))
    outputs[1, 2] = (0.5, 0.25, 0.5, 0.25)
    boxes = boxes_of_map(outputs, 224, 32, (2.0, 2.0))
    assert boxes.shape == (6, 1, 4)
    np.testing.assert_allclose(boxes[5, 0], np.array([56 + 64, 28 + 32, 168 + 64, 84 + 32]) / 2)


def test_whole_images():
    """At one place the dense networks say what they say of the crop; at several the merged box is one of the likeliest
    class, and lies in the image."""
    boxes = create_model("vgg16.localization", num_classes=12, **TINY)
    classifier = create_model("vgg16", num_classes=3, **TINY)
    variables, others = (
        jax.jit(lambda m=model, key=key: m.init(jax.random.key(key), jnp.zeros((1, 32, 32, 3)), train=False))()
        for key, model in ((0, boxes), (1, classifier))
    )
    bias = np.tile(np.array([0.5, 0.5, 0.6, 0.7], np.float32), 3)
    variables["params"]["predictions"]["bias"] = jnp.asarray(bias)
    recipe = LocalizationRecipe(image_size=32, shorter_side=32, per_class=True)
    config = RunConfig(recipe, ImageFormat(32, 32, 3, "crop", 32), None, "unit", ("a", "b", "c"))
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    localizer = DenseLocalizer(config, boxes, variables, classifier, others, (32,), top=2)  # type: ignore[arg-type]
    found = localizer(image)
    inputs = jnp.asarray(image[None] / 255.0, jnp.float32)
    said = np.asarray(boxes.apply(variables, inputs, train=False))[0].reshape(3, 4)
    scores: Any = classifier.apply(others, inputs, train=False)
    chances = np.asarray(jax.nn.softmax(scores))[0]
    assert found.labels.tolist() == np.argsort(-chances)[:2].tolist()
    np.testing.assert_allclose(found.scores, np.sort(chances)[::-1][:2], rtol=1e-5)
    for box, label in zip(found.boxes, found.labels, strict=True):
        cx, cy, w, h = said[label] * 32
        expected = np.clip([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], 0, 32)
        assert float(iou(box, expected)) > 0.999
    wide = np.random.default_rng(1).integers(0, 256, (40, 70, 3)).astype(np.uint8)
    several = DenseLocalizer(config, boxes, variables, classifier, others, (48, 64), top=3)(wide)  # type: ignore[arg-type]
    assert len(several.labels) == 3
    assert (several.boxes[:, 2:] <= (70, 40)).all()
    with pytest.raises(InvalidArgument, match="scales"):
        DenseLocalizer(config, boxes, variables, classifier, others, (16,))  # type: ignore[arg-type]


def test_bad_recipes():
    """A network that is shown whole images, not windows of them, cannot say where in the window the object is."""
    with pytest.raises(InvalidArgument, match="localisation cuts windows"):
        LocalizationRecipe(fit="resize", shorter_side=None)
