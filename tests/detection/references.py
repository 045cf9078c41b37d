"""The operations of detection in NumPy, float64, with loops: transcribed from their definitions, for the tests."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from xxnet_jax.boxes import iou


def nms(
    boxes: np.ndarray, scores: np.ndarray, threshold: float, labels: np.ndarray | None = None, inclusive: bool = False
) -> list[int]:
    """Take the best box that is left, drop what overlaps it, and again."""
    left = [int(i) for i in np.argsort(-scores, kind="stable") if scores[i] > -np.inf]
    kept = []
    while left:
        best, *rest = left
        kept.append(best)
        same = [labels is None or labels[best] == labels[i] for i in rest]
        overlap = [iou(boxes[best], boxes[i], inclusive=inclusive) for i in rest]
        left = [i for i, s, o in zip(rest, same, overlap, strict=True) if not (s and o > threshold)]
    return kept


def soft_nms(
    boxes: np.ndarray,
    scores: np.ndarray,
    method: str,
    threshold: float = 0.3,
    sigma: float = 0.5,
    least: float = 0.001,
    inclusive: bool = False,
) -> tuple[list[int], list[float]]:
    """Take the best box that is left, lower the scores of the others, and again."""
    left = {i: float(score) for i, score in enumerate(scores) if score >= least}
    taken, found = [], []
    while left:
        best = max(left, key=lambda i: (left[i], -i))
        taken.append(best)
        found.append(left.pop(best))
        for i in list(left):
            overlap = float(iou(boxes[best], boxes[i], inclusive=inclusive))
            if method == "gaussian":
                left[i] *= math.exp(-(overlap**2) / sigma)
            elif overlap > threshold:
                left[i] *= 1 - overlap
            if left[i] < least:
                del left[i]
    return taken, found


def zero_suppressed(boxes: np.ndarray, scores: np.ndarray, threshold: float, least: float) -> np.ndarray:
    """Darknet's: class by class, over the boxes by score, set what overlaps a box that still has one to 0."""
    scores = np.where(scores < least, 0, scores)
    for label in range(scores.shape[1]):
        order = np.argsort(-scores[:, label], kind="stable")
        for rank, i in enumerate(order):
            if scores[i, label] == 0:
                continue
            for j in order[rank + 1 :]:
                if iou(boxes[i], boxes[j]) > threshold:
                    scores[j, label] = 0
    return scores


def gradient_nms(dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """Compare each pixel with the gradient magnitude one step of the larger component ahead and behind."""
    height, width = dx.shape
    magnitude = np.hypot(dx, dy)
    edges = np.zeros((height, width), np.uint8)
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            along = max(abs(dx[y, x]), abs(dy[y, x]))
            if along == 0:
                continue
            values = []
            for sign in (1, -1):
                # One of the two is whole; between the two pixels around the other one is interpolated.
                px, py = x + sign * dx[y, x] / along, y + sign * dy[y, x] / along
                x0, y0 = min(math.floor(px), width - 2), min(math.floor(py), height - 2)
                fx, fy = px - x0, py - y0
                values.append(
                    (1 - fy) * ((1 - fx) * magnitude[y0, x0] + fx * magnitude[y0, x0 + 1])
                    + fy * ((1 - fx) * magnitude[y0 + 1, x0] + fx * magnitude[y0 + 1, x0 + 1])
                )
            edges[y, x] = 128 * (magnitude[y, x] >= max(values))
    return edges


def _round_away(value: float) -> int:
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def roi_pool(features: np.ndarray, boxes: np.ndarray, size: tuple[int, int], scale: float) -> np.ndarray:
    """The maximum over the cells of each bin."""
    height, width, channels = features.shape
    out = np.zeros((len(boxes), *size, channels))
    for n, box in enumerate(boxes):
        x1, y1, x2, y2 = (_round_away(float(value) * scale) for value in box)
        columns, rows = max(x2 - x1 + 1, 1), max(y2 - y1 + 1, 1)
        for i in range(size[0]):
            ys = [y for y in range(y1 + i * rows // size[0], y1 + -(-(i + 1) * rows // size[0])) if 0 <= y < height]
            for j in range(size[1]):
                stop = x1 + -(-(j + 1) * columns // size[1])
                xs = [x for x in range(x1 + j * columns // size[1], stop) if 0 <= x < width]
                if xs and ys:
                    out[n, i, j] = features[np.ix_(ys, xs)].max((0, 1))
    return out


def _interpolated(features: np.ndarray, y: float, x: float) -> np.ndarray:
    height, width, channels = features.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return np.zeros(channels)
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    y0, x0 = math.floor(y), math.floor(x)
    y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
    fy, fx = y - y0, x - x0
    upper = (1 - fx) * features[y0, x0] + fx * features[y0, x1]
    lower = (1 - fx) * features[y1, x0] + fx * features[y1, x1]
    return (1 - fy) * upper + fy * lower


def roi_align(
    features: np.ndarray, boxes: np.ndarray, size: tuple[int, int], scale: float, sampling_ratio: int, aligned: bool
) -> np.ndarray:
    """The mean of the samples in each bin; if their number is not given, at most as many as the map has cells."""
    out = np.zeros((len(boxes), *size, features.shape[-1]))
    for n, box in enumerate(boxes):
        x1, y1, x2, y2 = np.asarray(box, np.float64) * scale - (0.5 if aligned else 0)
        width, height = (x2 - x1, y2 - y1) if aligned else (max(x2 - x1, 1), max(y2 - y1, 1))
        steps = np.array([height / size[0], width / size[1]])
        counts = [
            sampling_ratio or min(max(math.ceil(step), 0), cells)
            for step, cells in zip(steps, features.shape[:2], strict=True)
        ]
        for i in range(size[0]):
            for j in range(size[1]):
                for a in range(counts[0]):
                    for b in range(counts[1]):
                        y = y1 + steps[0] * (i + (a + 0.5) / counts[0])
                        x = x1 + steps[1] * (j + (b + 0.5) / counts[1])
                        out[n, i, j] += _interpolated(features, y, x) / (counts[0] * counts[1])
    return out


# --- Faster R-CNN ----------------------------------------------------------------------------------------------------


def drawn(draw: np.ndarray, candidates: Iterable[Any], count: int) -> list[int]:
    """Those of the candidates with the largest numbers, at most `count`."""
    return sorted(map(int, candidates), key=lambda i: -draw[i])[: max(count, 0)]


def assign_anchors(
    anchors: np.ndarray, usable: np.ndarray, objects: np.ndarray, positive: float, negative: float
) -> list[int]:
    """Anchor by anchor: background, then each object's best, then all that overlap enough."""
    labels = [-1] * len(anchors)
    overlap = {
        (i, j): float(iou(anchors[i], objects[j]))
        for i in range(len(anchors))
        if usable[i]
        for j in range(len(objects))
    }
    for i in range(len(anchors)):
        if usable[i]:
            most = max((overlap[i, j] for j in range(len(objects))), default=0.0)
            labels[i] = 1 if most >= positive else 0 if most < negative else -1
    for j in range(len(objects)):
        most = max((overlap[i, j] for i in range(len(anchors)) if usable[i]), default=0.0)
        for i in range(len(anchors)):
            if usable[i] and most > 0 and overlap[i, j] == most:
                labels[i] = 1
    return labels


def propose(
    boxes: np.ndarray,
    scores: np.ndarray,
    window: np.ndarray,
    min_size: float,
    before: int,
    after: int,
    threshold: float,
) -> np.ndarray:
    """Cut off, leave out, sort, suppress."""
    left, top, right, bottom = window
    found = []
    for box, score in zip(boxes, scores, strict=True):
        x1, x2 = (min(max(x, left), right) for x in box[[0, 2]])
        y1, y2 = (min(max(y, top), bottom) for y in box[[1, 3]])
        if x2 - x1 >= min_size and y2 - y1 >= min_size:
            found.append((score, x1, y1, x2, y2))
    found = sorted(found, key=lambda row: -row[0])[:before]
    table = np.array(found).reshape(-1, 5)
    return table[nms(table[:, 1:], table[:, 0], threshold)[:after], 1:]


def encode(box: np.ndarray, anchor: np.ndarray) -> np.ndarray:
    """What moves an anchor to a box."""
    (w, h), (w_a, h_a) = box[2:] - box[:2], anchor[2:] - anchor[:2]
    x, y = (box[:2] + box[2:]) / 2 - (anchor[:2] + anchor[2:]) / 2
    return np.array([x / w_a, y / h_a, math.log(w / w_a), math.log(h / h_a)])


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - logits.max() - math.log(np.exp(logits - logits.max()).sum())


def smooth_l1(difference: np.ndarray) -> float:
    return sum(d * d / 2 if abs(d) < 1 else abs(d) - 0.5 for d in difference)


# --- YOLO ------------------------------------------------------------------------------------------------------------


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(log_softmax(logits))


def corners(x: float, y: float, width: float, height: float) -> np.ndarray:
    return np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])


def centred(box: np.ndarray) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = map(float, box)
    return (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1


def region_layer(
    raw: np.ndarray,
    objects: np.ndarray,
    labels: np.ndarray,
    anchors: Iterable[tuple[float, float]],
    *,
    young: bool,
    rescore: bool,
    threshold: float = 0.6,
    weights: tuple[float, float, float, float] = (1.0, 5.0, 1.0, 1.0),
) -> tuple[dict[str, float], np.ndarray]:
    """Darknet's region layer: parts of the loss, and what is sent back, the gradient's negative.

    Cell by cell and anchor by anchor as if there were no object, then object by object over what was written there.

    Args:
        raw: [rows, columns, anchors, 5 + classes].
        objects: [n, 4], in cells.
        labels: [n].
        anchors: in cells.
        young: in the first 12,800 images.
        rescore: the confidence is to be the IoU.
        threshold: of the IoU above which no confidence is learnt.
        weights: of coordinates, objects, background and classes.
    """
    rows, columns, _, numbers = raw.shape
    anchors = list(anchors)
    of_box, of_object, of_background, of_class = weights
    delta = np.zeros(raw.shape)
    cost = {name: np.zeros(raw.shape[:3]) for name in ("box", "object", "background", "class")}

    def predicted(j: int, i: int, n: int) -> np.ndarray:
        x, y, w, h = raw[j, i, n, :4]
        return corners(i + sigmoid(x), j + sigmoid(y), anchors[n][0] * math.exp(w), anchors[n][1] * math.exp(h))

    def learn_box(truth: np.ndarray, j: int, i: int, n: int, scale: float) -> None:
        x, y, w, h = centred(truth)
        cost["box"][j, i, n] = 0
        for k, target in enumerate((x - i, y - j, math.log(w / anchors[n][0]), math.log(h / anchors[n][1]))):
            value = sigmoid(raw[j, i, n, k]) if k < 2 else raw[j, i, n, k]
            slope = value * (1 - value) if k < 2 else 1
            delta[j, i, n, k] = scale * (target - value) * slope
            cost["box"][j, i, n] += scale * (target - value) ** 2 / 2

    def learn_confidence(name: str, target: float, j: int, i: int, n: int, scale: float) -> None:
        value = sigmoid(raw[j, i, n, 4])
        delta[j, i, n, 4] = scale * (target - value) * value * (1 - value)
        cost["object"][j, i, n] = cost["background"][j, i, n] = 0
        cost[name][j, i, n] = scale * (target - value) ** 2 / 2

    for j in range(rows):
        for i in range(columns):
            for n, (width, height) in enumerate(anchors):
                best = max((float(iou(predicted(j, i, n), each)) for each in objects), default=0.0)
                learn_confidence("background", 0, j, i, n, 0 if best > threshold else of_background)
                if young:
                    learn_box(corners(i + 0.5, j + 0.5, width, height), j, i, n, 0.01)
    for truth, label in zip(objects, labels, strict=True):
        x, y, width, height = centred(truth)
        i, j = min(int(x), columns - 1), min(int(y), rows - 1)
        shape = corners(0, 0, width, height)
        fits = [float(iou(shape, corners(0, 0, *anchor))) for anchor in anchors]
        n = fits.index(max(fits))
        learn_box(truth, j, i, n, of_box * (2 - width / columns * height / rows))
        learn_confidence("object", float(iou(predicted(j, i, n), truth)) if rescore else 1, j, i, n, of_object)
        probabilities = softmax(raw[j, i, n, 5:])
        wanted = np.arange(numbers - 5) == label
        delta[j, i, n, 5:] = of_class * (wanted - probabilities)
        cost["class"][j, i, n] = -of_class * math.log(probabilities[label])
    return {name: float(values.sum()) for name, values in cost.items()}, delta


def detection_layer(
    classes: np.ndarray,
    confidences: np.ndarray,
    locations: np.ndarray,
    objects: np.ndarray,
    labels: np.ndarray,
    grid: tuple[int, int],
    rescore: bool,
) -> dict[str, float]:
    """The five sums of YOLO's equation 3 with lambda 5 and .5, the responsible box as in Darknet's detection layer.

    Args:
        classes, confidences, locations: [cells, classes], [cells, boxes] and [cells, boxes, 4].
        objects: [n, 4], in parts of the canvas.
        labels: [n].
        grid: rows and columns.
        rescore: the confidence is to be the IoU.
    """
    rows, columns = grid
    truth: dict[int, tuple[np.ndarray, int]] = {}
    for box, label in zip(objects, labels, strict=True):
        x, y, _, _ = centred(box)
        cell = min(int(y * rows), rows - 1) * columns + min(int(x * columns), columns - 1)
        truth.setdefault(cell, (box, int(label)))
    cost: dict[str, float] = dict.fromkeys(("centre", "size", "object", "background", "class"), 0.0)
    for cell in range(rows * columns):
        chosen = -1
        if cell in truth:
            box, label = truth[cell]
            x, y, w, h = centred(box)
            row, column = divmod(cell, columns)
            overlap, distance = [], []
            for a, b, root_w, root_h in locations[cell]:
                found = ((a + column) / columns, (b + row) / rows, root_w**2, root_h**2)
                overlap.append(float(iou(corners(*found), box)))
                distance.append(math.dist(found, (x, y, w, h)))
            chosen = overlap.index(max(overlap)) if max(overlap) > 0 else distance.index(min(distance))
            a, b, root_w, root_h = locations[cell, chosen]
            cost["centre"] += 5 * ((a - (x * columns - column)) ** 2 + (b - (y * rows - row)) ** 2)
            cost["size"] += 5 * ((root_w - math.sqrt(w)) ** 2 + (root_h - math.sqrt(h)) ** 2)
            cost["object"] += (confidences[cell, chosen] - (overlap[chosen] if rescore else 1)) ** 2
            cost["class"] += sum((p - (k == label)) ** 2 for k, p in enumerate(classes[cell]))
        cost["background"] += sum(0.5 * c**2 for k, c in enumerate(confidences[cell]) if k != chosen)
    return cost


def reorg(x: np.ndarray) -> np.ndarray:
    """Darknet's `reorg_cpu` with stride 2, as its reorg layer calls it: [channels, height, width] to [4 channels, ...].

    With the sizes of the input, which is taken for a map of twice the sides and a quarter of the channels.
    """
    c, h, w = x.shape
    flat, out = x.reshape(-1), np.zeros(x.size, x.dtype)
    quarter = c // 4
    for k in range(c):
        for j in range(h):
            for i in range(w):
                offset = k // quarter
                w2, h2 = i * 2 + offset % 2, j * 2 + offset // 2
                out[i + w * (j + h * k)] = flat[w2 + w * 2 * (h2 + h * 2 * (k % quarter))]
    return out.reshape(4 * c, h // 2, w // 2)
