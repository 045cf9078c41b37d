"""What the training loop costs: an epoch of LeNet-5 through the loop, against the same step called bare.

    python experiments/benchmarks/loop.py --data idx:FOLDER
    python experiments/benchmarks/loop.py --data idx:FOLDER --peer keras torch

The loop shuffles, gathers, logs every 100 steps and writes a checkpoint at the end of the epoch. The bare step is
called on batches that lie on the device. Keras 3 on JAX fits, and PyTorch goes through shuffled batches of, the same
network on the same images. Everyone has one turn, an epoch, in each round; "ratio" says how many times faster than the
peer our loop is: median and range over the rounds. Figures go to results.csv in OUT.
"""

import functools
import itertools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from measuring import OURS, Run, against_ours, in_turns, results, show
from peers import keras_model, torch_model
from script import main

from xxnet_jax.data import Decoder, ImageFormat, make_loader, open_source, preprocess
from xxnet_jax.losses import classification_loss
from xxnet_jax.models import create_model
from xxnet_jax.optimizers import training_optimizer
from xxnet_jax.training import create_state, make_train_step
from xxnet_jax.training.checkpoints import Checkpoints
from xxnet_jax.training.dispatch import CompiledTrainStep
from xxnet_jax.training.loop import LoopConfig, train
from xxnet_jax.training.run import input_function
from xxnet_jax.training.sharding import divided, make_mesh, replicated


@dataclass(frozen=True)
class Arguments:
    """Measure.

    Attributes:
        data: any source of 28x28 or 32x32 images.
        split: of it.
        batch_size: of the step.
        steps_per_call: of ours; by default what suits the backend.
        rounds: epochs of each after the first.
        peer: whom to measure beside the bare step.
        out: folder for the figures of one machine.
    """

    data: str = "fake:28x28x1/10?examples=25600"
    split: str = "train"
    batch_size: int = 128
    steps_per_call: int | None = None
    rounds: int = 5
    peer: tuple[Literal["keras", "torch"], ...] = ()
    out: Path = Path("runs/benchmarks/loop")


def measure_loop() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    source = open_source(arguments.data)
    decoder = Decoder(ImageFormat(32, 32, 1, "pad"), source.num_classes)
    loader = make_loader(source.examples(arguments.split), decoder, arguments.batch_size, train=True)
    mesh = make_mesh(1)
    model = create_model("lenet5", num_classes=source.num_classes)
    tx = training_optimizer("adam", 1e-3)
    input_fn = input_function(loader, functools.partial(preprocess, name="lecun"))
    step = make_train_step(model, tx, classification_loss())

    def new_state():
        return jax.device_put(create_state(model, tx, (32, 32, 1), seed=0), replicated(mesh))

    # --- The bare step, on batches that are ready on the device -------------------------------------------------------
    resident = jax.device_put(loader.resident, replicated(mesh))
    prepare = jax.jit(input_fn)
    batches = [
        jax.device_put(prepare(resident, batch), divided(mesh))
        for batch in itertools.islice(loader.host_batches(0), loader.batches_per_epoch)
    ]
    bare_step = jax.jit(step, donate_argnums=0)

    def bare_epoch() -> None:
        state = bare[0]
        for batch in batches:
            state, _ = bare_step(state, batch)
        bare[0] = jax.block_until_ready(state)

    # --- The loop -----------------------------------------------------------------------------------------------------
    train_step = CompiledTrainStep(step, input_fn, mesh, arguments.steps_per_call)
    config = LoopConfig(loader.batches_per_epoch, log_every=100, evaluate_every=loader.batches_per_epoch)

    def loop_epoch() -> None:
        with tempfile.TemporaryDirectory() as folder:
            checkpoints = Checkpoints(Path(folder) / "checkpoints")
            metrics = Path(folder) / "metrics.jsonl"
            train(new_state(), train_step, loader, None, checkpoints, metrics, config, quiet=True)
            checkpoints.close()

    # --- Measurement --------------------------------------------------------------------------------------------------
    bare = [jax.block_until_ready(new_state())]
    epochs: dict[str, Run] = {OURS: loop_epoch, "bare step": bare_epoch}
    for peer in arguments.peer:
        epochs[peer] = PEERS[peer](loader.resident, arguments.batch_size)
    case = {
        "data": arguments.data.split(":")[0],
        "batch_size": arguments.batch_size,
        "steps_per_call": train_step.steps_per_call,
        "steps": len(batches),
    }
    table = results(arguments.out, "loop", {}, (*case, "peer"))
    for row in against_ours(in_turns(epochs, arguments.rounds), units=len(batches) * arguments.batch_size):
        table.add({**case, **row})
    show("an epoch of LeNet-5", list(table))
    print(f"{table.folder}/results.csv")
    return 0


def whole_batches(arrays: dict[str, np.ndarray], batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Preprocessed images and labels, as many as fill batches."""
    count = len(arrays["label"]) // batch_size * batch_size
    images = np.asarray(preprocess(jnp.asarray(arrays["image"]), "lecun"))
    return images[:count], arrays["label"][:count]


def keras_epoch(arrays: dict[str, np.ndarray], batch_size: int) -> Run:
    """Keras's own loop."""
    keras, network = keras_model("lenet5")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
    images, labels = whole_batches(arrays, batch_size)
    return lambda: network.fit(images, labels, batch_size=batch_size, epochs=1, verbose=0)


def torch_epoch(arrays: dict[str, np.ndarray], batch_size: int) -> Run:
    """The usual loop, over tensors in memory."""
    torch, network = torch_model("lenet5")
    optimizer = torch.optim.Adam(network.parameters())
    images, labels = whole_batches(arrays, batch_size)
    x, y = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), torch.from_numpy(labels.astype(np.int64))

    def epoch() -> None:
        correct = 0
        for chosen in torch.randperm(len(y)).split(batch_size):
            optimizer.zero_grad(set_to_none=True)
            logits = network(x[chosen])
            torch.nn.functional.cross_entropy(logits, y[chosen]).backward()
            optimizer.step()
            correct += (logits.argmax(1) == y[chosen]).sum().item()

    return epoch


PEERS: dict[str, Callable[[dict[str, np.ndarray], int], Run]] = {"keras": keras_epoch, "torch": torch_epoch}


if __name__ == "__main__":
    main(measure_loop)
