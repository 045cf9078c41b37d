"""Networks of the zoo as the first part of a detector on regions, by name.

                map at 800 x 600    from
    vgg16       50 x 38 x 512       block5_conv3; pooling rounds up, as Caffe does
    zfnet       50 x 38 x 256       conv5; convolutions padded by half their kernel (3 and 2 pixels)
    resnet18    50 x 38 x 256       conv4_block2, with conv5 as the head ("C4")
    resnet50    50 x 38 x 1024      conv4_block6, the same; torchvision's, the stride in the 3x3
    small       100 x 75 x 128      seven 3x3 of 16 to 128 features with batch normalization, stride 8: our own, after
                                    darknet_tiny, for training on a CPU

The paper's Caffe networks for ZF pool with a pixel of padding, which makes 51 x 39 cells.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from xxnet_jax.detection.detector import remade
from xxnet_jax.errors import UnknownName
from xxnet_jax.models import Network, create_model
from xxnet_jax.models.alexnet import Convolution
from xxnet_jax.models.darknet import BATCH_NORM, table
from xxnet_jax.models.layers import Dtype, Stages
from xxnet_jax.models.resnet import ResNet
from xxnet_jax.models.zfnet import AS_IN_ALEXNET


class LastStage(ResNet):
    """The last stage of a ResNet alone, on a map of features; its parameters have the same names."""

    def features(self, x: jax.Array, *, train: bool) -> Stages:
        stage = len(self.depths) + 1
        for number in range(1, self.depths[-1] + 1):
            block = f"conv{stage}_block{number}"
            x = self._block(block, x, self.widths[-1], self._stride(stage, number), 0.0, train=train)
            yield f"{block}_out", x


@dataclass(frozen=True)
class Backbone:
    """A network of the zoo as the first part of a detector.

    Attributes:
        model: registered name.
        endpoint: where it ends.
        stride: of the map there, in pixels.
        knobs: of the network.
        last_stage: the rest of the network, a residual stage, is the head.
    """

    model: str
    endpoint: str
    stride: int
    knobs: dict[str, Any] = field(default_factory=dict)
    last_stage: bool = False


_ZF = (
    Convolution(96, 7, stride=2, padding=3, norm=True, pool=True),
    Convolution(256, 5, stride=2, padding=2, norm=True, pool=True),
    *AS_IN_ALEXNET,
)
_SMALL = table("3x3 16", "3x3 32", "3x3 64, 3x3 64", "3x3 128, 3x3 128, 3x3 128")
BACKBONES: dict[str, Backbone] = {
    "vgg16": Backbone("vgg16", "block5_conv3", 16, {"pool_padding": "CEIL"}),
    "zfnet": Backbone("zfnet", "conv5", 16, {"convolutions": _ZF, "pool_padding": "SAME"}),
    "resnet18": Backbone("resnet18", "conv4_block2_out", 16, last_stage=True),
    "resnet50": Backbone("resnet50.torchvision", "conv4_block6_out", 16, last_stage=True),
    "small": Backbone("darknet_tiny", "conv7", 8, {"stages": _SMALL, "norm": BATCH_NORM}),
}


class Parts(NamedTuple):
    """What a detector is built on.

    Attributes:
        backbone: a network that ends at a map of features.
        stride: of that map, in pixels.
        stage: the head, or None for dense layers.
    """

    backbone: Network
    stride: int
    stage: Network | None


def create_parts(backbone: str, *, dtype: Dtype = jnp.float32, param_dtype: Dtype = jnp.float32, **knobs: Any) -> Parts:
    """The parts by the name of the backbone.

    Args:
        backbone: a name of `BACKBONES`.
        dtype: of the computation.
        param_dtype: of the parameters.
        **knobs: of the backbone's network, in place of the table's.

    Raises:
        ValueError: no such backbone or knob.
    """
    if backbone not in BACKBONES:
        raise UnknownName("backbone", backbone, BACKBONES)
    chosen = BACKBONES[backbone]
    options: dict[str, Any] = {"num_classes": None, "dtype": dtype, "param_dtype": param_dtype}
    options |= chosen.knobs | knobs
    network = create_model(chosen.model, final_endpoint=chosen.endpoint, **options)
    stage = None
    if chosen.last_stage:
        stage = remade(create_model(chosen.model, **options), LastStage)
    return Parts(network, chosen.stride, stage)
