"""The views of the papers' test protocols, against PIL's own scaling and cropping, on two photographs."""

import itertools

import numpy as np
import pytest
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_images

from xxnet_jax.data.views import centre_crop, corners_and_centre, googlenet_crops, grid_crops, mirrored, ten_crop, whole
from xxnet_jax.errors import InvalidArgument

SIZE = 224


@pytest.fixture(scope="module")
def photographs() -> list[np.ndarray]:
    """Two photographs of 427x640, and one of them as a portrait."""
    china, flower = load_sample_images().images
    return [china, flower, np.swapaxes(china, 0, 1)]


def scaled(photograph: np.ndarray, shorter: int) -> Image.Image:
    """By PIL; the longer side is rounded down."""
    picture = Image.fromarray(photograph)
    width, height = picture.size
    if width < height:
        return picture.resize((shorter, height * shorter // width), Image.Resampling.BILINEAR)
    return picture.resize((width * shorter // height, shorter), Image.Resampling.BILINEAR)


def five(square: Image.Image, size: int = SIZE) -> list[Image.Image]:
    """The corners and the middle of a square, upper left corners written out."""
    more = square.width - size
    corners = [(0, 0), (more, 0), (0, more), (more, more), (more // 2, more // 2)]
    return [square.crop((left, top, left + size, top + size)) for left, top in corners]


def both(pictures: list[Image.Image]) -> list[np.ndarray]:
    return [np.asarray(each) for picture in pictures for each in (picture, ImageOps.mirror(picture))]


def assert_same(views: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert [view.shape for view in views] == [view.shape for view in expected]
    assert all(view.dtype == np.uint8 for view in views)
    for view, wanted in zip(views, expected, strict=True):
        np.testing.assert_array_equal(view, wanted)


def test_ten_crop_is_alexnets(photographs: list[np.ndarray]):
    """Scaled to 256, the middle 256x256, its corners and middle of 224x224, each also mirrored: ten views."""
    for photograph in photographs:
        picture = scaled(photograph, 256)
        left, top = (round((side - 256) / 2) for side in picture.size)
        square = picture.crop((left, top, left + 256, top + 256))
        views = ten_crop(photograph, SIZE, (256,))
        assert len(views) == 10
        assert_same(views, both(five(square)))


def test_centre_crop(photographs: list[np.ndarray]):
    """The fifth square of the ten, unmirrored."""
    for photograph in photographs:
        (view,) = centre_crop(photograph, SIZE, (256,))
        np.testing.assert_array_equal(view, ten_crop(photograph, SIZE, (256,))[8])


def test_googlenet_has_144_crops(photographs: list[np.ndarray]):
    """4 scales, of each 3 squares at the ends and in the middle of the longer side, of each 6 views, mirrored."""
    for photograph in photographs:
        expected = []
        for scale in (256, 288, 320, 352):
            picture = scaled(photograph, scale)
            more = max(picture.size) - scale
            for along in (0, more // 2, more):
                left, top = (along, 0) if picture.width > picture.height else (0, along)
                square = picture.crop((left, top, left + scale, top + scale))
                expected += both([*five(square), square.resize((SIZE, SIZE), Image.Resampling.BILINEAR)])
        views = googlenet_crops(photograph, SIZE, (256, 288, 320, 352))
        assert len(views) == 144
        assert_same(views, expected)


@pytest.mark.parametrize("portrait", [False, True])
def test_places_of_googlenets_crops(portrait: bool):
    """Where the squares of 224 lie in an image of 288x400, read off pixels that tell their own place."""
    row, column = np.meshgrid(np.arange(288), np.arange(400), indexing="ij")
    image = np.stack([row % 256, column % 256, 2 * (row // 256) + column // 256], axis=-1).astype(np.uint8)
    image = np.swapaxes(image, 0, 1) if portrait else image
    positions = {tuple(image[place]): place for place in np.ndindex(image.shape[:2])}
    assert len(positions) == 288 * 400
    views = googlenet_crops(image, SIZE, (288,))
    assert len(views) == 36
    plain = [views[12 * square + 2 * number] for square in range(3) for number in range(5)]
    found = {positions[tuple(view[0, 0])] for view in plain}
    along = (0, 56, 112)  # of 400 - 288; across, 288 - 224 = 64 are left
    corners = {(a, start + b) for start in along for a, b in itertools.product((0, 64), repeat=2)}
    expected = corners | {(32, start + 32) for start in along}
    assert found == ({(left, top) for top, left in expected} if portrait else expected)


def test_grid_crops_reach_from_edge_to_edge(photographs: list[np.ndarray]):
    """50 views for each of VGG's scales: 5x5 places at equal distances in the whole photograph, mirrored."""
    for photograph in photographs:
        picture = scaled(photograph, 384)
        width, height = picture.size
        places = itertools.product(
            *([round(part * (side - SIZE) / 4) for part in range(5)] for side in (height, width))
        )
        expected = both([picture.crop((left, top, left + SIZE, top + SIZE)) for top, left in places])
        assert_same(grid_crops(photograph, SIZE, (384,)), expected)
    assert len(grid_crops(photographs[0], SIZE, (256, 384, 512))) == 150


def test_whole_photographs_have_few_shapes(photographs: list[np.ndarray]):
    """Uncut they are what PIL makes; cut, the longer side exceeds the shorter one by a multiple of 32."""
    for photograph in photographs:
        picture = scaled(photograph, 256)  # 256x383
        np.testing.assert_array_equal(whole(photograph, 256), np.asarray(picture))
        window = (15, 0, 367, 256) if picture.width > picture.height else (0, 15, 256, 367)
        np.testing.assert_array_equal(whole(photograph, 256, 32), np.asarray(picture.crop(window)))


@pytest.mark.parametrize("cut", [ten_crop, googlenet_crops, grid_crops])
def test_views_of_a_mirror_image_are_mirror_images_of_the_views(cut):
    """Left and right are treated alike: the same set of views. (Nothing is resized: all margins are even.)"""
    image = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    views, others = (sorted(view.tobytes() for view in cut(each, 8, (16,))) for each in (image, image[:, ::-1]))
    assert views == others
    pairs = cut(image, 8, (16,))
    assert_same(pairs[1::2], [view[:, ::-1] for view in pairs[::2]])
    assert_same(mirrored(pairs[::2]), pairs)


def test_squares_must_fit():
    """A square that is larger than the image is refused."""
    image = np.zeros((200, 300, 3), np.uint8)
    with pytest.raises(InvalidArgument, match="square of 224 cannot be cut from an image of 200x300"):
        corners_and_centre(image, SIZE)
    for cut in (ten_crop, googlenet_crops, grid_crops, centre_crop):
        with pytest.raises(InvalidArgument, match="224"):
            cut(image, SIZE, (200,))
