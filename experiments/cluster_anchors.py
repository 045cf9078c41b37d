"""Cluster the objects of a dataset to anchors for YOLO v2, by k-means with the distance 1 - IoU.

    python experiments/cluster_anchors.py voc:data/VOC2007 --split trainval
    python experiments/cluster_anchors.py voc:data/BCCD --height 256 --width 320 --stride 16 --largest 9

Prints for each number of anchors the average IoU of an object with its best anchor, and the anchors in cells of the
map, as `--yolo-v2.anchors` and YoloV2Settings take them. OUT/anchors.json has the same. Images are laid on the canvas
as in training, without random changes.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from script import counted, main

from xxnet_jax.boxes import xyxy_to_cxcywh
from xxnet_jax.data import ObjectsDecoder, ObjectsFormat, open_source
from xxnet_jax.data.objects import ObjectsFit
from xxnet_jax.detection.anchors import cluster_anchors
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.files import make_folder, write_atomically

ROOM = 1000  # objects of an image


@dataclass(frozen=True)
class Arguments:
    """Cluster objects to anchors.

    Attributes:
        data: URI of the dataset, as of train_detector.py.
        split: of it.
        data_dir: folder of prepared TFDS datasets.
        height: of the canvas.
        width: of the canvas.
        canvas_fit: letterbox, corner or stretch.
        stride: of the map, in pixels of the canvas.
        largest: number of anchors; 1 to so many are tried.
        seed: of the first centres.
        out: folder; by default runs/anchors.
    """

    data: Annotated[str, tyro.conf.Positional]
    split: str = "train"
    data_dir: str | None = None
    height: int = 416
    width: int = 416
    canvas_fit: ObjectsFit = "letterbox"
    stride: int = 32
    largest: int = 9
    seed: int = 0
    out: Path = Path("runs/anchors")


def cluster() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    if min(arguments.stride, arguments.largest) < 1:
        raise InvalidArgument(f"stride and largest must be 1 or more, got {arguments.stride} and {arguments.largest}")
    source = open_source(arguments.data, data_dir=arguments.data_dir, task="detection")
    examples = source.examples(arguments.split)
    canvas = ObjectsFormat(arguments.height, arguments.width, 3, ROOM, arguments.canvas_fit)
    decoder = ObjectsDecoder(canvas, len(source.classes))
    decoded = counted(decoder.read_all(examples), len(examples), 1)
    boxes = np.concatenate([each["boxes"][each["object_mask"]] for each in decoded])
    if not len(boxes):
        raise InvalidArgument(f"{arguments.split} of {source.uri} has no objects")
    shapes = xyxy_to_cxcywh(boxes)[:, 2:] / arguments.stride
    print(f"{len(shapes):,} objects of {arguments.split} of {source.uri}, {len(examples):,} images:")
    rows = []
    for k in range(1, min(arguments.largest, len(shapes)) + 1):
        found = cluster_anchors(shapes, k, seed=arguments.seed)
        anchors = [[round(float(side), 4) for side in anchor] for anchor in found.anchors]
        rows.append({"anchors": anchors, "average_iou": round(found.average_iou, 6)})
        print(f"{k:3}  {found.average_iou:.4f}  {'  '.join(f'{w:.2f} {h:.2f}' for w, h in anchors)}")
    make_folder(arguments.out)
    report = {
        "data": source.uri,
        "split": arguments.split,
        "canvas": [arguments.height, arguments.width],
        "stride": arguments.stride,
        "objects": len(shapes),
        "clusters": rows,
    }
    write_atomically(arguments.out / "anchors.json", json.dumps(report, indent=2) + "\n")
    print(f"{arguments.out}/anchors.json")
    return 0


if __name__ == "__main__":
    main(cluster)
