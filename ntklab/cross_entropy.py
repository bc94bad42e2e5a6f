"""Gradient flow of the cross-entropy with a constant kernel: no closed form, an ODE solver."""

from __future__ import annotations

import numpy as np
import torch
from scipy.integrate import solve_ivp
from scipy.special import expit, softmax
from torch import Tensor

from ntklab._spectrum import filled, flat, spectrum, square, times, with_start
from ntklab._validate import choice, real, tensors
from ntklab.dynamics import check_test_kernel, kernel_shape

_DENSE = 2000  # unknowns up to which an implicit method with a dense Jacobian is affordable
_RELATIVE, _ABSOLUTE = 1e-9, 1e-11


class CrossEntropyFlow:
    """Gradient flow of the cross-entropy of softmax(f), or of sigmoid(f) for one logit.

        df(x)/dt = eta c Theta(x, X) (y - softmax f(X)),        c = 1/n for "mean", 1 for "sum"

    (Lee et al. 2019, section 2.4).  With Theta(X, X) = G G' this is logistic regression on the features G,
    f(X) = f0 + G b with db/dt = eta c G' (y - softmax f): that is what is solved, to a relative tolerance of
    1e-9, by an implicit method with the exact Jacobian up to 2000 unknowns and an explicit one above.
    """

    def __init__(self, k_train, y, *, f0=0.0, learning_rate=1.0, loss="mean"):
        """
        Args:
            k_train: (n, n), the same for every output, or (n, n, k, k) with entries [i, j, a, b].
            y: probabilities of the classes, such as one-hot rows, (n, k) with k at least 2; or (n,), the
                probability of class 1 of two, with one logit.
            f0: logits on the training set at t = 0, a number or of y's shape.
            learning_rate: eta, above 0.
            loss: "mean" or "sum" of the samples' cross-entropies.

        Raises:
            ValueError: targets that are no probabilities, and as ``GradientFlow``.
        """
        (kernel, y, start), back = with_start(f0, k_train=k_train, y=y)
        eps = torch.finfo(tensors(k_train=k_train)[0][0].dtype).eps
        self.learning_rate = real("learning_rate", learning_rate, minimum=0.0, strict=True)
        self.loss = choice("loss", loss, ("mean", "sum"))
        matrix = square("k_train", kernel)
        self._shape = kernel_shape(kernel, y)
        _check_probabilities(y)
        self._y = back(y.detach())
        self._f0 = filled("f0", start, y, tuple(y.shape)).cpu().numpy()
        self._targets = y.detach().to("cpu", torch.float64).numpy()

        eigenvalues, self._vectors = spectrum("k_train", matrix, eps).positive()
        self._root = eigenvalues.sqrt()
        self._features = (self._vectors * self._root).cpu().numpy()  # G, (N, rank)
        self._columns = y.numel() // len(matrix)
        self._rate = self.learning_rate / (len(y) if loss == "mean" else 1)
        self._solved = (np.empty(0), np.empty(0))

    def train(self, t) -> np.ndarray | Tensor:
        """Logits on the training set at t, a finite number or a vector (T,): y's shape, after a leading T."""
        (y,), back = tensors(y=self._y)
        moments, vector = times(t, infinite=False)
        change = self._features @ self._coefficients(moments.numpy())
        result = self._f0 + change.reshape(len(moments), *self._f0.shape)
        return back(torch.as_tensor(result if vector else result[0]).to(y))

    def test(self, t, k_test_train, f0=0.0) -> np.ndarray | Tensor:
        """Logits on other inputs at t, (m,) or (m, k), after a leading T where t is a vector (T,).

        Args:
            t: a finite number or a vector (T,).
            k_test_train: (m, n), or (m, n, k, k) where k_train has four axes.
            f0: logits there at t = 0, a number or of shape (m,) or (m, k).
        """
        (kernel, y, start), back = with_start(f0, k_test_train=k_test_train, y=self._y)
        check_test_kernel(kernel, self._shape)
        f0 = filled("f0", start, y, (len(kernel), *y.shape[1:]))
        moments, vector = times(t, infinite=False)
        rows = flat(kernel.detach().to(torch.float64)) @ self._vectors / self._root
        change = rows @ torch.as_tensor(self._coefficients(moments.numpy())).to(rows)
        result = f0 + change.reshape(len(moments), *f0.shape)
        return back((result if vector else result[0]).to(kernel.dtype))

    def _coefficients(self, moments: np.ndarray) -> np.ndarray:
        """b at the given times, (T, rank, columns); the latest answer is kept for the next call."""
        if not np.array_equal(self._solved[0], moments):
            self._solved = (moments, self._solve(moments))
        return self._solved[1]

    def _solve(self, moments: np.ndarray) -> np.ndarray:
        distinct, order = np.unique(moments, return_inverse=True)
        shape = (self._features.shape[1], self._columns)
        size = shape[0] * shape[1]
        if size == 0 or distinct[-1] == 0:
            return np.zeros((len(moments), *shape))
        method = {"method": "LSODA", "jac": self._jacobian} if size <= _DENSE else {"method": "DOP853"}
        solution = solve_ivp(
            self._velocity,
            (0.0, distinct[-1]),
            np.zeros(size),
            t_eval=distinct,
            rtol=_RELATIVE,
            atol=_ABSOLUTE * self._scale(),
            **method,
        )
        if not solution.success:
            raise RuntimeError(f"the ODE solver stopped before t = {distinct[-1]:g}: {solution.message}")
        return solution.y.T[order].reshape(len(moments), *shape)

    def _scale(self) -> float:
        """Size of b that moves some logit by 1."""
        return 1.0 / float(self._root[0])

    def _probabilities(self, b: np.ndarray) -> np.ndarray:
        """softmax(f) or sigmoid(f), of y's shape."""
        change = self._features @ b.reshape(-1, self._columns)
        logits = self._f0 + change.reshape(self._f0.shape)
        return expit(logits) if logits.ndim == 1 else softmax(logits, axis=1)

    def _velocity(self, t: float, b: np.ndarray) -> np.ndarray:
        gap = (self._targets - self._probabilities(b)).reshape(-1, self._columns)
        return self._rate * (self._features.T @ gap).ravel()

    def _jacobian(self, t: float, b: np.ndarray) -> np.ndarray:
        """-eta c G' H G with H the cross-entropy's Hessian: p (1 - p), or diag(p) - p p' per sample."""
        p = self._probabilities(b)
        features, rank = self._features, self._features.shape[1]
        if p.ndim == 1:
            return -self._rate * (features.T * (p * (1 - p))) @ features
        hessian = p[:, :, None] * np.eye(p.shape[1]) - p[:, :, None] * p[:, None, :]  # (n, k, k)
        if self._columns == 1:
            weighted = hessian @ features.reshape(*p.shape, rank)
            return -self._rate * features.T @ weighted.reshape(len(features), rank)
        blocks = np.einsum("ir,iab,is->rasb", features, hessian, features, optimize=True)
        return -self._rate * blocks.reshape(len(b), len(b))


def _check_probabilities(y: Tensor) -> None:
    if y.ndim == 2 and y.shape[1] == 1:
        raise ValueError(f"y must be (n,) for one logit, or (n, k) with k at least 2, got {tuple(y.shape)}")
    if (y < 0).any() or (y > 1).any():
        hint = "; write class labels as one-hot rows (n, k)" if y.ndim == 1 else ""
        worst = y.max().item() if y.max() > 1 else y.min().item()
        raise ValueError(f"y must hold probabilities between 0 and 1, got {worst:g}{hint}")
    if y.ndim == 2:
        gap = (y.sum(1) - 1).abs().max().item()
        if gap > 1e-5:
            raise ValueError(f"each row of y must add up to 1, got a row that is off by {gap:g}")
