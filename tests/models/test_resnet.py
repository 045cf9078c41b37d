"""ResNets: the tables of the papers and the notes, blocks in NumPy, shortcuts, zeroed blocks."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zoo import abstract_init, apply, endpoint_shapes, images_of, initialized, random_images, random_variables, shapes

import xxnet_jax as xx
from xxnet_jax.analysis.macs import count_macs
from xxnet_jax.models import count_parameters
from xxnet_jax.models.layers import Norm


def tiny(name: str = "resnet50", **options: Any) -> Any:
    """Two stages of two blocks, few features, five classes."""
    defaults = {"depths": (2, 2), "widths": (4, 6), "stem_features": 4, "num_classes": 5}
    return xx.create_model(name, **{**defaults, **options})


# ------------------------------------------------------------------------------------------- counts and tables


@pytest.mark.parametrize(
    ("name", "shortcut", "expected"),
    [
        ("resnet18", "A", 11_515_688),
        ("resnet18", "C", 12_043_816),
        ("resnet34", "A", 21_623_848),
        ("resnet34", "C", 22_716_840),
        ("resnet50.paper", "A", 22_780_456),
        ("resnet50.paper", "C", 40_128_552),
        ("resnet101.paper", "A", 41_772_584),
        ("resnet101.paper", "C", 76_981_288),
        ("resnet152.paper", "A", 57_416_232),
        ("resnet152.paper", "C", 107_335_720),
    ],
)
def test_parameters_by_shortcut(name: str, shortcut: str, expected: int):
    """The notes' arithmetic for the shortcut options that are not the registered one."""
    model = xx.create_model(name, shortcut=shortcut)
    assert count_parameters(abstract_init(model, images_of(224))["params"]) == expected


def test_plain_networks_cost_what_residual_ones_do():
    """Without shortcuts parameters and operations are those of option A (section 3.3)."""
    for plain, residual in (("plain18", "resnet18"), ("plain20", "resnet20"), ("plain56", "resnet56")):
        shape = xx.model_info(plain).input_shape
        models = xx.create_model(plain), xx.create_model(residual, shortcut="A")
        trees = [abstract_init(model, images_of(*shape)) for model in models]
        assert jax.tree.structure(trees[0]) == jax.tree.structure(trees[1])
        assert count_parameters(trees[0]) == count_parameters(trees[1])
        assert count_macs(models[0], shape) == count_macs(models[1], shape)


@pytest.mark.parametrize(
    ("name", "macs"),
    [
        ("resnet18", 1_814_073_344),
        ("resnet34", 3_663_761_408),
        ("resnet50", 3_857_973_248),
        ("resnet101", 7_570_194_432),
        ("resnet152", 11_282_415_616),
        ("resnet50v2", 3_482_255_360),
        ("resnet101v2", 7_194_476_544),
        ("resnet50.xxnet", 6_735_265_792),
        ("resnet50.notebook", 3_857_973_248),
        ("resnet20", 40_551_040),
        ("resnet110", 252_887_680),
    ],
)
def test_operations(name: str, macs: int):
    """Multiply-accumulates as the notes count them."""
    assert count_macs(xx.create_model(name), xx.model_info(name).input_shape) == macs


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet50.notebook", "resnet50.xxnet"]
)
def test_maps_of_the_table(name: str):
    """Maps of 112, 56, 28, 14 and 7 pixels; names are Keras's."""
    found = shapes(name, 224)
    wide = 1 if name in ("resnet18", "resnet34") else 4
    assert next(iter(found.values())) == (112, 112, 64)
    assert found["pool1_pool"] == (56, 56, 64)
    for stage, (side, depth) in enumerate(zip((56, 28, 14, 7), xx.create_model(name).depths, strict=True), start=2):  # type: ignore[attr-defined]
        for number in range(1, depth + 1):
            assert found[f"conv{stage}_block{number}_out"] == (side, side, 64 * wide * 2 ** (stage - 2))
        assert f"conv{stage}_block{depth + 1}_out" not in found
    assert found["avg_pool"] == (64 * wide * 8,)
    assert list(found)[-1] == "predictions"


def test_maps_of_v2():
    """The last block of a stage halves the map, so conv2 ends with 28 pixels; conv5 does not halve any more."""
    found = shapes("resnet50v2", 224)
    assert found["conv2_block2_out"] == (56, 56, 256)
    assert [found[f"conv{stage}_block{depth}_out"] for stage, depth in ((2, 3), (3, 4), (4, 6), (5, 3))] == [
        (28, 28, 256),
        (14, 14, 512),
        (7, 7, 1024),
        (7, 7, 2048),
    ]
    assert found["post_relu"] == (7, 7, 2048)


@pytest.mark.parametrize(("name", "layers"), [("resnet20", 20), ("resnet56", 56), ("resnet164v2", 164)])
def test_depth(name: str, layers: int):
    """As many convolutions, shortcuts aside, and dense layers as the name says."""
    params = abstract_init(xx.create_model(name), images_of(32))["params"]
    weights = [module for module, tree in params.items() if "kernel" in tree or "conv" in tree]
    assert len([module for module in weights if not module.endswith("_0")]) == layers
    found = shapes(name, 32)
    assert [found[f"conv{stage}_block1_out"][0] for stage in (2, 3, 4)] == [32, 16, 8]


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet50v2", "resnet50.notebook", "resnet20"])
def test_any_size(name: str):
    """From one pixel on, and larger than nominal; with `spatial` the scores of every window of 7 or 8 pixels."""
    model = tiny(name, spatial=True)
    assert endpoint_shapes(model, images_of(1))["predictions"] == (1, 1, 5)
    found = endpoint_shapes(model, images_of(131, 97))
    rows, columns = list(found.values())[-3][:2]
    assert found["predictions"] == (rows - model.window + 1, columns - model.window + 1, 5)


# ------------------------------------------------------------------------------------------- the forward pass in NumPy


def padded(x: np.ndarray, size: int, stride: int, pads: str | int, outside: float) -> np.ndarray:
    """With `pads` pixels on each side, or "SAME" as TensorFlow: more behind than before."""
    sides: list[Any] = [(pads, pads)] * 2
    if pads == "SAME":
        missing = [max((-(-side // stride) - 1) * stride + size - side, 0) for side in x.shape[:2]]
        sides = [(n // 2, n - n // 2) for n in missing]
    return np.pad(x, (*sides, (0, 0)), constant_values=outside)


def windows(x: np.ndarray, size: int, stride: int) -> np.ndarray:
    """[rows, columns, channels, size, size]"""
    return np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(0, 1))[::stride, ::stride]  # type: ignore[call-overload]


def convolution(p: Any, x: np.ndarray, stride: int, pads: str | int) -> np.ndarray:
    """In float64."""
    kernel = p["kernel"].astype(np.float64)
    size = kernel.shape[0]
    maps = windows(padded(x, size, stride, pads, 0), size, stride)
    return np.einsum("rcxhw,hwxf->rcf", maps, kernel) + p.get("bias", 0)


def normalized(p: Any, s: Any, x: np.ndarray, epsilon: float) -> np.ndarray:
    return (x - s["mean"]) / np.sqrt(s["var"] + epsilon) * p["scale"] + p["bias"]


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def pooled(x: np.ndarray, pads: str | int) -> np.ndarray:
    """3x3/2 maxima; padding is never one."""
    return windows(padded(x, 3, 2, pads, -np.inf), 3, 2).max(axis=(-1, -2))


def notebook(v: Any, x: np.ndarray, basic: bool) -> np.ndarray:
    """The notes' network of two stages with two blocks, slip by slip (seed 002, 513-631)."""

    def unit(name: str, x: np.ndarray, stride: int = 1) -> np.ndarray:
        p, s = v["params"][name], v["batch_stats"][name]
        return normalized(p["bn"], s["bn"], convolution(p["conv"], x, stride, "SAME"), 1e-3)

    x = pooled(unit("conv1", x, 2), "SAME")  # no ReLU
    for stage in (2, 3):
        for block in (1, 2):
            name, stride = f"conv{stage}_block{block}", 2 if (stage, block) == (3, 1) else 1
            if basic:
                y = unit(f"{name}_2", unit(f"{name}_1", x, stride))  # no ReLU
            else:
                y = unit(f"{name}_3", unit(f"{name}_2", relu(unit(f"{name}_1", x, stride))))  # none after the second
            x = relu(y + (unit(f"{name}_0", x, stride) if f"{name}_0" in v["params"] else x))
    return x


def xxnet(v: Any, x: np.ndarray, basic: bool) -> np.ndarray:
    """The notes' other network: ReLU before normalization, 3x3 shortcuts, sums as they are (seed 004, 467-528)."""
    assert not basic

    def unit(name: str, x: np.ndarray, stride: int = 1, pads: str | int = "SAME") -> np.ndarray:
        p, s = v["params"][name], v["batch_stats"][name]
        return normalized(p["bn"], s["bn"], relu(convolution(p["conv"], x, stride, pads)), 1e-3)

    x = pooled(unit("conv1", x, 2, 3), "SAME")
    for stage in (2, 3):
        for block in (1, 2):
            name, stride = f"conv{stage}_block{block}", 2 if (stage, block) == (3, 1) else 1
            y = unit(f"{name}_3", unit(f"{name}_2", unit(f"{name}_1", x, stride)))
            x = y + (unit(f"{name}_0", x, stride) if block == 1 else x)
    return x


def preactivated(v: Any, x: np.ndarray, basic: bool) -> np.ndarray:
    """Pre-activation as in the paper (Figure 1b): the projection sees what is normalized, the identity what is not."""

    def active(name: str, x: np.ndarray) -> np.ndarray:
        return relu(normalized(v["params"][name], v["batch_stats"][name], x, 1e-5))

    def conv(name: str, x: np.ndarray, stride: int = 1) -> np.ndarray:
        p = v["params"][name]["conv"]
        return convolution(p, x, stride, p["kernel"].shape[0] // 2)

    def behind(name: str, x: np.ndarray) -> np.ndarray:
        return relu(normalized(v["params"][name]["bn"], v["batch_stats"][name]["bn"], x, 1e-5))

    x = conv("conv1", x)
    for stage in (2, 3):
        for block in (1, 2):
            name, stride = f"conv{stage}_block{block}", 2 if (stage, block) == (3, 1) else 1
            first = active(f"{name}_preact", x)
            y = behind(f"{name}_1", conv(f"{name}_1", first, stride))
            if not basic:
                y = behind(f"{name}_2", conv(f"{name}_2", y))
            y = conv(f"{name}_{2 if basic else 3}", y)
            x = y + (conv(f"{name}_0", first, stride) if f"{name}_0" in v["params"] else x)
    return active("post", x)


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("resnet18.notebook", notebook),
        ("resnet50.notebook", notebook),
        ("resnet50.xxnet", xxnet),
        ("wide_resnet16_4", preactivated),
        ("resnet164v2", preactivated),
    ],
)
@pytest.mark.parametrize("size", [(32, 32), (27, 22)])
def test_forward_pass_in_numpy(name: str, reference: Any, size: tuple[int, int]):
    """The networks that no framework has, in float64."""
    model = tiny(name, num_classes=None)
    variables, images = random_variables(model), random_images(*size)
    expected = np.stack([reference(variables, image.astype(np.float64), model.block == "basic") for image in images])
    largest = np.abs(expected).max()
    assert np.abs(expected[0] - expected[1]).max() > 0.05 * largest
    found = apply(model, variables, images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * largest)
    # were an epsilon, a ReLU or the side of the padding another, this test would know
    mutants: list[dict[str, Any]] = [{"norm": Norm(epsilon=0.1)}]
    if not model.norm_last:
        mutants.append({"linear": () if model.linear else (1,)})
    if model.block == "basic" and size == (32, 32):  # odd maps, and strides of 1x1, have the same padding either way
        mutants.append({"symmetric": not model.symmetric})
    for wrong in mutants:
        assert np.abs(apply(model.clone(**wrong), variables, images) - expected).max() > 1e-3 * largest, wrong


# ------------------------------------------------------------------------------------------- residuals


def test_zeroed_blocks_are_the_identity():
    """The notes' experiment: a deeper network whose further blocks are zero computes what the shallower one does."""
    shallow, deep = xx.create_model("resnet20"), xx.create_model("resnet56")
    few, many = initialized(shallow, 32), initialized(deep, 32)
    random = np.random.default_rng(0)
    few["params"] = jax.tree.map(
        lambda leaf: leaf + 0.1 * random.normal(size=leaf.shape).astype(np.float32), few["params"]
    )
    zeroed = jax.tree.map(jnp.zeros_like, many["params"])
    variables = {"params": zeroed | few["params"], "batch_stats": many["batch_stats"] | few["batch_stats"]}
    images = random_images(32, 32)
    # Operation by operation: two compiled programs may round differently.
    expected: Any = shallow.apply(few, images, train=False)
    np.testing.assert_array_equal(deep.apply(variables, images, train=False), expected)
    assert np.abs(apply(deep, variables | {"params": many["params"] | few["params"]}, images) - expected).max() > 1e-3
    plain = apply(xx.create_model("plain56"), variables, images)  # without shortcuts zero is not the identity
    assert np.ptp(plain, axis=0).max() == 0


@pytest.mark.parametrize("name", ["resnet20", "resnet18", "resnet50", "wide_resnet16_4"])
def test_zero_init(name: str):
    """With `zero_init` every block starts as its shortcut."""
    model = tiny(name, zero_init=True, shortcut="A", stem_features=4)
    points = xx.endpoints(model, initialized(model, 32), jnp.asarray(random_images(32, 32)))
    before = points["conv1_conv" if model.preactivation else "pool1_pool" if model.stem == "imagenet" else "conv1_relu"]
    np.testing.assert_array_equal(points["conv2_block2_out"][..., :4], before)
    np.testing.assert_array_equal(points["conv3_block1_out"][..., :4], before[:, ::2, ::2])
    np.testing.assert_array_equal(points["conv3_block1_out"][..., 4:], 0)
    assert np.ptp(apply(tiny(name, shortcut="A", stem_features=4), initialized(model, 32), random_images(32, 32))) > 0


def test_stochastic_depth():
    """At a rate of 1 the last block of four is always left out while training, the first three at 1/4, 2/4, 3/4."""
    model = tiny("resnet20", drop_path_rate=1.0)
    variables = random_variables(model)
    images = random_images(32, 32, scales=[1] * 64)
    keys = {"rngs": {"dropout": jax.random.key(0)}, "mutable": ["intermediates", "batch_stats"]}
    _, state = apply(model, variables, images, train=True, **keys)
    points = state["intermediates"]["endpoints"]
    np.testing.assert_array_equal(points["conv3_block2_out"], points["conv3_block1_out"])
    left_out = np.all(points["conv2_block2_out"] == points["conv2_block1_out"], axis=(1, 2, 3))
    assert 16 < left_out.sum() < 48  # half of 64, four deviations of 4 around
    inference = apply(model, variables, images)
    np.testing.assert_array_equal(inference, apply(tiny("resnet20"), variables, images))


@pytest.mark.parametrize("name", ["resnet20", "wide_resnet16_4"])
def test_gates(name: str):
    """A closed gate leaves the shortcut, an open one the residual; in between their weighted mean."""
    model = tiny(name, gated=True, widths=(8, 8), stem_features=8)
    variables = random_variables(model)
    images = random_images(32, 32)

    def with_gates(bias: float) -> dict[str, Any]:
        params = {
            module: {"kernel": 0 * tree["kernel"], "bias": 0 * tree["bias"] + bias} if module.endswith("gate") else tree
            for module, tree in variables["params"].items()
        }
        return xx.endpoints(model, variables | {"params": params}, jnp.asarray(images))

    closed = with_gates(-100.0)
    stem = next(iter(closed))
    np.testing.assert_array_equal(closed["conv2_block2_out"], closed[stem])
    np.testing.assert_array_equal(closed["conv3_block2_out"], closed[stem][:, ::2, ::2])
    ungated = xx.endpoints(tiny(name, widths=(8, 8), stem_features=8), variables, jnp.asarray(images))[
        "conv2_block1_out"
    ]
    half = with_gates(0.0)["conv2_block1_out"]
    np.testing.assert_allclose(2 * np.asarray(half), ungated, rtol=1e-5, atol=1e-5)
    gates = {name: tree for name, tree in initialized(model, 32)["params"].items() if name.endswith("gate")}
    assert len(gates) == 4
    assert all(np.all(gate["bias"] == -2) for gate in gates.values())


@pytest.mark.skipif(
    jax.default_backend() != "cpu" or jax.__version_info__ < (0, 12), reason="`materialized` does nothing there"
)
def test_compiled_step_grows_linearly():
    """Each block more adds as many instructions to a compiled gradient as the one before: XLA repeats none."""

    def instructions(depth: int) -> int:
        model = tiny("resnet20", depths=(depth,), widths=(4,))
        variables, x = initialized(model, 8), jnp.zeros((2, 8, 8, 3))

        def loss(params: Any) -> jax.Array:
            return model.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])[0].sum()

        return str(jax.jit(jax.grad(loss)).lower(variables["params"]).compile().as_text()).count("\n")

    few, some, many = map(instructions, (4, 8, 12))
    assert many - some <= 1.02 * (some - few)


def test_dropout_between_the_convolutions():
    """A Wide ResNet with dropout draws from "dropout" while training; without a rate it needs no key."""
    model = tiny("wide_resnet16_4", dropout_rate=0.5)
    variables, images = random_variables(model), random_images(32, 32)
    one, other = (
        apply(model, variables, images, train=True, rngs={"dropout": jax.random.key(seed)}, mutable=["batch_stats"])[0]
        for seed in (0, 1)
    )
    assert np.abs(one - other).max() > 1e-3
    apply(tiny("wide_resnet16_4"), variables, images, train=True, mutable=["batch_stats"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shortcut": "D"}, "shortcut must be 'A', 'B', 'C' or None, not 'D'"),
        ({"block": "wide"}, "block must be 'basic' or 'bottleneck', not 'wide'"),
        ({"shortcut": "A", "stem_features": 64}, "A cannot drop features"),
        ({"initialization": "he"}, "he_normal"),
    ],
)
def test_bad_knobs(options: Any, message: str):
    """A value that makes no sense is a ValueError that says what would."""
    with pytest.raises(ValueError, match=message):
        abstract_init(tiny("resnet20", **options), images_of(32))
