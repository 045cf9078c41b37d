"""Files of Darknet (Redmon, pjreddie.com/darknet): a network as text, `.cfg`, and its numbers, `.weights`.

A file of weights has no names: three 32-bit integers (major, minor and revision of the format), how many images were
seen (64 bits from 0.2 on, before 32), and then float32 numbers alone, for each convolution in the order of the `.cfg`
bias, with batch normalization its scale, mean and variance, and the kernel [features, inputs, rows, columns]. So the
`.cfg` says what they are; it must describe the network that they are for, layer by layer.

    load_darknet("darknet19", "darknet19.cfg", "darknet19.weights")
    load_yolo_v2("darknet19", "yolov2-voc.cfg", "yolov2-voc.weights")
    load_yolo_v2("darknet_tiny", "yolov2-tiny-voc.cfg", "yolov2-tiny-voc.weights")
    load_yolo_v2("darknet_tiny", "yolov2-tiny.cfg", "yolov2-tiny.weights", head=(1024, 512))      COCO

Images are RGB, scaled to [0, 1] (preprocessing "unit").
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import flax.traverse_util
import jax.numpy as jnp
import numpy as np

from xxnet_jax.detection.wordtree import WordTree
from xxnet_jax.detection.yolo9000 import create_yolo9000
from xxnet_jax.detection.yolo_v2 import YoloV2, YoloV2Settings, create_yolo_v2
from xxnet_jax.errors import CorruptData, InvalidArgument, MissingData
from xxnet_jax.models import create_model, model_info
from xxnet_jax.models.darknet import Darknet
from xxnet_jax.parameters import abstract_variables

NETWORK = ("net", "network")
KEEP_CHANNELS = ("maxpool", "avgpool", "softmax", "cost", "dropout", "region")
REFUSED = ("groups", "flipped", "binary", "xnor", "dontload", "dontloadscales")  # that change what is in the file


# --- .cfg ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Section:
    """A section of a `.cfg`.

    Attributes:
        kind: such as "convolutional".
        options: name -> text.
        where: file and line, for messages.
    """

    kind: str
    options: Mapping[str, str]
    where: str

    def integer(self, name: str, default: int) -> int:
        """An option that is a whole number.

        Raises:
            ValueError: it is not.
        """
        text = self.options.get(name, str(default))
        try:
            return int(text)
        except ValueError as error:
            raise CorruptData(f"{self.where}: {name}={text} is not a whole number") from error

    def numbers(self, name: str, default: str) -> list[float]:
        """An option that is a list of numbers.

        Raises:
            ValueError: it is not.
        """
        text = self.options.get(name, default)
        try:
            return [float(word) for word in text.split(",") if word.strip()]
        except ValueError as error:
            raise CorruptData(f"{self.where}: {name}={text} is not a list of numbers") from error


def read_cfg(path: str | Path) -> list[Section]:
    """The sections of a `.cfg`, that of the network first.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a file.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingData(f"there is no configuration {path}")
    found: list[tuple[str, dict[str, str], str]] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise CorruptData(f"{path} is no configuration of Darknet: it is not text") from error
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text[0] in "#;":
            continue
        name, equals, value = text.partition("=")
        if text.startswith("[") and text.endswith("]"):
            found.append((text[1:-1].strip(), {}, f"{path}, line {number}"))
        elif equals and found:
            found[-1][1][name.strip()] = value.strip()
        else:
            raise CorruptData(f"{path}, line {number}: expected [section] or name=value, got {text[:80]}")
    sections = [Section(*each) for each in found]
    if not sections or sections[0].kind not in NETWORK:
        raise CorruptData(f"{path} is no configuration of Darknet: its first section is not [net]")
    return sections


class Unit(NamedTuple):
    """A convolution of a `.cfg`.

    Attributes:
        size, inputs, features: of the kernel.
        norm: whether its output is normalized.
        activation: such as "leaky".
        where: file and line, for messages.
    """

    size: int
    inputs: int
    features: int
    norm: bool
    activation: str
    where: str


def convolutions_of(sections: Sequence[Section]) -> list[Unit]:
    """The convolutions of a network in their order, with the channels that reach them.

    Raises:
        ValueError: a layer of another kind than Darknet-19's and YOLO v2's, or one that refers to a layer that is not
            there.
    """
    channels = [sections[0].integer("channels", 3)]  # of the images, then behind each layer
    units: list[Unit] = []
    for section in sections[1:]:
        inputs = channels[-1]
        if section.kind in ("convolutional", "conv"):
            for name in REFUSED:
                if section.integer(name, 0) > (name == "groups"):
                    raise InvalidArgument(f"{section.where}: convolutions with {name} are not read")
            size, features = section.integer("size", 1), section.integer("filters", 1)
            if min(size, features) < 1:
                raise CorruptData(f"{section.where}: size and filters must be 1 or more, got {size} and {features}")
            norm = section.integer("batch_normalize", 0) != 0
            units.append(
                Unit(size, inputs, features, norm, section.options.get("activation", "logistic"), section.where)
            )
            channels.append(features)
        elif section.kind == "reorg":
            channels.append(inputs * section.integer("stride", 1) ** 2)
        elif section.kind == "route":
            channels.append(_routed(section, channels))
        elif section.kind in KEEP_CHANNELS:
            channels.append(inputs)
        else:
            known = ", ".join(("convolutional", "reorg", "route", *KEEP_CHANNELS))
            raise InvalidArgument(f"{section.where}: layers [{section.kind}] are not read; those that are: {known}")
    return units


def _routed(section: Section, channels: list[int]) -> int:
    """The channels of all layers that a route names, by number from 0 or counted back from itself."""
    here = len(channels) - 1  # number of this layer
    total = 0
    for number in section.numbers("layers", ""):
        layer = int(number) + here if number < 0 else int(number)
        if not 0 <= layer < here:
            raise CorruptData(f"{section.where}: route to layer {int(number)}, which is not before it")
        total += channels[layer + 1]
    if not total:
        raise CorruptData(f"{section.where}: route without layers")
    return total


# --- .weights --------------------------------------------------------------------------------------------------------


class Arrays(NamedTuple):
    """What a file has of a convolution, in our layout.

    Attributes:
        kernel: float32 [size, size, inputs, features].
        bias: float32 [features].
        scale, mean, var: of the normalization, or None.
    """

    kernel: np.ndarray
    bias: np.ndarray
    scale: np.ndarray | None = None
    mean: np.ndarray | None = None
    var: np.ndarray | None = None


def read_arrays(path: str | Path, units: Sequence[Unit]) -> list[Arrays]:
    """The arrays of convolutions in a file of weights.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it has too few numbers for them, or too many.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingData(f"there is no file of weights {path}")
    content = path.read_bytes()
    if len(content) < 16:
        raise CorruptData(f"{path} is no file of weights of Darknet: it has {len(content)} bytes, less than its header")
    major, minor, _ = struct.unpack("<3i", content[:12])
    wide = major * 10 + minor >= 2 and major < 1000 and minor < 1000
    header = 20 if wide else 16
    numbers, left_over = divmod(len(content) - header, 4)
    wanted = sum(unit.features * (1 + 3 * unit.norm + unit.inputs * unit.size**2) for unit in units)
    if left_over or numbers != wanted:
        raise CorruptData(
            f"{path} has {(len(content) - header) / 4:,.10g} numbers behind its header of version {major}.{minor}, the "
            f"{len(units)} convolutions of the configuration have {wanted:,}: it is cut off, or of another network"
        )
    values = np.frombuffer(content, "<f4", wanted, header)
    place = 0

    def take(count: int) -> np.ndarray:
        nonlocal place
        place += count
        return values[place - count : place]

    found = []
    for unit in units:
        bias = take(unit.features)
        normalization = [take(unit.features) for _ in range(3)] if unit.norm else []
        kernel = take(unit.features * unit.inputs * unit.size**2)
        kernel = kernel.reshape(unit.features, unit.inputs, unit.size, unit.size).transpose(2, 3, 1, 0)
        found.append(Arrays(kernel, bias, *normalization))
    return found


def variables_of(
    model: nn.Module,
    names: Sequence[str],
    image_shape: tuple[int, int, int],
    sections: Sequence[Section],
    weights: str | Path,
) -> dict[str, Any]:
    """Variables of a network from a file of weights.

    Args:
        model: the network.
        names: of its convolutions, in the order in which the `.cfg` has them, such as "backbone/conv1".
        image_shape: of an image that it takes.
        sections: of the `.cfg`.
        weights: the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the `.cfg` has other convolutions, all of which are listed; or the file does not have their numbers.
    """
    variables, _ = abstract_variables(model, image_shape)
    flat: dict[str, Any] = flax.traverse_util.flatten_dict(dict(variables), sep="/")
    wanted = {path: leaf for path, leaf in flat.items() if path.startswith(("params/", "batch_stats/"))}
    units = convolutions_of(sections)
    complaints = [
        f"{unit.where}: {_described(unit)}, but {name} is {_described(expected)}"
        for name, unit in zip(names, units, strict=False)
        if unit[:-1] != (expected := _expected(name, wanted))[:-1]
    ]
    if len(names) != len(units):
        complaints.append(f"it has {len(units)} convolutions, the network {len(names)}")
    if complaints:
        raise InvalidArgument("\n  ".join(["the configuration is not that of this network:", *complaints]))
    leaves: dict[str, np.ndarray] = {}
    for name, arrays in zip(names, read_arrays(weights, units), strict=True):
        leaves |= _leaves(name, arrays, wanted)
    assert leaves.keys() == wanted.keys()
    ours = {path: jnp.asarray(leaves[path], leaf.dtype) for path, leaf in wanted.items()}
    return flax.traverse_util.unflatten_dict(ours, sep="/")


def _expected(name: str, wanted: Mapping[str, Any]) -> Unit:
    """What the `.cfg` should say of one of our convolutions: the one behind which nothing stands is no `ConvUnit`."""
    alone = f"params/{name}/kernel"
    size, _, inputs, features = wanted[alone if alone in wanted else f"params/{name}/conv/kernel"].shape
    norm = f"params/{name}/bn/bias" in wanted
    return Unit(size, inputs, features, norm, "linear" if alone in wanted else "leaky", "")


def _described(unit: Unit) -> str:
    norm = "with" if unit.norm else "without"
    return f"{unit.size}x{unit.size} {unit.inputs} to {unit.features} {norm} batch_normalize, {unit.activation}"


def _leaves(name: str, arrays: Arrays, wanted: Mapping[str, Any]) -> dict[str, np.ndarray]:
    if f"params/{name}/kernel" in wanted:
        return {f"params/{name}/kernel": arrays.kernel, f"params/{name}/bias": arrays.bias}
    kernel = {f"params/{name}/conv/kernel": arrays.kernel}
    if arrays.scale is None or arrays.mean is None or arrays.var is None:
        return {**kernel, f"params/{name}/conv/bias": arrays.bias}
    return {
        **kernel,
        f"params/{name}/bn/scale": arrays.scale,
        f"params/{name}/bn/bias": arrays.bias,
        f"batch_stats/{name}/bn/mean": arrays.mean,
        f"batch_stats/{name}/bn/var": arrays.var,
    }


# --- Networks --------------------------------------------------------------------------------------------------------


def load_darknet(
    name: str,
    cfg: str | Path,
    weights: str | Path,
    *,
    num_classes: int | Literal["published"] | None = "published",
    **knobs: Any,
) -> dict[str, Any]:
    """Variables of `create_model(name, num_classes=num_classes, **knobs)`, a Darknet, from its authors' files.

    Args:
        name: a registered network, such as "darknet19".
        cfg: `.cfg`; one that ends before the classifier needs num_classes None.
        weights: `.weights`.
        num_classes: as in `create_model`.
        **knobs: as in `create_model`.

    Returns:
        {"params": ..., "batch_stats": ...}, as `model.init` has it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file is broken, or not of this network, or the network is no Darknet.
    """
    model = create_model(name, num_classes=num_classes, **knobs)
    if not isinstance(model, Darknet):
        raise InvalidArgument(f"{name} is no network of Darknet")
    count = sum(map(len, model.stages)) + (num_classes is not None)
    names = [f"conv{number}" for number in range(1, count + 1)]
    return variables_of(model, names, model_info(name).input_shape, read_cfg(cfg), weights)


def load_yolo_v2(
    backbone: str, cfg: str | Path, weights: str | Path, *, tree: WordTree | None = None, **options: Any
) -> tuple[YoloV2, dict[str, Any]]:
    """The detector that a `.cfg` of YOLO v2 describes, with the variables of its file of weights.

    Anchors, weights of the loss and the number of classes are those of its section [region].

    Args:
        backbone: a name of `xxnet_jax.detection.yolo_v2.BACKBONES`.
        cfg: `.cfg`.
        weights: `.weights`.
        tree: of the classes, for YOLO9000.
        **options: of `create_yolo_v2`, where the file differs from the table there.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file is broken, or not of this network.
    """
    sections = read_cfg(cfg)
    region = next((section for section in sections if section.kind == "region"), None)
    if region is None:
        raise InvalidArgument(f"{cfg} is not that of a YOLO v2: it has no section [region]")
    classes = region.integer("classes", 20)
    if ("tree" in region.options) != (tree is not None):
        raise InvalidArgument(f"{region.where}: classes with a tree need that tree, others none: `tree=`")
    if tree is None:
        model = create_yolo_v2(backbone, classes, _settings(region), **options)
    elif len(tree) != classes:
        raise InvalidArgument(f"{region.where}: {classes} classes, but the tree has {len(tree)}")
    else:
        model = create_yolo9000(backbone, tree, _settings(region), **options)
    around = model.around
    names = [f"backbone/conv{number}" for number in range(1, sum(map(len, model.backbone.stages)) + 1)]
    names += [f"head{number}" for number in range(1, len(around.head) + 1)]
    if around.passthrough is not None:
        names += ["passthrough", "fused"] if around.squeezed else ["fused"]
    side = 2 * around.stride
    return model, variables_of(model, [*names, "prediction"], (side, side, 3), sections, weights)


def _settings(region: Section) -> YoloV2Settings:
    """Those of a section [region], with Darknet's defaults."""
    sides = region.numbers("anchors", "")
    count = region.integer("num", 1)
    if len(sides) != 2 * count:
        raise CorruptData(f"{region.where}: expected 2 x {count} numbers in anchors, got {len(sides)}")
    if region.integer("coords", 4) != 4 or region.integer("softmax", 0) != 1:
        raise InvalidArgument(f"{region.where}: only coords=4 and softmax=1 are read")

    def number(name: str, default: float) -> float:
        (value,) = region.numbers(name, str(default)) or [default]
        return value

    return YoloV2Settings(
        anchors=tuple(zip(sides[::2], sides[1::2], strict=True)),
        coordinate_weight=number("coord_scale", 1),
        object_weight=number("object_scale", 1),
        background_weight=number("noobject_scale", 1),
        class_weight=number("class_scale", 1),
        ignore_iou=number("thresh", 0.5),
        rescore=region.integer("rescore", 0) != 0,
    )
