"""Batches, in an order that depends on nothing but the seed, the epoch and the position in it.

A loader gives batches in two steps. On the host it makes what differs from batch to batch: for a set that lives on the
device that is a list of indices, for any other the decoded images. `fetch`, a pure function that belongs into the
compiled step, then makes the batch `{"image", "label", "mask"}` of it. Both kinds of loader give the same batches.
A training batch also has a `draw` for each example, the key of what is random about it (see `augmentation`).
"""

import copy
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import jax.numpy as jnp
import numpy as np

from xxnet_jax.data.images import Fit, fit_image, with_channels
from xxnet_jax.data.source import Example, Examples, IndexedExamples
from xxnet_jax.errors import CorruptData, InvalidArgument

Batch = dict[str, Any]

RESIDENT_LIMIT = 2 * 1024**3  # bytes of decoded images that may live on the device
SHUFFLE_BUFFER = 10_000  # examples of a stream that are mixed


@dataclass(frozen=True)
class ImageFormat:
    """What every image becomes on the host: uint8 [height, width, channels]; `fit` as in `fit_image`."""

    height: int
    width: int
    channels: int
    fit: Fit = "resize"

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return fit_image(with_channels(image, self.channels), self.height, self.width, self.fit)

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.height, self.width, self.channels)


class Decoder:
    """Reads examples in the wanted format; refuses wrong labels, and names corrupt images or counts them.

    Attributes:
        skipped: messages of the corrupt images met so far, when they are skipped.
    """

    def __init__(self, image_format: ImageFormat, num_classes: int, skip_corrupt: bool = False):
        self.format = image_format
        self.num_classes = num_classes
        self.skip_corrupt = skip_corrupt
        self.skipped: set[str] = set()

    def __call__(self, example: Example) -> dict[str, Any]:
        """uint8 image, int32 label, mask True."""
        label = example["label"]
        if not 0 <= label < self.num_classes:
            raise CorruptData(
                f"an example has label {label}; with {self.num_classes} classes "
                f"labels must be in 0..{self.num_classes - 1}"
            )
        image = self.format(example["image"])
        return {"image": image, "label": np.int32(label), "mask": np.bool_(True)}

    def read(self, examples: IndexedExamples, index: int) -> dict[str, Any]:
        """Example `index`; a corrupt one is an error, or masked if corrupt images are skipped."""
        try:
            example = examples[index]
        except CorruptData as error:
            return self._masked(error)
        return self(example)

    def read_all(self, examples: Examples) -> Iterator[dict[str, Any]]:
        """Every example in order."""
        if isinstance(examples, IndexedExamples):
            return (self.read(examples, index) for index in range(len(examples)))
        return (self(example) for example in examples)

    def stack(self, decoded: Iterable[dict[str, Any]], count: int) -> dict[str, np.ndarray]:
        """Up to `count` decoded examples as arrays: image uint8 [count, height, width, channels], label int32 [count],
        mask bool [count]; the rest is masked zeros."""
        arrays = {
            "image": np.zeros((count, *self.format.shape), np.uint8),
            "label": np.zeros(count, np.int32),
            "mask": np.zeros(count, bool),
        }
        for index, example in enumerate(decoded):
            for key, value in example.items():
                arrays[key][index] = value
        return arrays

    def _masked(self, error: CorruptData) -> dict[str, Any]:
        if not self.skip_corrupt:
            raise error
        self.skipped.add(str(error))
        image = np.zeros(self.format.shape, np.uint8)
        return {"image": image, "label": np.int32(0), "mask": np.bool_(False)}


def permutation(size: int, seed: int, epoch: int) -> np.ndarray:
    """The order of `size` examples in an epoch, int32 [size]; the same for the same arguments, everywhere."""
    return np.random.default_rng((seed, epoch)).permutation(size).astype(np.int32)


def draws(seed: int, epoch: int, places: np.ndarray) -> np.ndarray:
    """A Threefry key for the example at each of `places` in an epoch, uint32 [places, 2]."""
    word = np.random.SeedSequence((seed, epoch)).generate_state(1)[0]
    return np.stack([np.full(len(places), word), places.astype(np.uint32)], axis=1)


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

    def batches(self, start: int = 0) -> Iterator[Batch]:
        """Batch number `start` and those after it: without end for training, one epoch for evaluation.

        Batch `n` is batch `n % batches_per_epoch` of epoch `n // batches_per_epoch`.
        """
        if not self.train:
            yield from self.epoch_batches(0, start)
            return
        first_epoch, skip = divmod(start, self.batches_per_epoch)
        for epoch in itertools.count(first_epoch):
            count = skip
            for batch in self.epoch_batches(epoch, skip):
                places = count * self.batch_size + self.rows
                yield batch | {"draw": draws(self.seed, epoch, places)}
                count += 1
            if count < self.batches_per_epoch:
                raise CorruptData(
                    f"epoch {epoch} of the training split gave {count} batches of {self.batches_per_epoch}: "
                    "it has fewer examples than it says"
                )
            skip = 0

    @abstractmethod
    def epoch_batches(self, epoch: int, skip: int) -> Iterator[Batch]:
        """The host's part of the batches of an epoch, without the first `skip`."""

    @property
    @abstractmethod
    def resident(self) -> Any:
        """Arrays that should live on the device, for `fetch`."""

    @staticmethod
    @abstractmethod
    def fetch(resident: Any, batch: Batch) -> Batch:
        """`{"image": uint8 [batch, h, w, c], "label": int32 [batch], "mask": bool [batch]}`; pure.

        In training also `"draw": uint32 [batch, 2]`.
        """

    def index_groups(self, epoch: int, skip: int) -> list[np.ndarray]:
        """The indices of this process's rows of each batch of an epoch, without the first `skip` batches.

        int32 [up to rows]; the last batch of an evaluation may have fewer.
        """
        order = np.arange(self.num_examples, dtype=np.int32)
        if self.train:
            order = permutation(self.num_examples, self.seed, epoch)
        starts = range(skip * self.batch_size, self.batches_per_epoch * self.batch_size, self.batch_size)
        return [order[start + self.rows[start + self.rows < self.num_examples]] for start in starts]


class ResidentLoader(Loader):
    """Batches of a set that is decoded once and lives on the device; a batch from the host is its indices."""

    def __init__(self, arrays: dict[str, np.ndarray], batch_size: int, **options: Any):
        super().__init__(len(arrays["label"]), batch_size, **options)
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

    def epoch_batches(self, epoch: int, skip: int) -> Iterator[Batch]:
        for index in self.index_groups(epoch, skip):
            padding = len(self.rows) - len(index)
            yield {
                "index": np.pad(index, (0, padding)),
                "mask": np.pad(np.ones(len(index), bool), (0, padding)),
            }


class HostLoader(Loader):
    """Batches that are decoded on the host while the device computes.

    Args:
        examples: of the split; batches of indexed ones are read by a pool of threads (grain), streamed ones in order,
            mixed by a buffer of `SHUFFLE_BUFFER` examples.
        decoder: of each example.
        threads: that read, each a batch ahead of the step.
    """

    def __init__(
        self,
        examples: Examples,
        decoder: Decoder,
        batch_size: int,
        threads: int = 4,
        **options: Any,
    ):
        super().__init__(len(examples), batch_size, **options)
        self.examples = examples
        self.decoder = decoder
        self.threads = threads

    @property
    def resident(self) -> tuple[()]:
        return ()

    @staticmethod
    def fetch(resident: Any, batch: Batch) -> Batch:
        del resident
        return batch

    def epoch_batches(self, epoch: int, skip: int) -> Iterator[Batch]:
        if isinstance(self.examples, IndexedExamples):
            return self._indexed_batches(self.examples, epoch, skip)
        return self._streamed_batches(epoch, skip)

    def _indexed_batches(self, examples: IndexedExamples, epoch: int, skip: int) -> Iterator[Batch]:
        import grain

        def read(group: np.ndarray) -> Batch:
            return self.decoder.stack((self.decoder.read(examples, int(index)) for index in group), len(self.rows))

        options = grain.ReadOptions(num_threads=self.threads, prefetch_buffer_size=self.threads)
        return iter(grain.MapDataset.source(self.index_groups(epoch, skip)).map(read).to_iter_dataset(options))

    def _streamed_batches(self, epoch: int, skip: int) -> Iterator[Batch]:
        decoded = self.decoder.read_all(self.examples)
        if self.train:
            decoded = _mixed(decoded, np.random.default_rng((self.seed, epoch)))
        stop = min(self.batches_per_epoch * self.batch_size, self.num_examples)
        decoded = itertools.islice(decoded, skip * self.batch_size, stop)
        while group := list(itertools.islice(decoded, self.batch_size)):
            yield self.decoder.stack((group[row] for row in self.rows if row < len(group)), len(self.rows))


def _mixed(stream: Iterator[Any], rng: np.random.Generator) -> Iterator[Any]:
    """The items of a stream, shuffled within a buffer."""
    buffer = list(itertools.islice(stream, SHUFFLE_BUFFER))
    for item in stream:
        chosen = int(rng.integers(len(buffer)))
        yield buffer[chosen]
        buffer[chosen] = item
    rng.shuffle(buffer)
    yield from buffer


def make_loader(
    examples: Examples,
    decoder: Decoder,
    batch_size: int,
    *,
    train: bool,
    seed: int = 0,
    resident: bool | None = None,
    rows: np.ndarray | None = None,
) -> Loader:
    """The loader that suits a split: on the device when it fits, else from the host.

    Args:
        examples: of the split.
        decoder: of each example.
        batch_size: over all devices.
        train: shuffled and without end, or in order and once.
        seed: of the order.
        resident: True or False decides; None: when the decoded images take less than `RESIDENT_LIMIT` bytes.
        rows: of each batch that this process makes; by default all.
    """
    if resident is None:
        resident = len(examples) * int(np.prod(decoder.format.shape)) <= RESIDENT_LIMIT
    if resident:
        arrays = decoder.stack(decoder.read_all(examples), len(examples))
        return ResidentLoader(arrays, batch_size, train=train, seed=seed, rows=rows)
    return HostLoader(examples, decoder, batch_size, train=train, seed=seed, rows=rows)
