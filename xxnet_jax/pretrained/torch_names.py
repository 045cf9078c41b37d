"""PyTorch's names of modules -> ours, by family: torchvision's, and timm's where they differ."""

from typing import Any, NamedTuple

import numpy as np

from xxnet_jax.models.alexnet import AlexNet
from xxnet_jax.models.densenet import DenseNet
from xxnet_jax.models.googlenet import GoogLeNet
from xxnet_jax.models.inception import Inception
from xxnet_jax.models.inception_resnet import InceptionResNet
from xxnet_jax.models.layers import Network
from xxnet_jax.models.mobilenet import MobileNetV2
from xxnet_jax.models.nasnet import NASNet
from xxnet_jax.models.resnet import ResNet
from xxnet_jax.models.vgg import VGG
from xxnet_jax.pretrained.names import Names, Table, convolutions

ALEXNET = {
    **{f"features.{i}": f"conv{n}" for n, i in enumerate((0, 3, 6, 8, 10), start=1)},
    **{f"classifier.{i}": f"fc{n}" for n, i in enumerate((1, 4, 6), start=6)},
}

DENSENET = {
    "features.conv0": "conv1/conv",
    "features.norm0": "conv1/bn",
    "features.denseblock{s}.denselayer{b}.conv{i}": "conv{s+1}_block{b}/{i}/conv",
    "features.denseblock{s}.denselayer{b}.norm{i}": "conv{s+1}_block{b}/{i}/bn",
    "features.transition{s}.conv": "pool{s+1}/conv",
    "features.transition{s}.norm": "pool{s+1}/bn",
    "features.norm5": "bn",
    "classifier": "predictions",
}

BRANCHES = {
    "branch1": "1x1",
    "branch2.0": "3x3_reduce",
    "branch2.1": "3x3",
    "branch3.0": "5x5_reduce",  # 3x3 in fact, as the file's shapes say
    "branch3.1": "5x5",
    "branch4.1": "pool_proj",
}
GOOGLENET = {
    "conv1.{kind}": "conv1/{kind}",
    "conv2.{kind}": "conv2_reduce/{kind}",
    "conv3.{kind}": "conv2/{kind}",
    **{f"inception{{block}}.{a}.{{kind}}": f"inception_{{block}}/{b}/{{kind}}" for a, b in BRANCHES.items()},
    "aux{i}.conv.{kind}": "aux{i}/conv/{kind}",
    "aux{i}.fc1": "aux{i}/fc",
    "aux{i}.fc2": "aux{i}/logits",
    "fc": "logits",
}

MOBILENET_V2 = {
    # torchvision
    "features.0.0": "Conv1/conv",
    "features.0.1": "Conv1/bn",
    "features.1.conv.0.0": "expanded_conv_depthwise/conv",
    "features.1.conv.0.1": "expanded_conv_depthwise/bn",
    "features.1.conv.1": "expanded_conv_project/conv",
    "features.1.conv.2": "expanded_conv_project/bn",
    "features.18.0": "Conv_1/conv",
    "features.18.1": "Conv_1/bn",
    "features.{n}.conv.0.0": "block_{n-1}_expand/conv",
    "features.{n}.conv.0.1": "block_{n-1}_expand/bn",
    "features.{n}.conv.1.0": "block_{n-1}_depthwise/conv",
    "features.{n}.conv.1.1": "block_{n-1}_depthwise/bn",
    "features.{n}.conv.2": "block_{n-1}_project/conv",
    "features.{n}.conv.3": "block_{n-1}_project/bn",
    "classifier.1": "predictions",
    # timm
    "conv_stem": "Conv1/conv",
    "bn1": "Conv1/bn",
    "blocks.0.0.conv_dw": "expanded_conv_depthwise/conv",
    "blocks.0.0.bn1": "expanded_conv_depthwise/bn",
    "blocks.0.0.conv_pw": "expanded_conv_project/conv",
    "blocks.0.0.bn2": "expanded_conv_project/bn",
    **{
        f"blocks.{stage}.{{b}}.{theirs}": f"block_{{b+{first}}}_{ours}"
        for stage, first in enumerate((1, 3, 6, 10, 13, 16), start=1)
        for theirs, ours in {
            "conv_pw": "expand/conv",
            "bn1": "expand/bn",
            "conv_dw": "depthwise/conv",
            "bn2": "depthwise/bn",
            "conv_pwl": "project/conv",
            "bn3": "project/bn",
        }.items()
    },
    "conv_head": "Conv_1/conv",
    "bn2": "Conv_1/bn",
    "classifier": "predictions",
}

NASNET_CELLS = {
    **{f"cell_{n}": f"normal_{n + (n >= 6)}" for n in range(18)},
    **{f"reduction_cell_{n}": f"reduction_reduce_{6 * (n + 1)}" for n in range(2)},
    **{f"cell_stem_{n}": f"reduction_stem_{n + 1}" for n in range(2)},
}
NASNET_LAYERS = {
    "comb_iter_{b}_{side}.separable_{i}.{kind}_conv2d": "{side}{b+1}_{i}/{kind}",
    "comb_iter_{b}_{side}.bn_sep_{i}": "{side}{b+1}_{i}/bn",
    "conv_1x1.{kind}": "conv_1/{kind}",
    "conv_prev_1x1.{kind}": "adjust/{kind}",
    "path_1.conv": "adjust/conv_1",
    "path_2.conv": "adjust/conv_2",
    "final_path_bn": "adjust/bn",
}
NASNET = {
    "conv0.conv": "stem_conv1",
    "conv0.bn": "stem_bn1",
    **{f"{a}.{b}": f"{c}/{d}" for a, c in NASNET_CELLS.items() for b, d in NASNET_LAYERS.items()},
    "last_linear": "predictions",
}

RESNET = {
    "conv1": "conv1/conv",
    "bn1": "conv1/bn",
    "layer{s}.{b}.conv{i}": "conv{s+1}_block{b+1}_{i}/conv",
    "layer{s}.{b}.bn{i}": "conv{s+1}_block{b+1}_{i}/bn",
    "layer{s}.{b}.downsample.0": "conv{s+1}_block{b+1}_0/conv",
    "layer{s}.{b}.downsample.1": "conv{s+1}_block{b+1}_0/bn",
    "fc": "predictions",
    "linear": "predictions",  # of networks for CIFAR
}

# Their convolutions in the order in which they run, which is that of ours: modules of one form, and what each has.
INCEPTION_V3 = {
    "Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3 Conv2d_3b_1x1 Conv2d_4a_3x3": "",
    "Mixed_5b. Mixed_5c. Mixed_5d.": """branch1x1 branch5x5_1 branch5x5_2 branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3
        branch_pool""",
    "Mixed_6a.": "branch3x3 branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3",
    "Mixed_6b. Mixed_6c. Mixed_6d. Mixed_6e.": """branch1x1 branch7x7_1 branch7x7_2 branch7x7_3 branch7x7dbl_1
        branch7x7dbl_2 branch7x7dbl_3 branch7x7dbl_4 branch7x7dbl_5 branch_pool""",
    "Mixed_7a.": "branch3x3_1 branch3x3_2 branch7x7x3_1 branch7x7x3_2 branch7x7x3_3 branch7x7x3_4",
    "Mixed_7b. Mixed_7c.": """branch1x1 branch3x3_1 branch3x3_2a branch3x3_2b branch3x3dbl_1 branch3x3dbl_2
        branch3x3dbl_3a branch3x3dbl_3b branch_pool""",
}
INCEPTION_V4 = {
    "features.0 features.1 features.2 features.3.conv": "",
    "features.4.": "branch0.0 branch0.1 branch1.0 branch1.1 branch1.2 branch1.3",
    "features.5.conv": "",
    "features.6. features.7. features.8. features.9.": """branch0 branch1.0 branch1.1 branch2.0 branch2.1 branch2.2
        branch3.1""",
    "features.10.": "branch0 branch1.0 branch1.1 branch1.2",
    "features.11. features.12. features.13. features.14. features.15. features.16. features.17.": """branch0 branch1.0
        branch1.1 branch1.2 branch2.0 branch2.1 branch2.2 branch2.3 branch2.4 branch3.1""",
    "features.18.": "branch0.0 branch0.1 branch1.0 branch1.1 branch1.2 branch1.3",
    "features.19. features.20. features.21.": """branch0 branch1_0 branch1_1a branch1_1b branch2_0 branch2_1 branch2_2
        branch2_3a branch2_3b branch3.1""",
}


def inception(model: Any) -> Names:
    """Of v3 or v4, by the number of convolutions."""
    ours = convolutions(model)
    names = {
        "AuxLogits.conv0.{kind}": "AuxLogits/Conv2d_1b_1x1/{kind}",
        "AuxLogits.conv1.{kind}": "AuxLogits/Conv2d_2a_5x5/{kind}",
        "AuxLogits.fc": "AuxLogits/Logits",
        "fc": model.head[-1],
        "last_linear": model.head[-1],
    }
    for table in (INCEPTION_V3, INCEPTION_V4):
        theirs = [m + b for modules, inside in table.items() for m in modules.split() for b in inside.split() or [""]]
        if len(theirs) == len(ours):
            names |= {f"{a}.{{kind}}": f"{b}/{{kind}}" for a, b in zip(theirs, ours, strict=True)}
    return names


INCEPTION_RESNET = {
    **{
        f"{theirs}.{inside}": f"{ours}/{path}"
        for theirs, ours in {
            "repeat.{n}": "block35_{n+1}",
            "repeat_1.{n}": "block17_{n+1}",
            "repeat_2.{n}": "block8_{n+1}",
            "block8": "block8_10",
        }.items()
        for inside, path in {
            "branch0.{kind}": "mixed/branch0_conv0/{kind}",
            "branch{i}.{j}.{kind}": "mixed/branch{i}_conv{j}/{kind}",
            "conv2d": "up",
        }.items()
    },
    "{module}.branch0.{kind}": "{module}/branch0_conv0/{kind}",
    "{module}.branch{i}.{j}.{kind}": "{module}/branch{i}_conv{j}/{kind}",
    "conv2d_7b.{kind}": "conv_7b/{kind}",
    "{unit}.{kind}": "{unit}/{kind}",
    "classif": "predictions",
}


def vgg(model: Any) -> Names:
    """A Sequential of convolution, perhaps normalization, ReLU, and a pool behind each block."""
    names = {
        # torchvision
        "classifier.0": "fc1",
        "classifier.3": "fc2",
        "classifier.6": "predictions",
        # timm
        "pre_logits.fc1": "fc1",
        "pre_logits.fc2": "fc2",
        "head.fc": "predictions",
    }
    place = 0
    for block, depths in enumerate(model.blocks, start=1):
        for number in range(1, len(depths) + 1):
            unit = f"block{block}_conv{number}"
            names[f"features.{place}"] = f"{unit}/conv"
            if model.norm is not None:
                names[f"features.{place + 1}"] = f"{unit}/bn"
            place += 2 if model.norm is None else 3
        place += 1
    return names


TORCH: dict[type[Network], Table] = {
    AlexNet: ALEXNET,
    DenseNet: DENSENET,
    GoogLeNet: GOOGLENET,
    Inception: inception,
    InceptionResNet: INCEPTION_RESNET,
    MobileNetV2: MOBILENET_V2,
    NASNet: NASNET,
    ResNet: RESNET,
    VGG: vgg,
}

# Channels of the map whose pixels a dense layer takes: PyTorch flattens it channel by channel, we pixel by pixel.
FLATTENED: dict[type[Network], dict[str, int]] = {
    AlexNet: {"fc6": 256},
    GoogLeNet: {"aux1/fc": 128, "aux2/fc": 128},
    VGG: {"fc1": 512},
}


class Order(NamedTuple):
    """Where our inputs and features stand in a kernel of theirs; None: at the same places."""

    inputs: np.ndarray | None = None
    features: np.ndarray | None = None


def shortcuts_a(model: Any) -> dict[str, Order]:
    """Modules of a ResNet with shortcuts A -> order of their features.

    PyTorch's networks for CIFAR-10 put half of the new zeros before the features and half behind them; ours stand
    behind. The same networks, but for the order of the features that run along the shortcuts.
    """
    orders: dict[str, Order] = {}
    if model.shortcut != "A":
        return orders
    last, expansion = (2, 1) if model.block == "basic" else (3, model.expansion)
    stream = np.arange(model.stem_features)
    for stage, (depth, width) in enumerate(zip(model.depths, model.widths, strict=True), start=2):
        before, new = stream, expansion * width - len(stream)
        zeros = np.arange(new // 2), np.arange(new // 2 + len(before), expansion * width)
        stream = np.concatenate([before + new // 2, *zeros])
        for block in range(1, depth + 1):
            name = f"conv{stage}_block{block}"
            orders[f"{name}_1/conv"] = Order(inputs=before if block == 1 else stream)
            orders[f"{name}_{last}/conv"] = orders[f"{name}_{last}/bn"] = Order(features=stream)
    orders["predictions"] = Order(inputs=stream)
    return orders


ORDERS = {ResNet: shortcuts_a}
