"""Files of weights as arrays by layer: Keras, PyTorch, TFLite, safetensors. Nothing in them is executed."""

import io
import re
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np

from xxnet_jax.errors import CorruptData, MissingData, XXNetError

OURS = "xxnet_jax"
Framework = Literal["keras", "torch", "tflite", "xxnet_jax"]
Layers = dict[str, dict[str, np.ndarray]]  # layer -> role of an array in it -> array, in the framework's layout


class Weights(NamedTuple):
    """What a file of weights has.

    Attributes:
        framework: whose names and layouts it has.
        layers: the arrays. Keras's are numbered in the order of `layer.weights`; PyTorch's have the last part of the
            key, such as "running_mean"; those of TFLite are "weight" and "bias", as real numbers.
        metadata: of our own files.
    """

    framework: Framework
    layers: Layers
    metadata: Mapping[str, str] = MappingProxyType({})


def read_weights(path: Path) -> Weights:
    """The weights in a file; its kind is told by its content.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is of no known kind, or broken.
        XXNetError: a package that reads it is not installed.
    """
    if not path.is_file():
        raise MissingData(f"there is no file of weights {path}")
    return _reader(path)(path)


def _reader(path: Path) -> Callable[[Path], Weights]:
    with path.open("rb") as file:
        head = file.read(16)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return read_keras_h5
    if head[4:8] == b"TFL3":
        return read_tflite
    if head[8:9] == b"{":
        return read_safetensors
    if head.startswith(b"PK"):
        with _broken(path, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
            return read_keras if "config.json" in archive.namelist() else read_torch
    if head.startswith(b"\x80"):  # a pickle, as PyTorch wrote before 1.6: only its own reader may open it
        return read_torch
    raise CorruptData(
        f"{path} is no file of weights, or its beginning is lost: expected Keras (.h5, .weights.h5, .keras), PyTorch "
        "(.pth, .pt), safetensors or TFLite"
    )


# --- Keras ------------------------------------------------------------------------------------------------------------

# What Keras calls a layer that was given no name; a number follows from the second on.
_UNNAMED = re.compile(r"(conv2d|batch_normalization|dense|depthwise_conv2d|separable_conv2d)(?:_(\d+))?")


def read_keras_h5(path: Path) -> Weights:
    """A legacy .h5 of weights or of a whole model, or Keras 3's .weights.h5."""
    h5py = _package("h5py", "h5py")
    with _broken(path, OSError, KeyError, RuntimeError), h5py.File(path) as file:
        return keras_weights(_keras_layers(file))


def read_keras(path: Path) -> Weights:
    """A .keras archive: its weights. The configuration is not read, and no layer is built from it."""
    h5py = _package("h5py", "h5py")
    with _broken(path, OSError, KeyError, RuntimeError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        content = io.BytesIO(archive.read("model.weights.h5"))
        with h5py.File(content) as file:
            return keras_weights(_keras_layers(file))


def keras_weights(layers: Iterable[tuple[str, Sequence[np.ndarray]]]) -> Weights:
    """Names of layers with their `layer.get_weights()`."""
    arrays = {name: {str(i): array for i, array in enumerate(found)} for name, found in layers if len(found)}
    if not arrays:
        raise CorruptData("there are no layers with weights: was this written by Keras?")
    return Weights("keras", _numbered_from_0(arrays))


def _keras_layers(file: Any) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Names of layers, and the arrays of each in the order of `layer.weights`."""
    if "layers" in file:
        yield from _keras_3_layers(file["layers"])
        return
    group = file.get("model_weights", file)
    for name in _texts(group.attrs["layer_names"]):
        yield name, [np.asarray(group[name][weight]) for weight in _texts(group[name].attrs["weight_names"])]


def _keras_3_layers(layers: Any) -> Iterator[tuple[str, list[np.ndarray]]]:
    for group in layers.values():
        if "vars" in group:
            variables = group["vars"]
            yield variables.attrs["name"], [np.asarray(variables[str(i)]) for i in range(len(variables))]


def _texts(names: Any) -> list[str]:
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _numbered_from_0(layers: Layers) -> Layers:
    """Layers without a name of their own as conv2d_0, conv2d_1, ..., in the order in which they were made.

    Keras counts them through a whole session: those of a file may begin anywhere.
    """
    renamed: dict[str, str] = {}
    kinds: dict[str, list[tuple[int, str]]] = {}
    for name in layers:
        if found := _UNNAMED.fullmatch(name):
            kinds.setdefault(found[1], []).append((int(found[2] or 0), name))
    for kind, members in kinds.items():
        renamed |= {name: f"{kind}_{i}" for i, (_, name) in enumerate(sorted(members))}
    return {renamed.get(name, name): arrays for name, arrays in layers.items()}


# --- PyTorch ----------------------------------------------------------------------------------------------------------


def read_torch(path: Path) -> Weights:
    """A state dict of PyTorch, read by `torch.load(weights_only=True)`, which executes nothing."""
    torch = _package("torch", "torch")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what its parts raise: pickle's, zip's, its own
        reason = str(error).splitlines()[0]
        raise CorruptData(f"PyTorch refuses {path} as a file of tensors alone: {reason}") from error
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(torch.is_tensor(tensor) for tensor in state.values()):
        raise CorruptData(f"{path} has no state dict: save `model.state_dict()`")
    return torch_weights({key: tensor.detach().numpy() for key, tensor in state.items()})


def torch_weights(state: Mapping[str, np.ndarray]) -> Weights:
    """A state dict, without what a parallel wrapper puts in front of names, and without the counters of batches."""
    layers: Layers = {}
    for key, array in state.items():
        module, _, role = key.removeprefix("module.").rpartition(".")
        if role != "num_batches_tracked":
            layers.setdefault(module, {})[role] = array
    return Weights("torch", layers)


# --- safetensors ------------------------------------------------------------------------------------------------------


def read_safetensors(path: Path) -> Weights:
    """Our own export, or a PyTorch state dict."""
    safetensors = _package("safetensors", "safetensors")
    with _broken(path, safetensors.SafetensorError, OSError), safetensors.safe_open(path, framework="numpy") as file:
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
        metadata = file.metadata() or {}
    if metadata.get("format") == OURS:
        return Weights(OURS, {key: {"": array} for key, array in arrays.items()}, metadata)
    return torch_weights(arrays)


# --- TFLite -----------------------------------------------------------------------------------------------------------


def read_tflite(path: Path) -> Weights:
    """Convolutions and dense layers, with the names of their scopes; quantized ones as scale (q - zero point)."""
    tflite = _package("tflite", "tflite")
    with _broken(path, IndexError, ValueError, TypeError, AttributeError, KeyError, struct.error):
        model = tflite.Model.GetRootAsModel(path.read_bytes(), 0)
        graph = model.Subgraphs(0)
        layers: Layers = {}
        operators = tflite.BuiltinOperator
        wanted = (operators.CONV_2D, operators.DEPTHWISE_CONV_2D, operators.FULLY_CONNECTED)
        for i in range(graph.OperatorsLength()):
            operator = graph.Operators(i)
            code = model.OperatorCodes(operator.OpcodeIndex())
            if max(code.BuiltinCode(), code.DeprecatedBuiltinCode()) not in wanted:
                continue
            weight, bias = (graph.Tensors(index) for index in operator.InputsAsNumpy()[1:3])
            # MobilenetV2/Conv/Conv2D_Fold;MobilenetV2/Conv/weights_quant/FakeQuantWithMinMaxVars
            scope = weight.Name().decode().split(";")[-1].split("/weights")[0].split("/depthwise_weights")[0]
            layers[scope] = {"weight": _real(tflite, model, weight), "bias": _real(tflite, model, bias)}
    if not layers:
        raise CorruptData(f"{path} has no convolutions")
    return Weights("tflite", layers)


def _real(tflite: Any, model: Any, tensor: Any) -> np.ndarray:
    kinds = {
        tflite.TensorType.FLOAT32: np.float32,
        tflite.TensorType.UINT8: np.uint8,
        tflite.TensorType.INT8: np.int8,
        tflite.TensorType.INT32: np.int32,
    }
    shape = tensor.ShapeAsNumpy()
    array = model.Buffers(tensor.Buffer()).DataAsNumpy().view(kinds[tensor.Type()]).reshape(shape)
    if array.dtype == np.float32:
        return array
    quantization = tensor.Quantization()
    along = [1] * array.ndim
    if quantization.ScaleLength() > 1:
        along[quantization.QuantizedDimension()] = quantization.ScaleLength()
    scale, zero = (
        getattr(quantization, f"{name}AsNumpy")().astype(np.float64).reshape(along) for name in ("Scale", "ZeroPoint")
    )
    return (scale * (array - zero)).astype(np.float32)


# --- All --------------------------------------------------------------------------------------------------------------


def _package(name: str, distribution: str) -> Any:
    try:
        return __import__(name)
    except ImportError as error:
        raise XXNetError(
            f"this file of weights needs a package that is not installed: pip install {distribution}"
        ) from error


@contextmanager
def _broken(path: Path, *errors: type[Exception]) -> Iterator[None]:
    """An error of the reader is that of a broken file."""
    try:
        yield
    except errors as error:
        raise CorruptData(f"{path} cannot be read, it may be cut off: {error}") from error
