"""The training loop: it knows states, batches, metrics and checkpoints, but no network, loss or dataset."""

import math
import signal
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from xxnet_jax.data import Loader
from xxnet_jax.errors import CorruptData, Diverged
from xxnet_jax.optimizers import Plateau, TrainingState
from xxnet_jax.precision import all_finite
from xxnet_jax.training.checkpoints import Checkpoints
from xxnet_jax.training.dispatch import CompiledTrainStep
from xxnet_jax.training.evaluation import Evaluate
from xxnet_jax.training.interrupt import InterruptRequest
from xxnet_jax.training.logging import MeanWindow, MetricsFile, Progress, TensorBoard
from xxnet_jax.training.sharding import put
from xxnet_jax.training.state import TrainState

_all_finite = jax.jit(all_finite)
SYNC_SECONDS = 0.5  # how often the loop waits for the device, to show progress and to notice a bad loss


@dataclass(frozen=True)
class LoopConfig:
    """How long, and how often.

    Attributes:
        total_steps: of the run.
        log_every: steps between two lines of metrics.
        evaluate_every: steps between two evaluations with a checkpoint each; the last step always has one.
        keep_steps: steps that have a checkpoint, too.
        early_stopping: evaluations without a better one after which the run ends; None: never.
        plateau: reduces the learning rate by the figure below; its initial state.
        ranked_by: the figure of evaluations that says which is better, the higher the better; of equal ones the loss,
            if it is evaluated.
    """

    total_steps: int
    log_every: int
    evaluate_every: int
    keep_steps: frozenset[int] = frozenset()
    early_stopping: int | None = None
    plateau: Plateau | None = None
    ranked_by: str = "accuracy"


@dataclass
class HostState:
    """What the loop itself remembers between steps; saved with each checkpoint as JSON.

    Attributes:
        step: steps made.
        plateau: state of the reduction on a plateau.
        best: figure and negated loss of the best evaluation so far; ties are decided by the loss.
        best_step: where that was.
        stalled: evaluations since then.
        seconds: of training, over all parts of an interrupted run.
        window: training metrics since the last line.
    """

    step: int = 0
    plateau: Plateau | None = None
    best: list[float] | None = None
    best_step: int | None = None
    stalled: int = 0
    seconds: float = 0.0
    window: MeanWindow = field(default_factory=MeanWindow)

    def to_json(self) -> dict[str, Any]:
        plateau = asdict(self.plateau) if self.plateau else None
        return {**vars(self), "plateau": plateau, "window": self.window.sums()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "HostState":
        plateau = Plateau(**values["plateau"]) if values["plateau"] else None
        return cls(**{**values, "plateau": plateau, "window": MeanWindow(values["window"])})


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
    evaluate: Evaluate | None,
    checkpoints: Checkpoints,
    metrics: Path | None,
    config: LoopConfig,
    *,
    quiet: bool = False,
) -> LoopResult:
    """Train from the last checkpoint, or from `state`, to the last step.

    Args:
        state: the initial state, on the devices; it is consumed.
        train_step: compiled.
        loader: of the training split.
        evaluate: of the validation split, or None.
        checkpoints: of the run.
        metrics: the JSON lines file; TensorBoard events go beside it. None: nothing is written.
        config: how long, and how often.
        quiet: no progress.

    Returns:
        The last state; also when a signal ended the run, after its checkpoint was saved.

    Raises:
        FloatingPointError: the loss or a parameter is no longer finite; the last checkpoint before is kept.
        OSError: something could not be written.
    """
    training = _Training(state, train_step, loader, evaluate, checkpoints, config)
    del state
    training.open(metrics, quiet)
    try:
        with InterruptRequest() as request:
            while not training.finished and request.signal is None:
                training.advance()
                interrupted = request.reached(training.host.step)
                if training.due(config.log_every):
                    training.log()
                if training.due(config.evaluate_every):
                    training.validate_and_save()
                elif interrupted or training.host.step in config.keep_steps:
                    training.save()
    finally:
        training.close()
    checkpoints.wait()
    interrupted = None if training.finished else request.signal
    return LoopResult(training.state, training.host.step, training.seconds(), interrupted)


class _Training:
    """A run between its first and its last step."""

    def __init__(
        self,
        state: TrainState,
        train_step: CompiledTrainStep,
        loader: Loader,
        evaluate: Evaluate | None,
        checkpoints: Checkpoints,
        config: LoopConfig,
    ):
        self.train_step = train_step
        self.loader = loader
        self.evaluate = evaluate
        self.checkpoints = checkpoints
        self.config = config
        self.state, self.host = self._restored(state)
        self.resident = put(loader.resident, state.step.sharding)
        self.batches = loader.batches(start=self.host.step)

    def _restored(self, state: TrainState) -> tuple[TrainState, HostState]:
        found = self.checkpoints.restore_latest(state)
        if found is None:
            return state, HostState(plateau=self.config.plateau)
        step, state, saved = found
        position = saved.pop("data")
        if position != self._position(step):
            raise CorruptData(
                f"the checkpoint of step {step} stands at {position} of the data, which now is {self._position(step)}: "
                "the training split is not the one that the run began with"
            )
        return state, HostState.from_json(saved)

    def _position(self, step: int) -> dict[str, int]:
        epoch, batch = divmod(step, self.loader.batches_per_epoch)
        examples = self.loader.num_examples
        return {"epoch": epoch, "batch": batch, "seed": self.loader.seed, "examples": examples}

    def open(self, metrics: Path | None, quiet: bool) -> None:
        step, total = self.host.step, self.config.total_steps
        self.logs: list[MetricsFile | TensorBoard] = []
        if metrics is not None:
            self.logs = [MetricsFile(metrics, step), TensorBoard(metrics.parent / "tensorboard", step)]
        self.progress = Progress(total, step, self.loader.batch_size, enabled=not quiet)
        if 0 < step < total:
            self.progress.line(f"resuming from the checkpoint of step {step}")
        self.seconds_before, self.started = self.host.seconds, time.perf_counter()
        self.synced = self.started
        self._restart_timing()

    def close(self) -> None:
        self.batches.close()
        self.progress.close()
        for log in self.logs:
            log.close()

    def seconds(self) -> float:
        return self.seconds_before + time.perf_counter() - self.started

    @property
    def finished(self) -> bool:
        return self.host.step >= self.config.total_steps or self.stopped_early

    @property
    def stopped_early(self) -> bool:
        patience = self.config.early_stopping
        return patience is not None and self.host.stalled >= patience

    def due(self, every: int) -> bool:
        """Whether something that happens every so many steps, and after the last, happens now."""
        return self.host.step % every == 0 or self.host.step == self.config.total_steps

    def advance(self) -> None:
        """One call of the compiled step: one step, or as many as it takes at once and nothing is due between."""
        step, full = self.host.step, self.train_step.steps_per_call
        ahead = (
            self.config.total_steps - step,
            *(n - step % n for n in (self.config.log_every, self.config.evaluate_every)),
            *(kept - step for kept in self.config.keep_steps if kept > step),
        )
        count = full if full <= min(ahead) else 1
        before = time.perf_counter()
        group = [next(self.batches) for _ in range(count)]
        self.waited += time.perf_counter() - before
        self.state, metrics = self.train_step(self.state, self.resident, group)
        self.host.step += count
        self.host.window.add(metrics)
        if time.perf_counter() - self.synced > SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Wait for the device, and look at the losses of the steps since the last time."""
        losses = self.host.window.collect()
        for number, loss in enumerate(losses, start=self.host.step - len(losses) + 1):
            if not math.isfinite(loss):
                self._diverged(f"the loss of step {number} is {loss}")
        self.progress.update(self.host.step, self.host.window.means())
        self.synced = time.perf_counter()

    def log(self) -> None:
        """Write the means since the last line."""
        self.sync()
        values = {f"train/{name}": mean for name, mean in self.host.window.means().items()}
        if (rate := learning_rate(self.state)) is not None:
            values["train/learning_rate"] = rate
        examples = (self.host.step - self.timed_from[0]) * self.loader.batch_size
        values["time/examples_per_second"] = examples / (self.synced - self.timed_from[1])
        values["time/data_wait_seconds"] = self.waited
        self._write(values)
        self.host.window = MeanWindow()
        self._restart_timing()

    def _restart_timing(self) -> None:
        self.timed_from, self.waited = (self.host.step, time.perf_counter()), 0.0

    def _write(self, values: dict[str, float]) -> None:
        step = self.host.step
        epoch = step / self.loader.batches_per_epoch
        record = {"step": step, "epoch": round(epoch, 6), **values}
        for log in self.logs:
            log.write(record)
        self.progress.record(step, epoch, values)

    def validate_and_save(self) -> None:
        """Evaluate, let plateau and early stopping take note, and save a checkpoint with the result."""
        if self.evaluate is None:
            self.save()
            return
        self.sync()
        started = time.perf_counter()
        figures = self.evaluate(self.state.evaluation_variables).figures
        values = {f"validation/{name}": value for name, value in figures.items()}
        if not all(map(math.isfinite, values.values())):
            self._diverged(f"the validation loss after step {self.host.step} is not finite")
        self._write(values | {"time/evaluation_seconds": time.perf_counter() - started})
        self._take_note(values)
        self.save()

    def _take_note(self, values: dict[str, float]) -> None:
        host = self.host
        figure = values[f"validation/{self.config.ranked_by}"]
        rank = [figure, -values.get("validation/loss", 0.0)]
        if host.best is None or rank > host.best:
            host.best, host.best_step, host.stalled = rank, host.step, 0
        else:
            host.stalled += 1
        if host.plateau is not None:
            host.plateau = host.plateau.update(figure)
            self.state = with_rate_scale(self.state, host.plateau.scale)
        if self.stopped_early:
            self.progress.line(f"no better validation in {host.stalled} evaluations: stopping")

    def save(self) -> None:
        """Begin to write a checkpoint."""
        self.sync()
        step = self.host.step
        if not _all_finite(self.state.params):
            self._diverged(f"a parameter is not finite after step {step}")
        self.host.seconds = self.seconds()
        host = self.host.to_json() | {"data": self._position(step)}
        self.checkpoints.save(step, self.state, host, self.host.best_step)
        self._restart_timing()

    def _diverged(self, what: str) -> None:
        self.checkpoints.wait()
        steps = self.checkpoints.steps()
        kept = f"the checkpoint of step {steps[-1]} is kept" if steps else "no checkpoint was saved"
        raise Diverged(
            f"{what}; {kept}. Try a lower --learning-rate or a warm-up (--schedule.warmup), with a new --workdir"
        )


def learning_rate(state: TrainState) -> float | None:
    """The rate of the last step, where the optimizer's state holds it (see `training_optimizer`)."""
    return float(state.opt_state.rate) if isinstance(state.opt_state, TrainingState) else None


def with_rate_scale(state: TrainState, scale: float) -> TrainState:
    """The state with another factor of the learning rate (see `training_optimizer`)."""
    values = state.opt_state.hyperparams
    old = values["rate_scale"]
    new = jax.device_put(jnp.asarray(scale, old.dtype), old.sharding)
    opt_state = state.opt_state._replace(hyperparams=values | {"rate_scale": new})
    return state.replace(opt_state=opt_state)  # type: ignore[attr-defined]
