"""Classic convolutional networks in JAX: the public names."""

from xxnet_jax.models import (
    ModelInfo,
    create_model,
    endpoints,
    list_models,
    model_info,
    register,
)
from xxnet_jax.version import __version__
