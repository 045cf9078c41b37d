"""GoogLeNet against torchvision with the same random weights: `pytest -m oracle`."""

from dataclasses import replace
from typing import Any

import chex
import jax.numpy as jnp
import numpy as np
import pytest
from zoo import abstract_init, apply, assert_close, images_of, largest_difference, oracle, random_images, torch_output

import xxnet_jax as xx
from xxnet_jax.models import googlenet
from xxnet_jax.models.layers import ConvUnit

pytestmark = oracle


def torchvision_weights(torch: Any, model: Any) -> Any:
    """Random weights and running statistics, set in the torch model, as a tree of ours."""
    random = np.random.default_rng(0)
    variables: dict[str, Any] = {"params": {}, "batch_stats": {}}

    def put(collection: str, path: list[str], value: np.ndarray) -> None:
        tree = variables[collection]
        for name in path[:-1]:
            tree = tree.setdefault(name, {})
        tree[path[-1]] = jnp.asarray(value)

    branches = {"branch1": "1x1", "branch2.0": "3x3_reduce", "branch2.1": "3x3"}
    branches |= {"branch3.0": "5x5_reduce", "branch3.1": "5x5", "branch4.1": "pool_proj"}
    renamed = {"conv2": "conv2_reduce", "conv3": "conv2", "fc": "logits"}
    state = {}
    for key, tensor in model.state_dict().items():
        *owner, kind = key.split(".")
        if kind == "num_batches_tracked":
            continue
        if kind == "weight" and tensor.ndim > 1:
            value = random.normal(0, np.sqrt(2 / np.prod(tensor.shape[1:])), tensor.shape)
        elif kind in ("weight", "running_var"):
            value = random.uniform(0.5, 1.5, tensor.shape)
        else:
            value = random.normal(0, 0.2, tensor.shape)
        value = value.astype(np.float32)
        state[key] = torch.from_numpy(value)
        if owner[0].startswith("inception"):
            module, *branch, layer = owner
            path = [f"inception_{module.removeprefix('inception')}", branches[".".join(branch)], layer]
        elif owner[0].startswith("aux"):
            path = [owner[0], *{"fc1": ["fc"], "fc2": ["logits"]}.get(owner[1], owner[1:])]
        else:
            path = [renamed.get(owner[0], owner[0]), *owner[1:]]
        if kind.startswith("running"):
            put("batch_stats", [*path, kind.removeprefix("running_")], value)
        elif tensor.ndim == 4:
            put("params", [*path, "kernel"], value.transpose(2, 3, 1, 0))
        elif owner[-1] == "fc1" and tensor.ndim == 2:  # torch flattens [128, 4, 4], we flatten [4, 4, 128]
            put("params", [*path, "kernel"], value.reshape(-1, 128, 4, 4).transpose(2, 3, 1, 0).reshape(2048, -1))
        elif tensor.ndim == 2:
            put("params", [*path, "kernel"], value.T)
        else:
            put("params", [*path, "scale" if kind == "weight" else "bias"], value)
    model.load_state_dict(state, strict=False)
    return variables


@pytest.mark.parametrize("side", [75, 96])
def test_logits_are_torchvisions(torch: Any, side: int, monkeypatch: pytest.MonkeyPatch):
    """With the same weights and statistics logits are torchvision's, those of the heads while training too, and with
    another epsilon, another place of a stride or the padding on the other side they are not."""
    build = pytest.importorskip("torchvision").models.GoogLeNet
    options = {"dropout": 0.0, "dropout_aux": 0.0, "aux_logits": True, "init_weights": False}
    reference = build(num_classes=11, **options)
    assert sum(p.numel() for p in build(**options).parameters()) == 13_004_888
    variables = torchvision_weights(torch, reference)
    images = random_images(side, side, scales=(0.3, 1, 2), seed=1)  # else random images look alike

    def ours(train: bool = False, **knobs: Any) -> Any:
        rates: Any = {"dropout_rate": 0.0, "auxiliary_dropout_rate": 0.0}
        model: Any = xx.create_model("googlenet.torchvision", num_classes=11, **rates, **knobs)
        mutable: Any = ["batch_stats", "aux_logits"] if train else False
        return apply(model, variables, images, train=train, mutable=mutable)

    model = xx.create_model("googlenet.torchvision", num_classes=11)
    chex.assert_trees_all_equal_shapes_and_dtypes(variables, abstract_init(model, images_of(side)))
    expected = torch_output(reference.eval(), images)
    assert_close(ours(), expected)

    logits, state = ours(train=True)
    heads = state["aux_logits"]["heads"]
    training = torch_output(reference.train(), images)
    for found, theirs in zip((logits, heads["aux2"], heads["aux1"]), training, strict=True):
        assert_close(found, theirs, 1e-3)  # normalized by the few numbers of this batch

    assert largest_difference(ours(norm=replace(model.norm, epsilon=1e-5)), expected) > 1e-4  # type: ignore[attr-defined]
    assert largest_difference(ours(stem_padding=((2, 4), (2, 4))), expected) > 1e-4

    def later(features: int, size: Any, strides: Any = (1, 1), *rest: Any, name: str, **options: Any) -> ConvUnit:
        strides = {"conv1": (1, 1), "conv2_reduce": (2, 2)}.get(name, strides)
        return ConvUnit(features, size, strides, *rest, name=name, **options)

    monkeypatch.setattr(googlenet, "ConvUnit", later)
    assert largest_difference(ours(), expected) > 1e-4
