"""Classifiers of parts of images: what R-CNN and SPP-net train before they detect anything.

Two kinds of runs, by the same loop, folder and checkpoints as others, on sources of images with objects:

- of `objects`: each object, cut out, with its class. It stands for the classifier of ImageNet with which the papers
  begin, where there are no weights of one.
- of `windows`: R-CNN's fine-tuning (section 2.3 of its paper): windows and objects with an IoU of .5 or more with an
  object have its class, all others are background; a quarter of a batch are of the first kind, 32 and 96 of 128.

The network is a backbone of `backbones`, maxima of its map in bins, and dense layers: with one level of bins that is
AlexNet's, ZF's or VGG's last pooling, with several the spatial pyramid pooling of SPP-net (He, Zhang, Ren and Sun,
Spatial Pyramid Pooling in Deep Convolutional Networks for Visual Recognition, 2014, arXiv 1406.4729), which takes
images of any size. `sizes` are those in which crops come, one for each epoch: its multi-size training (section 2.3).

Deviation: windows of a batch are drawn from the images of the batch, as many from each, not from all images; where an
image has fewer of a kind than wanted, they are drawn again, and without objects all are background.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.initializers import normal
from jax.sharding import Mesh

from xxnet_jax.boxes import area, pairwise_iou
from xxnet_jax.data import Decoder, ImageFormat, Loader, ObjectsDecoder, Source, make_loader
from xxnet_jax.data.crops import Window
from xxnet_jax.data.loader import generator
from xxnet_jax.data.objects import ObjectsExample, cropped
from xxnet_jax.data.preprocessing import FITTED, check_preprocessing
from xxnet_jax.detection.backbones import BACKBONES, create_parts
from xxnet_jax.detection.roi import spatial_pyramid_pool, window_of_features
from xxnet_jax.detection.runs import DetectorName, DetectorRecipe, search_of
from xxnet_jax.detection.warps import Warp, warp
from xxnet_jax.errors import InvalidArgument, UnknownName
from xxnet_jax.losses import LossFn, classification_loss
from xxnet_jax.models import Network, model_info
from xxnet_jax.models.layers import Dtype, dropout
from xxnet_jax.precision import FORMATS, at_least_float32
from xxnet_jax.training.dispatch import InputFn
from xxnet_jax.training.evaluation import Evaluate, make_evaluate
from xxnet_jax.training.folder import RunConfig
from xxnet_jax.training.run import TaskRun, Trained
from xxnet_jax.training.sharding import own_rows
from xxnet_jax.training.step import make_eval_step
from xxnet_jax.training.task import Task

CropsOf = Literal["objects", "windows"]


@dataclass(frozen=True)
class CropSettings:
    """What is cut out of an image, and the network that sees it.

    Attributes:
        of: "objects" or "windows".
        sizes: sides of the crops, one for each epoch; evaluations take the first.
        warp: form, a name of `warps.Warp`.
        context: border of each crop, in parts of its side; the paper's 16 of 227 pixels are .07.
        count: crops of an image in a batch.
        positives: of windows, how many of these have an object.
        positive_iou: from which a window has one.
        mirror: left for right, half of the training crops.
        levels: bins along an axis, of each level of the pyramid.
        dense: units of the hidden layers.
        dropout_rate: behind each.
    """

    of: CropsOf = "windows"
    sizes: tuple[int, ...] = (224,)
    warp: Warp = "anisotropic"
    context: float = 16 / 227
    count: int = 32
    positives: int = 8
    positive_iou: float = 0.5
    mirror: bool = True
    levels: tuple[int, ...] = (7,)
    dense: tuple[int, ...] = (4096, 4096)
    dropout_rate: float = 0.5

    def __post_init__(self) -> None:
        for name, value, known in (("crops of", self.of, get_args(CropsOf)), ("warp", self.warp, get_args(Warp))):
            if value not in known:
                raise UnknownName(name, value, known)
        if not self.sizes or min(self.sizes) < 1 or not self.levels or min(self.levels) < 1 or not self.dense:
            raise InvalidArgument("crops need a size, a level of bins and a hidden layer at least, of 1 or more each")
        if not 0 <= self.positives <= self.count or self.count < 1:
            raise InvalidArgument(f"expected 0 to {self.count} positives of 1 crop or more, got {self.positives}")
        if not 0 <= self.context < 0.5:
            raise InvalidArgument(f"context must be in [0, .5), got {self.context:g}")

    def cut(self, image: np.ndarray, box: np.ndarray, size: int) -> np.ndarray:
        """A window of an image as the network sees it."""
        return warp(image, box, size, self.warp, self.context * size)


@dataclass(frozen=True)
class CropRecipe(DetectorRecipe):
    """How to train a classifier of parts of images; `crops` says which. Fields of `DetectorRecipe` that are not about
    the canvas, the windows and the training have no effect.

    Attributes:
        crops: what is cut out, and the network.
    """

    detector: DetectorName = "fast_rcnn"
    crops: CropSettings = field(default_factory=CropSettings)


# --- The network -----------------------------------------------------------------------------------------------------


class Features(NamedTuple):
    """Of images or windows [..., n]: of the pyramid [..., n, features] and the last hidden layer [..., n, units]."""

    pooled: Any  # of JAX or NumPy
    hidden: Any


class PyramidNetwork(nn.Module):
    """A backbone, a pyramid of bins, dense layers; see above. Layers have the names of those of Fast R-CNN.

    Attributes:
        backbone: a network that ends at a map of features.
        stride: of that map, in pixels.
        num_outputs: logits.
        levels, dense, dropout_rate: see `CropSettings`.
        dtype, param_dtype: of computation and parameters of what stands on the backbone.
    """

    backbone: Network
    stride: int
    num_outputs: int
    levels: tuple[int, ...] = (7,)
    dense: tuple[int, ...] = (4096, 4096)
    dropout_rate: float = 0.5
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, images: jax.Array, *, windows: jax.Array | None = None, describes: bool = False, train: bool
    ) -> jax.Array | Features:
        """Logits of images, or of windows of them.

        Args:
            images: float32 [batch, height, width, channels].
            windows: float32 [batch, n, 4], in their pixels.
            describes: return `Features` in place of logits.
            train: whether dropout and batch normalization are in training.
        """
        features = self.backbone(images, train=train)
        rows, columns = features.shape[1:3]
        cells = None if windows is None else window_of_features(windows, rows, columns, self.stride)
        pooled = x = spatial_pyramid_pool(features, self.levels, cells)
        options: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        for number, units in enumerate(self.dense, start=6):
            x = nn.relu(nn.Dense(units, **options, name=f"fc{number}")(x))
            x = dropout(x, self.dropout_rate, train=train)
        logits = nn.Dense(self.num_outputs, kernel_init=normal(0.01), **options, name="cls_score")(x)
        return Features(at_least_float32(pooled), at_least_float32(x)) if describes else at_least_float32(logits)


def build_network(config: RunConfig) -> PyramidNetwork:
    """The network of a run."""
    recipe = crop_recipe(config)
    formats, options = FORMATS[recipe.precision]._asdict(), dict(recipe.model_options)
    network, stride, stage = create_parts(recipe.model, **formats, **options)
    if stage is not None:
        raise InvalidArgument(
            f"{recipe.model} ends with a residual stage, not with dense layers: take another backbone"
        )
    crops = recipe.crops
    outputs = len(config.classes) + (crops.of == "windows")
    return PyramidNetwork(network, stride, outputs, crops.levels, crops.dense, crops.dropout_rate, **formats)


# --- What is cut out -------------------------------------------------------------------------------------------------


def sample_windows(
    rng: np.random.Generator,
    windows: np.ndarray,
    objects: np.ndarray,
    labels: np.ndarray,
    *,
    count: int,
    positives: int,
    positive_iou: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Windows with objects, and others, at random: boxes [count, 4] and labels int32 [count].

    Label 0 is background, that of an object its class + 1; -1 is a row without a window, where there are none to take.

    Args:
        rng: of the draws.
        windows: [n, 4].
        objects: [m, 4], which are windows, too.
        labels: int [m].
        count: how many.
        positives: how many of them have an object, as long as there are any; they come first.
        positive_iou: from which a window has one.
    """
    boxes = np.concatenate([objects, windows]).astype(np.float32)
    overlap = pairwise_iou(boxes, objects) if len(objects) else np.zeros((len(boxes), 1))
    is_object = overlap.max(1) >= positive_iou
    chosen = _draw(rng, np.flatnonzero(is_object), positives)
    rest = _draw(rng, np.flatnonzero(~is_object), count - len(chosen))
    rows = np.concatenate([chosen, rest])
    found = np.zeros((count, 4), np.float32)
    found[: len(rows)] = boxes[rows]
    of_class = np.full(count, -1, np.int32)
    of_class[: len(rows)] = 0
    if len(chosen):
        of_class[: len(chosen)] = labels[overlap[chosen].argmax(1)] + 1
    return found, of_class


def _draw(rng: np.random.Generator, candidates: np.ndarray, count: int) -> np.ndarray:
    """So many of the candidates; each once, if there are enough; none, if there are none."""
    if not len(candidates):
        return candidates
    return rng.choice(candidates, count, replace=len(candidates) < count)


class CropDecoder(Decoder):
    """Makes of an image with objects a row of crops: image uint8 [count, size, size, channels], label int32 [count] (-1
    for a crop that is not there), mask True.

    Difficult objects and crowds are left out. Without a draw the crops are those of one draw, the same in each
    evaluation.

    Args:
        objects: finds the windows, and refuses wrong labels.
        settings: what is cut out.
    """

    def __init__(self, objects: ObjectsDecoder, settings: CropSettings):
        side = settings.sizes[0]
        channels = objects.objects_format.channels
        super().__init__(ImageFormat(side, side, channels), objects.num_classes, objects.skip_corrupt)
        self.objects = objects
        self.settings = settings

    def __call__(self, example: ObjectsExample, draw: np.ndarray | None = None) -> dict[str, Any]:
        s = self.settings
        rng = generator(np.zeros(2, np.uint32) if draw is None else draw)
        example = learnable(example)
        for label in example["labels"]:
            self.check_label(int(label))
        if s.of == "windows":
            windows = self.objects.windows(example["image"])
            options = {"count": s.count, "positives": s.positives, "positive_iou": s.positive_iou}
            boxes, labels = sample_windows(rng, windows, example["boxes"], example["labels"], **options)
        else:
            rows = _draw(rng, np.arange(len(example["labels"])), s.count)
            boxes, labels = np.zeros((s.count, 4), np.float32), np.full(s.count, -1, np.int32)
            boxes[: len(rows)], labels[: len(rows)] = example["boxes"][rows], example["labels"][rows]
        # The first word of a draw is the same for all of an epoch.
        size = s.sizes[0 if draw is None else int(draw[0]) % len(s.sizes)]
        images = np.zeros((s.count, size, size, example["image"].shape[-1]), np.uint8)
        turned = rng.random(s.count) < 0.5 * (s.mirror and draw is not None)
        for i in np.flatnonzero(labels >= 0):
            crop = s.cut(example["image"], boxes[i], size)
            images[i] = crop[:, ::-1] if turned[i] else crop
        return {"image": images, "label": labels, "mask": np.bool_(True)}

    def blank(self) -> dict[str, Any]:
        count = self.settings.count
        image = np.zeros((count, *self.format.shape), np.uint8)
        return {"image": image, "label": np.full(count, -1, np.int32), "mask": np.bool_(False)}

    def stack(self, decoded: Iterable[dict[str, Any]], count: int) -> dict[str, np.ndarray]:
        """As `Decoder.stack`, in the size that the examples have."""
        rows = [(index, row) for index, row in enumerate(decoded) if row["mask"]]
        blank = self.blank()
        shape = rows[0][1]["image"].shape if rows else blank["image"].shape
        arrays = {
            "image": np.zeros((count, *shape), np.uint8),
            "label": np.tile(blank["label"], (count, 1)),
            "mask": np.zeros(count, bool),
        }
        for index, row in rows:
            for key, value in row.items():
                arrays[key][index] = value
        return arrays

    @property
    def varies(self) -> bool:
        return True


def learnable(example: ObjectsExample) -> ObjectsExample:
    """The example with the objects that are learnt from: not difficult, no crowd, cut off at the edges of the image."""
    rows, columns = example["image"].shape[:2]
    example = cropped(example, Window(0, 0, columns, rows))
    kept = ~example["difficult"] & ~example["crowd"] & (area(example["boxes"]) > 0)
    boxes, labels, difficult, crowd = (example[key][kept] for key in ("boxes", "labels", "difficult", "crowd"))
    return {"image": example["image"], "boxes": boxes, "labels": labels, "difficult": difficult, "crowd": crowd}


# --- The run ---------------------------------------------------------------------------------------------------------


def resolve(recipe: CropRecipe, source: Source) -> RunConfig:
    """What the recipe leaves to the backbone and the dataset."""
    if recipe.model not in BACKBONES:
        raise UnknownName("backbone", recipe.model, BACKBONES)
    preprocessing = recipe.preprocessing or model_info(BACKBONES[recipe.model].model).preprocessing
    check_preprocessing(preprocessing)
    if preprocessing in FITTED:
        raise InvalidArgument(f"{preprocessing} is fitted to whole images, not to crops: give tf or torch")
    side = recipe.crops.sizes[0]
    return RunConfig(recipe, ImageFormat(side, side, source.image_shape[-1]), None, preprocessing, source.classes)


def crop_recipe(config: RunConfig) -> CropRecipe:
    assert isinstance(config.recipe, CropRecipe)
    return config.recipe


def crop_decoder(config: RunConfig) -> CropDecoder:
    """Cuts crops out of the images of a run."""
    recipe, classes = crop_recipe(config), len(config.classes)
    search = search_of(recipe) if recipe.crops.of == "windows" else None
    canvas = recipe.format_of(config.image_format.channels)
    return CropDecoder(ObjectsDecoder(canvas, classes, recipe.skip_corrupt, search=search), recipe.crops)


def crop_inputs(loader: Loader, config: RunConfig) -> InputFn:
    """`(resident, batch of the loader) -> batch of the step`, in which each crop is an example."""
    to_inputs: Callable[[jax.Array], jax.Array] = config.inputs

    def input_fn(resident: Any, batch: Any) -> Any:
        batch = loader.fetch(resident, batch)
        images, labels = batch["image"], batch["label"]
        there = batch["mask"][:, None] & (labels >= 0)
        return {
            "image": to_inputs(images.reshape(-1, *images.shape[2:])),
            "label": jnp.maximum(labels, 0).reshape(-1),
            "mask": there.reshape(-1),
        }

    return input_fn


def crop_loss(recipe: CropRecipe) -> LossFn:
    """Cross-entropy."""
    del recipe
    return classification_loss()


def crop_evaluator(
    config: RunConfig, model: PyramidNetwork, source: Source, split: str, *, decoder: Decoder, mesh: Mesh
) -> Evaluate:
    """`evaluate(variables)` of crops of a split: loss and accuracy."""
    recipe = config.recipe
    batch_size = -(-recipe.batch_size // mesh.size) * mesh.size
    loader = make_loader(
        source.examples(split), decoder, batch_size, train=False, resident=False, rows=own_rows(mesh, batch_size)
    )
    network: Any = model
    step = make_eval_step(network, classification_loss())
    return make_evaluate(step, loader, crop_inputs(loader, config), mesh)


CROPS = Task(CropRecipe, "accuracy", resolve, crop_decoder, build_network, crop_loss, crop_inputs, crop_evaluator)


class CropRun(TaskRun[Trained]):
    """The run folder of a classifier of crops."""

    task = CROPS
