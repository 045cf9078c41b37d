"""A population trained together (one vectorized step) against its members one after another, LeNet-5 on digits.

python experiments/benchmarks/population.py --members 8      on CPU, where one after another is the default
python experiments/benchmarks/population.py --members 64     on a GPU, where together is
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import tyro

from xxnet_jax.data import Decoder, ImageFormat, make_loader, open_source
from xxnet_jax.losses import classification_loss
from xxnet_jax.models import create_model
from xxnet_jax.training.population import Member, Population
from xxnet_jax.training.run import input_function
from xxnet_jax.training.sharding import make_mesh


@dataclass(frozen=True)
class Arguments:
    """Compare.

    Attributes:
        members: copies.
        steps: of each.
        batch_size: of each copy.
        repeats: of the pair; medians are reported.
    """

    members: int = 8
    steps: int = 100
    batch_size: int = 32
    repeats: int = 3


def main() -> None:
    arguments = tyro.cli(Arguments, description=__doc__)
    source = open_source("digits?side=24")
    decoder = Decoder(ImageFormat(32, 32, 1, "pad"), source.num_classes)
    loader = make_loader(source.examples("train"), decoder, arguments.batch_size, train=True)
    model = create_model("lenet5", activation="relu", subsampling="max")
    members = [Member(seed=seed, learning_rate=1e-3) for seed in range(arguments.members)]

    def population(vectorized: bool, own_order: bool) -> Population:
        return Population(
            model,
            "adam",
            classification_loss(),
            loader,
            input_function(loader, "lecun"),
            (32, 32, 1),
            make_mesh(),
            own_order=own_order,
            vectorized=vectorized,
        )

    def seconds(population: Population, members: Sequence[Member]) -> float:
        results = list(population.train(members, arguments.steps))
        jax.block_until_ready([result.state for result in results])
        return sum(result.seconds for result in results)

    ways = {
        "one after another": population(vectorized=False, own_order=True),
        "together, own batches": population(vectorized=True, own_order=True),
        "together, shared batches": population(vectorized=True, own_order=False),
    }
    first = {name: seconds(way, members) for name, way in ways.items()}  # with the compilation
    samples = {name: [] for name in ways}
    for _ in range(arguments.repeats):
        for name, way in ways.items():
            samples[name].append(seconds(way, members))
    medians = {name: statistics.median(values) for name, values in samples.items()}
    base = medians["one after another"]
    print(f"{arguments.members} members, {arguments.steps} steps of {arguments.batch_size}, {jax.devices()}")
    for name, value in medians.items():
        per_step = 1e3 * value / (arguments.members * arguments.steps)
        print(
            f"{name:25} {per_step:7.2f} ms a step and member, throughput {base / value:5.2f} x; "
            f"first call {first[name]:.1f} s"
        )
    print(f"chosen by default here: {'together' if Population.vectorized_by_default() else 'one after another'}")


if __name__ == "__main__":
    main()
