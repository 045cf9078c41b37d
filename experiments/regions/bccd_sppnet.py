"""SPP-net (He et al., 2014) with a small backbone on BCCD, 364 microscope images of blood with red cells, white cells
and platelets. There are no weights of ImageNet to begin with: the network first learns to tell cells that are cut out,
in sizes of 64 and 48 pixels; then its dense layers learn windows of selective search (about 950 of an image, kept in
runs/windows) on maps of whole images of 320x240. At the end each window is seen in the size of the image, of a shorter
side of 240 or 480, in which it is nearer to 64x64.

Takes 15 minutes on one core of a CPU, where the windows are there; reaches a test mAP@.5 of .705 (platelets .554, red
.616, white .945).

    python experiments/train_rcnn.py bccd_sppnet --data voc:FOLDER        # FOLDER/JPEGImages, Annotations, ImageSets
    python experiments/evaluate_detector.py runs/bccd_sppnet
"""

from xxnet_jax.data import ObjectsAugmentation
from xxnet_jax.detection.crops import CropRecipe, CropSettings
from xxnet_jax.detection.region_systems import SPPNetRecipe
from xxnet_jax.detection.roi import DETECTION_PYRAMID
from xxnet_jax.detection.runs import DetectorRecipe
from xxnet_jax.detection.second_stage import RegionSettings
from xxnet_jax.models.darknet import table
from xxnet_jax.optimizers import ScheduleConfig

STAGES = table("3x3 8", "3x3 16", "3x3 32, 3x3 32", "3x3 64, 3x3 64, 3x3 64")
OBJECTS = CropRecipe(
    model="small",
    model_options={"stages": STAGES},  # type: ignore[dict-item]
    data="voc:data/BCCD",
    preprocessing="tf",
    height=240,
    width=320,
    max_objects=40,
    batch_size=16,
    epochs=20,
    optimizer="adam",
    learning_rate=1e-3,
    schedule=ScheduleConfig(name="cosine", warmup=30),
    test_split=None,
    crops=CropSettings(
        of="objects",
        sizes=(64, 48),
        context=0.07,
        count=8,
        positives=8,
        levels=DETECTION_PYRAMID,
        dense=(256,),
        dropout_rate=0.5,
    ),
)
RECIPE = SPPNetRecipe(
    pretraining=OBJECTS,
    finetuning=DetectorRecipe(
        detector="fast_rcnn",
        model="small",
        model_options={"stages": STAGES},  # type: ignore[dict-item]
        data="voc:data/BCCD",
        preprocessing="tf",
        height=240,
        width=320,
        canvas_fit="corner",
        max_objects=40,
        changes_of_objects=ObjectsAugmentation(mirror=0.5),
        proposals="fast",
        windows=1000,
        batch_size=4,
        epochs=8,
        optimizer="adam",
        learning_rate=1e-3,
        schedule=ScheduleConfig(name="cosine", warmup=30),
        clip_norm=10.0,
        freeze=("^backbone/",),
        fast_rcnn=RegionSettings(
            pooling="pyramid",
            dense=(256,),
            region_samples=64,
            region_objects=0.25,
            background_from=0.0,
        ),
    ),
    scales=(240, 480),
    nominal=64.0,
)
