"""Network inputs from 8-bit images, against float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xxnet_jax.data import PREPROCESSING, preprocess
from xxnet_jax.errors import UnknownName

EVERY_BYTE = np.arange(256, dtype=np.uint8).reshape(2, 8, 16, 1)
# LeCun et al., 1998, section II.B: the background (white paper, here 0) is -0.1 and the foreground is 1.175
EXPECTED = {
    "unit": np.linspace(0, 1, 256),
    "lecun": np.linspace(-0.1, 1.175, 256),
}


@pytest.mark.parametrize("name", sorted(PREPROCESSING))
def test_every_byte_becomes_its_value(name: str):
    """All 256 bytes, compiled or not, become the float32 next to the rule's straight line, in the same shape."""
    assert name in EXPECTED, "a new rule needs its values here"
    for function in (preprocess, jax.jit(preprocess, static_argnums=1)):
        found = function(jnp.asarray(EVERY_BYTE), name)
        assert found.dtype == jnp.float32
        assert found.shape == EVERY_BYTE.shape
        # three roundings of numbers near 1 to 24 bits
        np.testing.assert_allclose(np.ravel(found), EXPECTED[name], rtol=0, atol=3e-7)


def test_an_unknown_rule_suggests_the_nearest():
    """`lecunn` is answered by `lecun`."""
    with pytest.raises(UnknownName, match="did you mean lecun"):
        preprocess(jnp.zeros((1, 2, 2, 1), jnp.uint8), "lecunn")
