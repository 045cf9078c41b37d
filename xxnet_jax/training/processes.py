"""Many processes, one run: how they find each other, and who writes."""

from dataclasses import dataclass

import jax

from xxnet_jax.errors import InvalidArgument

HEARTBEAT_SECONDS = 20  # of silence after which a process counts as dead, and the others end


@dataclass(frozen=True)
class Processes:
    """How the processes of a run, one for each host as a rule, find each other; they share the run folder.

    Attributes:
        distributed: join those that a TPU pod, Slurm, Open MPI or Kubernetes started: JAX finds them.
        coordinator: HOST:PORT of process 0, to say it by hand.
        processes: how many there are.
        process: the number of this one, from 0.
    """

    distributed: bool = False
    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None

    def __post_init__(self) -> None:
        if self.coordinator is None and self.processes is None and self.process is None:
            return
        if self.coordinator is None or self.processes is None or self.process is None:
            raise InvalidArgument("coordinator, processes and process belong together: give all or none of them")
        if not 0 <= self.process < self.processes:
            raise InvalidArgument(f"process {self.process} is none of 0..{self.processes - 1}")

    def join(self) -> None:
        """Connect, if there is anything to connect to; before any other use of JAX."""
        if self.distributed or self.coordinator is not None:
            jax.distributed.initialize(
                self.coordinator, self.processes, self.process, heartbeat_timeout_seconds=HEARTBEAT_SECONDS
            )


def is_writer() -> bool:
    """Whether this process writes what all have in common: configuration, metrics, report."""
    return jax.process_index() == 0


def wait_for_all(name: str) -> None:
    """Wait until every process is here; nothing where there is one."""
    if jax.process_count() > 1:
        from jax.experimental.multihost_utils import sync_global_devices

        sync_global_devices(name)
