"""Tables of names."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from xxnet_jax.pretrained.names import renamer


@given(st.integers(0, 20), st.integers(0, 20), st.integers(1, 3))
def test_numbers_are_taken_over_and_added_to(stage: int, block: int, number: int):
    """A field of one letter is a number, and a pattern may add to it or take from it."""
    rename = renamer({"layer{s}.{b}.conv{i}": "conv{s+1}_block{b-2}_{i}/conv"})
    assert rename(f"layer{stage}.{block}.conv{number}") == f"conv{stage + 1}_block{block - 2}_{number}/conv"


@pytest.mark.parametrize(
    "name", ["layer1.0.conv", "layer1.0.conv1x", "xlayer1.0.conv1", "layera.0.conv1", "layer1x0.conv1"]
)
def test_a_pattern_fits_the_whole_name_and_nothing_else(name: str):
    """Dots are dots, and a letter is no number."""
    assert renamer({"layer{s}.{b}.conv{i}": "{s}{b}{i}"})(name) is None


def test_the_first_pattern_that_fits_is_taken():
    """So exceptions stand before the rule; words end where the pattern goes on."""
    rename = renamer({"bn_{unit}": "first/{unit}", "{unit}_bn": "{unit}/bn", "{unit}": "{unit}/conv"})
    assert [rename(name) for name in ("bn_Conv1", "block_1_expand_bn", "block_1_expand")] == [
        "first/Conv1",
        "block_1_expand/bn",
        "block_1_expand/conv",
    ]


def test_a_field_that_stands_twice_is_the_same():
    """Also in what is looked for."""
    rename = renamer({"{n}-{n}": "{n}"})
    assert (rename("12-12"), rename("12-21")) == ("12", None)
