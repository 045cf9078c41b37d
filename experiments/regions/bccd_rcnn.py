"""R-CNN (Girshick et al., 2014) with a small backbone on BCCD, 364 microscope images of blood with red cells, white
cells and platelets. There are no weights of ImageNet to begin with: the network first learns to tell cells that are cut
out, then windows of selective search (about 950 of an image, sought at 320x240 and kept in runs/windows), each warped
to 48x48 from the image as it is.

Takes 28 minutes on one core of a CPU, where the windows are there; reaches a test mAP@.5 of .819 (platelets .819, red
.663, white .976).

    python experiments/train_rcnn.py bccd_rcnn --data voc:FOLDER          # FOLDER/JPEGImages, Annotations, ImageSets
    python experiments/evaluate_detector.py runs/bccd_rcnn
"""

from dataclasses import replace

from xxnet_jax.detection.crops import CropRecipe, CropSettings
from xxnet_jax.detection.region_systems import RCNNRecipe
from xxnet_jax.models.darknet import table
from xxnet_jax.optimizers import ScheduleConfig

OBJECTS = CropRecipe(
    model="small",
    model_options={"stages": table("3x3 8", "3x3 16", "3x3 32, 3x3 32", "3x3 64, 3x3 64, 3x3 64")},  # type: ignore[dict-item]
    data="voc:data/BCCD",
    preprocessing="tf",
    height=240,
    width=320,
    max_objects=40,
    proposals="fast",
    windows=1000,
    batch_size=16,
    epochs=30,
    optimizer="adam",
    learning_rate=1e-3,
    schedule=ScheduleConfig(name="cosine", warmup=30),
    test_split=None,
    crops=CropSettings(
        of="objects", sizes=(48,), context=0.07, count=8, positives=8, levels=(3,), dense=(256,), dropout_rate=0.5
    ),
)
RECIPE = RCNNRecipe(
    pretraining=OBJECTS,
    finetuning=replace(
        OBJECTS,
        batch_size=4,
        epochs=16,
        test_split="test",
        crops=replace(OBJECTS.crops, of="windows", count=32, positives=8),
    ),
)
