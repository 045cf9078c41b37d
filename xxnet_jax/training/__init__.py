"""Training: state, step, loop, checkpoints, runs."""

from xxnet_jax.training.evaluation import Evaluation
from xxnet_jax.training.loop import LoopResult
from xxnet_jax.training.recipe import Recipe
from xxnet_jax.training.run import Run, TrainedNetwork, run
from xxnet_jax.training.state import TrainState, create_state
from xxnet_jax.training.step import make_eval_step, make_train_step

__all__ = [
    "Evaluation",
    "LoopResult",
    "Recipe",
    "Run",
    "TrainState",
    "TrainedNetwork",
    "create_state",
    "make_eval_step",
    "make_train_step",
    "run",
]
