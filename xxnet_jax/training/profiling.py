"""A profile of a few training steps: what was compiled, what a step waits for, and where its time goes."""

import contextlib
import gzip
import json
import re
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from xxnet_jax.data import Loader
from xxnet_jax.files import write_atomically
from xxnet_jax.training.dispatch import CompiledTrainStep
from xxnet_jax.training.sharding import put
from xxnet_jax.training.state import TrainState

WARM_UP = 2
CALLS = 5
LONGEST_LIST = 20
COMPILATION = {  # events that JAX reports
    "/jax/core/compile/jaxpr_trace_duration": "trace",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lower",
    "/jax/core/compile/backend_compile_duration": "compile",
}
_INSTRUCTION = re.compile(r'%(\S+) = \S+ ([\w-]+)\((?:.*?metadata=\{op_name="([^"]*)")?')  # some have no origin


class Operation(NamedTuple):
    """An operation of the compiled step.

    Attributes:
        name: XLA's.
        kind: its opcode, such as convolution or fusion.
        where: the layer and the operation of JAX that it came from.
        milliseconds: a step, over all threads or devices.
        share: of the time of all operations.
    """

    name: str
    kind: str
    where: str
    milliseconds: float
    share: float


class Share(NamedTuple):
    """All operations of a pass that came from one operation of JAX.

    Attributes:
        what: such as "backward dot_general".
        milliseconds: a step, over all threads or devices.
        share: of the time of all operations.
    """

    what: str
    milliseconds: float
    share: float


@dataclass(frozen=True)
class Profile:
    """Seconds, but where milliseconds are said.

    Attributes:
        trace, lower, compile: of the first call.
        steps_per_call: steps in one call.
        step: median of a step, with the device waited for.
        steps: each of them.
        data_wait: median wait for the batch of a step.
        operations: those that take longest.
        primitives: the same time by what it was for; a fusion counts for the operation that gave it its name.
    """

    trace: float
    lower: float
    compile: float
    steps_per_call: int
    step: float
    steps: list[float]
    data_wait: float
    operations: list[Operation]
    primitives: list[Share]

    def page(self) -> str:
        """As a page to read."""
        lines = [
            f"trace {self.trace:.1f} s, lower {self.lower:.1f} s, compile {self.compile:.1f} s",
            f"step {1e3 * self.step:.1f} ms (median of {len(self.steps)}, {1e3 * min(self.steps):.1f} to "
            f"{1e3 * max(self.steps):.1f}), waits {1e3 * self.data_wait:.1f} ms for its batch",
            "",
            f"{'ms a step':>9} {'share':>6}  {'kind':16} where",
        ]
        lines += [f"{op.milliseconds:9.2f} {op.share:6.1%}  {op.kind:16} {op.where}" for op in self.operations]
        rest = 1 - sum(op.share for op in self.operations)
        lines += [f"{'':9} {rest:6.1%}  all others", "", f"{'ms a step':>9} {'share':>6}  what"]
        lines += [f"{each.milliseconds:9.2f} {each.share:6.1%}  {each.what}" for each in self.primitives]
        return "\n".join([*lines, ""])


def profile_steps(train_step: CompiledTrainStep, state: TrainState, loader: Loader, folder: Path) -> Profile:
    """Run a few steps on a copy of `state`, and write `summary.txt`, `summary.json` and the trace into a folder.

    The trace can be looked at in Perfetto (`*.trace.json.gz`) or XProf.
    """
    state = jax.tree.map(jnp.copy, state)
    resident = put(loader.resident, state.step.sharding)
    batches, count = loader.batches(), train_step.steps_per_call
    waits: list[float] = []

    def call(state: TrainState) -> tuple[TrainState, float]:
        started = time.perf_counter()
        group = [next(batches) for _ in range(count)]
        ready = time.perf_counter()
        state, metrics = train_step(state, resident, group)
        jax.block_until_ready((state, metrics))
        waits.append((ready - started) / count)
        return state, (time.perf_counter() - ready) / count

    with _compilation_seconds() as seconds:
        state, _ = call(state)
    for _ in range(WARM_UP):
        state, _ = call(state)
    waits.clear()
    steps = []
    with jax.profiler.trace(str(folder)):
        for _ in range(CALLS):
            state, step = call(state)
            steps.append(step)
    program = train_step.program(state, resident, [next(batches) for _ in range(count)])
    operations = _operations(_operation_seconds(folder), program, CALLS * count)
    profile = Profile(
        **seconds,
        steps_per_call=count,
        step=statistics.median(steps),
        steps=steps,
        data_wait=statistics.median(waits),
        operations=operations[:LONGEST_LIST],
        primitives=_by_primitive(operations)[:LONGEST_LIST],
    )
    values = asdict(profile) | {
        name: [each._asdict() for each in getattr(profile, name)] for name in ("operations", "primitives")
    }
    write_atomically(folder / "summary.json", json.dumps(values, indent=2) + "\n")
    write_atomically(folder / "summary.txt", profile.page())
    return profile


@contextlib.contextmanager
def _compilation_seconds() -> Iterator[dict[str, float]]:
    """What tracing, lowering and compilation within take."""
    seconds = dict.fromkeys(COMPILATION.values(), 0.0)

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if event in COMPILATION:
            seconds[COMPILATION[event]] += duration_secs

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seconds
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def _operation_seconds(folder: Path) -> Counter[str]:
    """Name of each operation in the newest trace of a folder -> seconds over all threads and devices."""
    newest = max(folder.rglob("*.trace.json.gz"), key=lambda path: path.stat().st_mtime)
    with gzip.open(newest) as file:
        events = json.load(file)["traceEvents"]
    seconds: Counter[str] = Counter()
    for event in events:
        if event.get("ph") == "X" and "hlo_op" in event.get("args", {}):
            seconds[event["args"]["hlo_op"]] += event["dur"] / 1e6
    return seconds


def _operations(seconds: Counter[str], program: str, steps: int) -> list[Operation]:
    """The operations, the longest first, with what the compiled program says of them."""
    origins = {
        match[1]: (match[2], match[3] or match[1]) for match in map(_INSTRUCTION.search, program.splitlines()) if match
    }
    total = sum(seconds.values())
    operations = []
    for name, spent in seconds.most_common():
        kind, origin = origins.get(name, ("", name))
        operations.append(Operation(name, kind, _readable(origin), 1e3 * spent / steps, spent / total))
    return operations


def _by_primitive(operations: list[Operation]) -> list[Share]:
    """The sums, the longest first; what has no origin is called by its kind."""
    sums: dict[str, Share] = {}
    for each in operations:
        which_pass = next((word for word in ("forward", "backward") if each.where.startswith(f"{word} ")), "")
        primitive = each.where.rpartition("/")[2] if "/" in each.where else each.kind
        what = f"{which_pass} {primitive}".strip()
        before = sums.get(what, Share(what, 0.0, 0.0))
        sums[what] = Share(what, before.milliseconds + each.milliseconds, before.share + each.share)
    return sorted(sums.values(), key=lambda each: -each.share)


def _readable(origin: str) -> str:
    """Such as "backward C3/dot_general" for "jit(single)/transpose(jvp(LeNet))/C3/dot_general"."""
    origin = re.sub(r"^(jit|pmap)\(\w+\)/", "", origin)
    origin = re.sub(r"^transpose\(jvp\(\w*\)\)/", "backward ", origin)
    return re.sub(r"^jvp\(\w*\)/", "forward ", origin)
