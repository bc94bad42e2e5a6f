"""Generalisation bounds with every constant and the confidence term.

The loss is rho-Lipschitz in the prediction with values in [0, M]; a ball of radius B in the RKHS has the empirical
Rademacher complexity at most B sqrt(Tr K) / n.  The bounds follow from three facts:

* uniform deviation: with probability 1 - delta, test <= train + 2 complexity + 3 M sqrt(log(2/delta) / (2n)), and
  with the complexity's mean, test <= train + 2 mean + M sqrt(log(1/delta) / (2n))
  (Bartlett & Mendelson 2002, theorem 8 and lemma 22; Mohri, Rostamizadeh & Talwalkar 2018, theorem 3.3);
* a union over the integers for a radius that is read off the data (Arora et al. 2019, proof of theorem 5.1);
* for the square loss, the identity of sequential ridge regression (Zhdanov & Kalnishkan 2010).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from ntklab._validate import positive_int, real, tensors
from ntklab.generalization.filters import _projected


class GapBound(NamedTuple):
    """A bound on test minus training error, and its parts."""

    value: float
    """complexity + confidence."""
    complexity: float
    confidence: float


class AroraBound(NamedTuple):
    """A bound on the test error of the interpolant, and its parts."""

    value: float
    """complexity + rounding + confidence."""
    complexity: float
    """2 sqrt(Tr K y' K^-1 y) / n; for K(x, x) = 1/2 this is sqrt(2 y' K^-1 y / n)."""
    rounding: float
    """The price of a radius rounded up to an integer."""
    confidence: float
    norm: float
    """sqrt(y' K^-1 y), the RKHS norm of the interpolant."""


class RKHSBound(NamedTuple):
    """A bound on the mean squared error of ridge regression for a target in the RKHS, and its parts."""

    value: float
    """(bias + noise), over the factor of confidence."""
    bias: float
    """(ridge + sup k) B^2 / n."""
    noise: float
    """noise * sup k / ridge."""
    ridge: float
    """As given, or the best for this bound."""


def trace_bound(kernel, norm, *, delta=0.05, lipschitz=1.0, loss_bound=1.0) -> GapBound:
    """Gap between test and training error, uniformly over the ball of radius B in the RKHS.

    With probability at least 1 - delta over n independent samples, for all f with |f|_H <= B at once,

        test <= train + 2 rho B sqrt(Tr K) / n + 3 M sqrt(log(2/delta) / (2n)).

    Args:
        kernel: Gram matrix (n, n) of the training inputs.
        norm: B, fixed before the data are seen, at least 0.
        delta: probability with which the bound may fail, in (0, 1).
        lipschitz: rho of the loss, in the prediction.
        loss_bound: M; the loss has values in [0, M].

    Raises:
        ValueError, TypeError: a kernel that is not symmetric positive semidefinite, numbers out of range.
    """
    (matrix,), _ = tensors(kernel=kernel)
    n = len(matrix)
    if matrix.ndim != 2 or matrix.shape[1] != n:
        raise ValueError(f"kernel must have shape (n, n), got {tuple(matrix.shape)}")
    diagonal = matrix.diagonal().to(torch.float64)
    if (diagonal < 0).any():
        raise ValueError(
            f"kernel must be positive semidefinite, got {diagonal.min().item():g} on its diagonal"
        )
    trace = diagonal.sum().item()
    lipschitz, loss_bound = _loss(lipschitz, loss_bound)
    complexity = 2 * lipschitz * real("norm", norm, minimum=0.0) * math.sqrt(trace) / n
    confidence = 3 * loss_bound * math.sqrt(math.log(2 / _probability(delta)) / (2 * n))
    return GapBound(complexity + confidence, complexity, confidence)


def operator_bound(trace, norm, n, *, delta=0.05, lipschitz=1.0, loss_bound=1.0) -> GapBound:
    """The same with the trace of the kernel's integral operator, tr T = E k(x, x), before any data:

        test <= train + 2 rho B sqrt(tr T / n) + M sqrt(log(1/delta) / (2n)).

    Args:
        trace: tr T, at least 0.
        norm, delta, lipschitz, loss_bound: as for ``trace_bound``.
        n: number of samples.

    Raises:
        ValueError, TypeError: numbers out of range.
    """
    n = positive_int("n", n)
    lipschitz, loss_bound = _loss(lipschitz, loss_bound)
    norm = real("norm", norm, minimum=0.0)
    complexity = 2 * lipschitz * norm * math.sqrt(real("trace", trace, minimum=0.0) / n)
    confidence = loss_bound * math.sqrt(math.log(1 / _probability(delta)) / (2 * n))
    return GapBound(complexity + confidence, complexity, confidence)


def arora_bound(kernel, y, *, delta=0.05, lipschitz=1.0, loss_bound=1.0) -> AroraBound:
    """Test error of the kernel interpolant of y, from the training set alone.

    With B = sqrt(y' K^-1 y), rounded up to an integer R >= 1, and probability at least 1 - delta,

        test <= 2 rho R sqrt(Tr K) / n + 3 M sqrt(log(2 R (R+1) / delta) / (2n)).

    For the hidden-layer ReLU kernel H on |x| = 1 (H(x, x) = 1/2) the leading term is
    sqrt(2 y' H^-1 y / n) of Arora, Du, Hu, Li & Wang 2019, theorem 5.1, whose remainder is given as an order only.
    Their theorem is about wide finite nets; this one is about their infinite-width limit, where the training error is 0.

    Args:
        kernel: Gram matrix (n, n) of the training inputs.
        y: (n,), labels; the loss vanishes where prediction and label agree.
        delta, lipschitz, loss_bound: as for ``trace_bound``.

    Returns:
        AroraBound; infinite where K is singular and no function of the RKHS takes the values y.

    Raises:
        ValueError, TypeError: shapes that do not fit, a kernel that is not positive semidefinite, numbers out of range.
    """
    (matrix, y), _ = tensors(kernel=kernel, y=y)
    values, _, inside = _projected(matrix, y)
    if y.ndim != 1:
        raise ValueError(f"y must have shape ({len(matrix)},), got {tuple(y.shape)}")
    n, power = len(y), inside[:, 0].square()
    lipschitz, loss_bound = _loss(lipschitz, loss_bound)
    delta = _probability(delta)
    inside_range = values > 0
    outside = power[~inside_range].sum() > 1e-12 * power.sum()
    norm = math.inf if outside else (power[inside_range] / values[inside_range]).sum().sqrt().item()
    unit = 2 * lipschitz * math.sqrt(values.sum().item()) / n
    radius = math.inf if outside else max(1, math.ceil(norm))
    confidence = 3 * loss_bound * math.sqrt(math.log(2 * radius * (radius + 1) / delta) / (2 * n))
    rounding = 0.0 if outside else unit * (radius - norm)
    return AroraBound(unit * norm + rounding + confidence, unit * norm, rounding, confidence, norm)


def rkhs_bound(norm, n, *, kernel_bound, noise=0.0, ridge=None, delta=None) -> RKHSBound:
    """Mean squared error of ridge regression for a target f* with |f*|_H <= B.

    Let k(x, x) <= kernel_bound, labels y = f*(x) + noise of mean 0 and variance at most ``noise``, independent samples,
    and f_t ridge regression on the first t of them, always with the same ridge.  Then

        mean over t = 0 .. n-1 of  E (f_t(x) - f*(x))^2   <=   (ridge + kernel_bound) B^2 / n + noise kernel_bound / ridge.

    By convexity the right-hand side bounds the error of the mean of f_0 .. f_{n-1} too, and that of f_n wherever the
    expected error does not increase with t.
    Without noise the best ridge is 0, the interpolant: kernel_bound B^2 / n, the fast rate.  With
    noise it is sqrt(noise kernel_bound n) / B, and the bound 2 B sqrt(noise kernel_bound / n) plus the fast rate.

    Args:
        norm: B, at least 0.
        n: number of samples.
        kernel_bound: supremum of k(x, x), above 0.
        noise: variance of the labels' noise, at least 0.
        ridge: above 0 with noise; None takes the best one.
        delta: None bounds the expectation over the samples.  A number in (0, 1): with probability at least
            1 - delta the mean over t of the errors of the f_t themselves is at most the value: without noise the
            factor is (1 + log(1/delta)) e / (e - 1), with noise Markov's 1 / delta.

    Raises:
        ValueError, TypeError: numbers out of range, noise without ridge.
    """
    norm, n = real("norm", norm, minimum=0.0), positive_int("n", n)
    top = real("kernel_bound", kernel_bound, minimum=0.0, strict=True)
    noise = real("noise", noise, minimum=0.0)
    if ridge is None:
        ridge = math.sqrt(noise * top * n) / norm if norm > 0 else (math.inf if noise > 0 else 0.0)
    else:
        ridge = real("ridge", ridge, minimum=0.0)
    if noise > 0 and ridge == 0:
        raise ValueError("ridge must be above 0 where noise is, got 0")
    bias = (ridge + top) * norm**2 / n if norm > 0 else 0.0
    variance = noise * top / ridge if noise > 0 else 0.0
    factor = 1.0
    if delta is not None:
        delta = _probability(delta)
        factor = 1 / delta if noise > 0 else (1 + math.log(1 / delta)) * math.e / (math.e - 1)
    return RKHSBound(factor * (bias + variance), factor * bias, factor * variance, ridge)


def _loss(lipschitz, loss_bound) -> tuple[float, float]:
    return real("lipschitz", lipschitz, minimum=0.0), real("loss_bound", loss_bound, minimum=0.0)


def _probability(delta) -> float:
    delta = real("delta", delta, minimum=0.0, strict=True)
    if delta >= 1:
        raise ValueError(f"delta must be below 1, got {delta:g}")
    return delta
