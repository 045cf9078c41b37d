"""Faster R-CNN (Ren et al., 2015) with a small backbone on BCCD, 364 microscope images of blood with red cells, white
cells and platelets, at 320x240. Approximate joint training from random weights, so with batch normalization; anchors of
20, 40 and 80 pixels, and fewer proposals and regions than the paper's, as there are few objects.

Takes 14 minutes on one core of a CPU; reaches a test mAP@.5 of .908 (platelets .896, red .853, white .975).

    python experiments/train_detector.py bccd_small --data voc:FOLDER     # FOLDER/JPEGImages, Annotations, ImageSets
    python experiments/evaluate_detector.py runs/bccd_small
"""

from xxnet_jax.data import ObjectsAugmentation
from xxnet_jax.detection.faster_rcnn import FasterRCNNSettings
from xxnet_jax.detection.runs import DetectorRecipe
from xxnet_jax.optimizers import ScheduleConfig

RECIPE = DetectorRecipe(
    detector="faster_rcnn",
    model="small",
    data="voc:data/BCCD",
    preprocessing="channels",
    height=240,
    width=320,
    canvas_fit="corner",
    max_objects=40,
    changes_of_objects=ObjectsAugmentation(mirror=0.5),
    batch_size=4,
    epochs=15,
    optimizer="adam",
    learning_rate=1e-3,
    schedule=ScheduleConfig(name="cosine", warmup=100),
    clip_norm=10.0,
    evaluate_every=255,
    faster_rcnn=FasterRCNNSettings(
        sizes=(20.0, 40.0, 80.0),
        rpn_features=128,
        dense=(256,),
        dropout_rate=0.0,
        anchor_box_weight=5.0,
        min_size=4.0,
        train_before=1000,
        train_after=200,
        test_before=1000,
        test_after=120,
        region_samples=60,
        region_objects=0.5,
        background_from=0.0,
    ),
)
