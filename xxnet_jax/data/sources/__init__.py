"""The data sources, one file each. Importing this package registers their URI schemes."""

from xxnet_jax.data.sources import digits, fake, folder, idx, tar, tfds

__all__ = ["digits", "fake", "folder", "idx", "tar", "tfds"]
