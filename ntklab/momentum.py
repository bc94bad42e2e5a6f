"""Heavy-ball momentum with a constant kernel, in closed form."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ntklab._scaled import HUGE, LARGE
from ntklab._validate import real
from ntklab.dynamics import ConstantKernel, stable_rate


class Momentum(ConstantKernel):
    """Heavy-ball descent from rest, t exact steps of

        f(t+1) = f(t) - eta c Theta (f(t) - y) + momentum (f(t) - f(t-1))       (Polyak 1964)

    which is what ``torch.optim.SGD(momentum=...)`` does to a linear model.  With d(t) = p(t) - p(t-1) each
    mode follows  d(t+1) = momentum d(t) + x (1 - p(t)),  p(t+1) = p(t) + d(t+1):  a 3 x 3 matrix, raised to
    the power t by repeated squaring.
    """

    _whole_steps = True

    def __init__(self, k_train, y, *, momentum, f0=0.0, learning_rate=1.0, loss="mean"):
        """As ``GradientDescent``, with ``momentum`` from 0 up to (without) 1."""
        super().__init__(k_train, y, f0=f0, learning_rate=learning_rate, loss=loss)
        self.momentum = real("momentum", momentum, minimum=0.0)
        if self.momentum >= 1:
            raise ValueError(f"momentum must be below 1, got {momentum:g}")

    @property
    def max_learning_rate(self) -> float:
        """Largest stable rate: (1 + momentum) times that of gradient descent."""
        return stable_rate(2.0 * (1 + self.momentum), self._spectrum, self._scale)

    def _progress(self, x, t):
        a, b = zip(*(self._steps(x, steps) for steps in t[:, 0].tolist()), strict=True)
        return torch.stack(a), torch.stack(b)

    def _steps(self, x: Tensor, t: float) -> tuple[Tensor, Tensor]:
        """Mantissa and power of p after t steps, each (rank,)."""
        if math.isinf(t):
            return self._limit(x)
        step = x.new_zeros(len(x), 3, 3)  # acts on (p, d, 1)
        step[:, 0, 0], step[:, 0, 1], step[:, 0, 2] = 1 - x, self.momentum, x
        step[:, 1, 0], step[:, 1, 1], step[:, 1, 2] = -x, self.momentum, x
        step[:, 2, 2] = 1
        total, power = torch.eye(3, dtype=x.dtype, device=x.device).repeat(len(x), 1, 1), torch.zeros_like(x)
        step_power, steps = torch.zeros_like(x), int(t)
        while steps:
            step, step_power = _normalised(step, step_power)
            if steps & 1:
                total, power = _normalised(step @ total, power + step_power)
            step, step_power, steps = step @ step, 2 * step_power, steps >> 1
        p = total[:, 0, 2]
        moderate = power + p.abs().log() <= LARGE
        return torch.where(moderate, p * power.exp(), p), torch.where(moderate, 0.0, power)

    def _limit(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Stable modes arrive; others grow like the larger root of z^2 - (1 + momentum - x) z + momentum."""
        half = (x - 1 - self.momentum) / 2  # minus half the sum of the roots
        root = half + (half * half - self.momentum).clamp(min=0).sqrt()
        stable = x <= 2 * (1 + self.momentum)
        return torch.where(stable, 1.0, -1.0), torch.where(stable, 0.0, root.clamp(min=1).log() * HUGE)


def _normalised(matrices: Tensor, power: Tensor) -> tuple[Tensor, Tensor]:
    """matrices (N, 3, 3) and their power of e (N,), rescaled where the largest entry is far from 1.

    Bounded matrices are left alone: the last row (0, 0, 1) must stay exact over many squarings.
    """
    size = matrices.abs().amax((1, 2))
    size = torch.where((size > 1e100) | (size < 1e-100), size, 1.0)
    return matrices / size[:, None, None], power + size.log()
