"""Image files to arrays, and arrays to the size that a network takes; all on the host, all uint8."""

from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from xxnet_jax.errors import CorruptData, InvalidArgument, MissingData

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"})

Fit = Literal["resize", "pad"]


def read_image(path: Path, channels: int) -> np.ndarray:
    """An image file as uint8 [height, width, channels], upright, transparency over white.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is not an image, or is damaged; the message names it.
    """
    try:
        with Image.open(path) as image:
            image.load()
            image = ImageOps.exif_transpose(image)
    except FileNotFoundError as error:
        raise MissingData(f"no image file {path}") from error
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise CorruptData(f"cannot decode the image {path}: {error}") from error
    return with_channels(_eight_bits(image), channels)


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
    gray = image.mode in ("1", "L")
    array = np.asarray(image.convert("L" if gray else "RGB"))
    return array[..., None] if gray else array


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


def fit_image(image: np.ndarray, height: int, width: int, fit: Fit = "resize") -> np.ndarray:
    """uint8 [*, *, channels] as uint8 [height, width, channels].

    Args:
        image: of any size.
        height, width: wanted.
        fit: "resize" stretches (bilinear, antialiased); "pad" puts the image into the middle of zeros.

    Raises:
        ValueError: "pad", and the image is larger than wanted.
    """
    rows, columns = image.shape[:2]
    if (rows, columns) == (height, width):
        return image
    if fit not in ("resize", "pad"):
        raise InvalidArgument(f"fit must be 'resize' or 'pad', not {fit!r}")
    if fit == "pad":
        if rows > height or columns > width:
            raise InvalidArgument(
                f"an image of {rows}x{columns} cannot be padded to {height}x{width}: use fit='resize'"
            )
        top, left = (height - rows) // 2, (width - columns) // 2
        return np.pad(image, ((top, height - rows - top), (left, width - columns - left), (0, 0)))
    planes = [
        np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR))
        for plane in np.moveaxis(image, -1, 0)
    ]
    return np.stack(planes, axis=-1)
