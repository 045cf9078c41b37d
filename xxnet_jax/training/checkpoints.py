"""Checkpoints: the one place that knows Orbax.

A checkpoint is one atomic step: the state, and the host's side of the run (position in the data, pending metrics,
plateau, early stopping) as JSON. It is written in the background, under a temporary name that is renamed at the end.
"""

import copy
import logging
import shutil
import zlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental.multihost_utils import process_allgather
from orbax.checkpoint.checkpoint_managers import PreservationPolicy

from xxnet_jax.errors import CannotWrite, CorruptData, MissingData
from xxnet_jax.training.processes import is_writer, wait_for_all

_log = logging.getLogger(__name__)


class _Keep(PreservationPolicy):
    """Which checkpoints Orbax does not delete when a new one is complete."""

    def __init__(self, last: int, steps: Collection[int]):
        self.last = last
        self.steps = steps
        self.best: int | None = None

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        del context
        count = len(checkpoints)
        chosen = {self.best, *self.steps}
        return [info.step in chosen or number >= count - self.last for number, info in enumerate(checkpoints)]


class Checkpoints:
    """The checkpoints of a run: the best one by validation, the last few, and those that are asked for.

    Args:
        folder: of the checkpoints.
        keep_last: how many of the last to keep.
        keep_steps: which others to keep, where they are saved.
        read_only: for programs that only look; they never disturb a running training.
    """

    def __init__(self, folder: Path, keep_last: int = 2, keep_steps: Collection[int] = (), *, read_only: bool = False):
        self.folder = folder.absolute()
        if read_only and not folder.is_dir():
            raise MissingData(f"no checkpoints in {folder}")
        self._keep = _Keep(keep_last, keep_steps)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self._keep,
            create=not read_only,
            cleanup_tmp_directories=not read_only,
        )
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=options,
            item_handlers={"state": ocp.StandardCheckpointHandler(), "host": ocp.JsonCheckpointHandler()},
        )

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, ascending."""
        self._manager.reload()
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: Any, host: dict[str, Any], best_step: int | None = None) -> None:
        """Begin to save; as soon as this returns the state may be donated, and the host's part changed.

        Args:
            step: its number.
            state: tree of arrays.
            host: JSON.
            best_step: the checkpoint that is the best so far, this one or an earlier one.

        Raises:
            OSError: this or the previous checkpoint could not be written.
        """
        self._keep.best = best_step
        # Orbax writes in the background, when the run may have added to what it passed.
        record = {"host": copy.deepcopy(host), "best_step": best_step, "crc32": checksum(state)}
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), host=ocp.args.JsonSave(record))
        try:
            self._manager.save(step, args=items)
        except Exception as error:  # Orbax and TensorStore raise many kinds
            raise self._cannot_write(error) from error

    def wait(self) -> None:
        """Wait until what was begun is on disk.

        Raises:
            OSError: it could not be written.
        """
        try:
            self._manager.wait_until_finished()
        except Exception as error:  # as above
            raise self._cannot_write(error) from error

    def _cannot_write(self, error: Exception) -> CannotWrite:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        return CannotWrite(
            f"cannot write a checkpoint to {self.folder}: {reason}. "
            "The checkpoints before it are whole: mend the cause and run the same command again"
        )

    def restore(self, step: int, template: Any) -> tuple[Any, dict[str, Any]]:
        """State and host part of a checkpoint, with the shapes, dtypes and shardings of `template`.

        Raises:
            ValueError: it is damaged, or another network's.
        """
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, template)
        items = ocp.args.Composite(state=ocp.args.StandardRestore(target), host=ocp.args.JsonRestore())
        try:
            restored = self._manager.restore(step, args=items)
            state, record = restored["state"], restored["host"]
            intact = record["crc32"] == checksum(state)
        except Exception as error:  # as above
            reason = (str(error).strip() or repr(error)).splitlines()[0]
            raise CorruptData(f"cannot restore checkpoint {step} in {self.folder}: {reason}") from error
        if not intact:
            raise CorruptData(f"checkpoint {step} in {self.folder} is damaged: its checksum is wrong")
        return state, record["host"]

    def restore_latest(self, template: Any) -> tuple[int, Any, dict[str, Any]] | None:
        """(step, state, host) of the last checkpoint that can be read; None if there is none.

        One that cannot be read is reported and moved to `corrupt/` beside the checkpoints.

        Raises:
            ValueError: there are checkpoints, but none can be read.
        """
        damaged: list[int] = []
        steps = self.steps()
        for step in reversed(steps):
            try:
                restored = self.restore(step, template)
            except CorruptData as error:
                _log.warning("%s; the checkpoint before it is used", error)
                damaged.append(step)
                continue
            for bad in damaged:
                self._set_aside(bad)
            return step, *restored
        if steps:
            raise CorruptData(
                f"none of the checkpoints {steps} in {self.folder} can be read: move the run folder away to begin anew"
            )
        return None

    def _set_aside(self, step: int) -> None:
        if is_writer():
            aside = self.folder.parent / "corrupt" / str(step)
            aside.parent.mkdir(exist_ok=True)
            shutil.rmtree(aside, ignore_errors=True)
            (self.folder / str(step)).rename(aside)
        wait_for_all(f"checkpoint {step} set aside")
        self._manager.reload()

    def best_step(self) -> int:
        """The checkpoint with the best validation, as the last one knows; the last one where nothing was validated.

        Raises:
            FileNotFoundError: there is no checkpoint.
            ValueError: none can be read.
        """
        steps = self.steps()
        if not steps:
            raise MissingData(f"no checkpoint in {self.folder}")
        for step in reversed(steps):
            try:
                record = self._manager.restore(step, args=ocp.args.Composite(host=ocp.args.JsonRestore()))["host"]
            except Exception as error:  # as above
                _log.warning("cannot read checkpoint %d in %s: %s", step, self.folder, error)
                continue
            return record["best_step"] if record["best_step"] in steps else step
        raise CorruptData(f"none of the checkpoints {steps} in {self.folder} can be read")

    def close(self) -> None:
        """Wait and release threads."""
        self.wait()
        self._manager.close()


def checksum(tree: Any) -> int:
    """CRC-32 of the bytes of all arrays of a tree, in its order; on disk they are protected by nothing else."""
    result = 0
    for leaf in jax.tree.leaves(tree):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        if not (leaf.is_fully_addressable or leaf.is_fully_replicated):
            leaf = process_allgather(leaf, tiled=True)
        result = zlib.crc32(np.ascontiguousarray(jax.device_get(leaf)).view(np.uint8).data, result)
    return result
