"""The peak of memory of a training step: predicted from its operations, against what XLA says of the compiled step.

    python experiments/benchmarks/memory.py
    python experiments/benchmarks/memory.py resnet50 --batch-size 8

Momentum, cross-entropy. "ratio" is the predicted total (state, batch and temporaries at the peak) in parts of XLA's.
Figures go to results.csv in OUT.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from measuring import results, rounded, show
from rich.progress import track
from script import main

import xxnet_jax as xx
from xxnet_jax.analysis import compiled_memory, training_memory
from xxnet_jax.training.step import lowered_train_step

NETWORKS = (
    *("lenet5", "resnet20", "alexnet", "vgg16", "googlenet", "inception_v3"),
    *("resnet50", "densenet121", "mobilenet_v2", "xception"),
)


@dataclass(frozen=True)
class Arguments:
    """Compare.

    Attributes:
        networks: registered names.
        batch_size: images; by default 128 of at most 32 pixels a side, else 8.
        out: folder for the figures of one machine.
    """

    networks: Annotated[tuple[str, ...], tyro.conf.Positional] = NETWORKS
    batch_size: int | None = None
    out: Path = Path("runs/benchmarks/memory")


def measure_memory() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    table = results(arguments.out, "memory", {}, ("network", "input"))
    shown = []
    for name in track(arguments.networks, "compiling", transient=True):
        shape = xx.model_info(name).input_shape
        batch_size = arguments.batch_size or (128 if shape[0] <= 32 else 8)
        case = (name, "x".join(map(str, (batch_size, *shape))))
        if case not in table:
            model, tx = xx.create_model(name), xx.create_optimizer("momentum")
            predicted = training_memory(model, shape, tx, batch_size).total
            compiled = compiled_memory(lowered_train_step(model, tx, shape, batch_size).compile()).total
            table.add(
                {
                    "network": name,
                    "input": case[1],
                    "predicted_mib": rounded(predicted / 2**20),
                    "xla_mib": rounded(compiled / 2**20),
                    "ratio": rounded(predicted / compiled),
                }
            )
        shown.append(table[case])
    show("peak memory of training steps", shown)
    print(f"{table.folder}/results.csv")
    return 0


if __name__ == "__main__":
    main(measure_memory)
