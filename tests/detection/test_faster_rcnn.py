"""Faster R-CNN: sizes as published, fixed shapes whatever is in the images, and that it learns."""

from typing import Any, cast

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rectangles import CLASSES, SHAPE, TINY, arguments, rectangles

from xxnet_jax.detection.backbones import BACKBONES
from xxnet_jax.detection.detector import Found
from xxnet_jax.detection.faster_rcnn import (
    FasterRCNN,
    FasterRCNNSettings,
    Lesson,
    create_faster_rcnn,
    faster_rcnn_loss,
)
from xxnet_jax.errors import InvalidArgument, UnknownName
from xxnet_jax.losses import Outputs
from xxnet_jax.models import count_parameters
from xxnet_jax.training.state import create_state
from xxnet_jax.training.step import make_train_step

SETTINGS = FasterRCNNSettings(
    sizes=(8, 16, 32),
    rpn_features=16,
    dense=(32,),
    dropout_rate=0.0,
    anchor_samples=32,
    anchor_box_weight=1.0,
    min_size=2,
    train_before=100,
    train_after=30,
    test_before=100,
    test_after=20,
    region_samples=16,
    background_from=0.0,
    max_detections=10,
)


def tiny(**options: Any) -> FasterRCNN:
    return create_faster_rcnn("small", CLASSES, SETTINGS, **(TINY | options))


@pytest.fixture(scope="module")
def variables() -> Any:
    return jax.jit(lambda: tiny().init(jax.random.key(0), jnp.zeros((1, *SHAPE)), train=False))()


@pytest.fixture(scope="module")
def lesson(variables) -> Any:
    """batch -> what is learnt from it and the loss, compiled once."""

    @jax.jit
    def of(batch: dict[str, Any], key: jax.Array) -> Any:
        prediction = tiny().apply(variables, batch["image"], **arguments(batch), train=False, rngs={"dropout": key})
        outputs = Outputs(prediction, {}, jnp.zeros((), jnp.int32))
        return prediction, faster_rcnn_loss(SETTINGS)(outputs, batch, key)

    return of


@pytest.mark.parametrize(
    ("backbone", "features", "parameters"),
    [
        # py-faster-rcnn's for VOC has 137,078,239, with four offsets of 4,096 weights and a bias for background, too.
        ("vgg16", 512, 137_078_239 - 4 * 4_097),
        ("zfnet", 256, None),
        ("resnet18", 256, None),
    ],
)
def test_sizes_at_800x600(backbone, features, parameters):
    """A map of 50 x 38 and 17,100 anchors, as the paper's code counts them; the parameters of VGG-16 to the digit."""
    model = create_faster_rcnn(backbone, 20, FasterRCNNSettings(rpn_features=features))
    images = jax.ShapeDtypeStruct((1, 600, 800, 3), jnp.float32)
    map_, _ = jax.eval_shape(
        lambda key, images: model.backbone.init_with_output(key, images, train=False), jax.random.key(0), images
    )
    assert map_.shape == (1, 38, 50, features)
    assert model.anchors(*map_.shape[1:3]).shape == (17_100, 4)
    if parameters is not None:
        variables = jax.eval_shape(lambda key, images: model.init(key, images, train=False), jax.random.key(0), images)
        assert count_parameters(variables["params"]) == parameters


def test_anchors_of_the_paper():
    """The first cell has the code's nine anchors as continuous boxes: of 184 x 96 to 352 x 704 pixels around (8, 8)."""
    anchors = create_faster_rcnn("vgg16", 20).anchors(38, 50)
    sides = anchors[:9, 2:] - anchors[:9, :2]
    assert sides[0].tolist() == [184, 96]
    assert sides[8].tolist() == [352, 704]
    np.testing.assert_array_equal((anchors[:9, :2] + anchors[:9, 2:]) / 2, np.full((9, 2), 8))


def test_a_lesson_has_fixed_shapes_and_true_targets(lesson):
    """Objects, none, and an image that is not there: the same shapes, finite losses, no part for what is masked."""
    batch = rectangles(0, [3, 0, 2])
    prediction, (loss, metrics) = lesson(batch, jax.random.key(0))
    assert isinstance(prediction, Lesson)
    cells = (48 // 8) * (64 // 8)
    chex.assert_shape(prediction.anchor_logits, (3, cells * 9, 2))
    chex.assert_shape(prediction.region_deltas, (3, 16, CLASSES, 4))
    labels = np.asarray(prediction.region_labels)
    assert set(labels[0][labels[0] > 0]) <= set(batch["labels"][0, :3] + 1)
    assert (labels[0] > 0).any()
    assert (labels[1] == 0).any()
    assert not (labels[1] > 0).any()
    assert ((np.asarray(prediction.anchor_labels) >= 0).sum(1) == 32).all()
    assert np.isfinite(float(loss))
    total = sum(metrics[name].value() for name in ("rpn_class", "rpn_box", "class", "box"))
    np.testing.assert_allclose(loss, total, rtol=1e-6)

    absent = {**batch, "mask": np.array([True, True, False])}
    absent["image"], absent["boxes"], absent["content"] = (batch[key].copy() for key in ("image", "boxes", "content"))
    _, (without, _) = lesson(absent, jax.random.key(0))
    absent["image"][2] = absent["boxes"][2] = absent["content"][2] = 0
    absent["present"] = batch["present"] & absent["mask"][:, None]
    _, (blank, parts) = lesson(absent, jax.random.key(0))
    np.testing.assert_allclose(blank, without, rtol=1e-5)
    assert float(parts["loss"].weight) == 2


def test_detections_have_fixed_shapes(variables):
    """As many rows as are asked for; those that are not valid are zeros; the valid ones lie in the image, sorted."""
    batch = rectangles(1, [2, 0])
    content = np.array([[0, 0, 64, 48], [8, 4, 40, 30]], np.float32)
    apply = jax.jit(lambda images, content: tiny().apply(variables, images, content=content, train=False))
    found = apply(batch["image"], content)
    assert isinstance(found, Found)
    chex.assert_shape(found.boxes, (2, 10, 4))
    for boxes, scores, valid, window in zip(found.boxes, found.scores, found.valid, content, strict=True):
        assert valid.any()
        assert not np.asarray(boxes)[~valid].any()
        assert (np.diff(np.asarray(scores)[valid]) <= 0).all()
        assert (np.asarray(boxes)[valid, :2] >= window[:2] - 1e-4).all()
        assert (np.asarray(boxes)[valid, 2:] <= window[2:] + 1e-4).all()


def test_bad_arguments():
    """Each says what was wrong."""
    with pytest.raises(UnknownName, match="vgg16"):
        create_faster_rcnn("vgg61", 3)
    with pytest.raises(InvalidArgument, match="num_classes"):
        create_faster_rcnn("small", 0)
    with pytest.raises(InvalidArgument, match="test_after must be 1 or more"):
        FasterRCNNSettings(test_after=0)
    with pytest.raises(UnknownName, match="align"):
        FasterRCNNSettings(pooling="aligned")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="with objects"):
        tiny().init(jax.random.key(0), jnp.zeros((1, *SHAPE)), train=True)
    assert set(BACKBONES) == {"vgg16", "zfnet", "resnet18", "resnet50", "small"}


def learns(model: FasterRCNN, steps: int) -> tuple[list[float], Found, dict[str, np.ndarray]]:
    """Losses of so many steps on one batch, and what is found in it then."""
    batch = rectangles(2, [2, 1, 3, 4])
    tx = optax.adam(3e-3)
    state = create_state(model, tx, SHAPE, seed=0)
    step = jax.jit(make_train_step(model, tx, faster_rcnn_loss(SETTINGS), arguments=arguments))
    losses = []
    for _ in range(steps):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"].value()))
    found: Any = jax.jit(lambda v: model.apply(v, batch["image"], train=False))(state.evaluation_variables)
    return losses, jax.device_get(found), batch


@pytest.mark.slow
def test_it_learns_a_handful_of_images():
    """Each rectangle is found with its class, an IoU above .7 and a score above .8, and nothing else is."""
    from xxnet_jax.metrics.detection import Detections, GroundTruth, voc_average_precision

    losses, found, batch = learns(tiny(), 700)
    assert losses[-1] < 0.2 * losses[0]
    sure = found.valid & (found.scores > 0.8)
    detections = [Detections(*(values[i][sure[i]] for values in found[:3])) for i in range(4)]
    truths = [GroundTruth(*(batch[key][i][batch["present"][i]] for key in ("boxes", "labels"))) for i in range(4)]
    assert [len(each.boxes) for each in detections] == [len(each.boxes) for each in truths]
    assert voc_average_precision(detections, truths, CLASSES, iou_threshold=0.7).mean_average_precision == 1


@pytest.mark.parametrize(
    "pooling", [pytest.param("align", marks=pytest.mark.slow), pytest.param("pool", marks=pytest.mark.full_size)]
)
def test_a_residual_head(pooling):
    """A ResNet with its last stage as the head, and RoI pooling, have finite gradients for all parameters."""
    settings = FasterRCNNSettings(**{**vars(SETTINGS), "pooling": pooling})
    model = create_faster_rcnn("resnet18", CLASSES, settings, widths=(8, 8, 8, 8), stem_features=8)
    batch = rectangles(3, [2, 1])
    variables = jax.jit(lambda: model.init(jax.random.key(0), jnp.zeros((1, *SHAPE)), train=False))()

    @jax.jit
    def gradients(params: Any) -> Any:
        def loss(params: Any) -> jax.Array:
            prediction, _ = model.apply(
                {**variables, "params": params},
                batch["image"],
                **arguments(batch),
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(1)},
            )
            outputs = Outputs(prediction, {}, jnp.zeros((), jnp.int32))
            return faster_rcnn_loss(settings)(outputs, cast(Any, batch), jax.random.key(2))[0]

        return jax.grad(loss)(params)

    found = gradients(variables["params"])
    chex.assert_tree_all_finite(found)
    assert all(bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(found["stage"]))
