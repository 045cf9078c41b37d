"""YOLO v2 (Redmon and Farhadi, 2016) with a small backbone on BCCD, 364 microscope images of blood with red cells,
white cells and platelets, at 320x256. From random weights; boxes are drawn to the anchors for the first 1,000 images,
not 12,800, as there are only 205 in an epoch.

Takes 28 minutes on one core of a CPU; reaches a test mAP@.5 of .852 (platelets .755, red .827, white .973).

    python experiments/train_detector.py bccd_yolo_v2 --data voc:FOLDER   # FOLDER/JPEGImages, Annotations, ImageSets
    python experiments/evaluate_detector.py runs/bccd_yolo_v2 --canvases 192 256 256 320 384 480

Anchors, which have an IoU of .850 with the objects of training on average:

    python experiments/cluster_anchors.py voc:FOLDER --height 256 --width 320 --stride 16

On canvases of several sizes, as in the paper, which takes half as long again:

    python experiments/train_detector.py bccd_yolo_v2 --data voc:FOLDER --workdir runs/bccd_yolo_v2_scales \\
        --canvases 192 256 224 288 256 320 288 352 320 416 --steps-per-call 1
"""

from xxnet_jax.data import ObjectsAugmentation
from xxnet_jax.detection.runs import DetectorRecipe
from xxnet_jax.detection.yolo_v2 import YoloV2Settings
from xxnet_jax.optimizers import ScheduleConfig

RECIPE = DetectorRecipe(
    detector="yolo_v2",
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
    epochs=40,
    optimizer="adam",
    learning_rate=1e-3,
    schedule=ScheduleConfig(name="cosine", warmup=100),
    evaluate_every=255,
    yolo_v2=YoloV2Settings(
        anchors=((1.28, 1.24), (3.17, 2.62), (3.02, 3.30), (3.74, 3.46), (6.66, 6.05)),
        prior_images=1000,
    ),
)
