"""Look into a network: pictures, and the numbers behind them.

    python experiments/visualize.py runs/lenet5_mnist --what filters
    python experiments/visualize.py runs/lenet5_mnist digit.png --what maps --layer S2
    python experiments/visualize.py vgg16 photo.jpg --weights imagenet --what occlusion

The network is a run (its folder, or the name of a model: then its last run in runs/), or with --weights a registered
one. docs/visualization.md has every view with an example.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from script import counted, main
from subject import Subject, open_subject, subject_of

from xxnet_jax.analysis import (
    Occluder,
    convolution_kernels,
    feature_reuse,
    invariance,
    neighbourhoods,
    occlusion,
    pooled_features,
    receptive_field,
)
from xxnet_jax.analysis.attributions import grad_cam, guided_backpropagation, saliency
from xxnet_jax.analysis.deconvnet import project, strongest
from xxnet_jax.analysis.invariance import Transform, rotate, scale, translate
from xxnet_jax.data import open_source
from xxnet_jax.data.images import padded
from xxnet_jax.data.source import Examples
from xxnet_jax.errors import InvalidArgument, UnknownName
from xxnet_jax.files import make_folder, write_csv, write_npz
from xxnet_jax.models import endpoints, observe
from xxnet_jax.parameters import abstract_variables
from xxnet_jax.training.recipe import KnobValue
from xxnet_jax.visualization.embedding import plot_embedding
from xxnet_jax.visualization.evolution import plot_evolution
from xxnet_jax.visualization.feature_reuse import plot_feature_reuse
from xxnet_jax.visualization.filters import plot_filters
from xxnet_jax.visualization.invariance import Change, plot_invariance
from xxnet_jax.visualization.maps import plot_maps
from xxnet_jax.visualization.occlusion import plot_occlusion
from xxnet_jax.visualization.projections import Excited, cut, plot_on_image, plot_strongest


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
        label: occlusion, saliency, guided, grad_cam: the class, by number; by default the predicted one.
        feature: occlusion: the map of the endpoint; by default the one with the greatest sum.
        size: occlusion: side of the square; by default a quarter of the image's.
        stride: occlusion: pixels between two places; by default a 32nd of the image's side.
        features: evolution, deconvnet, top9: how many filters, maps or features.
        data: top9, tsne: URI of a dataset; by default the run's.
        split: top9, tsne: of it; by default the run's test split.
        examples: top9, tsne: how many images, evenly over the split.
        seed: tsne: of the embedding.
    """

    network: Annotated[tuple[str, ...], tyro.conf.Positional]
    what: str
    layer: str | None = None
    weights: str | None = None
    model_options: dict[str, KnobValue] = field(default_factory=dict)
    step: int | None = None
    out: Path = Path("visualization")
    label: int | None = None
    feature: int | None = None
    size: int | None = None
    stride: int | None = None
    features: int = 8
    data: str | None = None
    split: str | None = None
    examples: int = 1000
    seed: int = 0

    @property
    def images(self) -> list[Path]:
        return [Path(name) for name in self.network[1:]]


BATCH = 32
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


def occlude(subject: Subject, arguments: Arguments) -> Iterator[Path]:
    """The answer while a grey square covers one part of the image after another (Zeiler and Fergus, 2013, Figure 7)."""
    side = min(subject.shape[:2])
    size, stride = arguments.size or max(1, side // 4), arguments.stride or max(1, side // 32)
    occluder = Occluder(size, stride)
    layer = chosen("endpoint with maps", arguments.layer, spatial_endpoints(subject), -1)
    rows, columns = (occluder.centres(length) for length in subject.shape[:2])
    watch: Any = functools.partial(counted, images=len(rows) * len(columns), batch_size=BATCH, name="places")
    for path, image in zip(arguments.images, subject.pixels(arguments.images), strict=True):
        label = label_of(subject, arguments, image)
        found = occlusion(
            subject.model,
            subject.variables,
            image,
            label,
            occluder,
            layer,
            feature=arguments.feature,
            inputs=subject.inputs,
            batch_size=BATCH,
            watch=watch,
        )
        picture, numbers = (arguments.out / f"occlusion_{path.stem}.{kind}" for kind in ("png", "npz"))
        plot_occlusion(image, found, occluder, label, layer, subject.classes, picture)
        write_npz(numbers, rows=rows, columns=columns, label=label, **found._asdict())
        yield picture
        yield numbers


def vary(subject: Subject, arguments: Arguments) -> Iterator[Path]:
    """Distances of the features, and the probability, of images that are moved, enlarged or turned (Zeiler and Fergus,
    2013, Figure 5); of the first endpoint, and of the last before the answer or another one."""
    pixels = subject.pixels(arguments.images)
    names = list(shapes(subject))
    layers = [names[0], chosen("endpoint", arguments.layer, names, -2)]
    labels = [label_of(subject, arguments, image) for image in pixels]
    changes = {}
    for name, (unit, transform, amounts) in transformations(subject.shape[0]).items():
        found = invariance(
            subject.model,
            subject.variables,
            pixels,
            labels,
            transform,
            amounts,
            layers,
            inputs=subject.inputs,
            watch=functools.partial(counted, images=len(amounts), batch_size=1, name=name),
        )
        changes[name] = Change(unit, transform, amounts, found)
    picture, numbers = (arguments.out / f"invariance.{kind}" for kind in ("png", "csv"))
    names = [f"{path.stem}: {subject.classes[label]}" for path, label in zip(arguments.images, labels, strict=True)]
    plot_invariance(pixels, names, changes, picture)
    rows = [
        {
            "transformation": name,
            "amount": amount,
            "image": path.name,
            "class": subject.classes[label],
            **{f"distance_{layer}": values[at, place] for layer, values in change.found.distances.items()},
            "probability": change.found.probability[at, place],
        }
        for name, change in changes.items()
        for at, amount in enumerate(change.amounts)
        for place, (path, label) in enumerate(zip(arguments.images, labels, strict=True))
    ]
    write_csv(numbers, rows)
    yield picture
    yield numbers


def transformations(side: int) -> dict[str, tuple[str, Transform, list[float]]]:
    """Name -> unit, function and amounts, as in the paper: there 60 of 224 pixels are a quarter of the side."""
    step = max(1, side // 48)
    moves = [float(pixels) for pixels in range(-(side // 4 // step) * step, side // 4 + 1, step)]
    factors = [1 + tenth / 20 for tenth in range(17)]
    return {
        "moved down": ("pixels", translate, moves),
        "enlarged": ("times", scale, factors),
        "turned": ("degrees", rotate, [float(degrees) for degrees in range(0, 360, 10)]),
    }


def evolution(subject: Subject, arguments: Arguments) -> Iterator[Path]:
    """Filters, or with an image its feature maps, at every checkpoint that a run has kept (after Zeiler and Fergus,
    2013, Figure 4, which projects the strongest activations of epochs 1, 2, 5, 10, 20, 30, 40 and 64)."""
    if subject.run is None:
        raise InvalidArgument("evolution needs a run: its checkpoints are compared (train.py --keep-epochs 1 2 5 10)")
    run, stages, layer = subject.run, {}, ""
    epochs = {line["step"]: line["epoch"] for line in run.folder.history()}
    checkpoints = run.checkpoints().steps()
    for step in counted(checkpoints, len(checkpoints), 1, "checkpoints"):
        stage = subject_of(run, step)
        if arguments.images:
            inputs = stage.inputs(stage.pixels(arguments.images[:1]))
            found = {
                k: v[0][:, :, None] for k, v in endpoints(stage.model, stage.variables, inputs).items() if v.ndim == 4
            }
        else:
            found = convolution_kernels(stage.model, stage.variables, stage.shape)
        layer = chosen("layer", arguments.layer, list(found))
        stages[f"epoch {epochs[step]:g}" if step in epochs else f"step {step:,}"] = np.asarray(
            found[layer][..., : arguments.features], np.float32
        )
    kind = "maps" if arguments.images else "filters"
    out = arguments.out / f"evolution_{kind}_{file_name(layer)}.png"
    plot_evolution(stages, out)
    yield out


def heat_map(subject: Subject, arguments: Arguments) -> Iterator[Path]:
    """Which earlier layers each layer of a DenseNet uses (Huang et al., 2016, section 5 and Figure 5)."""
    blocks = feature_reuse(subject.model, subject.variables)
    picture, numbers = (arguments.out / f"heat_map.{kind}" for kind in ("png", "csv"))
    plot_feature_reuse(blocks, picture)
    rows = [
        {"block": name, "layer": layer + 1, "source": source, "mean_absolute_weight": means[source, layer]}
        for name, means in blocks.items()
        for source, layer in np.argwhere(~np.isnan(means))
    ]
    write_csv(numbers, rows)
    yield picture
    yield numbers


def tsne(subject: Subject, arguments: Arguments) -> Iterator[Path]:
    """Features of labelled images in the plane (van der Maaten and Hinton, 2008), by default of the last
    endpoint before the answer."""
    images, labels, classes = labelled(subject, arguments)
    layer = chosen("endpoint", arguments.layer, list(shapes(subject)), -2)
    batches = (np.stack(padded([*images[at : at + BATCH]], BATCH)) for at in range(0, len(images), BATCH))
    watched = counted(batches, len(images), BATCH)
    features = pooled_features(subject.model, subject.variables, watched, layer, inputs=subject.inputs)[: len(images)]
    points = neighbourhoods(features, seed=arguments.seed)
    picture, numbers = (arguments.out / f"tsne_{file_name(layer)}.{kind}" for kind in ("png", "csv"))
    plot_embedding(points, labels, classes, f"{layer} of {len(images)} images", picture)
    write_csv(
        numbers,
        [
            {"x": x, "y": y, "label": label, "class": classes[label]}
            for (x, y), label in zip(points, labels, strict=True)
        ],
    )
    yield picture
    yield numbers


def labelled(subject: Subject, arguments: Arguments) -> tuple[np.ndarray, np.ndarray, Sequence[str]]:
    """Images of a dataset, uint8 [images, *shape], their labels, and the classes.

    Raises:
        ValueError: there is no dataset.
    """
    recipe = subject.run.config.recipe if subject.run else None
    uri, split = arguments.data or (recipe and recipe.data), arguments.split or (recipe and recipe.test_split) or "test"
    if not uri:
        raise InvalidArgument("there are no images: give --data, such as folder:PATH")
    source = open_source(uri, data_dir=recipe.data_dir if recipe else None)
    images, labels = some_examples(source.examples(split), arguments.examples)
    return subject.fit(images), labels, source.classes


def some_examples(examples: Examples, count: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Images of any size and labels, int [images], evenly over the examples."""
    chosen = set(np.linspace(0, len(examples) - 1, min(count, len(examples))).astype(int).tolist())
    found = [example for place, example in enumerate(examples) if place in chosen]
    return [example["image"] for example in found], np.array([example["label"] for example in found])


def shapes(subject: Subject) -> dict[str, tuple[int, ...]]:
    """Of every endpoint for one image, in the order of the computation."""
    found: dict[str, tuple[int, ...]] = {}
    variables, images = abstract_variables(subject.model, subject.shape)

    def trace(variables: Any, images: Any) -> None:
        values = observe(subject.model, variables, images)[1]["endpoints"]
        found.update({name: value.shape for name, value in values.items()})

    jax.eval_shape(trace, variables, images)
    return found


def label_of(subject: Subject, arguments: Arguments, image: np.ndarray) -> int:
    """The class that is asked for, or the predicted one.

    Raises:
        ValueError: it is not there.
    """
    classes = len(subject.classes)
    if arguments.label is None:
        return int(subject.probabilities(image[None]).argmax())
    if not 0 <= arguments.label < classes:
        raise InvalidArgument(f"the network has the classes 0 to {classes - 1}, there is no {arguments.label}")
    return arguments.label


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


def deconvnet(subject: Subject, arguments: Arguments) -> Iterator[Path]:
    """The strongest units of an endpoint, by default the last with maps, projected down to the pixels of each image;
    of each feature one (Zeiler and Fergus, 2013, section 2.1)."""
    layer = chosen("endpoint with maps", arguments.layer, spatial_endpoints(subject), -1)
    for path, image in zip(arguments.images, subject.pixels(arguments.images), strict=True):
        inputs = subject.inputs(image[None])
        found = np.asarray(endpoints(subject.model, subject.variables, inputs)[layer][0], np.float32)
        peaks = found.reshape(-1, found.shape[-1]).max(0)
        features = np.argsort(-peaks, kind="stable")[: arguments.features]
        repeated = jnp.repeat(inputs, len(features), 0)
        projections = np.asarray(project(subject.model, subject.variables, repeated, layer, features.tolist()))
        panels = {f"feature {f}: {peaks[f]:.3g}": p for f, p in zip(features, projections, strict=True)}
        out = arguments.out / f"deconvnet_{file_name(layer)}_{path.stem}.png"
        plot_on_image(image, panels, out)
        yield out


def top9(subject: Subject, arguments: Arguments) -> Iterator[Path]:
    """The nine images of a dataset that excite features most, cut to what the unit sees, beside its projections
    (Zeiler and Fergus, 2013, Figure 2); of --layer, or several as conv1,conv2; by default of all maps."""
    known = spatial_endpoints(subject)
    layers = [chosen("endpoint with maps", name, known) for name in (arguments.layer or ",".join(known)).split(",")]
    pixels, _, _ = labelled(subject, arguments)
    excited = {
        layer: [
            excited_by(subject, pixels, layer, feature, numbers)
            for feature, numbers in strongest_images(subject, pixels, layer, arguments.features)
        ]
        for layer in layers
    }
    out = arguments.out / f"top9_{file_name('_'.join(layers) if arguments.layer else 'all')}.png"
    plot_strongest({layer: found for layer, found in excited.items() if found}, out)
    yield out


def strongest_images(subject: Subject, pixels: np.ndarray, layer: str, count: int) -> list[tuple[int, np.ndarray]]:
    """Features, evenly over those that nine images excite, and the numbers of these images."""
    batches = (subject.inputs(pixels[at : at + BATCH]) for at in range(0, len(pixels) - len(pixels) % BATCH, BATCH))
    features = range(shapes(subject)[layer][-1])
    found = strongest(subject.model, subject.variables, counted(batches, len(pixels), BATCH, layer), layer, features)
    alive = np.flatnonzero((found.values > 0).all(1))
    places = np.linspace(0, len(alive) - 1, min(count, len(alive))).astype(int)
    return [(int(feature), found.images[feature]) for feature in alive[places]]


def excited_by(subject: Subject, pixels: np.ndarray, layer: str, feature: int, numbers: np.ndarray) -> Excited:
    """Patches of images, and the projections of a feature's strongest unit in each."""
    inputs = subject.inputs(pixels[numbers])
    maps = np.asarray(endpoints(subject.model, subject.variables, inputs)[layer][..., feature])
    projections = np.asarray(project(subject.model, subject.variables, inputs, layer, [feature] * len(numbers)))
    field_of_layer = receptive_field(subject.model, layer, subject.shape)
    boxes = [field_of_layer.box(*map(int, np.unravel_index(found.argmax(), found.shape))) for found in maps]
    return Excited(
        feature,
        [cut(image, box) for image, box in zip(pixels[numbers], boxes, strict=True)],
        [cut(projection, box) for projection, box in zip(projections, boxes, strict=True)],
    )


def attribute(subject: Subject, arguments: Arguments, name: str) -> Iterator[Path]:
    """What speaks for the class, --label or the predicted one, in each image."""
    layer = arguments.layer and chosen("endpoint with maps", arguments.layer, spatial_endpoints(subject))
    for path, image in zip(arguments.images, subject.pixels(arguments.images), strict=True):
        label = label_of(subject, arguments, image)
        inputs, classes = subject.inputs(image[None]), jnp.array([label])
        match name:
            case "saliency":
                values = saliency(subject.model, subject.variables, inputs, classes)
            case "guided":
                values = guided_backpropagation(subject.model, subject.variables, inputs, classes)
            case _:
                values = grad_cam(subject.model, subject.variables, inputs, layer, classes)
        picture, numbers = (arguments.out / f"{name}_{path.stem}.{kind}" for kind in ("png", "npz"))
        plot_on_image(image, {f"{name}: {subject.classes[label]}": np.asarray(values[0])}, picture)
        write_npz(numbers, label=label, values=np.asarray(values[0]))
        yield picture
        yield numbers


def spatial_endpoints(subject: Subject) -> list[str]:
    """The endpoints with several pixels."""
    return [name for name, shape in shapes(subject).items() if len(shape) == 4 and shape[1] * shape[2] > 1]


VIEWS: dict[str, View] = {
    "filters": filters,
    "maps": maps,
    "occlusion": occlude,
    "invariance": vary,
    "evolution": evolution,
    "deconvnet": deconvnet,
    "top9": top9,
    "saliency": functools.partial(attribute, name="saliency"),  # Simonyan, Vedaldi, Zisserman, 2013
    "guided": functools.partial(attribute, name="guided"),  # Springenberg et al., 2014
    "grad_cam": functools.partial(attribute, name="grad_cam"),  # Selvaraju et al., 2017
    "heat_map": heat_map,
    "tsne": tsne,
}


if __name__ == "__main__":
    main(visualize)
