"""Photographs as people have them, in a folder or in archives: each file is what docs/data.md says of it."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xxnet_jax.data import Decoder, ImageFormat, Source, make_loader, open_source
from xxnet_jax.data import images as data_images
from xxnet_jax.data.prepare import write_shards
from xxnet_jax.errors import CorruptData, InvalidArgument

RED = (200, 40, 30)


@pytest.fixture(autouse=True, params=["simplejpeg", "PIL"])
def decoder_of_jpeg(request, monkeypatch):
    """Who decodes JPEG where it can be chosen changes nothing."""
    if request.param == "PIL":
        monkeypatch.setattr(data_images, "decode_jpeg", None)
    else:
        pytest.importorskip("simplejpeg")


def picture(mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Image.Image:
    return Image.new("RGB", size, RED).convert(mode)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One readable class with everything unusual, one class without an image, two files that are no images."""
    kind = tmp_path / "train" / "Über größen 猫"
    kind.mkdir(parents=True)
    (tmp_path / "train" / "empty").mkdir()
    picture().save(kind / "plain photo.jpg", quality=95)
    picture("CMYK").save(kind / "cmyk.jpg", quality=95)
    picture("L").save(kind / "grey.jpg")
    Image.fromarray(np.full((30, 40), 40_000, np.uint16)).save(kind / "sixteen bits.png")
    frames = [picture(), Image.new("RGB", (40, 30), (0, 0, 255))]
    frames[0].save(kind / "animated.gif", save_all=True, append_images=frames[1:])
    picture(size=(1, 1)).save(kind / "one pixel.png")
    picture().save(kind / "Ñandú 鳥.webp", lossless=True)
    return tmp_path


def opened(folder: Path, scheme: str) -> Source:
    """The folder, or archives of it."""
    source = open_source(f"folder:{folder}")
    if scheme == "folder":
        return source
    write_shards(source, folder / "shards")
    return open_source(f"tar:{folder}/shards")


def names(folder: Path) -> list[str]:
    """Of the files that are looked at, in their order."""
    examples = open_source(f"folder:{folder}").examples("train")
    return [path.name for path, _ in examples.files]  # type: ignore[attr-defined]


def read(folder: Path, scheme: str = "folder") -> dict[str, np.ndarray]:
    """The image of each file."""
    images = (example["image"] for example in opened(folder, scheme).examples("train"))
    return dict(zip(names(folder), images, strict=True))


@pytest.mark.parametrize("scheme", ["folder", "tar"])
def test_what_is_readable_is_read(folder: Path, scheme: str):
    """CMYK keeps its colours, 16 bits become 8, an animation its first frame, one pixel an image; names are free."""
    found = read(folder, scheme)
    assert len(found) == 7
    for name in ("plain photo.jpg", "cmyk.jpg", "animated.gif", "one pixel.png", "Ñandú 鳥.webp"):
        np.testing.assert_allclose(found[name][0, 0].astype(int), RED, atol=4, err_msg=name)
        assert (found[name] == found[name][:1, :1]).mean() > 0.9
    np.testing.assert_array_equal(np.unique(found["sixteen bits.png"]), [round(40_000 / 257)])
    assert np.ptp(found["grey.jpg"], axis=-1).max() == 0
    assert found["one pixel.png"].shape == (1, 1, 3)
    assert all(image.dtype == np.uint8 and image.shape[2] == 3 for image in found.values())


def test_a_class_without_images_keeps_its_number(folder: Path):
    """In a folder; an archive has no empty folders."""
    assert open_source(f"folder:{folder}").classes == ("empty", "Über größen 猫")
    archived = opened(folder, "tar")
    assert archived.classes == ("Über größen 猫",)
    assert {example["label"] for example in archived.examples("train")} == {0}


@pytest.mark.parametrize("scheme", ["folder", "tar"])
def test_unusual_images_fill_a_batch(folder: Path, scheme: str):
    """Each of them becomes the size that a network takes."""
    source = opened(folder, scheme)
    decoder = Decoder(ImageFormat(8, 8, 3), source.num_classes)
    (batch,) = make_loader(source.examples("train"), decoder, 7, train=False, resident=False).batches()
    assert batch["mask"].all()
    reds = [names(folder).index(name) for name in ("cmyk.jpg", "one pixel.png", "animated.gif")]
    np.testing.assert_allclose(batch["image"][reds].astype(int), np.broadcast_to(RED, (3, 8, 8, 3)), atol=4)


def test_inverted_cmyk_of_photoshop(tmp_path: Path):
    """JPEGs with Adobe's marker store inverted inks; PIL writes and reads it, the colours come out right."""
    path = tmp_path / "train" / "a" / "1.jpg"
    path.parent.mkdir(parents=True)
    picture("CMYK").save(path, quality=95)
    assert b"Adobe" in path.read_bytes()[:200]
    np.testing.assert_allclose(read(tmp_path)["1.jpg"][5, 5].astype(int), RED, atol=4)


@pytest.mark.parametrize("scheme", ["folder", "tar"])
@pytest.mark.parametrize("bad", ["truncated.jpg", "text.jpg", "empty.jpg"])
def test_what_is_not_is_named(folder: Path, bad: str, scheme: str):
    """A JPEG cut in half, a text by the name of an image, an empty file: an error with its name, or left out by
    `skip_corrupt` and told of; the others are there."""
    kind = folder / "train" / "Über größen 猫"
    half = (kind / "plain photo.jpg").read_bytes()
    content = {"truncated.jpg": half[: len(half) // 2], "text.jpg": b"Dear diary,\n", "empty.jpg": b""}[bad]
    (kind / bad).write_bytes(content)
    examples = opened(folder, scheme).examples("train")
    named = bad if scheme == "folder" else f"{names(folder).index(bad):08}.jpg in .*train-00000-of-00001.tar"
    with pytest.raises(CorruptData, match=f"cannot decode the image .*{named}"):
        list(examples)
    decoder = Decoder(ImageFormat(8, 8, 3), 2, skip_corrupt=True)
    (batch,) = make_loader(examples, decoder, 8, train=False, resident=False).batches()
    assert batch["mask"].sum() == 7
    assert [bool(re.search(named, message)) for message in decoder.skipped] == [True]


def test_classes_by_the_names_of_files(tmp_path: Path):
    """Cats and dogs in one folder, as the notes have them: cat.0.jpg is a cat."""
    for name in ("cat.0.png", "dog.0.png", "cat.1.png", "deep/a dog and a cat.png"):
        path = tmp_path / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(size=(len(name), 4)).save(path)
    source = open_source(f"folder:{tmp_path}?classes=cat,dog")
    assert source.classes == ("cat", "dog")
    labels = sorted((example["image"].shape[1], example["label"]) for example in source.examples("train"))
    assert labels == [(9, 0), (9, 0), (9, 1), (24, 0)]
    picture().save(tmp_path / "train" / "bird.png")
    with pytest.raises(InvalidArgument, match=r"bird.png has none of the classes cat, dog"):
        open_source(f"folder:{tmp_path}?classes=cat,dog")


def test_one_folder_of_named_files_is_divided(tmp_path: Path):
    """Without train and test folders the files of each class are divided by `split`."""
    for number in range(20):
        picture(size=(2, 2)).save(tmp_path / f"{'cat' if number % 2 else 'dog'}.{number}.png")
    source = open_source(f"folder:{tmp_path}?classes=cat,dog&split=0.5,0.2,0.3")
    assert {name: len(split) for name, split in source.splits.items()} == {"train": 10, "validation": 4, "test": 6}
