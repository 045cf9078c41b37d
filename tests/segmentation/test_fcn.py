"""FCN: where the scores of a map lie on the images, what it shares with VGG, and transposed convolutions."""

from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zoo import abstract_init, images_of

import xxnet_jax as xx
from xxnet_jax.errors import InvalidArgument, UnknownName
from xxnet_jax.models.layers import Conv, windows_along
from xxnet_jax.segmentation.fcn import SKIPS, Grid, bilinear, create_fcn, enlarged, on_pixels, overlap

SMALL: dict[str, Any] = {"features_of_blocks": (2, 3, 4, 4, 5), "dense": (6, 7)}


def ramp(cells: int, stride: int, first: float) -> Grid:
    """A map whose values are the places of its cells, along both sides."""
    places = first + stride * np.arange(cells)
    values = np.stack(np.meshgrid(places, places, indexing="ij"), -1)[None]
    return Grid(jnp.asarray(values, jnp.float32), stride, first)


def initialized(model: Any, side: int) -> Any:
    return jax.jit(lambda key: model.init(key, jnp.zeros((1, side, side, 3)), train=False))(jax.random.key(0))


@pytest.mark.parametrize("factor", [2, 8, 16, 32])
def test_a_ramp_stays_one(factor: int):
    """What rises from cell to cell rises evenly between them, and each value is where its cell says it is."""
    grid = enlarged(ramp(5, 32, -16.5), factor)
    assert grid.values.shape == (1, factor * 6, factor * 6, 2)
    places = grid.first + grid.stride * np.arange(factor * 6)
    inside = (places >= -16.5) & (places <= -16.5 + 4 * 32)
    found = np.asarray(grid.values)[0][inside][:, inside]
    np.testing.assert_allclose(found[..., 0], np.broadcast_to(places[inside, None], found.shape[:2]), atol=1e-4)
    np.testing.assert_allclose(found[..., 1], np.broadcast_to(places[inside], found.shape[:2]), atol=1e-4)


@pytest.mark.parametrize(("first", "other"), [(-8.5, 7.5), (7.5, -8.5), (-24.5, 7.5), (7.5, 7.5)])
def test_overlap(first: float, other: float):
    """The cells that both maps have lie at the same places."""
    one, two = overlap(ramp(6, 16, first), ramp(5, 16, other))
    assert one.first == two.first == max(first, other)
    np.testing.assert_array_equal(one.values, two.values)
    ends = min(first + 16 * 5, other + 16 * 4)
    assert float(one.values.max()) == ends


def test_on_pixels():
    """Pixel (y, x) has the value of the cell at (y, x); where there is none, that is an error."""
    cut = on_pixels(ramp(12, 1, -3.0), (5, 9))
    np.testing.assert_array_equal(cut[0, :, 0, 0], np.arange(5))
    np.testing.assert_array_equal(cut[0, 0, :, 1], np.arange(9))
    for first, size in ((1.0, (2, 2)), (-3.0, (5, 10))):
        with pytest.raises(InvalidArgument, match="more padding"):
            on_pixels(ramp(12, 1, first), size)


@pytest.mark.parametrize("features", [1, 3])
def test_learnt_enlarging_begins_as_interpolation(features: int):
    """The transposed convolution of the bilinear kernel is the product of matrices."""
    maps = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 5, features)), jnp.float32)
    layer = nn.ConvTranspose(features, (4, 4), (2, 2), "VALID", use_bias=False, kernel_init=bilinear)
    found, _ = layer.init_with_output(jax.random.key(0), maps)
    np.testing.assert_allclose(found, enlarged(Grid(maps, 2, 0.0), 2).values, rtol=1e-6, atol=1e-6)
    with pytest.raises(InvalidArgument, match="interpolates"):
        bilinear(jax.random.key(0), (3, 3, features, features))


def test_the_notes_transposed_convolution():
    """2x2 becomes 4x4 with a kernel of 3x3, or 5x5 with a stride of 2; it is the transpose of the convolution's matrix,
    not its inverse."""
    x, kernel = jnp.asarray([[1.0, 2], [3, 4]])[None, ..., None], jnp.arange(9.0).reshape(3, 3, 1, 1)

    def transposed(stride: int) -> Any:
        layer = nn.ConvTranspose(1, (3, 3), (stride, stride), "VALID", transpose_kernel=True, use_bias=False)
        return layer.apply({"params": {"kernel": kernel}}, x)

    expected = [[0, 1, 4, 4], [3, 13, 23, 18], [15, 43, 53, 36], [18, 45, 52, 32]]
    np.testing.assert_array_equal(transposed(1)[0, ..., 0], expected)
    assert transposed(2).shape == (1, 5, 5, 1)
    layer: Any = Conv(1, (3, 3), padding="VALID", use_bias=False)
    columns = [layer.apply({"params": {"kernel": kernel}}, each.reshape(1, 4, 4, 1)).ravel() for each in np.eye(16)]
    matrix = np.stack(columns, axis=1)
    np.testing.assert_array_equal(matrix.T @ np.asarray(x).ravel(), np.ravel(expected))
    assert not np.allclose(matrix @ matrix.T, np.eye(4))


@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_dilated_convolution(dilation: int):
    """A kernel with holes is a larger kernel with zeros in them."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((1, 11, 12, 2)), jnp.float32)
    kernel = rng.standard_normal((3, 3, 2, 4)).astype(np.float32)
    holes: Any = Conv(4, (3, 3), padding="VALID", kernel_dilation=dilation, use_bias=False)
    found = holes.apply({"params": {"kernel": jnp.asarray(kernel)}}, x)
    window = 2 * dilation + 1
    wide = np.zeros((window, window, 2, 4), np.float32)
    wide[::dilation, ::dilation] = kernel
    filled: Any = Conv(4, (window, window), padding="VALID", use_bias=False)
    expected = filled.apply({"params": {"kernel": jnp.asarray(wide)}}, x)
    assert found.shape[1:3] == (windows_along(11, window, 1), windows_along(12, window, 1))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_the_coarse_scores_are_vggs():
    """VGG's variables give the scores of VGG on every window (dense evaluation)."""
    vgg: Any = xx.create_model("vgg16", num_classes=9, spatial=True, **SMALL)
    variables = initialized(vgg, 224)
    images = jnp.asarray(np.random.default_rng(0).standard_normal((1, 256, 288, 3)), jnp.float32)
    fcn: Any = create_fcn("vgg16", 9, upsampling=32, padding=0, final_endpoint="predictions", **SMALL)
    found = fcn.apply(variables, images, train=False)
    assert found.shape == (1, 2, 3, 9)
    np.testing.assert_allclose(found, vgg.apply(variables, images, train=False), rtol=1e-5, atol=1e-6)
    whole = create_fcn("vgg16", 9, upsampling=32, **SMALL)
    chex.assert_trees_all_equal_shapes(abstract_init(whole, images_of(32, 32, 3))["params"], variables["params"])


@pytest.mark.parametrize("upsampling", list(SKIPS))
@pytest.mark.parametrize("size", [(1, 1), (31, 97), (64, 33)])
@pytest.mark.parametrize("knobs", [{}, {"padding": 16, "window": 3}, {"padding": 0, "window": 1}])
def test_every_pixel_of_any_image_has_scores(upsampling: Any, size: tuple[int, int], knobs: dict[str, Any]):
    """Also of one that is smaller than a cell, if there is padding enough for a window."""
    model = create_fcn("vgg11", 4, upsampling=upsampling, **SMALL, **knobs)
    assert model.smallest_input() == (1 if knobs.get("padding") != 16 else 33)
    size = (max(size[0], model.smallest_input()), max(size[1], model.smallest_input()))
    images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    scores = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x, train=False)[0], images)
    assert (scores.shape, scores.dtype) == ((2, *size, 4), jnp.float32)


@pytest.mark.parametrize("upsampling", list(SKIPS))
def test_a_pixel_is_scored_by_what_is_around_it(upsampling: Any):
    """The scores of a pixel change most where a pixel of the image is changed: the maps lie where they should."""
    model = create_fcn("vgg11", 2, upsampling=upsampling, padding=0, window=1, **SMALL)
    variables = initialized(model, 96)
    keys = iter(jax.random.split(jax.random.key(1), 100))
    # All weights positive, so that nothing cancels and no ReLU is silent: the gradient is the path itself.
    variables = jax.tree.map(lambda leaf: jnp.abs(leaf) + 0.1 * jax.random.uniform(next(keys), leaf.shape), variables)

    def score(images: jax.Array) -> jax.Array:
        scores: Any = model.apply(variables, images, train=False)
        return scores[0, 40:56, 40:56].sum()  # symmetric around 47.5, the middle of the image

    seen = np.abs(
        jax.jit(jax.grad(score))(jnp.asarray(1 + 1e-3 * np.random.default_rng(0).random((1, 96, 96, 3)), jnp.float32))
    )
    weight = seen.sum(axis=(0, 3))
    places = np.arange(96)
    for axis in (0, 1):
        middle = (weight.sum(axis=1 - axis) * places).sum() / weight.sum()
        assert abs(middle - 47.5) < 8  # of a map of stride 32: maxima prefer no side for long


def test_parameters_learn():
    """All but what is fixed has a finite gradient that is not zero, once the maps that are added say anything."""
    model = create_fcn("vgg11", 3, padding=16, window=3, dropout_rate=0.0, initialization="he_normal", **SMALL)
    variables = initialized(model, 64)
    params = {**variables["params"]}
    images = jnp.asarray(np.random.default_rng(0).standard_normal((2, 64, 64, 3)), jnp.float32)

    def loss(params: Any) -> jax.Array:
        scores: Any = model.apply({"params": params}, images, train=True, rngs={"dropout": jax.random.key(0)})
        return -jax.nn.log_softmax(scores)[..., 0].mean()

    gradients = jax.jit(jax.grad(loss))(params)
    chex.assert_tree_all_finite(gradients)
    for name in ("score3", "score4", "upsample3", "upsample4", "predictions", "block1_conv1"):
        assert any(np.any(leaf) for leaf in jax.tree.leaves(gradients[name])), name
    assert not np.any(params["score3"]["kernel"])


def test_what_cannot_be_an_fcn():
    """Is refused, in words."""
    with pytest.raises(UnknownName, match="vgg16"):
        create_fcn("vgg15", 3)
    with pytest.raises(UnknownName, match="dropout_rate"):
        create_fcn("vgg16", 3, droput_rate=0.5)
    wrong: Any = 4
    with pytest.raises(UnknownName, match="upsampling"):
        initialized(create_fcn("vgg11", 3, upsampling=wrong, **SMALL), 32)
    with pytest.raises(InvalidArgument, match="more padding"):
        initialized(create_fcn("vgg11", 3, padding=64, **SMALL), 160)
