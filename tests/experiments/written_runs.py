"""Run folders written by hand, to look at."""

import json
from pathlib import Path
from typing import Any

from xxnet_jax.data import ImageFormat
from xxnet_jax.training import Recipe
from xxnet_jax.training.folder import RunConfig

EPOCHS, STEPS, BATCH = 6, 5, 10
CLASSES = ("a", "b")


def write_run(folder: Path, scale: float = 1.0, finished: bool = True, epochs: int = EPOCHS, **changes: Any) -> Path:
    """A run of EPOCHS epochs at 100 examples a second, each followed by an evaluation of half a second: the loss falls
    as scale / epoch, the accuracy is best in the last epoch but one."""
    recipe = Recipe(batch_size=BATCH, epochs=EPOCHS, **changes)
    folder.mkdir(parents=True)
    config = RunConfig(recipe, ImageFormat(32, 32, 1), (8, 8), "standardize", CLASSES)
    (folder / "config.json").write_text(config.to_json())
    lines: list[dict[str, float]] = []
    for epoch in range(1, epochs + 1):
        place = {"step": epoch * STEPS, "epoch": epoch}
        accuracy = 1 - scale / (10 + epoch) + (0.05 if epoch == EPOCHS - 1 else 0)
        lines.append(
            {**place, "train/loss": scale / epoch, "train/accuracy": accuracy, "time/examples_per_second": 100}
        )
        validation = {"validation/loss": 2 * scale / epoch, "validation/accuracy": accuracy}
        lines.append({**place, **validation, "time/evaluation_seconds": 0.5})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if finished:
        report = {"test/accuracy": 1 - scale / 100, "test/loss": scale, "seconds": 7 * scale, "examples_per_second": 99}
        (folder / "report.json").write_text(json.dumps(report))
    return folder
