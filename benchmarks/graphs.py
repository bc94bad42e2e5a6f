"""Graph kernels on MUTAG: time for all pairs of molecules, and accuracy by nested cross-validation.

    python -m benchmarks.graphs PATH/MUTAG.txt

The data (188 molecules, 125 of them mutagenic) is not part of this repository; the format is that of the public
code of Xu et al. 2019 and Du et al. 2019.  One architecture was fixed before the first run, with the depth and the layers of
the network of Xu et al.: four rounds of sums, two dense layers each.  Accuracy is by 10-fold cross-validation, repeated
with several seeds; the penalty C of a support vector machine is chosen within the training part of each
fold, by 5-fold cross-validation, or, for comparison, such that the accuracy over the test folds is best.  The last
rows choose among 24 architectures too, in the same two ways: sums or means over neighbours, rounds, dense layers,
and a readout of the last round or of all ("jumping knowledge"), which are what Du et al. vary.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import SVC

import ntklab as nl
from benchmarks import __main__ as command

VARIABLE = "NTKLAB_MUTAG"
PENALTIES = np.logspace(-2, 4, 7)
REPETITIONS, FOLDS, INNER = 5, 10, 5
FIXED = ("sum", 4, 2, "last round")
CHOICES = list(itertools.product(("sum", "mean"), (1, 2, 4), (1, 2), ("last round", "all rounds")))


def gntk(kind: str, rounds: int, dense: int) -> nl.Sequential:
    """Rounds of sums or means over neighbours, each followed by dense ReLU layers; summed over the nodes in the end."""
    layers = [nl.Dense(2**0.5), nl.ReLU()] * dense
    return nl.Sequential(*[nl.Aggregate(kind), *layers] * rounds, nl.GlobalSumPool(), nl.Dense())


def without_edges(dense: int) -> nl.Sequential:
    """Dense ReLU layers at every node, summed over the nodes."""
    return nl.Sequential(*[nl.Dense(2**0.5), nl.ReLU()] * dense, nl.GlobalSumPool(), nl.Dense())


def run(path: str | Path | None = None) -> tuple[str, list[str], list[list[str]]]:
    """Title, header and rows; accuracies are means over repetitions.

    path: of MUTAG.txt; without it the environment variable NTKLAB_MUTAG says where it is.

    Raises:
        FileNotFoundError: neither names a file.
    """
    path = Path(path or os.environ.get(VARIABLE, ""))
    if not path.is_file():
        raise FileNotFoundError(f"no file {str(path)!r}: give the path of MUTAG.txt, or set {VARIABLE} to it")
    graphs = nl.data.read_graphs(path)
    nothing = timed(nl.Sequential(nl.GlobalSumPool(), nl.Dense()), graphs.x)
    grams, seconds = {}, {}
    for kind, dense in itertools.product(("sum", "mean"), (1, 2)):
        every = nothing
        for rounds in range(1, 5):
            last = timed(gntk(kind, rounds, dense), graphs.x)
            every = every[0] + last[0], every[1] + last[1]  # a readout of all rounds adds up their kernels
            for readout, (gram, spent) in (("last round", last), ("all rounds", every)):
                grams[kind, rounds, dense, readout], seconds[kind, rounds, dense, readout] = gram, spent
    grams[None], seconds[None] = timed(without_edges(FIXED[1] * FIXED[2]), graphs.x)

    words = f"{FIXED[1]} rounds of {FIXED[0]}s"
    kernels = {
        "edges ignored": [None],
        f"GNTK, {words}": [FIXED],
        f"GNTK, one of {len(CHOICES)}": CHOICES,
    }
    rows = [
        ["larger class", "", "", f"{100 * np.bincount(graphs.labels).max() / len(graphs.labels):.1f}", "", ""]
    ]
    for name, chosen in kernels.items():
        repetitions = [
            accuracy([grams[one] for one in chosen], graphs.labels, seed) for seed in range(REPETITIONS)
        ]
        nested, best = (np.array(scores) for scores in zip(*repetitions, strict=True))
        spent = f"{seconds[chosen[0]]:.1f}" if len(chosen) == 1 else ""
        for how, scores in (("inside the training part", nested), ("on the test folds", best)):
            spread = scores.std(1, ddof=1).mean(), scores.mean(1).std(ddof=1)
            rows.append([name, spent, how, *(f"{100 * v:.1f}" for v in (scores.mean(), *spread))])
    header = ["kernel", "time (s)", "choices made", "accuracy (%)", "sd of folds", "sd of repetitions"]
    title = f"MUTAG, {len(graphs.x)} molecules, {FOLDS}-fold cross-validation, {REPETITIONS} repetitions"
    return title, header, rows


def timed(arch: nl.Sequential, x: list) -> tuple[np.ndarray, float]:
    """The NTK, and seconds."""
    start = time.perf_counter()
    gram = arch.kernel(x).ntk
    return gram, time.perf_counter() - start


def accuracy(grams: list[np.ndarray], labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy (folds,) of each test fold: Gram matrix and C chosen inside its training part, or on all test folds."""
    grams, nested, every = [gram / np.mean(np.diag(gram)) for gram in grams], [], []
    for train, test in _folds(FOLDS, labels, seed):
        inside = [scores(gram[np.ix_(train, train)], labels[train], INNER, seed).mean(0) for gram in grams]
        outside = np.array([_scores(gram, labels, train, test) for gram in grams])
        nested.append(outside.ravel()[np.argmax(inside)])
        every.append(outside.ravel())
    every = np.array(every)
    return np.array(nested), every[:, every.mean(0).argmax()]


def scores(gram: np.ndarray, labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Accuracy of each fold with each C, (folds, penalties)."""
    return np.array([_scores(gram, labels, train, test) for train, test in _folds(folds, labels, seed)])


def _folds(folds: int, labels: np.ndarray, seed: int):
    return StratifiedKFold(folds, shuffle=True, random_state=seed).split(labels, labels)


def _scores(gram: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray) -> list[float]:
    own, cross = gram[np.ix_(train, train)], gram[np.ix_(test, train)]
    machines = (SVC(C=penalty, kernel="precomputed").fit(own, labels[train]) for penalty in PENALTIES)
    return [machine.score(cross, labels[test]) for machine in machines]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m benchmarks.graphs PATH/MUTAG.txt")
    load = command.busy()
    result = run(sys.argv[1])
    print(command.table(*result))
    command.keep("graphs", load, *result)
