"""Where arrays lie: a mesh of devices, batches divided over its "data" axis, the state on each device or divided."""

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding

from xxnet_jax.errors import InvalidArgument

SMALLEST_DIVIDED = 2**10  # numbers of an array; what has fewer takes longer to collect than it saves


def make_mesh(num_devices: int | None = None, model: int = 1) -> Mesh:
    """A mesh with the axis "data" over the first `num_devices` devices (default: all of all hosts).

    Args:
        num_devices: how many; one is a mesh of one.
        model: so many neighbours share the examples of one place on the "data" axis, and divide the features; where it
            is more than 1, the mesh has a second axis "model".

    Raises:
        ValueError: there are not so many devices, or they cannot be divided so.
    """
    devices = jax.devices()
    if num_devices is not None:
        if not 1 <= num_devices <= len(devices):
            raise InvalidArgument(f"{num_devices} devices were asked for; there are {len(devices)}: {devices}")
        devices = devices[:num_devices]
    if model < 1 or len(devices) % model:
        raise InvalidArgument(f"{len(devices)} devices cannot be divided into groups of {model} for the model")
    axes = {"data": len(devices) // model} | ({"model": model} if model > 1 else {})
    return jax.make_mesh(tuple(axes.values()), tuple(axes), (AxisType.Auto,) * len(axes), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """The same array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def divided(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Axis number `axis` divided over the "data" axis of the mesh."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, "data"))


def state_sharding(mesh: Mesh, state: Any, *, fsdp: bool = False) -> Any:
    """How each array of a state lies, a tree of shardings.

    Where the mesh has a "model" axis, the features (the last axis) of kernels are divided over it. With `fsdp`, "fully
    sharded data parallel", the longest axis that can be is divided over "data" (Rajbhandari et al., ZeRO, 2019, stage
    3): each device keeps its part of parameters, averages and optimizer state, and collects the rest when it is needed.
    What cannot be divided evenly, or has fewer than 1,024 numbers, is on every device.

    Args:
        mesh: of devices.
        state: arrays, or their shapes.
        fsdp: see above.
    """
    over_data, over_model = (mesh.shape.get(name, 1) for name in ("data", "model"))

    def sharding(leaf: Any) -> NamedSharding:
        shape = leaf.shape
        axes: list[str | None] = [None] * len(shape)
        if int(np.prod(shape)) < SMALLEST_DIVIDED:
            return replicated(mesh)
        if over_model > 1 and len(shape) > 1 and shape[-1] % over_model == 0:
            axes[-1] = "model"
        free = [axis for axis, size in enumerate(shape) if axes[axis] is None and size % over_data == 0]
        if fsdp and over_data > 1 and free:
            axes[max(free, key=lambda axis: shape[axis])] = "data"
        return NamedSharding(mesh, PartitionSpec(*axes))

    return jax.tree.map(sharding, state)


def put(tree: Any, sharding: Sharding) -> Any:
    """NumPy arrays on the devices; where there are several processes, each gives its own rows (see `own_rows`)."""
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), tree)


def own_rows(mesh: Mesh, batch_size: int) -> np.ndarray:
    """The numbers of the examples of a batch that lie on devices of this process, ascending."""
    places: Any = divided(mesh).addressable_devices_indices_map((batch_size,)).values()
    return np.unique([row for (rows,) in places for row in range(batch_size)[rows]])


def check_batch_size(batch_size: int, mesh: Mesh, accumulate: int = 1) -> None:
    """Refuse a batch that cannot be divided evenly over the devices, and there into `accumulate` micro-batches.

    Raises:
        ValueError: names the nearest sizes that can.
    """
    devices = mesh.shape["data"]
    parts = devices * accumulate
    if batch_size % parts:
        lower = batch_size // parts * parts
        micro = f" x {accumulate} micro-batches" if accumulate > 1 else ""
        raise InvalidArgument(
            f"a batch of {batch_size} cannot be divided over {devices} devices{micro}: "
            f"take {lower or parts} or {lower + parts}, or other --devices"
        )
