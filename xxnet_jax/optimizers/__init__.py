"""Optimizers by name and convention, learning rate schedules, and the optimizer of a training run."""

from xxnet_jax.optimizers.factory import (
    Convention,
    Like,
    OptimizerInfo,
    create_optimizer,
    default_learning_rate,
    list_optimizers,
    optimizer_info,
)
from xxnet_jax.optimizers.schedules import PAPER_SCHEDULES, Plateau, ScheduleConfig, create_schedule
from xxnet_jax.optimizers.training import ParameterGroups, TrainingState, describe_groups, training_optimizer

__all__ = [
    "PAPER_SCHEDULES",
    "Convention",
    "Like",
    "OptimizerInfo",
    "ParameterGroups",
    "Plateau",
    "ScheduleConfig",
    "TrainingState",
    "create_optimizer",
    "create_schedule",
    "default_learning_rate",
    "describe_groups",
    "list_optimizers",
    "optimizer_info",
    "training_optimizer",
]
