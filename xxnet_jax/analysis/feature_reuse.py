"""Which earlier layers the layers of a DenseNet use.

Huang, Liu, van der Maaten, Weinberger: Densely Connected Convolutional Networks (2016, arXiv 1608.06993), section 5,
"Feature Reuse", and Figure 5.
"""

from typing import Any

import numpy as np

from xxnet_jax.errors import InvalidArgument
from xxnet_jax.models import Network
from xxnet_jax.models.densenet import DenseNet


def feature_reuse(model: Network, variables: Any) -> dict[str, np.ndarray]:
    """The mean |weight| with which each layer takes from each source, in every dense block.

    The weights are those of the first convolution of a layer, the one that sees all sources. A column of the figure is
    a layer: the mean is over the features of the source, the places of the kernel and the features that come of it.

    Args:
        model: a DenseNet of any variant.
        variables: of it.

    Returns:
        Name of the block, such as "conv2" -> float64 [sources, layers]. Sources: the input of the block, then the
        outputs of its layers. Layers: those of the block, then the transition or the classifier behind it, if there is
        one. NaN where a layer does not see a source.

    Raises:
        ValueError: another network.
    """
    if not isinstance(model, DenseNet):
        raise InvalidArgument(f"only DenseNets have dense blocks, got a {type(model).__name__}")
    params = variables["params"]
    first = "2" if model.bottleneck is None else "1"
    blocks = {}
    for number, depth in enumerate(model.depths, start=2):
        block = f"conv{number}"
        kernels = [params[f"{block}_block{layer}"][first]["conv"]["kernel"] for layer in range(1, depth + 1)]
        if f"pool{number}" in params:
            kernels.append(params[f"pool{number}"]["conv"]["kernel"])
        elif "predictions" in params:
            kernels.append(params["predictions"]["kernel"])
        block_inputs = kernels[0].shape[-2]
        starts = [0, *range(block_inputs, block_inputs + depth * model.growth_rate, model.growth_rate)]
        means = np.full((depth + 1, len(kernels)), np.nan)
        for layer, kernel in enumerate(kernels):
            strength = np.abs(np.asarray(kernel, np.float64)).reshape(-1, *kernel.shape[-2:]).mean((0, 2))
            for source, values in enumerate(np.split(strength, starts[1 : min(layer, depth) + 1])):
                means[source, layer] = values.mean()
        blocks[block] = means
    return blocks
