"""What optimizers are compared on: networks with data, and functions of two variables."""

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from run_table import Row

from xxnet_jax.data import Decoder, make_loader, open_source
from xxnet_jax.optimizers import create_optimizer
from xxnet_jax.training import Recipe
from xxnet_jax.training.population import Member, MemberResult, Population
from xxnet_jax.training.run import (
    build_model,
    input_function,
    recipe_loss,
    recipe_penalty,
    resolve,
    split_evaluator,
)
from xxnet_jax.training.sharding import check_batch_size, make_mesh

CURVE_POINTS = 100
SOLVED = 1e-6  # a value of a test function that counts as its minimum

OnStep = Callable[[int, float], None]


class Problem(Protocol):
    """Something that optimizers are run on.

    Attributes:
        name: of the problem.
        steps: of a run.
        batch_size: examples in a step.
    """

    name: str
    steps: int
    batch_size: int

    def config(self) -> dict[str, Any]:
        """What all runs have in common."""
        ...

    def good_score(self, best: float, margin: float) -> float:
        """The lowest score that is still good where the best is `best`; `margin` is the user's, in percent points."""
        ...

    def runs(self, optimizer: str, members: Sequence[Member], progress: OnStep) -> Iterator[Row]:
        """The figures of each member, in order.

        "score", higher is better, None where it diverged; "loss", "diverged_at", "seconds", "curve", and the problem's.
        """
        ...


# --- Networks ---------------------------------------------------------------------------------------------------------

# The definitions of DeepOBS (Schneider, Balles, Hennig, 2019), with 5,000 training images held out to choose
# the rate on; DeepOBS chooses it on the test images.
NETWORKS: dict[str, Recipe] = {
    "digits_lenet5": Recipe(
        model="lenet5",
        model_options={"activation": "relu", "subsampling": "max"},
        data="digits?side=24",
        fit="pad",
        batch_size=32,
        steps=360,
    ),
    "mnist_2c2d": Recipe(
        model="deepobs_2c2d",
        data="tfds:mnist",
        train_split="train[:-5000]",
        validation_split="train[-5000:]",
        batch_size=128,
        steps=300,
    ),
    "fmnist_2c2d": Recipe(
        model="deepobs_2c2d",
        data="tfds:fashion_mnist",
        train_split="train[:-5000]",
        validation_split="train[-5000:]",
        batch_size=128,
        steps=300,
    ),
    "cifar10_3c3d": Recipe(
        model="deepobs_3c3d",
        data="tfds:cifar10",
        train_split="train[:-5000]",
        validation_split="train[-5000:]",
        batch_size=128,
        steps=300,
        l2=0.002,
    ),
}


class NetworkProblem:
    """A network that is trained on images."""

    def __init__(self, name: str, recipe: Recipe, like: str):
        self.name, self.recipe, self.like = name, recipe, like
        self.mesh = make_mesh()
        check_batch_size(recipe.batch_size, self.mesh)
        source = open_source(recipe.data)
        resolved = resolve(recipe, source)
        self.model = build_model(resolved)
        decoder = Decoder(resolved.image_format, len(resolved.classes))
        self.image_shape = resolved.image_format.shape
        self.loader = make_loader(source.examples(recipe.train_split), decoder, recipe.batch_size, train=True)
        self.input_fn = input_function(self.loader, resolved.inputs)
        self.evaluators = {
            name: split_evaluator(resolved, self.model, source, split, decoder=decoder, mesh=self.mesh)
            for name, split in (("validation", recipe.validation_split), ("test", recipe.test_split))
            if split is not None
        }
        self.steps, self.batch_size = recipe.steps or 0, recipe.batch_size
        self.populations: dict[str, Population] = {}

    def config(self) -> dict[str, Any]:
        default, own = asdict(Recipe()), asdict(self.recipe)
        return {"like": self.like, **{name: value for name, value in own.items() if value != default[name]}}

    def good_score(self, best: float, margin: float) -> float:
        return best - margin / 100

    def runs(self, optimizer: str, members: Sequence[Member], progress: OnStep) -> Iterator[Row]:
        for result in self.population(optimizer).train(members, self.steps, progress):
            yield self.row(result)

    def population(self, optimizer: str) -> Population:
        if optimizer not in self.populations:
            self.populations[optimizer] = Population(
                self.model,
                optimizer,
                recipe_loss(self.recipe),
                self.loader,
                self.input_fn,
                self.image_shape,
                self.mesh,
                optimizer_options={"like": self.like},
                step_options={"penalty": recipe_penalty(self.recipe)},
            )
        return self.populations[optimizer]

    def row(self, result: MemberResult) -> Row:
        figures: dict[str, float | None] = {}
        for split, evaluate in self.evaluators.items():
            values = evaluate(result.state.evaluation_variables).figures if result.diverged_at is None else {}
            for metric in ("loss", "accuracy"):
                figures[f"{split}_{metric}"] = finite(values.get(metric))
        diverged = result.diverged_at is not None or None in figures.values()
        return {
            "score": None if diverged else figures["validation_accuracy"],
            "loss": finite(np.mean(result.losses[-CURVE_POINTS // 2 :])),
            **figures,
            "diverged_at": result.diverged_at or (self.steps if diverged else None),
            "seconds": round(result.seconds, 2),
            "curve": curve(result.losses, self.steps),
        }


# --- Functions --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TestFunction:
    """A function of two variables with one minimum.

    Attributes:
        value: float [2] -> float [].
        start: where optimizers begin.
        minimum: where the value is 0.
        box: (left, right, bottom, top) of the picture.
        steps: to take.
        source: where it comes from.
    """

    value: Callable[[jax.Array], jax.Array]
    start: tuple[float, float]
    minimum: tuple[float, float]
    box: tuple[float, float, float, float]
    steps: int
    source: str


def quadratic(w: jax.Array) -> jax.Array:
    """(a^2 + 20 b^2) / 2 in coordinates a, b turned by 30 degrees: rules that scale each axis get no help."""
    cos, sin = math.cos(math.pi / 6), math.sin(math.pi / 6)
    a, b = cos * w[0] + sin * w[1], cos * w[1] - sin * w[0]
    return (a**2 + 20 * b**2) / 2


def rosenbrock(w: jax.Array) -> jax.Array:
    """(1 - w1)^2 + 100 (w2 - w1^2)^2."""
    return (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2


def beale(w: jax.Array) -> jax.Array:
    """(1.5 - w1 + w1 w2)^2 + (2.25 - w1 + w1 w2^2)^2 + (2.625 - w1 + w1 w2^3)^2."""
    constants = jnp.array([1.5, 2.25, 2.625], w.dtype)
    powers = jnp.stack([w[1], w[1] ** 2, w[1] ** 3])
    return jnp.sum((constants - w[0] + w[0] * powers) ** 2)


FUNCTIONS: dict[str, TestFunction] = {
    "quadratic": TestFunction(
        quadratic, (-4.0, 1.5), (0.0, 0.0), (-5, 2, -2, 2), 500, "a convex quadratic of condition 20"
    ),
    "rosenbrock": TestFunction(
        rosenbrock,
        (-1.2, 1.0),
        (1.0, 1.0),
        (-2, 2, -1, 3),
        10_000,
        "Rosenbrock, An Automatic Method for Finding the Greatest or Least Value of a Function, 1960",
    ),
    "beale": TestFunction(
        beale,
        (1.0, 1.5),
        (3.0, 0.5),
        (-1, 4.5, -2, 3),
        3_000,
        "Beale, On an Iterative Method for Finding a Local Minimum of a Function of More than One Variable, 1958",
    ),
}


class FunctionProblem:
    """A function of two variables; a seed moves the start a little, seed 0 is the classic start."""

    batch_size = 1

    def __init__(self, name: str, like: str, steps: int | None):
        self.name = name
        self.function: TestFunction = FUNCTIONS[name]
        self.like, self.steps = like, steps or self.function.steps

    def config(self) -> dict[str, Any]:
        return {"steps": self.steps, "like": self.like}

    def good_score(self, best: float, margin: float) -> float:
        return min(best, -1.0)  # the minimum was reached

    def start(self, seed: int) -> np.ndarray:
        start = np.array(self.function.start, np.float32)
        if seed == 0:
            return start
        return start + np.random.default_rng(seed).normal(0, 0.1, 2).astype(np.float32)

    def path(self, optimizer: str, rates: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points [runs, steps + 1, 2] and their values [runs, steps + 1]."""
        value = self.function.value

        def run(rate: jax.Array, start: jax.Array) -> tuple[jax.Array, jax.Array]:
            tx = create_optimizer(optimizer, rate, like=self.like)

            def step(carry: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], jax.Array]:
                w, state = carry
                updates, state = tx.update(jax.grad(value)(w), state, w)
                w = w + updates
                return (w, state), w

            _, points = jax.lax.scan(step, (start, tx.init(start)), length=self.steps)
            points = jnp.concatenate([start[None], points])
            return points, jax.vmap(value)(points)

        points, values = jax.jit(jax.vmap(run))(jnp.asarray(rates), jnp.asarray(starts))
        return np.asarray(points), np.asarray(values)

    def runs(self, optimizer: str, members: Sequence[Member], progress: OnStep) -> Iterator[Row]:
        started = time.perf_counter()
        rates = np.array([member.learning_rate for member in members], np.float32)
        starts = np.stack([self.start(member.seed) for member in members])
        points, values = self.path(optimizer, rates, starts)
        seconds = (time.perf_counter() - started) / len(members)
        for path, value in zip(points, values, strict=True):
            bad = np.flatnonzero(~np.isfinite(value) | ~np.isfinite(path).all(axis=1))
            above = np.flatnonzero(~(value <= SOLVED))
            settled = int(above[-1]) + 1 if len(above) else 0  # from this step on it is at the minimum
            solved = settled <= self.steps
            final = float(value[-1])
            # Fewest steps until it stays at the minimum is best; without that, the lowest value.
            score = None if len(bad) else -settled / self.steps if solved else -1 - math.log1p(final)
            progress(self.steps, final)
            yield {
                "score": finite(score),
                "loss": finite(final),
                "distance": finite(np.linalg.norm(path[-1] - np.array(self.function.minimum))),
                "steps_to_minimum": settled if solved else None,
                "diverged_at": int(bad[0]) if len(bad) else None,
                "seconds": round(seconds, 3),
                "curve": curve(value[1:], self.steps),
            }


# --- Figures ----------------------------------------------------------------------------------------------------------


def finite(value: Any) -> float | None:
    """The number, or None where it is none."""
    return None if value is None or not math.isfinite(value) else float(value)


def curve(losses: np.ndarray, steps: int) -> list[list[float]]:
    """[number of the last step, mean loss] of up to `CURVE_POINTS` parts of the run, as far as it is finite."""
    edges = np.unique(np.linspace(0, steps, CURVE_POINTS + 1).astype(int))
    parts = ((int(end), losses[start:end]) for start, end in itertools.pairwise(edges) if end <= len(losses))
    return [[end, float(np.mean(part))] for end, part in parts if np.isfinite(part).all()]


PROBLEMS = (*NETWORKS, *FUNCTIONS)


def make_problem(name: str, like: str, steps: int | None, data: str | None) -> Problem:
    """The problem `name`, with other steps and data where they are given."""
    if name in FUNCTIONS:
        return FunctionProblem(name, like, steps)
    recipe = NETWORKS[name]
    return NetworkProblem(name, replace(recipe, steps=steps or recipe.steps, data=data or recipe.data), like)
