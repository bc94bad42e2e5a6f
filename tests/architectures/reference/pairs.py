"""A pair of samples at infinite width, and the layers that treat every position alike."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from scipy.special import erf as _erf


@dataclass(frozen=True)
class Pair:
    """One channel's covariance K, tangent kernel theta and channel mean at the N positions of x and x'.

    K, theta (N, N); mean (N,); grids: the shape of the positions of each sample, () (length,) or (height, width).
    """

    K: np.ndarray
    theta: np.ndarray
    mean: np.ndarray
    grids: tuple[tuple[int, ...], tuple[int, ...]]

    @property
    def places(self) -> list[tuple[int, tuple[int, ...]]]:
        """(sample 0 or 1, index in its grid) of the N positions, in order."""
        return [(s, index) for s in (0, 1) for index in np.ndindex(*self.grids[s])]

    def rows(self, sample: int) -> list[int]:
        """The numbers of a sample's positions."""
        return [i for i, (s, _) in enumerate(self.places) if s == sample]

    def block(self, first: int = 0, second: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """K and theta between two samples, each (P, P')."""
        cut = np.ix_(self.rows(first), self.rows(second))
        return self.K[cut], self.theta[cut]


def start(x: np.ndarray, x2: np.ndarray) -> Pair:
    """Two vectors (d,), two sequences or graphs' features (positions, d), or two images (c, h, w)."""
    vectors, grids = [], []
    for sample in (np.asarray(x, float), np.asarray(x2, float)):
        if sample.ndim == 3:
            sample = np.moveaxis(sample, 0, -1)
        grids.append(sample.shape[:-1])
        vectors += [sample[index] for index in np.ndindex(*sample.shape[:-1])]
    K = np.array([[u @ v / len(u) for v in vectors] for u in vectors])
    return Pair(K, np.zeros_like(K), np.array([u.mean() for u in vectors]), tuple(grids))


def gram(network, first, second) -> tuple[np.ndarray, np.ndarray]:
    """NNGP kernel and NTK (n1, n2) of network(pair) -> pair with one position a sample."""
    pairs = [[network(start(x, x2)).block() for x2 in second] for x in first]
    return tuple(np.array([[float(p[i].item()) for p in row] for row in pairs]) for i in (0, 1))


def dense(pair: Pair, sigma_w=1.0, sigma_b=0.0, trainable=True) -> Pair:
    K = sigma_w**2 * pair.K + sigma_b**2
    theta = sigma_w**2 * pair.theta + (K if trainable else 0)
    return Pair(K, theta, np.zeros(len(K)), pair.grids)


def add(branch: Pair, shortcut: Pair) -> Pair:
    """A residual block: a branch and a shortcut of independent units, which meet in their means only."""
    cross = np.outer(branch.mean, shortcut.mean)
    K = branch.K + shortcut.K + cross + cross.T
    return Pair(K, branch.theta + shortcut.theta, branch.mean + shortcut.mean, branch.grids)


# --- activations ---------------------------------------------------------------------------------------------

ACTIVATIONS = {  # phi, phi'
    "relu": (lambda u: np.maximum(u, 0), lambda u: (u > 0).astype(float)),
    "erf": (_erf, lambda u: 2 / math.sqrt(math.pi) * np.exp(-(u**2))),
    "tanh": (np.tanh, lambda u: 1 - np.tanh(u) ** 2),
    "sin": (np.sin, np.cos),
    "identity": (lambda u: u, np.ones_like),
}


def expect(f, g, a: float, b: float, c: float, step: float = 0.15) -> float:
    """E f(u) g(v) for smooth f, g; u, v normal with variances a, b and covariance c: the trapezoidal rule."""
    z = np.arange(-9, 9 + step / 2, step)
    w = np.exp(-z * z / 2) * step / math.sqrt(2 * math.pi)
    s1, s2 = math.sqrt(a), math.sqrt(b)
    rho = min(1.0, max(-1.0, c / (s1 * s2))) if s1 * s2 > 0 else 0.0
    u = s1 * z[:, None]
    v = s2 * (rho * z[:, None] + math.sqrt(1 - rho**2) * z[None, :])
    return float((w[:, None] * w[None, :] * f(u) * g(v)).sum())


def moments(name: str, a: float, b: float, c: float) -> tuple[float, float]:
    """E phi(u) phi(v) and E phi'(u) phi'(v); closed forms for relu and erf, two-dimensional integrals otherwise."""
    if name == "relu":
        if a * b == 0:
            return 0.0, 0.0
        root = math.sqrt(max(0.0, a * b - c * c))  # exactly 0 where a == b == c: sqrt(ab) sin(angle)
        slope = (math.pi - math.atan2(root, c)) / (2 * math.pi)
        return root / (2 * math.pi) + c * slope, slope
    if name == "erf":
        scale = (1 + 2 * a) * (1 + 2 * b)
        slope = 4 / math.pi / math.sqrt(scale - 4 * c**2)
        return 2 / math.pi * math.asin(2 * c / math.sqrt(scale)), slope
    phi, slope = ACTIVATIONS[name]
    return expect(phi, phi, a, b, c), expect(slope, slope, a, b, c)


def mean_of(name: str, a: float) -> float:
    """E phi(u), u normal with variance a."""
    return math.sqrt(a / (2 * math.pi)) if name == "relu" else 0.0  # the others are odd


def activation(pair: Pair, name: str) -> Pair:
    n = len(pair.K)
    K, theta = np.empty((n, n)), np.empty((n, n))
    for i, j in itertools.product(range(n), repeat=2):
        K[i, j], slope = moments(name, pair.K[i, i], pair.K[j, j], pair.K[i, j])
        theta[i, j] = slope * pair.theta[i, j]
    return Pair(K, theta, np.array([mean_of(name, pair.K[i, i]) for i in range(n)]), pair.grids)


def layernorm(pair: Pair, mean: np.ndarray | None = None) -> Pair:
    """Over the channels at one position; mean (N,): the channel means, the pair's own unless given."""
    mean = pair.mean if mean is None else mean
    n = len(pair.K)
    variance = [pair.K[i, i] - mean[i] ** 2 for i in range(n)]
    K, theta = np.zeros((n, n)), np.zeros((n, n))
    for i, j in itertools.product(range(n), repeat=2):
        if variance[i] > 0 and variance[j] > 0:
            scale = math.sqrt(variance[i] * variance[j])
            K[i, j] = (pair.K[i, j] - mean[i] * mean[j]) / scale
            theta[i, j] = pair.theta[i, j] / scale
    return Pair(K, theta, np.zeros(n), pair.grids)
