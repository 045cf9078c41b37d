"""Image files to arrays, and arrays to the size that a network takes; all on the host, all uint8."""

import io
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from xxnet_jax.errors import CorruptData, InvalidArgument, MissingData, UnknownName

try:
    import simplejpeg

    decode_jpeg: Any = simplejpeg.decode_jpeg
except ImportError:  # not on every machine; PIL does the same in more time
    decode_jpeg = None

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"})

Fit = Literal["resize", "pad", "crop"]
Interpolation = Literal["bilinear", "bicubic"]
CENTRAL_PART = 0.875  # of the shorter side, in the middle: what networks for ImageNet are tested on


def read_image(path: Path, channels: int) -> np.ndarray:
    """An image file as uint8 [height, width, channels], upright, transparency over white.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is not an image, or is damaged; the message names it.
    """
    try:
        with path.open("rb") as file:
            return decode_image(file, str(path), channels)
    except FileNotFoundError as error:
        raise MissingData(f"no image file {path}") from error
    except OSError as error:
        raise CorruptData(f"cannot read the image {path}: {error}") from error


def decode_image(file: BinaryIO, name: str, channels: int) -> np.ndarray:
    """An open image file as `read_image` gives it; `name` is for messages.

    Raises:
        ValueError: it is not an image, or is damaged.
    """
    try:
        with Image.open(file) as image:
            if (pixels := _jpeg_pixels(image, file)) is not None:
                return with_channels(pixels, channels)
            image.load()
            image = ImageOps.exif_transpose(image)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        reason = (
            "it is none, or of a kind that PIL does not know" if str(error).startswith("cannot identify") else error
        )
        raise CorruptData(f"cannot decode the image {name}: {reason}") from error
    return with_channels(_eight_bits(image), channels)


_COLOURSPACES = {"RGB": "RGB", "L": "GRAY"}  # of PIL's modes


def _jpeg_pixels(image: Image.Image, file: BinaryIO) -> np.ndarray | None:
    """The pixels of an opened JPEG file as uint8 [height, width, 1 or 3]; None where PIL must see to it.

    simplejpeg has the library that PIL has, and so its pixels, in two thirds of the time: it decodes into the array.
    """
    if decode_jpeg is None or image.format != "JPEG" or image.mode not in _COLOURSPACES:
        return None
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        return None
    file.seek(0)
    try:
        return decode_jpeg(file.read(), _COLOURSPACES[image.mode], fastdct=False, fastupsample=False, strict=True)
    except ValueError:  # damaged, be it ever so little: PIL decides whether it can be read
        return None


def _eight_bits(image: Image.Image) -> np.ndarray:
    """A PIL image of any mode as uint8 [height, width, 1 or 3]."""
    if image.mode in ("I", "I;16", "I;16B", "I;16L", "F"):
        values = np.asarray(image, np.float64)
        # 16 bits are scaled, not clipped; mode I may have been either, and PIL does not say which.
        if image.mode.startswith("I;16") or values.max(initial=0) > 255:
            values = values / 257
        return np.clip(np.rint(values), 0, 255).astype(np.uint8)[..., None]
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    mode = "L" if image.mode in ("1", "L") else "RGB"
    array = np.asarray(image if image.mode == mode else image.convert(mode))
    return array[..., None] if mode == "L" else array


def png_bytes(image: np.ndarray) -> bytes:
    """uint8 [height, width, 1 or 3] as a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(stream, format="png")
    return stream.getvalue()


def with_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """uint8 [height, width, 1 or 3] as 1 channel (luma of ITU-R 601) or 3 (repeated gray)."""
    have = image.shape[-1]
    if have == channels:
        return image
    if (have, channels) == (1, 3):
        return np.repeat(image, 3, axis=-1)
    if (have, channels) == (3, 1):
        return np.asarray(Image.fromarray(image).convert("L"))[..., None]
    raise InvalidArgument(f"cannot make {channels} channels of an image with {have}")


def padded(images: list[np.ndarray], number: int) -> list[np.ndarray]:
    """As many images as all batches have, by repeats of the first: so that what is compiled sees one shape."""
    return images + images[:1] * (number - len(images))


def fit_image(
    image: np.ndarray, height: int, width: int, fit: Fit = "resize", shorter_side: int | None = None
) -> np.ndarray:
    """uint8 [*, *, channels] as uint8 [height, width, channels].

    Args:
        image: of any size.
        height, width: wanted.
        fit: "resize" stretches (bilinear, antialiased); "pad" puts the image into the middle of zeros; "crop" scales it
            as a whole and cuts out the middle, a square.
        shorter_side: of the scaled image, with "crop"; by default `height` / .875, the 256 of 224.

    Raises:
        ValueError: "pad", and the image is larger than wanted; "crop", and what is wanted is no square, or larger than
            the shorter side.
    """
    if fit not in get_args(Fit):
        raise UnknownName("fit", fit, get_args(Fit))
    rows, columns = image.shape[:2]
    if fit == "crop":
        if height != width:
            raise InvalidArgument(f"fit='crop' cuts squares, {height}x{width} were wanted: use fit='resize'")
        return central_square(image, height, shorter_side or round(height / CENTRAL_PART))
    if (rows, columns) == (height, width):
        return image
    if fit == "pad":
        if rows > height or columns > width:
            raise InvalidArgument(
                f"an image of {rows}x{columns} cannot be padded to {height}x{width}: use fit='resize'"
            )
        top, left = (height - rows) // 2, (width - columns) // 2
        return np.pad(image, ((top, height - rows - top), (left, width - columns - left), (0, 0)))
    return _resized(image, height, width, "bilinear")


def central_square(
    image: np.ndarray, size: int, shorter_side: int, interpolation: Interpolation = "bilinear"
) -> np.ndarray:
    """uint8 [*, *, channels] as uint8 [size, size, channels]: scaled as a whole, then cut from the middle.

    Args:
        image: of any size.
        size: of the square.
        shorter_side: of the image before it is cut, at least `size`.
        interpolation: "bilinear" or "bicubic", antialiased.

    Raises:
        ValueError: the shorter side is less than the square's.
    """
    if shorter_side < size:
        raise InvalidArgument(f"a square of {size} cannot be cut from an image whose shorter side is {shorter_side}")
    image = scaled(image, shorter_side, interpolation)
    top, left = (round((side - size) / 2) for side in image.shape[:2])
    return image[top : top + size, left : left + size]


def squares(image: np.ndarray, side: int) -> list[np.ndarray]:
    """uint8 [side, side, channels] three times: the image scaled to this shorter side; the beginning, the middle and
    the end of its longer one."""
    image = scaled(image, side)
    rows, columns = (length - side for length in image.shape[:2])
    return [
        image[top : top + side, left : left + side]
        for top, left in ((0, 0), (rows // 2, columns // 2), (rows, columns))
    ]


def scaled(image: np.ndarray, shorter_side: int, interpolation: Interpolation = "bilinear") -> np.ndarray:
    """uint8 [*, *, channels] with this shorter side; the longer one follows, rounded down."""
    shorter = min(image.shape[:2])
    rows, columns = (max(shorter_side, side * shorter_side // shorter) for side in image.shape[:2])
    return _resized(image, rows, columns, interpolation)


def _resized(image: np.ndarray, height: int, width: int, interpolation: Interpolation) -> np.ndarray:
    if interpolation not in get_args(Interpolation):
        raise UnknownName("interpolation", interpolation, get_args(Interpolation))
    return _pil_resized(image, height, width, interpolation)


def cut(image: np.ndarray, window: tuple[float, float, float, float], height: int, width: int) -> np.ndarray:
    """A window of uint8 [*, *, channels], resized to uint8 [height, width, channels] (bilinear, antialiased).

    At its edges the pixels outside take part, as if the whole image had been scaled and then cut.

    Args:
        image: of any size.
        window: left, top, right and bottom edge in pixels of the image.
        height, width: wanted.
    """
    return _pil_resized(image, height, width, "bilinear", window)


def _pil_resized(
    image: np.ndarray,
    height: int,
    width: int,
    interpolation: Interpolation,
    window: tuple[float, float, float, float] | None = None,
) -> np.ndarray:
    resampling = Image.Resampling[interpolation.upper()]

    def resized(pixels: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(pixels).resize((width, height), resampling, box=window))

    match image.shape[-1]:
        case 1:
            return resized(image[..., 0])[..., None]
        case 3:
            return resized(image)
        case _:  # PIL has no images with other numbers of channels
            return np.stack([resized(plane) for plane in np.moveaxis(image, -1, 0)], axis=-1)
