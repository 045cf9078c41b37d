"""WordTree (Redmon and Farhadi: YOLO9000, 2016, arXiv 1612.08242, section 4): classes that are kinds of each other.

"Norfolk terrier" is a "terrier", which is a "dog". Each node of the tree has a logit; a softmax over each group of
siblings makes of them the probability of a node given its parent, and the product along the path to the root that of
the node given an object. The root itself, "physical object", is what the confidence of a box tells of, and no node.

Nodes are numbered as in the authors' files: parents before their children, siblings together.
"""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from xxnet_jax.errors import CorruptData, InvalidArgument, MissingData, UnknownName
from xxnet_jax.precision import at_least_float32

ROOT = -1


@dataclass(frozen=True)
class WordTree:
    """A tree of classes. Methods are pure functions of arrays [..., nodes], for `jit` and `vmap`.

    Attributes:
        names: of the nodes, such as WordNet's "n02085620".
        parents: of the nodes; -1 for those under the root.

    Raises:
        ValueError: names that are not unique, a parent that does not come before its child, or siblings apart.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.names or len(self.names) != len(self.parents) or len(set(self.names)) != len(self.names):
            raise InvalidArgument(
                f"expected nodes with different names and a parent each, got {len(self.names)} names, "
                f"{len(set(self.names))} different ones, and {len(self.parents)} parents"
            )
        closed: set[int] = set()
        for node, parent in enumerate(self.parents):
            if not ROOT <= parent < node:
                raise InvalidArgument(
                    f"the parent of {self.names[node]}, node {node}, must come before it, got {parent}"
                )
            if node and parent != self.parents[node - 1]:
                closed.add(self.parents[node - 1])
            if parent in closed:
                raise InvalidArgument(f"siblings must stand together: {self.names[node]}, node {node}, does not")

    @classmethod
    def from_hypernyms(cls, words: Iterable[str], pairs: Iterable[tuple[str, str]], root: str) -> "WordTree":
        """The tree of some words of WordNet, which is no tree: a word may have several hypernyms.

        First come the words with a single path to the root, with all that is on it. Then each other word gets that of
        its paths by which the tree grows least, of equal ones the first in the order of the pairs (section 4).

        Args:
            words: to be in the tree, in the order in which they are added.
            pairs: (word, hypernym).
            root: such as "physical_entity.n.01"; not a node.

        Raises:
            ValueError: a word has no path to the root, or is its own hypernym.
        """
        hypernyms: dict[str, list[str]] = {}
        for word, hypernym in pairs:
            hypernyms.setdefault(word, []).append(hypernym)
        paths = {word: _paths(word, hypernyms, root, ()) for word in words}
        for word, found in paths.items():
            if not found:
                raise InvalidArgument(f"{word} has no path of hypernyms to {root}")
        parent_of: dict[str, str] = {}
        for word in sorted(paths, key=lambda word: len(paths[word]) > 1):  # stable: those with one path come first
            grown = [len(_new_part(path, parent_of)) for path in paths[word]]
            path = paths[word][int(np.argmin(grown))]
            new = _new_part(path, parent_of)
            parent_of |= dict(zip(new, [*new[1:], *path[len(new) :], root], strict=False))
        return cls._numbered(parent_of, root)

    @classmethod
    def _numbered(cls, parent_of: Mapping[str, str], root: str) -> "WordTree":
        """Level by level, the children of a node together."""
        children: dict[str, list[str]] = {}
        for word, parent in parent_of.items():
            children.setdefault(parent, []).append(word)
        names: list[str] = []
        parents: list[int] = []
        level = [(root, ROOT)]
        while level:
            begin = len(names)
            for name, number in level:
                names += children.get(name, [])
                parents += [number] * len(children.get(name, []))
            level = [(names[node], node) for node in range(begin, len(names))]
        return cls(tuple(names), tuple(parents))

    @classmethod
    def read(cls, path: str | Path) -> "WordTree":
        """A tree as Darknet writes it: a line "name parent" for each node.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is not such a file.
        """
        path = Path(path)
        if not path.is_file():
            raise MissingData(f"there is no tree {path}")
        names, parents = [], []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            words = line.split()
            if not words:
                continue
            if len(words) != 2 or not words[1].lstrip("-").isdigit():
                raise CorruptData(f"line {number} of {path} is not 'name parent': {line[:80]}")
            names.append(words[0])
            parents.append(int(words[1]))
        try:
            return cls(tuple(names), tuple(parents))
        except InvalidArgument as error:
            raise CorruptData(f"{path} is no tree: {error}") from error

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """The number of a node.

        Raises:
            ValueError: there is none of that name.
        """
        if name not in self.names:
            raise UnknownName("node", name, self.names)
        return self.names.index(name)

    def path(self, node: int) -> list[int]:
        """The node and its ancestors, up to the one under the root."""
        found = [node]
        while self.parents[found[-1]] != ROOT:
            found.append(self.parents[found[-1]])
        return found

    @functools.cached_property
    def groups(self) -> np.ndarray:
        """The number of each node's group of siblings, int32 [nodes]; group 0 is under the root."""
        changes = np.diff(np.asarray(self.parents), prepend=self.parents[0]) != 0
        return np.cumsum(changes).astype(np.int32)

    @functools.cached_property
    def below(self) -> np.ndarray:
        """The group of each node's children, int32 [nodes]; -1 for a leaf."""
        group = np.full(len(self), -1, np.int32)
        for node, parent in enumerate(self.parents):
            if parent != ROOT:
                group[parent] = self.groups[node]
        return group

    @functools.cached_property
    def depth(self) -> int:
        """Of the tree: nodes on its longest path."""
        levels: list[int] = []
        for parent in self.parents:
            levels.append(1 if parent == ROOT else levels[parent] + 1)
        return max(levels)

    def log_conditional(self, logits: jax.Array) -> jax.Array:
        """Logarithm of the probability of each node given its parent, [..., nodes]: log-softmax over each group."""
        x = jnp.moveaxis(at_least_float32(logits), -1, 0)
        count = int(self.groups[-1]) + 1
        groups = jnp.asarray(self.groups)
        x = x - jax.lax.stop_gradient(jax.ops.segment_max(x, groups, count))[groups]
        return jnp.moveaxis(x - jnp.log(jax.ops.segment_sum(jnp.exp(x), groups, count))[groups], 0, -1)

    def log_probabilities(self, logits: jax.Array) -> jax.Array:
        """Logarithm of the probability of each node given an object, [..., nodes]: the sum along its path."""
        conditional = self.log_conditional(logits)
        parents = jnp.asarray(self.parents)
        total = conditional
        for _ in range(self.depth - 1):  # each round reaches one level more
            total = conditional + jnp.where(_like(parents >= 0, total), total[..., jnp.maximum(parents, 0)], 0)
        return total

    def probabilities(self, logits: jax.Array) -> jax.Array:
        """Probability of each node given an object, [..., nodes]."""
        return jnp.exp(self.log_probabilities(logits))

    def loss(self, logits: jax.Array, labels: jax.Array) -> jax.Array:
        """-log of the probability of nodes, [n]: the cross-entropies of the groups on the path added, as in Darknet.

        Args:
            logits: [n, nodes].
            labels: int [n], nodes, which need not be leaves: what is below them is not learnt.
        """
        return -jnp.take_along_axis(self.log_probabilities(logits), labels[:, None], 1)[:, 0]

    def descend(self, logits: jax.Array, threshold: float = 0.5) -> jax.Array:
        """The node that a descent ends at, int32 [...]: from the root to the likeliest child, as long as the product of
        the probabilities stays above the threshold; but at least to the first level (Darknet's
        `hierarchy_top_prediction`).

        Args:
            logits: [..., nodes].
            threshold: see above.
        """
        probability = self.probabilities(logits)
        moved = jnp.moveaxis(probability, -1, 0)
        count, groups = int(self.groups[-1]) + 1, jnp.asarray(self.groups)
        most = jax.ops.segment_max(moved, groups, count)
        number = jnp.arange(len(self), dtype=jnp.int32).reshape(-1, *[1] * (moved.ndim - 1))
        best = jax.ops.segment_min(jnp.where(moved == most[groups], number, len(self)), groups, count)
        best = jnp.moveaxis(best, 0, -1)  # of siblings, their products are as their own probabilities
        node, below = best[..., 0], jnp.asarray(self.below)
        for _ in range(self.depth - 1):
            group = below[node]
            child = jnp.take_along_axis(best, jnp.maximum(group, 0)[..., None], -1)[..., 0]
            likely = jnp.take_along_axis(probability, child[..., None], -1)[..., 0] > threshold
            # Below a first node that is itself not likely enough no child is: its product is smaller.
            node = jnp.where((group >= 0) & likely, child, node)
        return node

    def detected(self, logits: jax.Array, threshold: float = 0.5) -> jax.Array:
        """The probability of the node that a descent ends at, and 0 for all others, [..., nodes]."""
        chosen = jax.nn.one_hot(self.descend(logits, threshold), len(self), dtype=jnp.bool_)
        return jnp.where(chosen, self.probabilities(logits), 0)


def _like(values: jax.Array, x: jax.Array) -> jax.Array:
    """[n] with the axes of x [..., n]."""
    return values.reshape(*[1] * (x.ndim - 1), -1)


def _paths(word: str, hypernyms: Mapping[str, list[str]], root: str, below: tuple[str, ...]) -> list[tuple[str, ...]]:
    """All paths from a word to below the root, the word first."""
    if word in below:
        raise InvalidArgument(f"{word} is its own hypernym: {' < '.join((*below, word))}")
    path = (*below, word)
    found: list[tuple[str, ...]] = []
    for hypernym in hypernyms.get(word, []):
        found += [path] if hypernym == root else _paths(hypernym, hypernyms, root, path)
    return found


def _new_part(path: tuple[str, ...], parent_of: Mapping[str, str]) -> tuple[str, ...]:
    """The words of a path before the first one that is in the tree: from there the tree's own way goes on."""
    known = next((place for place, word in enumerate(path) if word in parent_of), len(path))
    return path[:known]
