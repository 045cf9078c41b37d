"""Augmentation: what comes out, how often, and what decides it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xxnet_jax.data.augmentation import AUGMENTATION, augment
from xxnet_jax.data.loader import draws
from xxnet_jax.errors import UnknownName

IMAGE = np.random.default_rng(0).normal(size=(7, 6, 2)).astype(np.float32)
MANY = 20_000


def views(name: str) -> np.ndarray:
    """Everything that `name` may make of IMAGE, [views, height, width, channels], by NumPy."""
    height, width, _ = IMAGE.shape
    crops = [IMAGE]
    if name == "cifar":
        padded = np.pad(IMAGE, ((4, 4), (4, 4), (0, 0)))
        crops = [padded[i : i + height, j : j + width] for i in range(9) for j in range(9)]
    return np.stack([view for crop in crops for view in (crop, crop[:, ::-1])])


@pytest.mark.parametrize("name", AUGMENTATION)
def test_every_view_is_as_likely(name: str):
    """Of 20,000 draws each gives one of the views that NumPy cuts out, exactly, and each view comes about as often."""
    images = jnp.broadcast_to(IMAGE, (MANY, *IMAGE.shape))
    found = np.asarray(jax.jit(augment, static_argnums=2)(images, draws(0, 0, np.arange(MANY)), name))
    expected = views(name)
    numbers = {view.tobytes(): number for number, view in enumerate(expected)}
    counts = np.bincount([numbers[image.tobytes()] for image in found], minlength=len(expected))
    share = 1 / len(expected)
    deviation = np.sqrt(MANY * share * (1 - share))
    np.testing.assert_array_less(np.abs(counts - MANY * share), 5 * deviation)


@pytest.mark.parametrize("name", AUGMENTATION)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), epoch=st.integers(0, 1000), first=st.integers(0, 10_000))
def test_a_draw_alone_decides(name: str, seed: int, epoch: int, first: int):
    """What becomes of an image depends on its draw, not on its neighbours: a batch is its images one by one."""
    images = np.random.default_rng(seed).normal(size=(4, 5, 5, 3)).astype(np.float32)
    draw = draws(seed, epoch, np.arange(first, first + 4))
    together = augment(jnp.asarray(images), draw, name)
    for number in range(4):
        alone = augment(jnp.asarray(images[number : number + 1]), draw[number : number + 1], name)
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


@pytest.mark.parametrize("name", AUGMENTATION)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.uint8])
def test_dtype_is_kept(name: str, dtype):
    """An augmented image has the dtype and the shape that it had."""
    images = jnp.ones((2, 5, 4, 3), dtype)
    found = augment(images, draws(0, 0, np.arange(2)), name)
    assert (found.shape, found.dtype) == (images.shape, images.dtype)


def test_unknown_augmentation():
    """A slip of the pen is an error that knows what was meant."""
    with pytest.raises(UnknownName, match="did you mean cifar"):
        augment(jnp.ones((1, 4, 4, 1)), np.zeros((1, 2), np.uint32), "cifer")
