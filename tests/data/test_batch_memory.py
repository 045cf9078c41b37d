"""How much is in memory while batches are read ahead: what docs/data.md says."""

import time
import tracemalloc
from itertools import islice

import numpy as np
import pytest

from xxnet_jax.data import Decoder, ImageFormat, loader, make_loader
from xxnet_jax.data.source import ArrayExamples


@pytest.mark.parametrize("threads", [1, 4])
def test_batches_in_memory(threads: int, monkeypatch):
    """With a reader that is faster than the step, at most three batches more than there are readers, and really some
    ahead; however many batches there have been."""
    monkeypatch.setattr(loader.os, "cpu_count", lambda: threads)
    side, size = 64, 32
    images = np.broadcast_to(np.uint8(7), (4 * size, side, side, 3))  # one byte
    examples = ArrayExamples(images, np.zeros(len(images), np.int32))
    batches = make_loader(examples, Decoder(ImageFormat(side, side, 3), 1), size, train=True, resident=False).batches()
    next(batches)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for batch in islice(batches, 12):
            assert batch["image"].nbytes == size * side**2 * 3
            time.sleep(0.02)
        used = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
        batches.close()
    in_memory = used / (size * side**2 * 3)
    assert threads + 1 <= in_memory < threads + 3.3  # a tenth of a batch for all else
