"""Runs of segmenters: the same loop, folder and checkpoints as other runs, with a class for each pixel as labels.

`run_segmenter(recipe, workdir)` trains by a `SegmenterRecipe` and resumes what was begun; `SegmenterRun(workdir)` looks
at it. The best checkpoint is the one with the highest mean IoU on the validation split. Images and masks are stretched
to the size of the recipe, in evaluation, too; a trained network takes images of any size.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from xxnet_jax.data import VOID, ImageFormat, Loader, MasksDecoder, Source, make_loader
from xxnet_jax.data.images import scaled
from xxnet_jax.data.preprocessing import check_preprocessing
from xxnet_jax.data.source import Task as TaskName
from xxnet_jax.errors import CorruptData, InvalidArgument
from xxnet_jax.losses import Batch, LossFn, Metrics, Outputs, segmentation_loss
from xxnet_jax.metrics.segmentation import segmentation_confusion, segmentation_scores
from xxnet_jax.models import model_info
from xxnet_jax.precision import FORMATS
from xxnet_jax.segmentation.fcn import FCN, Upsampling, create_fcn
from xxnet_jax.training.dispatch import InputFn, compile_eval_step
from xxnet_jax.training.evaluation import Evaluate, Evaluation
from xxnet_jax.training.folder import RunConfig
from xxnet_jax.training.logging import MeanWindow
from xxnet_jax.training.recipe import OF_CLASSIFIERS, Recipe
from xxnet_jax.training.run import TaskRun, Trained, input_function, run
from xxnet_jax.training.sharding import own_rows, put, replicated
from xxnet_jax.training.task import Task


@dataclass(frozen=True)
class SegmenterRecipe(Recipe):
    """How to train one segmenter on one dataset.

    The fields of `Recipe` that follow here last mean the same; what is for classifiers alone must be left as it is.

    Attributes:
        model: the backbone, a VGG.
        data: voc:FOLDER.
        batch_size: images, over all devices.
        upsampling: 32, 16 or 8: FCN-32s, FCN-16s or FCN-8s.
        padding: of the images, see `FCN`.
        height: of the images.
        width: of the images.
        mirror: probability that a training image is turned left for right.
    """

    task: ClassVar[TaskName] = "segmentation"
    of_others = OF_CLASSIFIERS

    model: str = "vgg16"
    data: str = ""
    batch_size: int = 1
    upsampling: Upsampling = 8
    padding: int = 100
    height: int = 384
    width: int = 512
    mirror: float = 0.0


def recipe_of(config: RunConfig) -> SegmenterRecipe:
    assert isinstance(config.recipe, SegmenterRecipe)
    return config.recipe


def resolve(recipe: SegmenterRecipe, source: Source) -> RunConfig:
    """What the recipe leaves to the backbone and the dataset."""
    preprocessing = recipe.preprocessing or model_info(recipe.model).preprocessing
    check_preprocessing(preprocessing)
    image_format = ImageFormat(recipe.height, recipe.width, source.image_shape[-1])
    config = RunConfig(recipe, image_format, None, preprocessing, source.classes)
    build_segmenter(config)  # names what is wrong before anything is read
    return config


def masks_decoder(config: RunConfig) -> MasksDecoder:
    """Brings images and masks of a run to its size."""
    recipe = recipe_of(config)
    return MasksDecoder(config.image_format, len(config.classes), recipe.skip_corrupt, recipe.mirror)


def build_segmenter(config: RunConfig) -> FCN:
    """The network of a run."""
    recipe = recipe_of(config)
    knobs: dict[str, Any] = FORMATS[recipe.precision]._asdict() | recipe.model_options
    return create_fcn(recipe.model, len(config.classes), upsampling=recipe.upsampling, padding=recipe.padding, **knobs)


def segmenter_loss(recipe: SegmenterRecipe) -> LossFn:
    """The loss that a run trains with, without its penalty."""
    del recipe
    return segmentation_loss(VOID)


def segmenter_inputs(loader: Loader, config: RunConfig) -> InputFn:
    """The input function of a run; random changes are made on the host."""
    return input_function(loader, config.inputs)


def segmentation_evaluator(
    config: RunConfig, model: FCN, source: Source, split: str, *, decoder: MasksDecoder, mesh: Mesh
) -> Evaluate:
    """`evaluate(variables)` of a split: "loss", "accuracy" (of pixels), "mIoU", and "IoU/CLASS" of each class that
    occurs; the table "confusion" has the numbers of pixels."""
    recipe, classes = config.recipe, len(config.classes)
    batch_size = -(-recipe.batch_size // mesh.size) * mesh.size
    loader = make_loader(
        source.examples(split),
        decoder,
        batch_size,
        train=False,
        resident=recipe.resident,
        rows=own_rows(mesh, batch_size),
    )
    loss = segmentation_loss(VOID)

    def step(variables: dict[str, Any], batch: Batch) -> tuple[Metrics, dict[str, Any]]:
        scores: Any = model.apply(variables, batch["image"], train=False)
        _, means = loss(Outputs(scores, {}, jnp.zeros((), jnp.int32)), batch, jax.random.key(0))
        labels = jnp.where(batch["mask"][:, None, None], batch["label"], VOID)
        return means, {"confusion": segmentation_confusion(labels, jnp.argmax(scores, axis=-1), classes, VOID)}

    evaluate_batch = compile_eval_step(step, segmenter_inputs(loader, config), mesh)
    resident = put(loader.resident, replicated(mesh))

    def evaluate(variables: dict[str, Any]) -> Evaluation:
        window = MeanWindow()
        confusion = np.zeros((classes, classes), np.int64)
        for batch in loader.batches():
            means, counts = evaluate_batch(variables, resident, batch)
            window.add(means)
            confusion += np.asarray(jax.device_get(counts["confusion"]), np.int64)
        figures: dict[str, float] = window.means()
        if not figures or not confusion.any():
            raise CorruptData(f"there is no pixel of a class to evaluate in {split}")
        scores = segmentation_scores(confusion)
        each = zip(config.classes, np.asarray(scores.iou).tolist(), strict=True)
        known = {f"IoU/{name}": iou for name, iou in each if not np.isnan(iou)}
        return Evaluation(figures | {"mIoU": float(scores.mean_iou), **known}, {"confusion": confusion})

    return evaluate


SEGMENTATION = Task(
    SegmenterRecipe,
    "mIoU",
    resolve,
    masks_decoder,
    build_segmenter,
    segmenter_loss,
    segmenter_inputs,
    segmentation_evaluator,
)
run_segmenter = functools.partial(run, task=SEGMENTATION)


# --- Using a run -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainedSegmenter(Trained):
    """A trained segmenter."""

    model: FCN

    def segment(self, images: Sequence[np.ndarray], shorter_side: int | None = None) -> list[np.ndarray]:
        """The class of each pixel, uint8 [height, width], of images, uint8 [height, width, channels] of any size.

        Each new size is compiled.

        Args:
            images: as said.
            shorter_side: to which each image is scaled before it is scored, in pixels; the scores are then scaled back,
                bilinearly. None: each is scored as it is. A network knows objects in the size that they had in
                training, `trained_side`.

        Raises:
            ValueError: the side is less than a pixel.
        """
        if shorter_side is not None and shorter_side < 1:
            raise InvalidArgument(f"the shorter side must be at least 1 pixel, got {shorter_side}")
        seen = (image if shorter_side is None else scaled(image, shorter_side) for image in images)
        return [
            np.asarray(self._apply(self.variables, small[None], image.shape[:2])[0], np.uint8)
            for image, small in zip(images, seen, strict=True)
        ]

    @property
    def trained_side(self) -> int:
        """The shorter side of the images of training."""
        return min(self.config.image_format.shape[:2])

    @functools.cached_property
    def _apply(self) -> Any:
        def classes(variables: Any, images: jax.Array, size: tuple[int, int]) -> jax.Array:
            scores: Any = self.model.apply(variables, self.config.inputs(images), train=False)
            if scores.shape[1:3] != size:
                scores = jax.image.resize(scores, (len(scores), *size, scores.shape[-1]), "linear", antialias=False)
            return jnp.argmax(scores, axis=-1)

        return jax.jit(classes, static_argnums=2)


class SegmenterRun(TaskRun[TrainedSegmenter]):
    """The run folder of a segmenter."""

    task = SEGMENTATION
    trained = TrainedSegmenter
