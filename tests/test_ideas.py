"""The code on the page of ideas runs, and gives what the page says."""

import doctest
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "ideas.md"


def test_ideas():
    """Every example gives the output that stands below it."""
    failed, tried = doctest.testfile(str(PAGE), module_relative=False)
    assert tried > 30
    assert failed == 0
