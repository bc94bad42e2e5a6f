"""What training leaves of each eigenmode, and the exponential bound that the smallest eigenvalue gives.

Along an eigenvector of eigenvalue lambda the residual f - y is multiplied by a number that depends on
x = eta c lambda and on the algorithm alone, with c = 1/n for the loss "mean" and 1 for "sum":

    flow        exp(-x t)
    descent     (1 - x)^t
    momentum    r(t+1) = (1 + beta - x) r(t) - beta r(t-1),   r(0) = 1,   r(1) = 1 - x

The classes in ``ntklab.dynamics`` and ``ntklab.momentum`` turn the same numbers into functions; here they
keep their digits however small they get.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ntklab._spectrum import filled, spectrum, square, times, with_start
from ntklab._validate import choice, positive_int, real, tensors
from ntklab.dynamics import kernel_shape

METHODS = ("flow", "descent", "momentum")


def decay(
    eigenvalues, t, *, method="flow", learning_rate=1.0, loss="mean", n=None, momentum=0.0
) -> np.ndarray | Tensor:
    """The factor by which each mode's residual has been multiplied at t.

    Args:
        eigenvalues: (N,) of a kernel matrix, at least 0.
        t: a number (then the result is (N,)), inf, or a vector (T,); whole steps but for "flow".
        method: "flow", "descent" or "momentum" (heavy ball from rest).
        learning_rate: eta, above 0.
        loss: "mean" is 1/(2n) sum over samples, "sum" is 1/2 sum.
        n: number of samples for "mean"; by default N, which is right for one output and all eigenvalues.
        momentum: beta of "momentum", from 0 to below 1.

    Returns:
        (T, N), or (N,): 1 at t = 0.  Above the largest stable rate values grow to +-inf; where t = inf has
        no limit because signs alternate, it is the limit along even numbers of steps.

    Raises:
        ValueError, TypeError: arguments out of range, by name.

    Source: Lee et al. 2019, eq. 8 (flow); Polyak 1964 (momentum).
    """
    (values,), back = tensors(eigenvalues=eigenvalues)
    if values.ndim != 1 or (values < 0).any():
        raise ValueError(
            f"eigenvalues must have shape (N,) and be at least 0, got shape {tuple(values.shape)}"
            + (f" with {values.min():g}" if values.ndim == 1 else "")
        )
    choice("method", method, METHODS)
    choice("loss", loss, ("mean", "sum"))
    beta = real("momentum", momentum, minimum=0.0)
    if beta >= 1 or (beta and method != "momentum"):
        raise ValueError(f'momentum must be below 1, and 0 unless method is "momentum", got {beta:g}')
    samples = len(values) if n is None else positive_int("n", n)
    scale = real("learning_rate", learning_rate, minimum=0.0, strict=True)
    x = values.to(torch.float64) * (scale / samples if loss == "mean" else scale)
    steps, vector = times(t, whole=method != "flow")
    steps = steps.to(x.device)[:, None]
    if method == "flow":
        left = torch.exp(-(x * steps).nan_to_num(nan=0.0))  # no decay at x = 0, inf included
    elif method == "descent":
        left = _power(1 - x, steps)
    else:
        left = torch.stack([_momentum(x, float(step), beta) for step in steps])
    left = back(left.to(values.dtype))
    return left if vector else left[0]


def _power(base: Tensor, steps: Tensor) -> Tensor:
    """base^steps, (N,) and (T, 1) to (T, N); an infinite number of steps counts as even."""
    size = torch.exp((base.abs().log() * steps).nan_to_num(nan=0.0))  # 0^0 and 1^inf are 1
    return torch.where((base < 0) & (steps.remainder(2) == 1), -size, size)


def _momentum(x: Tensor, t: float, beta: float) -> Tensor:
    """r(t) for x (N,), by repeated squaring of the recursion's 2 x 2 matrix with its scale kept apart."""
    if math.isinf(t):
        edge = (1 + beta) / (1 - beta)  # at x = 2 (1 + beta) it oscillates for ever
        limit = torch.where(x == 2 * (1 + beta), edge, torch.where(x == 0, 1.0, 0.0))
        return torch.where(x > 2 * (1 + beta), math.inf, limit).to(x)
    step = x.new_zeros(len(x), 2, 2)  # acts on (r(t), r(t-1))
    step[:, 0, 0], step[:, 0, 1], step[:, 1, 0] = 1 + beta - x, -beta, 1
    total, power, step_power = (
        torch.eye(2).to(x).repeat(len(x), 1, 1),
        torch.zeros_like(x),
        torch.zeros_like(x),
    )
    remaining = int(t)
    while remaining:
        if remaining & 1:
            total, power = _rescaled(step @ total, power + step_power)
        step, step_power = _rescaled(step @ step, 2 * step_power)
        remaining >>= 1
    # r(-1) = r(0) = 1 is rest: r(1) = (1 + beta - x) - beta
    return (total[:, 0, 0] + total[:, 0, 1]) * power.exp()


def _rescaled(matrices: Tensor, power: Tensor) -> tuple[Tensor, Tensor]:
    """matrices (N, 2, 2) over a power of 2, and that power added to the logarithms ``power`` (N,)."""
    size = torch.exp2(matrices.abs().amax((1, 2)).log2().round())
    size = torch.where(size > 0, size, 1.0)
    return matrices / size[:, None, None], power + size.log()


class Bound(NamedTuple):
    """Squared residuals and their bound at T times, each (T,), or numbers for a number t."""

    residual: np.ndarray | Tensor
    """|f_t - y|^2 on the training set, over all outputs."""
    bound: np.ndarray | Tensor
    tightness: np.ndarray | Tensor
    """residual / bound, from 0 to 1; computed without forming either, so it does not underflow."""


def exponential_bound(kernel, y, t, *, f0=0.0, learning_rate=1.0, loss="mean", method="flow") -> Bound:
    """The squared training residual under a constant kernel, and the bound by the extreme eigenvalues.

        flow       |f_t - y|^2 <= exp(-2 eta c lambda_min t) |f_0 - y|^2
        descent    |f_t - y|^2 <= q^(2t) |f_0 - y|^2,   q = max(|1 - eta c lambda_min|, |1 - eta c lambda_max|)

    q is 1 - eta c lambda_min for rates up to 2 / (c (lambda_min + lambda_max)).  Equality holds where
    f_0 - y is an eigenvector of the eigenvalue that gives the bound.

    Args:
        kernel: (n, n), or (n, n, k, k).
        y: targets, (n,) or (n, k).
        t: a number or a vector (T,), finite; whole steps for "descent".
        f0: outputs at t = 0, a number or of y's shape.
        learning_rate, loss: as in ``ntklab.GradientFlow``.
        method: "flow" or "descent".

    Raises:
        ValueError, TypeError: arguments that do not fit, by name; f0 = y, which leaves nothing to bound.

    Source: Du et al. 2019, eq. 5 and section 3 (there for the loss "sum").
    """
    (given, y, start), back = with_start(f0, kernel=kernel, y=y)
    choice("method", method, ("flow", "descent"))
    choice("loss", loss, ("mean", "sum"))
    matrix, shape = square("kernel", given), tuple(y.shape)
    kernel_shape(given, y)
    rate = real("learning_rate", learning_rate, minimum=0.0, strict=True) / (len(y) if loss == "mean" else 1)
    modes = spectrum("kernel", matrix, torch.finfo(given.dtype).eps)
    gap = filled("f0", start, y, shape) - y.detach().to(torch.float64)
    share = (modes.eigenvectors.T @ gap.reshape(len(matrix), -1)).square().sum(1)
    size = share.sum()
    if not size > 0:
        raise ValueError("f0 must differ from y: there is no residual to bound")
    steps, vector = times(t, whole=method == "descent", infinite=False)
    steps = steps.to(y.device)[:, None]
    x = rate * modes.eigenvalues
    log_factor = -x if method == "flow" else (1 - x).abs().log()
    worst = log_factor.max()
    relative = torch.exp((2 * steps * (log_factor - worst)).nan_to_num(nan=0.0))
    tightness = relative @ (share / size)
    bound = torch.exp((2 * steps[:, 0] * worst).nan_to_num(nan=0.0)) * size
    parts = [part.to(given.dtype) for part in (tightness * bound, bound, tightness)]
    return Bound(*(back(part if vector else part[0]) for part in parts))
