"""CIFAR-10's cats and dogs as the notes have theirs: in one folder, named cat.0.jpg and dog.1.jpg; two are no images.

    python experiments/checks/pets_in_one_folder.py FOLDER OUT     # FOLDER/train/cat/*, FOLDER/train/dog/*

They are enlarged, bicubic. cat.N.jpg is cut in half and dog.N.jpg is a text, N being the number of cats: a reader has
something to notice.
"""

import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from PIL import Image

sys.path.append(str(Path(__file__).parents[1]))
from script import main

from xxnet_jax.data.images import IMAGE_SUFFIXES
from xxnet_jax.errors import InvalidArgument, MissingData
from xxnet_jax.files import make_folder, write_atomically

PETS = ("cat", "dog")


@dataclass(frozen=True)
class Arguments:
    """Make the folder.

    Attributes:
        cifar: folder of CIFAR-10's images.
        out: the folder.
        images: in all, half of them cats.
        side: of the images.
    """

    cifar: Annotated[Path, tyro.conf.Positional]
    out: Annotated[Path, tyro.conf.Positional]
    images: int = 1000
    side: int = 64


def gather() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    files = {pet: photographs(arguments.cifar / "train" / pet, arguments.images // 2) for pet in PETS}
    make_folder(arguments.out)
    if any(arguments.out.iterdir()):
        raise InvalidArgument(f"{arguments.out} is not empty: name another folder")
    for pet, paths in files.items():
        for number, path in enumerate(paths):
            write_atomically(arguments.out / f"{pet}.{number}.jpg", enlarged(path, arguments.side))
    cat = enlarged(files["cat"][0], arguments.side)
    number = arguments.images // 2
    write_atomically(arguments.out / f"cat.{number}.jpg", cat[: len(cat) // 2])
    write_atomically(arguments.out / f"dog.{number}.jpg", "this is no dog\n")
    print(f"{arguments.out}: {2 * number} photographs, and two files that are none")
    return 0


def photographs(folder: Path, count: int) -> list[Path]:
    """The first images of a folder.

    Raises:
        FileNotFoundError: there are less.
    """
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if len(found) < count:
        raise MissingData(f"{folder} has {len(found)} images, {count} are wanted: expected CIFAR/train/cat/*.jpg")
    return found[:count]


def enlarged(path: Path, side: int) -> bytes:
    """An image file as a square JPEG file."""
    stream = io.BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC).save(stream, format="jpeg", quality=95)
    return stream.getvalue()


if __name__ == "__main__":
    main(gather)
