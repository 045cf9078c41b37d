"""R-CNN's warps: pixel by pixel as a transcription that pads, resamples and crops by its definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xxnet_jax.detection.warps import Warp, warp
from xxnet_jax.errors import InvalidArgument, UnknownName

FORMS = ("anisotropic", "isotropic_context", "isotropic_fill")


def weights(first: float, last: float, size: int, low: int, high: int) -> np.ndarray:
    """Of pixels low..high in each of `size` pixels of an interval: a triangle as wide as the scale, 1 at least."""
    scale = (last - first) / size
    width = max(1.0, scale)
    found = np.zeros((size, high - low))
    for i in range(size):
        centre = first + (i + 0.5) * scale
        for pixel in range(low, high):
            found[i, pixel - low] = max(0.0, 1 - abs(pixel + 0.5 - centre) / width)
    return found / found.sum(1, keepdims=True)


def transcribed(image: np.ndarray, box: tuple[int, ...], size: int, form: Warp, context: float, colour: int):
    """Appendix A: the window and its border become a square, on a plane of one colour."""
    x1, y1, x2, y2 = box
    rows, columns = image.shape[:2]
    far = 100
    plane = np.full((rows + 2 * far, columns + 2 * far, image.shape[2]), float(colour))
    if form == "isotropic_fill":
        left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2, columns), min(y2, rows)
    else:
        left, top, right, bottom = 0, 0, columns, rows
    plane[far + top : far + bottom, far + left : far + right] = image[top:bottom, left:right]
    width, height = float(x2 - x1), float(y2 - y1)
    if form != "anisotropic":
        width = height = max(width, height)
    width, height = (side * size / (size - 2 * context) for side in (width, height))
    middle = (x1 + x2) / 2, (y1 + y2) / 2
    of_columns = weights(middle[0] - width / 2, middle[0] + width / 2, size, -far, columns + far)
    of_rows = weights(middle[1] - height / 2, middle[1] + height / 2, size, -far, rows + far)
    return np.einsum("ir,rcd,jc->ijd", of_rows, plane, of_columns)


@given(
    st.sampled_from(FORMS),
    st.tuples(st.integers(-8, 20), st.integers(-8, 14), st.integers(3, 26), st.integers(3, 20)),
    st.sampled_from([0.0, 2.0, 3.5]),
    st.integers(0, 1000),
)
def test_pixels(form: Warp, place: tuple[int, ...], context: float, seed: int):
    """All three forms, with and without context, within and beyond the edges, enlarged and reduced; PIL computes with
    8 bits, twice."""
    image = np.random.default_rng(seed).integers(0, 256, (18, 24, 3)).astype(np.uint8)
    x, y, width, height = place
    box = (x, y, x + width, y + height)
    if x + width <= 0 or y + height <= 0 or x >= 24 or y >= 18:
        return
    found = warp(image, np.array(box, np.float32), 16, form, context, np.full(3, 77, np.uint8))
    expected = transcribed(image, box, 16, form, context, 77)
    assert found.shape == (16, 16, 3)
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found, expected, atol=2)


def test_what_each_form_keeps():
    """A window of 20 x 10, white in gray, with a border of 8 of 32 pixels: what of the result is white, and gray."""
    image = np.full((60, 60, 1), 100, np.uint8)
    image[25:35, 20:40] = 255
    box = np.array([20, 25, 40, 35], np.float32)
    colour = np.zeros(1, np.uint8)
    stretched, whole, filled = (warp(image, box, 32, form, 8, colour)[..., 0] for form in FORMS)  # type: ignore[arg-type]
    assert (stretched[9:23, 9:23] == 255).all()
    assert (stretched[:7] == 100).all()
    assert (whole[13:19, 9:23] == 255).all()
    assert (whole[:11] == 100).all()
    assert (filled[13:19, 9:23] == 255).all()
    assert (filled[:11] == 0).all()


def test_the_colour_is_the_mean_of_the_window():
    """Where it reaches out of the image, and by default."""
    image = np.zeros((10, 10, 3), np.uint8)
    image[:, :5] = (40, 80, 120)
    found = warp(image, np.array([-10, 0, 10, 10], np.float32), 20)
    np.testing.assert_array_equal(found[10, 2], (20, 40, 60))


@pytest.mark.parametrize("box", [(5, 5, 5, 5), (-9, -9, -3, -3), (40, 40, 50, 50), (8, 3, 4, 7)])
def test_windows_that_are_none(box):
    """Without area, outside, or turned: an image all the same."""
    image = np.full((10, 12, 3), 9, np.uint8)
    for form in FORMS:
        assert warp(image, np.array(box, np.float32), 8, form, 1).shape == (8, 8, 3)  # type: ignore[arg-type]


def test_bad_arguments():
    """Each says what was wrong."""
    image, box = np.zeros((4, 4, 3), np.uint8), np.array([0, 0, 2, 2], np.float32)
    with pytest.raises(UnknownName, match="did you mean anisotropic"):
        warp(image, box, 8, "anisotropc")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="context"):
        warp(image, box, 8, context=4)
