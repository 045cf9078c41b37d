"""Machines, regressions and detections of windows: against the normal equations, plain loops, the problem itself."""

import numpy as np
import pytest
from references import nms

from xxnet_jax.boxes import iou
from xxnet_jax.detection.boxes import decode_boxes
from xxnet_jax.detection.region_learning import (
    Described,
    LinearMachine,
    RegionImage,
    RegionLearning,
    RegionModel,
    TrueObjects,
    box_pairs,
    class_overlaps,
    detect_regions,
    fit_machine,
    fit_ridge,
    hard_negatives,
    learn_regions,
    train_machine,
)
from xxnet_jax.errors import InvalidArgument

SETTINGS = RegionLearning(cost=1.0)
NOTHING = TrueObjects(np.zeros((0, 4), np.float32), np.zeros(0, np.int32))


@pytest.mark.parametrize("shape", [(40, 7), (9, 30)])
def test_ridge_solves_the_normal_equations(shape):
    """With more pairs than features, and fewer: (X'X + lambda I) w = X't of centred features, in float64."""
    random = np.random.default_rng(0)
    features, targets = random.normal(1, 3, shape), random.normal(0.5, 1, (shape[0], 4))
    weights, bias = fit_ridge(features, targets, 1000.0)
    mean, target = features.mean(0), targets.mean(0)
    x = features - mean
    expected = np.linalg.solve(x.T @ x + 1000 * np.eye(shape[1]), x.T @ (targets - target))
    np.testing.assert_allclose(weights, expected, rtol=1e-4, atol=1e-7)  # they are kept in float32
    np.testing.assert_allclose(bias, target - mean @ expected, rtol=1e-4, atol=1e-6)


def test_pairs_of_boxes():
    """A window with an IoU above .6 has the object that it overlaps most, its class, and the way there."""
    objects = TrueObjects(np.array([[0, 0, 10, 10], [20, 0, 30, 10]], np.float32), np.array([2, 0]))
    boxes = np.array([[0, 0, 10, 9], [21, 0, 31, 10], [0, 0, 10, 6], [5, 0, 25, 10], [0, 0, 0, 0]], np.float32)
    rows, labels, targets = box_pairs(boxes, objects, SETTINGS)
    assert rows.tolist() == [0, 1]  # the third has exactly .6
    assert labels.tolist() == [2, 0]
    np.testing.assert_allclose(decode_boxes(targets, boxes[rows]), objects.boxes, atol=1e-5)
    assert not len(box_pairs(boxes, NOTHING, SETTINGS).rows)
    assert not len(box_pairs(boxes[:0], objects, SETTINGS).rows)


def test_overlaps_of_classes():
    """The largest of each class; 0 of a class that is not there."""
    random = np.random.default_rng(1)
    corner = random.uniform(0, 20, (12, 2))
    boxes = np.concatenate([corner, corner + random.uniform(1, 15, (12, 2))], 1)
    objects = TrueObjects(boxes[:4] + 1.0, np.array([0, 2, 0, 0]))
    found = class_overlaps(boxes, objects, 3)
    for i, box in enumerate(boxes):
        for label in range(3):
            own = [float(iou(box, each)) for each, its in zip(*objects, strict=True) if its == label]
            np.testing.assert_allclose(found[i, label], max(own, default=0))
    assert class_overlaps(boxes, NOTHING, 2).tolist() == [[0, 0]] * 12


def test_a_machine_is_at_the_minimum_of_its_problem():
    """|(w, b / 10)|^2 / 2 + C sum of hinges, positives counted twice, is no smaller at other places near."""
    random = np.random.default_rng(2)
    positives, negatives = random.normal(0.7, 1, (30, 5)), random.normal(-0.7, 1, (80, 5))
    machine = fit_machine(positives, negatives, SETTINGS)

    def objective(weights: np.ndarray, bias: float) -> float:
        hinges = [np.maximum(0, 1 - sign * (x @ weights + bias)) for sign, x in ((1, positives), (-1, negatives))]
        return (weights @ weights + (bias / 10) ** 2) / 2 + 2 * hinges[0].sum() + hinges[1].sum()

    best = objective(machine.weights.astype(np.float64), machine.bias)
    for _ in range(50):
        step = random.normal(0, 0.05, 6)
        assert objective(machine.weights + step[:5], machine.bias + step[5]) > best * (1 - 1e-3)
    with pytest.raises(InvalidArgument, match="0 and 80"):
        fit_machine(positives[:0], negatives, SETTINGS)


def test_hard_negatives_are_the_windows_that_violate_the_margin():
    """Negatives, by their overlap, whose score is above -1; neither positives nor easy ones."""
    machine = LinearMachine(np.array([1.0, 0.0], np.float32), 0.0)
    features = np.array([[-2, 0], [-0.5, 0], [3, 0], [3, 0], [-1, 0]], np.float32)
    overlaps = np.array([0.0, 0.1, 0.29, 0.3, 0.0])
    assert hard_negatives(machine, features, overlaps, SETTINGS).tolist() == [1, 2]


def test_mining_finds_the_negatives_that_matter():
    """The first image has easy negatives alone, the last hard ones: the machine is that of all negatives together."""
    random = np.random.default_rng(3)
    positives = random.normal(2, 0.5, (20, 3)).astype(np.float32)
    easy = [random.normal(-4, 0.5, (30, 3)).astype(np.float32) for _ in range(3)]
    hard = random.normal(0, 0.5, (30, 3)).astype(np.float32)
    near = positives + 0.01  # would be errors, but overlap an object too much
    images = [(each, np.zeros(30)) for each in easy] + [(hard, np.zeros(30)), (near, np.full(20, 0.5))]
    settings = RegionLearning(cost=1.0, retrain_after=10)
    mined = train_machine(positives, lambda: images, settings)
    everything = fit_machine(positives, np.concatenate([*easy, hard]), settings)
    first = fit_machine(positives, easy[0], settings)
    assert mined is not None
    assert (first.scores(hard) > -1).any()  # which is why it has to look for them
    np.testing.assert_allclose(mined.weights, everything.weights, atol=0.05)
    np.testing.assert_allclose(mined.bias, everything.bias, atol=0.05)
    assert train_machine(positives[:0], lambda: images, settings) is None
    assert train_machine(positives, lambda: [(near, np.full(20, 0.5))], settings) is None


def drawn(seed: int, objects: int) -> RegionImage:
    """An image of which features tell all: hidden ones the class of a window, pooled ones where its object lies."""
    random = np.random.default_rng(seed)
    corners = np.array([[5, 5], [45, 5], [5, 45], [45, 45]])[:objects]
    boxes = np.concatenate([corners, corners + random.uniform(18, 30, (objects, 2))], 1).astype(np.float32)
    labels = random.integers(0, 2, objects).astype(np.int32)
    near = np.repeat(boxes, 12, 0) + random.uniform(-2.5, 2.5, (12 * objects, 4))
    corner = random.uniform(0, 70, (60, 2))
    away = np.concatenate([corner, corner + random.uniform(5, 15, (60, 2))], 1)
    windows = np.concatenate([boxes, near, away]).astype(np.float32)
    truth = TrueObjects(boxes, labels)

    def describe() -> Described:
        overlaps = class_overlaps(windows, truth, 2)
        noise = np.random.default_rng(seed + 100).normal(0, 0.05, (len(windows), 2))
        return Described(windows, np.concatenate([overlaps + noise, np.ones((len(windows), 1))], 1).astype(np.float32))

    def pool(chosen: np.ndarray) -> np.ndarray:
        found = np.zeros((len(chosen), 4), np.float32)
        pairs = box_pairs(chosen, truth, SETTINGS)
        found[pairs.rows] = pairs.targets
        return found

    return RegionImage((100, 100), describe, pool, truth)


def test_a_system_learns_what_features_tell():
    """Each object is found once, with its class, and its box is nearer than the windows are."""
    settings = RegionLearning(cost=10.0, box_penalty=1e-3, score_threshold=0.5)
    training = [drawn(seed, count) for seed, count in enumerate([3, 0, 4, 2, 4])]
    model = learn_regions(training, 3, settings)
    assert model.biases[2] == -np.inf  # no object of the third class
    for seed in (7, 8):
        image = drawn(seed, 4)
        found = detect_regions(image, model, settings, room=120)
        assert sorted(found.labels.tolist()) == sorted(image.objects.labels.tolist())
        for box, label in zip(found.boxes, found.labels, strict=True):
            own = image.objects.boxes[image.objects.labels == label]
            assert max(float(iou(box.astype(np.float32), each)) for each in own) > 0.97


def test_detections_are_as_transcribed():
    """Scores, suppression by class, moves, cuts at the edges, suppression again: in plain loops."""
    random = np.random.default_rng(5)
    corner = random.uniform(-5, 60, (50, 2))
    boxes = np.concatenate([corner, corner + random.uniform(8, 40, (50, 2))], 1).astype(np.float32)
    hidden, pooled = random.normal(0, 1, (50, 6)).astype(np.float32), random.normal(0, 1, (50, 5)).astype(np.float32)
    of_box = {box.tobytes(): row for box, row in zip(boxes, pooled, strict=True)}
    model = RegionModel(
        np.float32(1.5),  # type: ignore[arg-type]
        random.normal(0, 1, (6, 2)).astype(np.float32),
        random.normal(0, 1, 2).astype(np.float32),
        np.float32(0.5),  # type: ignore[arg-type]
        random.normal(0, 0.1, (2, 5, 4)).astype(np.float32),
        random.normal(0, 0.1, (2, 4)).astype(np.float32),
    )
    image = RegionImage(
        (64, 72), lambda: Described(boxes, hidden), lambda chosen: np.stack([of_box[box.tobytes()] for box in chosen])
    )
    settings = RegionLearning(score_threshold=0.3, max_detections=12)
    found = detect_regions(image, model, settings, room=64)
    expected = []
    for label in range(2):
        scores = 1 / (1 + np.exp(-(1.5 * hidden.astype(np.float64) @ model.weights[:, label] + model.biases[label])))
        kept = nms(boxes, np.where(scores >= 0.3, scores, -np.inf), 0.3)
        moves = 0.5 * pooled[kept] @ model.box_weights[label] + model.box_biases[label]
        moved = np.clip(decode_boxes(moves.astype(np.float64), boxes[kept].astype(np.float64)), 0, (72, 64, 72, 64))
        last = nms(moved, scores[kept], 0.3)
        expected += [(scores[kept][i], label, moved[i]) for i in last]
    expected = sorted(expected, key=lambda each: -each[0])[:12]
    assert len(found.scores) == len(expected)
    for score, label, box, (its_score, its_label, its_box) in zip(
        found.scores, found.labels, found.boxes, expected, strict=True
    ):
        assert label == its_label
        np.testing.assert_allclose(score, its_score, rtol=1e-4)
        np.testing.assert_allclose(box, its_box, atol=1e-2)


def test_images_without_windows_or_objects():
    """Nothing is found in the first; of the others alone nothing can be learnt."""
    model = learn_regions([drawn(0, 3)], 2, SETTINGS)
    empty = RegionImage(
        (9, 9),
        lambda: Described(np.zeros((0, 4), np.float32), np.zeros((0, 3), np.float32)),
        lambda chosen: np.zeros((len(chosen), 4), np.float32),
    )
    assert len(detect_regions(empty, model, SETTINGS, room=16).scores) == 0
    with pytest.raises(InvalidArgument, match="no objects to learn from"):
        learn_regions([drawn(1, 0)], 2, SETTINGS)


def test_bad_numbers():
    """Each says what was wrong."""
    for change, message in (({"cost": 0}, "cost"), ({"passes": 0}, "passes"), ({"easy_below": 0.0}, "easy_below")):
        with pytest.raises(InvalidArgument, match=message):
            RegionLearning(**change)  # type: ignore[arg-type]
