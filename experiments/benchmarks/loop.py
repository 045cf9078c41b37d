"""What the training loop costs: an epoch of LeNet-5 through the loop, against the same step called bare.

    python experiments/benchmarks/loop.py --data idx:FOLDER
    python experiments/benchmarks/loop.py --data idx:FOLDER --peer keras

The loop shuffles, gathers, logs every 100 steps and writes a checkpoint at the end of the epoch; the bare step is
called on batches that lie on the device. With `--peer keras`, Keras 3 on JAX fits the same network on the same images
in turn. Epochs are interleaved; medians, and medians of the ratios within a round, are printed and written to --out.
Compilation is reported apart.
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from xxnet_jax.data import Decoder, ImageFormat, make_loader, open_source, preprocess
from xxnet_jax.files import write_atomically
from xxnet_jax.losses import classification_loss
from xxnet_jax.models import create_model
from xxnet_jax.optimizers import training_optimizer
from xxnet_jax.training import create_state, make_train_step
from xxnet_jax.training.checkpoints import Checkpoints
from xxnet_jax.training.dispatch import CompiledTrainStep
from xxnet_jax.training.loop import LoopConfig, train
from xxnet_jax.training.run import input_function, versions
from xxnet_jax.training.sharding import divided, make_mesh, replicated


@dataclass(frozen=True)
class Arguments:
    """What the training loop costs.

    Attributes:
        data: any source of 28x28 or 32x32 images.
        split: of it.
        batch_size: of the step.
        repeats: epochs of each kind.
        peer: "keras" measures Keras 3 on JAX too.
        out: JSON file for the result.
    """

    data: str = "fake:28x28x1/10?examples=25600"
    split: str = "train"
    batch_size: int = 128
    repeats: int = 5
    peer: Literal["keras"] | None = None
    out: Path | None = None


def timed(function: Callable[[], Any]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def main() -> None:
    arguments = tyro.cli(Arguments, description=__doc__)
    source = open_source(arguments.data)
    decoder = Decoder(ImageFormat(32, 32, 1, "pad"), source.num_classes)
    loader = make_loader(source.examples(arguments.split), decoder, arguments.batch_size, train=True)
    mesh = make_mesh(1)
    model = create_model("lenet5", num_classes=source.num_classes)
    tx = training_optimizer("adam", 1e-3)
    input_fn = input_function(loader, "lecun")
    step = make_train_step(model, tx, classification_loss())

    def new_state():
        return jax.device_put(create_state(model, tx, (32, 32, 1), seed=0), replicated(mesh))

    # --- The bare step, on batches that are ready on the device -------------------------------------------------------
    resident = jax.device_put(loader.resident, replicated(mesh))
    prepare = jax.jit(input_fn)
    batches = [
        jax.device_put(prepare(resident, batch), divided(mesh)) for batch in loader.epoch_batches(epoch=0, skip=0)
    ]
    bare_step = jax.jit(step, donate_argnums=0)

    def bare_epoch() -> None:
        state = bare[0]
        for batch in batches:
            state, _ = bare_step(state, batch)
        bare[0] = jax.block_until_ready(state)

    # --- The loop -----------------------------------------------------------------------------------------------------
    train_step = CompiledTrainStep(step, input_fn, mesh)
    config = LoopConfig(loader.batches_per_epoch, log_every=100, evaluate_every=loader.batches_per_epoch)

    def loop_epoch() -> float:
        state = jax.block_until_ready(new_state())
        with tempfile.TemporaryDirectory() as folder:
            checkpoints = Checkpoints(Path(folder) / "checkpoints")
            seconds = timed(
                lambda: train(
                    state, train_step, loader, None, checkpoints, Path(folder) / "metrics.jsonl", config, quiet=True
                )
            )
            checkpoints.close()
        return seconds

    bare = [jax.block_until_ready(new_state())]
    kinds: dict[str, Callable[[], float]] = {"bare": lambda: timed(bare_epoch), "loop": loop_epoch}
    if arguments.peer == "keras":
        kinds["keras"] = keras_epoch(loader.resident, source.num_classes, arguments.batch_size)

    # --- Measurement --------------------------------------------------------------------------------------------------
    first = {name: run() for name, run in kinds.items()}
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(arguments.repeats):
        for name, run in kinds.items():
            seconds[name].append(run())
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratios = {
        name: statistics.median(a / b for a, b in zip(values, seconds["bare"], strict=True))
        for name, values in seconds.items()
    }
    for name, median in medians.items():
        spread = f"{min(seconds[name]):.3f} .. {max(seconds[name]):.3f}"
        print(
            f"{name:6} {median:7.3f} s an epoch ({spread}), {1e3 * median / len(batches):6.2f} ms a step, "
            f"first epoch with compilation {first[name]:6.2f} s, {ratios[name]:5.3f} x bare"
        )
    if arguments.out is not None:
        result = {
            "seconds": seconds,
            "first": first,
            "medians": medians,
            "ratios": ratios,
            "steps": len(batches),
        } | versions()
        write_atomically(arguments.out, json.dumps(result, indent=2) + "\n")


def keras_epoch(arrays: dict[str, np.ndarray], num_classes: int, batch_size: int) -> Callable[[], float]:
    """An epoch of `fit` on the same network, images, optimizer and metrics."""
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    tanh = {"activation": "tanh"}
    network = keras.Sequential(
        [
            keras.layers.Input((32, 32, 1)),
            keras.layers.Conv2D(6, 5, **tanh),
            keras.layers.AveragePooling2D(2),
            keras.layers.Conv2D(16, 5, **tanh),
            keras.layers.AveragePooling2D(2),
            keras.layers.Conv2D(120, 5, **tanh),
            keras.layers.Flatten(),
            keras.layers.Dense(84, **tanh),
            keras.layers.Dense(num_classes),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
    steps = len(arrays["label"]) // batch_size
    images = np.asarray(preprocess(jnp.asarray(arrays["image"]), "lecun"))[: steps * batch_size]
    labels = arrays["label"][: steps * batch_size]
    return lambda: timed(lambda: network.fit(images, labels, batch_size=batch_size, epochs=1, verbose=0))


if __name__ == "__main__":
    main()
