"""Batch normalization made part of the convolution before it, for inference."""

from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp

from xxnet_jax.models.convolution import Conv
from xxnet_jax.models.layers import Network
from xxnet_jax.models.normalization import FOLDED, BatchNorm

Path = tuple[str, ...]


def fold_batch_norm(model: Network, variables: dict[str, Any], image_shape: tuple[int, int, int]) -> dict[str, Any]:
    """Variables with which `model.apply(..., train=False)` gives the same, and no convolution's output is normalized.

    With f = scale / sqrt(var + epsilon) the kernel becomes f kernel, and the bias of the normalization
    bias + f (b - mean), where b is that of the convolution; the normalization then only adds it (Jacob et al., 2018,
    section 3.2, without quantization). A normalization that does not stand right behind a convolution, in one unit with
    it, stays as it is, and so does the model. The variables are for inference alone.

    Args:
        model: a network.
        variables: "params" and "batch_stats".
        image_shape: (height, width, channels) of images that it can take.
    """
    pairs = _convolutions_before_norms(model, variables, image_shape)
    params: dict[Path, Any]
    statistics: dict[Path, Any]
    params, statistics = (
        dict(flax.traverse_util.flatten_dict(variables.get(name, {}))) for name in ("params", "batch_stats")
    )
    for conv, (norm, epsilon) in pairs.items():
        factor = jax.lax.rsqrt(statistics.pop((*norm, "var")) + epsilon)
        if (*norm, "scale") in params:
            factor = factor * params.pop((*norm, "scale"))
        bias = params.pop((*conv, "bias"), None)
        offset = (0 if bias is None else bias) - statistics.pop((*norm, "mean"))
        kernel = params[*conv, "kernel"]
        params[*conv, "kernel"] = (kernel * factor.reshape(*[1] * (kernel.ndim - 1), -1)).astype(kernel.dtype)
        if bias is not None:
            params[*conv, "bias"] = jnp.zeros_like(bias)
        params[*norm, "bias"] = params[*norm, "bias"] + (offset * factor).astype(params[*norm, "bias"].dtype)
        statistics[*norm, FOLDED] = jnp.ones((), bool)
    return {
        **variables,
        "params": flax.traverse_util.unflatten_dict(params),
        "batch_stats": flax.traverse_util.unflatten_dict(statistics),
    }


def _convolutions_before_norms(
    model: Network, variables: dict[str, Any], image_shape: tuple[int, int, int]
) -> dict[Path, tuple[Path, float]]:
    """Path of each convolution -> path of the normalization of the same unit that takes its output, and its epsilon.

    What a convolution gives beyond its unit may be used in more places than one.
    """
    outputs: dict[int, tuple[jax.Array, Path]] = {}  # with the array, so that no other gets its id
    pairs: dict[Path, tuple[Path, float]] = {}

    def listen(next_function: Any, arguments: Any, keywords: Any, context: Any) -> Any:
        module = context.module
        if isinstance(module, BatchNorm) and context.method_name == "__call__":
            _, conv = outputs.get(id(arguments[0]), (None, ()))
            if conv and conv[:-1] == module.path[:-1]:
                pairs[conv] = (module.path, module.epsilon)
        y = next_function(*arguments, **keywords)
        if isinstance(module, Conv) and context.method_name == "__call__":
            outputs[id(y)] = (y, module.path)
        return y

    with nn.intercept_methods(listen):
        images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
        jax.eval_shape(lambda variables, images: model.apply(variables, images, train=False), variables, images)
    return pairs
