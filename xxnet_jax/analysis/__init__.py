"""What networks cost."""

from xxnet_jax.analysis.macs import count_macs

__all__ = ["count_macs"]
