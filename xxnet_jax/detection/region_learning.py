"""What R-CNN and SPP-net learn from features of windows, once the network is trained: a linear support vector machine
for each class, and a regression that moves its boxes (Girshick, Donahue, Darrell and Malik, 2014, arXiv 1311.2524,
sections 2.3 and appendices B and C). NumPy and scikit-learn.

Features are scaled so that their mean norm is 20, as in the authors' code, for which the constants are meant.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np

from xxnet_jax.boxes import clip, pairwise_iou
from xxnet_jax.detection.boxes import decode_boxes, encode_boxes
from xxnet_jax.detection.nms import batched_nms
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.metrics.matching import Detections

NORM = 20.0
MOST = 500  # detections of an image before boxes are moved


@dataclass(frozen=True)
class RegionLearning:
    """The numbers of these stages; by default those of the paper, and where it has none, of its authors' code.

    Attributes:
        negative_below: IoU with every object of a class below which a window is a negative of it; .3 was chosen from 0
            to .5 on the validation set. Positives are the objects themselves; other windows are left out.
        cost: C of the machines.
        positive_weight: of errors of positives, relative to negatives.
        hard_above: score from which a negative is hard: -1 is the margin.
        easy_below: score below which a negative that was learnt from is forgotten.
        retrain_after: new hard negatives after which a machine is trained again.
        passes: over the images.
        box_positive: IoU with an object from which a window teaches how to move its box.
        box_penalty: lambda of the ridge regression.
        score_threshold: least score of detections, in 0..1; .5 is on the hyperplane.
        detection_iou: of the suppression among detections of a class.
        max_detections: of an image.
        seed: of the solver.
    """

    negative_below: float = 0.3
    cost: float = 1e-3
    positive_weight: float = 2.0
    hard_above: float = -1.0
    easy_below: float = -1.2
    retrain_after: int = 2000
    passes: int = 1
    box_positive: float = 0.6
    box_penalty: float = 1000.0
    score_threshold: float = 0.2
    detection_iou: float = 0.3
    max_detections: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("cost", "positive_weight", "box_penalty"):
            if not getattr(self, name) > 0:
                raise InvalidArgument(f"{name} must be above 0, got {getattr(self, name):g}")
        for name in ("retrain_after", "passes", "max_detections"):
            if getattr(self, name) < 1:
                raise InvalidArgument(f"{name} must be 1 or more, got {getattr(self, name)}")
        if not self.easy_below <= self.hard_above:
            raise InvalidArgument("easy_below must not be above hard_above, or what is forgotten is found again")


class TrueObjects(NamedTuple):
    """Objects of an image that are learnt from: boxes float32 [m, 4] in its pixels, and labels int [m]."""

    boxes: np.ndarray
    labels: np.ndarray


NO_OBJECTS = TrueObjects(np.zeros((0, 4), np.float32), np.zeros(0, np.int32))


class Described(NamedTuple):
    """Windows of an image: boxes float32 [n, 4] in its pixels, and the last hidden layer's features [n, units]."""

    boxes: np.ndarray
    hidden: np.ndarray


@dataclass(frozen=True)
class RegionImage:
    """An image whose windows are described when that is asked for, again and again: it need not be in memory.

    Attributes:
        size: (height, width) in pixels.
        windows: gives its windows; where there are objects to learn from, these are the first.
        pool: boxes [k, 4] -> features of the last map, float32 [k, features].
        objects: to learn from.
    """

    size: tuple[int, int]
    windows: Callable[[], Described]
    pool: Callable[[np.ndarray], np.ndarray]
    objects: TrueObjects = NO_OBJECTS


# --- Support vector machines -----------------------------------------------------------------------------------------


class LinearMachine(NamedTuple):
    """score = features @ weights + bias: weights float32 [units], bias float."""

    weights: np.ndarray
    bias: float

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Of features [n, units]: [n]."""
        return features @ self.weights + self.bias


def fit_machine(positives: np.ndarray, negatives: np.ndarray, settings: RegionLearning) -> LinearMachine:
    """The linear machine with the hinge loss of scikit-learn's `LinearSVC` (liblinear).

    Args:
        positives: features [p, units].
        negatives: features [n, units].
        settings: cost, weight and seed.

    Raises:
        ValueError: there are none of one kind.
    """
    from sklearn.svm import LinearSVC

    if not len(positives) or not len(negatives):
        raise InvalidArgument(f"a machine needs positives and negatives, got {len(positives)} and {len(negatives)}")
    machine = LinearSVC(
        C=settings.cost,
        loss="hinge",
        class_weight={1: settings.positive_weight},
        intercept_scaling=10,  # so that the bias is hardly penalized, as in the authors' code
        random_state=settings.seed,
        max_iter=100_000,
    )
    features = np.concatenate([positives, negatives])
    machine.fit(features, np.repeat([1, 0], [len(positives), len(negatives)]))
    return LinearMachine(machine.coef_[0].astype(np.float32), float(np.ravel(machine.intercept_)[0]))


def hard_negatives(
    machine: LinearMachine, features: np.ndarray, overlaps: np.ndarray, settings: RegionLearning
) -> np.ndarray:
    """The windows that are negatives and that the machine does not keep beyond its margin, int [k], ascending.

    Args:
        machine: of a class.
        features: [n, units].
        overlaps: [n], the largest IoU of each with an object of the class.
        settings: what is negative, and what is hard.
    """
    scores = machine.scores(features)
    return np.flatnonzero((overlaps < settings.negative_below) & (scores > settings.hard_above))


def class_overlaps(boxes: np.ndarray, objects: TrueObjects, num_classes: int) -> np.ndarray:
    """The largest IoU of each box with an object of each class, [n, classes]; 0 without one."""
    overlap = pairwise_iou(boxes, objects.boxes) if len(objects.boxes) else np.zeros((len(boxes), 0))
    return np.stack([overlap[:, objects.labels == label].max(1, initial=0) for label in range(num_classes)], 1)


def train_machine(
    positives: np.ndarray,
    images: Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]],
    settings: RegionLearning,
) -> LinearMachine | None:
    """A machine that is trained again and again with the negatives that it takes for hard, image by image.

    The first negatives are those of the first image that has some. After the last pass it is trained once more.

    Args:
        positives: scaled features of the objects of a class, [p, units].
        images: gives for each image scaled features of windows [n, units] and their overlaps with the class [n].
        settings: numbers.

    Returns:
        The machine, or None for a class without objects or without negatives: it cannot be found.
    """
    if not len(positives):
        return None
    machine: LinearMachine | None = None
    negatives = positives[:0]
    new = 0
    for _ in range(settings.passes):
        for features, overlaps in images():
            if machine is None:
                negatives = features[overlaps < settings.negative_below]
                if len(negatives):
                    machine = fit_machine(positives, negatives, settings)
                continue
            found = features[hard_negatives(machine, features, overlaps, settings)]
            negatives, new = np.concatenate([negatives, found]), new + len(found)
            if new >= settings.retrain_after:
                machine, negatives = _trained_again(machine, positives, negatives, settings)
                new = 0
    return None if machine is None else _trained_again(machine, positives, negatives, settings)[0]


def _trained_again(
    machine: LinearMachine, positives: np.ndarray, negatives: np.ndarray, settings: RegionLearning
) -> tuple[LinearMachine, np.ndarray]:
    """The machine of all negatives so far, each taken once; and those of them that it does not find easy."""
    if settings.passes > 1:
        negatives = np.unique(negatives, axis=0)
    machine = fit_machine(positives, negatives, settings)
    return machine, negatives[machine.scores(negatives) >= settings.easy_below]


# --- Boxes -----------------------------------------------------------------------------------------------------------


class BoxPairs(NamedTuple):
    """Windows that teach how to move a box: rows int [k] of the windows, the class of each, and targets [k, 4]."""

    rows: np.ndarray
    labels: np.ndarray
    targets: np.ndarray


def box_pairs(boxes: np.ndarray, objects: TrueObjects, settings: RegionLearning) -> BoxPairs:
    """Each window with the object that it overlaps most, if the IoU is above `box_positive` (appendix C)."""
    if not len(objects.boxes):
        none = np.zeros(0, np.int64)
        return BoxPairs(none, none, np.zeros((0, 4)))
    overlap = pairwise_iou(np.asarray(boxes, np.float64), np.asarray(objects.boxes, np.float64))
    rows = np.flatnonzero(overlap.max(1) > settings.box_positive)
    matched = overlap[rows].argmax(1)
    targets = encode_boxes(objects.boxes[matched].astype(np.float64), boxes[rows].astype(np.float64))
    return BoxPairs(rows, objects.labels[matched], targets)


def fit_ridge(features: np.ndarray, targets: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights [n, 4] and biases [4] that minimize sum |targets - features @ w - b|^2 + penalty |w|^2 (equation 5, with
    a bias that is not penalized), by scikit-learn.

    Args:
        features: [k, n], k of 1 or more.
        targets: [k, 4].
        penalty: lambda.
    """
    from sklearn.linear_model import Ridge

    ridge = Ridge(alpha=penalty, solver="cholesky")
    ridge.fit(np.asarray(features, np.float64), np.asarray(targets, np.float64))
    return ridge.coef_.T.astype(np.float32), ridge.intercept_.astype(np.float32)


# --- Detections ------------------------------------------------------------------------------------------------------


class RegionModel(NamedTuple):
    """What is learnt, as arrays; a class that could not be learnt has weights 0 and bias -inf: it is never found.

    Attributes:
        scale: factor of the hidden features, float32 [].
        weights, biases: of the machines, float32 [units, classes] and [classes].
        box_scale: factor of the pooled features, float32 [].
        box_weights, box_biases: of the regressions, float32 [classes, features, 4] and [classes, 4]; zeros leave boxes
            where they are.
    """

    scale: np.ndarray
    weights: np.ndarray
    biases: np.ndarray
    box_scale: np.ndarray
    box_weights: np.ndarray
    box_biases: np.ndarray


def learn_regions(images: Sequence[RegionImage], num_classes: int, settings: RegionLearning) -> RegionModel:
    """All machines and regressions.

    Args:
        images: of the training split.
        num_classes: without background.
        settings: numbers.

    Raises:
        ValueError: no image has an object.
    """
    if not sum(len(each.objects.labels) for each in images):
        raise InvalidArgument("there are no objects to learn from: no image of the training split has any")
    hidden, norms = [], []
    for each in images:
        described = each.windows()
        hidden.append(described.hidden[: len(each.objects.labels)])
        norms += np.linalg.norm(described.hidden, axis=1).tolist()
    scale = _factor(norms)
    of_objects, labels = np.concatenate(hidden) * scale, np.concatenate([each.objects.labels for each in images])

    def negatives(label: int) -> Iterable[tuple[np.ndarray, np.ndarray]]:
        for each in images:
            described = each.windows()
            yield described.hidden * scale, class_overlaps(described.boxes, each.objects, num_classes)[:, label]

    weights = np.zeros((of_objects.shape[1], num_classes), np.float32)
    biases = np.full(num_classes, -np.inf, np.float32)
    for label in range(num_classes):
        machine = train_machine(of_objects[labels == label], functools.partial(negatives, label), settings)
        if machine is not None:
            weights[:, label], biases[label] = machine
    return RegionModel(np.asarray(scale), weights, biases, *_learn_boxes(images, num_classes, settings))


def _learn_boxes(
    images: Sequence[RegionImage], num_classes: int, settings: RegionLearning
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The last three arrays of a `RegionModel`."""
    pooled, labels, targets = [], [], []
    for each in images:
        boxes = each.windows().boxes[len(each.objects.labels) :]  # an object itself would not be moved
        pairs = box_pairs(boxes, each.objects, settings)
        pooled.append(each.pool(boxes[pairs.rows]))
        labels.append(pairs.labels)
        targets.append(pairs.targets)
    features, own = np.concatenate(pooled), np.concatenate(labels)
    scale = _factor(np.linalg.norm(features, axis=1).tolist())
    weights = np.zeros((num_classes, features.shape[1], 4), np.float32)
    biases = np.zeros((num_classes, 4), np.float32)
    for label in np.unique(own):
        rows = own == label
        weights[label], biases[label] = fit_ridge(
            features[rows] * scale, np.concatenate(targets)[rows], settings.box_penalty
        )
    return np.asarray(scale), weights, biases


def _factor(norms: Sequence[float]) -> np.float32:
    """Of features with these norms; 1 if all are 0, or there are none."""
    mean = float(np.mean(norms)) if len(norms) else 0.0
    return np.float32(NORM / mean if mean > 0 else 1.0)


def detect_regions(image: RegionImage, model: RegionModel, settings: RegionLearning, room: int) -> Detections:
    """What is found in an image: scores, suppression in each class, boxes moved, suppression again.

    The paper ends with the moved boxes; its authors' code suppresses among them, too. Scores are 1 / (1 + exp(-score)),
    which are no probabilities, but in 0..1 and of the same order.

    Args:
        image: without windows nothing is found.
        model: what was learnt.
        settings: numbers.
        room: windows that all images are filled up to, so that what is compiled sees one shape; at least as many as
            there are.
    """
    classes, described = len(model.biases), image.windows()
    margins = described.hidden * model.scale @ model.weights + model.biases
    known = np.isfinite(margins)  # not those of a class that could not be learnt
    scores = np.where(known, 1 / (1 + np.exp(-np.clip(margins, -50, 50))), -np.inf).reshape(-1)
    boxes = np.repeat(described.boxes, classes, 0)
    labels = np.tile(np.arange(classes, dtype=np.int32), len(described.boxes))
    kept = _suppressed(boxes, scores, labels, settings, room * classes)
    boxes, scores, labels = boxes[kept], scores[kept], labels[kept]
    pooled = image.pool(boxes) * model.box_scale
    deltas = np.einsum("kf,kfd->kd", pooled, model.box_weights[labels]) + model.box_biases[labels]
    moved = clip(decode_boxes(deltas, boxes), *image.size).astype(np.float32)
    last = _suppressed(moved, scores, labels, settings, room * classes)[: settings.max_detections]
    return Detections(moved[last], scores[last], labels[last])


_nms = jax.jit(batched_nms, static_argnums=4)


def _suppressed(
    boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, settings: RegionLearning, room: int
) -> np.ndarray:
    """Which boxes stay, int [k], the surest first."""
    padding = room - len(boxes)
    scores = np.where(scores >= settings.score_threshold, scores, -np.inf).astype(np.float32)
    padded = np.pad(boxes, ((0, padding), (0, 0))), np.pad(scores, (0, padding), constant_values=-np.inf)
    most = min(MOST, room)
    indices, valid = _nms(*padded, np.pad(labels, (0, padding)), settings.detection_iou, most)
    return np.asarray(indices)[np.asarray(valid)]
