"""Folders of image files that the tests draw with PIL."""

import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from xxnet_jax.data import Decoder, ImageFormat, Source, make_loader, open_source
from xxnet_jax.errors import CorruptData, InvalidArgument, MissingData

ORIENTATION = 0x0112  # the EXIF tag
PNG_START = b"\x89PNG\r\n\x1a\n"


def save(path: Path, pixels: np.ndarray | Image.Image, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(path, **options)


def colour(number: int, size: int = 2) -> np.ndarray:
    """An image that is recognized by its pixel."""
    return np.full((size, size, 3), (number % 256, number // 256, 77), np.uint8)


def numbers(source: Source, split: str) -> list[tuple[int, int]]:
    """Number and label of each image."""
    return [
        (int(example["image"][0, 0, 0]) + 256 * int(example["image"][0, 0, 1]), example["label"])
        for example in source.examples(split)
    ]


def read_one(
    tmp_path: Path, pixels: np.ndarray | Image.Image, name: str = "1.png", channels: int = 3, **options: Any
) -> np.ndarray:
    """What `folder:` makes of one file."""
    save(tmp_path / "train" / "a" / name, pixels, **options)
    (example,) = open_source(f"folder:{tmp_path}?channels={channels}").examples("train")
    assert example["image"].dtype == np.uint8
    assert example["image"].ndim == 3
    return example["image"]


def random_pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("validation", ["val", "validation"])
def test_subfolders_are_the_splits(tmp_path: Path, validation: str):
    """Files below train, val or validation, and test are these splits; classes are all that occur, in order of name."""
    save(tmp_path / "train" / "dog" / "1.png", colour(1))
    save(tmp_path / "train" / "ant" / "2.png", colour(2))
    save(tmp_path / "train" / "ant" / "deeper" / "3.PNG", colour(3))
    save(tmp_path / validation / "cat" / "4.bmp", colour(4))
    save(tmp_path / "test" / "dog" / "5.gif", colour(5))
    # neither class nor image
    save(tmp_path / "train" / ".cache" / "6.png", colour(6))
    (tmp_path / "train" / "ant" / "notes.txt").write_text("ants")
    (tmp_path / "train" / "labels.csv").write_text("2,ant")
    source = open_source(f"folder:{tmp_path}")
    assert source.classes == ("ant", "cat", "dog")
    assert source.image_shape == (None, None, 3)
    assert set(source.splits) == {"train", "validation", "test"}
    assert sorted(numbers(source, "train")) == [(1, 2), (2, 0), (3, 0)]
    assert numbers(source, "validation") == [(4, 1)]
    assert numbers(source, "test") == [(5, 2)]


def test_two_folders_of_one_split_are_not_dropped(tmp_path: Path):
    """Where both val and validation are there, their images are joined or refused, but none is left out in silence."""
    save(tmp_path / "val" / "a" / "1.png", colour(1))
    save(tmp_path / "validation" / "a" / "2.png", colour(2))
    try:
        found = sorted(number for number, _ in numbers(open_source(f"folder:{tmp_path}"), "validation"))
    except InvalidArgument:
        return
    assert found == [1, 2]


@settings(max_examples=8)
@given(
    sizes=st.lists(st.integers(1, 25), min_size=1, max_size=3),
    fractions=st.sampled_from([None, (0.8, 0.1, 0.1), (0.5, 0.25, 0.25), (0.6, 0, 0.4), (0, 0, 1)]),
)
def test_fractions_divide_each_class(sizes: list[int], fractions: tuple[float, float, float] | None):
    """Every file is in exactly one split with its class, the same each time and wherever the folder lies, and each
    class is divided by the fractions to within one example."""
    query = "" if fractions is None else "?split=" + ",".join(str(part) for part in fractions)
    divided = []
    for _ in range(2):  # the same files in two places
        with tempfile.TemporaryDirectory() as folder:
            for label, size in enumerate(sizes):
                for index in range(size):
                    save(Path(folder, f"class{label}", f"{index}.bmp"), colour(100 * label + index))
            source = open_source(f"folder:{folder}{query}")
            divided.append({split: numbers(source, split) for split in source.splits})
    assert divided[0] == divided[1]
    found = [pair for part in divided[0].values() for pair in part]
    assert sorted(found) == [(100 * label + i, label) for label, size in enumerate(sizes) for i in range(size)]
    for split, fraction in zip(("train", "validation", "test"), fractions or (0.8, 0.1, 0.1), strict=True):
        counts = Counter(label for _, label in divided[0].get(split, []))
        for label, size in enumerate(sizes):
            assert abs(counts[label] - fraction * size) <= 1


@settings(max_examples=8)
@given(st.lists(st.integers(1, 25), min_size=1, max_size=4))
def test_a_slice_has_its_share_of_every_class(sizes: list[int]):
    """The last images of a split, such as train[-5000:] for validation, are of all classes, to within one of each."""
    with tempfile.TemporaryDirectory() as folder:
        for label, size in enumerate(sizes):
            for index in range(size):
                save(Path(folder, "train", f"class{label}", f"{index}.bmp"), colour(index))
        labels = [label for _, label in numbers(open_source(f"folder:{folder}"), "train")]
    for length in range(len(labels) + 1):
        counts = Counter(labels[len(labels) - length :])
        for label, size in enumerate(sizes):
            assert abs(counts[label] - size * length / len(labels)) <= 1


def test_files_are_not_divided_by_their_order(tmp_path: Path):
    """The split of a class is drawn at random: the test files are not simply the last by name."""
    for index in range(100):
        save(tmp_path / "a" / f"{index:03}.bmp", colour(index))
    test = {number for number, _ in numbers(open_source(f"folder:{tmp_path}"), "test")}
    assert len(test) == 10
    assert test not in ({*range(10)}, {*range(90, 100)})


@pytest.mark.parametrize(
    "split",
    ["", "0.8", "0.5,0.5", "0.5,0.5,0.5", "1.2,-0.1,-0.1", "a,b,c", "0.8,0.1,", "0.4,0.2,0.2,0.2", "nan,nan,nan"],
)
def test_malformed_fractions_say_what_to_write(tmp_path: Path, split: str):
    """`?split=` takes three fractions of sum 1, and says so of anything else."""
    save(tmp_path / "a" / "1.png", colour(1))
    with pytest.raises(InvalidArgument, match=r"three fractions.*0\.8,0\.1,0\.1"):
        open_source(f"folder:{tmp_path}?split={split}")


def test_split_folders_cannot_be_divided_again(tmp_path: Path):
    """`?split=` on a folder that has train and test is an error that says to drop it."""
    save(tmp_path / "train" / "a" / "1.png", colour(1))
    with pytest.raises(InvalidArgument, match="drop"):
        open_source(f"folder:{tmp_path}?split=0.8,0.1,0.1")


@pytest.mark.parametrize("channels", ["0", "2", "4", "", "one"])
def test_channels_must_be_one_or_three(tmp_path: Path, channels: str):
    """Any other number of channels is refused."""
    save(tmp_path / "a" / "1.png", colour(1))
    with pytest.raises(InvalidArgument, match="channels must be 1 or 3"):
        open_source(f"folder:{tmp_path}?channels={channels}")


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp"])
def test_a_colour_image_keeps_its_pixels(tmp_path: Path, suffix: str):
    """A losslessly compressed RGB file is read pixel by pixel."""
    pixels = random_pixels(5, 7, 3)
    options = {"lossless": True} if suffix == "webp" else {}
    np.testing.assert_array_equal(read_one(tmp_path, pixels, f"1.{suffix}", **options), pixels)


def test_a_jpeg_looks_as_it_did(tmp_path: Path):
    """A smooth picture survives JPEG at quality 95 to a few gray levels."""
    ramp = np.linspace(0, 255, 32).astype(np.uint8)
    pixels = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None, :], np.uint8(128)), axis=-1)
    found = read_one(tmp_path, pixels, "1.jpeg", quality=95)
    assert np.abs(found.astype(int) - pixels).max() <= 8


@pytest.mark.parametrize("channels", [1, 3])
def test_a_gray_image_is_gray(tmp_path: Path, channels: int):
    """A mode L file has its pixels in each channel."""
    pixels = random_pixels(4, 6)
    expected = np.stack([pixels] * channels, axis=-1)
    np.testing.assert_array_equal(read_one(tmp_path, pixels, channels=channels), expected)


def test_one_channel_of_a_colour_image_is_pils_gray(tmp_path: Path):
    """`?channels=1` converts as PIL does to mode L."""
    pixels = random_pixels(4, 6, 3)
    expected = np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
    np.testing.assert_array_equal(read_one(tmp_path, pixels, channels=1), expected)
    assert open_source(f"folder:{tmp_path}?channels=1").image_shape == (None, None, 1)


def test_black_and_white_is_0_and_255(tmp_path: Path):
    """A file of one bit per pixel is read as 0 and 255."""
    bits = random_pixels(6, 6) > 127
    np.testing.assert_array_equal(read_one(tmp_path, Image.fromarray(bits), channels=1)[..., 0], bits * 255)


def test_a_palette_image_has_the_colours_of_its_palette(tmp_path: Path):
    """An indexed file is read as the colours that its indices stand for, not as the indices."""
    palette = np.random.default_rng(0).integers(0, 256, (5, 3), np.uint8)
    indices = random_pixels(4, 4) % 5
    picture = Image.fromarray(indices.astype(np.uint8), "L").convert("P")
    picture.putpalette(palette.tobytes())
    picture.putdata(indices.ravel().tolist())
    np.testing.assert_array_equal(read_one(tmp_path, picture), palette[indices])


def test_a_transparent_palette_entry_is_white(tmp_path: Path):
    """The index that a palette declares transparent is white, the others keep their colours."""
    palette = np.array([[10, 20, 30], [200, 100, 50]], np.uint8)
    picture = Image.new("P", (2, 1))
    picture.putpalette(palette.tobytes())
    picture.putpixel((1, 0), 1)
    found = read_one(tmp_path, picture, transparency=1)
    assert found.tolist() == [[[10, 20, 30], [255, 255, 255]]]


@pytest.mark.parametrize("gray", [False, True], ids=["RGBA", "LA"])
def test_transparency_is_laid_over_white(tmp_path: Path, gray: bool):
    """Each pixel is alpha * colour + (1 - alpha) * 255, opaque and invisible pixels exactly."""
    pixels = random_pixels(16, 16, 2 if gray else 4)
    pixels[:4, :, -1] = 255
    pixels[4:8, :, -1] = 0
    alpha = pixels[..., -1:] / 255
    expected = np.broadcast_to(alpha * pixels[..., :-1] + (1 - alpha) * 255, (16, 16, 3))
    found = read_one(tmp_path, Image.fromarray(pixels))
    assert np.abs(found - expected).max() <= 1  # PIL composes in whole numbers
    np.testing.assert_array_equal(found[:4], expected[:4])
    assert (found[4:8] == 255).all()


@pytest.mark.parametrize("suffix", ["png", "tiff"])
@pytest.mark.parametrize("brightest", [65535, 300, 250])
def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path, suffix: str, brightest: int):
    """A 16-bit gray value v becomes v / 257, rounded: 65535 is 255, also in a picture that is dark all over."""
    pixels = np.random.default_rng(0).integers(0, brightest + 1, (8, 8), np.uint16)
    pixels[0, 0] = brightest
    found = read_one(tmp_path, pixels, f"1.{suffix}", channels=1)
    np.testing.assert_array_equal(found[..., 0], np.rint(pixels / 257))


# EXIF orientation -> how the stored rows and columns are turned to stand upright (CIPA DC-008, section 4.6.4)
UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: np.rot90(stored, 2),
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).swapaxes(0, 1),
    8: lambda stored: np.rot90(stored, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_images_stand_upright(tmp_path: Path, orientation: int):
    """The EXIF orientation is applied, as by a viewer."""
    stored = random_pixels(3, 5, 3)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    found = read_one(tmp_path, stored, exif=exif)
    np.testing.assert_array_equal(found, UPRIGHT[orientation](stored))


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (2500, 3000)])
def test_images_of_any_size_are_read(tmp_path: Path, shape: tuple[int, int]):
    """One pixel, lines, and several megapixels are read in their own size."""
    pixels = np.zeros((*shape, 3), np.uint8)
    pixels[-1, -1] = 201
    found = read_one(tmp_path, pixels)
    assert found.shape == (*shape, 3)
    assert found[-1, -1].tolist() == [201] * 3
    assert found.sum(dtype=np.int64) == 603


def damaged_files(folder: Path) -> dict[str, bytes]:
    """Files that cannot be decoded."""
    path = folder / "whole.png"
    save(path, random_pixels(40, 40, 3))
    whole = path.read_bytes()
    path.unlink()
    return {
        "empty.png": b"",
        "text.jpg": b"no image at all",
        "signature.png": PNG_START,
        "truncated.png": whole[: len(whole) // 2],
        "flipped.png": whole[:60] + bytes([whole[60] ^ 255]) + whole[61:],
        "page.gif": b"<html></html>",
    }


@pytest.mark.parametrize("name", ["empty.png", "text.jpg", "signature.png", "truncated.png", "flipped.png", "page.gif"])
def test_a_corrupt_image_is_named(tmp_path: Path, name: str):
    """A file that cannot be decoded is an error with its path, when it is read and not before."""
    path = tmp_path / "train" / "a" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(damaged_files(tmp_path)[name])
    examples = open_source(f"folder:{tmp_path}").examples("train")
    with pytest.raises(CorruptData, match=re.escape(str(path))):
        list(examples)


def test_an_image_with_an_absurd_size_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A damaged header that promises more pixels than PIL agrees to decode is an error with the file's path."""
    save(tmp_path / "train" / "a" / "bomb.png", colour(1, size=10))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)  # an error beyond twice as many
    with pytest.raises(CorruptData, match=r"bomb\.png"):
        list(open_source(f"folder:{tmp_path}").examples("train"))


@pytest.mark.parametrize("resident", [True, False])
def test_the_loader_names_a_corrupt_image(tmp_path: Path, resident: bool):
    """Without `skip_corrupt` a loader stops at a corrupt image with its path, also from a thread that reads ahead."""
    save(tmp_path / "train" / "a" / "1.png", colour(1))
    (tmp_path / "train" / "a" / "2.png").write_bytes(PNG_START)
    examples = open_source(f"folder:{tmp_path}").examples("train")
    decoder = Decoder(ImageFormat(2, 2, 3), 1)

    def read() -> None:
        list(make_loader(examples, decoder, 2, train=False, resident=resident).batches())

    with pytest.raises(CorruptData, match=r"2\.png"):
        read()
    assert decoder.skipped == set()


@pytest.mark.parametrize("resident", [True, False])
def test_skipped_images_are_counted_and_masked(tmp_path: Path, resident: bool):
    """With `skip_corrupt` the others are read, each corrupt one is masked, and its path is in `decoder.skipped`."""
    for index in range(5):
        save(tmp_path / "train" / "a" / f"{index}.png", colour(index + 1))
    for index in (1, 3):
        (tmp_path / "train" / "a" / f"{index}.png").write_bytes(PNG_START)
    examples = open_source(f"folder:{tmp_path}").examples("train")
    decoder = Decoder(ImageFormat(2, 2, 3), 1, skip_corrupt=True)
    loader = make_loader(examples, decoder, 3, train=False, resident=resident)
    for _ in range(2):  # a second pass counts none twice
        batches = [loader.fetch(loader.resident, batch) for batch in loader.batches()]
        mask = np.concatenate([batch["mask"] for batch in batches])
        images = np.concatenate([batch["image"] for batch in batches])
        assert mask.tolist() == [True, False, True, False, True, False]
        assert images[mask][:, 0, 0, 0].tolist() == [1, 3, 5]
        assert len(decoder.skipped) == 2
        for index in (1, 3):
            assert any(str(tmp_path / "train" / "a" / f"{index}.png") in message for message in decoder.skipped)


def test_a_missing_folder_is_named(tmp_path: Path):
    """A folder that does not exist is an error with its path; so is a file in its place."""
    (tmp_path / "file").touch()
    for name in ("nowhere", "file"):
        with pytest.raises(MissingData, match=re.escape(str(tmp_path / name))):
            open_source(f"folder:{tmp_path / name}")


@pytest.mark.parametrize("names", [[], ["a"], ["a", "b/c"], ["train"], ["train/a", "test/a"]])
def test_a_folder_without_images_says_what_was_expected(tmp_path: Path, names: list[str]):
    """Empty folders are an error that shows the layout."""
    for name in names:
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "1.png").write_bytes(b"")  # an image without a class does not count
    with pytest.raises(MissingData, match=r"no images.*CLASS.*train.CLASS"):
        open_source(f"folder:{tmp_path}")
