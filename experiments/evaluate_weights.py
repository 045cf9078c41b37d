"""Score published weights: top-1 and top-5 accuracy on labelled images.

    python experiments/evaluate_weights.py PHOTOS --model mobilenet_v2.tflite --weights FILE.tflite
    python experiments/evaluate_weights.py folder:CIFAR --model resnet20 --weights FILE.th --preprocessing torch

PHOTOS is a folder of photographs whose names, or those of their folders, begin with a WordNet id (n01440764); a URI
is any dataset of train.py. Classes are matched by id or by name, and by their order where there are as many and no name
fits. Without --split all images of a folder are taken.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from script import counted, main

from xxnet_jax.data import PREPROCESSING, open_source, read_image
from xxnet_jax.data.images import padded
from xxnet_jax.errors import InvalidArgument, UnknownName
from xxnet_jax.files import write_atomically
from xxnet_jax.models import model_info
from xxnet_jax.pretrained import image_files, imagenet_classes, load_network
from xxnet_jax.training.recipe import KnobValue

Labelled = tuple[np.ndarray, int]


@dataclass(frozen=True)
class Arguments:
    """Score weights.

    Attributes:
        data: a folder of photographs, or the URI of a dataset.
        model: a registered network.
        weights: a file, the folder of a run, or imagenet: what is published for the network, downloaded on request.
        split: of a dataset.
        data_dir: folder of prepared TFDS datasets.
        preprocessing: from pixels to inputs; by default the network's.
        model_options: knobs of the network, such as alpha 0.75.
        batch_size: images that are looked at together.
        out: JSON file for the result.
    """

    data: Annotated[str, tyro.conf.Positional]
    model: str
    weights: str
    split: str = "test"
    data_dir: str | None = None
    preprocessing: str | None = None
    model_options: dict[str, KnobValue] = field(default_factory=dict)
    batch_size: int = 32
    out: Path | None = None


def evaluate_weights() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    options: dict[str, Any] = arguments.model_options
    network = load_network(arguments.model, arguments.weights, **options)
    if arguments.preprocessing is not None:
        if arguments.preprocessing not in PREPROCESSING:
            raise UnknownName("preprocessing", arguments.preprocessing, PREPROCESSING)
        network = replace(network, preprocessing=arguments.preprocessing)
    examples, count = labelled(arguments, network.classes)
    top = min(5, len(network.classes) - 1)
    hits = np.zeros(2, int)
    for images, labels in counted(batches(examples, arguments.batch_size), count, arguments.batch_size):
        logits = network.logits(padded(images, min(arguments.batch_size, count)))
        ranking = np.argsort(-logits[: len(images)], axis=1, kind="stable")
        found = ranking == np.array(labels)[:, None]
        hits += found[:, 0].sum(), found[:, :top].any(axis=1).sum()
    result = {
        "model": arguments.model,
        "weights": Path(arguments.weights).name,
        "data": arguments.data,
        "images": count,
        "top1": hits[0] / count,
        f"top{top}": hits[1] / count,
    }
    print(f"top-1 {hits[0] / count:.2%}, top-{top} {hits[1] / count:.2%} of {count:,} images")
    if arguments.out is not None:
        write_atomically(arguments.out, json.dumps(result, indent=2) + "\n")
    return 0


def labelled(arguments: Arguments, classes: tuple[str, ...]) -> tuple[Iterator[Labelled], int]:
    """Images with the network's numbers of their classes, and how many there are."""
    channels = model_info(arguments.model).input_shape[-1]
    if ":" not in arguments.data:
        files = image_files(Path(arguments.data))
        names = [wordnet_id(path) for path in files]
        numbers = numbers_of(names, classes)
        return ((read_image(p, channels), numbers[name]) for p, name in zip(files, names, strict=True)), len(files)
    source = open_source(arguments.data, data_dir=arguments.data_dir)
    numbers = numbers_of(source.classes, classes)
    examples = source.examples(arguments.split)
    return ((x["image"], numbers[source.classes[x["label"]]]) for x in examples), len(examples)


def wordnet_id(path: Path) -> str:
    for name in (path.name, path.parent.name):
        if name[:1] == "n" and name[1:9].isdigit():
            return name[:9]
    raise InvalidArgument(f"neither {path.name} nor its folder begins with a WordNet id, such as n01440764")


def numbers_of(names: list[str] | tuple[str, ...], classes: tuple[str, ...]) -> dict[str, int]:
    """Name of a class in the data -> its number in the network."""
    background = len(classes) - len(imagenet_classes())
    known = {name: number for number, name in reversed(list(enumerate(classes)))}
    if background in (0, 1):
        known |= {entry.wnid: number + background for number, entry in enumerate(imagenet_classes())}
    strange = [name for name in dict.fromkeys(names) if name not in known]
    if not strange:
        return known
    if len(set(names)) == len(classes):
        return {name: number for number, name in enumerate(names)}
    raise InvalidArgument(
        f"the network does not know {', '.join(strange[:5])}; its {len(classes)} classes are {classes[:5]} ..."
    )


def batches(examples: Iterator[Labelled], size: int) -> Iterator[tuple[list[np.ndarray], list[int]]]:
    images: list[np.ndarray] = []
    labels: list[int] = []
    for image, label in examples:
        images.append(image)
        labels.append(label)
        if len(images) == size:
            yield images, labels
            images, labels = [], []
    if images:
        yield images, labels


if __name__ == "__main__":
    main(evaluate_weights)
