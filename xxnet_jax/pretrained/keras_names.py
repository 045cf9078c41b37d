"""Keras's names of layers -> ours, by family. `conv2d_0`, ... are convolutions without a name, in their order."""

from xxnet_jax.models.densenet import DenseNet
from xxnet_jax.models.inception import Inception
from xxnet_jax.models.inception_resnet import InceptionResNet
from xxnet_jax.models.layers import Network
from xxnet_jax.models.mobilenet import MobileNet, MobileNetV2
from xxnet_jax.models.nasnet import NASNet
from xxnet_jax.models.resnet import ResNet
from xxnet_jax.models.vgg import VGG
from xxnet_jax.models.xception import Xception
from xxnet_jax.pretrained.names import Names, Table, convolutions

DENSE = {"predictions": "predictions"}

# conv2_block1_0_bn stands before conv2_block1_1_conv: it is of layer 1 here.
DENSENET = {
    "conv1_{kind}": "conv1/{kind}",
    "conv{s}_block{b}_{i}_bn": "conv{s}_block{b}/{i+1}/bn",
    "conv{s}_block{b}_{i}_conv": "conv{s}_block{b}/{i}/conv",
    "pool{s}_{kind}": "pool{s}/{kind}",
    "bn": "bn",
    **DENSE,
}

MOBILENET = {"conv_preds": "conv_preds", "{unit}_bn": "{unit}/bn", "{unit}": "{unit}/conv"}

MOBILENET_V2 = {
    **DENSE,
    "bn_Conv1": "Conv1/bn",
    "Conv_1_bn": "Conv_1/bn",
    "{unit}_BN": "{unit}/bn",
    "{unit}": "{unit}/conv",
}


def separable(unit: str) -> str:
    """A SeparableConv2D has both kernels."""
    return f"{unit}/depthwise {unit}/pointwise"


NASNET = {
    "stem_conv1": "stem_conv1",
    "stem_bn1": "stem_bn1",
    # What Keras calls left4 in a reduction cell is the fifth sum.
    "separable_conv_{i}_bn_reduction_left4_{cell}": "reduction_{cell}/left5_{i}/bn",
    "separable_conv_{i}_reduction_left4_{cell}": separable("reduction_{cell}/left5_{i}"),
    "separable_conv_{i}_bn_{kind}_{side}{b}_{cell}": "{kind}_{cell}/{side}{b}_{i}/bn",
    "separable_conv_{i}_{kind}_{side}{b}_{cell}": separable("{kind}_{cell}/{side}{b}_{i}"),
    # adjust_bn_3 is of a normal cell, adjust_bn_reduce_4 and adjust_bn_stem_2 are of reduction cells.
    **{
        f"adjust_{theirs}_{cell}": f"{kind}_{cell}/adjust/{ours}"
        for kind, cells in {"normal": ["{n}"], "reduction": ["stem_{n}", "reduce_{n}"]}.items()
        for cell in cells
        for theirs, ours in {"bn": "bn", "conv_1": "conv_1", "conv_2": "conv_2", "conv_projection": "conv"}.items()
    },
    "{kind}_conv_1_{cell}": "{kind}_{cell}/conv_1/conv",
    "{kind}_bn_1_{cell}": "{kind}_{cell}/conv_1/bn",
    **DENSE,
}

RESNET = {
    "{block}_preact_bn": "{block}_preact",
    "post_bn": "post",
    "{unit}_conv": "{unit}/conv",
    "{unit}_bn": "{unit}/bn",
    **DENSE,
}

VGG_16_19 = {
    "block{b}_conv{i}": "block{b}_conv{i}/conv",
    "fc{n}": "fc{n}",
    **DENSE,
}

XCEPTION = {
    "block1_conv{i}": "block1_conv{i}/conv",
    "{unit}_bn": "{unit}/bn",
    "block{b}_sepconv{i}": separable("block{b}_sepconv{i}"),
    **{f"conv2d_{i}": f"block{block}_shortcut/conv" for i, block in enumerate((2, 3, 4, 13))},
    **{f"batch_normalization_{i}": f"block{block}_shortcut/bn" for i, block in enumerate((2, 3, 4, 13))},
    **DENSE,
}


def inception(model: Network) -> Names:
    """All convolutions are without a name."""
    units = list(enumerate(convolutions(model)))
    return {
        **{f"conv2d_{i}": f"{unit}/conv" for i, unit in units},
        **{f"batch_normalization_{i}": f"{unit}/bn" for i, unit in units},
        **DENSE,
    }


def inception_resnet(model: Network) -> Names:
    """All but the last of a block and of the network."""
    unnamed = list(enumerate(unit for unit in convolutions(model) if unit != "conv_7b"))
    return {
        "conv_7b": "conv_7b/conv",
        "conv_7b_bn": "conv_7b/bn",
        "{block}_conv": "{block}/up",
        **{f"conv2d_{i}": f"{unit}/conv" for i, unit in unnamed},
        **{f"batch_normalization_{i}": f"{unit}/bn" for i, unit in unnamed},
        **DENSE,
    }


KERAS: dict[type[Network], Table] = {
    DenseNet: DENSENET,
    Inception: inception,
    InceptionResNet: inception_resnet,
    MobileNet: MOBILENET,
    MobileNetV2: MOBILENET_V2,
    NASNet: NASNET,
    ResNet: RESNET,
    VGG: VGG_16_19,
    Xception: XCEPTION,
}
