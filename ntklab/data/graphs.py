"""Graphs: made molecules whose label is a bond, and a reader of a common text format."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from .._validate import positive_int
from ..layers.graph import Graph
from .sample import generator

RINGS = (5, 6)
RARE = 2  # atoms of each rare kind
VALENCE = 3  # most neighbours of an atom


class Graphs(NamedTuple):
    """n graphs with labels.

    ``x``: a list of n ``Graph``, nodes with one-hot tags as features; ``y`` float64 targets, (n,) of -1 and 1
    for two classes, for k classes centred one-hot rows (n, k), 1 - 1/k in the column of the class and -1/k in
    the others; ``labels`` (n,) int64, the classes 0 ... k - 1.
    """

    x: list[Graph]
    y: np.ndarray
    labels: np.ndarray


def molecules(
    n: int = 100, *, nodes: tuple[int, int] = (8, 20), self_loops: bool = True, seed: int = 0
) -> Graphs:
    """Made molecules: is a nitrogen bound to an oxygen?

    Every graph is a ring of five or six atoms, to which further atoms were bound one after another, each to a random
    atom with fewer than three neighbours.  Two of the atoms are nitrogens, two oxygens, all others carbons: the
    tags 1, 2 and 0, one-hot.  In class 1 some nitrogen is a neighbour of some oxygen, in class 0 none is; where they
    stand is random otherwise.  Sizes, tags and bonds are drawn before the label: a method that ignores
    which atoms are bound knows nothing of it.

    Args:
        n: how many graphs, half of them (rounded up) of class 0, in random order.
        nodes: smallest and largest number of atoms, drawn uniformly; at least 8.
        self_loops: add 1 to the diagonal of each adjacency, so that a node hears itself too.
        seed: of a private generator.

    Returns:
        Graphs: labels 0 (no such bond) and 1; y is -1 and 1.

    Raises:
        TypeError, ValueError: a size that is no integer, or below 8, or seed below 0.
    """
    n = positive_int("n", n)
    low, high = _sizes(nodes)
    rng = generator(seed)
    labels = rng.permutation(np.arange(n) * 2 // n)
    x = [_molecule(int(rng.integers(low, high + 1)), bool(label), self_loops, rng) for label in labels]
    return Graphs(x, _targets(labels, 2), labels)


def _sizes(nodes) -> tuple[int, int]:
    try:
        low, high = nodes
    except (TypeError, ValueError):
        raise ValueError(f"nodes must be a pair (smallest, largest), got {nodes!r}") from None
    low, high = positive_int("nodes[0]", low), positive_int("nodes[1]", high)
    if not 8 <= low <= high:
        raise ValueError(f"nodes must be a pair with 8 <= smallest <= largest, got {nodes!r}")
    return low, high


def _molecule(size: int, bound: bool, self_loops: bool, rng: np.random.Generator) -> Graph:
    adjacency, ring = np.zeros((size, size)), int(rng.choice(RINGS))
    here = np.arange(ring)
    adjacency[here, (here + 1) % ring] = adjacency[(here + 1) % ring, here] = 1
    for atom in range(ring, size):
        other = rng.choice(np.flatnonzero(adjacency[:atom].sum(1) < VALENCE))
        adjacency[atom, other] = adjacency[other, atom] = 1
    while True:  # both classes have such places on every graph
        places = rng.permutation(size)
        nitrogen, oxygen = places[:RARE], places[RARE : 2 * RARE]
        if adjacency[np.ix_(nitrogen, oxygen)].any() == bound:
            break
    features = np.zeros((size, 3))
    features[:, 0] = 1
    features[nitrogen], features[oxygen] = (0, 1, 0), (0, 0, 1)
    order = rng.permutation(size)  # the ring must not stand first
    adjacency = adjacency[np.ix_(order, order)]
    return Graph(features[order], adjacency + np.eye(size) if self_loops else adjacency)


def read_graphs(path, *, self_loops: bool = True) -> Graphs:
    """Read graphs from a text file in the format of the public code of Xu et al. 2019 and Du et al. 2019.

    The first line says how many graphs follow.  Each begins with a line ``nodes label``, then has one line a node:
    ``tag degree neighbour neighbour ...``, neighbours counted from 0.  Tags and labels are any integers; features
    are one-hot over the sorted tags of the whole file, labels are numbered in sorted order.  An edge that only one
    of its nodes lists counts as one.

    Args:
        path: of the file.
        self_loops: as for `molecules`.

    Raises:
        ValueError: with the number of the line, where the file is not of this format.
        OSError: the file cannot be read.
    """
    lines = _Lines(Path(path))
    (count,) = lines.take(1, "the number of graphs")
    lines.require(count >= 1, f"the number of graphs must be at least 1, got {count}")
    labels, tags, matrices = [], [], []
    for graph in range(count):
        size, label = lines.take(2, f"'nodes label' of graph {graph + 1} of {count}")
        lines.require(size >= 1, f"a graph must have at least one node, got {size}")
        own, adjacency = [], np.zeros((size, size))
        for node in range(size):
            tag, degree, *others = lines.take(None, f"'tag degree neighbours' of node {node} of {size}")
            lines.require(len(others) == degree, f"{degree} neighbours are announced, {len(others)} follow")
            bad = [other for other in others if not 0 <= other < size]
            lines.require(not bad, f"neighbours must be 0 ... {size - 1}, got {bad[:1]}")
            adjacency[node, others] = 1
            own.append(tag)
        labels.append(label)
        tags.append(own)
        matrices.append(np.maximum(adjacency, adjacency.T))
    lines.end(count)

    kinds = np.unique(np.concatenate(tags))
    if self_loops:
        matrices = [matrix + np.eye(len(matrix)) for matrix in matrices]
    x = [
        Graph((np.array(own)[:, None] == kinds).astype(np.float64), matrix)
        for own, matrix in zip(tags, matrices, strict=True)
    ]
    classes, numbers = np.unique(labels, return_inverse=True)
    numbers = numbers.astype(np.int64)
    return Graphs(x, _targets(numbers, len(classes)), numbers)


class _Lines:
    """Lines of integers, one after another; errors name file and line."""

    def __init__(self, path: Path):
        self.path, self.number = path, 0
        self.lines = path.read_text(encoding="utf-8").splitlines()

    def take(self, words: int | None, what: str) -> list[int]:
        """The next line's integers: so many, or at least two."""
        self.number += 1
        self.require(self.number <= len(self.lines), f"{what} expected, the file ends")
        text = self.lines[self.number - 1]
        try:
            values = [int(word) for word in text.split()]
        except ValueError:
            values = []
        right = len(values) >= 2 if words is None else len(values) == words
        self.require(right, f"{what} expected as integers, got {text[:60]!r}")
        return values

    def end(self, count: int) -> None:
        rest = [i for i, text in enumerate(self.lines[self.number :], self.number + 1) if text.strip()]
        if rest:
            self.number = rest[0]
            self.require(False, f"more lines than those of the {count} graphs announced")

    def require(self, holds: bool, message: str) -> None:
        if not holds:
            raise ValueError(f"{self.path}, line {self.number}: {message}")


def _targets(labels: np.ndarray, k: int) -> np.ndarray:
    return 2.0 * labels - 1 if k == 2 else (labels[:, None] == np.arange(k)) - 1 / k
