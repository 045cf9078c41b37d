"""Signals as requests."""

import os
import signal

import pytest

from xxnet_jax.training.interrupt import InterruptRequest


def test_the_first_signal_is_a_request_and_the_second_an_order():
    """SIGTERM is noted once; Ctrl-C after it raises as always; afterwards the old handlers are back."""
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with InterruptRequest() as request:
        assert request.signal is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.signal == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
