"""How the papers test: many views of an image, whose class probabilities become one; and several networks as one.

    classifier = Classifier(model, variables, inputs, fit, (224, 224, 3))
    protocol = make_protocol("ten_crop", classifier.image_shape)
    probabilities = predict(classifier, protocol, images)                   # float32 [images, classes]
    ensemble = combine(np.stack([probabilities, others]), "mean")

Views of one size are collected over images into batches, so that what is compiled sees few shapes: two batch sizes of
each size of view, as the last batch is padded to the next power of two. Crops have one size. Where a protocol looks at
the whole photograph ("dense"), the longer side is cut to a multiple of 32 pixels more than the shorter one.
"""

import functools
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax.errors import ScopeParamShapeError

from xxnet_jax.data.images import padded, with_channels
from xxnet_jax.data.pool import in_order
from xxnet_jax.data.source import Example, Examples, IndexedExamples
from xxnet_jax.data.views import centre_crop, googlenet_crops, grid_crops, mirrored, ten_crop, whole
from xxnet_jax.errors import CorruptData, InvalidArgument, UnknownName
from xxnet_jax.models import Network

Combination = Literal["mean", "max", "vote"]
Cut = Callable[[np.ndarray, int, Sequence[int]], list[np.ndarray]]
NOMINAL = 224  # the size for which papers give their scales
AS_TRAINED = "as_trained"


@dataclass(frozen=True)
class Protocol:
    """Which views of an image a network sees.

    Attributes:
        name: of it.
        source: the paper.
        scales: shorter sides of the scaled photograph, in pixels.
        crops: cuts views of the network's size; None: the network is applied to the whole photograph, or, without
            scales, to the one view that it was trained to see.
        mirror: of the whole photograph, also the mirror image.
        multiple_of: the longer side of the whole photograph exceeds the shorter one by a multiple of it; the rest is
            cut off at both ends.
    """

    name: str
    source: str
    scales: tuple[int, ...] = ()
    crops: Cut | None = None
    mirror: bool = False
    multiple_of: int = 32

    @property
    def dense(self) -> bool:
        """Whether the network sees whole photographs, of many shapes."""
        return self.crops is None and bool(self.scales)


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(AS_TRAINED, "the view that the run validates on, or that belongs to the weights"),
        Protocol("centre_crop", "the middle one of ten_crop", (256,), centre_crop),
        Protocol("ten_crop", "Krizhevsky et al., 2012, section 4.1", (256,), ten_crop),
        Protocol("googlenet_144", "Szegedy et al., 2015, section 7", (256, 288, 320, 352), googlenet_crops),
        Protocol("vgg_150", "Simonyan and Zisserman, 2015, section 3.2", (256, 384, 512), grid_crops),
        Protocol("vgg_dense", "Simonyan and Zisserman, 2015, section 3.2", (256,), mirror=True),
        Protocol("vgg_multi_scale", "Simonyan and Zisserman, 2015, section 4.2", (256, 384, 512), mirror=True),
        Protocol("resnet_multi_scale", "He et al., 2015, section 3.4", (224, 256, 384, 480, 640)),
    )
}


def make_protocol(
    name: str, image_shape: tuple[int, int, int], *, scales: Sequence[int] = (), multiple_of: int | None = None
) -> Protocol:
    """A protocol for networks of images of this shape.

    Args:
        name: one of `PROTOCOLS`.
        image_shape: (height, width, channels); papers give scales for 224x224; scales and `multiple_of` of others are
            in proportion.
        scales: shorter sides in pixels in place of the paper's.
        multiple_of: see `Protocol`.

    Raises:
        ValueError: unknown name, a number that makes no sense, or a network of images that are no squares.
    """
    if name not in PROTOCOLS:
        raise UnknownName("protocol", name, PROTOCOLS)
    protocol = PROTOCOLS[name]
    size, width, _ = image_shape
    if protocol.scales and size != width:
        raise InvalidArgument(f"{name} is for networks of square images, this one takes {size}x{width}")
    if scales and not protocol.scales:
        raise InvalidArgument(f"the protocol {name} has no scales: leave them out")
    if any(side < 1 for side in (*scales, 1 if multiple_of is None else multiple_of)):
        raise InvalidArgument(f"scales and multiple_of must be positive, got {tuple(scales)} and {multiple_of}")
    return replace(
        protocol,
        scales=tuple(scales) or tuple(round(side * size / NOMINAL) for side in protocol.scales),
        multiple_of=max(1, round(protocol.multiple_of * size / NOMINAL)) if multiple_of is None else multiple_of,
    )


@dataclass(frozen=True)
class Classifier:
    """A network with its variables, and what its images need.

    Attributes:
        model: the network, with a classifier.
        variables: of it.
        inputs: makes inputs of images [batch, height, width, channels], uint8.
        fit: makes the one view that the network was trained to see of an image, both uint8 [height, width, channels].
        image_shape: (height, width, channels) of that view.
    """

    model: Network
    variables: dict[str, Any]
    inputs: Callable[[jax.Array], jax.Array]
    fit: Callable[[np.ndarray], np.ndarray]
    image_shape: tuple[int, int, int]

    def __call__(self, views: np.ndarray) -> np.ndarray:
        """Class probabilities, float32 [views, classes], of uint8 [views, height, width, channels]."""
        return np.asarray(self._apply(self.variables, views))

    def views(self, protocol: Protocol, image: np.ndarray) -> list[np.ndarray]:
        """The views of uint8 [height, width, channels] that the protocol shows, each uint8 [*, *, channels]."""
        image = with_channels(image, self.image_shape[-1])
        if not protocol.scales:
            return [self.fit(image)]
        if protocol.crops is not None:
            return protocol.crops(image, self.image_shape[0], protocol.scales)
        views = [whole(image, side, protocol.multiple_of) for side in protocol.scales]
        return mirrored(views) if protocol.mirror else views

    def ready_for(self, protocol: Protocol) -> "Classifier":
        """The classifier that sees the views of the protocol: itself, or for whole photographs the dense one.

        Where dense layers see a window of the last map, the scores of all windows are averaged; a network that pools
        any map to that window first does so no more. Where the last map is averaged, it is averaged as a whole.

        Raises:
            ValueError: the parameters are for one size of image.
        """
        if not protocol.dense:
            return self
        classifier = self
        if getattr(self.model, "adaptive_pool", False):
            classifier = replace(self, model=self.model.clone(adaptive_pool=False))
        height, width, channels = self.image_shape
        larger = jax.ShapeDtypeStruct((1, 2 * height, 2 * width, channels), jnp.uint8)
        try:
            jax.eval_shape(classifier._apply, self.variables, larger)
        except ScopeParamShapeError as error:
            raise InvalidArgument(
                f"{type(self.model).__name__} cannot be evaluated densely: its dense layers see a map of one "
                "size. Networks whose dense layers are convolutions can (AlexNet, ZFNet, VGG), and those that end in "
                "the mean of a map (NIN, GoogLeNet, ResNet and later ones). Protocols of crops, such as ten_crop, suit "
                "every network"
            ) from error
        return classifier

    @functools.cached_property
    def _apply(self) -> Callable[..., jax.Array]:
        def probabilities(variables: Any, views: jax.Array) -> jax.Array:
            logits: Any = self.model.apply(variables, self.inputs(views), train=False)
            return jax.nn.softmax(logits)

        return jax.jit(probabilities)


def predict(
    classifier: Classifier,
    protocol: Protocol,
    images: Iterable[np.ndarray],
    *,
    views: Combination = "mean",
    batch_size: int = 32,
) -> np.ndarray:
    """Class probabilities, float32 [images, classes], of uint8 images [height, width, channels] of any size.

    Args:
        classifier: the network.
        protocol: of `make_protocol`.
        images: as said.
        views: how those of an image are combined; see `combine`.
        batch_size: views of the network's size that are looked at together, of others as many as have no more pixels.

    Raises:
        ValueError: the network cannot be tested so, or there is no image.
    """
    classifier = classifier.ready_for(protocol)
    return _predict_views(classifier, (classifier.views(protocol, image) for image in images), views, batch_size)


class Predictions(NamedTuple):
    """Of a split.

    Attributes:
        probabilities: float32 [examples, classes].
        labels: int32 [examples].
        skipped: messages of the corrupt images, which are not among the examples.
    """

    probabilities: np.ndarray
    labels: np.ndarray
    skipped: tuple[str, ...]


def predict_examples(
    classifier: Classifier,
    protocol: Protocol,
    examples: Examples,
    *,
    views: Combination = "mean",
    batch_size: int = 32,
    skip_corrupt: bool = False,
    advance: Callable[[int], object] = lambda number: None,
) -> Predictions:
    """`predict` for a split; its images are read and cut by threads while the device computes.

    Args:
        classifier, protocol, views, batch_size: as for `predict`.
        examples: the split.
        skip_corrupt: leave corrupt images out; examples that can only be read in order have none left out.
        advance: is called with the number of images done since the last call.

    Raises:
        ValueError: the network cannot be tested so, an image is corrupt, or there is none.
    """
    classifier = classifier.ready_for(protocol)
    labels: list[int] = []
    skipped: list[str] = []

    def cut(example: Example) -> tuple[list[np.ndarray], int]:
        return classifier.views(protocol, example["image"]), example["label"]

    def read(index: int) -> tuple[list[np.ndarray], int] | CorruptData:
        assert isinstance(examples, IndexedExamples)
        try:
            return cut(examples[index])
        except CorruptData as error:
            return error

    def found() -> Iterator[list[np.ndarray]]:
        threads = os.cpu_count() or 1
        indexed = isinstance(examples, IndexedExamples)
        results: Iterator[tuple[list[np.ndarray], int] | CorruptData] = (
            in_order(read, range(len(examples)), threads=threads)
            if indexed
            else in_order(cut, examples, threads=threads)
        )
        for result in results:
            if not isinstance(result, CorruptData):
                labels.append(result[1])
                yield result[0]
            elif skip_corrupt:
                skipped.append(str(result))
            else:
                raise result
            advance(1)

    probabilities = _predict_views(classifier, found(), views, batch_size)
    return Predictions(probabilities, np.array(labels, np.int32), tuple(skipped))


def combine(probabilities: np.ndarray, how: Combination) -> np.ndarray:
    """Probabilities of several views, or of several networks, as one: float32 [..., classes].

    Args:
        probabilities: [views or networks, ..., classes].
        how: "mean"; "max": for each class the largest (Szegedy et al., 2015, section 7, found it worse); "vote": the
            class with most first places, equal ones ordered by the mean. The last two are scaled to the sum 1.

    Raises:
        ValueError: unknown way.
    """
    mean = np.mean(probabilities, axis=0, dtype=np.float64)
    match how:
        case "mean":
            found = mean
        case "max":
            found = np.max(probabilities, axis=0).astype(np.float64)
            found /= found.sum(axis=-1, keepdims=True)
        case "vote":
            classes = np.arange(probabilities.shape[-1])
            votes = sum((each.argmax(axis=-1)[..., None] == classes).astype(int) for each in probabilities)
            found = (votes + mean) / (len(probabilities) + 1)  # the mean is less than a vote
        case _:
            raise UnknownName("way to combine probabilities", how, get_args(Combination))
    return np.asarray(found, np.float32)


@dataclass
class _Row:
    """The views of an image for which there are probabilities, until all have them."""

    missing: int
    probabilities: dict[int, np.ndarray] = field(default_factory=dict)


def _predict_views(
    classifier: Classifier, images: Iterable[Sequence[np.ndarray]], how: Combination, batch_size: int
) -> np.ndarray:
    """float32 [images, classes] of the views of each image."""
    if batch_size < 1:
        raise InvalidArgument(f"the batch size must be positive, got {batch_size}")
    if how not in get_args(Combination):
        raise UnknownName("way to combine probabilities", how, get_args(Combination))
    rows: dict[int, _Row] = {}
    done: dict[int, np.ndarray] = {}
    queues: dict[tuple[int, ...], list[tuple[int, int, np.ndarray]]] = defaultdict(list)
    pixels = batch_size * classifier.image_shape[0] * classifier.image_shape[1]

    def look(queue: list[tuple[int, int, np.ndarray]], capacity: int) -> None:
        number = min(capacity, 1 << (len(queue) - 1).bit_length())
        batch = np.stack(padded([view for _, _, view in queue], number))
        for (image, place, _), probabilities in zip(queue, classifier(batch), strict=False):
            row = rows[image]
            row.probabilities[place] = probabilities
            if len(row.probabilities) == row.missing:
                done[image] = combine(np.stack([row.probabilities[n] for n in range(row.missing)]), how)
                del rows[image]
        queue.clear()

    def capacity_of(shape: tuple[int, ...]) -> int:
        return max(1, pixels // (shape[0] * shape[1]))

    for image, views in enumerate(images):
        rows[image] = _Row(len(views))
        for place, view in enumerate(views):
            queue = queues[view.shape]
            queue.append((image, place, view))
            if len(queue) == capacity_of(view.shape):
                look(queue, len(queue))
    for shape, queue in queues.items():
        if queue:
            look(queue, capacity_of(shape))
    if not done:
        raise CorruptData("there is no image to evaluate")
    return np.stack([done[image] for image in range(len(done))])
