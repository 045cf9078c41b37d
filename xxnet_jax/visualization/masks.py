"""Pictures of segmented images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xxnet_jax.data.masks import VOID, voc_palette
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.visualization.figures import save_png, show_image


def plot_masks(
    images: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    classes: Sequence[str],
    out: Path,
    *,
    truths: Sequence[np.ndarray] | None = None,
) -> None:
    """Draw each image, beside it the class of each pixel in VOC's colours and, if they are given, the true classes.

    Args:
        images: uint8 [height, width, 1 or 3] each.
        masks: uint8 [height, width] each; VOID is white.
        classes: names, by number.
        out: PNG file.
        truths: like the masks.

    Raises:
        ValueError: no images, or masks of another number or size.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    columns = [masks] if truths is None else [masks, truths]
    sizes = [image.shape[:2] for image in images]
    if not images or any([mask.shape for mask in column] != sizes for column in columns):
        raise InvalidArgument(f"masks of the sizes of the images were expected, {sizes or 'of one image or more'}")
    palette = voc_palette()
    palette[VOID] = 255
    heights = [height / width for height, width in sizes]
    figure = Figure(figsize=(4 * (1 + len(columns)), 4 * sum(heights) + 0.6), layout="constrained")
    panels = figure.subplots(len(images), 1 + len(columns), squeeze=False, height_ratios=heights)
    titles = ("image", "found", "true")
    for row, image in enumerate(images):
        shown = [image, *(palette[column[row]] for column in columns)]
        for axes, panel, title in zip(panels[row], shown, titles, strict=False):
            show_image(axes, panel)
            if row == 0:
                axes.set_title(title)
    colours = [
        Patch(facecolor=palette[number] / 255, edgecolor="grey", label=name) for number, name in enumerate(classes)
    ]
    figure.legend(handles=colours, loc="outside lower center", ncols=min(8, len(classes)))
    save_png(figure, out)
