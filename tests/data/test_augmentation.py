"""Augmentation: what comes out, how often, and what decides it."""

import colorsys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from xxnet_jax.data import augmentation as changes
from xxnet_jax.data.augmentation import (
    AUGMENTATION,
    Augmentation,
    distort_colours,
    make_augmentation,
    mix_examples,
    move_pixels,
)
from xxnet_jax.data.loader import draws
from xxnet_jax.errors import InvalidArgument, UnknownName

IMAGE = np.random.default_rng(0).normal(size=(7, 6, 2)).astype(np.float32)
PHOTO = np.random.default_rng(1).uniform(size=(5, 6, 3)).astype(np.float32)
MANY = 20_000
EVERYTHING = replace(AUGMENTATION["inception"], pca_noise=0.1, rotation=20, shift=2)


def views(name: str) -> np.ndarray:
    """Everything that `name` may make of IMAGE, [views, height, width, channels], by NumPy."""
    height, width, _ = IMAGE.shape
    crops = [IMAGE]
    if name == "cifar":
        padded = np.pad(IMAGE, ((4, 4), (4, 4), (0, 0)))
        crops = [padded[i : i + height, j : j + width] for i in range(9) for j in range(9)]
    return np.stack([view for crop in crops for view in (crop, crop[:, ::-1])])


@pytest.mark.parametrize("name", ["mirror", "cifar"])
def test_every_view_is_as_likely(name: str):
    """Of 20,000 draws each gives one of the views that NumPy cuts out, exactly, and each view comes about as often."""
    images = jnp.broadcast_to(IMAGE, (MANY, *IMAGE.shape))
    move = jax.jit(move_pixels, static_argnums=2)
    found = np.asarray(move(images, draws(0, 0, np.arange(MANY)), AUGMENTATION[name]))
    expected = views(name)
    numbers = {view.tobytes(): number for number, view in enumerate(expected)}
    counts = np.bincount([numbers[image.tobytes()] for image in found], minlength=len(expected))
    share = 1 / len(expected)
    deviation = np.sqrt(MANY * share * (1 - share))
    np.testing.assert_array_less(np.abs(counts - MANY * share), 5 * deviation)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), epoch=st.integers(0, 1000), first=st.integers(0, 10_000))
def test_a_draw_alone_decides(seed: int, epoch: int, first: int):
    """What becomes of an image depends on its draw, not on its neighbours: a batch is its images one by one."""
    images = jnp.asarray(np.random.default_rng(seed).uniform(size=(4, 5, 5, 3)).astype(np.float32))
    draw = draws(seed, epoch, np.arange(first, first + 4))
    for change in (distort_colours, move_pixels):
        together = change(images, draw, EVERYTHING)
        for number in range(4):
            alone = change(images[number : number + 1], draw[number : number + 1], EVERYTHING)
            np.testing.assert_array_equal(alone[0], together[number])


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31), epoch=st.integers(0, 1000))
def test_no_two_examples_of_an_epoch_share_a_draw(seed: int, epoch: int):
    """Draws are uint32 pairs; all of an epoch differ, and all differ from those of the next epoch and the next seed."""
    places = np.arange(1000)
    found = np.concatenate([draws(seed, epoch, places), draws(seed, epoch + 1, places), draws(seed + 1, epoch, places)])
    assert found.dtype == np.uint32
    assert found.shape == (3000, 2)
    assert len(np.unique(found, axis=0)) == 3000


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.uint8])
def test_dtype_is_kept(dtype):
    """An image whose pixels were moved has the dtype and the shape that it had."""
    images = jnp.ones((2, 5, 4, 3), dtype)
    found = move_pixels(images, draws(0, 0, np.arange(2)), EVERYTHING)
    assert (found.shape, found.dtype) == (images.shape, images.dtype)


def drawn(function, strength: float, image: np.ndarray = PHOTO, count: int = 2000) -> np.ndarray:
    """What the change makes of many copies of an image."""
    keys = jax.random.split(jax.random.key(3), count)
    return np.asarray(jax.jit(jax.vmap(lambda key: function(key, jnp.asarray(image), strength)))(keys))


def test_pca_noise():
    """One colour is added to all pixels; its covariance is the principal components' own."""
    added = drawn(changes.add_pca_noise, 0.1, count=MANY) - PHOTO
    np.testing.assert_allclose(added, np.broadcast_to(added[:, :1, :1], added.shape), atol=1e-6)
    directions = np.asarray(changes.COLOUR_DIRECTIONS, np.float64)
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=2e-4)  # they are given to four digits
    expected = directions @ np.diag(np.square(0.1 * np.asarray(changes.COLOUR_VARIANCES))) @ directions.T
    found = np.cov(added[:, 0, 0].astype(np.float64), rowvar=False)
    np.testing.assert_allclose(found, expected, rtol=0.05)


def uniform(values: np.ndarray, low: float, high: float) -> None:
    """The values are as a sample of the uniform distribution would be."""
    assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 1e-3


def test_brightness():
    """One number is added to all values, uniform."""
    added = drawn(changes.change_brightness, 0.3) - PHOTO
    assert np.ptp(added, axis=(1, 2, 3)).max() < 1e-6
    uniform(added[:, 0, 0, 0], -0.3, 0.3)


def test_contrast():
    """The mean colour stays, and deviations from it are multiplied by one uniform factor."""
    found = drawn(changes.change_contrast, 0.4).astype(np.float64)
    middle = PHOTO.astype(np.float64).mean((0, 1))
    factors = (found - middle) / (PHOTO - middle)
    np.testing.assert_allclose(factors, np.broadcast_to(factors[:, :1, :1, :1], factors.shape), rtol=1e-3)
    uniform(factors[:, 0, 0, 0], 0.6, 1.4)


def test_saturation():
    """The luma stays, and distances from it are multiplied by one uniform factor."""
    found = drawn(changes.change_saturation, 0.5).astype(np.float64)
    gray = (PHOTO.astype(np.float64) @ (0.299, 0.587, 0.114))[..., None]
    factors = (found - gray) / (PHOTO - gray)
    np.testing.assert_allclose(factors, np.broadcast_to(factors[:, :1, :1, :1], factors.shape), rtol=1e-2)
    uniform(factors[:, 2, 2, 0], 0.5, 1.5)


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    red=st.integers(0, 255),
    green=st.integers(0, 255),
    blue=st.integers(0, 255),
)
def test_hue(seed: int, red: int, green: int, blue: int):
    """Turned by the drawn part of the circle, as Python's colorsys turns it."""
    pixel = np.array([red, green, blue], np.float32) / 255
    key = jax.random.key(seed)
    found = changes.change_hue(key, jnp.asarray(pixel)[None, None], 0.5)
    turn = float(jax.random.uniform(key, (), jnp.float32, -0.5, 0.5))
    hue, saturation, value = colorsys.rgb_to_hsv(*pixel.astype(np.float64))
    expected = colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)
    np.testing.assert_allclose(found[0, 0], expected, atol=1e-5)


def test_rotation():
    """As SciPy rotates by the drawn angle, at the border too."""
    keys = jax.random.split(jax.random.key(0), 20)
    image = np.random.default_rng(2).normal(size=(9, 12, 2)).astype(np.float32)
    for key in keys:
        found = changes.rotate(key, jnp.asarray(image), 40.0)
        angle = float(jax.random.uniform(key, (), jnp.float32, -40, 40))
        expected = scipy.ndimage.rotate(image.astype(np.float64), angle, reshape=False, order=1, mode="grid-constant")
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_colours_stay_in_range():
    """After the strongest distortions values are in [0, 1]."""
    images = jnp.asarray(np.random.default_rng(0).uniform(size=(64, 4, 4, 3)).astype(np.float32))
    strong = Augmentation(pca_noise=1, brightness=1, saturation=1, hue=0.5, contrast=1)
    found = distort_colours(images, draws(0, 0, np.arange(64)), strong)
    assert found.min() == 0
    assert found.max() == 1


# --- Mixing -----------------------------------------------------------------------------------------------------------


def batch_of(size: int, seed: int = 0) -> dict[str, jax.Array]:
    rng = np.random.default_rng(seed)
    return {
        "image": jnp.asarray(rng.uniform(1, 2, (size, 6, 5, 3)).astype(np.float32)),
        "label": jnp.asarray(rng.integers(0, 4, size), jnp.int32),
        "mask": jnp.ones(size, bool),
    }


@pytest.mark.parametrize("options", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.3, "cutmix": 0.6}])
def test_images_and_labels_are_mixed_alike(options: dict[str, float]):
    """The part of an image that is another's is the part of the label; both of a pair give what they take."""
    batch = batch_of(400)
    mixed = mix_examples(batch, draws(0, 0, np.arange(400)), Augmentation(**options), 4)
    x, found = (np.asarray(values["image"], np.float64) for values in (batch, mixed))
    swapped = x.reshape(-1, 2, *x.shape[1:])[:, ::-1].reshape(x.shape)
    kept = (found - swapped) / (x - swapped)  # of each value
    part = kept.mean((1, 2, 3))
    one_hot = np.eye(4)[np.asarray(batch["label"])]
    expected = part[:, None] * one_hot + (1 - part[:, None]) * one_hot.reshape(-1, 2, 4)[:, ::-1].reshape(-1, 4)
    np.testing.assert_allclose(mixed["label"], expected, atol=2e-3)
    np.testing.assert_allclose(part[::2], part[1::2], atol=2e-3)
    if "mixup" not in options:
        assert np.all((np.abs(kept) < 1e-3) | (np.abs(kept - 1) < 1e-3))
    if "cutmix" not in options:
        np.testing.assert_allclose(kept, np.broadcast_to(part[:, None, None, None], kept.shape), atol=1e-2)


def test_mixup_proportions():
    """They are a sample of Beta(a, a)."""
    labels = jnp.asarray([0, 1] * 1000, jnp.int32)
    batch = {"image": jnp.zeros((2000, 1, 1, 1)), "label": labels, "mask": jnp.ones(2000, bool)}
    mixed = mix_examples(batch, draws(0, 0, np.arange(2000)), Augmentation(mixup=0.7), 2)
    assert stats.kstest(np.asarray(mixed["label"])[::2, 0], stats.beta(0.7, 0.7).cdf).pvalue > 1e-3


def test_cutmix_takes_a_rectangle():
    """What is another's are whole rows times whole columns, and their number varies with the draw."""
    batch = {
        "image": jnp.asarray([0.0, 1.0] * 50)[:, None, None, None] * jnp.ones((1, 16, 12, 1)),
        "label": jnp.zeros(100, jnp.int32),
        "mask": jnp.ones(100, bool),
    }
    found = np.asarray(mix_examples(batch, draws(0, 0, np.arange(100)), Augmentation(cutmix=1), 1)["image"])
    areas = set()
    for image in found[::2, :, :, 0]:
        np.testing.assert_array_equal(image, np.outer(image.max(1), image.max(0)))
        rows = np.flatnonzero(image.max(1))
        assert len(rows) == 0 or len(rows) == rows[-1] - rows[0] + 1
        areas.add(int(image.sum()))
    assert len(areas) > 20


def test_masked_examples_mix_with_nothing():
    """Neither they nor their partners change."""
    batch = batch_of(4)
    batch["mask"] = jnp.asarray([True, False, True, True])
    mixed = mix_examples(batch, draws(0, 0, np.arange(4)), Augmentation(mixup=1), 4)
    np.testing.assert_array_equal(mixed["image"][:2], batch["image"][:2])
    np.testing.assert_array_equal(mixed["label"][0], np.eye(4)[int(batch["label"][0])])
    assert np.abs(mixed["image"][2:] - batch["image"][2:]).max() > 0


def test_odd_batches_cannot_be_mixed():
    with pytest.raises(InvalidArgument, match="even number"):
        mix_examples(batch_of(3), draws(0, 0, np.arange(3)), Augmentation(mixup=1), 4)


# --- Presets ----------------------------------------------------------------------------------------------------------


def test_unknown_names():
    """A slip of the pen is an error that knows what was meant."""
    with pytest.raises(UnknownName, match="did you mean cifar"):
        make_augmentation("cifer", {})
    with pytest.raises(UnknownName, match="did you mean mixup"):
        make_augmentation("cifar", {"mixupp": 1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mirror": -0.5}, "must not be negative"),
        ({"mirror": 1.5}, "at most 1"),
        ({"hue": 0.6}, "part of the circle"),
        ({"largest_side": 256}, "go together"),
        ({"smallest_side": 300, "largest_side": 256}, "go together"),
        ({"smallest_side": 256, "largest_side": 256, "smallest_area": 0.1, "largest_area": 1}, "leave"),
        ({"smallest_area": 0.1, "largest_area": 2}, "at most the area 1"),
        ({"shift": 1.5}, "whole pixels"),
        ({"mixup": float("nan")}, "must not be negative"),
    ],
)
def test_numbers_that_make_no_sense(options: dict[str, float], message: str):
    with pytest.raises(InvalidArgument, match=message):
        make_augmentation(None, options)


def test_colours_need_colours():
    with pytest.raises(InvalidArgument, match="3 channels, got 1"):
        distort_colours(jnp.ones((2, 4, 4, 1)), draws(0, 0, np.arange(2)), Augmentation(pca_noise=0.1))


def test_options_replace_numbers():
    """A number that is given takes the place of the preset's; the others stay."""
    found = make_augmentation("alexnet", {"largest_side": 512})
    assert found == AUGMENTATION["vgg_jitter"]
    assert make_augmentation(None, {}) == Augmentation()
