"""How the processes of a run find each other; `experiments/checks/two_processes.py` lets them."""

from typing import Any

import pytest

from xxnet_jax.training.processes import Processes, is_writer


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"coordinator": "localhost:1"}, "belong together"),
        ({"processes": 2, "process": 0}, "belong together"),
        ({"coordinator": "localhost:1", "processes": 2, "process": 2}, r"process 2 is none of 0\.\.1"),
        ({"coordinator": "localhost:1", "processes": 2, "process": -1}, "process -1 is none"),
    ],
)
def test_half_an_address_is_refused(options: dict[str, Any], message: str):
    """What is missing or impossible is said before anything waits for it."""
    with pytest.raises(ValueError, match=message):
        Processes(**options)


def test_one_process_joins_nothing():
    """By default there is one, and it writes."""
    Processes().join()
    assert is_writer()
