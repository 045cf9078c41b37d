"""What the scripts share: a clear line instead of a traceback, compiled programs that are kept, recipes by name."""

import contextlib
import importlib
import os
import pkgutil
import platform
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Generic, TypeVar

import jax
import recipes
import tyro
from jax.experimental.compilation_cache.compilation_cache import reset_cache
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

import xxnet_jax as xx
from xxnet_jax.errors import InvalidArgument, MissingData, UnknownName, XXNetError
from xxnet_jax.training import LoopResult, Recipe, Run
from xxnet_jax.training.processes import is_writer

Batch = TypeVar("Batch")
AnyArguments = TypeVar("AnyArguments")
AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)

# What a recipe has by name, and a command adds to.
RECIPE_OPTIONS = ("model_options", "optimizer_options", "augmentation_options", "rate_factors")


def main(function: Callable[[], int | None]) -> None:
    """Run a script; an error that the user can mend is one message, and exit status 2.

    What takes JAX more than a second to compile is kept for the next time, in `kept_programs`, or where
    JAX_COMPILATION_CACHE_DIR says; JAX_ENABLE_COMPILATION_CACHE=false turns that off.
    """
    chosen = jax.config.jax_compilation_cache_dir is not None  # type: ignore[attr-defined]
    try:
        with contextlib.nullcontext() if chosen else compilation_cache(kept_programs()):
            sys.exit(function())
    except XXNetError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def kept_programs() -> Path:
    """The folder of compiled programs: of this host, as another one may lack instructions of its processor."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xxnet_jax" / platform.node()


@contextlib.contextmanager
def compilation_cache(folder: Path) -> Iterator[None]:
    """Within, JAX keeps what it compiles in a folder, and takes from there what it finds; without one, it does not."""
    before = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"warning: compiled programs are not kept: {error}", file=sys.stderr)
        yield
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    reset_cache()  # JAX opens its cache once
    try:
        yield
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
        reset_cache()


def recipe_names(package: ModuleType = recipes) -> list[str]:
    """The files of `experiments/recipes`, or of another folder of recipes."""
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def recipe_module(name: str, package: ModuleType = recipes) -> ModuleType:
    """The file of a recipe, with `RECIPE` and, for that of a paper, `NETWORKS` and `PUBLISHED`.

    Raises:
        ValueError: unknown name.
    """
    if name not in recipe_names(package):
        raise UnknownName("recipe", name, recipe_names(package))
    return importlib.import_module(f"{package.__name__}.{name}")


def load_recipe(name: str, package: ModuleType = recipes) -> tuple[Any, str]:
    """A recipe and its docstring.

    Raises:
        ValueError: unknown name.
    """
    module = recipe_module(name, package)
    return module.RECIPE, module.__doc__ or ""


@dataclass(frozen=True)
class TrainArguments(Generic[AnyRecipe]):
    """The recipe, and where it runs.

    Attributes:
        recipe: what to do.
        workdir: the run folder; by default runs/RECIPE.
        quiet: print only the result.
        profile: before training, run a few steps and say where their time goes; a trace goes into profile/.
    """

    recipe: Annotated[AnyRecipe, tyro.conf.arg(name="")]
    workdir: Path | None = None
    quiet: bool = False
    profile: bool = False

    @property
    def reporting(self) -> dict[str, Any]:
        """What a run tells, as it takes it."""
        return {"quiet": self.quiet, "profile": self.profile}


def recipe_arguments(
    kind: type[AnyArguments], words: Sequence[str], default_name: str, package: ModuleType = recipes
) -> tuple[str, AnyArguments]:
    """Name of a recipe and what a command says: its first word may be the recipe, its options change it.

    Where the command takes another optimizer, rate and options of the recipe's are left out unless the command says
    them: they were meant for the recipe's optimizer.

    Args:
        kind: a dataclass whose first field is `recipe`.
        words: of the command.
        default_name: the recipe where none is named.
        package: the folder of recipes.

    Raises:
        ValueError: unknown recipe.
    """
    name = default_name if not words or words[0].startswith("-") else words[0]
    options = [*words[1:]] if words[:1] == [name] else [*words]
    default, about = load_recipe(name, package)
    own: dict[str, Any] = {name: value for name in RECIPE_OPTIONS if (value := getattr(default, name))}
    make: Any = kind  # tyro's types know no class that is not named
    arguments = tyro.cli(
        make,
        prog=f"{Path(sys.argv[0]).name} {name}",
        description=f"{about}\nOptions of the recipe: {own or 'none'}.\nRecipes: {', '.join(recipe_names(package))}.",
        args=options,
        # From options that there are, tyro would take no others.
        default=make(replace(default, **{key: {} for key in own})),
    )
    recipe = arguments.recipe
    if recipe.optimizer != default.optimizer:
        own.pop("optimizer_options", None)
        if not any(re.match("--learning[-_]rate(=|$)", word) for word in options):
            recipe = replace(recipe, learning_rate=None)
    # What the command says comes first: of the factors of the rate, the first that matches counts.
    recipe = replace(recipe, **{name: {**(given := getattr(recipe, name)), **own[name], **given} for name in own})
    return name, replace(arguments, recipe=recipe)


# Classes of the datasets that recipes name; of others, the network's published number is taken.
CLASSES = {
    **dict.fromkeys(("digits", "tfds:mnist", "tfds:fashion_mnist", "tfds:cifar10", "tfds:svhn_cropped"), 10),
    "tfds:cifar100": 100,
    "tfds:imagenet2012": 1000,
}


def with_source(recipe: Recipe, source: str) -> Recipe:
    """The recipe with noise in place of its data: of the size of its images, with as many classes, and all its splits.

    Args:
        recipe: of which images and classes are known; no data is opened.
        source: "fake", or with the options of `fake:`, such as "fake?examples=64".

    Raises:
        ValueError: another source.
    """
    scheme, question, options = source.partition("?")
    if scheme != "fake":
        raise InvalidArgument(f"--source is fake or fake?examples=64, got '{source}': --data names another dataset")
    info = xx.model_info(recipe.model)
    height, width, channels = info.input_shape
    if recipe.image_size is not None:
        height = width = recipe.image_size
    classes = CLASSES.get(recipe.data.partition("?")[0], info.num_classes)
    return replace(
        recipe,
        data=f"fake:{height}x{width}x{channels}/{classes}{question}{options}",
        train_split="train",
        validation_split=recipe.validation_split and "validation",
        test_split=recipe.test_split and "test",
    )


def finish(result: dict[str, Any] | LoopResult, workdir: Path) -> int:
    """Say what a run came to; its exit status, that of the signal which ended it, if one did."""
    if isinstance(result, LoopResult):
        assert result.interrupted is not None
        if is_writer():
            saved = f"saved step {result.step} in {workdir}"
            print(f"{result.interrupted.name}: {saved}; run the same command again to resume")
        return 128 + result.interrupted.value
    if not is_writer():
        return 0
    for figure in ("accuracy", "mAP", "localized", "mIoU"):
        for key in (f"validation/{figure}", f"test/{figure}"):
            if key in result:
                print(f"{key:20} {result[key]:.4f}")
    print(
        f"best checkpoint: step {result['best_step']} of {result['step']}; {result['seconds']:.0f} s of training, "
        f"{result['examples_per_second']:,.0f} examples/s; {workdir}/report.json, curves.png"
    )
    return 0


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


def counted(batches: Iterable[Batch], images: int, batch_size: int, name: str = "images") -> Iterator[Batch]:
    """The batches, with a progress bar on standard error: images done, images per second, time left."""
    left = images
    with progress(name, images) as advance:
        for batch in batches:
            yield batch
            advance(min(batch_size, left))
            left -= min(batch_size, left)


@contextlib.contextmanager
def progress(name: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error, with rate and time left; what is yielded moves it on by so many."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=total)
        yield lambda number: bar.advance(task, number)


class _Rate(ProgressColumn):
    """Images per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.1f}/s" if task.speed else "")
