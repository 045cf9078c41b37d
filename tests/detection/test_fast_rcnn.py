"""Fast R-CNN: it looks at the windows that it is given, and at nothing else; fixed shapes; that it learns."""

from typing import Any, cast

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rectangles import CLASSES, SHAPE, TINY, arguments, rectangles

from xxnet_jax.detection.detector import Found
from xxnet_jax.detection.fast_rcnn import FastRCNN, create_fast_rcnn, fast_rcnn_loss
from xxnet_jax.detection.second_stage import RegionLesson, RegionSettings, Windows
from xxnet_jax.errors import InvalidArgument, UnknownName
from xxnet_jax.losses import Outputs
from xxnet_jax.models import count_parameters
from xxnet_jax.training.state import create_state
from xxnet_jax.training.step import make_train_step

SETTINGS = RegionSettings(
    dense=(32,), dropout_rate=0.0, region_samples=16, region_objects=0.5, background_from=0.0, max_detections=10
)


def tiny() -> FastRCNN:
    return create_fast_rcnn("small", CLASSES, SETTINGS, **TINY)


def windows_around(batch: dict[str, Any], count: int = 24) -> Windows:
    """Objects moved by a few pixels, then windows at random; the last three of each image are not there."""
    random = np.random.default_rng(0)
    images = len(batch["boxes"])
    corners = random.uniform(0, (40, 30), (images, count, 2))
    boxes = np.concatenate([corners, corners + random.uniform(4, 24, (images, count, 2))], -1).astype(np.float32)
    room = batch["boxes"].shape[1]
    moved = batch["boxes"] + random.uniform(-1.5, 1.5, batch["boxes"].shape)
    boxes[:, :room] = np.where(batch["present"][..., None], moved, boxes[:, :room])
    valid = np.broadcast_to(np.arange(count) < count - 3, (images, count))
    return Windows(cast(Any, boxes), cast(Any, valid.copy()))


def lesson_of(variables: Any, batch: dict[str, Any], windows: Windows) -> tuple[RegionLesson, Any]:
    def of(images: jax.Array, given: Any, mask: jax.Array) -> Any:
        key = jax.random.key(0)
        prediction = tiny().apply(variables, images, **given, train=False, rngs={"dropout": key})
        outputs = Outputs(prediction, {}, jnp.zeros((), jnp.int32))
        return prediction, fast_rcnn_loss(outputs, {"mask": mask}, key)

    return jax.jit(of)(batch["image"], {**arguments(batch), "windows": windows}, batch["mask"])


@pytest.fixture(scope="module")
def variables() -> Any:
    return jax.jit(lambda: tiny().init(jax.random.key(0), jnp.zeros((1, *SHAPE)), train=False))()


def test_parameters_of_the_paper():
    """VGG-16 for VOC: 138,357,544 less the classifier of 1000, and 21 + 4 * 20 outputs of 4,096 features."""
    model = create_fast_rcnn("vgg16", 20)
    images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    variables = jax.eval_shape(lambda key, x: model.init(key, x, train=False), jax.random.key(0), images)
    assert count_parameters(variables["params"]) == 138_357_544 - 4_097 * 1000 + 4_097 * (21 + 80)


def test_it_learns_from_windows_that_are_there(variables):
    """Regions are windows and objects, none of padding; an image without objects has background alone, one without
    windows and objects nothing, and the loss is finite."""
    batch = rectangles(0, [3, 0, 0])
    windows = windows_around(batch)
    windows.valid[2] = False  # type: ignore[index]
    lesson, (loss, metrics) = lesson_of(variables, batch, windows)
    chex.assert_shape(lesson.deltas, (3, 16, CLASSES, 4))
    labels = np.asarray(lesson.labels)
    assert set(labels[0][labels[0] > 0]) == set(batch["labels"][0, :3] + 1)
    assert (labels[1] == 0).any()
    assert not (labels[1] > 0).any()
    assert (labels[2] == -1).all()
    assert np.isfinite(float(loss))
    np.testing.assert_allclose(loss, metrics["class"].value() + metrics["box"].value(), rtol=1e-6)

    other = Windows(jnp.where(windows.valid[..., None], windows.boxes, 7.0), windows.valid)
    _, (again, _) = lesson_of(variables, batch, other)
    np.testing.assert_allclose(again, loss, rtol=1e-6)


def test_detections_are_of_windows(variables):
    """Without valid windows there are none; else they lie in the image, and all rows are there."""
    batch = rectangles(1, [2, 1])
    windows = windows_around(batch)
    windows.valid[1] = False  # type: ignore[index]
    content = np.array([[0, 0, 40, 30], [0, 0, 64, 48]], np.float32)
    apply = jax.jit(lambda x, c, w: tiny().apply(variables, x, content=c, windows=w, train=False))
    found: Any = apply(batch["image"], content, windows)
    assert isinstance(found, Found)
    chex.assert_shape(found.boxes, (2, 10, 4))
    assert found.valid[0].any()
    assert not found.valid[1].any()
    assert (np.asarray(found.boxes)[0] >= 0).all()
    assert (np.asarray(found.boxes)[0, :, 2:] <= (40 + 1e-4, 30 + 1e-4)).all()


def test_gradients_are_finite_and_reach_all_parameters(variables):
    """Also where an image has no object."""
    batch = rectangles(3, [2, 0])
    given = {**arguments(batch), "windows": windows_around(batch)}

    @jax.jit
    def gradients(params: Any) -> Any:
        def loss(params: Any) -> jax.Array:
            collections = {**variables, "params": params}
            options: Any = {"train": True, "mutable": ["batch_stats"], "rngs": {"dropout": jax.random.key(1)}}
            prediction, _ = tiny().apply(collections, batch["image"], **given, **options)
            outputs = Outputs(prediction, {}, jnp.zeros((), jnp.int32))
            return fast_rcnn_loss(outputs, cast(Any, batch), jax.random.key(2))[0]

        return jax.grad(loss)(params)

    found = gradients(variables["params"])
    chex.assert_tree_all_finite(found)
    assert all(bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(found))


def test_bad_arguments():
    """Each says what was wrong."""
    with pytest.raises(UnknownName, match="vgg16"):
        create_fast_rcnn("vgg61", 3)
    with pytest.raises(InvalidArgument, match="num_classes"):
        create_fast_rcnn("small", 0)
    with pytest.raises(InvalidArgument, match="region_samples must be 1 or more"):
        RegionSettings(region_samples=0)
    with pytest.raises(InvalidArgument, match="with objects"):
        tiny().init(jax.random.key(0), jnp.zeros((1, *SHAPE)), train=True)


@pytest.mark.slow
def test_it_learns_a_handful_of_images():
    """With windows near them, each rectangle is found with its class, and nothing else is."""
    from xxnet_jax.metrics.detection import Detections, GroundTruth, voc_average_precision

    batch = rectangles(2, [2, 1, 3, 4])
    windows = windows_around(batch)
    model, tx = tiny(), optax.adam(3e-3)
    state = create_state(model, tx, SHAPE, seed=0)
    given = lambda batch: {**arguments(batch), "windows": windows}  # noqa: E731
    step = jax.jit(make_train_step(model, tx, fast_rcnn_loss, arguments=given))
    for _ in range(200):
        state, _ = step(state, batch)
    apply = jax.jit(lambda v: model.apply(v, batch["image"], windows=windows, train=False))
    found: Any = jax.device_get(apply(state.evaluation_variables))
    sure = found.valid & (found.scores > 0.8)
    detections = [Detections(*(values[i][sure[i]] for values in found[:3])) for i in range(4)]
    truths = [GroundTruth(*(batch[key][i][batch["present"][i]] for key in ("boxes", "labels"))) for i in range(4)]
    assert [len(each.boxes) for each in detections] == [len(each.boxes) for each in truths]
    assert voc_average_precision(detections, truths, CLASSES, iou_threshold=0.7).mean_average_precision == 1
