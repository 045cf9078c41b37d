"""FCN-8s (Long et al., 2015) on a VGG-16 of a quarter of the features with batch normalization, on BCCD: 364 microscope
images of blood with red cells, white cells and platelets. BCCD has boxes; the masks are the ellipses in them.

Takes 30 minutes on one core of a CPU; reaches a test IoU of .626 on average (background .748, platelets .400, red .550,
white .806), where thresholds of colours (`checks/colour_thresholds.py voc:MASKS`) have .366 (.511, .044, .442, .467).

    python experiments/ellipse_masks.py voc:FOLDER MASKS          # FOLDER/JPEGImages, Annotations, ImageSets
    python experiments/train_segmenter.py bccd_fcn8s --data voc:MASKS
"""

from typing import Any

from xxnet_jax.optimizers import ScheduleConfig
from xxnet_jax.segmentation.runs import SegmenterRecipe

NARROW: dict[str, Any] = {
    "features_of_blocks": (16, 32, 64, 128, 128),
    "dense": (256, 256),
    "window": 3,
    "dropout_rate": 0.1,
}

RECIPE = SegmenterRecipe(
    model="vgg16_bn",
    model_options=NARROW,
    data="voc:data/BCCD_masks",
    preprocessing="channels",
    upsampling=8,
    padding=16,
    height=192,
    width=256,
    mirror=0.5,
    batch_size=4,
    epochs=30,
    optimizer="adam",
    learning_rate=1e-3,
    schedule=ScheduleConfig(name="cosine", warmup=50),
    evaluate_every=255,
)
