"""Predictions of infinitely many infinitely wide networks: trained by gradient flow, and Bayesian."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ntklab._spectrum import spectrum
from ntklab._validate import real, tensors
from ntklab.dynamics import GradientFlow


class Prediction(NamedTuple):
    """Mean (m,) or (m, k) and covariance (m, m); outputs are independent and share the covariance."""

    mean: np.ndarray | Tensor
    covariance: np.ndarray | Tensor


def ensemble(arch, x_train, y, x_test, t=float("inf"), learning_rate=1.0, loss="mean") -> Prediction:
    """Mean and covariance of f(x_test) over initialisations, after gradient flow for a time t.

    Every network starts as a draw of the Gaussian process with the NNGP kernel K and is trained with the NTK
    Theta.  With A = Theta(x, X) Theta^-1 (I - exp(-eta c Theta t)), c = 1/n for "mean" and 1 for "sum",

        mean = A y,    covariance = K(x, x) - A K(X, x) - K(x, X) A' + A K(X, X) A'

    (Lee et al. 2019, eqs. 14-15).  It is not the Bayesian posterior, unless Theta = K.

    Args:
        arch: an architecture, with ``arch.kernel(x1, x2)``.
        x_train, x_test: n and m inputs.
        y: targets, (n,) or (n, k).
        t: a number, inf (pseudo-inverse: what Theta cannot see keeps its prior), or a vector (T,), which
            puts a leading axis T before mean and covariance.
        learning_rate, loss: as in ``GradientFlow``.

    Raises:
        ValueError: y that does not fit x_train, and whatever the kernel or ``GradientFlow`` refuse.
    """
    train, cross, test = arch.kernel(x_train), arch.kernel(x_test, x_train), arch.kernel(x_test)
    (nngp, nngp_cross, prior, y), back = _matrices(train.nngp, cross.nngp, test.nngp, y)
    targets = np.eye(len(nngp))
    flow = GradientFlow(train.ntk, targets, learning_rate=learning_rate, loss=loss)
    (smoother,), _ = tensors(smoother=flow.test(t, cross.ntk))  # A: the outputs where the targets are I

    mixed = smoother @ nngp_cross.T
    covariance = prior - mixed - mixed.mT + smoother @ nngp @ smoother.mT
    return Prediction(back(smoother @ y), back(_proper(covariance)))


def gp_posterior(arch, x_train, y, x_test, noise=0.0) -> Prediction:
    """Posterior mean and covariance of f(x_test) under the Gaussian process with the NNGP kernel K.

        mean = K(x, X) (K + noise I)^-1 y,    covariance = K(x, x) - K(x, X) (K + noise I)^-1 K(X, x)

    (Lee et al. 2018, eqs. 8-9; Rasmussen & Williams 2006, eqs. 2.25-2.26).  The covariance is that of f,
    without the noise of a new observation.

    Args:
        arch, x_train, y, x_test: as in ``ensemble``.
        noise: variance of the observation noise, at least 0; with 0 the pseudo-inverse is used.

    Raises:
        ValueError: y that does not fit x_train, a negative variance, and whatever the kernel refuses.
    """
    noise = real("noise", noise, minimum=0.0)
    train, cross, test = arch.kernel(x_train), arch.kernel(x_test, x_train), arch.kernel(x_test)
    (nngp, nngp_cross, prior, y), back = _matrices(train.nngp, cross.nngp, test.nngp, y)
    (own,), _ = tensors(nngp=train.nngp)
    modes = spectrum("nngp", nngp, torch.finfo(own.dtype).eps)
    eigenvalues, vectors = modes.positive() if noise == 0 else modes[:2]

    half = nngp_cross @ vectors / (eigenvalues + noise).sqrt()
    smoother = half @ (vectors / (eigenvalues + noise).sqrt()).T
    return Prediction(back(smoother @ y), back(_proper(prior - half @ half.T)))


def _matrices(nngp, cross, prior, y) -> tuple[list[Tensor], Callable]:
    """Kernels and targets in float64, and the way back to the dtype and library they came in."""
    arrays, back = tensors(nngp=nngp, cross=cross, prior=prior, y=y)
    dtype, (n, targets) = arrays[0].dtype, (len(arrays[0]), arrays[3].shape)
    if len(targets) not in (1, 2) or targets[0] != n:
        raise ValueError(f"y must have shape ({n},) or ({n}, k) to fit x_train, got {tuple(targets)}")
    return [a.detach().to(torch.float64) for a in arrays], lambda result: back(result.to(dtype))


def _proper(covariance: Tensor) -> Tensor:
    """Exactly symmetric, with no variance that rounding made negative."""
    covariance = (covariance + covariance.mT) / 2
    variance = covariance.diagonal(dim1=-2, dim2=-1)
    variance.clamp_(min=0.0)
    return covariance
