"""The tables of the Inceptions as data, V2, V3 and V4, and the same with other convolutions; `table` reads them."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from xxnet_jax.errors import InvalidArgument
from xxnet_jax.models.convolution import Padding


@dataclass(frozen=True)
class Unit:
    """A convolution of a table, with its normalization and activation."""

    features: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: Padding = "SAME"


@dataclass(frozen=True)
class Pool:
    """3x3 pooling of a table."""

    kind: Literal["max", "avg"]
    stride: int = 1
    padding: Literal["SAME", "VALID"] = "SAME"
    kernel: tuple[int, int] = (3, 3)


Fork = tuple[Unit, ...]  # convolutions of the same map, concatenated
Step = Unit | Pool | Fork
Branch = tuple[Step, ...]


@dataclass(frozen=True)
class Row:
    """One named part of a network: branches that see the same map and are concatenated."""

    name: str
    branches: tuple[Branch, ...]


def table(text: str) -> tuple[Row, ...]:
    """The rows of a network. A row has a name, then branches between bars, each of which is a sequence of

        64          1x1 convolution with 64 features
        64:1x7      convolution with a kernel of 1 row and 7 columns
        64:3x3/2    with stride 2
        64:3x3/2v   with VALID padding; SAME otherwise
        64:1x3+64:3x1   both on the same map, concatenated
        max/2v avg  pooling with a window of 3x3; stride and padding as above

    and Mixed_5cd stands for two equal rows, Mixed_5c and Mixed_5d.

    Raises:
        ValueError: a word is none of these, or a row has no branches.
    """

    def unit(word: str) -> Unit:
        found = re.fullmatch(r"(\d+)(?::(\d+)x(\d+))?(?:/(\d))?(v?)", word)
        if not found:
            raise InvalidArgument(f"'{word}' of a table is no layer: 64, 64:1x7, 64:3x3/2v, max/2 and avg are")
        features, height, width, stride, valid = found.groups()
        kernel = (int(height or 1), int(width or 1))
        return Unit(int(features), kernel, int(stride or 1), "VALID" if valid else "SAME")

    def step(word: str) -> Step:
        pool = re.fullmatch(r"(max|avg)(?:/(\d))?(v?)", word)
        if pool:
            kind: Any = pool[1]
            return Pool(kind, int(pool[2] or 1), "VALID" if pool[3] else "SAME")
        return tuple(map(unit, word.split("+"))) if "+" in word else unit(word)

    rows: list[Row] = []
    for line in text.strip().splitlines():
        name, _, content = " ".join(line.split()).partition(" ")
        if not content:
            raise InvalidArgument(f"the row '{name}' of a table has no layers: a name, then branches between bars")
        branches = tuple(tuple(map(step, branch.split())) for branch in content.split("|"))
        several = re.fullmatch(r"(Mixed_\d)([a-z]+)", name)
        names = [several[1] + letter for letter in several[2]] if several else [name]
        rows += [Row(name, branches) for name in names]
    return tuple(rows)


def renamed(rows: tuple[Row, ...], names: str) -> tuple[Row, ...]:
    """`rows` with other names."""
    return tuple(replace(row, name=name) for row, name in zip(rows, names.split(), strict=True))


V2 = table("""
    Conv2d_1a_7x7   64:7x7/2
    MaxPool_2a_3x3  max/2
    Conv2d_2b_1x1   64
    Conv2d_2c_3x3   192:3x3
    MaxPool_3a_3x3  max/2
    Mixed_3b        64  | 64 64:3x3       | 64 96:3x3 96:3x3       | avg 32
    Mixed_3c        64  | 64 96:3x3       | 64 96:3x3 96:3x3       | avg 64
    Mixed_4a              128 160:3x3/2   | 64 96:3x3 96:3x3/2     | max/2
    Mixed_4b        224 | 64 96:3x3       | 96 128:3x3 128:3x3     | avg 128
    Mixed_4c        192 | 96 128:3x3      | 96 128:3x3 128:3x3     | avg 128
    Mixed_4d        160 | 128 160:3x3     | 128 160:3x3 160:3x3    | avg 96
    Mixed_4e        96  | 128 192:3x3     | 160 192:3x3 192:3x3    | avg 96
    Mixed_5a              128 192:3x3/2   | 192 256:3x3 256:3x3/2  | max/2
    Mixed_5b        352 | 192 320:3x3     | 160 224:3x3 224:3x3    | avg 128
    Mixed_5c        352 | 192 320:3x3     | 192 224:3x3 224:3x3    | max 128
""")

V3 = table("""
    Conv2d_1a_3x3   32:3x3/2v
    Conv2d_2a_3x3   32:3x3v
    Conv2d_2b_3x3   64:3x3
    MaxPool_3a_3x3  max/2v
    Conv2d_3b_1x1   80
    Conv2d_4a_3x3   192:3x3v
    MaxPool_5a_3x3  max/2v
    Mixed_5b        64  | 48 64:5x5           | 64 96:3x3 96:3x3                    | avg 32
    Mixed_5cd       64  | 48 64:5x5           | 64 96:3x3 96:3x3                    | avg 64
    Mixed_6a        384:3x3/2v                | 64 96:3x3 96:3x3/2v                 | max/2v
    Mixed_6b        192 | 128 128:1x7 192:7x1 | 128 128:7x1 128:1x7 128:7x1 192:1x7 | avg 192
    Mixed_6cd       192 | 160 160:1x7 192:7x1 | 160 160:7x1 160:1x7 160:7x1 192:1x7 | avg 192
    Mixed_6e        192 | 192 192:1x7 192:7x1 | 192 192:7x1 192:1x7 192:7x1 192:1x7 | avg 192
    Mixed_7a        192 320:3x3/2v            | 192 192:1x7 192:7x1 192:3x3/2v      | max/2v
    Mixed_7bc       320 | 384 384:1x3+384:3x1 | 448 384:3x3 384:1x3+384:3x1         | avg 192
""")

V3_KERAS = renamed(V3, "conv0 conv1 conv2 pool1 conv3 conv4 pool2 " + " ".join(f"mixed{i}" for i in range(11)))

V4 = table("""
    Conv2d_1a_3x3   32:3x3/2v
    Conv2d_2a_3x3   32:3x3v
    Conv2d_2b_3x3   64:3x3
    Mixed_3a        max/2v      | 96:3x3/2v
    Mixed_4a        64 96:3x3v  | 64 64:1x7 64:7x1 96:3x3v
    Mixed_5a        192:3x3/2v  | max/2v
    Mixed_5bcde     96  | 64 96:3x3           | 64 96:3x3 96:3x3                    | avg 96
    Mixed_6a        384:3x3/2v                | 192 224:3x3 256:3x3/2v              | max/2v
    Mixed_6bcdefgh  384 | 192 224:1x7 256:7x1 | 192 192:7x1 224:1x7 224:7x1 256:1x7 | avg 128
    Mixed_7a        192 192:3x3/2v            | 256 256:1x7 320:7x1 320:3x3/2v      | max/2v
    Mixed_7bcd      256 | 384 256:1x3+256:3x1 | 384 448:3x1 512:1x3 256:1x3+256:3x1 | avg 256
""")


# ------------------------------------------------------------------------- the same tables with other convolutions


def each_branch(rows: tuple[Row, ...], change: Callable[[Branch], Branch]) -> tuple[Row, ...]:
    """`rows` with `change` of every branch in its place."""
    return tuple(replace(row, branches=tuple(map(change, row.branches))) for row in rows)


def each_unit(rows: tuple[Row, ...], change: Callable[[Unit], Unit]) -> tuple[Row, ...]:
    """`rows` with `change` of every convolution in its place."""

    def changed(step: Step) -> Step:
        if isinstance(step, Pool):
            return step
        return change(step) if isinstance(step, Unit) else tuple(map(change, step))

    return each_branch(rows, lambda branch: tuple(map(changed, branch)))


def merged(branch: Branch, is_pair: Callable[[Unit, Unit], bool]) -> Branch:
    """`branch` with one convolution in the place of two that follow each other, of the same receptive field."""
    steps: list[Step] = []
    for step in branch:
        before = steps[-1] if steps else None
        if isinstance(before, Unit) and isinstance(step, Unit) and before.stride == 1 and is_pair(before, step):
            steps[-1] = replace(step, kernel=_sum_less_one(before.kernel, step.kernel), padding=_both(before, step))
        else:
            steps.append(step)
    return tuple(steps)


def with_two_3x3(branch: Branch) -> Branch:
    """`branch` with two 3x3 convolutions in the place of each 5x5; both have its features."""
    steps: list[Step] = []
    for step in branch:
        if isinstance(step, Unit) and step.kernel == (5, 5):
            steps += [Unit(step.features, (3, 3), 1, step.padding), replace(step, kernel=(3, 3))]
        else:
            steps.append(step)
    return tuple(steps)


def is_asymmetric_pair(first: Unit, second: Unit) -> bool:
    return first.kernel == second.kernel[::-1] and first.kernel[0] != first.kernel[1]


def is_pair_of_3x3(first: Unit, second: Unit) -> bool:
    return first.kernel == second.kernel == (3, 3)


def _sum_less_one(first: tuple[int, int], second: tuple[int, int]) -> tuple[int, int]:
    return first[0] + second[0] - 1, first[1] + second[1] - 1


def _both(first: Unit, second: Unit) -> Padding:
    if first.padding == second.padding:
        return first.padding
    sides = [0, 0]
    for unit in (first, second):  # one is SAME, the other VALID
        if unit.padding == "SAME":
            assert unit.stride == 1
            sides = [side // 2 for side in unit.kernel]
    return tuple((side, side) for side in sides)
