"""Detection."""

from xxnet_jax.detection.grouping import SearchSettings, graph_segmentation, selective_search
from xxnet_jax.detection.proposals import TextRegions, image_pyramid, sliding_windows, text_regions

__all__ = [
    "SearchSettings",
    "TextRegions",
    "graph_segmentation",
    "image_pyramid",
    "selective_search",
    "sliding_windows",
    "text_regions",
]
