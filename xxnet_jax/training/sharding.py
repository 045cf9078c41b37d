"""Where arrays lie: a mesh of devices, batches divided over it, everything else on each device."""

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from xxnet_jax.errors import InvalidArgument


def make_mesh(num_devices: int | None = None) -> Mesh:
    """A mesh with the axis "data" over the first `num_devices` local devices (default: all); one is a mesh of one.

    Raises:
        ValueError: more devices than there are.
    """
    devices = jax.local_devices()
    if num_devices is not None:
        if not 1 <= num_devices <= len(devices):
            raise InvalidArgument(f"{num_devices} devices were asked for; this machine has {len(devices)}: {devices}")
        devices = devices[:num_devices]
    return jax.make_mesh((len(devices),), ("data",), (AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """The same array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def divided(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Axis number `axis` divided over the devices."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, "data"))


def check_batch_size(batch_size: int, mesh: Mesh, accumulate: int = 1) -> None:
    """Refuse a batch that cannot be divided evenly over the devices, and there into `accumulate` micro-batches.

    Raises:
        ValueError: names the nearest sizes that can.
    """
    parts = mesh.size * accumulate
    if batch_size % parts:
        lower = batch_size // parts * parts
        micro = f" x {accumulate} micro-batches" if accumulate > 1 else ""
        raise InvalidArgument(
            f"a batch of {batch_size} cannot be divided over {mesh.size} devices{micro}: "
            f"take {lower or parts} or {lower + parts}, or other --devices"
        )
