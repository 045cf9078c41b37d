"""What the scripts share: a clear line instead of a traceback, and recipes by name."""

import importlib
import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path

import recipes

import xxnet_jax as xx
from xxnet_jax.errors import MissingData, UnknownName, XXNetError
from xxnet_jax.training import Recipe, Run


def main(function: Callable[[], int | None]) -> None:
    """Run a script; an error that the user can mend is one message, and exit status 2."""
    try:
        sys.exit(function())
    except XXNetError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def recipe_names() -> list[str]:
    """The files of `experiments/recipes`."""
    return sorted(module.name for module in pkgutil.iter_modules(recipes.__path__))


def load_recipe(name: str) -> tuple[Recipe, str]:
    """A recipe and its docstring.

    Raises:
        ValueError: unknown name.
    """
    if name not in recipe_names():
        raise UnknownName("recipe", name, recipe_names())
    module = importlib.import_module(f"recipes.{name}")
    return module.RECIPE, module.__doc__ or ""


def open_run(path_or_model: str, root: Path = Path("runs")) -> Run:
    """The run in a folder; or, by the name of a model, the one below `root` that was begun last.

    Raises:
        FileNotFoundError: there is no such run.
    """
    path = Path(path_or_model)
    if path.exists() or path_or_model not in xx.list_models():
        return Run(path)
    configs = sorted(root.glob("*/config.json"), key=lambda config: config.stat().st_mtime, reverse=True)
    for config in configs:
        run = Run(config.parent)
        if run.config.recipe.model == path_or_model:
            return run
    raise MissingData(f"no run of model '{path_or_model}' in {root}: train one with experiments/train.py")
