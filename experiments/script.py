"""What the scripts share: a clear line instead of a traceback, and recipes by name."""

import importlib
import pkgutil
import sys
from collections.abc import Callable

import recipes

from xxnet_jax.errors import UnknownName, XXNetError
from xxnet_jax.training import Recipe


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
