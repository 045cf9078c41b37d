"""Images a second from files to batches on the host: this project's loader, PyTorch's.

    python experiments/benchmarks/input.py folder:PHOTOGRAPHS --side 224 --batch-size 16 --peer torch
    python experiments/benchmarks/input.py folder:CIFAR10 --split train[:10%] --side 32 --batch-size 128

Each contestant decodes every file of the split, stretches it to a square, and makes shuffled batches of uint8 [batch,
side, side, 3]; an epoch is a turn. PyTorch has `ImageFolder` and `DataLoader` with a process for each core. Figures go
to results.csv in OUT.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from measuring import OURS, Run, against_ours, in_turns, results, rounded, seconds, show
from script import main

from xxnet_jax.data import Decoder, ImageFormat, make_loader, open_source
from xxnet_jax.errors import InvalidArgument, XXNetError


@dataclass(frozen=True)
class Arguments:
    """Measure.

    Attributes:
        data: a source of images in files, such as folder:PATH.
        split: of it.
        side: of the images in a batch.
        batch_size: images in a batch.
        rounds: epochs of each after the first.
        peer: whom to measure beside ours; torch reads all files: of PATH/SPLIT, or of PATH if that is none, and so
            wants train+validation+test as split.
        out: folder for the figures of one machine.
    """

    data: Annotated[str, tyro.conf.Positional]
    split: str = "train"
    side: int = 224
    batch_size: int = 16
    rounds: int = 5
    peer: tuple[Literal["torch"], ...] = ()
    out: Path = Path("runs/benchmarks/input")


def measure_input() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    source = open_source(arguments.data)
    examples = source.examples(arguments.split)
    decoder = Decoder(ImageFormat(arguments.side, arguments.side, 3), source.num_classes)
    loader = make_loader(examples, decoder, arguments.batch_size, train=True, resident=False)
    images = loader.batches_per_epoch * arguments.batch_size
    epochs: dict[str, Run] = {OURS: lambda: [None for _ in loader.epoch_batches(epoch=0, skip=0)]}
    for peer in arguments.peer:
        epochs[peer] = PEERS[peer](arguments, len(examples))
    case = {
        "data": arguments.data.split(":")[0],
        "images": images,
        "side": arguments.side,
        "batch_size": arguments.batch_size,
    }
    if not arguments.peer:
        first, *rest = (seconds(epochs[OURS]) for _ in range(arguments.rounds + 1))
        show(
            "input", [{**case, "ours_per_s": rounded(images / float(np.median(rest))), "ours_first_s": rounded(first)}]
        )
        return 0
    table = results(arguments.out, "input", {}, (*case, "peer"))
    for row in against_ours(in_turns(epochs, arguments.rounds), units=images):
        table.add({**case, **row})
    show("input", list(table))
    print(f"{table.folder}/results.csv")
    return 0


def torch_epoch(arguments: Arguments, examples: int) -> Run:
    """`ImageFolder` through a `DataLoader`.

    Raises:
        ValueError: it would read other files than ours.
        XXNetError: PyTorch or torchvision is not installed.
    """
    try:
        import torch
        import torchvision
    except ImportError as error:
        raise XXNetError("the peer torch needs PyTorch: pip install torch torchvision") from error
    scheme, _, path = arguments.data.partition(":")
    path = path.partition("?")[0]
    folder = Path(path) / arguments.split
    dataset: Any = torchvision.datasets.ImageFolder(
        str(folder if folder.is_dir() else path),
        torchvision.transforms.Compose(
            [
                torchvision.transforms.Resize((arguments.side, arguments.side)),
                torchvision.transforms.PILToTensor(),
            ]
        ),
    )
    if scheme != "folder" or len(dataset) != examples:
        raise InvalidArgument(
            f"the peer torch reads {len(dataset)} files of {path}, ours {examples}: give folder:PATH and a whole split"
        )
    loader: Any = torch.utils.data.DataLoader(
        dataset,
        arguments.batch_size,
        shuffle=True,
        num_workers=os.cpu_count() or 1,
        drop_last=True,
        persistent_workers=True,
    )
    return lambda: [None for _ in loader]


PEERS: dict[str, Callable[[Arguments, int], Run]] = {"torch": torch_epoch}


if __name__ == "__main__":
    main(measure_input)
