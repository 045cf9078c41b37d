"""What networks cost, and what their units see."""

from xxnet_jax.analysis.macs import count_macs
from xxnet_jax.analysis.receptive_fields import (
    Extent,
    ReceptiveField,
    effective_receptive_field,
    receptive_field,
    receptive_fields,
    seen_pixels,
)

__all__ = [
    "Extent",
    "ReceptiveField",
    "count_macs",
    "effective_receptive_field",
    "receptive_field",
    "receptive_fields",
    "seen_pixels",
]
