"""The training loop: it knows states, batches, metrics and checkpoints, but no network, loss or dataset."""

import math
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp

from xxnet_jax.data import Loader
from xxnet_jax.errors import CorruptData, Diverged
from xxnet_jax.optimizers import Plateau
from xxnet_jax.training.checkpoints import Checkpoints
from xxnet_jax.training.dispatch import CompiledTrainStep
from xxnet_jax.training.evaluation import Evaluate
from xxnet_jax.training.interrupt import InterruptRequest
from xxnet_jax.training.logging import MeanWindow, MetricsFile, Progress, TensorBoard, stopwatch
from xxnet_jax.training.sharding import replicated
from xxnet_jax.training.state import TrainState

SYNC_SECONDS = 0.5  # how often the loop waits for the device, to show progress and to notice a bad loss


@dataclass(frozen=True)
class LoopConfig:
    """How long, and how often.

    Attributes:
        total_steps: of the run.
        log_every: steps between two lines of metrics.
        evaluate_every: steps between two evaluations with a checkpoint each; the last step always has one.
        early_stopping: evaluations without a better one after which the run ends; None: never.
    """

    total_steps: int
    log_every: int
    evaluate_every: int
    early_stopping: int | None = None


@dataclass(frozen=True)
class HostState:
    """What the loop itself remembers between steps, saved with each checkpoint as JSON.

    Attributes:
        window: sums of the training metrics since the last line.
        plateau: state of the reduction on a plateau, or None.
        best: the best validation accuracy so far.
        stalled: evaluations since then.
        seconds: of training so far, over all parts of an interrupted run.
    """

    window: dict[str, list[float]]
    plateau: dict[str, Any] | None
    best: float | None = None
    stalled: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class LoopResult:
    """How a loop ended.

    Attributes:
        state: after the last step.
        step: its number.
        seconds: of training, over all parts of an interrupted run.
        interrupted: the signal that ended it, or None when it is complete.
    """

    state: TrainState
    step: int
    seconds: float
    interrupted: signal.Signals | None


def train(
    state: TrainState,
    train_step: CompiledTrainStep,
    loader: Loader,
    evaluate: Callable[[TrainState], dict[str, float]] | Evaluate | None,
    checkpoints: Checkpoints,
    config: LoopConfig,
    *,
    metrics_path: Any,
    plateau: Plateau | None = None,
    quiet: bool = False,
) -> LoopResult:
    """Train from the last checkpoint, or from `state`, to the last step.

    Args:
        state: the initial state, on the devices.
        train_step: compiled.
        loader: of the training split.
        evaluate: variables -> metrics of the validation split, or None.
        checkpoints: of the run.
        config: see there.
        metrics_path: `metrics.jsonl`; TensorBoard events go beside it.
        plateau: reduces the learning rate by the validation accuracy.
        quiet: no progress.

    Returns:
        the last state; also when a signal ended the run after its checkpoint was saved.

    Raises:
        FloatingPointError: the loss or a parameter is no longer finite; the last checkpoint before is kept.
        OSError: something could not be written.
    """
    # --- Where the run stands -----------------------------------------------------------------------------------------
    step, host = 0, HostState(window={}, plateau=asdict(plateau) if plateau else None)
    everywhere = jax.tree.leaves(state)[0].sharding
    if (found := checkpoints.restore_latest(state)) is not None:
        step, state, saved = found
        _check_position(saved.pop("data"), step, loader)
        host = HostState(**saved)
        plateau = Plateau(**host.plateau) if host.plateau else None
    window = MeanWindow(host.window)
    best, stalled = host.best, host.stalled

    # --- What it writes -----------------------------------------------------------------------------------------------
    metrics_file = MetricsFile(metrics_path, from_step=step)
    tensorboard = TensorBoard(metrics_path.parent / "tensorboard", from_step=step)
    progress = Progress(config.total_steps, step, loader.batch_size, enabled=not quiet)
    if step and step < config.total_steps:
        progress.line(f"resuming from the checkpoint of step {step}")

    def collect() -> None:
        losses = window.collect()
        for number, loss in enumerate(losses, start=step - len(losses) + 1):
            if not math.isfinite(loss):
                raise Diverged(_advice(f"the loss of step {number} is {loss}", checkpoints))

    def write(values: dict[str, float]) -> None:
        epoch = step / loader.batches_per_epoch
        record = {"step": step, "epoch": round(epoch, 6), **values}
        metrics_file.write(record)
        tensorboard.write(record)
        progress.record(step, epoch, values)

    def save(metrics: dict[str, float] | None) -> None:
        if not all_finite(state.params):
            raise Diverged(_advice(f"a parameter is not finite after step {step}", checkpoints))
        epoch, batch = divmod(step, loader.batches_per_epoch)
        host = HostState(
            window=window.sums(),
            plateau=asdict(plateau) if plateau else None,
            best=best,
            stalled=stalled,
            seconds=seconds_before + time.perf_counter() - started,
        )
        saved = asdict(host) | {"data": {"epoch": epoch, "batch": batch, "seed": loader.seed}}
        checkpoints.save(step, state, saved, metrics)

    # --- The loop -----------------------------------------------------------------------------------------------------
    resident = jax.device_put(loader.resident, everywhere)
    batches = loader.batches(start=step)
    seconds_before, started = host.seconds, time.perf_counter()
    synced, logged, logged_step, waited = time.perf_counter(), time.perf_counter(), step, 0.0
    waiting = stopwatch()
    stopped = config.early_stopping is not None and stalled >= config.early_stopping
    try:
        with InterruptRequest() as request:
            while step < config.total_steps and not stopped:
                count = min(
                    train_step.steps_per_call,
                    *(every - step % every for every in (config.log_every, config.evaluate_every)),
                    config.total_steps - step,
                )
                if count < train_step.steps_per_call:
                    count = 1  # only two programs are compiled: one step, and a full call
                next(waiting)
                group = [next(batches) for _ in range(count)]
                waited += next(waiting)
                state, metrics = train_step(state, resident, group)
                step += count
                window.add(metrics)

                now = time.perf_counter()
                if now - synced > SYNC_SECONDS:
                    collect()
                    progress.update(step, window.means())
                    synced = time.perf_counter()

                last = step == config.total_steps
                if step % config.log_every == 0 or last:
                    collect()
                    now = time.perf_counter()
                    means = {f"train/{name}": value for name, value in window.means().items()}
                    rate = learning_rate(state)
                    timing = {
                        "time/examples_per_second": (step - logged_step)
                        * loader.batch_size
                        / (now - logged),
                        "time/data_wait_seconds": waited,
                    }
                    write(means | ({} if rate is None else {"train/learning_rate": rate}) | timing)
                    window = MeanWindow()
                    logged, logged_step, waited = now, step, 0.0

                if step % config.evaluate_every == 0 or last:
                    collect()
                    values = None
                    if evaluate is not None:
                        before = time.perf_counter()
                        means = evaluate(state.evaluation_variables)
                        values = {f"validation/{name}": value for name, value in means.items()}
                        if not all(map(math.isfinite, values.values())):
                            reason = f"the validation loss after step {step} is not finite"
                            raise Diverged(_advice(reason, checkpoints))
                        write(values | {"time/evaluation_seconds": time.perf_counter() - before})
                        accuracy = values["validation/accuracy"]
                        improved = best is None or accuracy > best
                        best, stalled = (accuracy, 0) if improved else (best, stalled + 1)
                        if plateau is not None:
                            plateau = plateau.update(accuracy)
                            state = with_rate_scale(state, plateau.scale)
                        if config.early_stopping is not None and stalled >= config.early_stopping:
                            stopped = True
                            progress.line(f"no better validation in {stalled} evaluations: stopping")
                    save(values)
                    logged = synced = time.perf_counter()
                elif request.signal is not None:
                    collect()
                    save(None)
                if request.signal is not None:
                    break
    finally:
        progress.close()
        metrics_file.close()
        tensorboard.close()
    checkpoints.wait()
    complete = stopped or step >= config.total_steps
    seconds = seconds_before + time.perf_counter() - started
    return LoopResult(state, step, seconds, None if complete else request.signal)


def learning_rate(state: TrainState) -> float | None:
    """The rate of the last step, where the optimizer's state holds it."""
    values = getattr(state.opt_state, "hyperparams", None)
    if values is None:
        return None
    return float(values["learning_rate"]) * float(values["rate_scale"])


def with_rate_scale(state: TrainState, scale: float) -> TrainState:
    """The state with another factor of the learning rate (see `scheduled_optimizer`)."""
    values = state.opt_state.hyperparams
    old = values["rate_scale"]
    new = jax.device_put(jnp.asarray(scale, old.dtype), old.sharding)
    opt_state = state.opt_state._replace(hyperparams=values | {"rate_scale": new})
    return state.replace(opt_state=opt_state)  # type: ignore[attr-defined]


@jax.jit
def _all_finite(tree: Any) -> jax.Array:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]))


def all_finite(tree: Any) -> bool:
    """Whether every number in a tree of arrays is finite."""
    return bool(_all_finite(tree))


def _check_position(saved: dict[str, int], step: int, loader: Loader) -> None:
    epoch, batch = divmod(step, loader.batches_per_epoch)
    if saved != {"epoch": epoch, "batch": batch, "seed": loader.seed}:
        raise CorruptData(
            f"the checkpoint of step {step} stands at {saved} of the data, but now step {step} is batch {batch} of "
            f"epoch {epoch} with seed {loader.seed}: the training split is not the one that the run began with"
        )


def _advice(what: str, checkpoints: Checkpoints) -> str:
    steps = checkpoints.steps()
    kept = f"the checkpoint of step {steps[-1]} is kept" if steps else "there is no checkpoint yet"
    return (
        f"{what}; {kept}. Try a lower --learning-rate or a warm-up (--schedule.warmup-steps), "
        "with a new --workdir"
    )
