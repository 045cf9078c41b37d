"""Inception-ResNet-v2 against Keras and timm with the same random weights: `pytest -m oracle`."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
from zoo import (
    abstract_init,
    apply,
    assert_close,
    hasty,
    images_of,
    largest_difference,
    oracle,
    random_images,
    torch_output,
)

import xxnet_jax as xx

pytestmark = oracle

CONVOLUTIONS = {  # of the modules with more than one, branch after branch
    "mixed_5b": "00 10 11 20 21 22 31",
    "block35": "00 10 11 20 21 22",
    "mixed_6a": "00 10 11 12",
    "block17": "00 10 11 12",
    "mixed_7a": "00 01 10 11 20 21 22",
    "block8": "00 10 11 12",
}
ORDER = [  # of the modules with parameters
    *("conv2d_1a", "conv2d_2a", "conv2d_2b", "conv2d_3b", "conv2d_4a"),
    *("mixed_5b", *(f"block35_{i}" for i in range(1, 11))),
    *("mixed_6a", *(f"block17_{i}" for i in range(1, 21))),
    *("mixed_7a", *(f"block8_{i}" for i in range(1, 11))),
    "conv_7b",
]


def paths() -> Iterator[tuple[str, ...]]:
    """Our convolutions with their norms, in the order in which Keras makes its own; `up` after each block."""
    for name in ORDER:
        kind = name.rpartition("_")[0] if name.startswith("block") else name
        block = kind.startswith("block")
        if kind not in CONVOLUTIONS:
            yield (name,)
        for i, j in CONVOLUTIONS.get(kind, "").split():
            yield (name, "mixed", f"branch{i}_conv{j}") if block else (name, f"branch{i}_conv{j}")
        if block:
            yield (name, "up")


def random_weights(shape: tuple[int, ...], kind: str, random: np.random.Generator) -> np.ndarray:
    """Kernels [..., inputs, outputs] keep the size of activations; the rest is of the order of one."""
    match kind:
        case "kernel":
            value = random.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape)
        case "scale" | "var":
            value = random.uniform(0.5, 1.5, shape)
        case _:
            value = random.normal(0, 0.2, shape)
    return value.astype(np.float32)


def random_variables(name: str, num_classes: int) -> Any:
    """Random parameters and running statistics of ours."""
    shapes = abstract_init(xx.create_model(name, num_classes=num_classes), images_of(75))
    random = np.random.default_rng(0)
    return jax.tree.map_with_path(lambda path, leaf: random_weights(leaf.shape, path[-1].key, random), shapes)


def at(tree: Any, path: tuple[str, ...]) -> Any:
    return functools.reduce(lambda node, key: node[key], path, tree)


Reference = Callable[[np.ndarray], np.ndarray]


def keras_reference(keras: Any, variables: Any) -> Reference:
    """Keras's network with our weights, from images to logits; its classifier would fix the size of the images."""
    options = {"include_top": False, "pooling": "avg", "input_shape": (None, None, 3)}
    model = keras.applications.InceptionResNetV2(weights=None, **options)
    assert model.count_params() == 55_873_736 - 1_537_000  # without the classifier

    def number(item: Any) -> tuple[int, int]:
        # Layers without a name of their own are counted up in the order in which they are made.
        _, *digits = item.name.removeprefix("batch_normalization").removeprefix("conv2d").split("_")
        return (int(digits[0]) if digits else 0), 0

    convolutions = sorted((x for x in model.layers if x.name.startswith("conv2d")), key=number)
    norms = sorted((x for x in model.layers if x.name.startswith("batch_normalization")), key=number)
    plain = iter(zip(convolutions, norms, strict=True))
    for path in paths():
        params, stats = (variables[collection] for collection in ("params", "batch_stats"))
        if path[-1] == "up":
            up = at(params, path)
            model.get_layer(f"{path[0]}_conv").set_weights([up["kernel"], up["bias"]])
            continue
        named = path == ("conv_7b",)
        conv, norm = (model.get_layer("conv_7b"), model.get_layer("conv_7b_bn")) if named else next(plain)
        conv.set_weights([at(params, path)["conv"]["kernel"]])
        norm.set_weights([at(params, path)["bn"]["bias"], *(at(stats, path)["bn"][key] for key in ("mean", "var"))])
    assert next(plain, None) is None
    dense = variables["params"]["predictions"]

    def logits(images: np.ndarray) -> np.ndarray:
        features = hasty(lambda x: model(x, training=False))(images)
        return np.asarray(features) @ dense["kernel"] + dense["bias"]

    return logits


def timm_reference(torch: Any, variables: Any) -> Reference:
    """timm's network with our weights, from images to logits."""
    timm = pytest.importorskip("timm")
    model = timm.create_model("inception_resnet_v2", num_classes=11).eval()
    state: dict[str, Any] = {}

    def put(key: str, value: np.ndarray) -> None:
        state[key] = torch.from_numpy(np.array(value.transpose(3, 2, 0, 1) if value.ndim == 4 else value))

    repeats = {"block35": "repeat", "block17": "repeat_1", "block8": "repeat_2"}
    branches_of_one = {"mixed_5b": "0", "block35": "0", "mixed_6a": "0", "block17": "0", "block8": "0"}
    for path in paths():
        owner = path[0]
        kind, _, number = owner.rpartition("_")
        if owner == "block8_10":
            owner, kind = "block8", "block8"
        elif kind in repeats:
            owner = f"{repeats[kind]}.{int(number) - 1}"
        elif owner == "conv_7b":
            owner = "conv2d_7b"
        params, stats = (
            (at(variables[collection], path) for collection in ("params", "batch_stats"))
            if (path[-1] != "up")
            else (at(variables["params"], path), None)
        )
        if stats is None:
            put(f"{owner}.conv2d.weight", params["kernel"])
            put(f"{owner}.conv2d.bias", params["bias"])
            continue
        if path[-1].startswith("branch"):
            branch, conv = path[-1].removeprefix("branch").split("_conv")
            alone = branch == branches_of_one.get(kind if kind in repeats else path[0])
            owner += f".branch{branch}" + ("" if alone else f".{conv}")
        put(f"{owner}.conv.weight", params["conv"]["kernel"])
        for key, value in {
            "weight": params["bn"]["scale"],
            "bias": params["bn"]["bias"],
            "running_mean": stats["bn"]["mean"],
            "running_var": stats["bn"]["var"],
        }.items():
            put(f"{owner}.bn.{key}", value)
    put("classif.weight", variables["params"]["predictions"]["kernel"].T)
    put("classif.bias", variables["params"]["predictions"]["bias"])
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(key.endswith("num_batches_tracked") for key in missing)

    return functools.partial(torch_output, model)


MUTATIONS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "another epsilon": lambda model: {"norm": replace(model.norm, epsilon=1e-5)},
    "the stride in the first convolution of a branch": lambda model: {
        "mixed_7a": (
            (
                model.mixed_7a[0][0]._replace(stride=2),
                model.mixed_7a[0][1]._replace(stride=1, padding=((1, 0), (1, 0))),
            ),
            *model.mixed_7a[1:],
        )
    },
    "padding on one side": lambda model: {
        "block17": (
            model.block17[0],
            (model.block17[1][0], model.block17[1][1]._replace(padding=((0, 0), (6, 0))), model.block17[1][2]),
        )
    },
}


def check(name: str, variables: Any, theirs: Reference) -> None:
    """With the same weights and statistics logits are theirs, on odd and even sizes; with another epsilon, another
    place of a stride or the padding on the other side they are not."""

    def ours(images: np.ndarray, **knobs: Any) -> Any:
        return apply(xx.create_model(name, num_classes=11, **knobs), variables, images)

    for side in (75, 112):
        images = random_images(side, side, scales=(0.3, 1, 2), seed=1)  # else random images look alike
        expected = theirs(images)
        assert_close(ours(images), expected)
    for mutation, knobs in MUTATIONS.items():
        assert largest_difference(ours(images, **knobs(xx.create_model(name))), expected) > 1e-4, mutation


def test_keras(keras: Any):
    """Our logits are those of Keras's network."""
    variables = random_variables("inception_resnet_v2", num_classes=11)
    check("inception_resnet_v2", variables, keras_reference(keras, variables))


def test_timm(torch: Any):
    """Our logits are those of timm's network."""
    variables = random_variables("inception_resnet_v2.timm", num_classes=11)
    check("inception_resnet_v2.timm", variables, timm_reference(torch, variables))
