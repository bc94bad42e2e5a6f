"""Learning curves of kernel ridge regression, from a spectrum and a target.

Let lambda_i be the eigenvalues of the kernel's integral operator and v_i the target's coefficients in its
orthonormal eigenfunctions.  For n independent inputs and the ridge (K + ridge I) one number decides, the
effective regularisation kappa, the only solution of

    n = sum_i lambda_i / (lambda_i + kappa) + ridge / kappa.

Mode i is learnt to the share L_i = lambda_i / (lambda_i + kappa), and the mean squared error on new inputs is

    E_0 (sum_i (1 - L_i)^2 v_i^2 + noise) - noise,        E_0 = n / (n - sum_i L_i^2).

It is the leading order for many samples, for eigenfunctions that behave like independent Gaussian variables.
Sources: Bordelon, Canatar & Pehlevan 2020; Jacot et al. 2020 (KARE); Simon et al. 2023 (eigenlearning).

A *pool* is a finite set of N points from which n are drawn without replacement, and the others are the test
set.  Off the training set, ridge regression with K is interpolation with K + ridge I, so the pool's own kernel has
the eigenvalues lambda_i + ridge/N, kappa solves the equation without ridge, and the error, which is zero
on the n training points, is N / (N - n) times its mean over the pool.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ntklab._validate import tensors
from ntklab.generalization._modes import mode_vector, settings
from ntklab.generalization.filters import _projected

_BISECTIONS = 80


class LearningCurve(NamedTuple):
    """Predictions at T settings; every field is (T,), a number for a single setting.

    Errors are mean squares, summed over outputs, against targets without noise.
    """

    n: np.ndarray | Tensor
    test_error: np.ndarray | Tensor
    """Mean over training sets: bias + variance + noise.  On noisy test labels add the labels' variance."""
    bias: np.ndarray | Tensor
    """Squared error of the mean predictor."""
    variance: np.ndarray | Tensor
    """Scatter of the predictor because training inputs differ."""
    noise: np.ndarray | Tensor
    """Scatter of the predictor because training labels are noisy."""
    train_error: np.ndarray | Tensor
    """Mean squared residual on the (noisy) training labels."""
    kappa: np.ndarray | Tensor
    """Effective regularisation, in units of the eigenvalues."""
    overfitting: np.ndarray | Tensor
    """E_0 >= 1: how much each unit of bias or label noise costs, (bias + variance) / bias."""
    learnability: np.ndarray | Tensor
    """(T, M): the share of each mode in the mean predictor."""


def effective_regularization(eigenvalues, n, ridge=0.0, multiplicities=None) -> np.ndarray | Tensor | float:
    """kappa >= 0 with n = sum_i m_i lambda_i / (lambda_i + kappa) + ridge / kappa, by bisection in log kappa.

    Without ridge and with n at or above the number of nonzero modes it is 0.

    Args:
        eigenvalues: (M,) of the integral operator (of a sample: those of the Gram matrix over n), not negative.
        n: number of samples, above 0, a number or (T,); need not be whole.
        ridge: at least 0, a number or (T,); not divided by n.
        multiplicities: (M,) how often each eigenvalue occurs, above 0; None is once.

    Returns:
        A number, or (T,).

    Raises:
        ValueError, TypeError: arguments out of range or of wrong shapes.
    """
    modes, count, back = _spectrum(eigenvalues, multiplicities)
    (n, ridge), shape = settings(positive=("n",), n=n, ridge=ridge)
    return _shaped(_solve(modes, count, n, ridge), shape, back)


def learnabilities(eigenvalues, n, ridge=0.0, multiplicities=None) -> np.ndarray | Tensor:
    """Shares L_i = lambda_i / (lambda_i + kappa) of the modes in the mean predictor: (M,), or (T, M).

    They are in [0, 1], and sum_i m_i L_i <= n, with equality where ridge = 0 < kappa (the conservation law of
    Simon et al. 2023).  Arguments and errors as for ``effective_regularization``.
    """
    modes, count, back = _spectrum(eigenvalues, multiplicities)
    (n, ridge), shape = settings(positive=("n",), n=n, ridge=ridge)
    return back((1 - _lost(modes, _solve(modes, count, n, ridge))).reshape(*shape, -1))


def learning_curve(
    eigenvalues, coefficients, n, *, ridge=0.0, noise=0.0, multiplicities=None
) -> LearningCurve:
    """Test and training error of kernel ridge regression with n samples.

    Args:
        eigenvalues: (M,) of the integral operator, not negative.  What no eigenfunction can express counts
            as a mode of eigenvalue 0.
        coefficients: (M,) or (M, k) of the target in the orthonormal eigenfunctions; for an eigenvalue that
            occurs several times, the root of the sum of squares of its coefficients.
        n: number of training samples, above 0, a number or (T,).
        ridge: at least 0, a number or (T,), as in (K + ridge I)^-1.
        noise: variance of the training labels' noise, a number or (T,).
        multiplicities: (M,) how often each eigenvalue occurs; None is once.

    Raises:
        ValueError, TypeError: arguments out of range or of wrong shapes.
    """
    modes, count, back = _spectrum(eigenvalues, multiplicities)
    power = _power(coefficients, len(modes))
    (n, ridge, noise), shape = settings(positive=("n",), n=n, ridge=ridge, noise=noise)
    kappa = _solve(modes, count, n, ridge)
    lost = _lost(modes, kappa)
    nonzero = count[modes > 0].sum()
    unused = torch.where(kappa > 0, ridge / kappa, (n - nonzero).clamp(min=0.0))  # n - sum of L
    learnt = ((1 - lost) ** 2) @ count
    slack = ((1 - lost) * lost) @ count + unused  # n - sum of L^2, without cancellation
    bias = lost**2 @ power
    variance, from_noise = _product(learnt / slack, bias), _product(learnt / slack, noise)
    test = bias + variance + from_noise
    train = torch.where(unused > 0, (unused / n) ** 2 * (test + noise), 0.0)
    parts = (n, test, bias, variance, from_noise, train, kappa, n / slack)
    return LearningCurve(*(_shaped(p, shape, back) for p in parts), back((1 - lost).reshape(*shape, -1)))


class Pool(NamedTuple):
    """The spectrum of N points and their targets, from ``from_data``."""

    eigenvalues: np.ndarray | Tensor
    """(N,): of the pool's Gram matrix over N, largest first."""
    coefficients: np.ndarray | Tensor
    """(N,) or (N, k): targets in its eigenvectors over sqrt(N); their squares sum to the mean of y^2."""

    def learning_curve(self, n, *, ridge=0.0, noise=0.0) -> LearningCurve:
        """Error on the rest of the pool after training on n of its points, drawn without replacement.

        Exact in the pool for eigenvectors in random position.  For N much larger than n it is
        ``learning_curve(eigenvalues, coefficients, n)``.  ``noise`` is a variance that is added to the training
        labels; noise that the pool's labels have already is part of the target.

        Args:
            n: below N, a number or (T,).
            ridge, noise: at least 0, numbers or (T,).

        Raises:
            ValueError, TypeError: arguments out of range or of wrong shapes.
        """
        modes, count, back = _spectrum(self.eigenvalues, None)
        size = len(modes)
        power = _power(self.coefficients, size)
        (n, ridge, noise), shape = settings(positive=("n",), n=n, ridge=ridge, noise=noise)
        if (n >= size).any():
            raise ValueError(f"n must be below the pool's {size} points, got {n.max().item():g}")
        nugget = modes + ridge[:, None] / size  # (T, N)
        kappa = _solve(nugget, count, n, torch.zeros_like(n))
        rank = (nugget > 0).sum(1)
        unlearnable = ((size - n) / (size - rank).clamp(min=1)).clamp(max=1.0)  # limit of a vanishing ridge
        lost = torch.where((nugget == 0) & (kappa == 0)[:, None], unlearnable[:, None], _lost(nugget, kappa))
        slack = ((1 - lost) * lost).sum(1)
        outside = size / (size - n)
        unused = torch.where(kappa > 0, ridge / (kappa * outside), (n - rank).clamp(min=0.0))
        bias = outside**2 * (lost**2 @ power)
        excess = (1 - lost - (n / size)[:, None]).square().sum(1) / slack
        variance, from_noise = _product(excess, bias), _product(excess * outside, noise)
        test = bias + variance + from_noise
        train = torch.where(unused > 0, (unused / n) ** 2 * (test + noise), 0.0)
        parts = (n, test, bias, variance, from_noise, train, kappa, 1 + excess)
        learnability = back((1 - outside[:, None] * lost).reshape(*shape, -1))
        return LearningCurve(*(_shaped(p, shape, back) for p in parts), learnability)


def from_data(kernel, y) -> Pool:
    """Spectrum and target straight from data: eigenvalues of K/N, coefficients V'y / sqrt(N).

    Args:
        kernel: (N, N), symmetric positive semidefinite, on a pool of N points, more than will be trained on.
        y: targets (N,) or (N, k).

    Raises:
        ValueError, TypeError: shapes that do not fit, NaN, a kernel that is not positive semidefinite.
    """
    (matrix, y), back = tensors(kernel=kernel, y=y)
    values, _, inside = _projected(matrix, y)
    coefficients = (inside / len(y) ** 0.5).reshape(y.shape)
    return Pool(back(values / len(y)), back(coefficients))


def kare(kernel, y, ridge) -> float:
    """Kernel alignment risk estimator: the test error from the training set alone.

    n y' (K + ridge)^-2 y / tr((K + ridge)^-1)^2, of Jacot et al. 2020 ("Kernel Alignment Risk Estimator"),
    also known as generalised cross-validation.  It estimates the error on noisy labels, summed over
    outputs.

    Args:
        kernel: (n, n), symmetric positive semidefinite.
        y: (n,) or (n, k).
        ridge: at least 0; above 0 where the kernel is singular.

    Raises:
        ValueError, TypeError: shapes that do not fit, NaN, a singular kernel without ridge.
    """
    (matrix, y), _ = tensors(kernel=kernel, y=y)
    values, _, inside = _projected(matrix, y)
    (ridge,), shape = settings(ridge=ridge)
    if shape:
        raise ValueError(f"ridge must be a number, got shape {shape}")
    if values[-1] + ridge <= 0:
        raise ValueError("ridge must be above 0 for a singular kernel, got 0")
    inverse = 1 / (values + ridge)
    return (len(y) * (inverse[:, None] * inside).square().sum() / inverse.sum() ** 2).item()


def _spectrum(eigenvalues, multiplicities):
    """Eigenvalues and multiplicities (M,) in float64, and the way back to the caller's library."""
    (values, count), back = tensors(eigenvalues=eigenvalues, multiplicities=multiplicities)
    modes = mode_vector("eigenvalues", values)
    if count is None:
        return modes, torch.ones_like(modes), back
    if count.shape != modes.shape:
        raise ValueError(f"multiplicities must have shape {tuple(modes.shape)}, got {tuple(count.shape)}")
    if not (count > 0).all():
        raise ValueError(f"multiplicities must be above 0, got {count.min().item():g}")
    return modes, count.detach().to(torch.float64), back


def _power(coefficients, modes: int) -> Tensor:
    """Squared coefficients (M,), summed over outputs."""
    (values,), _ = tensors(coefficients=coefficients)
    if values.ndim not in (1, 2) or len(values) != modes:
        raise ValueError(
            f"coefficients must have shape ({modes},) or ({modes}, k), got {tuple(values.shape)}"
        )
    return values.detach().to(torch.float64).square().reshape(modes, -1).sum(1)


def _solve(modes: Tensor, count: Tensor, n: Tensor, ridge: Tensor) -> Tensor:
    """kappa (T,) for eigenvalues (M,) or (T, M), multiplicities (M,), n and ridge (T,)."""
    modes, order = modes.expand(len(n), -1).sort(dim=1, descending=True)
    count = torch.where(modes > 0, count[order], 0.0)
    below = count.cumsum(1)
    total = below[:, -1]
    none = (ridge == 0) & (n >= total)  # kappa = 0

    tiny = torch.finfo(torch.float64).tiny
    low = (modes * (below / n[:, None] - 1)).amax(1).clamp(min=tiny)  # j modes of at least lambda_j
    low = torch.maximum(low, ridge / n).log()
    high = (((modes * count).sum(1) + ridge) / n).clamp(min=2 * tiny).log()
    few = n < total / 2
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        kappa = middle.exp()
        lost = _lost(modes, kappa)
        share = modes / (modes + kappa[:, None])
        excess = torch.where(few, (share * count).sum(1) - n, (total - n) - (lost * count).sum(1))
        larger = excess + ridge / kappa > 0
        low, high = torch.where(larger, middle, low), torch.where(larger, high, middle)
    return torch.where(none, 0.0, ((low + high) / 2).exp())


def _lost(modes: Tensor, kappa: Tensor) -> Tensor:
    """1 - L = kappa / (lambda + kappa), (T, M); for kappa = 0 the modes of eigenvalue 0 are lost."""
    kappa = kappa[:, None]
    both = modes + kappa
    return torch.where(both > 0, kappa / torch.where(both > 0, both, 1.0), 1.0)


def _product(factor: Tensor, value: Tensor) -> Tensor:
    """factor * value, 0 where the value is 0 even for an infinite factor."""
    return torch.where(value > 0, factor * value, 0.0)


def _shaped(result: Tensor, shape: tuple[int, ...], back):
    return back(result) if shape else result.item()
