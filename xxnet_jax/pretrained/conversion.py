"""Weights of other frameworks as variables of ours."""

from collections.abc import Mapping
from typing import Any, Literal

import flax.traverse_util
import jax.numpy as jnp
import numpy as np

from xxnet_jax.errors import InvalidArgument
from xxnet_jax.models import create_model, model_info
from xxnet_jax.models.layers import Network
from xxnet_jax.parameters import abstract_variables
from xxnet_jax.pretrained.keras_names import KERAS
from xxnet_jax.pretrained.names import Names, Table, renamer
from xxnet_jax.pretrained.readers import OURS, Weights
from xxnet_jax.pretrained.tflite_names import TFLITE
from xxnet_jax.pretrained.torch_names import FLATTENED, ORDERS, TORCH, Order

TABLES: dict[str, dict[type[Network], Table]] = {"keras": KERAS, "torch": TORCH, "tflite": TFLITE}

# Leaves of a module, in the order of Keras's `layer.weights`.
LEAVES = ("params/{}/kernel", "params/{}/scale", "params/{}/bias", "batch_stats/{}/mean", "batch_stats/{}/var")

# PyTorch's and TFLite's names of arrays -> ours, where the module has such a leaf.
ROLES = {
    "weight": ("params/{}/kernel", "params/{}/scale"),
    "bias": ("params/{}/bias",),
    "running_mean": ("batch_stats/{}/mean",),
    "running_var": ("batch_stats/{}/var",),
}

Shapes = Mapping[str, tuple[int, ...]]  # "params/conv1/kernel" -> shape


def variables_from(weights: Weights, name: str, num_classes: int | Literal["published"] | None, **knobs: Any) -> Any:
    """Variables of `create_model(name, num_classes=num_classes, **knobs)` with these weights.

    Without classes, what the file has of the classifier is left out.

    Raises:
        ValueError: the framework has no such network, or there are missing, surplus or misshapen arrays, all of which
            are listed.
    """
    model = create_model(name, num_classes=num_classes, **knobs)
    whole = model if num_classes is not None else create_model(name, **knobs)
    wanted = shapes_of(model, name)
    known = {**shapes_of(whole, name), **wanted}
    if weights.framework == OURS:
        return assembled(weights, {}, known, wanted, of=name)
    tables, family = TABLES[weights.framework], type(model)
    if family not in tables:
        known_families = ", ".join(sorted(table.__name__ for table in tables))
        raise InvalidArgument(
            f"there is no table for {family.__name__} of {weights.framework}; there are: {known_families}"
        )
    table = tables[family]
    names = table(whole) if callable(table) else table
    if weights.framework != "torch":
        return assembled(weights, names, known, wanted, of=name)
    orders = ORDERS[family](whole) if family in ORDERS else {}
    return assembled(weights, names, known, wanted, channels=FLATTENED.get(family, {}), orders=orders, of=name)


def shapes_of(model: Network, name: str) -> dict[str, tuple[int, ...]]:
    """The shape of each variable at the nominal size of images; nothing is computed."""
    variables, _ = abstract_variables(model, model_info(name).input_shape)
    flat: dict[str, Any] = dict(flax.traverse_util.flatten_dict(dict(variables), sep="/"))
    return {path: leaf.shape for path, leaf in flat.items() if path.startswith(("params/", "batch_stats/"))}


def assembled(
    weights: Weights,
    names: Names,
    known: Shapes,
    wanted: Shapes,
    *,
    channels: Mapping[str, int] | None = None,
    orders: Mapping[str, Order] | None = None,
    of: str,
) -> Any:
    """Variables from the arrays of a file.

    Args:
        weights: the file's.
        names: of their layers -> of our modules; our own files need none.
        known: shapes of what may be in the file.
        wanted: shapes of the variables, which must be there.
        channels: modules behind a map that PyTorch flattens channel by channel -> its channels.
        orders: modules that have inputs or features in another order there.
        of: the network, for messages.

    Raises:
        ValueError: there are missing, surplus or misshapen arrays, all of which are listed.
    """
    found: dict[str, np.ndarray] = {}
    complaints: list[str] = []
    rename = renamer(names)
    for layer, arrays in weights.layers.items():
        if weights.framework == OURS:
            expected = [layer] if layer in known else []
            modules = [layer]
        else:
            modules = (rename(layer) or "").split()
            expected = [leaf.format(module) for module in modules for leaf in LEAVES if leaf.format(module) in known]
        if not expected:
            complaints.append(f"{layer} is surplus")
            continue
        paths = _paths(weights.framework, arrays, modules[0], expected)
        if sorted(map(str, paths)) != sorted(expected):
            complaints.append(f"{layer} has {', '.join(arrays) or 'nothing'}, expected {', '.join(expected)}")
            continue
        for path, array in zip(paths, arrays.values(), strict=True):
            if path in found:
                complaints.append(f"{layer} is a second one for {path}")
            found[path] = _in_our_layout(weights.framework, array, known[path], (channels or {}).get(modules[0]))
    complaints += [f"{path} is missing" for path in wanted if path not in found]
    complaints += [
        f"{path} has shape {found[path].shape}, expected {shape}"
        for path, shape in wanted.items()
        if path in found and found[path].shape != shape
    ]
    if complaints:
        raise InvalidArgument(_refusal(weights, of, complaints, classifier=known.keys() == wanted.keys()))
    leaves = {path: jnp.asarray(_reordered(path, found[path], orders or {})) for path in wanted}
    return flax.traverse_util.unflatten_dict(leaves, sep="/")


def _paths(framework: str, arrays: Mapping[str, Any], module: str, expected: list[str]) -> list[Any]:
    """Our path of each array of a layer, or None."""
    if framework in (OURS, "keras"):  # in the order of `LEAVES`
        return expected if len(arrays) == len(expected) else [None]
    return [
        next((path for leaf in ROLES.get(role, ()) if (path := leaf.format(module)) in expected), None)
        for role in arrays
    ]


def _in_our_layout(framework: str, array: np.ndarray, shape: tuple[int, ...], channels: int | None) -> np.ndarray:
    """A kernel as [height, width, inputs of a group, features] or [inputs, features]; other arrays as they are."""
    if array.ndim == 1:
        return array
    each_channel_by_itself = len(shape) == 4 and shape[2] == 1
    match framework, array.ndim:
        case "torch", 4:  # [features, inputs, height, width]
            array = array.transpose(2, 3, 1, 0)
        case "torch", _ if channels:  # [features, channels x pixels]
            array = array.reshape(len(array), channels, -1).transpose(2, 1, 0)
        case "torch", _:
            array = array.T
        case "tflite", 4 if each_channel_by_itself and len(array) == 1:  # [1, height, width, features]
            array = array.transpose(1, 2, 0, 3)
        case "tflite", 4:  # [features, height, width, inputs]
            array = array.transpose(1, 2, 3, 0)
        case "keras", 4 if each_channel_by_itself:  # [height, width, channels, features of each]
            array = array.reshape(*array.shape[:2], 1, -1)
    if (
        len(shape) == 2 and array.shape[-1] == shape[-1]
    ):  # theirs may be a convolution with a kernel as large as the map
        array = array.reshape(-1, shape[-1])
    return np.ascontiguousarray(array)


def _reordered(path: str, array: np.ndarray, orders: Mapping[str, Order]) -> np.ndarray:
    """An array of ours, in our order."""
    order = orders.get(path.partition("/")[2].rpartition("/")[0], Order())
    if order.inputs is not None and array.ndim > 1:
        array = array[..., order.inputs, :]
    return array if order.features is None else array[..., order.features]


def _refusal(weights: Weights, name: str, complaints: list[str], *, classifier: bool) -> str:
    whose = f"{weights.framework}, of {weights.metadata['model']}" if "model" in weights.metadata else weights.framework
    lines = [f"these weights ({whose}) are not those of {name}:", *(f"  {line}" for line in complaints)]
    if classifier:
        lines.append("If only the number of classes is another one, give it, or num_classes=None to leave them out.")
    return "\n".join(lines)
