"""What networks cost, what their units see, and what they answer to."""

from xxnet_jax.analysis.embedding import neighbourhoods, pooled_features
from xxnet_jax.analysis.feature_reuse import feature_reuse
from xxnet_jax.analysis.invariance import Invariance, invariance
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
from xxnet_jax.analysis.occlusion import Occluder, Occlusion, occlusion
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
    "Invariance",
    "Memory",
    "ModelMemory",
    "Occluder",
    "Occlusion",
    "ReceptiveField",
    "Row",
    "Summary",
    "compiled_memory",
    "convolution_kernels",
    "count_macs",
    "effective_receptive_field",
    "feature_reuse",
    "format_bytes",
    "invariance",
    "largest_batch",
    "model_memory",
    "neighbourhoods",
    "occlusion",
    "parse_bytes",
    "pooled_features",
    "predicted_memory",
    "receptive_field",
    "receptive_fields",
    "seen_pixels",
    "summarize",
    "training_memory",
]
