"""Spectra of infinite-width kernels on the circle and on spheres of any dimension.

On the sphere |x| = r a rotation-invariant kernel is a function kappa(t) of the cosine t = x . x' / r^2.  Its
integral operator with respect to the uniform probability measure has the spherical harmonics as
eigenfunctions, with one eigenvalue for each degree k (Funk-Hecke; Muller, Spherical Harmonics, 1966):

    lambda_k = int kappa(t) P_k(t) dmu(t),     dmu ~ (1 - t^2)^((d - 3) / 2) dt,  mu([-1, 1]) = 1

with P_k the Gegenbauer polynomial of dimension d scaled to P_k(1) = 1, cos(k theta) on the circle.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ntklab._validate import choice, positive_int, real
from ntklab.convergence.series import NoSeries, kernel_series
from ntklab.layers.base import Layer

EPS = np.finfo(np.float64).eps
GOOD = 1e-6  # bound on the relative error of an eigenvalue above which the series is asked too
ENOUGH = 1e-4  # and above which it is refused; errors are about 100 times smaller than their bounds
LOWEST = 1e-12  # multiplicity times eigenvalue, over the kernel's value, below which it may be less accurate
SERIES_TERMS = 4096
NODES = 24  # of Gauss-Legendre on a panel


class SphereSpectrum(NamedTuple):
    """Eigenvalues of a kernel's integral operator on a sphere, one for each degree; numpy arrays (D,)."""

    degrees: np.ndarray
    eigenvalues: np.ndarray
    multiplicities: np.ndarray
    """float64: how many independent harmonics have this degree."""


def sphere_spectrum(arch: Layer, dimension: int, degrees, *, radius=None, kernel="ntk") -> SphereSpectrum:
    """Eigenvalues of an architecture's kernel on the sphere |x| = radius in R^dimension.

    They belong to the integral operator with the *uniform probability measure*, so that

        kernel(x, x) = sum_k multiplicity_k eigenvalue_k     over all degrees k = 0, 1, 2, ...

    and n samples drawn uniformly give a Gram matrix whose eigenvalues over n tend to them.

    Args:
        arch: an architecture.
        dimension: d >= 2 of the surrounding space; 2 is the circle.
        degrees: whole numbers from 0, (D,), or an int D for the degrees 0 .. D - 1.
        radius: of the sphere; by default sqrt(dimension), the course's |x|^2 = d.
        kernel: "ntk" or "nngp".

    The integrals are done by Gauss-Legendre quadrature in the angle.  In high dimension those of high degree
    are far below rounding error; they come from the kernel's power series instead, which has no negative
    terms.  Relative errors are below 1e-4, most far below, where multiplicity times eigenvalue is above 1e-12
    of kernel(x, x); what cannot be told from 0 is 0.

    Raises:
        ValueError, TypeError: arguments out of range; a kernel that is not invariant under rotations; an
            eigenvalue that float64 cannot resolve (unknown layers in high dimension), or hold.
    """
    dimension = positive_int("dimension", dimension)
    if dimension < 2:
        raise ValueError(f"dimension must be at least 2, got {dimension}")
    degrees = _degrees("degrees", degrees)
    radius = math.sqrt(dimension) if radius is None else real("radius", radius, minimum=0, strict=True)
    choice("kernel", kernel, ("ntk", "nngp"))
    top = int(degrees.max())
    counts = multiplicity(dimension, np.arange(top + 1))
    weights, error, size = _by_quadrature(arch, dimension, top, radius, kernel)
    weights, error = weights * counts, error * counts
    if (error > GOOD * np.abs(weights))[degrees].any():
        series, series_error = _by_series(arch, dimension, top, radius, kernel)
        weights = np.where(series_error < error, series, weights)
        error = np.minimum(series_error, error)
        lost = degrees[(error > np.maximum(ENOUGH * np.abs(weights), LOWEST * size))[degrees]]
        if len(lost):
            raise ValueError(f"float64 cannot resolve degree {lost[0]} in dimension {dimension} for {arch!r}")
    weights = np.where(weights > error, weights, 0.0)
    return SphereSpectrum(degrees, (weights / counts)[degrees], counts[degrees])


def circle_spectrum(arch: Layer, frequencies, *, radius=None, kernel="ntk") -> SphereSpectrum:
    """Fourier coefficients of an architecture's kernel on the circle |x| = radius in the plane.

        kappa(alpha) = lambda_0 + 2 sum_{k > 0} lambda_k cos(k alpha)

    The eigenfunctions are the constant and cos(k alpha), sin(k alpha).  Arguments (``frequencies`` are the
    degrees; the radius is by default sqrt(2)) and errors as for ``sphere_spectrum`` in dimension 2.
    """
    return sphere_spectrum(arch, 2, frequencies, radius=radius, kernel=kernel)


def gegenbauer(t, dimension: int, degree: int) -> np.ndarray:
    """P_0(t) .. P_degree(t), (degree + 1, ...): Gegenbauer polynomials with P_k(1) = 1 in dimension d >= 2.

    (k + d - 2) P_{k+1} = (2 k + d - 2) t P_k - k P_{k-1}; int P_k^2 dmu = 1 / multiplicity_k, and
    sqrt(multiplicity_k) P_k(x . pole) is a harmonic of mean square 1.  t: (...), from -1 to 1.

    Raises:
        ValueError, TypeError: t beyond [-1, 1], dimension below 2, negative degree.
    """
    t = np.asarray(t, dtype=np.float64)
    if not (np.abs(t) <= 1 + 1e-12).all():
        raise ValueError("t must be from -1 to 1, a cosine")
    dimension, degree = positive_int("dimension", dimension), positive_int("degree + 1", degree + 1) - 1
    if dimension < 2:
        raise ValueError(f"dimension must be at least 2, got {dimension}")
    table = np.ones((degree + 1, *t.shape))
    if degree:
        table[1] = t
    for k in range(1, degree):
        table[k + 1] = ((2 * k + dimension - 2) * t * table[k] - k * table[k - 1]) / (k + dimension - 2)
    return table


def multiplicity(dimension: int, degrees) -> np.ndarray:
    """How many independent harmonics of each degree there are in R^dimension, float64.

    Raises:
        ValueError: a number beyond float64.
    """
    counts = []
    for k in np.asarray(degrees).tolist():
        count = math.comb(dimension + k - 1, k) - (math.comb(dimension + k - 3, k - 2) if k >= 2 else 0)
        try:
            counts.append(float(count))
        except OverflowError:
            raise ValueError(
                f"degree {k} has more harmonics in dimension {dimension} than float64 can hold"
            ) from None
    return np.array(counts)


def _by_quadrature(arch, dimension, top, radius, kernel) -> tuple[np.ndarray, np.ndarray, float]:
    """lambda_0 .. lambda_top and their rounding errors, each (top + 1,), and the kernel's largest value."""
    angle, weight = _rule(dimension, top)
    values = _profile(arch, dimension, angle, radius, kernel)
    table = gegenbauer(np.cos(angle), dimension, top)
    size = np.abs(values).max()
    return table @ (weight * values), 4 * EPS * size * (np.abs(table) @ weight), size


def _rule(dimension: int, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Angles from 0 to pi and weights for integrals over mu: Gauss-Legendre on panels of the angle.

    Kernels of kinked activations are smooth functions of the angle, but not of its cosine; where a root of
    the angle remains (jumps, several layers deep), the panels that shrink towards both ends take care of it.
    """
    panels = 16 + top // 4 + math.ceil(math.sqrt(dimension) / 2)
    inner = np.linspace(0, math.pi, panels + 1)
    graded = inner[1] * 0.25 ** np.arange(18, 0, -1)
    edges = np.concatenate([[0.0], graded, inner[1:-1], math.pi - graded[::-1], [math.pi]])
    x, w = np.polynomial.legendre.leggauss(NODES)
    half = np.diff(edges)[:, None] / 2
    angle = (edges[:-1, None] + half * (x + 1)).ravel()
    log_weight = np.log((half * w).ravel()) + (dimension - 2) * np.log(np.sin(angle))
    weight = np.exp(log_weight - log_weight.max())
    return angle, weight / weight.sum()


def _profile(arch: Layer, dimension: int, angle: np.ndarray, radius: float, kernel: str) -> np.ndarray:
    """kappa(cos(angle)) from points of a plane, after a check in R^dimension that only angles count."""

    def values(plane: np.ndarray, angle: np.ndarray) -> np.ndarray:
        points = np.stack([np.cos(angle), np.sin(angle)], axis=1) @ plane
        return getattr(arch.kernel(plane[:1], points), kernel)[0]

    found = values(np.eye(2) * radius * math.sqrt(2 / dimension), angle)  # the same |x|^2 / d
    few = slice(None, None, max(1, len(angle) // 16))
    turned = np.linalg.qr(np.random.default_rng(0).normal(size=(dimension, 2)))[0].T
    again = values(turned * radius, angle[few])
    if not np.allclose(again, found[few], rtol=1e-6, atol=1e-6 * np.abs(found).max()):
        raise ValueError(f"the kernel of {arch!r} changes under rotations: it has no spectrum by degree")
    return found


def _by_series(arch, dimension, top, radius, kernel) -> tuple[np.ndarray, np.ndarray]:
    """multiplicity_k lambda_k for k = 0 .. top from the power series, and their errors, each (top + 1,)."""
    terms = max(SERIES_TERMS, 4 * top)
    try:
        powers = kernel_series(arch, radius**2 / dimension, terms)[kernel == "ntk"]
    except NoSeries:
        return np.zeros(top + 1), np.full(top + 1, math.inf)
    full, half = (_harmonics(powers[:count], dimension)[: top + 1] for count in (terms, terms // 2))
    return full, np.abs(full - half) + 8 * EPS * powers.sum()


def _harmonics(powers: np.ndarray, dimension: int) -> np.ndarray:
    """sum_j powers_j t^j as sum_k a_k P_k(t), (M,), by Horner's scheme; no subtraction occurs.

    t P_k = ((k + d - 2) P_{k+1} + k P_{k-1}) / (2 k + d - 2).
    """
    k = np.arange(len(powers))
    up = (k + dimension - 2) / np.maximum(2 * k + dimension - 2, 1)
    up[0] = 1.0
    total = np.zeros(len(powers))
    for power in powers[::-1]:
        raised = np.zeros_like(total)
        raised[1:] = up[:-1] * total[:-1]
        raised[:-1] += (1 - up[1:]) * total[1:]
        raised[0] += power
        total = raised
    return total


def _degrees(name: str, value) -> np.ndarray:
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return np.arange(positive_int(name, value))
    array = np.asarray(value)
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be whole numbers, got {value!r}")
    if array.ndim != 1 or array.size == 0 or array.min() < 0:
        raise ValueError(f"{name} must be whole numbers from 0, shape (D,), got {value!r}")
    return array
