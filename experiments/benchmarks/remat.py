"""Memory of a training step with and without rematerialization, as XLA plans it; nothing is computed.

python experiments/benchmarks/remat.py --model densenet121 --side 224 --batch-size 8
"""

import sys
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import tyro

import xxnet_jax as xx
from xxnet_jax.errors import InvalidArgument, XXNetError
from xxnet_jax.losses import classification_loss
from xxnet_jax.models import Network
from xxnet_jax.training.state import abstract_state
from xxnet_jax.training.step import make_train_step


@dataclass(frozen=True)
class Arguments:
    """Compare.

    Attributes:
        model: a network with the option `remat`.
        side: of the images; by default the nominal one.
        batch_size: images in a step.
    """

    model: str = "densenet121"
    side: int | None = None
    batch_size: int = 8


def temporary_bytes(model: Network, batch_size: int, image_shape: tuple[int, int, int]) -> int:
    """The most memory that one step needs at a time, its state and its batch apart.

    Raises:
        ValueError: the backend does not say.
    """
    tx = xx.create_optimizer("momentum", learning_rate=0.1)
    batch = {
        "image": jax.ShapeDtypeStruct((batch_size, *image_shape), jnp.float32),
        "label": jax.ShapeDtypeStruct((batch_size,), jnp.int32),
        "mask": jax.ShapeDtypeStruct((batch_size,), jnp.bool_),
    }
    step = jax.jit(make_train_step(model, tx, classification_loss()), donate_argnums=0)
    memory = step.lower(abstract_state(model, tx, image_shape), batch).compile().memory_analysis()
    if memory is None:
        raise InvalidArgument(f"the backend '{jax.default_backend()}' does not say how much memory a step needs")
    return memory.temp_size_in_bytes


def main() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    height, width, channels = xx.model_info(arguments.model).input_shape
    shape = (arguments.side or height, arguments.side or width, channels)
    kept, again = (
        temporary_bytes(xx.create_model(arguments.model, remat=remat), arguments.batch_size, shape)
        for remat in (False, True)
    )
    print(
        f"{arguments.model}, {shape[0]}x{shape[1]}, batch {arguments.batch_size}, {jax.default_backend()}: "
        f"{kept / 2**20:.0f} MiB, with remat {again / 2**20:.0f} MiB: {kept / again:.2f} x less"
    )
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except XXNetError as error:
        sys.exit(f"error: {error}")
