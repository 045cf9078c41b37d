"""From a recipe to a finished run, and from a finished run to a network that predicts."""

import contextlib
import functools
import importlib.metadata
import platform
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, cast

import jax
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh, SingleDeviceSharding

from xxnet_jax.data import (
    Augmentation,
    Decoder,
    ImageFormat,
    Source,
    Statistics,
    image_statistics,
    make_loader,
    open_source,
)
from xxnet_jax.data.augmentation import distort_colours, mix_examples, move_pixels
from xxnet_jax.data.crops import crop_of
from xxnet_jax.data.images import fit_image
from xxnet_jax.data.loader import Batch, Loader
from xxnet_jax.data.preprocessing import FITTED, WHITENING, check_preprocessing, unit_values
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.losses import LossFn, classification_loss, l2_penalty
from xxnet_jax.metrics import create_metrics
from xxnet_jax.models import Network, count_parameters, create_model, model_info
from xxnet_jax.models.normalization import BatchNormScope
from xxnet_jax.optimizers import create_schedule, describe_groups, training_optimizer
from xxnet_jax.precision import FORMATS
from xxnet_jax.training.batch_norm import frozen_norms
from xxnet_jax.training.checkpoints import Checkpoints
from xxnet_jax.training.dispatch import CompiledTrainStep, InputFn
from xxnet_jax.training.evaluation import Evaluate, make_evaluate
from xxnet_jax.training.folder import RunConfig, RunFolder
from xxnet_jax.training.loop import LoopConfig, LoopResult, train
from xxnet_jax.training.processes import is_writer, wait_for_all
from xxnet_jax.training.profiling import profile_steps
from xxnet_jax.training.protocols import Classifier
from xxnet_jax.training.recipe import Recipe
from xxnet_jax.training.sharding import check_batch_size, make_mesh, own_rows, state_sharding
from xxnet_jax.training.state import (
    TrainState,
    abstract_state,
    create_state,
    ema_decay_at,
    polyak_decay_at,
    with_variables,
)
from xxnet_jax.training.step import make_eval_step, make_train_step
from xxnet_jax.training.task import Task

EVALUATION_BATCH = 256
UNCHANGED = Augmentation()


def run(
    recipe: Recipe,
    workdir: Path,
    *,
    task: Task | None = None,
    initial: Mapping[str, Any] | None = None,
    quiet: bool = False,
    profile: bool = False,
) -> dict[str, Any] | LoopResult:
    """Train by a recipe, resume what was begun, evaluate once, report.

    Args:
        recipe: what to do.
        workdir: the run folder (see `xxnet_jax.training.folder`).
        task: what it is about; by default classification.
        initial: variables to begin with in place of random ones, such as those of `pretrained.load_weights`; what they
            lack stays random. A run that is resumed does not need them.
        quiet: print nothing.
        profile: first run a few steps on a copy of the state, and say where their time goes (in `profile/`).

    Returns:
        The report of the finished run, or the `LoopResult` of one that a signal ended.

    Raises:
        XXNetError: what the user should mend.
    """
    task = task or CLASSIFICATION
    folder = RunFolder(workdir, task.recipe)
    with folder.locked() if is_writer() else contextlib.nullcontext():
        wait_for_all("run folder")
        with jax.default_matmul_precision(recipe.matmul_precision):
            return _run(recipe, folder, task, initial or {}, quiet or not is_writer(), profile)


def _run(
    recipe: Recipe, folder: RunFolder, task: Task, initial: Mapping[str, Any], quiet: bool, profile: bool
) -> dict[str, Any] | LoopResult:
    say: Callable[[str], None] = (lambda text: None) if quiet else functools.partial(print, flush=True)

    # --- Data ---------------------------------------------------------------------------------------------------------
    mesh = make_mesh(recipe.devices, recipe.model_devices)
    check_batch_size(recipe.batch_size, mesh, recipe.accumulate)
    source = open_source(recipe.data, data_dir=recipe.data_dir, download=recipe.download, task=task.name)
    config = task.resolve(recipe, source)
    folder.check(config)
    decoder = task.decoder(config)
    loader = make_loader(
        source.examples(recipe.train_split),
        decoder,
        recipe.batch_size,
        train=True,
        seed=recipe.seed,
        resident=recipe.resident,
        rows=own_rows(mesh, recipe.batch_size),
        workers=recipe.workers,
    )
    total_steps = recipe.steps or recipe.epochs * loader.batches_per_epoch
    if (report := folder.report()) is not None and report["total_steps"] >= total_steps:
        say(f"the run in {folder.path} is finished: {report['step']:,} of {report['total_steps']:,} steps")
        return report

    # --- Network, optimizer, state ------------------------------------------------------------------------------------
    model = task.model(config)
    tx = recipe_optimizer(recipe, create_schedule(recipe.schedule, total_steps, loader.batches_per_epoch))
    shape = config.image_format.shape
    extras = state_extras(recipe)
    shardings = state_sharding(mesh, abstract_state(model, tx, shape, **extras), fsdp=recipe.fsdp)
    state = create_state(model, tx, shape, seed=recipe.seed, **extras, sharding=shardings)
    state = with_variables(state, {**beginning(recipe, state), **initial})
    parameters = count_parameters(state.params)
    rate = float(state.opt_state.hyperparams["learning_rate"])

    # --- Steps --------------------------------------------------------------------------------------------------------
    penalty = recipe_penalty(recipe)
    if penalty is not None:
        jax.eval_shape(penalty, state.params)  # a pattern that matches nothing is an error now, not after a compilation
    step = make_train_step(
        model,
        tx,
        task.loss(recipe),
        penalty=penalty,
        average_decay=average_decay(recipe),
        accumulate=recipe.accumulate,
        batch_norm=recipe_batch_norm(recipe, mesh, state),
        arguments=task.arguments,
    )
    config = with_statistics(config, folder, source, decoder)
    train_step = CompiledTrainStep(
        step, task.inputs(loader, config), mesh, recipe.steps_per_call, states=shardings, parallel=recipe.parallel
    )

    evaluator = functools.partial(task.evaluator, config, model, source, decoder=decoder, mesh=mesh)
    validate = evaluator(recipe.validation_split) if recipe.validation_split else None
    if decoder.skipped:
        say(f"skipped {len(decoder.skipped)} corrupt images: " + "; ".join(sorted(decoder.skipped)))

    # --- Training -----------------------------------------------------------------------------------------------------
    treatment = recipe.groups.table(state.params)
    if is_writer():
        folder.begin(config, treatment)
    say(
        f"{recipe.model} ({parameters:,} parameters) on {recipe.data}: {loader.num_examples:,} examples, "
        f"{total_steps:,} steps of {recipe.batch_size} on {mesh.size} {jax.default_backend()} device(s), "
        f"{recipe.optimizer} at {rate:g}; run folder {folder.path}"
    )
    if recipe.freeze or recipe.rate_factors:
        say("\n".join(f"  {line}" for line in describe_groups(treatment)))
    if profile:
        say(profile_steps(train_step, state, loader, folder.profile).page())
    keep_steps = frozenset(epoch * loader.batches_per_epoch for epoch in recipe.keep_epochs)
    checkpoints = Checkpoints(folder.checkpoints, recipe.keep_last, keep_steps)
    try:
        result = train(
            state,
            train_step,
            loader,
            validate,
            checkpoints,
            folder.metrics if is_writer() else None,
            LoopConfig(
                total_steps,
                log_every=recipe.log_every or min(loader.batches_per_epoch, 100),
                evaluate_every=recipe.evaluate_every or loader.batches_per_epoch,
                keep_steps=keep_steps,
                early_stopping=recipe.early_stopping,
                plateau=recipe.plateau,
                ranked_by=task.ranked_by,
            ),
            quiet=quiet,
        )
        if is_writer():
            _plot(folder, task.ranked_by)
        if result.interrupted is not None:
            return result

        # --- Report ---------------------------------------------------------------------------------------------------
        best = checkpoints.best_step()
        best_state: TrainState = checkpoints.restore(best, result.state)[0]
    finally:
        checkpoints.close()
    test = evaluator(recipe.test_split) if recipe.test_split else None
    evaluations = {
        name: evaluate(best_state.evaluation_variables)
        for name, evaluate in (("validation", validate), ("test", test))
        if evaluate is not None
    }
    report = {
        **{f"{split}/{name}": value for split, each in evaluations.items() for name, value in each.figures.items()},
        **{
            f"{split}/{name}": rows.tolist()
            for split, each in evaluations.items()
            for name, rows in each.tables.items()
        },
        "model": recipe.model,
        "data": recipe.data,
        "optimizer": recipe.optimizer,
        "learning_rate": rate,
        "step": result.step,
        "total_steps": total_steps,
        "best_step": best,
        "parameters": parameters,
        "skipped_images": sorted(decoder.skipped),
        "seconds": round(result.seconds, 2),
        "examples_per_second": round(result.step * recipe.batch_size / result.seconds, 1),
        "devices": [device.device_kind for device in mesh.devices.flat],
        "versions": versions(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    if is_writer():
        folder.write_report(report)
    return report


def resolve(recipe: Recipe, source: Source) -> RunConfig:
    """What the recipe leaves to the network and the dataset."""
    info = model_info(recipe.model)
    height, width, _ = info.input_shape
    if recipe.image_size is not None:
        height = width = recipe.image_size
    image_format = ImageFormat(height, width, source.image_shape[-1], recipe.fit, recipe.shorter_side)
    preprocessing = recipe.preprocessing or info.preprocessing
    check_preprocessing(preprocessing)
    create_metrics(recipe.metrics, len(source.classes))  # names what is wrong before anything is trained
    rows, columns = source.image_shape[:2]
    size = None if rows is None or columns is None else (rows, columns)
    return RunConfig(recipe, image_format, size, preprocessing, source.classes)


def with_statistics(config: RunConfig, folder: RunFolder, source: Source, decoder: Decoder) -> RunConfig:
    """The configuration with the statistics that its preprocessing needs: those of the run that is resumed, or new."""
    if config.preprocessing not in FITTED:
        return config
    if folder.statistics.exists():
        return replace(config, statistics=Statistics.load(folder.statistics))
    decoded = decoder.read_all(source.examples(config.recipe.train_split))
    images = (example["image"] for example in decoded if example["mask"])
    return replace(config, statistics=image_statistics(images, whiten=config.preprocessing in WHITENING))


def check_classes(source: Source, config: RunConfig) -> None:
    """Refuse a source with other classes than the run's."""
    if source.classes != config.classes:
        raise InvalidArgument(f"{source.uri} has the classes {source.classes}, the run was trained on {config.classes}")


def classification_decoder(config: RunConfig) -> Decoder:
    """Decodes the examples of a run; those with a draw, as the recipe's changes say."""
    recipe = config.recipe
    return Decoder(config.image_format, len(config.classes), recipe.skip_corrupt, crop_of(recipe.changes))


def build_model(config: RunConfig) -> Network:
    """The network of a run."""
    options: dict[str, Any] = config.recipe.model_options
    formats = FORMATS[config.recipe.precision]
    return create_model(config.recipe.model, num_classes=len(config.classes), **formats._asdict(), **options)


def beginning(recipe: Recipe, state: TrainState) -> dict[str, Any]:
    """The parameters of another run that this one begins with.

    Raises:
        FileNotFoundError: there is no such run.
        ValueError: it has no parameter whose path the pattern matches, with the shape that it has here.
    """
    if recipe.begin_with is None:
        return {}
    found: dict[str, Any] = flatten_dict(Run(Path(recipe.begin_with)).load().variables["params"], sep="/")
    wanted: dict[str, Any] = flatten_dict(state.params, sep="/")
    shared = {
        path: value
        for path, value in found.items()
        if path in wanted and value.shape == wanted[path].shape and re.search(recipe.begin_pattern, path)
    }
    if not shared:
        raise InvalidArgument(
            f"{recipe.begin_with} shares no parameter with this network that matches '{recipe.begin_pattern}': it has "
            f"{', '.join(found)}"
        )
    return {"params": unflatten_dict(shared, sep="/")}


def state_extras(recipe: Recipe) -> dict[str, bool]:
    """What the state of a run has besides the parts that all have; see `create_state`."""
    return {"ema": recipe.averages, "loss_scale": recipe.precision == "f16"}


def split_evaluator(
    config: RunConfig,
    model: Network,
    source: Source,
    split: str,
    *,
    decoder: Decoder,
    mesh: Mesh,
    metrics: Sequence[str] | None = None,
) -> Evaluate:
    """`evaluate(variables)` of a split; the loss is that of the recipe without smoothing and penalties.

    The metrics are those of the recipe, or others.
    """
    examples = source.examples(split)
    batch_size = -(-min(EVALUATION_BATCH, len(examples)) // mesh.size) * mesh.size
    loader = make_loader(
        examples,
        decoder,
        batch_size,
        train=False,
        resident=config.recipe.resident,
        rows=own_rows(mesh, batch_size),
    )
    chosen = create_metrics(config.recipe.metrics if metrics is None else metrics, len(config.classes))
    step = make_eval_step(model, classification_loss(config.recipe.loss), chosen)
    return make_evaluate(step, loader, input_function(loader, config.inputs), mesh, chosen)


def recipe_optimizer(recipe: Recipe, schedule: optax.Schedule = lambda step: 1.0) -> optax.GradientTransformation:
    """The optimizer of a run; the structure of its state does not depend on the schedule."""
    return training_optimizer(
        recipe.optimizer,
        recipe.learning_rate,
        schedule,
        like=recipe.like,
        hyperparameters=recipe.optimizer_options,
        clip_value=recipe.clip_value,
        clip_norm=recipe.clip_norm,
        groups=recipe.groups,
    )


def recipe_loss(recipe: Recipe) -> LossFn:
    """The loss that a run trains with, without its penalty."""
    weight, half_life = recipe.auxiliary_weight, recipe.auxiliary_half_life
    return classification_loss(
        recipe.loss,
        label_smoothing=recipe.label_smoothing,
        auxiliary_weight=weight if half_life is None else optax.exponential_decay(weight, half_life, 0.5),
    )


def recipe_penalty(recipe: Recipe) -> Callable[[Any], jax.Array] | None:
    """parameters -> L2 penalty, if the recipe has one."""
    if not recipe.l2:
        return None
    return lambda params: recipe.l2 * l2_penalty(params, recipe.l2_pattern)


def recipe_batch_norm(recipe: Recipe, mesh: Mesh, state: TrainState) -> BatchNormScope:
    """Which examples a run normalizes together; layers whose parameters are frozen are in inference mode."""
    examples = recipe.batch_norm
    match examples:
        case "global":
            examples = None
        case "per_device":
            examples = recipe.batch_size // (mesh.shape["data"] * recipe.accumulate)
    frozen = frozen_norms(recipe.groups.frozen(state.params), state.batch_stats)
    return BatchNormScope(examples, "data" if recipe.parallel == "pmap" else None, frozen)


def average_decay(recipe: Recipe) -> Callable[[jax.Array], jax.Array] | None:
    """step -> decay of the average of the parameters, if the recipe has one."""
    if recipe.polyak_from is not None:
        return functools.partial(polyak_decay_at, start=recipe.polyak_from)
    if recipe.ema_decay is not None:
        return functools.partial(ema_decay_at, decay=recipe.ema_decay)
    return None


def input_function(
    loader: Loader,
    to_inputs: Callable[[jax.Array], jax.Array],
    changes: Augmentation = UNCHANGED,
    num_classes: int = 0,
) -> InputFn:
    """`(resident, batch of the loader) -> batch of the step`: fetch, then preprocess and augment the images.

    Args:
        loader: of the batches.
        to_inputs: makes inputs of images, uint8 or float32 in [0, 1], such as `RunConfig.inputs`.
        changes: at random, of training images.
        num_classes: where the changes mix examples.
    """

    def input_fn(resident: Any, batch: Batch) -> Batch:
        batch = dict(loader.fetch(resident, batch))
        draws = batch.pop("draw", None)
        if draws is None or changes == UNCHANGED:
            return batch | {"image": to_inputs(batch["image"])}
        images = distort_colours(unit_values(batch["image"]), draws, changes)
        batch |= {"image": move_pixels(to_inputs(images), draws, changes)}
        return mix_examples(batch, draws, changes, num_classes) if changes.mixes else batch

    return input_fn


def training_inputs(loader: Loader, config: RunConfig) -> InputFn:
    """The input function of a run's training."""
    return input_function(loader, config.inputs, config.recipe.changes, len(config.classes))


CLASSIFICATION = Task(
    Recipe, "accuracy", resolve, classification_decoder, build_model, recipe_loss, training_inputs, split_evaluator
)


def _plot(folder: RunFolder, figure: str) -> None:
    from xxnet_jax.visualization.curves import plot_curves

    plot_curves(folder.metrics, folder.curves, figure)


def versions() -> dict[str, str]:
    """Python and the packages that decide results."""
    packages = ("xxnet_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


# --- Using a run ------------------------------------------------------------------------------------------------------


Kind = TypeVar("Kind", bound="Trained")


@dataclass(frozen=True)
class Trained:
    """A network with the variables of a checkpoint, and what its images need.

    Attributes:
        config: of the run.
        model: the network.
        variables: parameters (averaged ones, where the run has them) and running statistics.
        step: of the checkpoint.
    """

    config: RunConfig
    model: Any
    variables: dict[str, Any]
    step: int


@dataclass(frozen=True)
class TrainedNetwork(Trained):
    """A trained classifier."""

    model: Network

    def predict(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Class probabilities, float32 [images, classes], of uint8 images [height, width, channels] of any size."""
        return self.probabilities(self.batch(images))

    def probabilities(self, batch: np.ndarray) -> np.ndarray:
        """Class probabilities, float32 [images, classes], of images as `batch` or a `Decoder` makes them."""
        return self.classifier(batch)

    def batch(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """The images as uint8 [images, height, width, channels], in the format of the network."""
        if not images:
            raise InvalidArgument("there is no image to predict")
        form, size = self.config.image_format, self.config.source_size
        if form.fit == "pad" and size is not None:
            images = [fit_image(image, *size) for image in images]
        fitted = [form(image) for image in images]
        return np.stack(fitted)

    @functools.cached_property
    def classifier(self) -> Classifier:
        """The network as test protocols take it."""
        form = self.config.image_format
        return Classifier(self.model, self.variables, self.config.inputs, form, form.shape)


class TaskRun(Generic[Kind]):
    """A run folder that is only looked at; training may go on in it meanwhile.

    Attributes:
        task: what runs of this kind are about.
        trained: what `load` gives.
        config: of the run.
        model: its network.
    """

    task: ClassVar[Task]
    trained: ClassVar[type[Trained]] = Trained

    def __init__(self, path: Path):
        self.folder = RunFolder(path, self.task.recipe)
        self.config = self.folder.config()
        self.model: Any = self.task.model(self.config)

    def checkpoints(self) -> Checkpoints:
        """Its checkpoints, to read.

        Raises:
            FileNotFoundError: there is none yet.
        """
        return Checkpoints(self.folder.checkpoints, read_only=True)

    def load(self, step: int | None = None) -> Kind:
        """The network of a checkpoint, by default of the best one.

        Raises:
            FileNotFoundError: there is no checkpoint.
            ValueError: the checkpoint is damaged.
        """
        return cast(Kind, self.trained(self.config, self.model, *self.restore(step)))

    def restore(self, step: int | None = None) -> tuple[dict[str, Any], int]:
        """The variables of a checkpoint and its step; see `load`."""
        checkpoints = self.checkpoints()
        step = checkpoints.best_step() if step is None else step
        state: TrainState = checkpoints.restore(step, self.template())[0]
        return state.evaluation_variables, step

    def template(self) -> TrainState:
        """Shapes and dtypes of the state of the run, on the first device, to restore checkpoints into."""
        recipe = self.config.recipe
        shape = self.config.image_format.shape
        state = abstract_state(self.model, recipe_optimizer(recipe), shape, **state_extras(recipe))
        device = SingleDeviceSharding(jax.local_devices()[0])
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), state)

    def evaluator(self, split: str, source: Source, metrics: Sequence[str] | None = None) -> Evaluate:
        """`evaluate(variables)` of a split of a source with the run's classes: every example counts once.

        Args:
            split: such as test, or train[:1000].
            source: of the images.
            metrics: names as in `Recipe.metrics`; by default the recipe's.

        Raises:
            ValueError: the source has other classes, or there is no such metric.
        """
        config = self.config
        check_classes(source, config)
        options = {} if metrics is None else {"metrics": metrics}
        decoder = self.task.decoder(config)
        return self.task.evaluator(config, self.model, source, split, decoder=decoder, mesh=make_mesh(1), **options)


class Run(TaskRun[TrainedNetwork]):
    """The run folder of a classifier."""

    task = CLASSIFICATION
    trained = TrainedNetwork
