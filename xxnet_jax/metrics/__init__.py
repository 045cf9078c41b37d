"""Metrics."""

from xxnet_jax.metrics.streaming import Mean

__all__ = ["Mean"]
