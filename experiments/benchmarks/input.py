"""Images a second from photographs to batches on the host: this project, PyTorch, tf.data, grain, side by side.

    python experiments/benchmarks/input.py PHOTOGRAPHS
    python experiments/benchmarks/input.py PHOTOGRAPHS --peer torch_0 torch_1 torch_2 --torch-python OTHER/bin/python
    python experiments/benchmarks/input.py PHOTOGRAPHS --peer tf_data grain --tensorflow-python ANOTHER/bin/python

Every file is decoded, a window of 8 to 100 % of it is resized to a square, every other one is mirrored (see
input_peers.py). Everyone, in a process of its own, has one turn in each round, a turn being an epoch; "ratio" says how
many times faster than the peer our threads are: median and range over the rounds. Memory is that of one more epoch: the
most that the process and those which it started have, what they share counted once. The parts of our pipeline, one
thread's work on each photograph, have a table of their own (OUT_stages), beside other decoders if asked for.
"""

import contextlib
import os
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from apart import Apart
from input_peers import Task
from measuring import OURS, Timing, against_ours, in_turns, peak_memory, provenance, results, rounded, show
from script import main

from xxnet_jax.data.images import IMAGE_SUFFIXES
from xxnet_jax.errors import MissingData

Peer = Literal["processes_1", "processes_2", "torch_0", "torch_1", "torch_2", "tf_data", "tf_data_antialias", "grain"]
STAGES = ("whole", "decode", "resize")


@dataclass(frozen=True)
class Arguments:
    """Measure.

    Attributes:
        photographs: folder of JPEG files, in folders of classes or not.
        peer: whom to measure beside our threads: our processes, PyTorch's DataLoader with so many workers, tf.data
            with and without antialiasing, grain with our own functions.
        decoder: besides the one in use: pil, opencv, imagecodecs.
        side: of the images in a batch.
        batch_size: images in a batch.
        repeat: how often each file is in an epoch.
        rounds: turns of each after the first call.
        torch_python: interpreter that has PyTorch and this project, if this one does not.
        tensorflow_python: the same for TensorFlow.
        out: folder for the figures of one machine.
    """

    photographs: Annotated[Path, tyro.conf.Positional]
    peer: tuple[Peer, ...] = ("processes_1", "processes_2", "grain")
    decoder: tuple[Literal["pil", "opencv", "imagecodecs"], ...] = ("pil",)
    side: int = 224
    batch_size: int = 32
    repeat: int = 2
    rounds: int = 5
    torch_python: Path | None = None
    tensorflow_python: Path | None = None
    out: Path = Path("runs/benchmarks/input")


def measure_input() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    with tempfile.TemporaryDirectory() as temporary:
        task = Task(Path(temporary), arguments.side, arguments.batch_size)
        arrange(arguments.photographs, task.folder / "train", arguments.repeat)
        images = task.batches * task.batch_size
        with contestants(arguments, task) as apart:
            stages = (*STAGES, *(f"decode_{name}" for name in arguments.decoder))
            runs = {name: each.method("epoch") for name, each in apart.items() if name != "stages"}
            timings = in_turns(runs | {stage: apart["stages"].method(stage) for stage in stages}, arguments.rounds)
            mebibytes = {name: rounded(peak_memory(apart[name].pid, run)) for name, run in runs.items()}
            versions = {name: each.version for name, each in apart.items()}
    case = {"images": images, "side": task.side, "batch_size": task.batch_size, "cores": os.cpu_count()}
    table = results(arguments.out, "input", {}, (*case, "peer"))
    for row in against_ours({name: timings[name] for name in runs}, units=images):
        peer = row["peer"]
        memory = {"ours_mib": mebibytes[OURS], "peer_mib": mebibytes[peer]}
        table.add({**case, **row, **memory, "peer_is": versions[peer]})
    parts = results(arguments.out.with_name(f"{arguments.out.name}_stages"), "input_stages", {}, (*case, "stage"))
    for row in shares({stage: timings[stage] for stage in stages}, images):
        parts.add({**case, **row, **provenance()})
    show("input", list(table))
    show("input_stages", list(parts))
    print(f"{table.folder}/results.csv\n{parts.folder}/results.csv")
    return 0


def arrange(photographs: Path, folder: Path, repeat: int) -> None:
    """Links to all photographs, each so often, as FOLDER/CLASS/NUMBER.SUFFIX.

    Raises:
        FileNotFoundError: there are none.
    """
    files = sorted(path for path in photographs.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise MissingData(f"no photographs in {photographs}")
    for number, path in enumerate(repeat * files):
        link = folder / path.parent.name / f"{number:06}{path.suffix.lower()}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path.resolve())


@contextlib.contextmanager
def contestants(arguments: Arguments, task: Task) -> Iterator[dict[str, Apart]]:
    """Ours, the stages of ours, and the peers, each in its process."""
    pythons = {"torch": arguments.torch_python, "tf": arguments.tensorflow_python}
    with contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(Apart(name, "input_peers.py", *task, python=pythons.get(name.partition("_")[0])))
            for name in (OURS, *arguments.peer, "stages")
        }


def shares(timings: dict[str, Timing], images: int) -> Sequence[dict[str, Any]]:
    """A row for each stage, and for what is left of the whole: milliseconds of an image, part of the whole."""
    rounds = {stage: timing.rounds for stage, timing in timings.items()}
    parts = zip(rounds["whole"], rounds["decode"], rounds["resize"], strict=True)
    rounds["rest"] = [whole - decode - resize for whole, decode, resize in parts]
    return [
        {
            "stage": stage,
            "ms": rounded(1e3 * statistics.median(spent) / images),
            "share": rounded(statistics.median(a / b for a, b in zip(spent, rounds["whole"], strict=True))),
            "rounds": len(spent),
        }
        for stage, spent in rounds.items()
    ]


if __name__ == "__main__":
    main(measure_input)
