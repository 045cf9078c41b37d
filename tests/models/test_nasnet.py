"""NASNet against the counts and shapes of Keras and TF-Slim, and NumPy."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.errors import InvalidRngError
from scipy.signal import correlate
from zoo import (
    abstract_apply,
    abstract_init,
    abstract_params,
    apply,
    assert_every_parameter_learns,
    images_of,
    initialized,
    parameters_by_module,
    random_images,
    shapes,
    table_of_maps,
    trace,
)

import xxnet_jax as xx
from xxnet_jax.models import count_parameters, nasnet
from xxnet_jax.models.backend import plain_operations
from xxnet_jax.models.layers import Norm
from xxnet_jax.models.nasnet import NORMAL, REDUCTION, AuxiliaryHead, Cell, FactorizedReduction

TINY: Any = {"penultimate_filters": 96, "cells": 1, "stem_features": 6, "num_classes": 5}
KERAS = nasnet.INITIALIZERS["keras"]
NORM = Norm(momentum=0.9, epsilon=1e-3)


def tiny(name: str = "nasnet_mobile", **options: Any) -> Any:
    return xx.create_model(name, **{**TINY, **options})


# ---------------------------------------------------------------------------------------------- counts


def separable(size: int, inputs: int, features: int) -> int:
    """Two separable convolutions, each with normalization."""
    return size**2 * (inputs + features) + (inputs + features) * features + 4 * features


def pointwise(inputs: int, features: int) -> int:
    """A 1x1 convolution with normalization."""
    return inputs * features + 2 * features


def cells_of(name: str) -> Iterator[tuple[str, int]]:
    """(cell, parameters) from the two columns of Figure 4."""
    model: Any = xx.create_model(name)
    f, count = model.penultimate_filters // 24, model.cells
    before = x = model.stem_features

    def reduction(features: int, adjusted: int | None) -> int:
        p = features if adjusted else before
        of_p = 2 * separable(7, p, features) + separable(5, p, features)
        of_h = separable(5, features, features) + separable(3, features, features)
        return pointwise(x, features) + (pointwise(adjusted, features) if adjusted else 0) + of_p + of_h

    if model.stem == "imagenet":
        yield "reduction_stem_1", reduction(f // 4, None)
        before, x = x, 4 * (f // 4)
        yield "reduction_stem_2", reduction(f // 2, before)
        before, x = x, 4 * (f // 2)
    for stage, number in itertools.product(range(3), range(count)):
        features = f * 2**stage
        if stage and not number:
            yield f"reduction_reduce_{stage * count}", reduction(features, before)
            before, x = before if model.skip_reduction else x, 4 * features
        # The stem for CIFAR stands as p, unadjusted: each of four other uses has a convolution of its own.
        adjusts, p = (4, before) if (model.stem, stage, number) == ("cifar", 0, 0) else (1, features)
        inside = separable(5, features, features) + separable(3, features, features)
        inside += separable(5, p, features) + 2 * separable(3, p, features)
        keras_number = stage * count + number + (stage > 0)
        yield f"normal_{keras_number}", pointwise(x, features) + adjusts * pointwise(before, features) + inside
        before, x = x, 6 * features


@pytest.mark.parametrize(
    "name", ["nasnet_mobile", "nasnet_cifar10", pytest.param("nasnet_large", marks=pytest.mark.full_size)]
)
def test_parameters_of_cells(name: str):
    """Every cell has the parameters of its convolutions and norms; stem and classifier have theirs, with the rest."""
    info = xx.model_info(name)
    model: Any = xx.create_model(name)
    found = parameters_by_module(model, info.input_shape[0])
    stem, classes = model.stem_features, info.num_classes
    expected = {"stem_conv1": 27 * stem, "stem_bn1": 2 * stem, **dict(cells_of(name))}
    expected["predictions"] = (model.penultimate_filters + 1) * classes
    found.pop("aux", None)
    assert found == expected
    assert sum(found.values()) == info.parameters


@pytest.mark.parametrize(
    ("name", "trainable", "total"),
    [
        ("nasnet_mobile", 5_289_978, 5_326_716),
        pytest.param("nasnet_large", 88_753_150, 88_949_818, marks=pytest.mark.full_size),
    ],
)
def test_counts(name: str, trainable: int, total: int):
    """Keras's counts with ten classes, at another size of the images."""
    variables = abstract_init(xx.create_model(name, num_classes=10), images_of(75))
    fewer = 990 * ({"nasnet_mobile": 1056, "nasnet_large": 4032}[name] + 1)
    assert count_parameters(variables["params"]) == trainable - fewer
    assert count_parameters(variables) == total - fewer


@pytest.mark.parametrize(
    ("name", "features", "regions", "classes"),
    [
        ("nasnet_mobile.slim", 528, 4, 1000),
        ("nasnet_cifar10", 384, 4, 10),
        pytest.param("nasnet_large.slim", 2016, 6, 1000, marks=pytest.mark.full_size),
    ],
)
def test_parameters_of_the_auxiliary_head(name: str, features: int, regions: int, classes: int):
    """Of its 1x1, of one that sees the whole pooled map, of a dense layer; they do not depend on the size of images."""
    expected = pointwise(features, 128) + pointwise(regions**2 * 128, 768) + 769 * classes
    assert xx.model_info(name).auxiliary_parameters == expected
    for side in (40, xx.model_info(name).input_shape[0]):
        assert parameters_by_module(xx.create_model(name), side)["aux"] == expected


# ---------------------------------------------------------------------------------------------- shapes and names

MOBILE = "stem_conv1 111 32, stem_bn1 111 32, reduction_concat_stem_1 56 44, reduction_concat_stem_2 28 88, "
MOBILE += ", ".join(f"normal_concat_{i} 28 264" for i in range(4)) + ", reduction_concat_reduce_4 14 352, "
MOBILE += ", ".join(f"normal_concat_{i} 14 528" for i in range(5, 9)) + ", reduction_concat_reduce_8 7 704, "
MOBILE += ", ".join(f"normal_concat_{i} 7 1056" for i in range(9, 13)) + ", relu 7 1056"
LARGE = "stem_bn1 165 96, reduction_concat_stem_1 83 168, Stem 42 336, Cell_0 42 1008, Cell_5 42 1008, "
LARGE += "Reduction_Cell_0 21 1344, Cell_6 21 2016, Cell_11 21 2016, Reduction_Cell_1 11 2688, Cell_12 11 4032, "
LARGE += "Cell_17 11 4032, relu 11 4032"
CIFAR = "Stem 32 96, Cell_0 32 192, Cell_5 32 192, Reduction_Cell_0 16 256, Cell_6 16 384, Cell_11 16 384, "
CIFAR += "Reduction_Cell_1 8 512, Cell_12 8 768, Cell_17 8 768, relu 8 768"


def test_endpoints_of_keras():
    """Keras's names and maps at 224x224, in their order."""
    expected = {**table_of_maps(MOBILE), "avg_pool": (1056,), "predictions": (1000,)}
    assert list(shapes("nasnet_mobile", 224).items()) == list(expected.items())
    assert shapes("nasnet_large", 331)["reduction_concat_reduce_12"] == (11, 11, 2688)


@pytest.mark.parametrize(("name", "side", "maps"), [("nasnet_large.slim", 331, LARGE), ("nasnet_cifar10", 32, CIFAR)])
def test_endpoints_of_slim(name: str, side: int, maps: str):
    """TF-Slim's names, with the shapes that its own tests expect."""
    found = shapes(name, side)
    expected = table_of_maps(maps)
    assert expected.items() <= found.items()
    assert [endpoint for endpoint in found if endpoint in expected] == list(expected)
    cells = [endpoint for endpoint in found if endpoint.startswith("Cell_")]
    assert cells == [f"Cell_{number}" for number in range(18)]
    assert list(found)[-2:] == ["global_pool", "Logits"]


def test_sizes():
    """Behind the stem a map is halved upwards, so 3 pixels suffice; for CIFAR one does."""
    model = tiny(num_classes=None)
    for height, width, rows, columns in ((32, 33, 1, 1), (67, 97, 3, 3), (3, 75, 1, 3)):
        assert abstract_apply(model, images_of(height, width)).shape == (2, rows, columns, 96)
    with pytest.raises(ValueError, match="smallest size is 3x3"):
        abstract_init(model, images_of(2, 5))
    assert abstract_apply(tiny("nasnet_cifar10", num_classes=None), images_of(1)).shape == (2, 1, 1, 96)


def test_final_endpoint():
    """Up to a cell there are the cells before it and no head."""
    model = tiny("nasnet_mobile.slim", final_endpoint="Cell_1")
    assert set(abstract_params(model, 32)) == {
        *("stem_conv1", "stem_bn1", "reduction_stem_1", "reduction_stem_2", "normal_0", "reduction_reduce_1"),
        "normal_2",
    }
    assert abstract_apply(model, images_of(32)).shape == (2, 2, 2, 48)


def test_spatial():
    """A score for every 7x7 pixels of the last map."""
    model = tiny(spatial=True)
    assert abstract_apply(model, images_of(224)).shape == (2, 1, 1, 5)
    assert abstract_apply(model, images_of(256, 288)).shape == (2, 2, 3, 5)


@pytest.mark.parametrize(("skip", "inputs"), [(False, (24, 48)), (True, (8, 32))])
def test_skip_reduction(skip: bool, inputs: tuple[int, int]):
    """The cell behind a reduction takes as p the reduction's x, or with `skip_reduction` the reduction's p."""
    params = abstract_params(tiny(skip_reduction=skip), 32)
    assert tuple(params[name]["adjust"]["conv_1"]["kernel"].shape[2] for name in ("normal_2", "normal_3")) == inputs


# ---------------------------------------------------------------------------------------------- what is computed


def same(x: np.ndarray, size: int, stride: int, fill: float) -> np.ndarray:
    """Padded by size // 2 on each side, but one pixel less above and left where a stride of 2 meets an even side."""
    pads = [(size // 2 - (stride == 2 and side % 2 == 0), size // 2) for side in x.shape[1:3]]
    return np.pad(x, ((0, 0), *pads, (0, 0)), constant_values=fill)


class InNumPy:
    """The layers of a cell, in float64, under the names of its parameters."""

    def __init__(self, variables: Any, pool_zeros: tuple[str, ...] = ()) -> None:
        self.variables = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables)
        self.pool_zeros = pool_zeros

    def norm(self, x: np.ndarray, *path: str) -> np.ndarray:
        params, stats = self.variables["params"], self.variables["batch_stats"]
        for name in (*path, "bn"):
            params, stats = params[name], stats[name]
        return (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-3) * params["scale"] + params["bias"]

    def pointwise(self, x: np.ndarray, name: str) -> np.ndarray:
        return self.norm(x @ self.variables["params"][name]["conv"]["kernel"][0, 0], name)

    def sep(self, x: np.ndarray, size: int, name: str, stride: int = 1) -> np.ndarray:
        for number, step in ((1, stride), (2, 1)):
            layers = self.variables["params"][f"{name}_{number}"]
            kernel = layers["depthwise"]["kernel"]
            assert kernel.shape[:3] == (size, size, 1)
            padded = same(np.maximum(x, 0), size, step, 0)
            channels = range(padded.shape[-1])
            maps = [
                np.stack([correlate(image[..., c], kernel[..., 0, c], "valid")[::step, ::step] for c in channels], -1)
                for image in padded
            ]
            x = self.norm(np.stack(maps) @ layers["pointwise"]["kernel"][0, 0], f"{name}_{number}")
        return x

    def pool(self, x: np.ndarray, mean: bool, stride: int = 1) -> np.ndarray:
        zeros = ("avg" if mean else "max") in self.pool_zeros and stride == 2
        padded = same(x, 3, stride, 0 if zeros else np.nan)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::stride, ::stride]
        return (np.nanmean if mean else np.nanmax)(windows, axis=(-2, -1))

    def halved(self, x: np.ndarray) -> np.ndarray:
        params, x = self.variables["params"]["adjust"], np.maximum(x, 0)
        shifted = np.zeros_like(x)
        shifted[:, :-1, :-1] = x[:, 1:, 1:]
        halves = [x[:, ::2, ::2] @ params["conv_1"]["kernel"][0, 0]]
        halves += [shifted[:, ::2, ::2] @ params["conv_2"]["kernel"][0, 0]]
        return self.norm(np.concatenate(halves, -1), "adjust")


def randomly(module: Any, *inputs: np.ndarray) -> Any:
    """Random parameters and running statistics."""
    random = np.random.default_rng(3)
    shapes_of = jax.eval_shape(lambda *x: module.init(jax.random.key(0), *x, train=False), *inputs)

    def draw(leaf: Any) -> jax.Array:
        values = random.normal(size=leaf.shape) if leaf.ndim > 1 else random.uniform(0.5, 1.5, leaf.shape)
        return jnp.asarray(values, jnp.float32)

    return jax.tree.map(draw, shapes_of)


def in_cell(cell: Any, x: np.ndarray, previous: np.ndarray) -> tuple[np.ndarray, Any]:
    """The cell's output and its random variables."""
    variables = randomly(cell, x, previous)
    return np.asarray(jax.jit(lambda v, *maps: cell.apply(v, *maps, train=False))(variables, x, previous)), variables


def maps(random: Any, *shape: int) -> np.ndarray:
    return random.normal(size=(2, *shape)).astype(np.float32)


@pytest.mark.parametrize("adjust", ["halve", "project", "same features", "other features"])
def test_normal_cell(adjust: str):
    """In float64, with p halved, projected, as it is, or of other features than the cell's (the stem for CIFAR)."""
    random, f = np.random.default_rng(0), 4
    x = maps(random, 6, 5, 7)
    shape = {"halve": (11, 10, 3), "same features": (6, 5, f)}.get(adjust, (6, 5, 3))
    previous = maps(random, *shape)
    kind: Any = adjust if adjust in ("halve", "project") else None
    cell = Cell(NORMAL, f, 1, kind, (), 0.0, NORM, KERAS)
    found, variables = in_cell(cell, x, previous)
    do = InNumPy(variables)
    h = do.pointwise(np.maximum(x, 0), "conv_1")
    p = previous.astype(np.float64)
    if kind:
        p = do.halved(p) if kind == "halve" else do.pointwise(np.maximum(p, 0), "adjust")
    pooled = [do.pool(p, mean=True)] * 2
    added = put_out = p
    if adjust == "other features":
        pooled = [do.pointwise(pool, name) for pool, name in zip(pooled, ("left4", "right4"), strict=True)]
        added = do.pointwise(np.maximum(p, 0), "right3")
        put_out = do.pointwise(p, "output_p")
    blocks = [
        do.sep(h, 5, "left1") + do.sep(p, 3, "right1"),
        do.sep(p, 5, "left2") + do.sep(p, 3, "right2"),
        do.pool(h, mean=True) + added,
        pooled[0] + pooled[1],
        do.sep(h, 3, "left5") + h,
    ]
    expected = np.concatenate([put_out, *blocks], -1)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("pool_zeros", [(), ("avg",), ("avg", "max")])
@pytest.mark.parametrize(("height", "width"), [(6, 5), (7, 8)])
def test_reduction_cell(height: int, width: int, pool_zeros: Any):
    """In float64: h and p are halved, maps of odd and of even size, pools that count zeros around h and others."""
    random, f = np.random.default_rng(0), 4
    x, previous = maps(random, height, width, 7), maps(random, height, width, 3)
    found, variables = in_cell(Cell(REDUCTION, f, 2, None, pool_zeros, 0.0, NORM, KERAS), x, previous)
    do = InNumPy(variables, pool_zeros)
    h, p = do.pointwise(np.maximum(x, 0), "conv_1"), previous.astype(np.float64)
    first = do.sep(h, 5, "left1", 2) + do.sep(p, 7, "right1", 2)
    second = do.pool(h, mean=False, stride=2) + do.sep(p, 7, "right2", 2)
    third = do.pool(h, mean=True, stride=2) + do.sep(p, 5, "right3", 2)
    fourth = second + do.pool(first, mean=True)
    fifth = do.sep(first, 3, "left5") + do.pool(h, mean=False, stride=2)
    expected = np.concatenate([second, third, fourth, fifth], -1)
    assert found.shape == (2, (height + 1) // 2, (width + 1) // 2, 4 * f)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_odd_features_of_a_factorized_reduction():
    """An odd number of features is divided into two parts that differ by one."""
    params = randomly(FactorizedReduction(7, NORM, KERAS), np.zeros((1, 5, 5, 3), np.float32))["params"]
    assert [params[name]["kernel"].shape[-1] for name in ("conv_1", "conv_2")] == [3, 4]


def test_auxiliary_head():
    """ReLU, mean over 5x5 pixels every 3, a 1x1 and a 4x4 convolution, each normalized with a ReLU, logits."""
    x = maps(np.random.default_rng(0), 14, 14, 5)
    head = AuxiliaryHead(6, 4, NORM, KERAS)
    variables = randomly(head, x)
    do = InNumPy(variables)
    windows = np.lib.stride_tricks.sliding_window_view(np.maximum(x.astype(np.float64), 0), (5, 5), axis=(1, 2))
    y = np.maximum(do.pointwise(windows[:, ::3, ::3].mean((-2, -1)), "conv0"), 0)
    kernel = do.variables["params"]["conv1"]["conv"]["kernel"]
    y = np.maximum(do.norm(y.reshape(2, -1) @ kernel.reshape(-1, 768), "conv1"), 0)
    logits = do.variables["params"]["logits"]
    expected = y @ logits["kernel"] + logits["bias"]
    np.testing.assert_allclose(apply(head, variables, x), expected, atol=1e-5 * np.abs(expected).max())


# ---------------------------------------------------------------------------------------------- training


def test_auxiliary_logits():
    """They are there while training only, float32, from the last cell before the second reduction."""
    model = tiny("nasnet_mobile.slim", auxiliary_regions=2, dtype=jnp.bfloat16)
    images, mutable = images_of(32), ["batch_stats", "aux_logits"]
    logits, state = abstract_apply(model, images, train=True, mutable=mutable)
    assert {(leaf.shape, leaf.dtype) for leaf in (logits, state["aux_logits"]["heads"]["aux"])} == {
        ((2, 5), np.dtype(np.float32))
    }
    assert "aux_logits" not in abstract_apply(model, images, mutable=["aux_logits"])[1]
    assert abstract_params(model, 32)["aux"]["conv0"]["conv"]["kernel"].shape[2] == 6 * 2 * 4
    assert "aux" not in abstract_params(tiny("nasnet_mobile.slim", num_classes=None), 32)
    inference, training = (abstract_init(model, images, train=train) for train in (False, True))
    chex.assert_trees_all_equal_shapes_and_dtypes(inference, training)


@pytest.mark.parametrize(("name", "cells", "last"), [("nasnet_large.slim", 22, 0.3), ("nasnet_cifar10", 20, 0.4)])
def test_drop_path_grows_with_depth(name: str, cells: int, last: float, monkeypatch: pytest.MonkeyPatch):
    """TF-Slim keeps a path of cell i of n with probability 1 - (i + 1) / n * rate; stem and reduction cells count."""
    rates = []

    def noted(*arguments: Any, drop_path_rate: float, **options: Any) -> Cell:
        rates.append(drop_path_rate)
        return Cell(*arguments, drop_path_rate=drop_path_rate, **options)

    monkeypatch.setattr(nasnet, "Cell", noted)
    trace(xx.create_model(name), images_of(32), train=False)
    np.testing.assert_allclose(rates, last * np.arange(1, cells + 1) / cells)


def test_drop_path():
    """Each operation is left out for a share of the images by itself, and else divided by the share that is kept;
    what only hands on its input, as p in block 3, is never left out."""
    random, f, count, rate = np.random.default_rng(0), 3, 1000, 0.3
    one, before = (np.repeat(random.normal(size=(1, 4, 4, f)), count, axis=0).astype(np.float32) for _ in range(2))
    cell = Cell(NORMAL, f, 1, None, (), rate, NORM, KERAS)
    variables = randomly(cell, one, before)

    def run(module: Any, train: bool) -> np.ndarray:
        options: Any = {"rngs": {"dropout": jax.random.key(1)}, "mutable": ["batch_stats"]} if train else {}
        found = jax.jit(lambda v, *maps: module.apply(v, *maps, train=train, **options))(variables, one, before)
        return np.asarray(found[0] if train else found)

    kept = run(cell.clone(drop_path_rate=0.0), True)[:1]
    p, _, _, block_3, block_4, _ = np.split(kept, 6, axis=-1)
    found = np.split(run(cell, True), 6, axis=-1)
    np.testing.assert_allclose(found[0], np.repeat(p, count, axis=0))

    def shares(block: np.ndarray, whole: np.ndarray, parts: int) -> list[float]:
        """Shares of the images for which block is 0, 1, ... of the kept parts."""
        each = whole / parts / (1 - rate)
        is_so = [np.isclose(block, n * each, atol=1e-4).all(axis=(1, 2, 3)) for n in range(parts + 1)]
        assert np.sum(is_so, axis=0).tolist() == [1] * count
        return [float(np.mean(so)) for so in is_so]

    assert shares(found[3] - p, block_3 - p, 1) == pytest.approx([0.3, 0.7], abs=0.05)
    assert shares(found[4], block_4, 2) == pytest.approx([0.09, 0.42, 0.49], abs=0.05)
    np.testing.assert_array_equal(run(cell, False), run(cell.clone(drop_path_rate=0.0), False))


def test_drop_path_rate_may_be_traced():
    """One compilation serves a rate that grows during training: cells compute as with the rate as a constant."""
    x, before = (maps(np.random.default_rng(seed), 4, 4, 3) for seed in range(2))
    cell = Cell(NORMAL, 3, 1, None, (), 0.0, NORM, KERAS)
    variables = randomly(cell, x, before)
    options: Any = {"train": True, "rngs": {"dropout": jax.random.key(2)}, "mutable": ["batch_stats"]}

    def output(rate: Any) -> jax.Array:
        return cell.clone(drop_path_rate=rate).apply(variables, x, before, **options)[0]

    traced = jax.jit(output)
    for rate in (0.3, 0.0):
        np.testing.assert_allclose(traced(rate), jax.jit(lambda rate=rate: output(rate))(), rtol=1e-4, atol=1e-5)
    assert np.abs(traced(0.3) - traced(0.0)).max() > 1e-2

    model, images = tiny("nasnet_cifar10"), images_of(8)
    network = abstract_init(model, images)
    whole = lambda v, y, rate: model.clone(drop_path_rate=rate).apply(v, y, **options)[0]  # noqa: E731
    assert jax.eval_shape(whole, network, images, jnp.float32(0.1)).shape == (2, 5)
    with pytest.raises(InvalidRngError):
        abstract_apply(model, images, train=True, rngs=None, mutable=["batch_stats", "aux_logits"])


def test_every_parameter_learns():
    """Every parameter, those of the auxiliary head too, gets a finite gradient that is not all zero."""
    model = tiny("nasnet_cifar10", auxiliary_regions=2)
    with plain_operations():  # compiles sooner
        assert_every_parameter_learns(model, initialized(model, 12), random_images(12, 12))


def test_dropout():
    """Dropout stands before the logits while training: with rate 1 only the bias is left."""
    model = tiny(dropout_rate=1.0, stem="cifar")
    variables = initialized(model, 8)
    variables["params"]["predictions"]["bias"] = jnp.arange(5.0)
    rngs = {"dropout": jax.random.key(0)}
    logits, _ = apply(model, variables, random_images(8, 8), train=True, rngs=rngs, mutable=["batch_stats"])
    np.testing.assert_array_equal(logits, np.tile(np.arange(5.0), (2, 1)))


@pytest.mark.parametrize(
    ("name", "dropout", "drop_path", "norm"),
    [
        ("nasnet_mobile", 0.0, 0.0, Norm(0.9997, 1e-3)),
        ("nasnet_large", 0.0, 0.0, Norm(0.9997, 1e-3)),
        ("nasnet_mobile.slim", 0.5, 0.0, Norm(0.9997, 1e-3)),
        ("nasnet_large.slim", 0.5, 0.3, Norm(0.9997, 1e-3)),
        ("nasnet_cifar10", 0.0, 0.4, Norm(0.9, 1e-5)),
    ],
)
def test_published_constants(name: str, dropout: float, drop_path: float, norm: Norm):
    """Keras's normalization, TF-Slim's keep probabilities."""
    model: Any = xx.create_model(name)
    assert (model.dropout_rate, model.drop_path_rate, model.norm) == (dropout, drop_path, norm)


# ---------------------------------------------------------------------------------------------- errors and starts


@pytest.mark.parametrize(("filters", "multiplier", "least"), [(1000, 2, 96), (0, 2, 96), (96, 3, 216), (12, 1, 24)])
def test_bad_penultimate_filters(filters: int, multiplier: int, least: int):
    """What is no multiple of 24 times the square of the multiplier is a ValueError that names both."""
    with pytest.raises(ValueError, match=rf"= {least}, not {filters}"):
        abstract_init(tiny(penultimate_filters=filters, filter_multiplier=multiplier), images_of(32))


@pytest.mark.parametrize(
    ("knob", "value", "message"),
    [
        ("cells", 0, "cells must be positive, not 2 and 0"),
        ("drop_path_rate", 1.0, "less than 1, not 1.0"),
        ("initialization", "kears", "did you mean keras"),
    ],
)
def test_bad_knobs(knob: str, value: Any, message: str):
    """A value that makes no sense is a ValueError that says so."""
    with pytest.raises(ValueError, match=message):
        abstract_init(tiny(**{knob: value}), images_of(32))


@pytest.mark.parametrize(
    ("initialization", "variances"),
    [
        ("keras", {"conv_1": 2 / 600, "depthwise": 2 / (25 + 25 * 200), "pointwise": 2 / 400}),
        ("slim", {"conv_1": 2 / 200, "depthwise": 2 / 25, "pointwise": 2 / 200}),
    ],
)
def test_initialization(initialization: str, variances: dict[str, float]):
    """He's by what comes in and Glorot's for the separable ones in Keras; He's by what goes out in TF-Slim, where a
    depthwise kernel goes out to one channel."""
    x, before = np.zeros((1, 4, 4, 600), np.float32), np.zeros((1, 4, 4, 200), np.float32)
    cell = Cell(NORMAL, 200, 1, None, (), 0.0, NORM, nasnet.INITIALIZERS[initialization])
    start: Callable[..., Any] = jax.jit(lambda key: cell.init(key, x, before, train=False))
    params = start(jax.random.key(0))["params"]
    kernels = {"conv_1": params["conv_1"]["conv"], **params["left1_1"]}
    for layer, variance in variances.items():
        assert np.asarray(kernels[layer]["kernel"], np.float64).var() == pytest.approx(variance, rel=0.06)
