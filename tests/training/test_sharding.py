"""Meshes and the sizes that fit them."""

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import PartitionSpec

from xxnet_jax.training.sharding import check_batch_size, make_mesh, state_sharding


def test_a_mesh_has_the_devices_asked_for():
    """One device is a mesh of one; the default is all of them."""
    assert make_mesh(1).shape == {"data": 1}
    assert make_mesh().shape == {"data": 8}
    assert make_mesh(6, model=3).shape == {"data": 2, "model": 3}


@pytest.mark.parametrize("count", [0, 9])
def test_devices_that_are_not_there(count):
    """The error says how many there are."""
    with pytest.raises(ValueError, match="there are 8"):
        make_mesh(count)


@pytest.mark.parametrize("model", [0, 3, 16])
def test_groups_that_do_not_fit(model: int):
    """The devices are divided evenly."""
    with pytest.raises(ValueError, match=f"8 devices cannot be divided into groups of {model}"):
        make_mesh(8, model)


@pytest.mark.parametrize(
    ("shape", "fsdp", "model", "expected"),
    [
        ((25088, 4096), False, 1, (None, None)),
        ((25088, 4096), True, 1, ("data", None)),
        ((3, 3, 64, 512), True, 1, (None, None, None, "data")),
        ((3, 3, 512, 512), True, 1, (None, None, "data", None)),
        ((4096,), True, 1, ("data",)),
        ((512,), True, 1, ()),  # too small
        ((3, 3, 30, 42), True, 1, (None,) * 4),  # 8 divides none
        ((25088, 4096), False, 2, (None, "model")),
        ((25088, 4096), True, 2, ("data", "model")),
        ((64, 4099), True, 2, ("data", None)),
        ((4096,), False, 2, (None,)),
        ((), True, 2, ()),
    ],
)
def test_state_sharding(shape: tuple[int, ...], fsdp: bool, model: int, expected: tuple[str | None, ...]):
    """Features go over "model", the longest of the other axes that 8 divides over "data"."""
    leaf = jax.ShapeDtypeStruct(shape, jnp.float32)
    assert state_sharding(make_mesh(8, model), {"w": leaf}, fsdp=fsdp)["w"].spec == PartitionSpec(*expected)


def test_batches_that_cannot_be_divided():
    """The error names the nearest sizes that can."""
    check_batch_size(24, make_mesh(8))
    with pytest.raises(ValueError, match="take 96 or 104"):
        check_batch_size(100, make_mesh(8))
    with pytest.raises(ValueError, match="take 8 or 8"):
        check_batch_size(4, make_mesh(8))


@given(st.integers(1, 200), st.sampled_from([1, 2, 8]), st.integers(1, 6))
def test_micro_batches_that_cannot_be_divided(size: int, devices: int, accumulate: int):
    """A batch is refused just where devices times micro-batches do not divide it; the sizes named are the nearest
    positive ones that they divide."""
    mesh = make_mesh(devices)
    if size % (devices * accumulate) == 0:
        check_batch_size(size, mesh, accumulate)
        return
    with pytest.raises(ValueError, match=f"a batch of {size} cannot be divided over {devices} devices") as error:
        check_batch_size(size, mesh, accumulate)
    assert (f"x {accumulate} micro-batches" in str(error.value)) == (accumulate > 1)
    fitting = [n for n in range(1, 2 * size + 99) if n % (devices * accumulate) == 0]
    below, above = [n for n in fitting if n < size], [n for n in fitting if n > size]
    assert f"take {below[-1] if below else above[0]} or {above[0]}," in str(error.value)
