"""YOLO: sizes as published, blocks, targets and loss against loops, both inferences, and that it learns."""

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

import xxnet_jax as xx
from xxnet_jax.detection.detector import Found
from xxnet_jax.detection.yolo_v1 import (
    BACKBONES,
    Lesson,
    Said,
    YoloV1,
    YoloV1Settings,
    create_yolo_v1,
    detections,
    image_losses,
    in_blocks,
    located,
    location_of,
    yolo_v1_loss,
)
from xxnet_jax.errors import InvalidArgument, UnknownName
from xxnet_jax.models import count_parameters
from xxnet_jax.models.darknet import table
from xxnet_jax.training.state import create_state
from xxnet_jax.training.step import make_train_step

SETTINGS = YoloV1Settings(grid=(3, 4), dropout_rate=0.0, max_detections=10)
TINY: dict[str, Any] = {"stages": table("3x3 8", "3x3 16", "3x3 24", "3x3 32"), "dense": (64,)}
SEEDS = st.integers(0, 2**16)


def tiny(chosen: YoloV1Settings = SETTINGS) -> YoloV1:
    return create_yolo_v1("small", CLASSES, chosen, **TINY)


@pytest.mark.parametrize(("backbone", "parameters"), [("darknet24", 271_703_550), ("darknet_tiny", 45_089_374)])
def test_sizes_at_448(backbone, parameters):
    """The parameters of the paper's network and of Fast YOLO to the digit, 7 x 7 cells with 20 + 2 + 8 numbers; and the
    first twenty convolutions are those of the classifier that is trained before."""
    model = create_yolo_v1(backbone, 20)
    images = jax.ShapeDtypeStruct((1, 448, 448, 3), jnp.float32)
    variables: Any = jax.eval_shape(lambda key, x: model.init(key, x, train=False), jax.random.key(0), images)
    assert count_parameters(variables["params"]) == parameters
    assert variables["params"]["output"]["kernel"].shape == (4096, 1470)
    if backbone == "darknet24":
        classifier: Any = jax.eval_shape(
            lambda key, x: xx.create_model("darknet20").init(key, x, train=False), jax.random.key(0), images
        )
        shared = {name: leaf for name, leaf in classifier["params"].items() if name != "conv21"}
        assert len(shared) == 20
        chex.assert_trees_all_equal_shapes(shared, {name: variables["params"]["backbone"][name] for name in shared})
    assert set(BACKBONES) == {"darknet24", "darknet_tiny", "small"}


def test_blocks():
    """Of 1,470 numbers the first 980 are classes, then 98 confidences, then 392 of boxes, cell by cell."""
    said = in_blocks(jnp.arange(1470), 49, 2, 20)
    assert said.classes[1].tolist() == list(range(20, 40))
    assert said.confidences[1].tolist() == [982, 983]
    assert said.locations[1, 1].tolist() == [1078 + 12, 1078 + 13, 1078 + 14, 1078 + 15]
    assert int(said.locations[48, 1, 3]) == 1469
    chex.assert_shape(in_blocks(jnp.zeros((5, 1470)), 49, 2, 20).locations, (5, 49, 2, 4))


@given(SEEDS)
def test_a_location_gives_the_box_back(seed):
    """What the cell of the centre should say, said by it, is the box; in float32."""
    random = np.random.default_rng(seed)
    grid = (5, 7)
    centre, sides = random.uniform(0, 1, (30, 2)), random.uniform(0.01, 1, (30, 2))
    boxes = jnp.asarray(np.concatenate([centre - sides / 2, centre + sides / 2], -1), jnp.float32)
    locations, cells = location_of(boxes, grid)
    assert ((locations[:, :2] > -1e-5) & (locations[:, :2] < 1 + 1e-5)).all()
    said = jnp.zeros((30, 35, 1, 4)).at[jnp.arange(30), cells, 0].set(locations)
    back = located(said, grid)[jnp.arange(30), cells, 0]
    np.testing.assert_allclose(back, boxes, atol=1e-5)


def test_corners_are_finite():
    """Whatever the network says of sides, also where their squares are not numbers of float32."""
    corners = located(jnp.full((35, 2, 4), 3e20), (5, 7))
    assert np.isfinite(corners).all()
    assert (corners[..., 2:] >= corners[..., :2]).all()


@functools.lru_cache
def losses(chosen: YoloV1Settings) -> Any:
    return jax.jit(functools.partial(image_losses, settings=chosen))


@pytest.mark.parametrize("rescore", [True, False])
@settings(max_examples=8)
@given(seed=SEEDS, number=st.integers(0, 6))
def test_the_loss_is_that_of_the_loops(rescore, seed, number):
    """The five sums are those of the transcription: the first object of a cell, the responsible box by IoU, or by
    distance where none overlaps; what is not present counts for nothing. float32 against float64."""
    random = np.random.default_rng(seed)
    grid, count = (3, 4), 12
    classes, confidences = random.normal(0.3, 0.5, (count, CLASSES)), random.normal(0.3, 0.5, (count, 2))
    # The roots of sides are small in half of the cells, so that no box overlaps the object.
    locations = random.uniform(-0.2, 1.2, (count, 2, 4)) * np.where(random.random((count, 1, 1)) < 0.5, 0.1, 0.8)
    said = Said(*(jnp.asarray(array, jnp.float32) for array in (classes, confidences, locations)))
    centre, sides = random.uniform(0, 1, (6, 2)), random.uniform(0.05, 0.6, (6, 2))
    boxes = np.concatenate([centre - sides / 2, centre + sides / 2], -1).astype(np.float32)
    labels = random.integers(0, CLASSES, 6).astype(np.int32)
    chosen = YoloV1Settings(grid=grid, rescore=rescore)
    found = losses(chosen)(said, boxes, labels, np.arange(6) < number)
    told = [np.asarray(part) for part in said]
    expected = references.detection_layer(told[0], told[1], told[2], boxes[:number], labels[:number], grid, rescore)
    np.testing.assert_allclose(found, list(expected.values()), rtol=1e-4, atol=1e-5)


def test_images_without_room_for_objects():
    """Arrays of no objects: only the confidences are learnt from."""
    said = Said(jnp.ones((12, CLASSES)), jnp.full((12, 2), 2.0), jnp.ones((12, 2, 4)))
    parts = image_losses(said, jnp.zeros((0, 4)), jnp.zeros(0, jnp.int32), jnp.zeros(0, bool), settings=SETTINGS)
    assert [float(part) for part in parts] == [0, 0, 0, 0.5 * 24 * 4, 0]


def random_detections(seed: int, count: int = 24) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    first = random.uniform(0, 60, (count, 2))
    boxes = np.concatenate([first, first + random.uniform(10, 30, (count, 2))], -1).astype(np.float32)
    return boxes, random.uniform(0, 0.6, (count, CLASSES)).astype(np.float32)


@pytest.mark.parametrize(("inference", "by_class"), [("zeroing", True), ("argmax", True), ("argmax", False)])
def test_inference_is_that_of_the_loops(inference, by_class):
    """Darknet's, which sets scores to 0; and the other one, with the boxes of a class or of all."""
    chosen = YoloV1Settings(inference=inference, by_class=by_class, score_threshold=0.2, max_detections=30)
    window = jnp.array([0.0, 0.0, 100.0, 100.0])
    find = jax.jit(functools.partial(detections, settings=chosen))
    for seed in range(5):
        boxes, scores = random_detections(seed)
        found = find(boxes, scores, window)
        if inference == "zeroing":
            left = references.zero_suppressed(boxes, scores.astype(np.float64), 0.5, 0.2)
            best = left.max(1)
            kept = [int(i) for i in np.argsort(-best, kind="stable") if best[i] > 0]
            labels = left.argmax(1)
        else:
            best, labels = scores.max(1), scores.argmax(1)
            ranked = np.where(best >= 0.2, best, -np.inf)
            kept = references.nms(boxes, ranked, 0.5, labels if by_class else None)
        count = len(kept)
        assert int(found.valid.sum()) == count > 0
        np.testing.assert_array_equal(found.boxes[:count], boxes[kept])
        np.testing.assert_allclose(found.scores[:count], best[kept], rtol=1e-6)
        np.testing.assert_array_equal(found.labels[:count], labels[kept])
        assert not np.asarray(found.boxes[count:]).any()


def test_detections_have_fixed_shapes():
    """As many rows as are asked for, whatever is in the image."""
    model = tiny()
    variables = jax.jit(lambda: model.init(jax.random.key(0), jnp.zeros((1, *SHAPE)), train=False))()
    batch = rectangles(1, [2, 0])
    found = jax.jit(lambda images: model.apply(variables, images, train=False))(batch["image"])
    assert isinstance(found, Found)
    chex.assert_shape(found.boxes, (2, 10, 4))
    lesson = jax.eval_shape(lambda: model.apply(variables, batch["image"], **arguments(batch), train=False))
    assert isinstance(lesson, Lesson)
    chex.assert_shape(lesson.said.locations, (2, 12, 2, 4))


def test_bad_arguments():
    """Each says what was wrong."""
    with pytest.raises(UnknownName, match="darknet24"):
        create_yolo_v1("darknet2", 3)
    with pytest.raises(InvalidArgument, match="num_classes"):
        create_yolo_v1("small", 0)
    with pytest.raises(UnknownName, match="zeroing"):
        YoloV1Settings(inference="zeroed")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="1 or more"):
        YoloV1Settings(grid=(0, 7))
    with pytest.raises(InvalidArgument, match="with objects"):
        tiny().init(jax.random.key(0), jnp.zeros((1, *SHAPE)), train=True)


@pytest.mark.slow
@pytest.mark.parametrize("inference", ["zeroing", "argmax"])
def test_it_learns_a_handful_of_images(inference):
    """Each rectangle is found with its class, an IoU above .5 and a score above .5, and nothing else is."""
    from xxnet_jax.metrics.detection import Detections, GroundTruth, voc_average_precision

    chosen = YoloV1Settings(**{**vars(SETTINGS), "inference": inference})
    model = tiny(chosen)
    batch = rectangles(2, [2, 1, 3, 4])
    tx = optax.adam(2e-3)
    state = create_state(model, tx, SHAPE, seed=0)
    step = jax.jit(make_train_step(model, tx, yolo_v1_loss(chosen), arguments=arguments))
    totals = []
    for _ in range(400):
        state, metrics = step(state, batch)
        totals.append(float(metrics["loss"].value()))
        parts = [metrics[name].value() for name in ("centre", "size", "object", "background", "class")]
        np.testing.assert_allclose(totals[-1], sum(parts), rtol=1e-4)
    assert totals[-1] < 0.1 * totals[0]
    found: Any = jax.jit(lambda v: model.apply(v, batch["image"], train=False))(state.evaluation_variables)
    found = jax.device_get(found)
    sure = found.valid & (found.scores > 0.5)
    each = [Detections(*(values[i][sure[i]] for values in found[:3])) for i in range(4)]
    truths = [GroundTruth(*(batch[key][i][batch["present"][i]] for key in ("boxes", "labels"))) for i in range(4)]
    assert [len(one.boxes) for one in each] == [len(one.boxes) for one in truths]
    assert voc_average_precision(each, truths, CLASSES).mean_average_precision == 1
