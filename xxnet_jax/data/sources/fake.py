"""`fake:HEIGHTxWIDTHxCHANNELS/CLASSES?examples=N`: noise in memory, to measure a step without its input."""

import re

import numpy as np

from xxnet_jax.data.source import ArrayExamples, Source, SourceRequest, register_source
from xxnet_jax.errors import InvalidArgument


@register_source("fake", "examples")
def open_fake(request: SourceRequest) -> Source:
    match = re.fullmatch(r"([0-9]+)x([0-9]+)x([0-9]+)/([0-9]+)", request.body)
    examples = request.options.get("examples", "1024")
    counted = re.fullmatch(r"0*[1-9][0-9]*", examples)
    if match is None or counted is None or 0 in (sizes := [int(group) for group in match.groups()]):
        raise InvalidArgument(f"cannot read '{request.uri}': write fake:28x28x1/10?examples=1024")
    height, width, channels, num_classes = sizes

    def noise(seed: int) -> ArrayExamples:
        rng = np.random.default_rng(seed)
        shape = (int(examples), height, width, channels)
        labels = rng.integers(0, num_classes, shape[0], dtype=np.int32)
        return ArrayExamples(rng.integers(0, 256, shape, dtype=np.uint8), labels)

    return Source(
        uri=request.uri,
        classes=tuple(str(number) for number in range(num_classes)),
        image_shape=(height, width, channels),
        splits={name: noise(seed) for seed, name in enumerate(("train", "validation", "test"))},
    )
