"""What the exercise notebooks share: toy data, a small network, a training loop and checks that explain.

The answers (kernels, Jacobians, linearisations) are the learner's to write, so nothing here computes one.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from torch import Tensor, nn

TOLERANCE = 1e-4  # of the largest expected entry: float32 passes with a factor 100 to spare


class TwoLayerNet(nn.Module):
    """f(x) = a . phi(z) / sqrt(m) with z = W x / sqrt(d) + b / 2; entries of W, b, a drawn from N(0, 1).

    One hidden layer of ``width`` m units in the NTK parameterisation of Jacot et al. (2018), sec. 3,
    with sigma_w = 1, sigma_b = 1/2 and no bias on the readout, in float64.
    The numbers come from numpy's generator: a seed gives the same network on every machine.
    """

    def __init__(self, width: int, inputs: int = 2, outputs: int = 1, activation=torch.tanh, seed: int = 0):
        super().__init__()
        rng = np.random.default_rng(seed)
        self.hidden_weight = nn.Parameter(torch.tensor(rng.standard_normal((width, inputs))))
        self.hidden_bias = nn.Parameter(torch.tensor(rng.standard_normal(width)))
        self.readout_weight = nn.Parameter(torch.tensor(rng.standard_normal((outputs, width))))
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs ``(n, d)`` to outputs ``(n, k)``."""
        width, inputs = self.hidden_weight.shape
        z = x @ self.hidden_weight.T / math.sqrt(inputs) + self.hidden_bias / 2
        return self.activation(z) @ self.readout_weight.T / math.sqrt(width)


class Wave(nn.Module):
    """x -> (p sin(q x), p cos(q x)): two parameters, two outputs, and every derivative fits on one line."""

    def __init__(self, amplitude: float = 1.5, frequency: float = 0.8):
        super().__init__()
        self.amplitude = nn.Parameter(torch.tensor([amplitude], dtype=torch.float64))
        self.frequency = nn.Parameter(torch.tensor([frequency], dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs ``(n, 1)`` to outputs ``(n, 2)``."""
        angle = self.frequency * x
        return self.amplitude * torch.cat([angle.sin(), angle.cos()], dim=1)


def circle(n: int, offset: float = 0.0) -> tuple[Tensor, Tensor]:
    """Evenly spaced points on the circle |x|^2 = 2 and a smooth target: x ``(n, 2)``, y ``(n, 1)``, float64.

    ``offset`` turns the points by that part of their spacing: 0.5 gives the midpoints.
    """
    angle = 2 * math.pi * (torch.arange(n, dtype=torch.float64) + offset) / n
    x = math.sqrt(2) * torch.stack([angle.cos(), angle.sin()], dim=1)
    return x, (angle.sin() + (2 * angle).cos() / 2)[:, None]


def trained(model: nn.Module, x: Tensor, y: Tensor, learning_rate: float, steps: int) -> nn.Module:
    """A copy of ``model`` after full-batch gradient descent on 1/(2n) sum (f - y)^2.

    ``model`` itself stays as it was.
    """
    model = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = ((model(x) - y) ** 2).sum() / (2 * len(x))
        loss.backward()
        optimizer.step()
    return model


class CheckError(AssertionError):
    """A failed check; ``error`` against ``tolerance`` says by how much (inf for a wrong shape or type)."""

    def __init__(self, message: str, error: float, tolerance: float):
        super().__init__(message)
        self.error = error
        self.tolerance = tolerance


def check(name: str, got, want, *, hint: str = "", tolerance: float = TOLERANCE) -> None:
    """Compare a result (torch, numpy or lists) with the expected array, and explain a difference.

    The error is the largest deviation divided by the largest expected entry.  Axes of size 1 are ignored.

    Raises:
        CheckError: with a message that says what is different and where to look.
    """

    def fail(message: str, error: float = math.inf):
        raise CheckError("\n".join(filter(None, [f"{name}: {message}", hint])), error, tolerance)

    if got is None:
        fail("the result is None. Is a `return` missing?")
    want = _array(want)
    try:
        got = _array(got)
    except (TypeError, ValueError) as error:
        fail(f"expected an array or tensor of numbers, got {type(got).__name__} ({error}).")
    if np.squeeze(got).shape != np.squeeze(want).shape:
        fail(f"expected shape {want.shape}, got {got.shape}.")
    got = got.reshape(want.shape)
    if not np.isfinite(got).all():
        fail("some entries are NaN or infinite.")
    deviation = np.abs(got - want)
    error = float(deviation.max() / np.abs(want).max())
    if error > tolerance:
        fail(_difference(got, want, deviation, error), error)
    print(f"ok: {name}")


def _array(value) -> np.ndarray:
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    elif isinstance(value, (list, tuple)):
        value = [_array(item) for item in value]
    return np.asarray(value, dtype=np.float64)


def _difference(got: np.ndarray, want: np.ndarray, deviation: np.ndarray, error: float) -> str:
    """Say how a wrong array is wrong: a constant factor, a transpose, or its worst entry."""
    if want.size == 1:
        return f"got {got.item():.6g}, expected {want.item():.6g} (off by {100 * error:.2g} %)."
    factor = float((got * want).sum() / (want**2).sum())
    if factor != 0 and np.abs(got - factor * want).max() < 1e-3 * np.abs(got).max():
        return f"the result is {factor:.4g} times the expected one. Which factor is missing or extra?"
    if (
        want.ndim == 2
        and want.shape[0] == want.shape[1]
        and np.abs(got - want.T).max() < 1e-3 * np.abs(got).max()
    ):
        return "the result is the transpose of the expected one."
    worst = np.unravel_index(deviation.argmax(), deviation.shape)
    return (
        f"off by {100 * error:.2g} % of the largest expected entry; worst at [{', '.join(map(str, worst))}]: "
        f"got {got[worst]:.6g}, expected {want[worst]:.6g}."
    )
