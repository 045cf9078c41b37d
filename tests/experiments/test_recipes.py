"""The recipes: every network has one, every command in a docstring can be typed, and each recipe trains on noise."""

import json
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import list_recipes
import numpy as np
import pytest
import script
import train

import xxnet_jax as xx
from xxnet_jax.data import open_source
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.files import read_json_lines
from xxnet_jax.training import Recipe
from xxnet_jax.training.run import build_model, resolve

RECIPES = script.recipe_names()
TRAINED = [name for name in RECIPES if not name.startswith("finetune")]  # by train.py
DEEP = ("nasnet", "densenet", "googlenet", "resnet_v2", "wide_resnet")
QUICK = ("deepobs_2c2d_fashion_mnist", "lenet5_digits")
# Sides of images for which a network needs less time than for its own.
SMALLER = {
    **dict.fromkeys(("finetune_inception_v3", "inception_v3_imagenet", "inception_v4_imagenet"), 75),
    "xception_imagenet": 71,
    **dict.fromkeys(
        (
            *(
                "darknet_imagenet",
                "darknet19_imagenet",
                "densenet_imagenet",
                "googlenet_imagenet",
                "mobilenet_imagenet",
            ),
            *("inception_v2_imagenet", "mobilenet_v2_imagenet", "nasnet_imagenet", "resnet_imagenet"),
            *("resnet_v2_imagenet", "resnext_imagenet", "wide_resnet_imagenet"),
        ),
        48,
    ),
}


def networks(name: str) -> tuple[str, ...]:
    """Those that a recipe is for."""
    module = script.recipe_module(name)
    return tuple(dict.fromkeys((module.RECIPE.model, *getattr(module, "NETWORKS", ()))))


def commands(name: str) -> list[list[str]]:
    """The words behind `train.py` of each command in the docstring of a recipe."""
    about = script.load_recipe(name)[1].replace("\\\n", " ")
    lines = re.findall(r"^ *python experiments/train\.py (.*)$", about, flags=re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


def test_every_network_has_a_recipe():
    """Each base name of the registry is the model of a recipe, or one of its networks; and these are registered."""
    covered = {network for name in RECIPES for network in networks(name)}
    assert covered <= set(xx.list_models())
    assert {name for name in xx.list_models() if "." not in name} <= covered


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_published_is_of_its_networks(name):
    """Accuracies are percentages, top-5 above top-1, of networks of the recipe."""
    for figures in getattr(script.recipe_module(name), "PUBLISHED", {}).values():
        assert set(figures) <= set(networks(name))
        for top1, top5 in figures.values():
            assert 50 < top1 < (top5 or 100) <= 100


@pytest.mark.parametrize("name", TRAINED)
def test_commands_of_a_docstring(name, monkeypatch):
    """Each command names the recipe, and gives one; the networks that it names are those of the recipe."""
    found: list[Recipe] = []
    monkeypatch.setattr(train, "run", lambda recipe, *_, **__: found.append(recipe) or {})
    monkeypatch.setattr(train, "finish", lambda *_: 0)
    for words in commands(name):
        assert words[0] == name
        monkeypatch.setattr("sys.argv", ["train.py", *words])
        train.train()
    assert found
    assert {recipe.model for recipe in found} <= set(networks(name))


@pytest.mark.parametrize("name", RECIPES)
def test_networks_take_the_options_of_their_recipe(name):
    """Each network of a recipe has the knobs that it turns."""
    recipe = script.load_recipe(name)[0]
    for network in networks(name):
        given = script.with_source(replace(recipe, model=network, image_size=32), "fake?examples=1")
        build_model(resolve(given, open_source(given.data)))


def marks(name: str) -> tuple[pytest.MarkDecorator, ...]:
    """Deep networks, and those for photographs, take up to two minutes each to compile, and are not in CI."""
    if name in QUICK:
        return ()
    large = name.endswith(("_imagenet", "inception_v3", "_svhn")) or name.startswith(DEEP)
    return (pytest.mark.full_size if large else pytest.mark.slow,)


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks(name)) for name in RECIPES])
def test_recipe_trains_on_noise(name, call, tmp_path):
    """Three steps, evaluation and report, with nothing of the recipe changed but data, sizes of images and batches, and
    the rate: two images on maps of one pixel, normalized together, have gradients in the thousands."""
    words: list[Any] = [name, "--source", "fake?examples=6", "--steps", 3, "--batch-size", 2]
    words += ["--devices", 1, "--learning-rate", 1e-7]
    if name in SMALLER:
        words += ["--image-size", SMALLER[name]]
    status, _, errors = call(train.train, *words, "--workdir", tmp_path / "run")
    assert (status, errors) == (0, "")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert (report["step"], report["model"]) == (3, script.load_recipe(name)[0].model)
    assert report["data"].startswith("fake:")
    lines = read_json_lines(tmp_path / "run" / "metrics.jsonl")
    losses = [line["train/loss"] for line in lines if "train/loss" in line]
    assert losses
    assert np.all(np.isfinite(losses))
    shutil.rmtree(tmp_path / "run")  # checkpoints of up to a gigabyte


@pytest.mark.parametrize(
    ("data", "changes", "uri"),
    [
        ("tfds:imagenet2012", {"model": "resnet18"}, "fake:224x224x3/1000"),
        ("tfds:cifar100", {"model": "resnet20"}, "fake:32x32x3/100"),
        ("tfds:cifar10", {"model": "vgg11_bn", "image_size": 32}, "fake:32x32x3/10"),
        ("digits?side=24", {"model": "lenet5"}, "fake:32x32x1/10"),
        ("folder:photographs", {"model": "resnet18"}, "fake:224x224x3/1000"),
    ],
)
def test_noise_in_place_of_data(data, changes, uri):
    """It has the size of the recipe's images and the dataset's classes, where the network is for others, too; a split
    that the recipe leaves out stays so."""
    recipe = Recipe(
        data=data, train_split="train[:-5000]", validation_split="train[-5000:]", test_split=None, **changes
    )
    found = script.with_source(recipe, "fake?examples=7")
    assert found.data == f"{uri}?examples=7"
    assert (found.train_split, found.validation_split, found.test_split) == ("train", "validation", None)
    assert script.with_source(recipe, "fake").data == uri
    with pytest.raises(InvalidArgument, match="--source is fake"):
        script.with_source(recipe, "cifar10")


def test_net_a_begins_the_deeper_ones():
    """The pattern in vgg_imagenet's docstring is for the first four convolutions and the dense layers of net A, and all
    of them have the same shapes in D."""
    (words,) = (words for words in commands("vgg_imagenet") if "--begin-pattern" in words)
    pattern = words[words.index("--begin-pattern") + 1]

    def shapes(name: str) -> dict[str, tuple[int, ...]]:
        images = jax.ShapeDtypeStruct((1, 224, 224, 3), np.float32)
        model = xx.create_model(name)
        params = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)["params"]
        paths = jax.tree.leaves_with_path(params)
        found = {"/".join(key.key for key in path): leaf.shape for path, leaf in paths}
        return {path: shape for path, shape in found.items() if re.search(pattern, path)}

    first = shapes("vgg11")
    layers = {path.split("/")[0] for path in first}
    convolutions = {"block1_conv1", "block2_conv1", "block3_conv1", "block3_conv2"}
    assert layers == convolutions | {"fc1", "fc2", "predictions"}
    assert shapes("vgg16") == first


def test_the_table_of_the_docs_is_up_to_date(tmp_path, call):
    """docs/recipes.md is what `list_recipes.py --markdown` writes."""
    status, _, _ = call(list_recipes.list_recipes, "--markdown", tmp_path / "recipes.md")
    assert status == 0
    docs = Path(__file__).parents[2] / "docs" / "recipes.md"
    assert docs.read_text(encoding="utf-8") == (tmp_path / "recipes.md").read_text(encoding="utf-8")
