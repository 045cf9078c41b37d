"""Operations of detection against torchvision's: non-maximum suppression, RoI align and RoI pooling.

    python experiments/benchmarks/detection_operations.py
    python experiments/benchmarks/detection_operations.py "nms*" --rounds 21

Boxes in and around an image of 800 x 600, "spread" all over it or in 40 clusters; a map of 50 x 38 cells with 256
channels, 7 x 7 bins, two samples in each along both axes. Both compute in float32 on the CPU and must agree;
torchvision has its channels first. "gradient" is that of the features, with the forward pass. "ratio" says how many
times faster ours is: median and range over the rounds, in each of which everyone has one turn. Without torchvision, or
where it has no compiled operations, the peer is py-faster-rcnn's loop in NumPy, for suppression alone. Figures go to
results.csv in OUT.
"""

import fnmatch
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from measuring import OURS, Run, against_ours, in_turns, results, show
from script import main

from xxnet_jax import detection
from xxnet_jax.boxes import pairwise_iou
from xxnet_jax.errors import InvalidArgument, UnknownName, XXNetError

HEIGHT, WIDTH, STRIDE = 38, 50, 16
CLUSTERS = 40
BINS = 7


class Case(NamedTuple):
    """One comparison: what is run, and where boxes lie.

    Attributes:
        operation: "nms", "roi_align" or "roi_pool".
        clustered: whether boxes lie in clusters.
        threshold: of `nms`.
        gradient: of the others.
        outputs: how many boxes `nms` keeps at most; all without it.
    """

    operation: str
    clustered: bool = False
    threshold: float = 0.0
    gradient: bool = False
    outputs: int | None = None


CASES = {
    "nms .7, spread": Case("nms", threshold=0.7),
    "nms .7, spread, first 300": Case("nms", threshold=0.7, outputs=300),
    "nms .7, clusters": Case("nms", clustered=True, threshold=0.7),
    "nms .3, spread": Case("nms", threshold=0.3),
    "nms .3, clusters": Case("nms", clustered=True, threshold=0.3),
    "roi_align": Case("roi_align"),
    "roi_align, gradient": Case("roi_align", gradient=True),
    "roi_pool": Case("roi_pool"),
    "roi_pool, gradient": Case("roi_pool", gradient=True),
}


def random_boxes(count: int, *, clustered: bool) -> np.ndarray:
    """Of sides from 30 to 400 pixels, evenly on a scale of logarithms."""
    random = np.random.default_rng(0)
    size = np.array([WIDTH, HEIGHT]) * STRIDE
    centre = random.uniform(0, 1, (count, 2)) * size
    if clustered:
        centre = (random.uniform(0, 1, (CLUSTERS, 2)) * size)[random.integers(0, CLUSTERS, count)]
        centre += random.normal(0, 15, (count, 2))
    sides = np.exp(random.uniform(np.log(30), np.log(400), (count, 2)))
    return np.concatenate([centre - sides / 2, centre + sides / 2], -1).astype(np.float32)


def torchvision_operations() -> Any | None:
    """torchvision's operations, if they can be used."""
    try:
        import torchvision
    except (ImportError, RuntimeError):  # the latter if it was built for another torch
        return None
    return torchvision.ops if torchvision.extension._has_ops() else None


def suppression(case: Case, boxes: np.ndarray, ops: Any | None) -> tuple[dict[str, Run], Callable[[], None]]:
    """Contestants, and a check that their last results agree."""
    scores = np.random.default_rng(1).permutation(len(boxes)).astype(np.float32)
    outputs = case.outputs or len(boxes)
    found: dict[str, np.ndarray] = {}
    compiled = jax.jit(lambda boxes, scores: detection.nms(boxes, scores, case.threshold, outputs))
    arrays = jnp.asarray(boxes), jnp.asarray(scores)

    def ours() -> None:
        indices, valid = jax.block_until_ready(compiled(*arrays))
        found[OURS] = np.asarray(indices)[np.asarray(valid)]

    if ops is None:

        def peer() -> None:
            found["peer"] = numpy_nms(boxes, scores, case.threshold)
    else:
        import torch

        tensors = torch.tensor(boxes), torch.tensor(scores)

        def peer() -> None:
            found["peer"] = ops.nms(*tensors, case.threshold).numpy()

    def check() -> None:
        np.testing.assert_array_equal(found[OURS], found["peer"][:outputs])

    return {OURS: ours, "numpy" if ops is None else "torchvision": peer}, check


def numpy_nms(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """A step for each kept box, over all that are left at once: py-faster-rcnn's `py_cpu_nms`."""
    left, kept = np.argsort(-scores, kind="stable"), []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        left = left[pairwise_iou(boxes[best][None], boxes[left])[0] <= threshold]
    return np.asarray(kept)


def regions(case: Case, boxes: np.ndarray, channels: int, ops: Any) -> tuple[dict[str, Run], Callable[[], None]]:
    """Contestants, and a check that their last results agree."""
    import torch

    random = np.random.default_rng(1)
    features = random.standard_normal((HEIGHT, WIDTH, channels), np.float32)
    weights = random.standard_normal((len(boxes), BINS, BINS, channels), np.float32) if case.gradient else None
    found: dict[str, np.ndarray] = {}
    scale = 1 / STRIDE

    def operation(features: jax.Array, boxes: jax.Array) -> jax.Array:
        return getattr(detection, case.operation)(features, boxes, BINS, scale)

    def gradient(features: jax.Array, boxes: jax.Array, weights: jax.Array) -> jax.Array:
        return jax.vjp(lambda features: operation(features, boxes), features)[1](weights)[0]

    compiled = jax.jit(operation if weights is None else gradient)
    arrays = [jnp.asarray(array) for array in (features, boxes, weights) if array is not None]

    def ours() -> None:
        found[OURS] = jax.block_until_ready(compiled(*arrays))

    x = torch.tensor(features).permute(2, 0, 1)[None].contiguous().requires_grad_(case.gradient)
    rois = [torch.tensor(boxes)]
    options = (BINS, scale, 2, True) if case.operation == "roi_align" else (BINS, scale)
    of_result = None if weights is None else torch.tensor(weights).permute(0, 3, 1, 2).contiguous()

    def peer() -> None:
        out = getattr(ops, case.operation)(x, rois, *options)
        if of_result is not None:
            (out,) = torch.autograd.grad(out, x, of_result)
        found["torchvision"] = out

    def check() -> None:
        tensor: Any = found["torchvision"]
        theirs = tensor.permute(0, 2, 3, 1).numpy().reshape(found[OURS].shape)
        # Places in float32, and sums of the gradient over all boxes.
        np.testing.assert_allclose(found[OURS], theirs, atol=1e-2 if case.gradient else 2e-4)

    return {OURS: ours, "torchvision": peer}, check


@dataclass(frozen=True)
class Arguments:
    """Measure.

    Attributes:
        pattern: shell pattern on the names of the comparisons.
        boxes: how many.
        channels: of the map.
        rounds: turns of each after the first call; a turn is three calls.
        out: folder for the figures of one machine.
    """

    pattern: Annotated[str, tyro.conf.Positional] = "*"
    boxes: int = 2000
    channels: int = 256
    rounds: int = 9
    out: Path = Path("runs/benchmarks/detection_operations")


def measure_detection_operations() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    names = fnmatch.filter(CASES, arguments.pattern)
    if not names:
        raise UnknownName("comparison", arguments.pattern, CASES)
    if min(arguments.boxes, arguments.channels, arguments.rounds) < 1:
        raise InvalidArgument("boxes, channels and rounds must be 1 or more")
    ops = torchvision_operations()
    table = results(arguments.out, "detection_operations", {}, ("operation", "boxes", "channels", "peer"))
    for name in names:
        case = CASES[name]
        if ops is None and case.operation != "nms":
            continue
        key = {"operation": name, "boxes": arguments.boxes, "channels": arguments.channels}
        if (*key.values(), "numpy" if ops is None else "torchvision") in table:
            continue
        boxes = random_boxes(arguments.boxes, clustered=case.clustered)
        if case.operation == "nms":
            runs, check = suppression(case, boxes, ops)
        else:
            runs, check = regions(case, boxes, arguments.channels, ops)
        timings = in_turns(runs, arguments.rounds)
        check()
        for row in against_ours(timings, units=arguments.boxes):
            table.add({**key, **row})
    rows = [row for row in table if row["operation"] in names]
    if not rows:
        raise XXNetError("there is no peer: install torch and a torchvision that was built for it")
    show("detection_operations", rows)
    print(f"{table.folder}/results.csv")
    return 0


if __name__ == "__main__":
    main(measure_detection_operations)
