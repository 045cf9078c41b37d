"""Selective search on annotated images: which part of the objects has a window, and how long it takes.

    python experiments/checks/selective_search_recall.py voc:FOLDER --split test+train
    python experiments/checks/selective_search_recall.py voc:FOLDER --peers opencv selectivesearch

An object counts as found if one of the first windows of its image, 2,000 by default, has an IoU with it of .5 or more;
difficult objects count too. Peers are other implementations, which are no part of this project: OpenCV's
(opencv-contrib-python-headless) with its own "fast", and the package selectivesearch with the numbers of its README,
whose windows are in no order. The images are resized first. Figures go to recall.csv in OUT, with seconds of the wall
and of this process for an image.
"""

import importlib
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from xxnet_jax.boxes import pairwise_iou, xywh_to_xyxy
from xxnet_jax.data import ObjectsFormat, open_source
from xxnet_jax.detection import selective_search
from xxnet_jax.errors import InvalidArgument, XXNetError
from xxnet_jax.files import make_folder, write_csv

Windows = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Arguments:
    """Measure.

    Attributes:
        data: a detection source, such as voc:FOLDER.
        split: of it.
        images: at most so many, from the first on.
        size: height and width of the resized images.
        windows: the first so many of an image count.
        modes: settings of this project's search.
        peers: other implementations, which must be installed.
        out: folder for recall.csv.
    """

    data: Annotated[str, tyro.conf.Positional]
    split: str = "test+train"
    images: int = 100
    size: tuple[int, int] = (240, 320)
    windows: int = 2000
    modes: tuple[Literal["fast", "quality"], ...] = ("fast",)
    peers: tuple[Literal["opencv", "selectivesearch"], ...] = ()
    out: Path = Path("runs/selective_search_recall")


def measure() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    if arguments.images < 1 or arguments.windows < 1:
        raise InvalidArgument("images and windows must be 1 or more")
    source = open_source(arguments.data, task="detection")
    split = source.examples(arguments.split)
    searches = {mode: ours(mode) for mode in arguments.modes} | {peer: PEERS[peer]() for peer in arguments.peers}
    canvas = ObjectsFormat(*arguments.size, 3, max_objects=1, fit="stretch")
    found = {name: Found([], [], [], [[] for _ in source.classes]) for name in searches}
    rows: list[dict[str, Any]] = []
    make_folder(arguments.out)
    for _, example in zip(range(arguments.images), split, strict=False):
        row = canvas(example, canvas.placement(example["image"].shape[:2]))
        boxes = example["boxes"] * np.tile(row["scale"], 2)
        for name, search in searches.items():
            began = time.perf_counter(), time.process_time()
            windows = search(row["image"])
            found[name].wall.append(time.perf_counter() - began[0])
            found[name].cpu.append(time.process_time() - began[1])
            found[name].windows.append(len(windows))
            best = pairwise_iou(boxes, windows[: arguments.windows]).max(1, initial=0)
            for label, values in enumerate(found[name].best):
                values += best[example["labels"] == label].tolist()
        rows = [{"search": name} | each.row(source.classes) for name, each in found.items()]
        write_csv(arguments.out / "recall.csv", rows)  # anew for each image: one can stop when it is enough
    table = Table(*rows[0], title=f"IoU .5, the first {arguments.windows} windows", title_justify="left", box=None)
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console(width=120).print(table)
    print(f"{arguments.out}/recall.csv")
    return 0


class Found(NamedTuple):
    """Of the images so far.

    Attributes:
        wall, cpu: seconds of each image.
        windows: number of each image.
        best: for each class, of each object the largest IoU with a window.
    """

    wall: list[float]
    cpu: list[float]
    windows: list[int]
    best: list[list[float]]

    def row(self, classes: Sequence[str]) -> dict[str, Any]:
        recalls = {
            f"recall_{name}": round(statistics.mean(iou >= 0.5 for iou in values), 4) if values else None
            for name, values in zip(classes, self.best, strict=True)
        }
        return {
            "images": len(self.wall),
            "windows": round(statistics.mean(self.windows)),
            "wall_seconds": round(statistics.median(self.wall), 3),
            "cpu_seconds": round(statistics.median(self.cpu), 3),
            **recalls,
        }


def ours(mode: str) -> Windows:
    return lambda image: selective_search(image, mode)[0]


def of_opencv() -> Windows:
    try:
        segmentation = importlib.import_module("cv2").ximgproc.segmentation
    except (ImportError, AttributeError) as error:
        raise XXNetError("the peer opencv is not installed: pip install opencv-contrib-python-headless") from error

    def windows(image: np.ndarray) -> np.ndarray:
        search = segmentation.createSelectiveSearchSegmentation()
        search.setBaseImage(np.ascontiguousarray(image[..., ::-1]))
        search.switchToSelectiveSearchFast()
        return xywh_to_xyxy(search.process())

    return windows


def of_selectivesearch() -> Windows:
    try:
        from selectivesearch import selective_search as search
    except ImportError as error:
        raise XXNetError("the peer selectivesearch is not installed: pip install selectivesearch") from error

    def windows(image: np.ndarray) -> np.ndarray:
        _, regions = search(image, scale=500, sigma=0.9, min_size=10)
        # its rectangles end at the last pixel: one less wide and high
        return xywh_to_xyxy(np.array([region["rect"] for region in regions])) + np.array([0, 0, 1, 1])

    return windows


PEERS: dict[str, Callable[[], Windows]] = {"opencv": of_opencv, "selectivesearch": of_selectivesearch}

if __name__ == "__main__":
    try:
        sys.exit(measure())
    except XXNetError as error:
        sys.exit(f"error: {error}")
