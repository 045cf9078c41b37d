"""Meshes and the sizes that fit them."""

import pytest

from xxnet_jax.training.sharding import check_batch_size, make_mesh


def test_a_mesh_has_the_devices_asked_for():
    """One device is a mesh of one; the default is all of them."""
    assert make_mesh(1).shape == {"data": 1}
    assert make_mesh().shape == {"data": 8}


@pytest.mark.parametrize("count", [0, 9])
def test_devices_that_are_not_there(count):
    """The error says how many there are."""
    with pytest.raises(ValueError, match="this machine has 8"):
        make_mesh(count)


def test_batches_that_cannot_be_divided():
    """The error names the nearest sizes that can."""
    check_batch_size(24, make_mesh(8))
    with pytest.raises(ValueError, match="take 96 or 104"):
        check_batch_size(100, make_mesh(8))
    with pytest.raises(ValueError, match="take 8 or 8"):
        check_batch_size(4, make_mesh(8))
