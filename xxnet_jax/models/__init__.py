"""The networks. Importing this package registers them all."""

from xxnet_jax.models import (  # noqa: F401 (they register their networks)
    alexnet,
    darknet,
    deepobs,
    densenet,
    googlenet,
    inception,
    inception_resnet,
    lenet,
    mobilenet,
    nasnet,
    nin,
    resnet,
    vgg,
    xception,
    zfnet,
)
from xxnet_jax.models.endpoints import endpoints, observe
from xxnet_jax.models.folding import fold_batch_norm
from xxnet_jax.models.layers import Network
from xxnet_jax.models.registry import (
    ModelInfo,
    count_parameters,
    create_model,
    list_models,
    model_info,
    register,
)

__all__ = [
    "ModelInfo",
    "Network",
    "count_parameters",
    "create_model",
    "endpoints",
    "fold_batch_norm",
    "list_models",
    "model_info",
    "observe",
    "register",
]
