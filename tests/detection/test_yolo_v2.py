"""YOLO v2: sizes as published, boxes, targets and loss against loops, fixed shapes, and that it learns."""

import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import references
from hypothesis import given, settings
from hypothesis import strategies as st
from rectangles import CLASSES, SHAPE, arguments, rectangles

from xxnet_jax.detection.anchors import YOLO_V2_ANCHORS
from xxnet_jax.detection.detector import Found
from xxnet_jax.detection.yolo_v2 import (
    BACKBONES,
    Lesson,
    Parts,
    YoloV2,
    YoloV2Settings,
    create_yolo_v2,
    decode_locations,
    encode_locations,
    image_losses,
    match_objects,
    predicted_boxes,
    space_to_depth,
    yolo_v2_loss,
)
from xxnet_jax.errors import InvalidArgument, UnknownName
from xxnet_jax.losses import Outputs
from xxnet_jax.models import count_parameters
from xxnet_jax.models.darknet import table
from xxnet_jax.training.state import create_state
from xxnet_jax.training.step import make_train_step

VOC = YOLO_V2_ANCHORS["voc"]
SETTINGS = YoloV2Settings(anchors=((1.2, 1.2), (2.2, 1.4), (2.6, 2.0)), prior_images=8, max_detections=10)
TINY: dict[str, Any] = {
    "stages": table("3x3 8", "3x3 16", "3x3 24, 3x3 24", "3x3 32"),
    "stride": 8,
    "passthrough": "conv4",
    "squeezed": 8,
    "head": (32,),
    "fused": 32,
}
SEEDS = st.integers(0, 2**16)


def tiny(**options: Any) -> YoloV2:
    return create_yolo_v2("small", CLASSES, SETTINGS, **(TINY | options))


def shapes(model: YoloV2, side: int) -> tuple[Any, Any]:
    """Shapes of the variables, and of what is learnt from an image without objects."""
    images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    variables = jax.eval_shape(lambda key, x: model.init(key, x, train=False), jax.random.key(0), images)
    objects = arguments(rectangles(0, [0]))["objects"]
    lesson = jax.eval_shape(lambda v, x: model.apply(v, x, objects=objects, train=False), variables, images)
    return variables, lesson


@pytest.mark.parametrize(
    ("backbone", "classes", "options", "parameters"),
    [
        ("darknet19", 20, {}, 50_655_389),
        ("darknet19", 80, {}, 50_962_889),
        ("darknet19", 20, {"squeezed": 0}, 67_137_565),
        ("darknet_tiny", 20, {}, 15_861_773),  # tiny-yolo-voc.weights has these, 6,112 means and variances, 16 bytes
    ],
)
def test_sizes_at_416(backbone, classes, options, parameters):
    """13 x 13 cells of five anchors with 5 + classes numbers, and the parameters of the authors' files to the digit."""
    variables, lesson = shapes(create_yolo_v2(backbone, classes, **options), 416)
    assert count_parameters(variables["params"]) == parameters
    assert lesson.predictions.shape == (1, 13, 13, 5, 5 + classes)


@pytest.mark.parametrize("side", [320, 608])
def test_any_multiple_of_the_stride(side):
    """From 10 x 10 to 19 x 19 cells, with the same parameters; another size is refused in words."""
    model = create_yolo_v2("darknet19", 20)
    variables, lesson = shapes(model, side)
    assert lesson.predictions.shape[1:3] == (side // 32, side // 32)
    assert count_parameters(variables["params"]) == 50_655_389
    with pytest.raises(InvalidArgument, match="multiples of 32"):
        shapes(model, side + 8)


def test_the_small_one_has_fine_cells():
    """320 x 256 pixels are 20 x 16 cells of five anchors."""
    model = create_yolo_v2("small", 3)
    images = jax.ShapeDtypeStruct((1, 256, 320, 3), jnp.float32)
    found, _ = jax.eval_shape(lambda k, x: model.init_with_output(k, x, train=False), jax.random.key(0), images)
    assert found.boxes.shape == (1, 100, 4)
    assert set(BACKBONES) == {"darknet19", "darknet_tiny", "small"}


def test_space_to_depth():
    """Both orders: the notes' example, and Darknet's loops; they differ, but keep the same numbers."""
    x = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    found = space_to_depth(jnp.asarray(x), "space_to_depth")[0]
    np.testing.assert_array_equal(found, [[[0, 1, 4, 5], [2, 3, 6, 7]], [[8, 9, 12, 13], [10, 11, 14, 15]]])
    x = np.random.default_rng(0).normal(size=(2, 6, 4, 8)).astype(np.float32)
    found = np.asarray(space_to_depth(jnp.asarray(x)))
    expected = np.stack([references.reorg(each.transpose(2, 0, 1)).transpose(1, 2, 0) for each in x])
    np.testing.assert_array_equal(found, expected)
    other = np.asarray(space_to_depth(jnp.asarray(x), "space_to_depth"))
    assert (found != other).any()
    np.testing.assert_array_equal(np.sort(found.ravel()), np.sort(other.ravel()))
    for wrong in (jnp.zeros((1, 5, 4, 4)), jnp.zeros((1, 4, 4, 6))):
        with pytest.raises(InvalidArgument, match="even sides"):
            space_to_depth(wrong)


def test_examples_of_the_notes():
    """A decoded box, and an object with its cell, its anchor and its targets, to the digits that the notes have."""
    logits = np.array([0.2, -0.4, 0.1, -0.3])
    locations = jnp.asarray([*(1 / (1 + np.exp(-logits[:2]))), *logits[2:]])
    box = decode_locations(locations, jnp.array([6.0, 4.0]), jnp.asarray(VOC[2]))
    expected = references.corners(6.549834, 4.401312, 5.587600, 5.999828)
    np.testing.assert_allclose(box, expected, atol=2e-6)

    truth = 13 * references.corners(0.53, 0.35, 0.42, 0.61)[None].astype(np.float32)
    owner = np.asarray(match_objects(jnp.asarray(truth), jnp.array([True]), 13, 13, VOC)).reshape(13, 13, 5)
    assert np.argwhere(owner == 0).tolist() == [[4, 6, 2]]
    target = encode_locations(jnp.asarray(truth[0]), jnp.array([6.0, 4.0]), jnp.asarray(VOC[2]))
    np.testing.assert_allclose(target, [0.89, 0.55, 0.0768988, -0.0210777], atol=3e-6)


@pytest.mark.parametrize("location", ["direct", "anchor"])
@given(seed=SEEDS)
def test_decoding_is_the_inverse_of_encoding(location, seed):
    """For boxes in any cell and anchors of any shape; in float32."""
    random = np.random.default_rng(seed)
    cells = random.integers(0, 19, (50, 2)).astype(np.float32)
    anchors = random.uniform(0.5, 12, (50, 2)).astype(np.float32)
    centre, sides = cells + random.uniform(0, 1, (50, 2)), random.uniform(0.2, 15, (50, 2))
    boxes = jnp.asarray(np.concatenate([centre - sides / 2, centre + sides / 2], -1), jnp.float32)
    locations = encode_locations(boxes, jnp.asarray(cells), jnp.asarray(anchors), location)
    if location == "direct":
        assert ((locations[:, :2] > -1e-5) & (locations[:, :2] < 1 + 1e-5)).all()  # what a sigmoid can say
    back = decode_locations(locations, jnp.asarray(cells), jnp.asarray(anchors), location)
    np.testing.assert_allclose(back, boxes, atol=2e-5)


def some_objects(random: np.random.Generator, count: int, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Objects that may share a cell or reach beyond the map, and their labels."""
    centre = random.uniform(0, (columns, rows), (count, 2))
    sides = random.uniform(0.4, 4, (count, 2))
    boxes = np.concatenate([centre - sides / 2, centre + sides / 2], -1).astype(np.float32)
    return boxes, random.integers(0, CLASSES, count).astype(np.int32)


@functools.lru_cache
def loss_and_gradient(chosen: YoloV2Settings) -> Any:
    def total(raw: jax.Array, *rest: jax.Array) -> tuple[jax.Array, Parts]:
        *objects, young = rest
        parts = image_losses(raw, *objects, young=young, settings=chosen)
        return jnp.sum(jnp.stack(parts)), parts

    return jax.jit(jax.value_and_grad(total, has_aux=True))


@pytest.mark.parametrize("rescore", [True, False])
@settings(max_examples=8)
@given(seed=SEEDS, number=st.integers(0, 6), young=st.booleans())
def test_loss_and_gradient_are_those_of_darknet(rescore, seed, number, young):
    """The parts, and for each number the gradient, are those of the transcribed region layer; what is not present
    counts for nothing. float32 against float64."""
    random = np.random.default_rng(seed)
    rows, columns = 4, 5
    chosen = YoloV2Settings(anchors=SETTINGS.anchors, rescore=rescore)
    raw = random.normal(0, 0.7, (rows, columns, 3, 5 + CLASSES)).astype(np.float32)
    boxes, labels = some_objects(random, 6, rows, columns)
    present = np.arange(6) < number
    (loss, parts), gradient = loss_and_gradient(chosen)(raw, boxes, labels, present, young)
    expected, delta = references.region_layer(
        raw, boxes[:number], labels[:number], chosen.anchors, young=young, rescore=rescore
    )
    np.testing.assert_allclose(parts, list(expected.values()), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(loss, sum(expected.values()), rtol=1e-4)
    np.testing.assert_allclose(gradient, -delta, rtol=1e-3, atol=1e-5)


def test_good_boxes_that_are_nobodys_are_left_alone():
    """A prediction that overlaps an object by more than .6, but does not own it, has no gradient at all."""
    raw = np.zeros((2, 2, 2, 5 + CLASSES), np.float32)
    chosen = YoloV2Settings(anchors=((1.0, 1.0), (1.1, 1.1)))
    truth = references.corners(0.5, 0.5, 1.0, 1.0)[None].astype(np.float32)
    given_ = (truth, np.array([1], np.int32), np.array([True]))
    _, gradient = loss_and_gradient(chosen)(raw, *given_, False)
    assert not gradient[0, 0, 1].any()
    assert gradient[0, 0, 0, 4:].any()
    assert gradient[1, 1, :, 4].all()


def test_the_last_of_two_objects_in_a_place():
    """Two objects of one shape in one cell: the prediction tells of the last; a third one, of another shape, has its
    own."""
    boxes = [(2.2, 1.4, 1.2, 1.2), (2.6, 1.6, 1.2, 1.2), (2.5, 1.5, 2.6, 2.0)]
    objects = jnp.asarray(np.stack([references.corners(*box) for box in boxes]), jnp.float32)
    owner = match_objects(objects, jnp.ones(3, bool), 3, 4, SETTINGS.anchors).reshape(3, 4, 3)
    assert owner[1, 2].tolist() == [1, -1, 2]
    assert int((owner >= 0).sum()) == 2
    nothing = match_objects(jnp.zeros((2, 4)), jnp.ones(2, bool), 3, 4, SETTINGS.anchors)
    assert (nothing == -1).all()
    assert match_objects(jnp.zeros((0, 4)), jnp.zeros(0, bool), 3, 4, SETTINGS.anchors).shape == (36,)


def test_warm_up_counts_images():
    """With batches of 4 and 8 images of warm-up, steps 0 and 1 draw boxes to the anchors, step 2 does not."""
    batch = rectangles(0, [0, 0])
    predictions = jnp.ones((2, 6, 8, 3, 5 + CLASSES))
    lesson = Lesson(predictions, arguments(batch)["objects"])
    loss_fn, there = yolo_v2_loss(SETTINGS, 4), {"mask": jnp.ones(2, bool)}
    loss = jax.jit(lambda step: loss_fn(Outputs(lesson, {}, step), there, jax.random.key(0))[1])
    assert [float(loss(jnp.asarray(step))["box"].value()) > 0 for step in range(4)] == [True, True, False, False]


def test_images_that_are_masked_count_for_nothing():
    """The loss is the mean of the others'."""
    batch = rectangles(1, [2, 3])
    predictions = jax.random.normal(jax.random.key(0), (2, 6, 8, 3, 5 + CLASSES))
    objects = arguments(batch)["objects"]
    lesson = Lesson(predictions, objects._replace(boxes=objects.boxes / 8))

    def loss(mask: list[bool]) -> float:
        outputs = Outputs(lesson, {}, jnp.asarray(5))
        total, metrics = yolo_v2_loss(SETTINGS, 2)(outputs, {"mask": jnp.array(mask)}, jax.random.key(0))
        parts = [metrics[name].value() for name in ("box", "object", "background", "class")]
        np.testing.assert_allclose(total, sum(parts), rtol=1e-5)
        return float(total)

    np.testing.assert_allclose(loss([True, True]), (loss([True, False]) + loss([False, True])) / 2, rtol=1e-6)


def test_detections_have_fixed_shapes():
    """As many rows as are asked for, whatever is in the image; they lie in it, sorted; before training they are the
    anchors, as the last convolution begins near zero."""
    model = tiny()
    variables = jax.jit(lambda: model.init(jax.random.key(0), jnp.zeros((1, *SHAPE)), train=False))()
    batch = rectangles(1, [2, 0])
    content = np.array([[0, 0, 64, 48], [8, 4, 40, 30]], np.float32)
    found = jax.jit(lambda images: model.apply(variables, images, content=content, train=False))(batch["image"])
    assert isinstance(found, Found)
    chex.assert_shape(found.boxes, (2, 10, 4))
    for boxes, scores, valid, window in zip(found.boxes, found.scores, found.valid, content, strict=True):
        assert valid.any()
        assert not np.asarray(boxes)[~valid].any()
        assert (np.diff(np.asarray(scores)[valid]) <= 0).all()
        assert (np.asarray(boxes)[valid, :2] >= window[:2] - 1e-4).all()
        assert (np.asarray(boxes)[valid, 2:] <= window[2:] + 1e-4).all()
    zeros = jnp.zeros((6, 8, 3, 5 + CLASSES))
    boxes = np.asarray(predicted_boxes(zeros, settings=SETTINGS)).reshape(6, 8, 3, 4)
    np.testing.assert_allclose(boxes[2, 5, 1], references.corners(5.5, 2.5, 2.2, 1.4), atol=1e-5)


def test_bad_arguments():
    """Each says what was wrong."""
    with pytest.raises(UnknownName, match="darknet19"):
        create_yolo_v2("darknet20", 3)
    with pytest.raises(InvalidArgument, match="num_classes"):
        create_yolo_v2("small", 0)
    with pytest.raises(UnknownName, match="darknet"):
        create_yolo_v2("small", 3, reorganization="darknet_")
    with pytest.raises(UnknownName, match="direct"):
        YoloV2Settings(location="directly")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="anchors"):
        YoloV2Settings(anchors=((1.0, 0.0),))
    with pytest.raises(InvalidArgument, match="with objects"):
        tiny().init(jax.random.key(0), jnp.zeros((1, *SHAPE)), train=True)


@pytest.mark.slow
@pytest.mark.parametrize("location", ["direct", "anchor"])
def test_it_learns_a_handful_of_images(location):
    """Each rectangle is found with its class, an IoU above .7 and a score above .5, and nothing else is."""
    from xxnet_jax.metrics.detection import Detections, GroundTruth, voc_average_precision

    chosen = YoloV2Settings(**{**vars(SETTINGS), "location": location})
    model = create_yolo_v2("small", CLASSES, chosen, **TINY)
    batch = rectangles(2, [2, 1, 3, 4])
    tx = optax.adam(3e-3)
    state = create_state(model, tx, SHAPE, seed=0)
    step = jax.jit(make_train_step(model, tx, yolo_v2_loss(chosen, 4), arguments=arguments))
    losses = []
    for _ in range(300):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"].value()))
    assert losses[-1] < 0.1 * losses[0]
    found: Any = jax.jit(lambda v: model.apply(v, batch["image"], train=False))(state.evaluation_variables)
    found = jax.device_get(found)
    sure = found.valid & (found.scores > 0.5)
    detections = [Detections(*(values[i][sure[i]] for values in found[:3])) for i in range(4)]
    truths = [GroundTruth(*(batch[key][i][batch["present"][i]] for key in ("boxes", "labels"))) for i in range(4)]
    assert [len(each.boxes) for each in detections] == [len(each.boxes) for each in truths]
    assert voc_average_precision(detections, truths, CLASSES, iou_threshold=0.7).mean_average_precision == 1
