"""Decoding, sizes and channels of images, against PIL."""

import io
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from xxnet_jax.data import fit_image, read_image
from xxnet_jax.data import images as data_images
from xxnet_jax.data.images import decode_image, with_channels
from xxnet_jax.errors import CorruptData, InvalidArgument, MissingData

SIDE = st.integers(1, 12)


@st.composite
def images(draw: Any, channels: tuple[int, ...] = (1, 3)) -> np.ndarray:
    shape = (draw(SIDE), draw(SIDE), draw(st.sampled_from(channels)))
    return draw(hnp.arrays(np.uint8, shape))


def pil_resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """PIL's own resizing of the whole picture."""
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    resized = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
    return resized.reshape(height, width, -1)


@given(image=images(), height=SIDE, width=SIDE)
def test_resize_is_pils_bilinear_filter(image: np.ndarray, height: int, width: int):
    """`resize` gives what PIL gives for the picture as a whole, in any direction."""
    fitted = fit_image(image, height, width, "resize")
    assert fitted.dtype == np.uint8
    np.testing.assert_array_equal(fitted, pil_resize(image, height, width))


@given(image=images(), more=st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_pad_puts_the_image_into_the_middle(image: np.ndarray, more: tuple[int, int]):
    """The image is untouched, all else is zero, and opposite margins differ by at most one."""
    rows, columns, channels = image.shape
    fitted = fit_image(image, rows + more[0], columns + more[1], "pad")
    assert fitted.shape == (rows + more[0], columns + more[1], channels)
    assert fitted.dtype == np.uint8
    top, left = (min(range(extra + 1), key=lambda margin: abs(extra - 2 * margin)) for extra in more)
    np.testing.assert_array_equal(fitted[top : top + rows, left : left + columns], image)
    assert fitted.sum(dtype=np.int64) == image.sum(dtype=np.int64)


def test_28_is_padded_to_32_by_two_on_each_side():
    """LeNet-5's input: two rows and two columns of zeros all around."""
    padded = fit_image(np.full((28, 28, 1), 9, np.uint8), 32, 32, "pad")
    expected = np.zeros((32, 32, 1), np.uint8)
    expected[2:30, 2:30] = 9
    np.testing.assert_array_equal(padded, expected)


@pytest.mark.parametrize(("height", "width"), [(5, 9), (9, 5), (5, 5)])
def test_pad_refuses_an_image_that_is_too_large(height: int, width: int):
    """An image of 6x7 cannot be padded to less; the error says both sizes and what else to use."""
    with pytest.raises(InvalidArgument, match=f"6x7.*{height}x{width}.*resize"):
        fit_image(np.zeros((6, 7, 3), np.uint8), height, width, "pad")


@pytest.mark.parametrize("fit", ["resize", "pad"])
@given(image=images())
def test_an_image_that_fits_is_left_alone(fit: Any, image: np.ndarray):
    """An image that has the size already keeps each pixel."""
    np.testing.assert_array_equal(fit_image(image, image.shape[0], image.shape[1], fit), image)


@given(image=images(channels=(3,)))
def test_colour_becomes_gray_as_pil_converts_it(image: np.ndarray):
    """One channel of three is PIL's mode L."""
    expected = np.asarray(Image.fromarray(image).convert("L"))
    gray = with_channels(image, 1)
    assert gray.shape == (*image.shape[:2], 1)
    np.testing.assert_array_equal(gray[..., 0], expected)


@given(image=images(channels=(1,)))
def test_gray_becomes_colour_and_gray_again(image: np.ndarray):
    """Three channels of one are PIL's RGB, and the way back changes nothing."""
    colour = with_channels(image, 3)
    np.testing.assert_array_equal(colour, np.asarray(Image.fromarray(image[..., 0]).convert("RGB")))
    np.testing.assert_array_equal(with_channels(colour, 1), image)


@pytest.mark.parametrize(("have", "wanted"), [(1, 2), (3, 4), (2, 3), (4, 1)])
def test_other_numbers_of_channels_are_refused(have: int, wanted: int):
    """Only 1 and 3 channels turn into each other; the error names both numbers."""
    with pytest.raises(InvalidArgument, match=f"{wanted} channels.*{have}"):
        with_channels(np.zeros((2, 2, have), np.uint8), wanted)


def test_a_missing_image_is_named(tmp_path: Path):
    """Reading a file that is not there is an error that names it."""
    with pytest.raises(MissingData, match=r"nothing\.png"):
        read_image(tmp_path / "nothing.png", 3)


@st.composite
def jpegs(draw: Any) -> bytes:
    """A JPEG file of noise: gray or in colour, with each subsampling, progressive or not."""
    image = np.random.default_rng(draw(st.integers(0, 99))).integers(
        0, 256, (draw(st.integers(1, 40)), draw(st.integers(1, 40)), 3), np.uint8
    )
    stream = io.BytesIO()
    Image.fromarray(image).convert(draw(st.sampled_from(["RGB", "L"]))).save(
        stream,
        format="jpeg",
        quality=draw(st.sampled_from([30, 75, 95])),
        subsampling=draw(st.integers(0, 2)),
        progressive=draw(st.booleans()),
    )
    return stream.getvalue()


def decoded(content: bytes, channels: int) -> np.ndarray | str:
    """The pixels, or what was wrong."""
    try:
        return decode_image(io.BytesIO(content), "x.jpg", channels)
    except CorruptData as error:
        return str(error)


@given(content=jpegs(), channels=st.sampled_from([1, 3]))
def test_jpeg_has_the_pixels_of_pil(content: bytes, channels: int):
    """To the last bit, whoever decodes."""
    pytest.importorskip("simplejpeg")
    with Image.open(io.BytesIO(content)) as picture:
        expected = with_channels(np.asarray(picture).reshape(*picture.size[::-1], -1), channels)
    np.testing.assert_array_equal(decoded(content, channels), expected)


@settings(max_examples=200)
@given(content=jpegs(), place=st.floats(0, 1, exclude_max=True), byte=st.one_of(st.none(), st.integers(0, 255)))
def test_damaged_jpeg_is_what_it_is_to_pil(content: bytes, place: float, byte: int | None):
    """Cut off, or with another byte somewhere in its pixels: the same pixels or the same message as of PIL alone."""
    pytest.importorskip("simplejpeg")
    pixels = content.index(b"\xff\xda") + 14
    where = pixels + int(place * (len(content) - pixels))
    damaged = content[:where] if byte is None else content[:where] + bytes([byte]) + content[where + 1 :]
    found = decoded(damaged, 3)
    with mock.patch.object(data_images, "decode_jpeg", None):
        expected = decoded(damaged, 3)
    np.testing.assert_array_equal(found, expected)


def test_jpeg_is_turned_upright(tmp_path: Path):
    """By its EXIF orientation 6: the left column was the upper row."""
    exif = Image.Exif()
    exif[0x0112] = 6
    image = np.zeros((16, 32, 3), np.uint8)
    image[:, :16] = 250
    Image.fromarray(image).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    upright = read_image(tmp_path / "turned.jpg", 3)
    assert upright.shape == (32, 16, 3)
    assert upright[:14].min() > 200
    assert upright[18:].max() < 50
