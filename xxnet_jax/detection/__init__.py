"""Detection: operations on boxes of fixed shapes, with masks, that compile; and where objects may be."""

from xxnet_jax.detection.anchors import YOLO_V2_ANCHORS, generate_anchors, tile_anchors
from xxnet_jax.detection.boxes import (
    clip_boxes,
    decode_boxes,
    encode_boxes,
    giou_matrix,
    inside_image,
    iou_matrix,
    valid_boxes,
)
from xxnet_jax.detection.grouping import SearchSettings, graph_segmentation, selective_search
from xxnet_jax.detection.nms import batched_nms, gradient_nms, nms, soft_nms, zero_suppressed
from xxnet_jax.detection.proposals import TextRegions, image_pyramid, sliding_windows, text_regions
from xxnet_jax.detection.roi import roi_align, roi_pool, spatial_pyramid_pool, window_of_features

__all__ = [
    "YOLO_V2_ANCHORS",
    "SearchSettings",
    "TextRegions",
    "batched_nms",
    "clip_boxes",
    "decode_boxes",
    "encode_boxes",
    "generate_anchors",
    "giou_matrix",
    "gradient_nms",
    "graph_segmentation",
    "image_pyramid",
    "inside_image",
    "iou_matrix",
    "nms",
    "roi_align",
    "roi_pool",
    "selective_search",
    "sliding_windows",
    "soft_nms",
    "spatial_pyramid_pool",
    "text_regions",
    "tile_anchors",
    "valid_boxes",
    "window_of_features",
    "zero_suppressed",
]
