"""What Faster R-CNN learns, against transcriptions in loops, on random boxes."""

import functools
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from hypothesis import given, settings
from hypothesis import strategies as st

from xxnet_jax.boxes import iou
from xxnet_jax.detection.anchors import generate_anchors, tile_anchors
from xxnet_jax.detection.detector import clip_to_window
from xxnet_jax.detection.targets import (
    anchor_losses,
    assign_anchors,
    chosen_at_random,
    inside_window,
    propose,
    region_losses,
    sample_anchors,
    sample_regions,
)
from xxnet_jax.errors import InvalidArgument

SEEDS = st.integers(0, 2**16)
FEW = settings(max_examples=8)  # boxes are many in each
ANCHORS = tile_anchors(generate_anchors(scales=(1, 2)), 6, 8, 16)  # 288
WINDOW = np.array([5, 3, 120, 90], np.float32)


@functools.lru_cache
def jitted(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """The function with these options, compiled once for all examples."""
    return jax.jit(functools.partial(function, **options))


def random_boxes(random: np.random.Generator, count: int, side: int = 120) -> np.ndarray:
    first = random.uniform(-10, side, (count, 2))
    return np.concatenate([first, first + random.uniform(2, 60, (count, 2))], -1).astype(np.float32)


@FEW
@given(SEEDS, st.integers(0, 40), st.integers(0, 50))
def test_a_choice_at_random(seed, number, count):
    """As many candidates as are asked for, and no others, are chosen: those with the largest random numbers."""
    candidates = np.arange(40) < number
    np.random.default_rng(seed).shuffle(candidates)
    key = jax.random.key(seed)
    chosen = np.flatnonzero(jitted(chosen_at_random)(key, candidates, count))
    draw = np.asarray(jax.random.uniform(key, (40,)))
    assert set(chosen) == set(references.drawn(draw, np.flatnonzero(candidates), count))
    assert len(chosen) == min(number, count)


def test_a_choice_is_fair():
    """Over many keys every candidate is chosen as often; within 5 standard deviations of a binomial."""
    keys = jax.random.split(jax.random.key(0), 2000)
    chosen = jax.vmap(lambda key: chosen_at_random(key, jnp.arange(10) % 2 == 0, 2))(keys)
    counts = np.asarray(chosen.sum(0))
    assert (counts[1::2] == 0).all()
    assert np.abs(counts[::2] - 800).max() < 5 * np.sqrt(2000 * 0.4 * 0.6)


@FEW
@given(SEEDS, st.integers(0, 5))
def test_anchors_are_assigned_as_in_loops(seed, number):
    """Labels equal those of the transcription; of padding, which may lie anywhere, none is a target."""
    random = np.random.default_rng(seed)
    objects = random_boxes(random, 6)
    present = np.arange(6) < number
    usable = np.asarray(inside_window(jnp.asarray(ANCHORS), jnp.asarray(WINDOW)))
    labels, matched = jitted(assign_anchors)(ANCHORS, usable, objects, present)
    assert labels.tolist() == references.assign_anchors(ANCHORS, usable, objects[:number], 0.7, 0.3)
    for anchor, label, found in zip(ANCHORS, labels, matched, strict=True):
        if label == 1:
            assert iou(anchor, objects[found]) == max(iou(anchor, each) for each in objects[:number])


def test_anchors_without_objects_are_background():
    """No object, or only padding, or one without area: every anchor in the image is background, the others nothing."""
    usable = np.arange(len(ANCHORS)) % 3 > 0
    for objects in (np.zeros((0, 4)), np.zeros((2, 4)), np.array([[20, 20, 20, 60]])):
        present = np.full(len(objects), len(objects) == 1)
        labels, _ = assign_anchors(*map(jnp.asarray, (ANCHORS, usable, objects.astype(np.float32), present)))
        assert labels.tolist() == np.where(usable, 0, -1).tolist()


@FEW
@given(SEEDS, st.integers(0, 30), st.integers(0, 200))
def test_a_sample_of_anchors(seed, objects, background):
    """At most half are objects; background fills up; of both those with the largest random numbers."""
    labels = np.repeat([1, 0, -1], [objects, background, 250 - objects - background])
    np.random.default_rng(seed).shuffle(labels)
    key = jax.random.key(seed)
    sampled = np.asarray(jitted(sample_anchors, count=40)(key, labels))
    of_objects, of_background = (np.asarray(jax.random.uniform(each, (250,))) for each in jax.random.split(key))
    first = references.drawn(of_objects, np.flatnonzero(labels == 1), 20)
    second = references.drawn(of_background, np.flatnonzero(labels == 0), 40 - len(first))
    assert set(np.flatnonzero(sampled == 1)) == set(first)
    assert set(np.flatnonzero(sampled == 0)) == set(second)


@FEW
@given(SEEDS)
def test_anchor_losses_are_equation_1(seed):
    """Sums of single anchors in float64; those that are not sampled have no part, even if they are NaN."""
    random = np.random.default_rng(seed)
    labels = random.choice([-1, 0, 1], 50)
    logits, deltas, targets = (random.normal(size=(50, k)).astype(np.float32) * 2 for k in (2, 4, 4))
    classes, boxes = 0.0, 0.0
    for i, label in enumerate(labels):
        if label >= 0:
            classes -= references.log_softmax(logits[i].astype(np.float64))[label]
        if label == 1:
            boxes += references.smooth_l1(deltas[i].astype(np.float64) - targets[i])
    losses = jitted(anchor_losses, locations=35)
    found = losses(logits, deltas, labels, targets)
    np.testing.assert_allclose(found, [float(classes) / max(1, (labels >= 0).sum()), boxes / 35], rtol=1e-5, atol=1e-6)
    logits[labels < 0] = deltas[labels < 1] = np.nan
    np.testing.assert_allclose(losses(logits, deltas, labels, targets), found)


@FEW
@given(SEEDS, st.sampled_from([(60, 12), (20, 30), (1, 3)]))
def test_proposals_are_those_of_loops(seed, numbers):
    """The same boxes in the same order, then padding that says so."""
    random, (before, after) = np.random.default_rng(seed), numbers
    boxes = random_boxes(random, 50)
    scores = random.permutation(50).astype(np.float32)
    found, valid = jitted(propose, min_size=12, before=before, after=after)(boxes, scores, WINDOW)
    expected = references.propose(boxes, scores, WINDOW, 12, before, after, 0.7)
    chex.assert_shape(found, (after, 4))
    assert int(valid.sum()) == len(expected)
    np.testing.assert_allclose(found[: len(expected)], expected, atol=1e-4)  # moving to the window and back rounds
    assert not np.asarray(found)[len(expected) :].any()


def test_proposals_of_an_empty_window():
    """Padding of a batch has no image: no proposal, and finite numbers."""
    found, valid = propose(jnp.asarray(ANCHORS), jnp.ones(len(ANCHORS)), jnp.zeros(4), after=7)
    assert not valid.any()
    assert not np.asarray(found).any()
    with pytest.raises(InvalidArgument, match="1 or more"):
        propose(jnp.asarray(ANCHORS), jnp.ones(len(ANCHORS)), jnp.zeros(4), after=0)


@FEW
@given(SEEDS, st.integers(0, 4), st.sampled_from([6, 16, 80]))
def test_a_sample_of_regions_is_that_of_loops(seed, number, count):
    """Which are taken, their classes and targets; the objects are among the candidates."""
    random = np.random.default_rng(seed)
    objects, classes, present = random_boxes(random, 5), random.integers(0, 3, 5), np.arange(5) < number
    near = np.repeat(objects, 6, 0) + random.normal(0, 6, (30, 4))
    proposals = np.concatenate([near, random_boxes(random, 20)]).astype(np.float32)
    valid = random.random(50) < 0.9
    key = jax.random.key(seed)
    found = jitted(sample_regions, count=count)(key, proposals, valid, objects, classes, present)

    boxes = np.concatenate([proposals, objects])
    usable = np.concatenate([valid, present]) & (boxes[:, 2:] > boxes[:, :2]).all(-1)
    overlaps = [[float(iou(box, each)) for each in objects[:number]] for box in boxes]
    most = [max(row, default=0.0) for row in overlaps]
    draws = [np.asarray(jax.random.uniform(each, (55,))) for each in jax.random.split(key)]
    foreground = references.drawn(draws[0], [i for i in range(55) if usable[i] and most[i] >= 0.5], count // 4)
    others = [i for i in range(55) if usable[i] and 0.1 <= most[i] < 0.5]
    background = references.drawn(draws[1], others, count - len(foreground))
    rows = sorted(foreground) + sorted(background)
    padding = count - len(rows)
    np.testing.assert_array_equal(found.boxes[: len(rows)], boxes[rows])
    matched = [int(np.argmax(row)) if row else 0 for row in overlaps]
    labels = [classes[matched[i]] + 1 for i in sorted(foreground)] + [0] * len(background) + [-1] * padding
    assert found.labels.tolist() == labels
    targets = [references.encode(objects[matched[i]], boxes[i]) / [0.1, 0.1, 0.2, 0.2] for i in sorted(foreground)]
    np.testing.assert_allclose(found.targets[: len(foreground)], np.reshape(targets, (-1, 4)), rtol=1e-3, atol=1e-4)
    assert not np.asarray(found.targets)[len(foreground) :].any()


def test_regions_without_objects():
    """An image without objects has background if the range begins at 0, and nothing with the paper's .1."""
    proposals, valid = jnp.asarray(random_boxes(np.random.default_rng(0), 9)), jnp.arange(9) < 7
    for objects in (jnp.zeros((0, 4)), jnp.zeros((3, 4))):
        labels, present = jnp.zeros(len(objects), jnp.int32), jnp.zeros(len(objects), bool)
        arguments = (jax.random.key(0), proposals, valid, objects, labels, present)
        assert (sample_regions(*arguments, count=12).labels == -1).all()
        assert sample_regions(*arguments, count=12, negative=(0.0, 0.5)).labels.tolist() == [0] * 7 + [-1] * 5


@FEW
@given(SEEDS)
def test_region_losses(seed):
    """The mean over regions in float64; an object's own regressor counts alone."""
    random = np.random.default_rng(seed)
    labels = random.integers(-1, 4, 30)
    logits, targets = (random.normal(size=(30, 4)).astype(np.float32) * 2 for _ in range(2))
    deltas = random.normal(size=(30, 3, 4)).astype(np.float32)
    classes, boxes, count = 0.0, 0.0, 0
    for i, label in enumerate(labels):
        if label >= 0:
            classes -= references.log_softmax(logits[i].astype(np.float64))[label]
            count += 1
        if label > 0:
            boxes += references.smooth_l1(deltas[i, label - 1].astype(np.float64) - targets[i])
    found = jitted(region_losses)(logits, deltas, labels, targets)
    np.testing.assert_allclose(found, [float(classes) / max(count, 1), boxes / max(count, 1)], rtol=1e-5, atol=1e-6)


def test_windows_within_a_canvas():
    """Anchors are inside an image, and boxes are cut off at its edges, wherever it lies on the canvas."""
    boxes = jnp.asarray([[5, 3, 120, 90], [4.5, 3, 20, 20], [-10, -10, 0, 0], [50, 50, 200, 60]], jnp.float32)
    window = jnp.asarray(WINDOW)
    assert inside_window(boxes, window).tolist() == [True, False, False, False]
    expected = [[5, 3, 120, 90], [5, 3, 20, 20], [5, 3, 5, 3], [50, 50, 120, 60]]
    np.testing.assert_allclose(clip_to_window(boxes, window), expected)
