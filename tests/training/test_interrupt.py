"""Signals as requests."""

import os
import signal

import pytest

from xxnet_jax.training.interrupt import InterruptRequest


@pytest.fixture
def handlers():
    """Set handlers for the test: whoever runs pytest in the background lets it ignore Ctrl-C."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
def test_the_first_signal_is_a_request_and_the_second_an_order():
    """SIGTERM is noted once; Ctrl-C after it raises as always; afterwards the old handlers are back."""
    with InterruptRequest() as request:
        assert request.signal is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.signal == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


@pytest.mark.usefixtures("handlers")
def test_an_ignored_signal_stays_ignored():
    """Where Ctrl-C is ignored, as in a shell's background job, it is no request."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with InterruptRequest() as request:
        os.kill(os.getpid(), signal.SIGINT)
        assert request.signal is None
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
