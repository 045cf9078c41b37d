"""YOLO (Redmon et al., 2015) with a small backbone on BCCD, 364 microscope images of blood with red cells, white cells
and platelets, at 320x256, with a grid of 8x10 cells. From random weights, so with batch normalization.

Takes 19 minutes on one core of a CPU; reaches a test mAP@.5 of .110: its dense layers have to learn each cell of the
grid by itself, for which 205 images are few and the paper has a classifier of ImageNet to begin with. It still rises.

    python experiments/train_detector.py bccd_yolo_v1 --data voc:FOLDER   # FOLDER/JPEGImages, Annotations, ImageSets
    python experiments/evaluate_detector.py runs/bccd_yolo_v1
"""

from xxnet_jax.data import ObjectsAugmentation
from xxnet_jax.detection.runs import DetectorRecipe
from xxnet_jax.detection.yolo_v1 import YoloV1Settings
from xxnet_jax.optimizers import ScheduleConfig

RECIPE = DetectorRecipe(
    detector="yolo_v1",
    model="small",
    data="voc:data/BCCD",
    preprocessing="channels",
    height=256,
    width=320,
    canvas_fit="letterbox",
    max_objects=40,
    changes_of_objects=ObjectsAugmentation(
        mirror=0.5, smallest_scale=0.8, largest_scale=1.2, exposure=1.5, saturation=1.5
    ),
    batch_size=4,
    epochs=36,
    optimizer="adam",
    learning_rate=1e-3,
    schedule=ScheduleConfig(name="cosine", warmup=100),
    clip_norm=10.0,
    evaluate_every=459,
    yolo_v1=YoloV1Settings(grid=(8, 10), dropout_rate=0.0),
)
