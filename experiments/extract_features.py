"""Activations of a network for a folder of images, as one .npz file.

    python experiments/extract_features.py photos --model vgg16 --weights imagenet --endpoint block4_pool
    python experiments/extract_features.py photos --model resnet50 --weights FILE.h5 --pooling avg --normalize
    python experiments/extract_features.py photos --model resnet20 --weights runs/resnet20_cifar10 --out features.npz

The file has "features" [images, ...], float32; "paths", below the folder; and "labels" and "classes", which are the
folders that the images lie in, if there are any.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from script import counted, main

from xxnet_jax.pretrained import FeatureExtractor, image_files, write_features
from xxnet_jax.training.recipe import KnobValue


@dataclass(frozen=True)
class Arguments:
    """Extract features.

    Attributes:
        images: a folder, which is gone through with all below it.
        model: a registered network.
        weights: a file, the folder of a run, or imagenet: what is published for the network, downloaded on request.
        endpoint: name of the activation; by default the last feature map.
        pooling: avg or max over the map; none: the map itself.
        normalize: divide the features of each image by their Euclidean norm.
        model_options: knobs of the network, such as alpha 0.75.
        batch_size: images that are looked at together.
        out: the file to write.
    """

    images: Annotated[Path, tyro.conf.Positional]
    model: str
    weights: str
    endpoint: str | None = None
    pooling: Literal["avg", "max", "none"] = "avg"
    normalize: bool = False
    model_options: dict[str, KnobValue] = field(default_factory=dict)
    batch_size: int = 32
    out: Path = Path("features.npz")


def extract_features() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    files = image_files(arguments.images)
    options: dict[str, Any] = arguments.model_options
    extractor = FeatureExtractor(
        arguments.model,
        arguments.weights,
        endpoint=arguments.endpoint,
        pooling=None if arguments.pooling == "none" else arguments.pooling,
        normalize=arguments.normalize,
        **options,
    )
    batches = extractor.batches(files, arguments.batch_size)
    features = list(counted(batches, len(files), arguments.batch_size))
    shape = write_features(arguments.out, arguments.images, files, features)
    print(f"{arguments.out}: features {shape} of {len(files)} images")
    return 0


if __name__ == "__main__":
    main(extract_features)
