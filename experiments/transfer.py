"""A linear classifier on descriptors of a pretrained network, as the VGG paper has it (appendix B).

    python experiments/transfer.py --train A/train --test A/test --model resnet50 --weights imagenet
    python experiments/transfer.py --train A --test B --model resnet20 --weights runs/resnet20_cifar10 --scales 32 40

The folders have a folder for each class. A descriptor is the mean over positions, squares and mirror images at each of
the scales, L2-normalized; a linear support vector machine (scikit-learn) learns from them, with the C of --c that is
best in a cross-validation on the training images. result.json has the figures.

Endpoints of dense layers, such as VGG's fc2, take images of the network's own size, unless the network can run them
densely: --model-options spatial True for VGG, as in the paper.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from script import counted, main

from xxnet_jax.data import read_image
from xxnet_jax.data.images import padded
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.files import make_folder, write_atomically
from xxnet_jax.pretrained import FeatureExtractor, image_files
from xxnet_jax.pretrained.features import Combine
from xxnet_jax.training.recipe import KnobValue

FOLDS = 5


@dataclass(frozen=True)
class Arguments:
    """Classify by descriptors.

    Attributes:
        train: folder with a folder of images for each class.
        test: the same, with the same classes.
        model: a registered network.
        weights: a file, the folder of a run, or imagenet: what is published for the network, downloaded on request.
        endpoint: name of the activation; by default the last feature map.
        scales: shorter sides of the images, in pixels.
        combine: concatenate or average the scales.
        c: inverse strengths of the regularization to choose from.
        model_options: knobs of the network, such as alpha 0.75.
        batch_size: images that are looked at together.
        out: folder for result.json.
    """

    train: Path
    test: Path
    model: str
    weights: str
    endpoint: str | None = None
    scales: tuple[int, ...] = (256, 384, 512)
    combine: Combine = "concatenate"
    c: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0)
    model_options: dict[str, KnobValue] = field(default_factory=dict)
    batch_size: int = 16
    out: Path = Path("runs/transfer")


def transfer() -> int:
    from sklearn.model_selection import GridSearchCV
    from sklearn.svm import LinearSVC

    arguments = tyro.cli(Arguments, description=__doc__)
    options: dict[str, Any] = arguments.model_options
    extractor = FeatureExtractor(arguments.model, arguments.weights, endpoint=arguments.endpoint, **options)
    classes = sorted(path.name for path in arguments.train.iterdir() if path.is_dir())
    train, train_labels = described(extractor, arguments.train, classes, arguments)
    test, test_labels = described(extractor, arguments.test, classes, arguments)
    search: Any = GridSearchCV(LinearSVC(random_state=0), {"C": list(arguments.c)}, cv=FOLDS)
    search.fit(train, train_labels)
    result = {
        "model": arguments.model,
        "endpoint": arguments.endpoint,
        "scales": arguments.scales,
        "combine": arguments.combine,
        "classes": classes,
        "train_images": len(train),
        "test_images": len(test),
        "features": train.shape[1],
        "c": search.best_params_["C"],
        "cross_validation/accuracy": float(search.best_score_),
        "test/accuracy": float(search.score(test, test_labels)),
    }
    make_folder(arguments.out)
    write_atomically(arguments.out / "result.json", json.dumps(result, indent=2) + "\n")
    print(f"test/accuracy {result['test/accuracy']:.4f} with C = {result['c']:g}; {arguments.out}/result.json")
    return 0


def described(
    extractor: FeatureExtractor, folder: Path, classes: list[str], arguments: Arguments
) -> tuple[np.ndarray, np.ndarray]:
    """Descriptors and labels of the images of a folder."""
    files = image_files(folder)
    owners = [path.relative_to(folder).parts[0] for path in files]
    if strange := sorted(set(owners) - set(classes)):
        raise InvalidArgument(f"{folder} has {', '.join(strange)}, which are not folders of {arguments.train}")
    descriptors = []
    starts = range(0, len(files), arguments.batch_size)
    for first in counted(starts, len(files), arguments.batch_size, folder.name):
        batch = [read_image(path, extractor.channels) for path in files[first : first + arguments.batch_size]]
        full = padded(batch, min(arguments.batch_size, len(files)))
        descriptors.append(extractor.dense(full, arguments.scales, combine=arguments.combine)[: len(batch)])
    return np.concatenate(descriptors), np.array([classes.index(owner) for owner in owners])


if __name__ == "__main__":
    main(transfer)
