"""Data: sources, decoding, preprocessing, loading."""

from xxnet_jax.data import sources  # noqa: F401 (registers their schemes)
from xxnet_jax.data.images import fit_image, read_image
from xxnet_jax.data.loader import Decoder, ImageFormat, Loader, make_loader
from xxnet_jax.data.preprocessing import PREPROCESSING, preprocess
from xxnet_jax.data.source import Source, open_source

__all__ = [
    "PREPROCESSING",
    "Decoder",
    "ImageFormat",
    "Loader",
    "Source",
    "fit_image",
    "make_loader",
    "open_source",
    "preprocess",
    "read_image",
]
