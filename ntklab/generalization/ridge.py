"""Kernel ridge regression by Cholesky, with its leave-one-out error in closed form.

    f(x) = k(x, X) alpha,     alpha = (K + ridge I)^{-1} y

Training for a finite time t gives alpha = (K + ridge I)^{-1} (I - exp(-eta c (K + ridge I) t)) y: the gradient flow
of the loss c/2 |f - y|^2 with the penalty c ridge/2 |theta - theta_0|^2 (Hu, Li & Yu 2020).

Leaving out sample i, y_i - f_{-i}(x_i) = alpha_i / [(K + ridge I)^{-1}]_ii  (Rasmussen & Williams 2006, eq. 5.12).
So one Cholesky factor gives all n errors, and it is shared by all outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from scipy.linalg import lapack
from torch import Tensor

from ntklab._spectrum import spectrum, times
from ntklab._validate import choice, real, tensors

_BLOCK = 512
_EPS = np.finfo(np.float64).eps


class LeaveOneOut(NamedTuple):
    """Leave-one-out errors of R ridges, and the fit with the best of them."""

    ridges: np.ndarray
    """(R,), as given."""
    errors: np.ndarray
    """(R,): mean of (y_i - f_{-i}(x_i))^2 over samples and outputs; inf where K + ridge I is singular."""
    ridge: float
    """The one with the smallest error, the larger of equals."""
    residuals: np.ndarray | Tensor
    """y_i - f_{-i}(x_i) at this ridge, of y's shape."""
    dual: np.ndarray | Tensor
    """alpha at this ridge, of y's shape (with ``centre``: for the targets y - mean(y))."""


def kernel_ridge(kernel, y, ridge=0.0, *, t=math.inf, learning_rate=1.0, loss="mean") -> np.ndarray | Tensor:
    """Dual coefficients alpha of y's shape: k(x, X) @ alpha predicts at x.

    Args:
        kernel: K, (n, n), symmetric positive semidefinite; left as it is.  float32 is computed in float64.
        y: targets, (n,) or (n, k).
        ridge: at least 0, not divided by n.  Where K + ridge I is singular in float64 (duplicates without a
            ridge), modes with eigenvalues up to n eps lambda_max are left out: the pseudo-inverse.
        t: training time, a number or inf.  A finite time needs the spectrum, about 20 times the work.
        learning_rate, loss: eta, and c = 1/n for "mean" or 1 for "sum", as in ``GradientFlow``; for finite t.

    Raises:
        ValueError: shapes that do not fit, NaN, a kernel that is not positive semidefinite, ridge < 0, t < 0.
        TypeError: an argument that holds no real numbers.
    """
    matrix, targets, back = _read(kernel, y)
    ridge = real("ridge", ridge, minimum=0.0)
    solve = resolvent(matrix, ridge, t=t, rate=flow_rate(learning_rate, loss, len(matrix)))
    return back(solve(targets))


def leave_one_out(kernel, y, ridges, *, centre=False) -> LeaveOneOut:
    """Leave-one-out errors for every ridge, at the price of n^3 multiplications each, without one refit.

    Args:
        kernel: K, (n, n), symmetric positive semidefinite; left as it is.
        y: targets, (n,) or (n, k).
        ridges: a number or a sequence (R,), at least 0.
        centre: every fit is mean(y) + kernel ridge regression on y - mean(y), with the mean of the samples it
            sees: n - 1 of them where one is left out.

    Raises:
        ValueError: shapes that do not fit, NaN, a negative ridge, K + ridge I singular for all ridges.
        TypeError: an argument that holds no real numbers.
    """
    matrix, targets, back = _read(kernel, y)
    best = best_ridge(matrix, targets, ridge_list(ridges), centre=centre)
    return best._replace(residuals=back(best.residuals), dual=back(best.dual))


def best_ridge(matrix: np.ndarray, y: np.ndarray, ridges: np.ndarray, *, centre: bool) -> LeaveOneOut:
    """``leave_one_out`` for checked float64 arrays; needs no second (n, n) array and spoils the first."""
    n, columns = len(y), y.reshape(len(y), -1)
    if centre and n < 2:
        raise ValueError(f"leave-one-out about the mean needs at least 2 samples, got n_samples={n}")
    shift = (columns - columns.mean(0)) / max(n - 1, 1)  # mean(y) - mean without sample i
    centred = columns - columns.mean(0) if centre else columns
    right = np.column_stack([centred, np.ones(n)])

    errors, found = np.full(len(ridges), np.inf), None
    diagonal = matrix.diagonal().copy()
    for i in np.argsort(-ridges, kind="stable"):
        factor = Cholesky.of(matrix, ridges[i])
        if factor is not None:
            solved = factor.solve(right)
            dual, ones = solved[:, :-1], solved[:, -1:]
            numerator = dual + shift * ones if centre else dual
            residuals = numerator / factor.inverse_diagonal()[:, None]
            errors[i] = np.square(residuals).mean()
            if found is None or errors[i] < errors[found[0]]:
                found = i, residuals.reshape(y.shape), dual.reshape(y.shape)
        restore(matrix, diagonal)
    if found is None or not np.isfinite(errors[found[0]]):
        raise ValueError(
            f"kernel + ridge I must be positive definite for one of the ridges, got {ridges.max():g} at most: "
            "rows are equal or nearly so, give a larger ridge"
        )
    i, residuals, dual = found
    return LeaveOneOut(ridges, errors, float(ridges[i]), residuals, dual)


def resolvent(
    matrix: np.ndarray, ridge: float, *, t: float = math.inf, rate: float = 1.0
) -> Callable[[np.ndarray], np.ndarray]:
    """The map y -> (K + ridge I)^{-1} (I - exp(-rate (K + ridge I) t)) y, for y (n,) or (n, k).

    ``matrix`` K (n, n) in float64, C-contiguous, is spoiled.
    """
    t = one_time(t)
    if math.isinf(t):
        diagonal = matrix.diagonal().copy()
        factor = Cholesky.of(matrix, ridge)
        if factor is not None:
            return factor.solve
        restore(matrix, diagonal)
    modes = spectrum("kernel", torch.from_numpy(matrix), _EPS)
    eigenvalues, vectors = (part.numpy() for part in modes.positive())
    shrunk = eigenvalues + ridge
    with np.errstate(over="ignore"):
        gain = -np.expm1(-rate * t * shrunk) / shrunk
    return lambda y: vectors @ (gain * (vectors.T @ y).T).T


class Cholesky:
    """L L' = K + ridge I in the memory of K: one triangle holds L, the other still K."""

    @classmethod
    def of(cls, matrix: np.ndarray, ridge: float) -> Cholesky | None:
        """Factor a symmetric float64 array in place; None where it is singular up to rounding.

        Singular is a reciprocal condition number (LAPACK's estimate, 1-norm) below n eps.
        """
        factor = cls()
        matrix[np.diag_indices_from(matrix)] += ridge
        size = lapack.dlange("1", matrix.T)
        factor._lower, failed = lapack.dpotrf(matrix.T, lower=1, clean=0, overwrite_a=1)
        if failed or lapack.dpocon(factor._lower, size, uplo="L")[0] < len(matrix) * _EPS:
            return None
        return factor

    def solve(self, y: np.ndarray) -> np.ndarray:
        """(K + ridge I)^{-1} y for y (n,) or (n, k)."""
        return lapack.dpotrs(self._lower, y, lower=1)[0]

    def inverse_diagonal(self) -> np.ndarray:
        """The diagonal (n,) of (K + ridge I)^{-1}: column norms of L^{-1}, which takes the place of L."""
        inverse, failed = lapack.dtrtri(self._lower, lower=1, overwrite_c=1)
        if failed:
            raise ValueError("the Cholesky factor is singular")
        diagonal = np.empty(len(inverse))
        for columns in _blocks(len(inverse)):
            corner, below = np.tril(inverse[columns, columns]), inverse[columns.stop :, columns]
            diagonal[columns] = np.einsum("ij,ij->j", corner, corner) + np.einsum("ij,ij->j", below, below)
        return diagonal


def restore(matrix: np.ndarray, diagonal: np.ndarray) -> None:
    """Copy the triangle that ``Cholesky`` left alone over the other one, and put back the diagonal."""
    for rows in _blocks(len(matrix)):
        matrix[: rows.start, rows] = matrix[rows, : rows.start].T
        block = np.tril(matrix[rows, rows], -1)
        matrix[rows, rows] = block + block.T
    matrix[np.diag_indices_from(matrix)] = diagonal


def ridge_list(ridges) -> np.ndarray:
    """A number or a sequence of ridges as float64 (R,), checked."""
    values = [ridges] if np.ndim(ridges) == 0 else list(ridges)
    if not values or np.ndim(ridges) > 1:
        raise ValueError(f"ridges must be a number or a sequence (R,), got shape {np.shape(ridges)}")
    return np.array([real("ridge", value, minimum=0.0) for value in values])


def flow_rate(learning_rate, loss: str, n: int) -> float:
    """eta c of gradient flow: eta / n for the loss "mean", eta for "sum"."""
    rate = real("learning_rate", learning_rate, minimum=0.0, strict=True)
    return rate / n if choice("loss", loss, ("mean", "sum")) == "mean" else rate


def one_time(t) -> float:
    """A training time: one number at least 0, or inf."""
    values, vector = times(t)
    if vector:
        raise ValueError(f"t must be one number or inf, got {len(values)} of them")
    return values.item()


def _read(kernel, y) -> tuple[np.ndarray, np.ndarray, Callable]:
    """Own float64 copies of the kernel (n, n) and of y, and the way back to y's kind and dtype."""
    (matrix, targets), back = tensors(kernel=kernel, y=y)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"kernel must have shape (n, n), got {tuple(matrix.shape)}")
    if targets.ndim not in (1, 2) or len(targets) != len(matrix):
        n = len(matrix)
        raise ValueError(f"y must have shape ({n},) or ({n}, k), got {tuple(targets.shape)}")
    gap = (matrix - matrix.T).abs().max().item()
    if gap > max(torch.finfo(matrix.dtype).eps ** 0.5, 1e-6) * matrix.abs().max().item():
        raise ValueError(f"kernel must be symmetric, but entries differ from their mirror image by {gap:g}")
    dtype, device = matrix.dtype, matrix.device

    def own(a: Tensor) -> np.ndarray:
        return np.array(a.detach().cpu().numpy(), dtype=np.float64, order="C")

    return own(matrix), own(targets), lambda a: back(torch.as_tensor(a, dtype=dtype, device=device))


def _blocks(n: int) -> Iterator[slice]:
    return (slice(start, min(start + _BLOCK, n)) for start in range(0, n, _BLOCK))
