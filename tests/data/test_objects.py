"""Images with boxes: changes checked against the pixels themselves, fixed shapes, masks, draws, and all loaders."""

import colorsys
import pickle
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from hypothesis import given
from hypothesis import strategies as st

from xxnet_jax.data import ObjectsAugmentation, ObjectsDecoder, ObjectsFormat, make_loader
from xxnet_jax.data.crops import Window
from xxnet_jax.data.loader import Batch, IndexedLoader, draws
from xxnet_jax.data.objects import ObjectsExample, cropped, in_image, make_example, mirrored, with_colours
from xxnet_jax.data.source import IndexedExamples, StreamedExamples
from xxnet_jax.errors import CorruptData, InvalidArgument, UnknownName
from xxnet_jax.losses import Outputs
from xxnet_jax.metrics import Mean
from xxnet_jax.models import Network
from xxnet_jax.training.state import create_state
from xxnet_jax.training.step import make_train_step

FORMAT = ObjectsFormat(32, 40, 3, max_objects=4)
ALL = ObjectsAugmentation(crop=0.5, mirror=0.5, smallest_scale=0.6, largest_scale=1.6)
BOX = st.tuples(*[st.integers(0, 60)] * 4)


def drawing(height: int, width: int, boxes: list[tuple[int, int, int, int]]) -> ObjectsExample:
    """Bright rectangles on black."""
    image = np.zeros((height, width, 3), np.uint8)
    for x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2] = 255
    return make_example(image, boxes, np.arange(len(boxes)) % 3)


def bright(image: np.ndarray) -> np.ndarray:
    """The box around the pixels that are bright, or zeros."""
    rows, columns = np.nonzero(image[..., 0] > 127)
    return np.array(
        [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if len(rows) else [0] * 4, np.float32
    )


@dataclass(frozen=True)
class Drawings(IndexedExamples[ObjectsExample]):
    """Image n has n % 6 objects, of which some have no area or lie outside; number 7 is damaged if so wished."""

    size: int
    damaged: bool = False

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> ObjectsExample:
        if self.damaged and index == 7:
            raise CorruptData("image 7 is damaged")
        rng = np.random.default_rng(index)
        height, width = rng.integers(20, 60, 2)
        number = index % 6
        corners = rng.uniform(-10, 60, (number, 4)).astype(np.float32)
        flags = rng.random((2, number)) < 0.5
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        return make_example(image, corners, rng.integers(0, 3, number), *flags)


def batches(kind: str, count: int | None, start: int = 0, **options) -> list[Batch]:
    """As the compiled step sees them."""
    options = {"size": 13, "batch_size": 4, "train": True, "seed": 7, "augmentation": ALL} | options
    decoder = ObjectsDecoder(FORMAT, 3, options.pop("skip_corrupt", False), options.pop("augmentation"))
    examples = Drawings(options.pop("size"), options.pop("damaged", False))
    loader = make_loader(
        StreamedExamples(lambda: iter(examples), len(examples)) if kind == "streamed" else examples,
        decoder,
        options.pop("batch_size"),
        resident=kind == "resident",
        **options,
    )
    fetch = jax.jit(loader.fetch)
    resident = jax.device_put(loader.resident)
    return [jax.tree.map(np.asarray, fetch(resident, batch)) for batch in islice(loader.batches(start), count)]


def assert_same(found: list[Batch], expected: list[Batch]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert set(one) == set(other)
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


# --- Changes against pixels ------------------------------------------------------------------------------------------


@given(data=st.data(), height=st.integers(1, 60), width=st.integers(1, 60))
def test_mirroring_moves_the_pixels_of_an_object_into_its_box(data: st.DataObject, height: int, width: int):
    """The box of the bright pixels of the mirrored image is the mirrored box; twice is nothing."""
    x1, y1 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    box = (x1, y1, data.draw(st.integers(x1 + 1, width)), data.draw(st.integers(y1 + 1, height)))
    example = drawing(height, width, [box])
    other = mirrored(example)
    np.testing.assert_array_equal(other["boxes"], [bright(other["image"])])
    again = mirrored(other)
    np.testing.assert_array_equal(again["image"], example["image"])
    np.testing.assert_array_equal(again["boxes"], example["boxes"])


@given(data=st.data(), min_visible=st.sampled_from([0, 0.1, 0.3, 0.7, 0.9, 1]))
def test_a_window_keeps_what_is_seen(data: st.DataObject, min_visible: float):
    """Counted in pixels: an object stays if some of it, and at least the wanted part, lies in the window; then its box
    is that of its pixels there, and its label and flags are its own."""
    width, height = data.draw(st.integers(2, 50)), data.draw(st.integers(2, 50))
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    right, bottom = data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height))
    expected = []
    boxes = []
    for number in range(data.draw(st.integers(0, 4))):
        x1, y1 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
        box = (x1, y1, data.draw(st.integers(x1 + 1, width)), data.draw(st.integers(y1 + 1, height)))
        boxes.append(box)
        alone = drawing(height, width, [box])["image"]
        inside = alone[top:bottom, left:right]
        if inside.any() and (inside > 0).sum() / (alone > 0).sum() >= min_visible:
            expected.append((*bright(inside).tolist(), number % 3, number % 2 == 1))
    image = np.zeros((height, width, 3), np.uint8)
    odd = np.arange(len(boxes)) % 2 == 1
    found = cropped(
        make_example(image, boxes, np.arange(len(boxes)) % 3, odd, ~odd),
        Window(left, top, right, bottom),
        min_visible,
    )
    assert found["image"].shape == (bottom - top, right - left, 3)
    rows = zip(found["boxes"].tolist(), found["labels"].tolist(), found["difficult"].tolist(), strict=True)
    assert [(*box, label, difficult) for box, label, difficult in rows] == expected
    np.testing.assert_array_equal(found["crowd"], ~found["difficult"])


@pytest.mark.parametrize("fit", ["letterbox", "corner", "stretch"])
@given(data=st.data(), place=st.integers(0, 2**31), random=st.booleans())
def test_boxes_follow_their_pixels_onto_the_canvas(fit: str, data: st.DataObject, place: int, random: bool):
    """Whatever size the image has, whatever is cut, mirrored and scaled: the box of an object is that of its bright
    pixels on the canvas, to a pixel of the canvas, or of the image where that is enlarged; no pixels, no box."""
    height, width = data.draw(st.integers(8, 90)), data.draw(st.integers(8, 90))
    x1, y1 = data.draw(st.integers(0, width - 6)), data.draw(st.integers(0, height - 6))
    box = (x1, y1, data.draw(st.integers(x1 + 6, width)), data.draw(st.integers(y1 + 6, height)))
    augmentation = ObjectsAugmentation(crop=0.5, mirror=0.5, smallest_scale=0.5, largest_scale=2, min_visible=0)
    canvas = ObjectsFormat(48, 64, 3, max_objects=2, fit=fit)  # type: ignore[arg-type]
    draw = draws(0, 0, np.array([place]))[0] if random else None
    row = ObjectsDecoder(canvas, 3, augmentation=augmentation)(drawing(height, width, [box]), draw)
    tolerance = 0.75 + 0.5 * row["scale"].max()
    if row["object_mask"][0]:
        (x1, y1, x2, y2) = row["boxes"][0]
        if min(x2 - x1, y2 - y1) > 2 * tolerance:  # thinner ones may be too dim
            np.testing.assert_allclose(bright(row["image"]), row["boxes"][0], atol=tolerance)
    else:
        left, top, right, bottom = bright(row["image"])
        assert min(right - left, bottom - top) <= 2
    assert not row["object_mask"][1]
    np.testing.assert_array_equal(row["boxes"][1], 0)


def test_letterbox_of_a_worked_example():
    """640x480 on 416x416, as YOLOv2 does: scaled by .65 to 416x312, 52 lines above and below; a box follows."""
    row = ObjectsDecoder(ObjectsFormat(416, 416, 3, 1, fill=127), 3)(drawing(480, 640, [(100, 40, 200, 240)]))
    np.testing.assert_allclose(row["scale"], 0.65)
    np.testing.assert_array_equal(row["content"], [0, 52, 416, 364])
    np.testing.assert_allclose(row["boxes"], [[65, 78, 130, 208]], rtol=1e-6)
    assert (row["image"][[0, 51, 364, 415]] == 127).all()
    assert not (row["image"][[52, 363]] == 127).any()
    assert row["size"].tolist() == [480, 640]


def test_faster_rcnn_of_a_worked_example():
    """Shorter side 600, longer at most 1000: 375x500 becomes 600x800, 300x900 becomes 333x1000; in the corner."""
    canvas = ObjectsFormat(1000, 1000, 3, 1, fit="corner", shorter_side=600)
    assert canvas.placement((375, 500)) == (600, 800, 0, 0)
    assert canvas.placement((300, 900)) == (333, 1000, 0, 0)
    assert canvas.placement((900, 300)) == (1000, 333, 0, 0)


@pytest.mark.parametrize("fit", ["letterbox", "corner", "stretch"])
@given(height=st.integers(10, 90), width=st.integers(10, 90), boxes=st.lists(BOX, min_size=1, max_size=4))
def test_boxes_come_back_into_the_image(fit: str, height: int, width: int, boxes: list[tuple[int, int, int, int]]):
    """`in_image` undoes the canvas, in NumPy and in JAX: objects inside the image come back to a thousandth pixel."""
    inside = [box for box in boxes if box[0] < box[2] <= width and box[1] < box[3] <= height]
    canvas = ObjectsFormat(50, 70, 3, 4, fit=fit, smallest_box=0)  # type: ignore[arg-type]
    row = ObjectsDecoder(canvas, 3)(drawing(height, width, inside))
    arguments = [row[key][None] for key in ("boxes", "content", "scale", "size")]
    for found in (in_image(*arguments), in_image(*map(jnp.asarray, arguments))):
        assert found.shape == (1, 4, 4)
        np.testing.assert_allclose(found[0, : len(inside)], np.reshape(inside, (-1, 4)), atol=1e-3)
    far = in_image(np.array([[[-999.0, -999, 999, 999]]], np.float32), *arguments[1:])
    np.testing.assert_allclose(far, [[[0, 0, width, height]]])


# --- Fixed shapes ----------------------------------------------------------------------------------------------------


def decoded(boxes: list[tuple[float, ...]], **options) -> dict[str, np.ndarray]:
    return ObjectsDecoder(ObjectsFormat(20, 20, 3, 3, **options), 3)(
        make_example(np.zeros((20, 20, 3), np.uint8), boxes, np.arange(len(boxes)) % 3)
    )


def test_an_image_without_objects():
    """All places are zeros, and none is marked as an object; the image counts."""
    row = decoded([])
    assert row["mask"]
    assert row["num_objects"] == 0
    assert not row["object_mask"].any()
    assert not any(row[key].any() for key in ("boxes", "labels", "difficult", "crowd"))


def test_boxes_outside_and_without_area_are_left_out():
    """Left out: wholly outside, at the edge, without width, upside down, thinner than a pixel; cut off: what reaches
    beyond the edge."""
    row = decoded(
        [(25, 3, 30, 9), (20, 3, 30, 9), (3, 3, 3, 9), (9, 9, 3, 3), (3, 3, 3.5, 9), (-5, 15, 8, 40), (1, 2, 3, 4)]
    )
    assert row["num_objects"] == 2
    assert row["object_mask"].tolist() == [True, True, False]
    assert row["boxes"].tolist() == [[0, 15, 8, 20], [1, 2, 3, 4], [0, 0, 0, 0]]
    assert row["labels"].tolist() == [2, 0, 0]
    assert decoded([(3, 3, 3.5, 9)], smallest_box=0.5)["object_mask"].tolist() == [True, False, False]


def test_of_too_many_objects_the_largest_stay():
    """Of five objects for three places the three largest, in their own order; of equal ones the first."""
    row = decoded([(0, 0, 2, 2), (0, 0, 9, 9), (1, 1, 3, 3), (5, 5, 12, 12), (4, 4, 6, 6)])
    assert row["num_objects"] == 5
    assert row["boxes"].tolist() == [[0, 0, 2, 2], [0, 0, 9, 9], [5, 5, 12, 12]]
    assert row["labels"].tolist() == [0, 1, 0]


def test_shapes_and_kinds():
    """Of a batch, with another one of zeros for an example that is not there."""
    decoder = ObjectsDecoder(FORMAT, 3)
    batch = decoder.stack([decoder(drawing(30, 50, [(3, 4, 20, 25)]))], 2)
    shapes = {key: (values.shape, values.dtype.name) for key, values in batch.items()}
    assert shapes == {
        "image": ((2, 32, 40, 3), "uint8"),
        "boxes": ((2, 4, 4), "float32"),
        "labels": ((2, 4), "int32"),
        "difficult": ((2, 4), "bool"),
        "crowd": ((2, 4), "bool"),
        "object_mask": ((2, 4), "bool"),
        "num_objects": ((2,), "int32"),
        "size": ((2, 2), "int32"),
        "scale": ((2, 2), "float32"),
        "content": ((2, 4), "float32"),
        "mask": ((2,), "bool"),
    }
    assert batch["mask"].tolist() == [True, False]
    assert not any(values[1].any() for values in batch.values())


@pytest.mark.parametrize("label", [-1, 3])
def test_a_wrong_label_is_refused(label: int):
    """The label of any object must be one of the classes."""
    example = make_example(np.zeros((9, 9, 3), np.uint8), [(1, 1, 5, 5), (2, 2, 6, 6)], [0, label])
    with pytest.raises(CorruptData, match=rf"label {label}.*0\.\.2"):
        ObjectsDecoder(FORMAT, 3)(example)


def test_what_makes_no_sense_is_refused():
    """As many labels as boxes; names and numbers of formats and changes."""
    image = np.zeros((9, 9, 3), np.uint8)
    with pytest.raises(InvalidArgument, match="1 boxes"):
        make_example(image, [(1, 1, 5, 5)], [0, 1])
    with pytest.raises(UnknownName, match="letterbox"):
        ObjectsFormat(9, 9, 3, 1, fit="leterbox")  # type: ignore[arg-type]
    for options in ({"height": 0}, {"max_objects": 0}, {"fit": "stretch", "shorter_side": 5}):
        with pytest.raises(InvalidArgument):
            ObjectsFormat(**({"height": 9, "width": 9, "channels": 3, "max_objects": 1} | options))  # type: ignore[arg-type]
    for options in (
        {"exposure": 0.5},
        {"mirror": 1.5},
        {"smallest_area": 0},
        {"smallest_scale": 2},
        {"largest_aspect": 0.5},
    ):
        with pytest.raises(InvalidArgument):
            ObjectsAugmentation(**options)


@pytest.mark.parametrize(("exposure", "saturation"), [(1.5, 1.0), (0.7, 1.3), (1.0, 1 / 1.5), (2.0, 2.0)])
def test_colours_are_changed_as_in_hsv(exposure: float, saturation: float):
    """Value and saturation of each pixel times a factor, at most 1, with the hue as it was: Python's colorsys. Grays
    have no saturation; black stays black; rounded to 8 bits."""
    image = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    image[0, 0], image[0, 1], image[0, 2] = 0, 128, (255, 0, 0)
    found = with_colours(image, exposure, saturation)
    for pixel, changed in zip(image.reshape(-1, 3), found.reshape(-1, 3), strict=True):
        hue, s, v = colorsys.rgb_to_hsv(*(pixel / 255).tolist())
        expected = colorsys.hsv_to_rgb(hue, min(1, saturation * s), min(1, exposure * v))
        np.testing.assert_allclose(changed, 255 * np.array(expected), atol=0.51)
    gray = np.full((2, 2, 1), 100, np.uint8)
    assert with_colours(gray, 1.5, 3.0).tolist() == np.full((2, 2, 1), 150).tolist()


def test_draws_decide_the_colours():
    """One draw gives the same colours, another one others; windows and places are those without colours, and so are
    the boxes; the factors are as often above 1 as below."""
    plain = ObjectsAugmentation(mirror=0.5, smallest_scale=0.8, largest_scale=1.25)
    vivid = replace(plain, exposure=1.5, saturation=1.5)
    example = Drawings(13)[5]
    one, other = (ObjectsDecoder(FORMAT, 3, augmentation=augmentation) for augmentation in (plain, vivid))
    brighter = 0
    for draw in draws(0, 0, np.arange(40)):
        before, after = one(example, draw), other(example, draw)
        np.testing.assert_array_equal(before["boxes"], after["boxes"])
        np.testing.assert_array_equal(after["image"], other(example, draw)["image"])
        assert (before["image"] != after["image"]).any()
        assert not after["image"][(before["image"] == 0).all(-1)].any()
        brighter += after["image"].max(-1).mean() > before["image"].max(-1).mean()
    assert 10 < brighter < 30


# --- Canvases of several sizes ----------------------------------------------------------------------------------------

CANVASES = ((32, 40), (40, 48), (48, 64))


def test_a_canvas_for_ten_batches():
    """Every ten batches another size may come, decided by the seed and the number; objects grow with it; a loader that
    begins in the middle gives the same; evaluation has the format's."""
    decoder = ObjectsDecoder(FORMAT, 3, canvases=CANVASES)
    options: Any = {"batch_size": 2, "seed": 3}
    found = [*islice(make_loader(Drawings(12), decoder, train=True, **options).batches(), 60)]
    sizes = [batch["image"].shape[1:3] for batch in found]
    assert all(len(set(sizes[start : start + 10])) == 1 for start in range(0, 60, 10))
    assert set(sizes) <= set(CANVASES)
    assert len(set(sizes)) > 1
    later = [*islice(make_loader(Drawings(12), decoder, train=True, **options).batches(17), 5)]
    assert_same(later, found[17:22])
    for size in CANVASES:
        number = next(number for number in range(0, 1000, 10) if _size(decoder, number) == size)
        row = decoder.of_batch(number, 3)(drawing(32, 40, [(4, 8, 20, 24)]))
        assert row["image"].shape == (*size, 3)
        np.testing.assert_allclose(bright(row["image"]), row["boxes"][0], atol=1)
    assert all(
        batch["image"].shape[1:3] == (32, 40)
        for batch in make_loader(Drawings(12), decoder, 2, train=False, resident=False).batches()
    )
    stream = StreamedExamples(lambda: iter(Drawings(12)), 12)
    with pytest.raises(InvalidArgument, match="canvases"):
        make_loader(stream, decoder, 2, train=True)
    with pytest.raises(InvalidArgument, match="resident"):
        make_loader(Drawings(12), decoder, 2, train=True, resident=True)


def _size(decoder: ObjectsDecoder, number: int) -> tuple[int, int]:
    canvas = decoder.of_batch(number, 3).objects_format
    return canvas.height, canvas.width


# --- Loaders ---------------------------------------------------------------------------------------------------------


def test_draws_decide_what_is_random():
    """Batches of four and of two give the same rows of an epoch, changed in the same way; another seed does not, and
    two epochs differ."""
    four = batches("indexed", 3, size=12)
    two = batches("indexed", 6, size=12, batch_size=2)
    for key in four[0]:
        one, other = (np.concatenate([batch[key] for batch in found]) for found in (four, two))
        np.testing.assert_array_equal(one, other)
    plain = batches("indexed", 3, size=12, augmentation=ObjectsAugmentation())
    assert any((one["image"] != other["image"]).any() for one, other in zip(four, plain, strict=True))
    more = batches("indexed", 6, size=12)
    first, second = ({row.tobytes() for batch in part for row in batch["image"]} for part in (more[:3], more[3:]))
    assert first != second


@pytest.mark.parametrize("kind", ["indexed", "streamed"])
def test_a_restart_goes_on_with_the_same_batches(kind: str):
    """From any batch of two epochs, also in the middle of one: as if nothing had happened."""
    whole = batches(kind, 6)
    for start in (1, 3, 4):
        assert_same(batches(kind, 6 - start, start), whole[start:])


def test_processes_decode_the_same():
    """What a process is given is the loader's pickled method: it gives the same batches."""
    decoder = ObjectsDecoder(FORMAT, 3, augmentation=ALL)
    loader = make_loader(Drawings(13), decoder, 4, train=True, seed=7)
    assert isinstance(loader, IndexedLoader)
    read = pickle.loads(pickle.dumps(loader.read))
    for number in (0, 4):
        assert_same([read(number)[0]], [loader.read(number)[0]])


@pytest.mark.parametrize("kind", ["resident", "indexed", "streamed"])
def test_evaluation_sees_every_image_once_and_unchanged(kind: str):
    """In order, the last batch padded with zeros; no draws, whatever augmentation there is."""
    found = batches(kind, None, train=False)
    decoder = ObjectsDecoder(FORMAT, 3)
    expected = [decoder(example) for example in Drawings(13)]
    for key in expected[0]:
        together = np.concatenate([batch[key] for batch in found])
        np.testing.assert_array_equal(together[:13], np.stack([row[key] for row in expected]))
        assert not together[13:].any()
    assert "draw" not in found[0]


def test_images_that_change_cannot_live_on_the_device():
    """Training images that differ from draw to draw are decoded anew each time; without changes they may stay."""
    with pytest.raises(InvalidArgument, match="resident"):
        batches("resident", 1)
    assert_same(*(batches(kind, 3, augmentation=None) for kind in ("resident", "indexed")))


def test_a_damaged_image_is_named_or_masked():
    """Image 7 of 13 is an error, or zeros without mask where it is skipped."""
    with pytest.raises(CorruptData, match="image 7"):
        batches("indexed", None, train=False, damaged=True)
    found = batches("indexed", None, train=False, damaged=True, skip_corrupt=True)
    mask = np.concatenate([batch["mask"] for batch in found])
    assert np.flatnonzero(~mask).tolist() == [7, 13, 14, 15]
    assert not any(batch["object_mask"][~batch["mask"]].any() for batch in found)


def test_the_training_step_takes_such_batches():
    """A network that tells the centre of the one object learns it by the step that classifiers use: after 40 steps the
    error is less than half of the first."""

    class Locator(Network):
        @nn.compact
        def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
            del train
            return nn.Dense(2)(jnp.mean(images / 255, axis=-1).reshape(len(images), -1))

    def loss(outputs: Outputs, batch: Batch, rng: jax.Array) -> tuple[jax.Array, dict[str, Mean]]:
        del rng
        centres = (batch["boxes"][..., :2] + batch["boxes"][..., 2:]) / 2 / 16
        errors = jnp.sum((outputs.prediction[:, None] - centres) ** 2, axis=-1) * batch["object_mask"]
        value = Mean.of(jnp.sum(errors, axis=1), batch["mask"])
        return value.value(), {"loss": value}

    @dataclass(frozen=True)
    class Squares(IndexedExamples[ObjectsExample]):
        def __len__(self) -> int:
            return 32

        def __getitem__(self, index: int) -> ObjectsExample:
            x, y = np.random.default_rng(index).integers(0, 11, 2)
            return drawing(16, 16, [(x, y, x + 5, y + 5)])

    decoder = ObjectsDecoder(ObjectsFormat(16, 16, 3, 2), 3, augmentation=ObjectsAugmentation(mirror=0.5))
    model, tx = Locator(), optax.adam(0.01)
    state = create_state(model, tx, (16, 16, 3), seed=0)
    step = jax.jit(make_train_step(model, tx, loss))
    losses = []
    for batch in islice(make_loader(Squares(), decoder, 8, train=True).batches(), 40):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"].value()))
    assert np.mean(losses[-8:]) < 0.5 * losses[0]


@pytest.mark.parametrize("fit", ["letterbox", "corner", "stretch"])
def test_windows_go_where_objects_go(fit: str):
    """A window around the bright pixels of the image that is sought in has, on the canvas, the object's box, whatever
    the draw; of more windows than there is room for the first stay, and none is no error."""
    form = ObjectsFormat(40, 56, 3, 2, fit, max_windows=3)  # type: ignore[arg-type]
    seen = []

    def search(image: np.ndarray) -> np.ndarray:
        seen.append(image.shape)
        return np.stack([bright(image), *np.array([[0, 0, 9, 9], [1, 1, 8, 8], [2, 2, 7, 7]], np.float32)])

    decoder = ObjectsDecoder(form, 3, augmentation=ALL, search=search)
    example = drawing(80, 112, [(30, 20, 76, 60)])
    kept = 0
    for number in range(12):
        row = decoder(example, draws(0, number, np.array([0]))[0])
        assert row["windows"].shape == (3, 4)
        if row["object_mask"][0]:
            assert row["window_mask"][0]
            np.testing.assert_allclose(row["windows"][0], row["boxes"][0], atol=1.5)
            kept += 1
    assert kept > 5
    assert set(seen) == {(40, 56, 3)}
    row = decoder(example)
    assert row["window_mask"].all()
    np.testing.assert_allclose(row["windows"][0], [15, 10, 38, 30], atol=1)
    np.testing.assert_allclose(row["windows"][2], [1, 1, 8, 8])
    none = ObjectsDecoder(form, 3, search=lambda image: np.zeros((0, 4)))(example)
    assert not none["window_mask"].any()
    assert not decoder.blank()["window_mask"].any()
    assert "windows" not in ObjectsDecoder(FORMAT, 3)(example)
    with pytest.raises(InvalidArgument, match="max_windows"):
        ObjectsFormat(40, 56, 3, 2, max_windows=-1)
