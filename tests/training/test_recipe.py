"""Recipes as values."""

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from xxnet_jax.models import alexnet, create_model, googlenet, inception_resnet, mobilenet, nin
from xxnet_jax.models.vgg import kernels
from xxnet_jax.optimizers import ScheduleConfig
from xxnet_jax.training.recipe import Recipe, differences, recipe_from_json, varying

TINY_RESIDUAL = {
    "stem": inception_resnet.named_layers(a="3x3/2 8"),
    "mixed_5b": None,
    "mixed_6a": inception_resnet.branches("3x3/2V 8 | 3x3/2V max"),
    "mixed_7a": inception_resnet.branches("3x3/2V 8"),
    "repeats": (1, 0, 0),
}


def test_a_recipe_survives_json():
    """What was written as JSON is read as the same recipe, nested schedule and knobs included."""
    recipe = Recipe(
        model_options={"activation": "relu", "dropout_rate": 0.5},
        schedule=ScheduleConfig(name="multistep", boundaries=(10, 20)),
        steps=30,
        freeze=("^C1/", "bias$"),
        rate_factors={"^F6/": 0.1},
    )
    assert recipe_from_json(json.loads(json.dumps(dataclasses.asdict(recipe)))) == recipe


@pytest.mark.parametrize(
    ("model", "knobs"),
    [
        ("resnet20", {"depths": (1, 2, 1), "widths": (4, 8, 8), "stem_features": 4, "shortcut": None}),
        ("vgg11_bn", {"blocks": kernels("3 3", "1"), "features_of_blocks": (4, 8), "head": "gap", "norm": None}),
        ("nin_cifar10", {"rows": (nin.Row((4, 3), 5, padding=2, pool="max"), nin.Row((4,), 3, dropout=True))}),
        ("alexnet.cifar10", {"convolutions": (alexnet.Convolution(8, 3, padding="SAME", pool=True),), "window": 15}),
        ("googlenet.torchvision", {"stages": ((googlenet.Widths(1, 2, 3, 4, 5, 6),), (googlenet.Widths(*[2] * 6),))}),
        ("inception_v3", {"rows": "a 8:3x3/2\n b 4:1x3+4:3x1 | max 8", "asymmetric": False}),
        ("inception_resnet_v2", TINY_RESIDUAL),
        ("mobilenet", {"blocks": (mobilenet.Block(4, 1), mobilenet.Block(8, 2))}),
    ],
)
def test_tables_as_knobs_survive_json(model: str, knobs: dict[str, Any]):
    """Rows of a table become plain tuples in a run's config.json, of which the same network is made."""
    recipe = Recipe(model=model, model_options=knobs)
    read = recipe_from_json(json.loads(json.dumps(dataclasses.asdict(recipe))))
    assert differences(recipe, read) == []
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)

    def shapes(options: Any) -> Any:
        network = create_model(model, **options)
        return jax.eval_shape(lambda key, x: network.init_with_output(key, x, train=True), keys, images)

    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    assert shapes(read.model_options) == shapes(knobs)


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
        ({"schedule": ScheduleConfig(warmup=3)}, True),
        ({"like": "torch"}, True),
        ({"optimizer_options": {"b1": 0.8}}, True),
        ({"freeze": ("^C1/",)}, True),
        ({"rate_factors": {"^C1/": 0.5}}, True),
        ({"weight_decay": 0.1}, True),
        ({"weight_decay_pattern": "bias$"}, True),
        ({"clip_norm": 1.0}, True),
        ({"clip_value": 1.0}, True),
        ({"accumulate": 2}, True),
        ({"polyak_from": 5}, True),
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


def test_devices_matter_where_each_normalizes_its_own():
    """Only then may a resumed run not have others."""
    assert "devices" in Recipe().without_effect()
    assert "devices" in Recipe(batch_norm=8).without_effect()
    assert "devices" not in Recipe(batch_norm="per_device").without_effect()


def test_length_and_cadence_matter_where_the_result_depends_on_them():
    """A cosine depends on the number of steps; a plateau and early stopping depend on when is evaluated."""
    for schedule in (
        ScheduleConfig(name="cosine"),
        ScheduleConfig(name="polynomial"),
        ScheduleConfig(name="densenet"),
        ScheduleConfig(unit="fraction", warmup=0.1),
    ):
        recipe = Recipe(schedule=schedule)
        assert differences(recipe, dataclasses.replace(recipe, epochs=99)), schedule
    multistep = Recipe(schedule=ScheduleConfig(name="multistep", unit="epochs", boundaries=(2, 3)))
    assert not differences(multistep, dataclasses.replace(multistep, epochs=99))
    for name in ("plateau", "vgg", "resnet"):
        plateau = Recipe(schedule=ScheduleConfig(name=name))
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
        ({"accumulate": 0}, "accumulate must be at least 1, got 0"),
        ({"batch_size": 100, "accumulate": 3}, "a batch of 100 cannot be divided into 3 micro-batches"),
        ({"batch_norm": 0}, "batch_norm must normalize at least 1 example, got 0"),
        ({"parallel": "pmap", "fsdp": True}, "fsdp and model_devices need jit"),
        ({"parallel": "pmap", "model_devices": 2}, "fsdp and model_devices need jit"),
        ({"polyak_from": -1}, "polyak_from must not be negative"),
        ({"auxiliary_half_life": 0}, "auxiliary_half_life must be at least 1, got 0"),
        ({"polyak_from": 5, "ema_decay": 0.9}, "give one"),
        ({"validation_split": None, "schedule": ScheduleConfig(name="vgg")}, "schedule vgg needs a validation_split"),
        ({"validation_split": None, "early_stopping": 2}, "early_stopping needs a validation_split"),
        ({"validation_split": None, "schedule": ScheduleConfig(name="plateau")}, "plateau needs a validation_split"),
    ],
)
def test_values_that_make_no_sense(change, message):
    """The error names the field."""
    with pytest.raises(ValueError, match=message):
        Recipe(**change)


def test_what_varies_between_recipes():
    """Of several recipes each lists its values of the settings that are not the same in all, nested ones and options by
    their full names; equal recipes vary in nothing."""
    recipes = [
        Recipe(),
        Recipe(optimizer_options={"b1": 0.8}, seed=2),
        Recipe(schedule=ScheduleConfig("cosine", warmup=2), metrics=("top5",)),
    ]
    first, second, third = varying(recipes)
    default = ScheduleConfig()
    assert first == {
        "optimizer_options.b1": None,
        "schedule.name": default.name,
        "schedule.warmup": default.warmup,
        "metrics": (),
        "seed": 0,
    }
    assert second == {**first, "optimizer_options.b1": 0.8, "seed": 2}
    assert third == {**first, "schedule.name": "cosine", "schedule.warmup": 2, "metrics": ("top5",)}
    assert varying([recipes[2], recipes[2]]) == [{}, {}]
