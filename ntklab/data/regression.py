"""Regression problems with a known target: on a line, a circle and a sphere."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.special import eval_gegenbauer

from .._validate import choice, finite, positive_int, real, tensors
from .sample import Sample, generator, with_noise

SPACINGS = ("random", "even")


def line(
    n: int,
    *,
    target: Callable[[np.ndarray], np.ndarray] = np.sin,
    extent: float = 3.0,
    spacing: str = "random",
    noise: float = 0.0,
    seed: int = 0,
) -> Sample:
    """Points of [-extent, extent] with values of a function.

    Args:
        n: number of points.
        target: maps inputs (n,) to values (n,).
        extent: half the length of the interval.
        spacing: "random" draws uniformly (unsorted), "even" takes a grid with both ends.
        noise: standard deviation of Gaussian noise added to the values.
        seed: of inputs and noise.

    Returns:
        Sample: x (n, 1), y (n,).

    Raises:
        TypeError, ValueError: an argument out of range, or a target that does not give n finite numbers.
    """
    n, extent = positive_int("n", n), real("extent", extent, minimum=0, strict=True)
    rng = generator(seed)
    if choice("spacing", spacing, SPACINGS) == "even":
        x = np.linspace(-extent, extent, n)
    else:
        x = rng.uniform(-extent, extent, n)
    return Sample(x[:, None], with_noise(_values(target, x), noise, rng))


def circle(
    n: int,
    *,
    frequency: int = 1,
    phase: float = 0.0,
    radius: float = 1.0,
    spacing: str = "even",
    noise: float = 0.0,
    seed: int = 0,
) -> Sample:
    """Points of a circle in the plane; the target is cos(frequency * angle - phase).

    On even spacing a rotation-invariant kernel has a circulant Gram matrix, so its eigenvectors are the
    sampled frequencies.

    Args:
        n: number of points.
        frequency: whole number of periods of the target in one turn, 0 is the constant cos(phase).
        phase: in radians.
        radius: of the circle; sqrt(2) gives the course's |x|^2 = d.
        spacing: "even" takes the angles 2 pi i / n, "random" draws them uniformly.
        noise: standard deviation of Gaussian noise added to the target.
        seed: of angles and noise.

    Returns:
        Sample: x (n, 2), y (n,).  The angle is ``numpy.arctan2(x[:, 1], x[:, 0])``.

    Raises:
        TypeError, ValueError: an argument out of range.
    """
    n, frequency = positive_int("n", n), _whole("frequency", frequency)
    phase, radius = real("phase", phase), real("radius", radius, minimum=0, strict=True)
    rng = generator(seed)
    if choice("spacing", spacing, SPACINGS) == "even":
        angle = 2 * math.pi * np.arange(n) / n
    else:
        angle = rng.uniform(-math.pi, math.pi, n)
    x = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return Sample(x, with_noise(np.cos(frequency * angle - phase), noise, rng))


def sphere(
    n: int, dimension: int, *, degree: int = 1, radius: float = 1.0, noise: float = 0.0, seed: int = 0
) -> Sample:
    """Uniform points of a sphere in R^dimension; the target is a spherical harmonic of one degree.

    The target depends on the first coordinate t = x_1 / radius alone: the zonal harmonic, a Gegenbauer
    polynomial of order dimension/2 - 1, normalised to mean square 1 over the sphere (Muller, Spherical
    Harmonics, 1966).  Harmonics of a degree share one eigenvalue of every rotation-invariant kernel.

    Args:
        n: number of points.
        dimension: d >= 2 of the surrounding space.
        degree: k of the harmonic, 0 is the constant 1, 1 is sqrt(d) t.
        radius: of the sphere; sqrt(d) gives the course's |x|^2 = d.
        noise: standard deviation of Gaussian noise added to the target.
        seed: of points and noise.

    Returns:
        Sample: x (n, dimension), y (n,).

    Raises:
        TypeError, ValueError: an argument out of range.
    """
    n, dimension = positive_int("n", n), positive_int("dimension", dimension)
    degree = _whole("degree", degree)
    if dimension < 2:
        raise ValueError(f"dimension must be at least 2, got {dimension}")
    radius = real("radius", radius, minimum=0, strict=True)
    rng = generator(seed)
    x = rng.standard_normal((n, dimension))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return Sample(radius * x, with_noise(_zonal_harmonic(x[:, 0], dimension, degree), noise, rng))


def _zonal_harmonic(t: np.ndarray, dimension: int, degree: int) -> np.ndarray:
    if degree == 0:
        return np.ones_like(t)
    if dimension == 2:
        return math.sqrt(2) * np.cos(degree * np.arccos(np.clip(t, -1, 1)))
    order = dimension / 2 - 1
    multiplicity = math.comb(dimension + degree - 1, degree)
    if degree >= 2:
        multiplicity -= math.comb(dimension + degree - 3, degree - 2)
    at_pole = eval_gegenbauer(degree, order, 1.0)
    return math.sqrt(multiplicity) * eval_gegenbauer(degree, order, t) / at_pole


def _whole(name: str, value) -> int:
    """An integer of at least 0."""
    return 0 if value == 0 and not isinstance(value, (bool, float)) else positive_int(name, value)


def _values(target, x: np.ndarray) -> np.ndarray:
    if not callable(target):
        raise TypeError(f"target must be a function of an array (n,), got {target!r}")
    (y,), _ = tensors(**{"target(x)": target(x.copy())})
    if tuple(y.shape) != x.shape:
        raise ValueError(f"target must map shape {x.shape} to the same shape, got {tuple(y.shape)}")
    finite("target(x)", y)
    return y.detach().cpu().numpy().astype(np.float64)
