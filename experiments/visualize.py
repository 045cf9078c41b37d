"""Look into a network: pictures, and the numbers behind them.

    python experiments/visualize.py runs/lenet5_mnist --what filters
    python experiments/visualize.py runs/lenet5_mnist digit.png --what maps --layer S2
    python experiments/visualize.py vgg16 photo.jpg --weights imagenet --what occlusion

The network is a run (its folder, or the name of a model: then its last run in runs/), or with --weights a registered
one. docs/visualization.md has every view with an example.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from script import main
from subject import Subject, open_subject

from xxnet_jax.analysis import convolution_kernels
from xxnet_jax.errors import InvalidArgument, UnknownName
from xxnet_jax.files import make_folder
from xxnet_jax.models import endpoints
from xxnet_jax.training.recipe import KnobValue
from xxnet_jax.visualization.filters import plot_filters
from xxnet_jax.visualization.maps import plot_maps


@dataclass(frozen=True)
class Arguments:
    """Look into a network.

    Attributes:
        network: a run folder or the name of a model, and behind it image files.
        what: a name of `VIEWS`.
        layer: a layer (filters) or an endpoint (the others); each view has its own default.
        weights: of a registered network: a file, the folder of a run, imagenet, or random.
        model_options: knobs of the registered network, such as alpha 0.75.
        step: of the run's checkpoint; by default the best one.
        out: folder of the pictures.
    """

    network: Annotated[tuple[str, ...], tyro.conf.Positional]
    what: str
    layer: str | None = None
    weights: str | None = None
    model_options: dict[str, KnobValue] = field(default_factory=dict)
    step: int | None = None
    out: Path = Path("visualization")

    @property
    def images(self) -> list[Path]:
        return [Path(name) for name in self.network[1:]]


View = Callable[[Subject, Arguments], Iterator[Path]]  # yields the files that it has written


def visualize() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    if arguments.what not in VIEWS:
        raise UnknownName("view", arguments.what, VIEWS)
    if not arguments.network:
        raise InvalidArgument("there is no network: give a run folder, or a registered name with --weights")
    options: dict[str, Any] = arguments.model_options
    subject = open_subject(arguments.network[0], arguments.weights, options, arguments.step)
    make_folder(arguments.out)
    print(subject.title)
    for path in VIEWS[arguments.what](subject, arguments):
        print(path)
    return 0


def filters(subject: Subject, arguments: Arguments) -> Iterator[Path]:
    """The filters of a convolution, by default the first (Krizhevsky et al., 2012, Figure 3)."""
    kernels = convolution_kernels(subject.model, subject.variables, subject.shape)
    layer = chosen("layer", arguments.layer, list(kernels))
    out = arguments.out / f"filters_{file_name(layer)}.png"
    plot_filters(kernels[layer], out)
    yield out


def maps(subject: Subject, arguments: Arguments) -> Iterator[Path]:
    """The feature maps of an endpoint, by default the first, for each image (LeCun et al., 1998, section II.B)."""
    pixels = subject.pixels(arguments.images)
    for path, image in zip(arguments.images, pixels, strict=True):
        found = endpoints(subject.model, subject.variables, subject.inputs(image[None]))
        spatial = {name: np.asarray(value[0], np.float32) for name, value in found.items() if value.ndim == 4}
        layer = chosen("endpoint with maps", arguments.layer, list(spatial))
        out = arguments.out / f"maps_{file_name(layer)}_{path.stem}.png"
        plot_maps(spatial[layer], out)
        yield out


def chosen(kind: str, name: str | None, known: list[str], default: int = 0) -> str:
    """A name of `known`, by default the one at a place.

    Raises:
        ValueError: it is not there.
    """
    if not known:
        raise InvalidArgument(f"the network has no {kind}")
    if name is not None and name not in known:
        raise UnknownName(kind, name, known)
    return known[default] if name is None else name


def file_name(layer: str) -> str:
    return layer.replace("/", "_")


VIEWS: dict[str, View] = {
    "filters": filters,
    "maps": maps,
}


if __name__ == "__main__":
    main(visualize)
