"""Optimizers by name, and learning rate schedules."""

from xxnet_jax.optimizers.factory import create_optimizer, default_learning_rate, list_optimizers
from xxnet_jax.optimizers.schedules import (
    Plateau,
    ScheduleConfig,
    create_schedule,
    scheduled_optimizer,
)

__all__ = [
    "Plateau",
    "ScheduleConfig",
    "create_optimizer",
    "create_schedule",
    "default_learning_rate",
    "list_optimizers",
    "scheduled_optimizer",
]
