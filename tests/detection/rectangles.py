"""Drawn objects that a small detector can learn to find, and a backbone that is small enough for tests."""

from typing import Any

import numpy as np

from xxnet_jax.detection.detector import Objects
from xxnet_jax.models.darknet import BATCH_NORM, table

CLASSES = 3
SHAPE = (48, 64, 3)
TINY = {"stages": table("3x3 8", "3x3 16", "3x3 24", "3x3 32, 3x3 32, 3x3 32, 3x3 32"), "norm": BATCH_NORM}


def rectangles(seed: int, counts: list[int], room: int = 4) -> dict[str, np.ndarray]:
    """A batch of gray noise with so many bright rectangles in each image, each class in its colour."""
    random = np.random.default_rng(seed)
    batch = len(counts)
    images = random.normal(0, 0.1, (batch, *SHAPE)).astype(np.float32)
    boxes, labels = np.zeros((batch, room, 4), np.float32), np.zeros((batch, room), np.int32)
    for i, count in enumerate(counts):
        for j in range(count):
            x, y = 4 + 30 * (j % 2), 4 + 22 * (j // 2)  # apart from each other
            width, height = random.integers(9, 24), random.integers(9, 18)
            boxes[i, j], labels[i, j] = (x, y, x + width, y + height), random.integers(CLASSES)
            images[i, y : y + height, x : x + width, labels[i, j]] += 2
    present = np.arange(room)[None] < np.array(counts)[:, None]
    content = np.tile(np.array([0, 0, SHAPE[1], SHAPE[0]], np.float32), (batch, 1))
    mask = np.ones(batch, bool)
    return {"image": images, "boxes": boxes, "labels": labels, "present": present, "content": content, "mask": mask}


def arguments(batch: dict[str, Any]) -> dict[str, Any]:
    return {"content": batch["content"], "objects": Objects(batch["boxes"], batch["labels"], batch["present"])}
