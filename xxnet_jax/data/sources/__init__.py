"""The data sources, one file each. Importing this package registers their URI schemes."""

from xxnet_jax.data.sources import coco, digits, fake, folder, idx, tar, tfds, voc

__all__ = ["coco", "digits", "fake", "folder", "idx", "tar", "tfds", "voc"]
