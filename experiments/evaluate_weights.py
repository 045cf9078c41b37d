"""Score published weights: top-1 and top-5 accuracy on labelled images.

    python experiments/evaluate_weights.py PHOTOS --model mobilenet_v2.tflite --weights FILE.tflite
    python experiments/evaluate_weights.py folder:CIFAR --model resnet20 --weights FILE.th --preprocessing torch
    python experiments/evaluate_weights.py PHOTOS --model vgg16 vgg19 --weights A.h5 B.h5 --protocol vgg_dense

Several networks are an ensemble; docs/protocols.md has the protocols. PHOTOS is a folder of photographs whose names, or
those of their folders, begin with a WordNet id (n01440764); a URI is any dataset of train.py. Classes are matched by id
or by name, and by their order where there are as many and no name fits. Without --split all images of a folder are
taken.
"""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from evaluation_folder import errors_of, top_k
from protocol_options import ProtocolOptions, predict_with_all
from script import main

from xxnet_jax.data import PREPROCESSING, open_source, read_image
from xxnet_jax.data.source import Example, Examples, IndexedExamples
from xxnet_jax.errors import InvalidArgument, UnknownName
from xxnet_jax.files import write_atomically
from xxnet_jax.models import model_info
from xxnet_jax.pretrained import PretrainedNetwork, image_files, imagenet_classes, load_network
from xxnet_jax.training.evaluation import evaluate_probabilities
from xxnet_jax.training.recipe import KnobValue


@dataclass(frozen=True)
class Arguments:
    """Score weights.

    Attributes:
        data: a folder of photographs, or the URI of a dataset.
        model: a registered network, or several.
        weights: of each: a file, the folder of a run, or imagenet: what is published for the network, downloaded on
            request.
        test: how images are looked at, and networks combined.
        split: of a dataset.
        data_dir: folder of prepared TFDS datasets.
        preprocessing: from pixels to inputs; by default the network's.
        model_options: knobs of the network, such as alpha 0.75.
        skip_corrupt: leave corrupt images out.
        out: JSON file for the result.
    """

    data: Annotated[str, tyro.conf.Positional]
    model: tuple[str, ...]
    weights: tuple[str, ...]
    test: Annotated[ProtocolOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=ProtocolOptions)
    split: str = "test"
    data_dir: str | None = None
    preprocessing: str | None = None
    model_options: dict[str, KnobValue] = field(default_factory=dict)
    skip_corrupt: bool = False
    out: Path | None = None


def evaluate_weights() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    networks = load_networks(arguments)
    classes = networks[0].classes
    examples, numbers = labelled(arguments, classes)
    classifiers = [network.classifier for network in networks]
    predictions = predict_with_all(classifiers, examples, arguments.test, arguments.skip_corrupt)
    figures = evaluate_probabilities(
        predictions.probabilities, numbers[predictions.labels], top_k(len(classes))
    ).figures
    count = len(predictions.labels)
    tops = {"top1": figures["accuracy"]} | {name: figures[name] for name in top_k(len(classes))}
    result = {
        "model": " + ".join(arguments.model),
        "weights": " + ".join(Path(weights).name for weights in arguments.weights),
        "data": arguments.data,
        **arguments.test.facts(),
        "images": count,
        "skipped_images": sorted(predictions.skipped),
        **tops,
        **errors_of(figures),
    }
    shares = ", ".join(f"top-{name.removeprefix('top')} {value:.2%}" for name, value in tops.items())
    print(f"{shares} of {count:,} images, {arguments.test.describe(len(networks))}")
    if arguments.out is not None:
        write_atomically(arguments.out, json.dumps(result, indent=2) + "\n")
    return 0


def load_networks(arguments: Arguments) -> list[PretrainedNetwork]:
    """Those that are named, of the same classes."""
    if not arguments.model or len(arguments.model) != len(arguments.weights):
        raise InvalidArgument(f"{len(arguments.model)} networks, but {len(arguments.weights)} weights: give as many")
    options: dict[str, Any] = arguments.model_options
    named = zip(arguments.model, arguments.weights, strict=True)
    networks = [load_network(model, weights, **options) for model, weights in named]
    for name, network in zip(arguments.model, networks, strict=True):
        if network.classes != networks[0].classes:
            raise InvalidArgument(f"{name} has other classes than {arguments.model[0]}: they cannot be combined")
    if arguments.preprocessing is not None:
        if arguments.preprocessing not in PREPROCESSING:
            raise UnknownName("preprocessing", arguments.preprocessing, PREPROCESSING)
        networks = [replace(network, preprocessing=arguments.preprocessing) for network in networks]
    return networks


@dataclass(frozen=True)
class Photographs(IndexedExamples):
    """Files, each with its label."""

    files: list[Path]
    labels: list[int]
    channels: int

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Example:
        return {"image": read_image(self.files[index], self.channels), "label": self.labels[index]}


def labelled(arguments: Arguments, classes: tuple[str, ...]) -> tuple[Examples, np.ndarray]:
    """Images with labels, and the network's numbers of these labels, int [labels]."""
    if ":" not in arguments.data:
        files = image_files(Path(arguments.data))
        ids = [wordnet_id(path) for path in files]
        names = sorted(set(ids))
        channels = model_info(arguments.model[0]).input_shape[-1]
        examples = Photographs(files, [names.index(wnid) for wnid in ids], channels)
    else:
        source = open_source(arguments.data, data_dir=arguments.data_dir)
        names = list(source.classes)
        examples = source.examples(arguments.split)
    numbers = numbers_of(names, classes)
    return examples, np.array([numbers[name] for name in names])


def wordnet_id(path: Path) -> str:
    for name in (path.name, path.parent.name):
        if name[:1] == "n" and name[1:9].isdigit():
            return name[:9]
    raise InvalidArgument(f"neither {path.name} nor its folder begins with a WordNet id, such as n01440764")


def numbers_of(names: list[str], classes: tuple[str, ...]) -> dict[str, int]:
    """Name of a class in the data -> its number in the network."""
    background = len(classes) - len(imagenet_classes())
    known = {name: number for number, name in reversed(list(enumerate(classes)))}
    if background in (0, 1):
        known |= {entry.wnid: number + background for number, entry in enumerate(imagenet_classes())}
    strange = [name for name in names if name not in known]
    if not strange:
        return known
    if len(names) == len(classes):
        return {name: number for number, name in enumerate(names)}
    raise InvalidArgument(
        f"the network does not know {', '.join(strange[:5])}; its {len(classes)} classes are {classes[:5]} ..."
    )


if __name__ == "__main__":
    main(evaluate_weights)
