"""Detection: operations on boxes of fixed shapes, with masks, that compile."""

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
from xxnet_jax.detection.nms import batched_nms, gradient_nms, nms, soft_nms, zero_suppressed
from xxnet_jax.detection.roi import roi_align, roi_pool, spatial_pyramid_pool, window_of_features

__all__ = [
    "YOLO_V2_ANCHORS",
    "batched_nms",
    "clip_boxes",
    "decode_boxes",
    "encode_boxes",
    "generate_anchors",
    "giou_matrix",
    "gradient_nms",
    "inside_image",
    "iou_matrix",
    "nms",
    "roi_align",
    "roi_pool",
    "soft_nms",
    "spatial_pyramid_pool",
    "tile_anchors",
    "valid_boxes",
    "window_of_features",
    "zero_suppressed",
]
