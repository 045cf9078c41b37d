"""Recipes as values."""

import dataclasses
import json

import pytest

from xxnet_jax.optimizers import ScheduleConfig
from xxnet_jax.training.recipe import Recipe, differences, recipe_from_json


def test_a_recipe_survives_json():
    """What was written as JSON is read as the same recipe, nested schedule and knobs included."""
    recipe = Recipe(
        model_options={"activation": "relu", "dropout_rate": 0.5},
        schedule=ScheduleConfig(name="step", boundaries=(10, 20)),
        steps=30,
    )
    assert recipe_from_json(json.loads(json.dumps(dataclasses.asdict(recipe)))) == recipe


def test_json_with_unknown_fields_is_refused():
    """A field of another version is named."""
    with pytest.raises(ValueError, match="no_such_field"):
        recipe_from_json(dataclasses.asdict(Recipe()) | {"no_such_field": 1})


@pytest.mark.parametrize(
    ("change", "matters"),
    [
        ({"optimizer": "sgd"}, True),
        ({"learning_rate": 0.5}, True),
        ({"seed": 1}, True),
        ({"batch_size": 7}, True),
        ({"data": "idx:elsewhere"}, True),
        ({"schedule": ScheduleConfig(warmup_steps=3)}, True),
        ({"epochs": 99}, False),
        ({"steps": 99}, False),
        ({"log_every": 3}, False),
        ({"evaluate_every": 3}, False),
        ({"keep_last": 3}, False),
        ({"data_dir": "elsewhere"}, False),
        ({"devices": 2}, False),
    ],
)
def test_what_a_resumed_run_may_change(change, matters):
    """Only what does not alter the result so far; a difference is listed with both values."""
    found = differences(Recipe(), dataclasses.replace(Recipe(), **change))
    assert bool(found) == matters
    if matters:
        (name, value) = next(iter(change.items()))
        assert len(found) == 1
        assert found[0].startswith(f"{name}: ")
        assert repr(value) in found[0]


def test_length_and_cadence_matter_where_the_result_depends_on_them():
    """A cosine depends on the number of steps; a plateau and early stopping depend on when is evaluated."""
    cosine = Recipe(schedule=ScheduleConfig(name="cosine"))
    assert differences(cosine, dataclasses.replace(cosine, epochs=99))
    plateau = Recipe(schedule=ScheduleConfig(name="plateau"))
    assert differences(plateau, dataclasses.replace(plateau, evaluate_every=3))
    stopping = Recipe(early_stopping=3)
    assert differences(stopping, dataclasses.replace(stopping, evaluate_every=3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"batch_size": 0}, "batch_size"),
        ({"steps": -1}, "steps"),
        ({"l2": -1.0}, "l2"),
        ({"ema_decay": 1.0}, "ema_decay"),
        ({"validation_split": None, "early_stopping": 2}, "early_stopping needs a validation_split"),
        ({"validation_split": None, "schedule": ScheduleConfig(name="plateau")}, "plateau needs a validation_split"),
    ],
)
def test_values_that_make_no_sense(change, message):
    """The error names the field."""
    with pytest.raises(ValueError, match=message):
        Recipe(**change)
