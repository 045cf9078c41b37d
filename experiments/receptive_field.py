"""What the units of a network see: size, jump and start of the receptive field of every endpoint, and of one unit.

    python experiments/receptive_field.py vgg16
    python experiments/receptive_field.py alexnet --unit conv5,6,6 --image photo.jpg
    python experiments/receptive_field.py mobilenet_v2 --weights imagenet --unit block_6_add,7,7 --image photo.jpg

A unit is LAYER,x,y: column and row of its map, from 0. The picture shows the pixels that it sees, and the box of its
field, which reaches over the border where the network pads. With --weights there is a second one: how much each pixel
matters to the unit (the effective field), by the gradient. With --out the fields of all endpoints are in fields.csv.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table
from script import main

from xxnet_jax.analysis import (
    ReceptiveField,
    effective_receptive_field,
    receptive_field,
    receptive_fields,
    seen_pixels,
)
from xxnet_jax.data import read_image
from xxnet_jax.data.images import fit_image
from xxnet_jax.data.preprocessing import preprocess
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.files import make_folder, write_csv
from xxnet_jax.models import create_model, model_info
from xxnet_jax.pretrained import load_network
from xxnet_jax.training.recipe import KnobValue
from xxnet_jax.visualization.receptive_fields import plot_receptive_field


@dataclass(frozen=True)
class Arguments:
    """Tell receptive fields.

    Attributes:
        model: a registered network.
        unit: LAYER,x,y, to draw what it sees.
        image: to draw on; by default a white one.
        size: side of the images; by default the network's.
        weights: for the effective field: a file, the folder of a run, or imagenet.
        model_options: knobs of the network, such as alpha 0.75.
        out: folder for fields.csv and LAYER_x_y.png; by default the picture goes to the working folder.
    """

    model: Annotated[str, tyro.conf.Positional]
    unit: str | None = None
    image: Path | None = None
    size: int | None = None
    weights: str | None = None
    model_options: dict[str, KnobValue] = field(default_factory=dict)
    out: Path | None = None


def tell_receptive_fields() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    options: dict[str, Any] = arguments.model_options
    shape = model_info(arguments.model).input_shape
    if arguments.size is not None:
        shape = (arguments.size, arguments.size, shape[2])
    model = create_model(arguments.model, **options)
    if arguments.out is not None:
        make_folder(arguments.out)
    if arguments.unit is None:
        fields = receptive_fields(model, shape)
        show(fields)
        if arguments.out is not None:
            write_csv(arguments.out / "fields.csv", [row(name, found) for name, found in fields.items()])
            print(arguments.out / "fields.csv")
        return 0
    draw(arguments, shape, options)
    return 0


def show(fields: dict[str, ReceptiveField]) -> None:
    table = Table("endpoint", "size", "jump", "start", box=None)
    for name, found in fields.items():
        rows, columns = found.rows, found.columns
        cells = [f"{a:g}" if a == b else f"{a:g} x {b:g}" for a, b in zip(rows, columns, strict=True)]
        table.add_row(name, *cells)
    Console(width=100).print(table)


def row(name: str, found: ReceptiveField) -> dict[str, Any]:
    extents = {"rows": found.rows, "columns": found.columns}
    numbers = {f"{key}_{axis}": value for axis, extent in extents.items() for key, value in extent._asdict().items()}
    return {"endpoint": name, **numbers}


def draw(arguments: Arguments, shape: tuple[int, int, int], options: dict[str, Any]) -> None:
    """The picture of a unit."""
    assert arguments.unit is not None
    layer, x, y = parsed(arguments.unit)
    model = create_model(arguments.model, **options)
    found = receptive_field(model, layer, shape)
    seen = seen_pixels(model, layer, (y, x), shape)
    image = np.full(shape, 255, np.uint8)
    if arguments.image is not None:
        image = fit_image(read_image(arguments.image, shape[2]), *shape[:2])
    strength = None
    if arguments.weights is not None:
        network = load_network(arguments.model, arguments.weights, **options)
        inputs = preprocess(jnp.asarray(image[None]), network.preprocessing)
        strength = effective_receptive_field(network.model, network.variables, inputs, layer, (y, x))
    box = found.box(y, x)
    out = (arguments.out or Path()) / f"{layer}_{x}_{y}.png"
    plot_receptive_field(image, box, seen, f"{arguments.model}, {layer} at column {x}, row {y}", out, strength)
    x1, y1, x2, y2 = box
    print(f"{layer} at column {x}, row {y} sees {seen.sum():,} pixels, x {x1:g} to {x2:g}, y {y1:g} to {y2:g}; {out}")


def parsed(unit: str) -> tuple[str, int, int]:
    words = unit.split(",")
    if len(words) != 3 or not all(word.strip().isdigit() for word in words[1:]):
        raise InvalidArgument(f"expected --unit LAYER,x,y, such as conv5,6,6, got '{unit}'")
    return words[0], int(words[1]), int(words[2])


if __name__ == "__main__":
    main(tell_receptive_fields)
