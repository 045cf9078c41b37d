"""Classic convolutional networks in JAX: the public names."""

from xxnet_jax.models import (
    ModelInfo,
    create_model,
    endpoints,
    list_models,
    model_info,
    register,
)
from xxnet_jax.optimizers import create_optimizer, list_optimizers, optimizer_info
from xxnet_jax.version import __version__

__all__ = [
    "ModelInfo",
    "__version__",
    "create_model",
    "create_optimizer",
    "endpoints",
    "list_models",
    "list_optimizers",
    "model_info",
    "optimizer_info",
    "register",
]
