"""The public face of the package."""

import subprocess
import sys

import xxnet_jax as xx


def test_importing_the_package_is_light():
    """`import xxnet_jax` loads none of the heavy packages, of which some machines lack several."""
    heavy = ["tensorflow", "tensorflow_datasets", "grain", "matplotlib", "sklearn", "keras", "orbax", "tyro", "PIL"]
    program = f"import sys, xxnet_jax; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_public_names():
    """The names that the README uses are there."""
    for name in ("create_model", "list_models", "model_info", "endpoints", "create_optimizer", "list_optimizers"):
        assert callable(getattr(xx, name))
    assert xx.__version__.count(".") == 2
