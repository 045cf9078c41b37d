"""Semantic segmentation: fully convolutional networks. Training and using one is in `xxnet_jax.segmentation.runs`."""

from xxnet_jax.segmentation.fcn import FCN, bilinear, create_fcn

__all__ = ["FCN", "bilinear", "create_fcn"]
