"""Batches, in an order that depends on nothing but the seed, the epoch and the position in it.

A loader gives batches in two steps. On the host it makes what differs from batch to batch: for a set that lives on the
device that is a list of indices, for any other the decoded images. `fetch`, a pure function that belongs into the
compiled step, then makes the batch of it, `{"image", "label", "mask"}` or what else the decoder makes of an example
(see `objects`). All kinds of loaders give the same batches. A training batch also has a `draw` for each example, the
key of what is random about it (see `augmentation`, `crops`).
"""

import copy
import functools
import itertools
import os
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import jax.numpy as jnp
import numpy as np

from xxnet_jax.data.crops import Crop
from xxnet_jax.data.images import Fit, cut, fit_image, with_channels
from xxnet_jax.data.pool import in_order
from xxnet_jax.data.source import Examples, IndexedExamples
from xxnet_jax.errors import CorruptData, InvalidArgument

Batch = dict[str, Any]

RESIDENT_LIMIT = 2 * 1024**3  # bytes of decoded images that may live on the device
SHUFFLE_BUFFER = 10_000  # examples of a stream that are mixed, at most ...
SHUFFLE_BYTES = 512 * 1024**2  # ... and their images, but for the last


@dataclass(frozen=True)
class ImageFormat:
    """What every image becomes on the host: uint8 [height, width, channels].

    `fit` and `shorter_side` as in `fit_image`; a window of a training image is resized instead.
    """

    height: int
    width: int
    channels: int
    fit: Fit = "resize"
    shorter_side: int | None = None

    def __call__(self, image: np.ndarray, window: tuple[float, float, float, float] | None = None) -> np.ndarray:
        image = with_channels(image, self.channels)
        if window is not None:
            return cut(image, window, self.height, self.width)
        return fit_image(image, self.height, self.width, self.fit, self.shorter_side)

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.height, self.width, self.channels)


class Decoder:
    """Reads examples in the wanted format; refuses wrong labels, and names corrupt images or counts them.

    Args:
        image_format: wanted.
        num_classes: of the labels.
        skip_corrupt: leave corrupt images out.
        crop: chooses the window of an example that has a draw.

    Attributes:
        skipped: messages of the corrupt images met so far, when they are skipped.

    A decoder of other examples is a subclass with its own `__call__`, `blank` and `varies`; where batches have
    different shapes, also with its own `varies_by_batch` and `of_batch`.
    """

    def __init__(
        self, image_format: ImageFormat, num_classes: int, skip_corrupt: bool = False, crop: Crop | None = None
    ):
        self.format = image_format
        self.num_classes = num_classes
        self.skip_corrupt = skip_corrupt
        self.crop = crop
        self.skipped: set[str] = set()

    def __call__(self, example: Any, draw: np.ndarray | None = None) -> dict[str, Any]:
        """uint8 image, int32 label, mask True of an `Example`; `draw`, uint32 [2], decides the window."""
        self.check_label(example["label"])
        window = None
        if self.crop is not None and draw is not None:
            window = self.crop(generator(draw), example["image"].shape[:2], (self.format.height, self.format.width))
        image = self.format(example["image"], window)
        return {"image": image, "label": np.int32(example["label"]), "mask": np.bool_(True)}

    def blank(self) -> dict[str, Any]:
        """What stands for an example that is not there: zeros, of the shapes and kinds that examples have."""
        return {"image": np.zeros(self.format.shape, np.uint8), "label": np.int32(0), "mask": np.bool_(False)}

    @property
    def varies(self) -> bool:
        """Whether an example is not the same for each draw."""
        return self.crop is not None

    @property
    def varies_by_batch(self) -> bool:
        """Whether training batches are decoded each in its own way, see `of_batch`."""
        return False

    def of_batch(self, number: int, seed: int) -> "Decoder":
        """The decoder of the examples of training batch `number`: this one, unless batches differ."""
        del number, seed
        return self

    def check_label(self, label: int) -> None:
        """Refuse a label that is none of the classes."""
        if not 0 <= label < self.num_classes:
            raise CorruptData(
                f"an example has label {label}; with {self.num_classes} classes "
                f"labels must be in 0..{self.num_classes - 1}"
            )

    def read(self, examples: IndexedExamples[Any], index: int, draw: np.ndarray | None = None) -> dict[str, Any]:
        """Example `index`; a corrupt one is an error, or masked if corrupt images are skipped."""
        try:
            example = examples[index]
        except CorruptData as error:
            return self._masked(error)
        return self(example, draw)

    def read_all(self, examples: Examples[Any]) -> Iterator[dict[str, Any]]:
        """Every example in order."""
        if isinstance(examples, IndexedExamples):
            return (self.read(examples, index) for index in range(len(examples)))
        return (self(example) for example in examples)

    def stack(self, decoded: Iterable[dict[str, Any]], count: int) -> dict[str, np.ndarray]:
        """Up to `count` decoded examples as arrays: image uint8 [count, height, width, channels], label int32 [count],
        mask bool [count], or what other keys they have; the rest is masked zeros."""
        arrays = {
            key: np.zeros((count, *np.shape(value)), np.asarray(value).dtype) for key, value in self.blank().items()
        }
        for index, example in enumerate(decoded):
            for key, value in example.items():
                arrays[key][index] = value
        return arrays

    def _masked(self, error: CorruptData) -> dict[str, Any]:
        if not self.skip_corrupt:
            raise error
        self.skipped.add(str(error))
        return self.blank()


@functools.lru_cache(maxsize=4)
def permutation(size: int, seed: int, epoch: int) -> np.ndarray:
    """The order of `size` examples in an epoch, int32 [size]; the same for the same arguments, everywhere."""
    order = np.random.default_rng((seed, epoch)).permutation(size).astype(np.int32)
    order.flags.writeable = False
    return order


def draws(seed: int, epoch: int, places: np.ndarray) -> np.ndarray:
    """A Threefry key for the example at each of `places` in an epoch, uint32 [places, 2]."""
    word = np.random.SeedSequence((seed, epoch)).generate_state(1)[0]
    return np.stack([np.full(len(places), word), places.astype(np.uint32)], axis=1)


def generator(draw: np.ndarray) -> np.random.Generator:
    """Random numbers of the host that belong to a draw, uint32 [2]."""
    return np.random.Generator(np.random.Philox(key=draw.astype(np.uint64)))


class Share(NamedTuple):
    """What one process reads of a batch; the last batch of an evaluation may have fewer than others.

    Attributes:
        indices: of the examples, int32 [up to rows].
        draws: of the examples, uint32 [up to rows, 2]; None in evaluation.
    """

    indices: np.ndarray
    draws: np.ndarray | None


class Loader(ABC):
    """Batches of one split.

    For training, epochs are shuffled, each by its own permutation; the examples that do not fill a last batch are left
    to the next epoch's permutation. For evaluation the order is fixed, and the last batch is padded and masked: every
    example counts once.

    Args:
        num_examples: in the split.
        batch_size: examples in a batch, over all devices.
        train: as said above.
        seed: of the permutations.
        rows: numbers of the examples of a batch that this process makes, ascending; by default all.

    Attributes:
        batches_per_epoch: number of batches.
    """

    def __init__(
        self, num_examples: int, batch_size: int, *, train: bool, seed: int = 0, rows: np.ndarray | None = None
    ):
        if batch_size < 1:
            raise InvalidArgument(f"the batch size must be positive, got {batch_size}")
        if num_examples < 1:
            raise InvalidArgument("the split has no examples")
        if train and batch_size > num_examples:
            raise InvalidArgument(
                f"the batch size {batch_size} is larger than the training split of {num_examples} examples"
            )
        self.num_examples = num_examples
        self.batch_size = batch_size
        self.train = train
        self.seed = seed
        self.rows = np.arange(batch_size) if rows is None else rows
        if train:
            self.batches_per_epoch = num_examples // batch_size
        else:
            self.batches_per_epoch = -(-num_examples // batch_size)

    def with_seed(self, seed: int) -> Self:
        """The same examples in the order of another seed."""
        other = copy.copy(self)
        other.seed = seed
        return other

    def batches(self, start: int = 0) -> Generator[Batch, None, None]:
        """Batch number `start` and those after it: without end for training, one epoch for evaluation.

        Batch `n` is batch `n % batches_per_epoch` of epoch `n // batches_per_epoch`.
        """
        for number, batch in enumerate(self.host_batches(start), start):
            draws = self._draws(number)
            yield batch if draws is None else batch | {"draw": draws}

    @abstractmethod
    def host_batches(self, start: int) -> Iterator[Batch]:
        """The host's part of batch number `start` and those after it, without draws."""

    @property
    @abstractmethod
    def resident(self) -> Any:
        """Arrays that should live on the device, for `fetch`."""

    @staticmethod
    @abstractmethod
    def fetch(resident: Any, batch: Batch) -> Batch:
        """`{"image": uint8 [batch, h, w, c], "label": int32 [batch], "mask": bool [batch]}`; pure.

        In training also `"draw": uint32 [batch, 2]`. Another decoder may have other keys beside image and mask.
        """

    def numbers(self, start: int) -> Iterable[int]:
        """The numbers of the batches from `start` on."""
        return itertools.count(start) if self.train else range(start, self.batches_per_epoch)

    def share(self, number: int) -> Share:
        """What this process reads of batch `number`."""
        epoch, batch = divmod(number, self.batches_per_epoch)
        places = batch * self.batch_size + self.rows
        places = places[places < self.num_examples]
        if not self.train:
            return Share(places.astype(np.int32), None)
        return Share(permutation(self.num_examples, self.seed, epoch)[places], self._draws(number))

    def _draws(self, number: int) -> np.ndarray | None:
        if not self.train:
            return None
        epoch, batch = divmod(number, self.batches_per_epoch)
        return draws(self.seed, epoch, batch * self.batch_size + self.rows)


class ResidentLoader(Loader):
    """Batches of a set that is decoded once and lives on the device; a batch from the host is its indices."""

    def __init__(self, arrays: dict[str, np.ndarray], batch_size: int, **options: Any):
        super().__init__(len(arrays["mask"]), batch_size, **options)
        self._arrays = arrays

    @property
    def resident(self) -> dict[str, np.ndarray]:
        return self._arrays

    @staticmethod
    def fetch(resident: Any, batch: Batch) -> Batch:
        gathered = {key: jnp.take(values, batch["index"], axis=0, mode="clip") for key, values in resident.items()}
        mask = gathered["mask"] & batch["mask"]
        fetched = {
            key: jnp.where(mask.reshape(-1, *[1] * (values.ndim - 1)), values, jnp.zeros((), values.dtype))
            for key, values in gathered.items()
        }
        return fetched | {key: batch[key] for key in batch.keys() - {"index", "mask"}}

    def host_batches(self, start: int) -> Iterator[Batch]:
        for number in self.numbers(start):
            index = self.share(number).indices
            padding = len(self.rows) - len(index)
            yield {
                "index": np.pad(index, (0, padding)),
                "mask": np.pad(np.ones(len(index), bool), (0, padding)),
            }


class HostLoader(Loader):
    """Batches that are decoded on the host while the device computes.

    Args:
        examples: of the split.
        decoder: of each example.
    """

    def __init__(self, examples: Examples[Any], decoder: Decoder, batch_size: int, **options: Any):
        super().__init__(len(examples), batch_size, **options)
        self.examples = examples
        self.decoder = decoder

    @property
    def resident(self) -> tuple[()]:
        return ()

    @staticmethod
    def fetch(resident: Any, batch: Batch) -> Batch:
        del resident
        return batch


class IndexedLoader(HostLoader):
    """Batches of examples that can be read in any order, several batches at a time.

    In memory are at most three batches more than there are threads or processes (one that waits, the one given, the one
    before it), and for each of these a decoded image.

    Args:
        workers: processes that read; 0: threads of this one, one for each core.
    """

    def __init__(
        self, examples: IndexedExamples[Any], decoder: Decoder, batch_size: int, *, workers: int = 0, **options: Any
    ):
        super().__init__(examples, decoder, batch_size, **options)
        self.workers = workers

    def host_batches(self, start: int) -> Iterator[Batch]:
        threads = os.cpu_count() or 1
        for batch, skipped in in_order(self.read, self.numbers(start), processes=self.workers, threads=threads):
            self.decoder.skipped |= skipped
            yield batch

    def read(self, number: int) -> tuple[Batch, set[str]]:
        """The host's part of batch `number`, and messages of the corrupt images that were met so far."""
        assert isinstance(self.examples, IndexedExamples)
        indices, draws = self.share(number)
        drawn = itertools.repeat(None) if draws is None else draws
        decoder = self.decoder.of_batch(number, self.seed) if self.train else self.decoder
        decoded = (decoder.read(self.examples, int(index), draw) for index, draw in zip(indices, drawn, strict=False))
        return decoder.stack(decoded, len(self.rows)), decoder.skipped


class StreamLoader(HostLoader):
    """Batches of examples that can only be read in order; for training they are mixed by a buffer.

    The window of a training example is decided by its place in the stream, before it is mixed.
    """

    def host_batches(self, start: int) -> Iterator[Batch]:
        first_epoch, skip = divmod(start, self.batches_per_epoch)
        for epoch in itertools.count(first_epoch) if self.train else (0,):
            count = skip
            for batch in self._epoch(epoch, skip):
                yield batch
                count += 1
            if count < self.batches_per_epoch:
                raise CorruptData(
                    f"epoch {epoch} of the split gave {count} batches of {self.batches_per_epoch}: it has fewer "
                    "examples than it says"
                )
            skip = 0

    def _epoch(self, epoch: int, skip: int) -> Iterator[Batch]:
        decoded: Iterator[dict[str, Any]] = (
            self.decoder(example, draws(self.seed, epoch, np.array([place]))[0] if self.train else None)
            for place, example in enumerate(self.examples)
        )
        if self.train:
            buffer = min(SHUFFLE_BUFFER, 1 + SHUFFLE_BYTES // int(np.prod(self.decoder.format.shape)))
            decoded = _mixed(decoded, buffer, np.random.default_rng((self.seed, epoch)))
        stop = min(self.batches_per_epoch * self.batch_size, self.num_examples)
        decoded = itertools.islice(decoded, skip * self.batch_size, stop)
        while group := list(itertools.islice(decoded, self.batch_size)):
            yield self.decoder.stack((group[row] for row in self.rows if row < len(group)), len(self.rows))


def _mixed(stream: Iterator[Any], size: int, rng: np.random.Generator) -> Iterator[Any]:
    """The items of a stream, shuffled within a buffer."""
    buffer = list(itertools.islice(stream, size))
    for item in stream:
        chosen = int(rng.integers(len(buffer)))
        yield buffer[chosen]
        buffer[chosen] = item
    rng.shuffle(buffer)
    yield from buffer


def make_loader(
    examples: Examples[Any],
    decoder: Decoder,
    batch_size: int,
    *,
    train: bool,
    seed: int = 0,
    resident: bool | None = None,
    rows: np.ndarray | None = None,
    workers: int = 0,
) -> Loader:
    """The loader that suits a split: on the device when it fits, else from the host.

    Args:
        examples: of the split.
        decoder: of each example.
        batch_size: over all devices.
        train: shuffled and without end, or in order and once.
        seed: of the order.
        resident: True or False decides; None: when the decoded images take less than `RESIDENT_LIMIT` bytes and no
            windows are cut out of them.
        rows: of each batch that this process makes; by default all.
        workers: processes that decode what is not resident; 0: threads of this one.

    Raises:
        ValueError: resident training images of which windows are cut, or a stream whose batches should differ.
    """
    varies = train and decoder.varies
    if resident is None:
        resident = not varies and len(examples) * int(np.prod(decoder.format.shape)) <= RESIDENT_LIMIT
    options: dict[str, Any] = {"train": train, "seed": seed, "rows": rows}
    if resident:
        if varies:
            raise InvalidArgument("windows are cut out of photographs on the host: leave resident out, or at False")
        arrays = decoder.stack(decoder.read_all(examples), len(examples))
        return ResidentLoader(arrays, batch_size, **options)
    if isinstance(examples, IndexedExamples):
        return IndexedLoader(examples, decoder, batch_size, workers=workers, **options)
    if train and decoder.varies_by_batch:
        raise InvalidArgument(
            "the examples of a stream are mixed after they were decoded, so its batches have one size: leave canvases "
            "out, or prepare the dataset as array_record"
        )
    return StreamLoader(examples, decoder, batch_size, **options)
