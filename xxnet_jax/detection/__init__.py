"""Detection: operations on boxes of fixed shapes, with masks, that compile; where objects may be; detectors.

Training and using a detector is in `xxnet_jax.detection.runs`; R-CNN and SPP-net, which are trained in stages, are in
`region_systems`.
"""

from xxnet_jax.detection.anchors import YOLO_V2_ANCHORS, cluster_anchors, generate_anchors, tile_anchors
from xxnet_jax.detection.boxes import (
    clip_boxes,
    decode_boxes,
    encode_boxes,
    giou_matrix,
    inside_image,
    iou_matrix,
    valid_boxes,
)
from xxnet_jax.detection.fast_rcnn import FastRCNN, create_fast_rcnn, fast_rcnn_loss
from xxnet_jax.detection.faster_rcnn import FasterRCNN, FasterRCNNSettings, create_faster_rcnn, faster_rcnn_loss
from xxnet_jax.detection.grouping import SearchSettings, graph_segmentation, selective_search
from xxnet_jax.detection.nms import batched_nms, gradient_nms, nms, soft_nms, zero_suppressed
from xxnet_jax.detection.proposals import TextRegions, image_pyramid, sliding_windows, text_regions
from xxnet_jax.detection.region_learning import RegionLearning, fit_machine, fit_ridge, hard_negatives
from xxnet_jax.detection.roi import roi_align, roi_pool, spatial_pyramid_pool, window_of_features
from xxnet_jax.detection.second_stage import RegionSettings
from xxnet_jax.detection.warps import warp
from xxnet_jax.detection.wordtree import WordTree
from xxnet_jax.detection.yolo9000 import create_yolo9000, yolo9000_loss
from xxnet_jax.detection.yolo_v1 import YoloV1, YoloV1Settings, create_yolo_v1, yolo_v1_loss
from xxnet_jax.detection.yolo_v2 import YoloV2, YoloV2Settings, create_yolo_v2, yolo_v2_loss

__all__ = [
    "YOLO_V2_ANCHORS",
    "FastRCNN",
    "FasterRCNN",
    "FasterRCNNSettings",
    "RegionLearning",
    "RegionSettings",
    "SearchSettings",
    "TextRegions",
    "WordTree",
    "YoloV1",
    "YoloV1Settings",
    "YoloV2",
    "YoloV2Settings",
    "batched_nms",
    "clip_boxes",
    "cluster_anchors",
    "create_fast_rcnn",
    "create_faster_rcnn",
    "create_yolo9000",
    "create_yolo_v1",
    "create_yolo_v2",
    "decode_boxes",
    "encode_boxes",
    "fast_rcnn_loss",
    "faster_rcnn_loss",
    "fit_machine",
    "fit_ridge",
    "generate_anchors",
    "giou_matrix",
    "gradient_nms",
    "graph_segmentation",
    "hard_negatives",
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
    "warp",
    "window_of_features",
    "yolo9000_loss",
    "yolo_v1_loss",
    "yolo_v2_loss",
    "zero_suppressed",
]
