"""Data: sources, decoding, preprocessing, augmentation, loading."""

from xxnet_jax.data import sources  # noqa: F401 (registers their schemes)
from xxnet_jax.data.augmentation import AUGMENTATION, Augmentation, make_augmentation
from xxnet_jax.data.images import fit_image, read_image
from xxnet_jax.data.loader import Decoder, ImageFormat, Loader, make_loader
from xxnet_jax.data.masks import VOID, MasksDecoder
from xxnet_jax.data.objects import ObjectsAugmentation, ObjectsDecoder, ObjectsFormat
from xxnet_jax.data.preprocessing import FITTED, PREPROCESSING, preprocess
from xxnet_jax.data.source import Source, open_source
from xxnet_jax.data.statistics import Statistics, image_statistics

__all__ = [
    "AUGMENTATION",
    "FITTED",
    "PREPROCESSING",
    "VOID",
    "Augmentation",
    "Decoder",
    "ImageFormat",
    "Loader",
    "MasksDecoder",
    "ObjectsAugmentation",
    "ObjectsDecoder",
    "ObjectsFormat",
    "Source",
    "Statistics",
    "fit_image",
    "image_statistics",
    "make_augmentation",
    "make_loader",
    "open_source",
    "preprocess",
    "read_image",
]
