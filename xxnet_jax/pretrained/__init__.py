"""Weights of other frameworks in, ours out, and what belongs to them: preprocessing and the names of classes."""

from xxnet_jax.pretrained.classes import Prediction, decode_predictions, imagenet_classes
from xxnet_jax.pretrained.features import FeatureExtractor, image_files, write_features
from xxnet_jax.pretrained.finetuning import freeze_through
from xxnet_jax.pretrained.manifest import Published, manifest, published
from xxnet_jax.pretrained.network import PretrainedNetwork, load_network
from xxnet_jax.pretrained.preprocessing import preprocess
from xxnet_jax.pretrained.weights import load_weights, save_weights

__all__ = [
    "FeatureExtractor",
    "Prediction",
    "PretrainedNetwork",
    "Published",
    "decode_predictions",
    "freeze_through",
    "image_files",
    "imagenet_classes",
    "load_network",
    "load_weights",
    "manifest",
    "preprocess",
    "published",
    "save_weights",
    "write_features",
]
