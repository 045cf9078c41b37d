"""What networks cost, and what their units see."""

from xxnet_jax.analysis.kernels import convolution_kernels
from xxnet_jax.analysis.macs import count_macs
from xxnet_jax.analysis.memory import (
    Memory,
    ModelMemory,
    compiled_memory,
    largest_batch,
    model_memory,
    predicted_memory,
    training_memory,
)
from xxnet_jax.analysis.receptive_fields import (
    Extent,
    ReceptiveField,
    effective_receptive_field,
    receptive_field,
    receptive_fields,
    seen_pixels,
)
from xxnet_jax.analysis.summary import Row, Summary, summarize
from xxnet_jax.analysis.units import format_bytes, parse_bytes

__all__ = [
    "Extent",
    "Memory",
    "ModelMemory",
    "ReceptiveField",
    "Row",
    "Summary",
    "compiled_memory",
    "convolution_kernels",
    "count_macs",
    "effective_receptive_field",
    "format_bytes",
    "largest_batch",
    "model_memory",
    "parse_bytes",
    "predicted_memory",
    "receptive_field",
    "receptive_fields",
    "seen_pixels",
    "summarize",
    "training_memory",
]
