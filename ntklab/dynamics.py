"""Training with a constant kernel, in closed form: gradient flow and gradient descent.

With the loss c/2 sum_i |f(x_i) - y_i|^2 and a constant kernel Theta, training obeys

    df(x)/dt = -eta c Theta(x, X) (f(X) - y),        c = 1/n for "mean", 1 for "sum".

Along an eigenvector v of Theta(X, X) = V diag(lambda) V' only one number matters, the *progress*
p(t) = 1 - residual(t) / residual(0), which depends on x = eta c lambda alone.  Every method here is its own
formula for p, and shares the rest:

    f(X, t) = f0(X) + V p V' (y - f0(X))
    f(x, t) = f0(x) + Theta(x, X) V (p / lambda) V' (y - f0(X))

Sources: Jacot, Gabriel & Hongler 2018, section 5; Lee et al. 2019, eqs. 8-11.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ntklab._scaled import HUGE, scaled_product, split_large
from ntklab._spectrum import filled, flat, spectrum, square, times, with_start
from ntklab._validate import choice, finite, real, tensors


class ConstantKernel:
    """What the methods share: the spectrum, the residual in its eigenbasis, shapes and dtypes."""

    _whole_steps = False

    def __init__(self, k_train, y, *, f0=0.0, learning_rate=1.0, loss="mean"):
        """Decompose the kernel, once.

        Args:
            k_train: (n, n), or (n, n, k, k) with entries [i, j, a, b].
            y: targets, (n,) or (n, k).
            f0: outputs on the training set at t = 0, a number or of y's shape.
            learning_rate: eta, above 0.
            loss: "mean" is 1/(2n) sum over samples and outputs, "sum" is 1/2 sum.

        Raises:
            ValueError: shapes that do not fit, a kernel that is not symmetric positive semidefinite,
                NaN or infinite input, a rate that is not positive, an unknown loss.
            TypeError: an argument that holds no real numbers.
        """
        (kernel, y, start), back = with_start(f0, k_train=k_train, y=y)
        eps = torch.finfo(tensors(k_train=k_train)[0][0].dtype).eps
        self.learning_rate = real("learning_rate", learning_rate, minimum=0.0, strict=True)
        self.loss = choice("loss", loss, ("mean", "sum"))
        matrix = square("k_train", kernel)
        self._shape = kernel_shape(kernel, y)
        self._y = back(y.detach())
        self._f0 = filled("f0", start, y, tuple(y.shape))

        residual = y.detach().to(torch.float64) - self._f0
        finite("y - f0", residual)
        self._spectrum = spectrum("k_train", matrix, eps)
        self._lambda, self._vectors = self._spectrum.positive()
        self._residual = self._vectors.T @ residual.reshape(len(matrix), -1)  # (rank, columns)
        self._scale = 1.0 / len(y) if loss == "mean" else 1.0

    @property
    def eigenvalues(self) -> np.ndarray | Tensor:
        """Eigenvalues of k_train from the largest down, (n,) or (n k,); below n eps lambda_max they are 0."""
        return self._like_y(self._spectrum.eigenvalues)

    @property
    def eigenvectors(self) -> np.ndarray | Tensor:
        """Eigenvectors as columns in the order of ``eigenvalues``, (n, n) or (n k, n k)."""
        return self._like_y(self._spectrum.eigenvectors)

    @property
    def max_learning_rate(self) -> float:
        """Largest stable rate of gradient descent: 2 n / lambda_max for "mean", 2 / lambda_max for "sum"."""
        return stable_rate(2.0, self._spectrum, self._scale)

    def train(self, t) -> np.ndarray | Tensor:
        """Outputs on the training set at t (a number, inf or a vector): y's shape (a vector: (T, ...))."""
        return self._like_y(self._evolve(t, self._vectors, self._f0))

    def test(self, t, k_test_train, f0=0.0) -> np.ndarray | Tensor:
        """Outputs on other inputs at t, (m,) or (m, k), after a leading T where t is a vector (T,).

        Args:
            t: a number, inf, or a vector (T,).
            k_test_train: (m, n), or (m, n, k, k) where k_train has four axes.
            f0: outputs there at t = 0, a number or of shape (m,) or (m, k).

        Raises:
            ValueError, TypeError: as at construction, and a negative t.
        """
        (kernel, y, start), back = with_start(f0, k_test_train=k_test_train, y=self._y)
        check_test_kernel(kernel, self._shape)
        f0 = filled("f0", start, y, (len(kernel), *y.shape[1:]))
        rows = flat(kernel.detach().to(torch.float64)) @ self._vectors / self._lambda
        finite("k_test_train over the eigenvalues of k_train", rows)
        return back(self._evolve(t, rows, f0).to(kernel.dtype))

    def _evolve(self, t, rows: Tensor, f0: Tensor) -> Tensor:
        """f0 + rows p(t) residual, for rows (R, rank), in float64: f0's shape, after a leading T."""
        steps, vector = times(t, whole=self._whole_steps)
        info = torch.finfo(torch.float64)
        x = (self.learning_rate * self._scale * self._lambda).clamp(info.tiny, info.max)
        p, power = self._progress(x, steps.to(x.device)[:, None])
        change = scaled_product(rows, p, power, self._residual)
        result = f0 + change.reshape(len(steps), *f0.shape)
        return result if vector else result[0]

    def _progress(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """p = a exp(b) for x (rank,) and t (T, 1), as (a, b), each (T, rank); b is 0 where p is moderate."""
        raise NotImplementedError

    def _like_y(self, result: Tensor) -> np.ndarray | Tensor:
        (y,), back = tensors(y=self._y)
        return back(result.to(y.dtype))


class GradientFlow(ConstantKernel):
    """Gradient flow: p(t) = 1 - exp(-eta c lambda t)  (Lee et al. 2019, eqs. 8-9)."""

    def _progress(self, x, t):
        p = -torch.expm1(-x * t)
        return p, torch.zeros_like(p)


class GradientDescent(ConstantKernel):
    """Gradient descent, t exact steps: p(t) = 1 - (1 - eta c lambda)^t.

    Above ``max_learning_rate`` outputs grow until they are +inf or -inf.  Where t = inf has no limit (signs
    alternate), it is the limit along even numbers of steps.
    """

    _whole_steps = True

    def _progress(self, x, t):
        log_factor = torch.where(x < 1, torch.log1p(-x), torch.log1p(x - 2))  # log |1 - x|
        power = log_factor * torch.where(log_factor > 0, t.clamp(max=HUGE), t)
        power = power.nan_to_num(nan=0.0, neginf=-math.inf)  # 0 steps at x = 1, inf steps at x = 2
        flip = (x > 1) & (t.remainder(2) == 1)
        p = torch.where(flip, 1 + power.exp(), -power.expm1())
        return split_large(p, power, flip)


def kernel_shape(kernel: Tensor, y: Tensor) -> tuple[int, ...]:
    """The shape of a training kernel, after a check that the targets (n,) or (n, k) fit it."""
    n, outputs = len(kernel), y.shape[1:]
    fits = y.ndim in (1, 2) and len(y) == n and (kernel.ndim == 2 or math.prod(outputs) == kernel.shape[2])
    if not fits:
        wanted = f"({n},) or ({n}, k)" if kernel.ndim == 2 else f"({n}, {kernel.shape[2]})"
        raise ValueError(
            f"y must have shape {wanted} to fit k_train {tuple(kernel.shape)}, got {tuple(y.shape)}"
        )
    return tuple(kernel.shape)


def check_test_kernel(kernel: Tensor, train_shape: tuple[int, ...]) -> None:
    """ValueError unless the kernel is (m, n) or (m, n, k, k) in step with the training kernel."""
    if kernel.ndim != len(train_shape) or tuple(kernel.shape[1:]) != train_shape[1:]:
        wanted = ", ".join(("m", *map(str, train_shape[1:])))
        raise ValueError(f"k_test_train must have shape ({wanted}), got {tuple(kernel.shape)}")


def stable_rate(bound: float, spectrum, scale: float) -> float:
    largest = spectrum.eigenvalues[0].item() * scale
    return bound / largest if largest > 0 else math.inf
