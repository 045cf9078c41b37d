"""A population trained together (one vectorized step) against its members one after another, LeNet-5 on digits.

python experiments/benchmarks/population.py --members 8      on CPU, where one after another is the default
python experiments/benchmarks/population.py --members 64     on a GPU, where together is
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import jax
import tyro
from measuring import OURS, Run, against_ours, in_turns, results, show
from script import main

from xxnet_jax.data import Decoder, ImageFormat, make_loader, open_source, preprocess
from xxnet_jax.losses import classification_loss
from xxnet_jax.models import create_model
from xxnet_jax.training.population import Member, Population
from xxnet_jax.training.run import input_function
from xxnet_jax.training.sharding import make_mesh


@dataclass(frozen=True)
class Arguments:
    """Measure.

    Attributes:
        members: copies.
        steps: of each.
        batch_size: of each copy.
        rounds: turns of each way after the first.
        out: folder for the figures of one machine.
    """

    members: int = 8
    steps: int = 100
    batch_size: int = 32
    rounds: int = 3
    out: Path = Path("runs/benchmarks/population")


def measure_population() -> int:
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
            input_function(loader, functools.partial(preprocess, name="lecun")),
            (32, 32, 1),
            make_mesh(),
            own_order=own_order,
            vectorized=vectorized,
        )

    def run(vectorized: bool, own_order: bool) -> Run:
        trained = population(vectorized, own_order)
        return lambda: jax.block_until_ready([result.state for result in trained.train(members, arguments.steps)])

    vectorized = Population.vectorized_by_default()
    names = {False: "one after another", True: "together, own batches"}
    ways = {
        OURS: run(vectorized=vectorized, own_order=True),
        names[not vectorized]: run(vectorized=not vectorized, own_order=True),
        "together, shared batches": run(vectorized=True, own_order=False),
    }
    case = {"members": arguments.members, "steps": arguments.steps, "batch_size": arguments.batch_size}
    table = results(arguments.out, "population", {}, (*case, "peer"))
    for row in against_ours(in_turns(ways, arguments.rounds), units=arguments.members * arguments.steps):
        table.add({**case, **row})
    show(f"populations; ours, the default here: {names[vectorized]}", list(table))
    print(f"{table.folder}/results.csv")
    return 0


if __name__ == "__main__":
    main(measure_population)
