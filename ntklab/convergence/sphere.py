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
from ntklab.layers.base import Layer


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
        degrees: whole numbers from 0, (D,), or how many to take from 0 up (an int D).
        radius: of the sphere; by default sqrt(dimension), the course's |x|^2 = d.
        kernel: "ntk" or "nngp".
    """
    dimension = positive_int("dimension", dimension)
    if dimension < 2:
        raise ValueError(f"dimension must be at least 2, got {dimension}")
    degrees = _degrees("degrees", degrees)
    radius = math.sqrt(dimension) if radius is None else real("radius", radius, minimum=0, strict=True)
    choice("kernel", kernel, ("ntk", "nngp"))
    angle, weight = _rule(dimension, 2048)
    values = _profile(arch, dimension, angle, radius, kernel)
    table = gegenbauer(np.cos(angle), dimension, int(degrees.max()))
    eigenvalues = table[degrees] @ (weight * values)
    return SphereSpectrum(degrees, eigenvalues, multiplicity(dimension, degrees))


def circle_spectrum(arch: Layer, frequencies, *, radius=math.sqrt(2), kernel="ntk") -> SphereSpectrum:
    """Fourier coefficients of an architecture's kernel on the circle |x| = radius in the plane.

    The eigenfunctions are cos(k alpha) and sin(k alpha), for k > 0 two of each eigenvalue; as
    ``sphere_spectrum`` in dimension 2.
    """
    return sphere_spectrum(arch, 2, frequencies, radius=radius, kernel=kernel)


def gegenbauer(t: np.ndarray, dimension: int, degree: int) -> np.ndarray:
    """P_0(t) .. P_degree(t), (degree + 1, ...): Gegenbauer polynomials with P_k(1) = 1 in dimension d >= 2.

    (k + d - 2) P_{k+1} = (2 k + d - 2) t P_k - k P_{k-1}; int P_k^2 dmu = 1 / multiplicity_k.
    """
    t = np.asarray(t, dtype=np.float64)
    table = np.ones((degree + 1, *t.shape))
    if degree:
        table[1] = t
    for k in range(1, degree):
        table[k + 1] = ((2 * k + dimension - 2) * t * table[k] - k * table[k - 1]) / (k + dimension - 2)
    return table


def multiplicity(dimension: int, degrees) -> np.ndarray:
    """Dimension of the space of harmonics of each degree in R^dimension, float64."""
    counts = []
    for k in np.asarray(degrees).tolist():
        count = math.comb(dimension + k - 1, k)
        counts.append(float(count - math.comb(dimension + k - 3, k - 2) if k >= 2 else count))
    return np.array(counts)


def _rule(dimension: int, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Angles from 0 to pi and weights for integrals over mu: Gauss-Legendre in the angle.

    Kernels of kinked activations are smooth functions of the angle, but not of its cosine.
    """
    x, w = np.polynomial.legendre.leggauss(nodes)
    angle = math.pi * (x + 1) / 2
    weight = w * np.sin(angle) ** (dimension - 2)
    return angle, weight / weight.sum()


def _profile(arch: Layer, dimension: int, angle: np.ndarray, radius: float, kernel: str) -> np.ndarray:
    x = np.zeros((len(angle) + 1, dimension))
    x[0, 0] = radius
    x[1:, 0], x[1:, 1] = radius * np.cos(angle), radius * np.sin(angle)
    return getattr(arch.kernel(x[:1], x[1:]), kernel)[0]


def _degrees(name: str, value) -> np.ndarray:
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return np.arange(positive_int(name, value))
    array = np.asarray(value)
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "iu" or array.min() < 0:
        raise ValueError(f"{name} must be whole numbers from 0, shape (D,), got {value!r}")
    return array
