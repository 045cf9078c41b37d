"""Kernels of a network, in the order in which it uses them."""

from typing import Any

import jax
import numpy as np

from xxnet_jax.models import Network, observe
from xxnet_jax.parameters import abstract_variables


def convolution_kernels(model: Network, variables: Any, input_shape: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """The kernels of the convolutions, in the order of the computation.

    Args:
        model: a network of the zoo.
        variables: of it.
        input_shape: height, width and channels of its images.

    Returns:
        path of the layer, such as "conv2_block1/1/conv" -> float32 [height, width, in, out].
    """
    paths: list[str] = []
    abstract, images = abstract_variables(model, input_shape)
    jax.eval_shape(lambda v, x: paths.extend(observe(model, v, x)[1]["responses"]), abstract, images)
    kernels = {path: np.asarray(_at(variables["params"], path)["kernel"], np.float32) for path in dict.fromkeys(paths)}
    return {path: kernel for path, kernel in kernels.items() if kernel.ndim == 4}


def _at(tree: Any, path: str) -> Any:
    for name in path.split("/"):
        tree = tree[name]
    return tree
