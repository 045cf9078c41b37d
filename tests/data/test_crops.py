"""Windows of photographs: where they lie, how often, and what they become."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

from xxnet_jax.data import ImageFormat, make_augmentation
from xxnet_jax.data.crops import AreaCrop, ScaledCrop, crop_of
from xxnet_jax.data.images import cut, fit_image
from xxnet_jax.errors import InvalidArgument

sizes = st.tuples(st.integers(1, 700), st.integers(1, 700))
seeds = st.integers(0, 2**32)


@settings(max_examples=200, deadline=None)
@given(seed=seeds, size=sizes, smallest=st.integers(224, 300), more=st.integers(0, 300))
def test_scaled_windows(seed: int, size: tuple[int, int], smallest: int, more: int):
    """They are squares within the photograph; its shorter side is a whole number of 224ths of them in the range."""
    window = ScaledCrop(smallest, smallest + more)(np.random.default_rng(seed), size, (224, 224))
    assert 0 <= window.left < window.right <= size[1]
    assert 0 <= window.top < window.bottom <= size[0]
    side = window.right - window.left
    assert window.bottom - window.top == pytest.approx(side)
    shorter = 224 * min(size) / side
    assert shorter == pytest.approx(round(shorter), abs=1e-6)
    assert smallest <= round(shorter) <= smallest + more


def test_every_scale_and_place_is_as_likely():
    """Of a 100x300 photograph with a shorter side of 8 to 11 and windows of 8: scales, rows and columns."""
    rng = np.random.default_rng(0)
    windows = [ScaledCrop(8, 11)(rng, (100, 300), (8, 8)) for _ in range(8000)]
    scales = np.array([round(8 * 100 / (window.right - window.left)) for window in windows])
    assert stats.chisquare(np.bincount(scales)[8:]).pvalue > 1e-3
    for scale in (8, 11):
        chosen = [window for window, found in zip(windows, scales, strict=True) if found == scale]
        rows = np.bincount([round(window.top * scale / 100) for window in chosen], minlength=scale - 7)
        columns = np.bincount([round(window.left * scale / 100) for window in chosen], minlength=3 * scale - 7)
        assert (len(rows), len(columns)) == (scale - 7, 3 * scale - 7)
        assert stats.chisquare(columns).pvalue > 1e-3
        assert scale == 8 or stats.chisquare(rows).pvalue > 1e-3


def test_a_scaled_window_is_what_scaling_and_cutting_gives():
    """As PIL scales the whole photograph and then cuts, where the scaled size is whole: all bits but a rounding."""
    photo = np.random.default_rng(0).integers(0, 256, (100, 150, 3), np.uint8)
    whole = np.asarray(Image.fromarray(photo).resize((96, 64), Image.Resampling.BILINEAR), np.int32)
    for seed in range(20):
        window = ScaledCrop(64, 64)(np.random.default_rng(seed), (100, 150), (32, 32))
        left, top = round(window.left * 0.64), round(window.top * 0.64)
        found = cut(photo, window, 32, 32).astype(np.int32)
        assert np.abs(found - whole[top : top + 32, left : left + 32]).max() <= 1


def test_windows_larger_than_the_scaled_photograph_are_refused():
    with pytest.raises(InvalidArgument, match="shorter side is 200: take a larger smallest_side"):
        ScaledCrop(200, 300)(np.random.default_rng(0), (400, 400), (224, 224))


@settings(max_examples=200, deadline=None)
@given(seed=seeds, size=sizes)
def test_area_windows(seed: int, size: tuple[int, int]):
    """They lie within the photograph, in whole pixels, of at least one."""
    window = AreaCrop(0.08, 1, 4 / 3)(np.random.default_rng(seed), size, (224, 224))
    assert all(edge == int(edge) for edge in window)
    assert 0 <= window.left < window.right <= size[1]
    assert 0 <= window.top < window.bottom <= size[0]


def test_areas_and_ratios():
    """Of a photograph that hardly refuses any: areas are uniform from 8 % to 30 %, logarithms of ratios uniform."""
    rng = np.random.default_rng(0)
    windows = np.array([AreaCrop(0.08, 0.3, 4 / 3)(rng, (2000, 2000), (1, 1)) for _ in range(4000)])
    widths, heights = windows[:, 2] - windows[:, 0], windows[:, 3] - windows[:, 1]
    assert stats.kstest(widths * heights / 4e6, stats.uniform(0.08, 0.22).cdf).pvalue > 1e-3
    ratios = np.log(widths / heights) / np.log(4 / 3)
    assert stats.kstest(ratios, stats.uniform(-1, 2).cdf).pvalue > 1e-3
    places = windows[:, 0] / (2000 - widths)
    assert stats.kstest(places, stats.uniform(0, 1).cdf).pvalue > 1e-3


@pytest.mark.parametrize(("size", "expected"), [((10, 1000), (493, 0, 506, 10)), ((1000, 10), (0, 493, 10, 506))])
def test_a_photograph_that_fits_no_ratio(size: tuple[int, int], expected: tuple[int, ...]):
    """Of a strip all draws of large areas fail: it is the largest window in the middle with the ratio 4/3, 13 by 10."""
    window = AreaCrop(0.9, 1, 4 / 3)(np.random.default_rng(0), size, (224, 224))
    assert tuple(window) == expected


@settings(deadline=None)
@given(seed=seeds)
def test_the_whole_as_a_window(seed: int):
    """It is the image resized, for any number of channels."""
    rng = np.random.default_rng(seed)
    rows, columns, channels = (int(rng.integers(1, 30)) for _ in range(3))
    image = rng.integers(0, 256, (rows, columns, channels), np.uint8)
    np.testing.assert_array_equal(
        cut(image, (0, 0, columns, rows), 7, 9), fit_image(image, 7, 9) if (rows, columns) != (7, 9) else image
    )


def test_channels_at_once_or_one_by_one():
    """RGB is resized as its planes are: PIL treats each channel alike."""
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    planes = [
        np.asarray(Image.fromarray(plane).resize((20, 30), Image.Resampling.BILINEAR))
        for plane in np.moveaxis(image, -1, 0)
    ]
    np.testing.assert_array_equal(fit_image(image, 30, 20), np.stack(planes, -1))


def test_the_middle_of_a_photograph():
    """fit="crop": 300x400 is scaled to 256x341, and rows 16 to 240, columns 58 to 282 (rounded) are kept."""
    photo = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    scaled = np.asarray(Image.fromarray(photo).resize((341, 256), Image.Resampling.BILINEAR))
    found = ImageFormat(224, 224, 3, "crop")(photo)
    np.testing.assert_array_equal(found, scaled[16:240, 58:282])
    assert ImageFormat(224, 224, 3, "crop", 224)(photo).shape == (224, 224, 3)
    with pytest.raises(InvalidArgument, match="squares"):
        ImageFormat(224, 200, 3, "crop")(photo)


def test_crops_of_presets():
    assert crop_of(make_augmentation("alexnet", {})) == ScaledCrop(256, 256)
    assert crop_of(make_augmentation("resnet", {})) == ScaledCrop(256, 480)
    assert crop_of(make_augmentation("inception", {})) == AreaCrop(0.08, 1, 4 / 3)
    assert crop_of(make_augmentation("cifar", {})) is None
