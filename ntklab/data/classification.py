"""Two-class problems with labels -1 and 1: moons, Gaussians, and products of signs."""

from __future__ import annotations

import math

import numpy as np

from .._validate import positive_int, real
from .sample import Sample, generator


def two_moons(n: int, *, noise: float = 0.1, seed: int = 0) -> Sample:
    """Two interleaved half circles in the plane, centred, with |x|^2 = 2 on average.

    Before scaling the upper moon (label 1) is (cos t, sin t) and the lower one (label -1) is
    (1 - cos t, 1/2 - sin t), with t uniform on [0, pi].  Centre and scale are those of the distribution,
    not of the sample, so sets of different seeds lie in the same coordinates.

    Args:
        n: number of points; the labels alternate.
        noise: standard deviation of Gaussian noise on both coordinates, before scaling.
        seed: of positions and noise.

    Returns:
        Sample: x (n, 2), y (n,) of -1 and 1.

    Raises:
        TypeError, ValueError: an argument out of range.
    """
    n, noise = positive_int("n", n), real("noise", noise, minimum=0)
    rng = generator(seed)
    y = _alternating(n)
    t = rng.uniform(0, math.pi, n)
    upper = np.stack([np.cos(t), np.sin(t)], axis=1)
    x = np.where(y[:, None] > 0, upper, np.array([1, 0.5]) - upper)
    x = x + noise * rng.standard_normal((n, 2)) - np.array([0.5, 0.25])
    mean_square = 1.3125 - 1 / math.pi + 2 * noise**2
    return Sample(x * math.sqrt(2 / mean_square), y)


def gaussian_mixture(n: int, dimension: int = 2, *, separation: float = 2.0, seed: int = 0) -> Sample:
    """Two round Gaussians with unit variance whose means are ``separation`` apart on the first axis.

    The best classifier is the sign of x_1, wrong with probability Phi(-separation/2).  The points have
    mean 0 and E|x|^2 = dimension + separation^2/4.

    Returns:
        Sample: x (n, dimension), y (n,) of -1 and 1, alternating.

    Raises:
        TypeError, ValueError: an argument out of range.
    """
    n, dimension = positive_int("n", n), positive_int("dimension", dimension)
    separation = real("separation", separation, minimum=0)
    y = _alternating(n)
    x = generator(seed).standard_normal((n, dimension))
    x[:, 0] += separation / 2 * y
    return Sample(x, y)


def xor(n: int, *, noise: float = 0.3, seed: int = 0) -> Sample:
    """Four Gaussian clouds around (+-1, +-1); the label is the product of the corner's signs.

    No linear function of x is correlated with the label.

    Args:
        n: number of points, corners drawn at random.
        noise: standard deviation of each cloud.
        seed: of corners and noise.

    Returns:
        Sample: x (n, 2), y (n,) of -1 and 1.

    Raises:
        TypeError, ValueError: an argument out of range.
    """
    n, noise = positive_int("n", n), real("noise", noise, minimum=0)
    rng = generator(seed)
    corner = _signs(rng, n, 2)
    return Sample(corner + noise * rng.standard_normal((n, 2)), corner.prod(axis=1))


def parity(n: int, dimension: int, *, degree: int = 2, seed: int = 0) -> Sample:
    """Random signs with the label x_1 x_2 ... x_degree: hard for a fixed kernel, as degree grows.

    Rows have |x|^2 = dimension exactly.  Parities of the same degree are orthogonal under the uniform
    distribution and a kernel that depends on x.x' alone cannot tell them apart, so it needs of the order of
    C(dimension, degree) samples; a network may find the few coordinates that matter.

    Args:
        n: number of points.
        dimension: number of signs in a row.
        degree: how many of them the label multiplies, at most ``dimension``.
        seed: of the signs.

    Returns:
        Sample: x (n, dimension) of -1 and 1, y (n,) of -1 and 1.

    Raises:
        TypeError, ValueError: an argument out of range.
    """
    x = _sign_rows(n, dimension, degree, seed)
    return Sample(x, x[:, :degree].prod(axis=1))


def staircase(n: int, dimension: int, *, degree: int = 3, seed: int = 0) -> Sample:
    """Random signs with the target (x_1 + x_1 x_2 + ... + x_1 ... x_degree) / sqrt(degree).

    Each term adds one coordinate to the previous one, so a network that learns features can climb term by
    term (Abbe, Boix-Adsera, Brennan, Bresler and Nagaraj, NeurIPS 2021).  The terms are orthonormal: y has
    mean square 1.

    Returns:
        Sample: x (n, dimension) of -1 and 1, y (n,) real.

    Raises:
        TypeError, ValueError: an argument out of range.
    """
    x = _sign_rows(n, dimension, degree, seed)
    return Sample(x, np.cumprod(x[:, :degree], axis=1).sum(axis=1) / math.sqrt(degree))


def _sign_rows(n, dimension, degree, seed) -> np.ndarray:
    n, dimension = positive_int("n", n), positive_int("dimension", dimension)
    degree = positive_int("degree", degree)
    if degree > dimension:
        raise ValueError(f"degree must be at most dimension {dimension}, got {degree}")
    return _signs(generator(seed), n, dimension)


def _signs(rng: np.random.Generator, n: int, dimension: int) -> np.ndarray:
    return 2.0 * rng.integers(0, 2, (n, dimension)) - 1


def _alternating(n: int) -> np.ndarray:
    return np.where(np.arange(n) % 2 == 0, 1.0, -1.0)
