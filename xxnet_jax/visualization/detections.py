"""Images with boxes around what was found in them."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xxnet_jax.errors import InvalidArgument
from xxnet_jax.visualization.figures import save_png, show_image

COLUMNS = 3  # of images


def plot_detections(
    images: Sequence[np.ndarray],
    boxes: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    classes: Sequence[str],
    out: Path,
    *,
    scores: Sequence[np.ndarray] | None = None,
) -> None:
    """Draw each image with its boxes, a colour for each class, its name and the score above the box.

    Args:
        images: uint8 [height, width, 1 or 3] each.
        boxes: of each image, [n, 4], (x1, y1, x2, y2) in pixels, continuous.
        labels: of each image, int [n].
        classes: names, by label.
        out: PNG file.
        scores: of each image, [n]; without them they are the true objects.

    Raises:
        ValueError: no images; not as many lists as images, or as many labels and scores as boxes.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    lists = [boxes, labels] if scores is None else [boxes, labels, scores]
    if not images or any(len(each) != len(images) for each in lists):
        raise InvalidArgument(f"{len(images)} images, but lists of {', '.join(str(len(each)) for each in lists)}")
    for number, each in enumerate(zip(*lists, strict=True)):
        if len({len(values) for values in each}) > 1:
            counts = ", ".join(str(len(values)) for values in each)
            raise InvalidArgument(f"image {number}: as many boxes, labels and scores were expected, got {counts}")
    columns = min(COLUMNS, len(images))
    rows = math.ceil(len(images) / columns)
    aspect = max(image.shape[0] / image.shape[1] for image in images)
    figure = Figure(figsize=(5 * columns, 5 * min(aspect, 2) * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(images) :]:
        axes.axis("off")
    colours = colormaps["tab10" if len(classes) <= 10 else "tab20"].colors  # type: ignore[attr-defined]
    for number, (axes, image) in enumerate(zip(panels, images, strict=False)):
        show_image(axes, image)
        for place, (box, label) in enumerate(zip(boxes[number], labels[number], strict=True)):
            x1, y1, x2, y2 = (float(edge) - 0.5 for edge in box)  # matplotlib has the middle of the first pixel at 0
            colour = colours[int(label) % len(colours)]
            axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=1.5))
            name = classes[int(label)]
            text = name if scores is None else f"{name} {scores[number][place]:.2f}"
            room_above = y1 > image.shape[0] / 20
            axes.text(
                x1,
                max(y1, 0),
                text,
                fontsize=7,
                color="white",
                va="bottom" if room_above else "top",
                clip_on=True,
                bbox={"facecolor": colour, "edgecolor": "none", "pad": 1},
            )
    save_png(figure, out)
