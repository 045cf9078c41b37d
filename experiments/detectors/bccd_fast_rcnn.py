"""Fast R-CNN (Girshick, 2015) with a small backbone on BCCD, 364 microscope images of blood with red cells, white cells
and platelets, at 320x240. From random weights, so with batch normalization; the windows are those of selective search,
about 950 of an image, which the first epoch looks for and keeps in runs/windows.

Takes 12 minutes on one core of a CPU, after 7 for the windows; reaches a test mAP@.5 of .878 (platelets .853, red .798,
white .983).

    python experiments/train_detector.py bccd_fast_rcnn --data voc:FOLDER # FOLDER/JPEGImages, Annotations, ImageSets
    python experiments/evaluate_detector.py runs/bccd_fast_rcnn
"""

from xxnet_jax.data import ObjectsAugmentation
from xxnet_jax.detection.runs import DetectorRecipe
from xxnet_jax.detection.second_stage import RegionSettings
from xxnet_jax.optimizers import ScheduleConfig

RECIPE = DetectorRecipe(
    detector="fast_rcnn",
    model="small",
    data="voc:data/BCCD",
    preprocessing="channels",
    height=240,
    width=320,
    canvas_fit="corner",
    max_objects=40,
    changes_of_objects=ObjectsAugmentation(mirror=0.5),
    proposals="fast",
    windows=1000,
    batch_size=4,
    epochs=12,
    optimizer="adam",
    learning_rate=1e-3,
    schedule=ScheduleConfig(name="cosine", warmup=100),
    clip_norm=10.0,
    evaluate_every=153,
    fast_rcnn=RegionSettings(
        dense=(256,),
        dropout_rate=0.0,
        region_samples=64,
        region_objects=0.5,
        background_from=0.0,
        max_detections=60,
    ),
)
