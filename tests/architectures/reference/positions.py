"""Layers that look at positions: convolutions, pools, graphs, recurrences, attention."""

from __future__ import annotations

import itertools
import math
from functools import cache

import numpy as np

from tests.architectures.reference.pairs import Pair, mean_of, moments


def conv(pair: Pair, kernel_size, sigma_w=1.0, sigma_b=0.0, padding="same", stride=1, trainable=True) -> Pair:
    """One or two dimensions, after the grids; kernel_size and stride: a number or one a dimension.

    same and circular: (k - 1) / 2 more pixels on both sides, zero or wrapped.
    """
    dims = len(pair.grids[0])
    size = (kernel_size,) * dims if isinstance(kernel_size, int) else kernel_size
    step = (stride,) * dims if isinstance(stride, int) else stride
    reach = [0 if padding == "valid" else (k - 1) // 2 for k in size]
    grids = tuple(
        tuple((n + 2 * r - k) // s + 1 for n, r, k, s in zip(grid, reach, size, step, strict=True))
        for grid in pair.grids
    )
    number = {place: i for i, place in enumerate(pair.places)}

    def source(sample, index, offset) -> int | None:
        """The input pixel under one tap of the filter, None in the padding."""
        at = [i * s + o - r for i, s, o, r in zip(index, step, offset, reach, strict=True)]
        if padding == "circular":
            at = [a % n for a, n in zip(at, pair.grids[sample], strict=True)]
        return number.get((sample, tuple(at)))

    places = [(s, index) for s in (0, 1) for index in np.ndindex(*grids[s])]
    sources = [[source(*p, offset) for offset in np.ndindex(*size)] for p in places]
    K, theta = np.zeros((2, len(places), len(places)))
    for i, j in itertools.product(range(len(places)), repeat=2):
        for a, b in zip(sources[i], sources[j], strict=True):
            if a is not None and b is not None:
                K[i, j] += pair.K[a, b]
                theta[i, j] += pair.theta[a, b]
    taps = math.prod(size)
    K = sigma_w**2 * K / taps + sigma_b**2
    theta = sigma_w**2 * theta / taps + (K if trainable else 0)
    return Pair(K, theta, np.zeros(len(places)), grids)


def _combine(pair: Pair, weights: list[dict[int, float]], grids) -> Pair:
    """New positions as linear combinations of old ones: weights[new][old]."""
    n = len(weights)
    K, theta = np.zeros((2, n, n))
    for i, j in itertools.product(range(n), repeat=2):
        for a, b in itertools.product(weights[i], weights[j]):
            K[i, j] += weights[i][a] * weights[j][b] * pair.K[a, b]
            theta[i, j] += weights[i][a] * weights[j][b] * pair.theta[a, b]
    mean = np.array([sum(w * pair.mean[a] for a, w in row.items()) for row in weights])
    return Pair(K, theta, mean, grids)


def avgpool(pair: Pair, size) -> Pair:
    """Means over blocks of size pixels a dimension; what is left at the end is dropped."""
    dims = len(pair.grids[0])
    size = (size,) * dims if isinstance(size, int) else size
    grids = tuple(tuple(n // k for n, k in zip(grid, size, strict=True)) for grid in pair.grids)
    number = {place: i for i, place in enumerate(pair.places)}
    weights = []
    for s in (0, 1):
        for index in np.ndindex(*grids[s]):
            block = [
                tuple(i * k + o for i, k, o in zip(index, size, offset, strict=True))
                for offset in np.ndindex(*size)
            ]
            weights.append({number[s, at]: 1 / len(block) for at in block})
    return _combine(pair, weights, grids)


def global_pool(pair: Pair, kind="mean") -> Pair:
    """mean or sum over all positions of a sample."""
    rows = [pair.rows(0), pair.rows(1)]
    weights = [{i: 1 / len(own) if kind == "mean" else 1.0 for i in own} for own in rows]
    return _combine(pair, weights, ((), ()))


def flatten(pair: Pair) -> Pair:
    """All channels of all positions side by side: the mean over positions of K(p, p)."""
    K, theta = np.zeros((2, 2, 2))
    rows = [pair.rows(0), pair.rows(1)]
    for s, t in itertools.product((0, 1), repeat=2):
        for i, j in zip(rows[s], rows[t], strict=True):
            K[s, t] += pair.K[i, j] / len(rows[s])
            theta[s, t] += pair.theta[i, j] / len(rows[s])
    return Pair(K, theta, np.array([pair.mean[own].mean() for own in rows]), ((), ()))


# --- graphs, recurrences, attention --------------------------------------------------------------------------


def aggregate(pair: Pair, adjacency: np.ndarray, adjacency2: np.ndarray, kind="sum") -> Pair:
    """Node v takes the sum over u of A_vu h_u; mean: divided by sum_u A_vu, 0 where that is 0."""
    weights = []
    for s, A in enumerate((adjacency, adjacency2)):
        for v in range(len(A)):
            total = 1.0 if kind == "sum" else float(np.sum(A[v]))
            row = zip(pair.rows(s), A[v], strict=True)
            weights.append({i: a / total for i, a in row} if total else {})
    return _combine(pair, weights, pair.grids)


def recurrent(pair: Pair, name: str, sigma_w=1.0, sigma_u=1.0, sigma_b=0.0, readout="last") -> Pair:
    """a_t = W h_{t-1} + U x_t + b, h_t = phi(a_t), h_0 = 0; the same W, U, b at all times t = 1, 2, ..."""
    number = {(s, index[0] + 1): i for i, (s, index) in enumerate(pair.places)}

    @cache
    def before(p, q) -> tuple[float, float]:
        """K and theta of a at (sample, time) p and q."""
        i, j = number[p], number[q]
        K_h, theta_h = after((p[0], p[1] - 1), (q[0], q[1] - 1))
        K = sigma_w**2 * K_h + sigma_u**2 * pair.K[i, j] + sigma_b**2
        return K, K + sigma_u**2 * pair.theta[i, j] + sigma_w**2 * theta_h

    @cache
    def after(p, q) -> tuple[float, float]:
        """K and theta of h."""
        if p[1] == 0 or q[1] == 0:
            return 0.0, 0.0
        c, theta = before(p, q)
        K, slope = moments(name, before(p, p)[0], before(q, q)[0], c)
        return K, slope * theta

    every = list(number)
    K, theta = np.array([[after(p, q) for q in every] for p in every]).transpose(2, 0, 1)
    mean = np.array([mean_of(name, before(p, p)[0]) for p in every])
    states = Pair(K, theta, mean, pair.grids)
    if readout == "all":
        return states
    if readout == "mean":
        return global_pool(states, "mean")
    return _combine(states, [{states.rows(s)[-1]: 1.0} for s in (0, 1)], ((), ()))


def attention(pair: Pair, mechanism="softmax", scaling="1/d", sigma_qk=1.0, sigma_ov=1.0) -> Pair:
    """Hron et al. 2020: one layer of attention, heads of infinite size ("1/d") or infinitely many ("1/sqrt(d)")."""
    n = len(pair.K)
    if scaling == "1/d":
        weights = []
        for i, (s, _) in enumerate(pair.places):
            scores = {j: sigma_qk**2 * pair.K[i, j] for j in pair.rows(s)}
            if mechanism == "softmax":
                top = max(scores.values())
                total = sum(math.exp(g - top) for g in scores.values())
                scores = {j: math.exp(g - top) / total for j, g in scores.items()}
            weights.append(scores)
        mixed = _combine(pair, weights, pair.grids)
        K = sigma_ov**2 * mixed.K
        return Pair(K, 2 * K + sigma_ov**2 * mixed.theta, np.zeros(n), pair.grids)

    K, theta = np.zeros((2, n, n))
    scale = sigma_ov**2 * sigma_qk**4
    for (a, (s, _)), (b, (t, _)) in itertools.product(enumerate(pair.places), repeat=2):
        square = product = 0.0
        for c, d in itertools.product(pair.rows(s), pair.rows(t)):
            square += pair.K[c, d] ** 2
            product += pair.K[c, d] * pair.theta[c, d]
        K[a, b] = scale * pair.K[a, b] * square
        theta[a, b] = 4 * K[a, b] + scale * (pair.theta[a, b] * square + 2 * pair.K[a, b] * product)
    return Pair(K, theta, np.zeros(n), pair.grids)


def positional(pair: Pair, share: float, length_scale: float, trained=False) -> Pair:
    """h -> sqrt(1 - share) h + sqrt(share) p, p Gaussian with covariance exp(-|a - b|^2 / (2 length_scale^2)).

    trained: p = L e, L L^T that covariance, and gradient descent moves e too.
    """
    n = len(pair.K)
    R = np.empty((n, n))
    for (i, (_, a)), (j, (_, b)) in itertools.product(enumerate(pair.places), repeat=2):
        distance = sum((p - q) ** 2 for p, q in zip(a, b, strict=True))
        R[i, j] = math.exp(-distance / (2 * length_scale**2))
    K = (1 - share) * pair.K + share * R
    theta = (1 - share) * pair.theta + (share * R if trained else 0)
    return Pair(K, theta, math.sqrt(1 - share) * pair.mean, pair.grids)
