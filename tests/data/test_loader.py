"""Batches: what is in them, in which order, and after a restart; the three kinds of loader side by side."""

from collections.abc import Iterator
from itertools import islice

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import NamedSharding, PartitionSpec

from xxnet_jax.data import Decoder, ImageFormat, Loader, loader, make_loader
from xxnet_jax.data.loader import HostLoader, ResidentLoader, draws, permutation
from xxnet_jax.data.source import ArrayExamples, Example, StreamedExamples
from xxnet_jax.errors import CorruptData, InvalidArgument

KINDS = ("resident", "indexed", "streamed")
HOST_KINDS = KINDS[1:]
CLASSES = 7
NUMBERS = np.random.default_rng(0).integers(0, 256, (256, 2, 3, 1), np.uint8)
NUMBERS[:, 0, 0, 0] = np.arange(256)  # the first pixel says which example it is
FORMAT = ImageFormat(2, 3, 1)


def make(
    kind: str,
    size: int,
    batch_size: int,
    *,
    train: bool,
    seed: int = 0,
    decoder: Decoder | None = None,
    rows: np.ndarray | None = None,
) -> Loader:
    """A loader of `size` examples; number n has label n % 7."""
    labels = (np.arange(size) % CLASSES).astype(np.int32)
    examples = ArrayExamples(NUMBERS[:size], labels)

    def stream() -> Iterator[Example]:
        return iter(examples)

    return make_loader(
        StreamedExamples(stream, size) if kind == "streamed" else examples,
        decoder or Decoder(FORMAT, CLASSES),
        batch_size,
        train=train,
        seed=seed,
        resident=kind == "resident",
        rows=rows,
    )


def read(loader: Loader, count: int | None = None, start: int = 0) -> list[dict[str, np.ndarray]]:
    """`count` batches from batch `start`, as the compiled step sees them."""
    resident = jax.device_put(loader.resident)
    fetch = jax.jit(loader.fetch)
    return [
        {key: np.asarray(value) for key, value in fetch(resident, batch).items()}
        for batch in islice(loader.batches(start), count)
    ]


def numbers(batches: list[dict[str, np.ndarray]]) -> list[int]:
    """The examples that count, in order."""
    return [int(number) for batch in batches for number in batch["image"][batch["mask"]][:, 0, 0, 0]]


def assert_same_batches(found: list[dict[str, np.ndarray]], expected: list[dict[str, np.ndarray]]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert set(one) == set(other)
        assert set(one) - {"draw"} == {"image", "label", "mask"}
        for key in one:
            assert one[key].dtype == other[key].dtype
            np.testing.assert_array_equal(one[key], other[key])


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8)
@given(size=st.integers(1, 40), batch_size=st.integers(1, 45))
def test_evaluation_counts_every_example_once(kind: str, size: int, batch_size: int):
    """Whatever the batch size: the unmasked examples are the split, in order; only the end of the last batch is
    masked, and all batches have one shape."""
    evaluation = make(kind, size, batch_size, train=False)
    batches = read(evaluation)
    assert len(batches) == evaluation.batches_per_epoch
    for batch in batches:
        assert batch["image"].shape == (batch_size, 2, 3, 1)
        assert batch["image"].dtype == np.uint8
        assert batch["label"].shape == batch["mask"].shape == (batch_size,)
        assert batch["label"].dtype == np.int32
        assert batch["mask"].dtype == np.bool_
    mask = np.concatenate([batch["mask"] for batch in batches])
    assert mask[:size].all()
    assert mask.sum() == size
    assert len(mask) - size < batch_size
    images = np.concatenate([batch["image"] for batch in batches])[mask]
    labels = np.concatenate([batch["label"] for batch in batches])[mask]
    np.testing.assert_array_equal(images, NUMBERS[:size])
    assert labels.tolist() == [number % CLASSES for number in range(size)]


@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_zeros(kind: str):
    """The masked rows that fill the last batch are zeros, whichever loader made it: all give the same batches."""
    last = read(make(kind, 10, 4, train=False))[-1]
    assert last["mask"].tolist() == [True, True, False, False]
    assert not last["image"][2:].any()
    assert not last["label"][2:].any()


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8)
@given(data=st.data(), size=st.integers(1, 40), seed=st.integers(0, 2**31))
def test_an_epoch_of_training_repeats_nothing(kind: str, data: st.DataObject, size: int, seed: int):
    """Each of three epochs gives floor(n / batch) full batches of different examples with their own labels."""
    batch_size = data.draw(st.integers(1, size))
    training = make(kind, size, batch_size, train=True, seed=seed)
    per_epoch = size // batch_size
    assert training.batches_per_epoch == per_epoch
    batches = read(training, 3 * per_epoch)
    for batch in batches:
        assert batch["mask"].all()
        number = batch["image"][:, 0, 0, 0]
        np.testing.assert_array_equal(batch["image"], NUMBERS[number])
        np.testing.assert_array_equal(batch["label"], number % CLASSES)
    for epoch in range(3):
        found = numbers(batches[epoch * per_epoch : (epoch + 1) * per_epoch])
        assert len(found) == len(set(found)) == per_epoch * batch_size
        assert set(found) <= set(range(size))


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_changes_with_epoch_and_seed_alone(kind: str):
    """Two epochs differ, two seeds differ, and the same seed gives the same batches again."""

    def batches(seed: int) -> list[dict[str, np.ndarray]]:
        return read(make(kind, 60, 20, train=True, seed=seed), 6)

    first = batches(1)
    # two of the 60! orders agree by chance never
    assert numbers(first[:3]) != numbers(first[3:])
    assert numbers(first) != numbers(batches(2))
    assert numbers(first[:3]) != list(range(60))
    assert_same_batches(first, batches(1))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=5)
@given(seeds=st.tuples(st.integers(0, 2**31), st.integers(0, 2**31)))
def test_with_seed_changes_the_order_alone(kind: str, seeds: tuple[int, int]):
    """`with_seed` gives the batches of a loader that was made with that seed, the arrays are shared and not copied, and
    the loader itself goes on as before, also in the middle of an epoch."""
    old, new = seeds
    loader = make(kind, 20, 3, train=True, seed=old)
    running = loader.batches()
    begun = [next(running)]
    other = loader.with_seed(new)
    assert_same_batches(read(other, 9), read(make(kind, 20, 3, train=True, seed=new), 9))
    assert_same_batches(read(loader, 9), read(make(kind, 20, 3, train=True, seed=old), 9))
    assert (loader.seed, other.seed, other.batches_per_epoch) == (old, new, loader.batches_per_epoch)
    assert all(one is two for one, two in zip(*map(jax.tree.leaves, (loader.resident, other.resident)), strict=True))
    begun += islice(running, 8)
    for one, two in zip(begun, make(kind, 20, 3, train=True, seed=old).batches(), strict=False):
        for key in one:
            np.testing.assert_array_equal(one[key], two[key])


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8)
@given(data=st.data(), size=st.integers(1, 40), seed=st.integers(0, 1000))
def test_draws_depend_on_seed_epoch_and_place(kind: str, data: st.DataObject, size: int, seed: int):
    """The place in the epoch, not the size of the batches: batches of one give the same draws. Evaluation has none."""
    batch_size = data.draw(st.integers(1, size))
    per_epoch = size // batch_size
    batches = read(make(kind, size, batch_size, train=True, seed=seed), 2 * per_epoch)
    for epoch in range(2):
        found = np.concatenate([batch["draw"] for batch in batches[epoch * per_epoch : (epoch + 1) * per_epoch]])
        np.testing.assert_array_equal(found, draws(seed, epoch, np.arange(per_epoch * batch_size)))
    assert all("draw" not in batch for batch in read(make(kind, size, batch_size, train=False)))


@pytest.mark.parametrize("kind", KINDS)
def test_examples_left_over_by_one_epoch_come_in_others(kind: str):
    """With 10 examples and batches of 4 two are left over; in eight epochs each example is met."""
    found = numbers(read(make(kind, 10, 4, train=True, seed=3), 16))
    assert set(found) == set(range(10))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8)
@given(data=st.data(), size=st.integers(1, 30), seed=st.integers(0, 1000))
def test_starting_at_a_batch_equals_skipping_to_it(kind: str, data: st.DataObject, size: int, seed: int):
    """`batches(start=k)` goes on exactly as a loader that has given k batches, also across borders of epochs."""
    batch_size = data.draw(st.integers(1, size))
    per_epoch = size // batch_size
    start = data.draw(st.integers(0, 3 * per_epoch))
    more = per_epoch + 1  # at least one border
    whole = read(make(kind, size, batch_size, train=True, seed=seed), start + more)
    restored = read(make(kind, size, batch_size, train=True, seed=seed), more, start)
    assert_same_batches(restored, whole[start:])


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_starts_at_a_batch_too(kind: str):
    """An evaluation of 10 examples in batches of 3 goes on after any of its 4 batches."""
    whole = read(make(kind, 10, 3, train=False))
    for start in range(4):
        assert_same_batches(read(make(kind, 10, 3, train=False), start=start), whole[start:])


@settings(max_examples=6)
@given(data=st.data(), size=st.integers(1, 40), seed=st.integers(0, 1000))
def test_resident_and_host_loaders_train_on_the_same_batches(data: st.DataObject, size: int, seed: int):
    """Gathered on the device or read by threads, the batches of two epochs and a bit agree bit by bit."""
    batch_size = data.draw(st.integers(1, size))
    count = 2 * (size // batch_size) + 1
    resident = read(make("resident", size, batch_size, train=True, seed=seed), count)
    indexed = read(make("indexed", size, batch_size, train=True, seed=seed), count)
    assert_same_batches(resident, indexed)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8)
@given(data=st.data(), size=st.integers(12, 40), batch_size=st.integers(1, 12))
def test_processes_share_the_batches(kind: str, train: bool, data: st.DataObject, size: int, batch_size: int):
    """However the rows of a batch are dealt to processes, their parts together are the batches of one process."""
    owner = np.array(data.draw(st.lists(st.integers(0, 2), min_size=batch_size, max_size=batch_size)))
    whole = read(make(kind, size, batch_size, train=train), 4)
    for process in np.unique(owner):
        rows = np.flatnonzero(owner == process)
        part = read(make(kind, size, batch_size, train=train, rows=rows), 4)
        assert_same_batches(part, [{key: values[rows] for key, values in batch.items()} for batch in whole])


@settings(max_examples=6)
@given(size=st.integers(1, 40), batch_size=st.integers(1, 12))
def test_all_loaders_evaluate_the_same_examples(size: int, batch_size: int):
    """In evaluation indexed and streamed batches agree bit by bit, and resident ones wherever they count."""
    resident, indexed, streamed = (read(make(kind, size, batch_size, train=False)) for kind in KINDS)
    assert_same_batches(streamed, indexed)
    for one, other in zip(resident, indexed, strict=True):
        mask = one["mask"]
        np.testing.assert_array_equal(mask, other["mask"])
        for key in ("image", "label"):
            np.testing.assert_array_equal(one[key][mask], other[key][mask])


def test_resident_arrays_work_from_every_device():
    """Replicated over all devices, resident arrays give the batches that they give on one."""
    training = make("resident", 20, 5, train=True)
    devices = jax.make_mesh((jax.device_count(),), ("data",))
    arrays = jax.device_put(training.resident, NamedSharding(devices, PartitionSpec()))
    assert all(len(leaf.sharding.device_set) == jax.device_count() for leaf in jax.tree.leaves(arrays))
    fetch = jax.jit(training.fetch)
    batches = [
        {key: np.asarray(value) for key, value in fetch(arrays, batch).items()}
        for batch in islice(training.batches(), 5)
    ]
    assert_same_batches(batches, read(training, 5))


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_larger_than_the_training_split_is_refused(kind: str):
    """Training on 5 examples in batches of 6 is an error with both numbers; evaluating them is not."""
    with pytest.raises(InvalidArgument, match=r"6 is larger than .* 5 examples"):
        make(kind, 5, 6, train=True)
    assert numbers(read(make(kind, 5, 6, train=False))) == list(range(5))


@pytest.mark.parametrize("batch_size", [0, -4])
@pytest.mark.parametrize("kind", KINDS)
def test_the_batch_size_must_be_positive(kind: str, batch_size: int):
    """A batch of no examples is an error."""
    with pytest.raises(InvalidArgument, match=f"positive, got {batch_size}"):
        make(kind, 5, batch_size, train=False)


@pytest.mark.parametrize("skip_corrupt", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_label_is_refused(kind: str, skip_corrupt: bool):
    """A label beyond the classes is an error that says which labels may be, also when corrupt images are skipped: it
    is the configuration that is wrong, not an image."""
    decoder = Decoder(FORMAT, num_classes=5, skip_corrupt=skip_corrupt)

    def run() -> None:
        read(make(kind, 10, 2, train=False, decoder=decoder))

    with pytest.raises(CorruptData, match=r"label 5.*0\.\.4"):
        run()


def test_a_negative_label_is_refused():
    """TFDS marks the labels of unlabelled test sets by -1; they would count from the last class."""
    example: Example = {"image": NUMBERS[0], "label": -1}
    with pytest.raises(CorruptData, match="label -1"):
        Decoder(FORMAT, CLASSES)(example)


def test_examples_are_brought_into_the_format():
    """A colour image of another size becomes uint8 of the wanted height, width and channels, with an int32 label."""
    example: Example = {"image": np.full((9, 4, 3), 50, np.uint8), "label": 3}
    decoded = Decoder(ImageFormat(5, 6, 1), CLASSES)(example)
    assert decoded["image"].dtype == np.uint8
    np.testing.assert_array_equal(decoded["image"], np.full((5, 6, 1), 50))
    assert (decoded["label"], decoded["label"].dtype) == (3, np.int32)


@settings(max_examples=15)
@given(data=st.data(), size=st.integers(1, 40), buffer=st.integers(1, 45), seed=st.integers(0, 1000))
def test_a_stream_is_mixed_without_loss(data: st.DataObject, size: int, buffer: int, seed: int):
    """Every example comes once per epoch though the buffer may be smaller than the stream, and a restart goes on."""
    batch_size = data.draw(st.sampled_from([divisor for divisor in range(1, size + 1) if size % divisor == 0]))
    per_epoch = size // batch_size
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader, "SHUFFLE_BUFFER", buffer)
        batches = read(make("streamed", size, batch_size, train=True, seed=seed), 2 * per_epoch)
        start = data.draw(st.integers(0, 2 * per_epoch))
        restored = read(make("streamed", size, batch_size, train=True, seed=seed), 2 * per_epoch - start, start)
    for epoch in range(2):
        found = numbers(batches[epoch * per_epoch : (epoch + 1) * per_epoch])
        assert sorted(found) == list(range(size))
    assert_same_batches(restored, batches[start:])


def test_a_stream_is_not_read_further_ahead_than_its_buffer(monkeypatch: pytest.MonkeyPatch):
    """With a buffer of 8, the first batch of 4 is there when a dozen of 100 examples have been read, out of order."""
    monkeypatch.setattr(loader, "SHUFFLE_BUFFER", 8)
    count = 0

    def stream() -> Iterator[Example]:
        nonlocal count
        for number in range(100):
            count += 1
            yield {"image": NUMBERS[number], "label": 0}

    training = make_loader(StreamedExamples(stream, 100), Decoder(FORMAT, 1), 4, train=True, resident=False)
    first = read(training, 1)
    assert count <= 8 + 4 + 1
    assert set(numbers(first)) <= set(range(12))
    assert numbers(read(training, 25)) != list(range(100))


@pytest.mark.parametrize("kind", ["indexed", "streamed"])
def test_a_set_is_resident_as_long_as_it_fits(kind: str, monkeypatch: pytest.MonkeyPatch):
    """Left to decide, `make_loader` puts a set on the device up to `RESIDENT_LIMIT` bytes of images, and no further."""
    examples = make(kind, 10, 2, train=False)
    assert isinstance(examples, HostLoader)
    decoder = Decoder(FORMAT, CLASSES)
    monkeypatch.setattr(loader, "RESIDENT_LIMIT", 10 * 2 * 3 * 1)
    fits = make_loader(examples.examples, decoder, 2, train=False)
    assert isinstance(fits, ResidentLoader)
    assert numbers(read(fits)) == list(range(10))
    monkeypatch.setattr(loader, "RESIDENT_LIMIT", 10 * 2 * 3 * 1 - 1)
    assert isinstance(make_loader(examples.examples, decoder, 2, train=False), HostLoader)


def test_permutations_are_those_of_runs_that_were_saved():
    """The order of an epoch is int32 and what it was when this was written: another would break runs that resume."""
    found = permutation(8, seed=5, epoch=2)
    assert found.dtype == np.int32
    # from NumPy 2.4, which does not promise it to later versions: if this fails, `permutation` must not follow
    assert found.tolist() == [0, 4, 5, 7, 3, 1, 2, 6]
