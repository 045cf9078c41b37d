"""Metrics of detectors, against pycocotools and against the protocols written out for single boxes in fractions."""

import os
import zipfile
from fractions import Fraction
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from detection_protocols import (
    Images,
    errors_by_hand,
    number_of_objects,
    or_nan,
    overlap,
    pycocotools,
    ranked,
    voc_by_hand,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from xxnet_jax.metrics import matching
from xxnet_jax.metrics.detection import (
    ERRORS,
    VOC_SIMILAR,
    Detections,
    GroundTruth,
    average_best_iou,
    coco_average_precision,
    error_breakdown,
    localization_error,
    voc_average_precision,
)

# --- Images ----------------------------------------------------------------------------------------------------------


def random_boxes(random: np.random.Generator, count: int, side: int) -> np.ndarray:
    """Corners are integers, so overlaps are exact; sides are spread over COCO's ranges of areas."""
    sides = np.exp(random.uniform(np.log(4), np.log(side / 2), (count, 2))).astype(int)
    corners = random.integers(0, side - sides)
    return np.concatenate([corners, corners + sides], 1)


def jittered(random: np.random.Generator, boxes: np.ndarray, amount: float) -> np.ndarray:
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    moved = np.rint(boxes + amount * sides * random.standard_normal(boxes.shape)).astype(int)
    return np.sort(moved.reshape(-1, 2, 2), 1).reshape(-1, 4)


def make_image(
    random: np.random.Generator, most: int, classes: int, decimals: int, side: int
) -> tuple[Detections, GroundTruth]:
    """Objects, and detections that are some of them displaced, often twice and sometimes of another class, and others
    that are nowhere near."""
    count = int(random.integers(0, most + 1))
    boxes, labels = random_boxes(random, count, side), random.integers(0, classes, count)
    boxes = boxes[random.integers(0, count, count)] if count and random.random() < 0.3 else boxes  # equal overlaps
    area = np.prod(boxes[:, 2:] - boxes[:, :2], 1) * random.uniform(0.3, 1, count)
    truth = GroundTruth(boxes, labels, random.random(count) < 0.2, random.random(count) < 0.2, area)
    source = random.integers(0, count, random.integers(0, 2 * most + 1) if count else 0)
    near = jittered(random, boxes[source], random.choice([0, 0.05, 0.15]))
    far = random_boxes(random, int(random.integers(0, 3)), side)
    found = np.concatenate([near, far])
    guessed = random.integers(0, classes, len(found))
    right = np.append(labels[source], guessed[len(source) :])
    chosen = np.where(random.random(len(found)) < 0.8, right, guessed)
    return Detections(found, random.random(len(found)).round(decimals), chosen), truth


def make_images(seed: int, images: int, most: int, classes: int, decimals: int, side: int = 300) -> Images:
    random = np.random.default_rng(seed)
    pairs = [make_image(random, most, classes, decimals, side) for _ in range(images)]
    return [found for found, _ in pairs], [truth for _, truth in pairs]


some_images = st.builds(
    make_images,
    seed=st.integers(0, 2**32),
    images=st.integers(1, 6),
    most=st.sampled_from([1, 4, 12]),
    classes=st.integers(1, 4),
    decimals=st.sampled_from([1, 6]),  # with one there are ties
    side=st.sampled_from([40, 300]),
)
CLASSES = 5  # one more than any image has

DATA = Path(os.environ.get("XXNET_JAX_DATA") or Path(__file__).parents[3] / "shared" / "data")
CELLS = ("RBC", "WBC", "Platelets")


@pytest.fixture(scope="module")
def blood_cells() -> Images:
    """The 364 annotated photographs of BCCD; its boxes displaced are the detections."""
    file = DATA / "bccd.zip"
    if not file.exists():
        pytest.skip(f"{file} is not here: the annotations of BCCD are not checked")
    random = np.random.default_rng(0)
    detections, truths = [], []
    with zipfile.ZipFile(file) as archive:
        for name in sorted(name for name in archive.namelist() if name.endswith(".xml")):
            objects = ElementTree.fromstring(archive.read(name)).findall("object")
            sides = ("xmin", "ymin", "xmax", "ymax")
            boxes = np.array([[int(each.findtext(f"bndbox/{side}", "")) for side in sides] for each in objects])
            labels = np.array([CELLS.index(each.findtext("name", "")) for each in objects], int)
            truths.append(GroundTruth(boxes, labels, [each.findtext("difficult") == "1" for each in objects]))
            boxes = truths[-1].boxes
            source = random.permutation(np.repeat(np.arange(len(boxes)), random.integers(0, 3, len(boxes))))
            mistaken = random.random(len(source)) < 0.1
            chosen = np.where(mistaken, random.integers(0, 3, len(source)), labels[source])
            found = jittered(random, boxes[source], 0.1)
            if name.endswith("0.xml"):  # and one of nothing
                found, chosen = np.append(found, [[1, 1, 9, 9]], 0), np.append(chosen, 0)
            detections.append(Detections(found, random.random(len(found)).round(3), chosen))
    return detections, truths


# --- COCO ------------------------------------------------------------------------------------------------------------


def check_coco(images: Images, classes: int) -> None:
    found, expected = coco_average_precision(*images, classes), pycocotools(images, classes)
    # The same divisions of integers in float64; means are in another order.
    np.testing.assert_allclose(found.precision, or_nan(expected.eval["precision"]), atol=1e-12)
    np.testing.assert_allclose(found.recall, or_nan(expected.eval["recall"]), atol=1e-12)
    names = "AP AP50 AP75 AP_small AP_medium AP_large AR1 AR10 AR100 AR_small AR_medium AR_large"
    assert list(found.summary) == names.split()
    np.testing.assert_allclose(list(found.summary.values()), or_nan(expected.stats), atol=1e-12)
    np.testing.assert_equal(found.mean_average_precision, found.summary["AP"])
    per_class = [np.mean(expected.eval["precision"][:, :, k, 0, 2]) for k in range(classes)]
    np.testing.assert_allclose(found.average_precision(), or_nan(np.array(per_class)), atol=1e-12)


@settings(max_examples=60)
@given(images=some_images, at_once=st.sampled_from([1, 7, 1 << 18]))
def test_coco_is_pycocotools(images: Images, at_once: int):
    """Curves, recalls, means of each class and the twelve numbers are pycocotools' for ties, crowds, areas of masks,
    empty images and absent classes, in however many parts overlaps are computed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "PAIRS_AT_ONCE", at_once)
        check_coco(images, CLASSES)


def test_coco_with_more_than_the_maximum():
    """Where an image has more than 100 detections of a class, and many objects in the same place, they are cut as
    pycocotools does."""
    check_coco(make_images(0, images=3, most=150, classes=1, decimals=2, side=60), 1)


def test_coco_of_blood_cells(blood_cells: Images):
    """The annotations of BCCD, displaced as detections, have pycocotools' numbers."""
    assert sum(len(truth.boxes) for truth in blood_cells[1]) > 4500
    check_coco(blood_cells, 3)
    assert 0.2 < coco_average_precision(*blood_cells, 3).summary["AP50"] < 0.9


def test_coco_with_other_settings():
    """Thresholds, areas and maximums of detections can be others, and the numbers are pycocotools' for them."""
    images = make_images(3, images=8, most=10, classes=3, decimals=1)
    areas = {"every": (0.0, 1e10), "tiny": (10.0, 400.0)}
    found = coco_average_precision(*images, 3, iou_thresholds=[0.3, 0.75], areas=areas, max_detections=[2, 5])
    parameters = {"iouThrs": np.array([0.3, 0.75]), "areaRng": list(areas.values()), "maxDets": [2, 5]}
    expected = pycocotools(images, 3, **parameters, areaRngLbl=list(areas)).eval
    np.testing.assert_allclose(found.precision, or_nan(expected["precision"]), atol=1e-12)
    np.testing.assert_allclose(found.recall, or_nan(expected["recall"]), atol=1e-12)
    assert list(found.summary) == ["AP", "AP75", "AP_tiny", "AR2", "AR5", "AR_tiny"]
    tiny = expected["precision"][1, :, :, 1, 1].mean(axis=0)
    np.testing.assert_allclose(found.average_precision(0.75, "tiny"), or_nan(tiny), atol=1e-12)
    np.testing.assert_allclose(found.average_recall(2), or_nan(expected["recall"][..., 0, 0].mean(0)), atol=1e-12)
    for ask in (
        lambda: found.average_precision(0.5),
        lambda: found.average_precision(area="large"),
        lambda: found.average_recall(3),
        lambda: found.average_recall(area="all"),
    ):
        with pytest.raises(ValueError, match=r"^no .*: there are"):
            ask()


@given(images=some_images)
def test_order_of_images_does_not_matter(images: Images):
    """Without equal scores, neither the order of images nor that of detections changes a number."""
    detections, truths = images
    random = np.random.default_rng(0)
    scores = iter(random.permutation(sum(len(each.scores) for each in detections)) / 1e3)
    detections = [Detections(each.boxes, [next(scores) for _ in each.scores], each.labels) for each in detections]
    order = random.permutation(len(truths))
    within = [random.permutation(len(each.scores)) for each in detections]
    shuffled = [
        Detections(each.boxes[rows], each.scores[rows], each.labels[rows])
        for each, rows in zip(detections, within, strict=True)
    ]
    other = [shuffled[i] for i in order], [truths[i] for i in order]
    for function in (coco_average_precision, voc_average_precision):
        found = function(*other, CLASSES).mean_average_precision
        np.testing.assert_equal(found, function(detections, truths, CLASSES).mean_average_precision)


# --- PASCAL VOC ------------------------------------------------------------------------------------------------------


def check_voc(images: Images, classes: int, recalls: Any, inclusive: bool) -> None:
    found = voc_average_precision(*images, classes, recalls=recalls, inclusive=inclusive)
    by_hand = [voc_by_hand(images, label, recalls, int(inclusive)) for label in range(classes)]
    expected = np.array([average for average, _ in by_hand])
    # Fractions there; here sums of at most a few thousand rounded terms that add up to at most 1.
    np.testing.assert_allclose(found.average_precision, expected, rtol=1e-12)
    assert found.objects.tolist() == [number_of_objects(images[1], label) for label in range(classes)]
    if np.isnan(expected).all():
        assert np.isnan(found.mean_average_precision)
    else:
        assert found.mean_average_precision == pytest.approx(np.nanmean(expected), rel=1e-12)
    for label, (curve, (_, points)) in enumerate(zip(found.curves, by_hand, strict=True)):
        scores = [images[0][i].scores[j] for i, j in ranked(images[0], label)]
        np.testing.assert_array_equal(curve.scores, scores)
        if found.objects[label]:
            np.testing.assert_array_equal(curve.precision, [float(p) for p, _ in points])  # one division of integers
            np.testing.assert_array_equal(curve.recall, [float(r) for _, r in points])


@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("recalls", ["all", "11"])
@given(images=some_images)
def test_voc_is_the_protocol(recalls, inclusive, images: Images):
    """Average precision, curves and mean are those of the development kit's rules, applied box by box in fractions."""
    check_voc(images, CLASSES, recalls, inclusive)


@pytest.mark.parametrize("recalls", ["all", "11"])
def test_voc_of_blood_cells(recalls, blood_cells: Images):
    """The annotations of BCCD, which are pixels, displaced as detections, have the numbers of the kit's rules."""
    check_voc(blood_cells, 3, recalls, inclusive=True)


HERE, AWAY = [0, 0, 10, 10], [50, 50, 60, 60]


def test_example_of_the_notes():
    """The notes' ranking, positives at scores .8 and .35, negatives at .4 and .1: precision 1, 1/2, 2/3, 1/2. Of their
    area under the curve, for which they name no rule, VOC 2010 makes 5/6, VOC 2007 (6 + 5 * 2/3) / 11 and COCO
    (51 + 50 * 2/3) / 101."""
    boxes = [AWAY, [200, 0, 210, 10], [0, 200, 10, 210], HERE]
    detections = [Detections(boxes, [0.1, 0.4, 0.35, 0.8], [0, 0, 0, 0])]
    truths = [GroundTruth([boxes[2], HERE], [0, 0])]
    voc = voc_average_precision(detections, truths, 1)
    assert voc.curves[0].precision.tolist() == [1, 1 / 2, 2 / 3, 1 / 2]
    assert voc.curves[0].recall.tolist() == [1 / 2, 1 / 2, 1, 1]
    assert voc.mean_average_precision == pytest.approx(5 / 6, rel=1e-15)
    seven = voc_average_precision(detections, truths, 1, recalls="11").mean_average_precision
    assert seven == pytest.approx((6 + 5 * 2 / 3) / 11, rel=1e-15)
    coco = coco_average_precision(detections, truths, 1)
    for name in ("AP", "AP50"):
        assert coco.summary[name] == pytest.approx((51 + 50 * 2 / 3) / 101, rel=1e-14)


@pytest.mark.parametrize("tenths", range(11))
def test_a_recall_of_tenths_reaches_its_point(tenths: int):
    """With 10 objects of which k are found first, the points 0 to k/10 have precision 1: recall .3 reaches .3, though
    3 * .1 is more than .3 in float64."""
    boxes = [[20 * i, 0, 20 * i + 10, 10] for i in range(10)]
    detections = [Detections(boxes[:tenths], np.ones(tenths), np.zeros(tenths, int))]
    found = voc_average_precision(detections, [GroundTruth(boxes, [0] * 10)], 1, recalls="11")
    assert found.mean_average_precision == pytest.approx((tenths + 1) / 11 if tenths else 0, rel=1e-15)


def test_voc_rules():
    """An overlap of exactly .5 is enough, a second detection of an object is wrong, one of a difficult object counts
    neither way, and difficult objects need not be found."""
    truths = [GroundTruth([HERE, AWAY], [0, 0], difficult=[False, True])]
    half = [0, 0, 10, 5]
    curve = voc_average_precision([Detections([AWAY, half, HERE], [3, 2, 1], [0, 0, 0])], truths, 1).curves[0]
    assert curve.precision.tolist() == [0, 1, 1 / 2]
    assert curve.recall.tolist() == [0, 1, 1]
    assert voc_average_precision([Detections([half], [1], [0])], truths, 1, iou_threshold=0.51).average_precision == [0]


def test_crowds_of_coco():
    """Any number of detections in a crowd do not count, by their part that lies in it and not by IoU; elsewhere the
    same detections are wrong."""
    inside = [[10, 10, 20, 20], [30, 30, 50, 50], [35, 35, 50, 50]]
    detections = [Detections([*inside, [200, 0, 210, 10]], [0.9, 0.8, 0.7, 0.6], [0] * 4)]
    boxes = [[0, 0, 100, 100], [200, 0, 210, 10]]
    with_crowd = coco_average_precision(detections, [GroundTruth(boxes, [0, 0], crowd=[True, False])], 1)
    assert with_crowd.mean_average_precision == pytest.approx(1, rel=1e-14)
    without = coco_average_precision(detections, [GroundTruth(boxes[1:], [0])], 1)
    assert without.mean_average_precision == pytest.approx(1 / 4, rel=1e-14)


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_equal_overlaps_of_coco(order: list[int]):
    """Of two objects that a detection overlaps equally pycocotools takes the last; what is left for the next detection
    depends on that."""
    boxes = np.array([[0, 0, 10, 10], [2, 0, 12, 10]])
    detections = Detections([[1, 0, 11, 10], [3, 0, 13, 10]], [0.9, 0.8], [0, 0])
    check_coco(([detections], [GroundTruth(boxes[order], [0, 0])]), 1)


@pytest.mark.parametrize(("missing", "right"), [(0, 1), (2.0**-34, 1), (2.0**-30, 0)])
def test_threshold_of_one(missing: float, right: int):
    """A threshold of 1 is reached by an overlap of 1 - 1e-10, as in pycocotools."""
    images = [Detections([[0, 0, 1, 1]], [1], [0])], [GroundTruth([[0, 0, 1, 1 - missing]], [0])]
    found = coco_average_precision(*images, 1, iou_thresholds=[1.0]).recall
    np.testing.assert_array_equal(found, or_nan(pycocotools(images, 1, iouThrs=np.array([1.0])).eval["recall"]))
    assert found[0, 0, 0, -1] == right


# --- Errors by their kind --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inclusive", [False, True])
@given(images=some_images)
def test_errors_are_the_protocol(inclusive: bool, images: Images):
    """The counts are those of the rules applied box by box in fractions."""
    similar = [(0, 1), (1, 2)]
    found = error_breakdown(*images, CLASSES, similar, inclusive=inclusive)
    expected = errors_by_hand(images, CLASSES, similar, int(inclusive))
    np.testing.assert_array_equal(found.counts, expected)
    some = expected.sum(1) > 0
    fractions = expected[some] / expected[some].sum(1, keepdims=True)
    np.testing.assert_array_equal(found.fractions[some], fractions)
    assert np.isnan(found.fractions[~some]).all()
    if some.any():
        np.testing.assert_allclose(list(found.mean.values()), fractions.mean(0), rtol=1e-13)


def test_errors_of_blood_cells(blood_cells: Images):
    """Of the annotations of BCCD too; all kinds of errors are among them."""
    found = error_breakdown(*blood_cells, 3, [(0, 1)], inclusive=True)
    np.testing.assert_array_equal(found.counts, errors_by_hand(blood_cells, 3, [(0, 1)], 1))
    assert (found.counts.sum(0) > 0).all()


@pytest.mark.parametrize(
    ("height", "label", "kind"),
    [
        (60, 0, "correct"),  # IoU .6
        (50, 0, "correct"),  # the notes leave IoU of exactly .5 and .1 open: enough, as in Hoiem et al.
        (30, 0, "localization"),
        (10, 0, "localization"),
        (5, 0, "background"),
        (60, 1, "similar"),
        (30, 1, "similar"),
        (10, 1, "similar"),
        (5, 1, "background"),
        (60, 2, "other"),
        (30, 2, "other"),
        (5, 2, "background"),
    ],
)
def test_errors_of_the_notes(height: int, label: int, kind: str):
    """The notes' table: IoU .6, .3 and .05 with an object of the right, a similar and another class."""
    truths = [GroundTruth([[0, 0, 100, 100]], [0]), GroundTruth([AWAY], [label])]  # so that the class has an object
    detections = [Detections([[0, 0, 100, height]], [1], [label]), Detections([], [], [])]
    found = error_breakdown(detections, truths, 3, [(0, 1)])
    expected = np.zeros(5)
    expected[ERRORS.index(kind)] = 1
    np.testing.assert_array_equal(found.counts[label], expected)
    assert found.mean == dict(zip(ERRORS, expected, strict=True))


def test_only_the_first_detections_have_errors():
    """Of a class with two objects the two best detections are looked at; the duplicate of the first is localization,
    and that of a difficult object is passed over."""
    truths = [GroundTruth([HERE, AWAY, [200, 0, 210, 10]], [0, 0, 0], difficult=[False, False, True])]
    boxes = [HERE, [200, 0, 210, 10], HERE, AWAY]
    found = error_breakdown([Detections(boxes, [4, 3, 2, 1], [0] * 4)], truths, 1, [])
    assert found.counts.tolist() == [[1, 1, 0, 0, 0]]


def test_similar_classes_of_voc():
    """The sets of Hoiem et al. by the names of VOC's classes in alphabetical order."""
    names = "aeroplane bicycle bird boat bottle bus car cat chair cow".split()  # noqa: SIM905
    names += "diningtable dog horse motorbike person pottedplant sheep sofa train tvmonitor".split()  # noqa: SIM905
    assert [{names[label] for label in group} for group in VOC_SIMILAR] == [
        {"aeroplane", "bicycle", "boat", "bus", "car", "motorbike", "train"},
        {"bird", "cat", "cow", "dog", "horse", "person", "sheep"},
        {"chair", "diningtable", "sofa"},
        {"aeroplane", "bird"},
    ]


# --- Localisation, anchors -------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**32), top=st.integers(1, 6), inclusive=st.booleans())
def test_localization_error_is_its_definition(seed: int, top: int, inclusive: bool):
    """The part of images of which none of the best predictions has the class of an object and overlaps it by more than
    half, box by box."""
    images = zip(*make_images(seed, images=12, most=3, classes=2, decimals=1, side=40), strict=True)
    detections, truths = zip(*[(found, truth) for found, truth in images if len(truth.boxes)], strict=True)
    errors = 0
    for found, truth in zip(detections, truths, strict=True):
        best = sorted(range(len(found.scores)), key=lambda j: -found.scores[j])[:top]
        errors += not any(
            found.labels[j] == label and overlap(found.boxes[j], box, int(inclusive)) > Fraction(1, 2)
            for j in best
            for box, label in zip(truth.boxes, truth.labels, strict=True)
        )
    error = localization_error(detections, truths, 2, top=top, inclusive=inclusive)
    assert error == pytest.approx(errors / len(truths), abs=1e-15)


def test_localization_example():
    """Right by any object of the class, not by one of another class, not by the sixth prediction, and an overlap of
    exactly .5 is not enough."""
    truth = GroundTruth([AWAY, HERE], [3, 3])
    five = [[100, 100, 110, 110]] * 5
    cases = [
        (Detections([HERE], [1], [3]), 0),
        (Detections([HERE], [1], [2]), 1),
        (Detections([[0, 0, 10, 5]], [1], [3]), 1),
        (Detections([[0, 0, 10, 6]], [1], [3]), 0),
        (Detections([HERE, *five], range(6), [3] * 6), 1),
        (Detections([HERE, *five[1:]], range(5), [3] * 5), 0),
        (Detections([], [], []), 1),
    ]
    for detections, error in cases:
        assert localization_error([detections], [truth], 4) == error
    every = [detections for detections, _ in cases]
    assert localization_error(every, [truth] * 7, 4) == pytest.approx(4 / 7, rel=1e-15)


def test_average_best_iou():
    """The notes' boxes and YOLOv2's anchors for VOC: the best have IoU .9374 and .9081; in NumPy and in JAX."""
    anchors = [[1.3221, 1.73145], [3.19275, 4.00944], [5.05587, 8.09892], [9.47112, 4.84053], [11.2364, 10.0071]]
    shapes = [[3, 4], [13 * 0.42, 13 * 0.61]]
    expected = (0.9374 + 0.9081) / 2  # four digits
    assert average_best_iou(shapes, anchors) == pytest.approx(expected, abs=5e-5)
    assert average_best_iou(anchors[:3], anchors) == 1
    found = jax.jit(average_best_iou)(jnp.asarray(shapes), jnp.asarray(anchors))
    assert found.dtype == jnp.float32
    assert float(found) == pytest.approx(expected, abs=5e-5)


# --- Nothing, and what cannot be -------------------------------------------------------------------------------------

NONE, NOTHING = Detections([], [], []), GroundTruth([], [])


@pytest.mark.filterwarnings("error")
def test_no_detections_and_no_objects():
    """A class with objects and no detections has average precision and recall 0; one without objects has none and
    leaves the mean alone; without any object the mean is NaN."""
    one = GroundTruth([HERE], [1])
    for found in (voc_average_precision([NONE], [one], 3), coco_average_precision([NONE], [one], 3)):
        assert found.mean_average_precision == 0
    coco = coco_average_precision([NONE], [one], 3)
    np.testing.assert_array_equal(coco.average_precision(), [np.nan, 0, np.nan])
    np.testing.assert_array_equal(coco.average_recall(), [np.nan, 0, np.nan])
    extra = Detections([HERE, HERE], [0.5, 0.9], [1, 2])
    for function in (voc_average_precision, coco_average_precision):
        assert function([extra], [one], 3).mean_average_precision == pytest.approx(1, rel=1e-14)
        for detections in (NONE, extra):
            assert np.isnan(function([detections], [NOTHING], 3).mean_average_precision)
    assert error_breakdown([extra], [one], 3, []).counts.tolist() == [[0] * 5, [1, 0, 0, 0, 0], [0] * 5]
    assert all(np.isnan(value) for value in error_breakdown([NONE], [one], 3, []).mean.values())


def test_boxes_without_area():
    """Boxes without width or height are allowed, overlap nothing, and are as wrong as pycocotools has them."""
    line = [[5, 5, 5, 9], [3, 3, 3, 3]]
    images = [Detections([*line, HERE], [3, 2, 1], [0, 0, 0])], [GroundTruth([*line, HERE], [0, 0, 0])]
    check_coco(images, 1)
    check_voc(images, 1, "all", inclusive=False)


def test_jax_arrays_are_taken():
    """Boxes, scores and labels may be JAX arrays, as a detector gives them."""
    found = Detections(jnp.array([HERE], jnp.float32), jnp.array([0.5]), jnp.array([0]))
    truth = GroundTruth(jnp.array([HERE]), jnp.array([0]), crowd=jnp.array([False]))
    assert voc_average_precision([found], [truth], 1).mean_average_precision == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Detections([HERE], [np.nan], [0]), "a score is NaN"),
        (lambda: Detections([HERE], [np.inf], [0]), "infinite"),
        (lambda: Detections([HERE], [0.1, 0.2], [0]), r"scores of shape \(1,\), as there are 1 boxes, got \(2,\)"),
        (lambda: Detections([HERE], [0.1], [0, 1]), r"labels of shape \(1,\)"),
        (lambda: Detections([HERE], [[0.1]], [0]), r"got \(1, 1\)"),
        (lambda: Detections([HERE], [0.1], [0.0]), "integers, got float64"),
        (lambda: Detections(HERE, [0.1], [0]), r"\[n, 4\], got shape \(4,\)"),
        (lambda: Detections([[0, 0, 1]], [0.1], [0]), r"got shape \(1, 3\)"),
        (lambda: Detections([HERE, [5, 0, 4, 9]], [0.1, 0.2], [0, 0]), r"box 1 is \[5.0, 0.0, 4.0, 9.0\].*xywh"),
        (lambda: GroundTruth([[0, 5, 9, 4]], [0]), "y1 <= y2"),
        (lambda: GroundTruth([[0, 5, 9, np.nan]], [0]), "coordinate"),
        (lambda: GroundTruth([HERE], []), r"labels of shape \(1,\)"),
        (lambda: GroundTruth([HERE], [0], difficult=[True, False]), "difficult of shape"),
        (lambda: GroundTruth([HERE], [0], crowd=[]), "crowd of shape"),
        (lambda: GroundTruth([HERE], [0], area=[1, 2]), "area of shape"),
        (lambda: GroundTruth([HERE], [0], area=[-1]), "area of an object is negative"),
    ],
)
def test_what_is_no_image(make, message):
    """Lengths that differ, NaN, corners in the wrong order, labels that are no integers: a ValueError at once."""
    with pytest.raises(ValueError, match=message):
        make()


ONE, OBJECT = Detections([HERE], [0.5], [1]), GroundTruth([HERE], [1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: voc_average_precision([ONE], [], 2), "same images, got 1 and 0"),
        (lambda: coco_average_precision([], [], 2), "no images"),
        (lambda: coco_average_precision([NONE], [NOTHING], 0), "1 or more, got 0"),
        (lambda: voc_average_precision([NONE, ONE], [OBJECT] * 2, 1), r"detection in image 1 is 1: expected 0 to 0"),
        (lambda: coco_average_precision([NONE], [OBJECT], 1), "object in image 0 is 1"),
        (lambda: coco_average_precision([NONE], [GroundTruth([HERE], [-1])], 1), "is -1"),
        (lambda: voc_average_precision([ONE], [OBJECT], 2, iou_threshold=0), r"\(0, 1\], got 0"),
        (lambda: voc_average_precision([ONE], [OBJECT], 2, recalls="12"), "'all' .* got '12'"),  # type: ignore[arg-type]
        (lambda: coco_average_precision([ONE], [OBJECT], 2, iou_thresholds=[0.5, 1.1]), "got 1.1"),
        (lambda: coco_average_precision([ONE], [OBJECT], 2, iou_thresholds=[]), "at least one"),
        (lambda: coco_average_precision([ONE], [OBJECT], 2, areas={}), "at least one"),
        (lambda: coco_average_precision([ONE], [OBJECT], 2, max_detections=[10, 1]), r"rising .* got \(10, 1\)"),
        (lambda: coco_average_precision([ONE], [OBJECT], 2, max_detections=[0, 1]), "above 0"),
        (lambda: coco_average_precision([ONE], [OBJECT], 2, max_detections=[]), "above 0"),
        (lambda: error_breakdown([ONE], [OBJECT], 2, [(0, 2)]), r"0 to 1 in similar, got \(0, 2\)"),
        (lambda: localization_error([ONE], [NOTHING], 2), "image 0 has no object"),
        (lambda: localization_error([ONE], [OBJECT], 2, top=0), "top >= 1"),
        (lambda: localization_error([ONE], [OBJECT], 2, iou_threshold=1), "iou_threshold < 1"),
        (lambda: average_best_iou(np.zeros((0, 2)), [[1, 1]]), r"shapes .* got \(0, 2\)"),
        (lambda: average_best_iou([[1, 1]], [[1, 1, 2, 2]]), r"anchors .* got \(1, 4\)"),
        (lambda: average_best_iou([[1, -1]], [[1, 1]]), "shapes is negative"),
        (lambda: average_best_iou([[1, 1]], jnp.array([[1, jnp.nan]])), "anchors is negative, NaN"),
    ],
)
def test_what_cannot_be_evaluated(call, message):
    """Other numbers of images, labels out of range and arguments that mean nothing are a ValueError that says so."""
    with pytest.raises(ValueError, match=message):
        call()
