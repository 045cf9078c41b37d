"""`digits?side=N`: the 1,797 handwritten digits that come with scikit-learn (UCI optdigits test set).

They are 8x8 and fill their frame; with `side` they are enlarged to N x N pixels, to be padded to what a network takes.
"""

import re

import numpy as np

from xxnet_jax.data.images import fit_image
from xxnet_jax.data.source import ArrayExamples, Source, SourceRequest, register_source
from xxnet_jax.errors import InvalidArgument


@register_source("digits", "side")
def open_digits(request: SourceRequest) -> Source:
    if request.body:
        raise InvalidArgument(f"cannot read '{request.uri}': write digits")
    side = request.options.get("side", "8")
    if re.fullmatch("[1-9][0-9]{0,3}", side) is None:
        raise InvalidArgument(f"cannot read '{request.uri}': write digits?side=24")
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, target = load_digits(return_X_y=True)
    images = np.rint(np.reshape(pixels, (-1, 8, 8, 1)) * (255 / 16)).astype(np.uint8)  # 0..16 to 0..255
    images = np.stack([fit_image(image, int(side), int(side)) for image in images])
    labels = np.asarray(target, np.int32)
    rest, test = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=0)
    train, validation = train_test_split(rest, test_size=0.2, stratify=labels[rest], random_state=0)
    splits = {"train": train, "validation": validation, "test": test}
    return Source(
        uri=request.uri,
        classes=tuple(str(digit) for digit in range(10)),
        image_shape=(int(side), int(side), 1),
        splits={name: ArrayExamples(images[part], labels[part]) for name, part in splits.items()},
    )
