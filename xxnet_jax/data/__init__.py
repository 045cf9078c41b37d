"""Data: sources, decoding, preprocessing, augmentation, loading."""

from xxnet_jax.data import sources  # noqa: F401 (registers their schemes)
from xxnet_jax.data.augmentation import AUGMENTATION, augment
from xxnet_jax.data.images import fit_image, read_image
from xxnet_jax.data.loader import Decoder, ImageFormat, Loader, make_loader
from xxnet_jax.data.preprocessing import PREPROCESSING, preprocess
from xxnet_jax.data.source import Source, open_source

__all__ = [
    "AUGMENTATION",
    "PREPROCESSING",
    "Decoder",
    "ImageFormat",
    "Loader",
    "Source",
    "augment",
    "fit_image",
    "make_loader",
    "open_source",
    "preprocess",
    "read_image",
]
