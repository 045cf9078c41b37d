"""One network beside its peers: what train_step.py and inference.py share."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from apart import Apart
from measuring import OURS, against_ours, in_turns, results, rounded, show
from peers import PeerName, Precision, make_task

from xxnet_jax.analysis import count_macs
from xxnet_jax.models import create_model


@dataclass(frozen=True)
class Arguments:
    """Measure.

    Attributes:
        network: a registered one.
        peer: whom to measure beside ours.
        batch_size: by default 128 of at most 32 pixels a side, else 8.
        precision: f32, or bf16 with float32 parameters.
        rounds: turns of each after the first call.
        torch_python: interpreter that has PyTorch and this project, if this one does not.
        out: folder for the figures of one machine; by default one in runs/benchmarks.
    """

    network: Annotated[str, tyro.conf.Positional]
    peer: tuple[PeerName, ...] = ("flax_plain",)
    batch_size: int | None = None
    precision: Precision = "f32"
    rounds: int = 7
    torch_python: Path | None = None
    out: Path | None = None


def side_by_side(
    benchmark: str,
    arguments: Arguments,
    work: Literal["train", "predict"],
    passes: int,
    *,
    ours: str = OURS,
    more: tuple[str, ...] = (),
) -> int:
    """Measure what is not in the table yet, and print all that it has of this network.

    Args:
        benchmark: its name.
        arguments: of the command line.
        work: which method of `peers.Contestant` is measured.
        passes: that have as many multiply-accumulates as inference has.
        ours: our contestant, a name of `peers.make_contestant`.
        more: further contestants that are always there.
    """
    task = make_task(arguments.network, arguments.batch_size, arguments.precision)
    case = {
        "network": task.network,
        "input": "x".join(map(str, task.images.shape)),
        "precision": task.precision,
    }
    folder = arguments.out or Path("runs/benchmarks") / benchmark
    table = results(folder, benchmark, {}, (*case, "peer"))
    wanted = [name for name in (*arguments.peer, *more) if (*case.values(), name) not in table]
    if wanted:
        with contextlib.ExitStack() as stack:
            pythons: dict[str, Path | None] = dict.fromkeys(("torch", "torch_compile"), arguments.torch_python)
            contestants = {
                name: stack.enter_context(
                    Apart(
                        *(ours if name == OURS else name, "peers.py"),
                        *(arguments.network, arguments.batch_size or 0, arguments.precision),
                        python=pythons.get(name),
                    )
                )
                for name in (OURS, *wanted)
            }
            timings = in_turns({name: each.method(work) for name, each in contestants.items()}, arguments.rounds)
        height, width, channels = task.images.shape[1:]
        macs = passes * count_macs(create_model(task.network), (height, width, channels))
        for row in against_ours(timings, units=len(task.images)):
            version = contestants[row["peer"]].version
            table.add({**case, **row, "ours_gmacs_per_s": rounded(macs * row["ours_per_s"] / 1e9), "peer_is": version})
    rows = [row for row in table if all(row[column] == value for column, value in case.items())]
    show(f"{benchmark}: {', '.join(case.values())}", [{k: v for k, v in row.items() if k not in case} for row in rows])
    print(f"{table.folder}/results.csv")
    return 0
