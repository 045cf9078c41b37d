"""Selective search: similarities and merging against slow transcriptions of the paper; windows, ranking, cache."""

import dataclasses
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xxnet_jax.boxes import pairwise_iou
from xxnet_jax.detection import SearchSettings, graph_segmentation, grouping, selective_search
from xxnet_jax.detection.grouping import COLOUR_SPACES, MEASURES, Regions, describe_regions, merge_regions, similarity
from xxnet_jax.errors import CorruptData, InvalidArgument, UnknownName, XXNetError

ONE = SearchSettings(colour_spaces=("rgb",), measures=("CTSF",), thresholds=(50,))
needs_skimage = pytest.mark.skipif(find_spec("skimage") is None, reason="scikit-image is not installed")


def random_case(seed: int, side: int = 12, number: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """An image, floating [side, side + 3, 3], and labels of regions with crooked borders, all numbers there."""
    rng = np.random.default_rng(seed)
    image = rng.random((side, side + 3, 3))
    places = rng.permutation(side * (side + 3))[:number]
    rows, columns = np.indices((side, side + 3))
    distance = (rows.ravel()[:, None] - places // (side + 3)) ** 2 + (
        columns.ravel()[:, None] - places % (side + 3)
    ) ** 2
    return image, distance.argmin(1).reshape(side, side + 3).astype(np.int32)


# --- A transcription of section 3 of the paper, region by region and pixel by pixel -----------------------------------


def literal_responses(image: np.ndarray) -> np.ndarray:
    """Positive derivatives along eight directions, [height, width, channels, 8], each channel's largest 1; by sums with
    the derivatives of a Gaussian of sigma 1 over a window that is mirrored at the border."""
    steps = np.arange(-4, 5)
    bell = np.exp(-(steps**2) / 2) / np.exp(-(steps**2) / 2).sum()
    slope = -steps * bell
    padded = np.pad(image, ((4, 4), (4, 4), (0, 0)), mode="symmetric")
    height, width, channels = image.shape
    found = np.zeros((height, width, channels, 8))
    for y in range(height):
        for x in range(width):
            window = padded[y : y + 9, x : x + 9]
            right = np.einsum("i,j,ijc->c", bell, -slope, window)
            down = np.einsum("i,j,ijc->c", -slope, bell, window)
            for k in range(8):
                found[y, x, :, k] = np.maximum(np.cos(k * np.pi / 4) * right + np.sin(k * np.pi / 4) * down, 0)
    return found / found.max((0, 1, 3), keepdims=True)


class LiteralRegion:
    """A set of pixels with histograms, which are counted anew for every region."""

    def __init__(self, pixels: set[tuple[int, int]], image: np.ndarray, responses: np.ndarray):
        self.pixels = pixels
        rows, columns = zip(*pixels, strict=True)
        self.box = (min(columns), min(rows), max(columns) + 1, max(rows) + 1)
        self.colours = [np.histogram(image[rows, columns, c], bins=25, range=(0, 1))[0] for c in range(image.shape[-1])]
        self.textures = [
            np.histogram(responses[rows, columns, c, k], bins=10, range=(0, 1))[0]
            for c in range(image.shape[-1])
            for k in range(8)
        ]

    def similarity(self, other: "LiteralRegion", measure: str, size: int) -> float:
        total = 0.0
        for letter in measure:
            if letter in "CT":
                mine, theirs = (
                    np.concatenate(region.colours if letter == "C" else region.textures) for region in (self, other)
                )
                total += float(np.minimum(mine / mine.sum(), theirs / theirs.sum()).sum())
            elif letter == "S":
                total += 1 - (len(self.pixels) + len(other.pixels)) / size
            else:
                a, b = self.box, other.box
                around = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
                total += 1 - (around - len(self.pixels) - len(other.pixels)) / size
        return total

    def touches(self, other: "LiteralRegion") -> bool:
        near = {(y + i, x + j) for y, x in self.pixels for i in (-1, 0, 1) for j in (-1, 0, 1)}
        return bool(near & other.pixels)


def literal_regions(image: np.ndarray, labels: np.ndarray) -> list[LiteralRegion]:
    responses = literal_responses(image)
    return [
        LiteralRegion({(int(y), int(x)) for y, x in np.argwhere(labels == number)}, image, responses)
        for number in range(labels.max() + 1)
    ]


def literal_merge(image: np.ndarray, labels: np.ndarray, measure: str) -> list[tuple[float, ...]]:
    """Algorithm 1: boxes of all regions in the order in which they come to be."""
    responses = literal_responses(image)
    regions = literal_regions(image, labels)
    left = set(range(len(regions)))
    while True:
        pairs = [(a, b) for a in left for b in left if a < b and regions[a].touches(regions[b])]
        if not pairs:
            return [region.box for region in regions]
        ranked = [(-round(regions[a].similarity(regions[b], measure, labels.size), 9), a, b) for a, b in pairs]
        _, a, b = min(ranked)
        left = left - {a, b} | {len(regions)}
        regions.append(LiteralRegion(regions[a].pixels | regions[b].pixels, image, responses))


@pytest.mark.parametrize("measure", MEASURES)
def test_similarities_are_those_of_the_paper(measure: str):
    """Of all pairs of regions of a random image, equal to sums over histograms that are counted pixel by pixel."""
    image, labels = random_case(1)
    regions, _ = describe_regions(image, labels)
    literal = literal_regions(image, labels)
    one, other = np.triu_indices(len(literal), 1)
    expected = [literal[a].similarity(literal[b], measure, labels.size) for a, b in zip(one, other, strict=True)]
    # scipy sums the Gaussian's tails over the same nine places
    np.testing.assert_allclose(similarity(regions, one, other, measure), expected, atol=1e-9)


def test_similarities_of_the_notes():
    """Regions of 10 and 20 pixels in an image of 100, in a common rectangle of 40: size .7, fill .9; equal histograms
    have the similarity 1."""
    boxes = np.array([[0.0, 0, 4, 5], [4, 0, 8, 5]])
    histogram = np.full((2, 75), 1 / 75)
    regions = Regions(np.array([10.0, 20.0]), boxes, histogram, np.full((2, 240), 1 / 240), 100)
    one, other = np.array([0]), np.array([1])
    expected = {"S": 0.7, "F": 0.9, "C": 1, "T": 1, "CTSF": 3.6}
    for measure, value in expected.items():
        np.testing.assert_allclose(similarity(regions, one, other, measure), [value], rtol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_neighbours_touch(seed: int):
    """Pairs are those whose pixels touch at a side or a corner, each once, the smaller number first."""
    image, labels = random_case(seed)
    _, pairs = describe_regions(image, labels)
    literal = literal_regions(image, labels)
    numbers = range(len(literal))
    assert pairs.tolist() == [[a, b] for a in numbers for b in numbers if a < b and literal[a].touches(literal[b])]


@pytest.mark.parametrize("measure", ["CTSF", "TSF", "F", "C"])
@pytest.mark.parametrize("seed", range(3))
def test_merging_is_algorithm_1(measure: str, seed: int):
    """The regions and their order are those of a search through all pairs before each step, whose histograms are
    counted anew: so averaging histograms by sizes loses nothing."""
    image, labels = random_case(seed)
    regions, pairs = describe_regions(image, labels)
    merged = merge_regions(regions, pairs, measure)
    np.testing.assert_array_equal(merged.boxes, literal_merge(image, labels, measure))
    assert merged.sizes[-1] == labels.size
    np.testing.assert_allclose(merged.colours.sum(1), 1)
    np.testing.assert_allclose(merged.textures.sum(1), 1)


def test_small_regions_merge_first_by_size():
    """The merge order of the notes: eight equal regions in a row become pairs, then fours, then all."""
    regions, pairs = describe_regions(np.zeros((1, 8, 1)), np.arange(8)[None])
    merged = merge_regions(regions, pairs, "S")
    assert merged.boxes[8:, [0, 2]].tolist() == [[0, 2], [2, 4], [4, 6], [6, 8], [0, 4], [4, 8], [0, 8]]


def test_regions_apart_stay_apart():
    """Without neighbours nothing is merged, and one region is its own hierarchy."""
    regions, pairs = describe_regions(np.zeros((4, 4, 1)), np.zeros((4, 4), int))
    assert pairs.shape == (0, 2)
    np.testing.assert_array_equal(merge_regions(regions, pairs, "CTSF").boxes, [[0, 0, 4, 4]])


# --- Windows ---------------------------------------------------------------------------------------------------------


def rectangles(seed: int, number: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """An image with rectangles of own colours on noise, and their boxes; none touches another."""
    rng = np.random.default_rng(seed)
    image = np.full((120, 180, 3), 128.0)
    boxes = []
    for cell in rng.permutation(6)[:number]:
        y, x = 60 * (cell // 3), 60 * (cell % 3)
        height, width = rng.integers(15, 50, 2)
        top, left = y + rng.integers(3, 56 - height), x + rng.integers(3, 56 - width)
        boxes.append((left, top, left + width, top + height))
        image[top : top + height, left : left + width] = rng.choice([30, 80, 190, 240], 3)
    return np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8), np.array(boxes, np.float32)


@needs_skimage
@pytest.mark.parametrize("seed", range(2))
def test_rectangles_are_found(seed: int):
    """Each of six coloured rectangles on a noisy ground has a window with an IoU of .8 or more."""
    image, expected = rectangles(seed)
    boxes, _ = selective_search(image)
    assert (pairwise_iou(expected, boxes).max(1) >= 0.8).all()


@needs_skimage
@settings(max_examples=8)
@given(height=st.integers(1, 30), width=st.integers(1, 30), channels=st.sampled_from([1, 3]), seed=st.integers(0, 99))
def test_windows_of_any_image(height: int, width: int, channels: int, seed: int):
    """Windows lie in the image and have an area, none comes twice, the whole image and every initial segment is there,
    and scores fall from at most 1."""
    image = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
    boxes, scores = selective_search(image, ONE)
    assert boxes.dtype == scores.dtype == np.float32
    assert boxes.shape == (len(scores), 4)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= (width, height)).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    found = set(map(tuple, boxes.tolist()))
    assert len(found) == len(boxes)
    assert (0.0, 0.0, float(width), float(height)) in found
    assert (np.diff(scores) <= 0).all()
    assert scores.max() <= 1
    assert scores.min() > 0
    labels = graph_segmentation(np.repeat(image, 3 // channels, -1) / 255, 50, ONE.sigma, 50)
    for number in range(labels.max() + 1):
        rows, columns = np.nonzero(labels == number)
        assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) in found


@needs_skimage
def test_segments_are_numbered_by_their_first_pixels():
    """Numbers run from 0 in the order in which the segments are met, row by row; halves of two colours are two."""
    image = np.zeros((20, 30, 3), np.uint8)
    image[:, 15:] = 255
    labels = graph_segmentation(image, 100, sigma=0)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, np.broadcast_to(np.arange(30) >= 15, (20, 30)))


@needs_skimage
def test_the_ranking_is_that_of_the_paper():
    """One strategy: the i-th region from the top has the value i times the i-th random number of the seed; equal
    windows keep their best; the score is 1 / (1 + value)."""
    image, _ = rectangles(5)
    regions, pairs = describe_regions(image / 255, graph_segmentation(image / 255, 50, 0.8, 50))
    hierarchy = merge_regions(regions, pairs, "CTSF").boxes[::-1]
    values = np.random.default_rng(3).random(len(hierarchy)) * (1 + np.arange(len(hierarchy)))
    best: dict[tuple[float, ...], float] = {}
    for box, value in zip(map(tuple, hierarchy.tolist()), values.tolist(), strict=True):
        best[box] = min(value, best.get(box, np.inf))
    expected = sorted(best, key=lambda box: best[box])
    boxes, scores = selective_search(image, dataclasses.replace(ONE, seed=3))
    assert list(map(tuple, boxes.tolist())) == expected
    np.testing.assert_allclose(scores, [1 / (1 + best[box]) for box in expected], rtol=1e-6)


@needs_skimage
def test_the_seed_changes_the_order_alone():
    """The same seed gives the same windows, another one the same in another order; a limit keeps the first."""
    image, _ = rectangles(0)
    boxes, scores = selective_search(image, ONE)
    again, scores_again = selective_search(image, ONE)
    np.testing.assert_array_equal(boxes, again)
    np.testing.assert_array_equal(scores, scores_again)
    others, _ = selective_search(image, dataclasses.replace(ONE, seed=1))
    assert boxes.tolist() != others.tolist()
    assert sorted(boxes.tolist()) == sorted(others.tolist())
    few, few_scores = selective_search(image, ONE, max_windows=5)
    np.testing.assert_array_equal(few, boxes[:5])
    np.testing.assert_array_equal(few_scores, scores[:5])


@needs_skimage
def test_small_windows_are_left_out():
    """With `smallest_side` the windows are those of both sides at least so long, in the same order; the whole image
    stays, however small it is."""
    image, _ = rectangles(1)
    every, _ = selective_search(image, ONE)
    large, _ = selective_search(image, dataclasses.replace(ONE, smallest_side=30))
    sides = every[:, 2:] - every[:, :2]
    np.testing.assert_array_equal(large, every[(sides >= 30).all(1)])
    assert 0 < len(large) < len(every)
    boxes, _ = selective_search(image[:9, :9], dataclasses.replace(ONE, smallest_side=30))
    assert boxes.tolist() == [[0, 0, 9, 9]]


@needs_skimage
def test_windows_are_kept_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The second time the windows come from the file, for the same pixels and settings only; a limit does not change
    what is stored; nothing unfinished is left in the folder."""
    image, _ = rectangles(2)
    folder = tmp_path / "windows" / "cells"
    first, scores = selective_search(image, ONE, max_windows=3, cache=folder)
    every, _ = selective_search(image, ONE)
    monkeypatch.setattr(grouping, "_search", lambda *_: pytest.fail("computed again"))
    stored, stored_scores = selective_search(image.copy(), ONE, cache=folder)
    np.testing.assert_array_equal(stored, every)
    np.testing.assert_array_equal(stored[:3], first)
    np.testing.assert_array_equal(stored_scores[:3], scores)
    assert [path.suffix for path in folder.iterdir()] == [".npz"]
    other = image.copy()
    other[0, 0, 0] ^= 1
    for changed, options in ((other, ONE), (image, dataclasses.replace(ONE, seed=1)), (image[:-1], ONE)):
        with pytest.raises(pytest.fail.Exception, match="computed again"):
            selective_search(changed, options, cache=folder)


@needs_skimage
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"text"])
def test_a_damaged_file_of_windows_is_named(tmp_path: Path, content: bytes):
    """A stored file that is none is an error with its name and the way out, not windows."""
    image, _ = rectangles(3)
    selective_search(image, ONE, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    with pytest.raises(CorruptData, match=rf"{file.name}.*delete it"):
        selective_search(image, ONE, cache=tmp_path)


# --- Colours ---------------------------------------------------------------------------------------------------------


@needs_skimage
@pytest.mark.parametrize("space", COLOUR_SPACES)
def test_colour_spaces_are_within_0_and_1(space: str):
    """Every channel of every corner of the cube, and of random colours, is between 0 and 1, black included."""
    corners = 255 * (np.arange(8)[:, None] >> np.arange(3) & 1)
    colours = np.concatenate([corners, np.random.default_rng(0).integers(0, 256, (500, 3))]).astype(np.uint8)
    converted = COLOUR_SPACES[space](colours[None])
    assert converted.shape[:2] == (1, 508)
    assert np.isfinite(converted).all()
    assert converted.min() >= 0
    assert converted.max() <= 1


def test_chromaticity_does_not_see_brightness():
    """Of a colour and of twice as bright a colour the ratios are equal, the intensities are not."""
    image = np.array([[[40, 60, 100], [80, 120, 200]]], np.uint8)
    for space, ratios in (("normalized_rgb", 3), ("rgi", 2), ("opponent", 2)):
        converted = COLOUR_SPACES[space](image)
        np.testing.assert_allclose(converted[0, 0, :ratios], converted[0, 1, :ratios])
    np.testing.assert_allclose(COLOUR_SPACES["normalized_rgb"](image)[0, 0], [0.2, 0.3, 0.5])
    np.testing.assert_allclose(COLOUR_SPACES["rgi"](image)[0, :, 2], [200 / 765, 400 / 765])
    np.testing.assert_allclose(COLOUR_SPACES["opponent"](image)[0, 0, :2], [(1 - 0.1) / 2, (2 - 0.5) / 3])


# --- What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)],
)
def test_other_arrays_are_refused(image: np.ndarray):
    """Numbers of another kind, no channel axis, four channels, no pixels: an error with the shape."""
    with pytest.raises(InvalidArgument, match=r"uint8 \[height, width, 1 or 3\]"):
        selective_search(image)


@pytest.mark.parametrize("options", [{"thresholds": ()}, {"thresholds": (0,)}, {"sigma": -1}, {"seed": -1}])
def test_settings_that_make_no_sense_are_refused(options: dict):
    """No strategy at all, or numbers out of range, are errors when the settings are made."""
    with pytest.raises(InvalidArgument):
        SearchSettings(**options)


def test_unknown_names_are_refused():
    """Of settings, colour spaces and measures; the nearest known name is in the message."""
    with pytest.raises(UnknownName, match="fast"):
        selective_search(np.zeros((4, 4, 3), np.uint8), "fats")
    with pytest.raises(UnknownName, match="lab"):
        SearchSettings(colour_spaces=("labb",))
    with pytest.raises(UnknownName, match="CTSF"):
        SearchSettings(measures=("CTSG",))
    with pytest.raises(InvalidArgument, match="max_windows"):
        selective_search(np.zeros((4, 4, 3), np.uint8), max_windows=0)


def test_without_scikit_image_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    """Where scikit-image is not installed the error says what to install."""
    monkeypatch.setitem(sys.modules, "skimage", None)
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(XXNetError, match=r"xxnet_jax\[detection\]"):
        selective_search(np.zeros((4, 4, 3), np.uint8))
