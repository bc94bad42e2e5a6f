"""Kernel ridge regression and early stopping as filters of one spectrum.

With K(X, X) = V diag(lambda) V' every estimator here keeps a share s of each mode of the targets:

    f(X) = V s V' y,        f(x) = k(x, X) V (s / lambda) V' y.

    ridge               s = lambda / (lambda + ridge)           (K + ridge I)^-1, ridge not divided by n
    gradient flow       s = 1 - exp(-eta c lambda t)            c = 1/n for the loss "mean", 1 for "sum"
    gradient descent    s = 1 - (1 - eta c lambda)^t            t whole steps

Sources: Yao, Rosasco & Caponnetto 2007 (early stopping as regularisation); Ali, Kolter & Tibshirani 2019.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ntklab._spectrum import spectrum, square, times
from ntklab._validate import choice, positive_int, real, tensors
from ntklab.generalization._modes import mode_vector, settings


def ridge_filter(eigenvalues, ridge=0.0) -> np.ndarray | Tensor:
    """Share lambda / (lambda + ridge) that kernel ridge regression keeps of every mode.

    Args:
        eigenvalues: (M,) of the Gram matrix, not negative.
        ridge: at least 0, a number or a vector (R,).  Without ridge a mode is kept whole where lambda > 0.

    Returns:
        (M,), or (R, M) for a vector of ridges, in [0, 1].

    Raises:
        ValueError, TypeError: negative, NaN or infinite entries, or wrong shapes.
    """
    (values,), back = tensors(eigenvalues=eigenvalues)
    modes = mode_vector("eigenvalues", values)
    (ridge,), shape = settings(ridge=ridge)
    share = modes / torch.where(modes > 0, modes + ridge[:, None].to(modes.device), 1.0)
    return back(share.reshape(*shape, -1).to(values.dtype))


def flow_filter(eigenvalues, t, *, learning_rate=1.0, loss="mean", n=None) -> np.ndarray | Tensor:
    """Share 1 - exp(-eta c lambda t) that gradient flow from f0 = 0 has learnt of every mode.

    Args:
        eigenvalues: (M,) of the Gram matrix, not negative.
        t: training time, a number, inf or a vector (T,).
        learning_rate: eta, above 0.
        loss: "mean" is 1/(2n) sum over samples, "sum" is 1/2 sum.
        n: number of samples of the "mean"; None is the number of eigenvalues.

    Returns:
        (M,), or (T, M) for a vector t, in [0, 1].

    Raises:
        ValueError, TypeError: arguments out of range or of wrong shapes.
    """
    (values,), back = tensors(eigenvalues=eigenvalues)
    modes = mode_vector("eigenvalues", values)
    t, vector = times(t)
    rate = modes * _speed(learning_rate, loss, n, len(modes))
    share = -torch.expm1(-torch.where(rate > 0, rate * t.to(rate.device)[:, None], 0.0))
    return back((share if vector else share[0]).to(values.dtype))


def descent_filter(eigenvalues, t, *, learning_rate=1.0, loss="mean", n=None) -> np.ndarray | Tensor:
    """Share 1 - (1 - eta c lambda)^t that t steps of gradient descent from f0 = 0 have learnt of every mode.

    Arguments as for ``flow_filter``; t counts whole steps.

    Returns:
        (M,), or (T, M) for a vector t: in [0, 1] for modes with eta c lambda <= 1, in [0, 2) beyond.

    Raises:
        ValueError: a rate at which a mode does not converge, eta c lambda >= 2; or as ``flow_filter``.
    """
    (values,), back = tensors(eigenvalues=eigenvalues)
    modes = mode_vector("eigenvalues", values)
    t, vector = times(t, whole=True)
    step = modes * _speed(learning_rate, loss, n, len(modes))
    if step.max() >= 2:
        limit = learning_rate * 2 / step.max().item()
        raise ValueError(
            f"learning_rate must be below {limit:g}, where descent diverges, got {learning_rate}"
        )
    t = t.to(step.device)[:, None]
    log_left = torch.where(step < 1, torch.log1p(-step), torch.log1p(step - 2))  # log |1 - step|
    exponent = torch.where((step > 0) & (t > 0), log_left * t, 0.0)
    share = torch.where((step > 1) & (t % 2 == 1), 1 + exponent.exp(), -torch.expm1(exponent))
    return back((share if vector else share[0]).to(values.dtype))


def equivalent_ridge(t, *, learning_rate=1.0, loss="mean", n=None) -> float | np.ndarray:
    """The ridge 1 / (eta c t) that stands for gradient flow stopped at t.

    Both filters depend on eta c lambda t alone: u/(1+u) against 1-exp(-u).  Their ratio lies in
    [1, 1.2985], and the estimation risk of the flow is at most 1.6862 times that of this ridge
    (Ali, Kolter & Tibshirani 2019, theorem 1).

    Args:
        t: above 0, a number or a vector (T,).
        learning_rate, loss: as for ``flow_filter``.
        n: number of samples; needed for the loss "mean".

    Raises:
        ValueError, TypeError: arguments out of range; no n for the "mean".
    """
    if n is None and loss == "mean":
        raise ValueError('n must be given for loss="mean", got None')
    (t,), shape = settings(positive=("t",), t=t)
    ridge = 1 / (t * _speed(learning_rate, loss, n, 1))
    return ridge.numpy() if shape else ridge.item()


class Fit(NamedTuple):
    """A filtered regression: f(x) = k(x, X) dual."""

    train: np.ndarray | Tensor
    """Outputs on the training set, of y's shape."""
    dual: np.ndarray | Tensor
    """Coefficients of k(., x_i), of y's shape."""
    degrees_of_freedom: float
    """Sum of the shares, the trace of the map y -> f(X)."""
    norm: np.ndarray | Tensor | float
    """RKHS norm of f: a number, or (k,) for several outputs."""

    def predict(self, k_test_train) -> np.ndarray | Tensor:
        """Outputs k_test_train @ dual for a kernel (m, n): (m,) or (m, k)."""
        (kernel, dual), back = tensors(k_test_train=k_test_train, dual=self.dual)
        if kernel.ndim != 2 or kernel.shape[1] != len(dual):
            raise ValueError(f"k_test_train must have shape (m, {len(dual)}), got {tuple(kernel.shape)}")
        return back(kernel @ dual)


def fit(kernel, y, shrinkage: Callable) -> Fit:
    """Regression with a filter of the kernel's spectrum.

    Args:
        kernel: (n, n), symmetric positive semidefinite.
        y: (n,) or (n, k).
        shrinkage: takes the eigenvalues (n,) and gives the shares (n,), for instance
            ``functools.partial(ridge_filter, ridge=0.1)``.  A mode with eigenvalue 0 is not learnt.

    Raises:
        ValueError, TypeError: shapes that do not fit, NaN, a kernel that is not positive semidefinite, or
            shares of another shape.
    """
    (matrix, y), back = tensors(kernel=kernel, y=y)
    values, vectors, inside = _projected(matrix, y)
    share = torch.as_tensor(shrinkage(back(values)), dtype=torch.float64, device=values.device)
    if share.shape != values.shape:
        raise ValueError(
            f"shrinkage must give shares of shape {tuple(values.shape)}, got {tuple(share.shape)}"
        )
    share = torch.where(values > 0, share, 0.0)
    weights = (share / torch.where(values > 0, values, 1.0))[:, None]
    norm = (weights * share[:, None] * inside**2).sum(0).sqrt()
    shaped = lambda result: back(result.reshape(y.shape).to(y.dtype))  # noqa: E731
    return Fit(
        train=shaped(vectors @ (share[:, None] * inside)),
        dual=shaped(vectors @ (weights * inside)),
        degrees_of_freedom=share.sum().item(),
        norm=norm.item() if y.ndim == 1 else back(norm.to(y.dtype)),
    )


def rkhs_norm(kernel, y) -> float | np.ndarray | Tensor:
    """RKHS norm sqrt(y' K^+ y) of the function of least norm through the points.

    Where K is singular and y has a part outside its range, no function goes through the points; then it is
    the norm of the one that comes nearest in mean square.

    Args:
        kernel: (n, n), symmetric positive semidefinite.
        y: (n,) or (n, k).

    Returns:
        A number, or (k,) for several outputs.

    Raises:
        ValueError, TypeError: shapes that do not fit, NaN, a kernel that is not positive semidefinite.
    """
    return fit(kernel, y, ridge_filter).norm


def _projected(matrix: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Eigenvalues (n,), eigenvectors (n, n), and the targets in that basis (n, columns); float64."""
    if matrix.ndim != 2:
        raise ValueError(f"kernel must have shape (n, n), got {tuple(matrix.shape)}")
    matrix = square("kernel", matrix)
    if y.ndim not in (1, 2) or len(y) != len(matrix):
        n = len(matrix)
        raise ValueError(f"y must have shape ({n},) or ({n}, k) to fit kernel, got {tuple(y.shape)}")
    values, vectors, _ = spectrum("kernel", matrix, torch.finfo(matrix.dtype).eps)
    return values, vectors, vectors.T @ y.detach().to(torch.float64).reshape(len(y), -1)


def _speed(learning_rate, loss, n, modes: int) -> float:
    """eta c."""
    rate = real("learning_rate", learning_rate, minimum=0.0, strict=True)
    samples = modes if n is None else positive_int("n", n)
    return rate / samples if choice("loss", loss, ("mean", "sum")) == "mean" else rate
