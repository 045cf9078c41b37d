"""What tests of training learn from."""

from typing import Any

import numpy as np


def noisy_patterns(seed: int, shape: tuple[int, int, int], dtype: Any = np.float32) -> dict[str, np.ndarray]:
    """A batch of 32: noise around a pattern for each of ten classes; every example counts."""
    patterns = np.random.default_rng(0).normal(size=(10, *shape))
    random = np.random.default_rng((1, seed))
    labels = random.integers(0, 10, 32).astype(np.int32)
    images = (patterns[labels] + random.normal(size=(32, *shape))).astype(dtype)
    return {"image": images, "label": labels, "mask": np.ones(32, bool)}
