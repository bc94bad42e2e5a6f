"""Power series of infinite-width kernels in the cosine t of two inputs of one length.

A dual activation is E phi(s u) phi(s v) = sum_j alpha_j(s)^2 rho^j with the Hermite coefficients alpha_j of phi,
so a kernel is a power series in t with coefficients that are *not negative* (Schoenberg; Daniely, Frostig &
Singer 2016, section 4), and analytic in the disc |t| < 1.  The layers' formulas hold there for complex t, and
Cauchy's integral over a circle, by fast Fourier transform, gives the coefficients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from ntklab.layers.activation import Activation
from ntklab.layers.base import Layer
from ntklab.layers.dense import Dense
from ntklab.layers.hermite import coefficients as hermite_coefficients
from ntklab.layers.layernorm import LayerNorm
from ntklab.layers.relu import Identity, PiecewiseLinear
from ntklab.layers.residual import Residual
from ntklab.layers.sequential import Sequential
from ntklab.layers.sign import Sign

HERMITE_TERMS = 512
TAIL = 1e-8  # share of E phi'^2 that the terms left out may have
OVERSAMPLING = 4  # points on the circle for each coefficient
ALIASING = 1e-10  # of coefficient j + N into coefficient j; rounding errors grow to its -1/4th power


class NoSeries(ValueError):
    """A layer whose formula is not known for complex correlations."""


@dataclass(frozen=True)
class Disc:
    """Values of K(t) and Theta(t) at complex t, (N,); K(1), E h_i, and ``wide`` as in ``State``."""

    nngp: np.ndarray
    ntk: np.ndarray
    variance: float
    mean: float = 0.0
    wide: bool = False


def kernel_series(arch: Layer, scale: float, terms: int) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of t^0 .. t^(terms-1) of nngp and ntk, each (terms,), for inputs with |x|^2 / d = scale.

    Those below rounding error, about 1e-15 of the kernel at t = 1, are 0.

    Raises:
        NoSeries: a layer that is not one of the package's own, or that does not act on t alone.
    """
    points = OVERSAMPLING * terms
    radius = ALIASING ** (1 / points)
    t = radius * np.exp(2j * math.pi / points * np.arange(points // 2 + 1))  # the rest is conjugate
    out = propagate(arch, Disc(scale * t, np.zeros_like(t), scale))
    found = []
    for values in (out.nngp, out.ntk):
        powers = np.fft.irfft(values.conj(), points)[:terms]
        noise = 4 * np.finfo(float).eps * np.abs(values).max()
        found.append(np.where(powers > noise, powers, 0.0) / radius ** np.arange(terms))
    return found[0], found[1]


def propagate(layer: Layer, h: Disc) -> Disc:
    """One layer's map, as in its own ``propagate``, for complex correlations."""
    if isinstance(layer, Sequential):
        for part in layer.layers:
            h = propagate(part, h)
        return h
    if isinstance(layer, Dense):
        nngp = layer.sigma_w**2 * h.nngp + layer.sigma_b**2
        ntk = layer.sigma_w**2 * h.ntk + (nngp if layer.trainable else 0.0)
        return Disc(nngp, ntk, layer.sigma_w**2 * h.variance + layer.sigma_b**2, wide=True)
    if isinstance(layer, Identity):
        return h
    if isinstance(layer, Activation) and h.variance > 0:
        return _activation(layer, h)
    if isinstance(layer, Residual):
        return _sum(propagate(layer.branch, h), propagate(layer.shortcut, h))
    if isinstance(layer, LayerNorm) and h.wide:
        rest = h.variance - h.mean**2
        return replace(h, nngp=(h.nngp - h.mean**2) / rest, ntk=h.ntk / rest, variance=1.0, mean=0.0)
    raise NoSeries(f"no power series is known for {layer!r}")


def _sum(a: Disc, b: Disc) -> Disc:
    cross = 2 * a.mean * b.mean
    variance = a.variance + b.variance + cross
    return Disc(a.nngp + b.nngp + cross, a.ntk + b.ntk, variance, a.mean + b.mean, a.wide and b.wide)


def _activation(layer: Activation, h: Disc) -> Disc:
    rho, s = h.nngp / h.variance, math.sqrt(h.variance)
    std = torch.tensor([s], dtype=torch.float64)
    variance, mean = float(layer.dual(torch.ones_like(std), std, std)[0]), layer.mean(std)
    if isinstance(layer, PiecewiseLinear):
        order0 = 1 - np.arccos(rho) / math.pi
        order1 = np.sqrt(1 - rho) * np.sqrt(1 + rho) / math.pi + order0 * rho
        bend = (1 - layer.slope) ** 2 / 2
        moment, slope = h.variance * (bend * order1 + layer.slope * rho), bend * order0 + layer.slope
    elif isinstance(layer, Sign):
        moment, slope = 2 / math.pi * np.arcsin(rho), 0.0
    else:
        square = _hermite_squares(layer, std[0])
        moment = np.polynomial.polynomial.polyval(rho, square)
        # E phi' phi' = d/d(rho) E phi phi / s^2
        slope = np.polynomial.polynomial.polyval(rho, square[1:] * np.arange(1, len(square))) / h.variance
    return Disc(moment, h.ntk * slope, variance, 0.0 if mean is None else float(mean), wide=True)


def _hermite_squares(layer: Activation, s: torch.Tensor) -> np.ndarray:
    """alpha_j(s)^2 down to rounding error, two at least."""
    alpha = hermite_coefficients(layer.module(), s, HERMITE_TERMS)[0].detach().abs().numpy()
    if (alpha[-16:].max() * HERMITE_TERMS) ** 2 > TAIL * np.square(alpha).sum():
        raise NoSeries(f"{layer!r} needs more than {HERMITE_TERMS} Hermite coefficients at s = {float(s):g}")
    above = np.flatnonzero(alpha > 1e-14 * alpha.max())
    return alpha[: max(above[-1] + 1, 2)] ** 2
