"""Published weights as variables of our networks, and variables as files."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import flax.traverse_util
import numpy as np

from xxnet_jax.data.preprocessing import PREPROCESSING
from xxnet_jax.errors import UnknownName
from xxnet_jax.files import write_atomically
from xxnet_jax.models import model_info
from xxnet_jax.pretrained.conversion import variables_from
from xxnet_jax.pretrained.download import fetch
from xxnet_jax.pretrained.manifest import published
from xxnet_jax.pretrained.readers import OURS, Weights, read_weights
from xxnet_jax.training.run import Run


def load_weights(
    name: str, source: str | Path, *, num_classes: int | Literal["published"] | None = "published", **knobs: Any
) -> dict[str, Any]:
    """Variables of `create_model(name, num_classes=num_classes, **knobs)`.

    Running variances are taken as they are: the network gives the same. PyTorch's are means of unbiased variances of
    batches (n - 1 in the denominator), Keras's and ours of biased ones, which is a matter only of training.

    Args:
        name: a registered network, of the variant that the weights are of, such as "resnet50.torchvision".
        source: a file of Keras (.h5, .weights.h5, .keras), PyTorch (.pth, .safetensors), TFLite or `save_weights`; or
            the folder of a run: then its best checkpoint; or "imagenet" or "imagenet_v2": what is published, see
            `manifest`, from `cache_folder()` or else downloaded into it.
        num_classes: as in `create_model`; with None the file's classifier is left out.
        **knobs: as in `create_model`.

    Returns:
        {"params": ..., "batch_stats": ...}, as `model.init` has it.

    Raises:
        FileNotFoundError: there is no such file, or it cannot be downloaded.
        ValueError: the file is broken, or not of this network; all missing, surplus and misshapen arrays are listed.
        XXNetError: a package that reads it is not installed.
    """
    return variables_from(read_source(name, source), name, num_classes, **knobs)


def read_source(name: str, source: str | Path) -> Weights:
    """What `load_weights` converts."""
    if source in ("imagenet", "imagenet_v2"):
        row = published(name, str(source))
        source = fetch(row.url, row.checksum)
    path = Path(source)
    return _read_run(path) if path.is_dir() else read_weights(path)


def save_weights(
    variables: dict[str, Any],
    path: str | Path,
    *,
    model: str,
    classes: Sequence[str] | None = None,
    preprocessing: str | None = None,
) -> None:
    """Write variables as a safetensors file, which `load_weights` reads, and anyone who knows that format.

    Args:
        variables: {"params": ..., "batch_stats": ...}.
        path: by custom *.safetensors; it is there as a whole or not at all.
        model: the registered name.
        classes: names, by label.
        preprocessing: of the images, a name of `xxnet_jax.data.PREPROCESSING`; by default the model's.

    Raises:
        ValueError: unknown name of a model or of a preprocessing.
        OSError: it could not be written.
    """
    from safetensors.numpy import save

    preprocessing = preprocessing or model_info(model).preprocessing
    if preprocessing not in PREPROCESSING:
        raise UnknownName("preprocessing", preprocessing, PREPROCESSING)
    leaves = {name: np.asarray(leaf) for name, leaf in _flat(variables).items()}
    write_atomically(Path(path), save(leaves, _metadata(model, preprocessing, classes)))


def _read_run(folder: Path) -> Weights:
    trained = Run(folder).load()
    config = trained.config
    layers = {path: {"": np.asarray(leaf)} for path, leaf in _flat(trained.variables).items()}
    return Weights(OURS, layers, _metadata(config.recipe.model, config.preprocessing, config.classes))


def _metadata(model: str, preprocessing: str, classes: Sequence[str] | None) -> dict[str, str]:
    return {"format": OURS, "model": model, "preprocessing": preprocessing, "classes": json.dumps(classes)}


def _flat(variables: dict[str, Any]) -> dict[str, Any]:
    return flax.traverse_util.flatten_dict(variables, sep="/")
