"""What the exercise notebooks share: toy data, a small network, a training loop and checks that explain.

The answers (kernels, Jacobians, linearisations) are the learner's to write, so nothing here computes one.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

TOLERANCE = 1e-4  # of the largest expected entry: float32 passes with a factor 100 to spare

ACTIVATIONS = {
    "abs": torch.abs,
    "cos": torch.cos,
    "erf": torch.erf,
    "gelu": nn.functional.gelu,
    "identity": nn.Identity(),
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "sin": torch.sin,
    "softplus": nn.functional.softplus,
    "tanh": torch.tanh,
}


class TwoLayerNet(nn.Module):
    """f(x) = a . phi(z) / sqrt(m) with z = W x / sqrt(d) + b / 2; entries of W, b, a drawn from N(0, 1).

    One hidden layer of ``width`` m units in the NTK parameterisation of Jacot et al. (2018), sec. 3,
    with sigma_w = 1, sigma_b = 1/2 and no bias on the readout, in float64.
    The numbers come from numpy's generator: a seed gives the same network on every machine.
    """

    def __init__(self, width: int, inputs: int = 2, outputs: int = 1, activation=torch.tanh, seed: int = 0):
        super().__init__()
        self.arguments = {"width": width, "inputs": inputs, "outputs": outputs, "activation": activation}
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
        self.arguments = {"amplitude": amplitude, "frequency": frequency}
        self.amplitude = nn.Parameter(torch.tensor([amplitude], dtype=torch.float64))
        self.frequency = nn.Parameter(torch.tensor([frequency], dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs ``(n, 1)`` to outputs ``(n, 2)``."""
        angle = self.frequency * x
        return self.amplitude * torch.cat([angle.sin(), angle.cos()], dim=1)


class Perceptron(nn.Module):
    """Fully connected layers in PyTorch's own (standard) parameterisation, in float64.

    ``sizes`` are the numbers of units from input to output, (2, 16, 3) for one hidden layer of 16; the entries
    of weights and biases are drawn from N(0, 1/fan_in); ``activation`` stands between the layers and, with
    ``last=True``, after the last one too.
    """

    def __init__(self, sizes: Sequence[int], activation=torch.tanh, last: bool = False, seed: int = 0):
        super().__init__()
        self.arguments = {"sizes": list(sizes), "activation": activation, "last": last}
        self.layers = nn.ModuleList(
            nn.Linear(*pair, dtype=torch.float64) for pair in itertools.pairwise(sizes)
        )
        self.activation = activation
        self.last = last
        rng = np.random.default_rng(seed)
        with torch.no_grad():
            for layer in self.layers:
                for parameter in layer.parameters():
                    parameter.copy_(
                        torch.tensor(rng.standard_normal(parameter.shape) / layer.in_features**0.5)
                    )

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs ``(n, sizes[0])`` to outputs ``(n, sizes[-1])``."""
        for index, layer in enumerate(self.layers, start=1):
            x = layer(x)
            if self.last or index < len(self.layers):
                x = self.activation(x)
        return x


MODELS = {model.__name__: model for model in (TwoLayerNet, Wave, Perceptron)}


def circle(n: int, offset: float = 0.0) -> tuple[Tensor, Tensor]:
    """Evenly spaced points on the circle |x|^2 = 2 and a smooth target: x ``(n, 2)``, y ``(n, 1)``, float64.

    ``offset`` turns the points by that part of their spacing: 0.5 gives the midpoints.
    """
    angle = 2 * math.pi * (torch.arange(n, dtype=torch.float64) + offset) / n
    x = math.sqrt(2) * torch.stack([angle.cos(), angle.sin()], dim=1)
    return x, (angle.sin() + (2 * angle).cos() / 2)[:, None]


def digits(n: int, classes: Sequence[int] = (3, 8), seed: int = 0) -> tuple[Tensor, Tensor]:
    """Handwritten digits of two classes: x ``(n, 784)`` with mean |x|^2 = 784, y ``(n, 1)`` in {-1, 1}, float64.

    Drawn without replacement from 10,000 digits of MNIST (their origin: ntklab/data/README.md), half from each
    class, -1 for the first; every pixel's mean over the drawn digits is subtracted.

    Raises:
        ValueError: more digits than there are.
    """
    here = Path(__file__).resolve().parent
    folder = next(
        f for f in (here / "data", here.parent / "ntklab" / "data") if (f / "mnist_10k.npz").is_file()
    )
    with np.load(folder / "mnist_10k.npz") as file:
        images, labels = file["images"], file["labels"]
    rng = np.random.default_rng(seed)
    chosen = []
    for digit, count in zip(classes, (n - n // 2, n // 2), strict=True):
        found = np.flatnonzero(labels == digit)
        if count > len(found):
            raise ValueError(f"n: there are {len(found)} digits {digit}, {count} were asked for")
        chosen.append(rng.permutation(found)[:count])
    order = rng.permutation(n)
    x = images[np.concatenate(chosen)[order]].reshape(n, -1).astype(np.float64)
    x -= x.mean(axis=0)
    x *= math.sqrt(x.shape[1] / (x**2).sum(axis=1).mean())
    y = np.repeat([-1.0, 1.0], [len(part) for part in chosen])[order]
    return torch.tensor(x), torch.tensor(y)[:, None]


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
    kind, error = diagnose(got, want, tolerance)
    if kind != "right":
        fail(_message(kind, error, got, want), error)
    print(f"ok: {name}")


def diagnose(got: np.ndarray, want: np.ndarray, tolerance: float = TOLERANCE) -> tuple[str, float]:
    """Say how an array differs from the expected one.

    Returns a kind ("right", "wrong shape", "not finite", "constant factor", "wrong sign", "transposed" or
    "wrong values") and the largest deviation over the largest expected entry (inf for a wrong shape).
    """
    if np.squeeze(got).shape != np.squeeze(want).shape:
        return "wrong shape", math.inf
    got = got.reshape(want.shape)
    if not np.isfinite(got).all():
        return "not finite", math.inf
    if want.size == 0:
        return "right", 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        error = float(np.abs(got - want).max() / (np.abs(want).max() or 1.0))
        return ("right" if error <= tolerance else _kind(got, want)), error


def _kind(got: np.ndarray, want: np.ndarray) -> str:
    """In which of the usual ways an array is wrong."""
    close = 1e-3 * np.abs(got).max()
    factor = _factor(got, want)
    if want.size > 1 and factor and np.abs(got - factor * want).max() < close:
        return "wrong sign" if abs(factor + 1) < 1e-3 else "constant factor"
    square = want.ndim == 2 and want.shape[0] == want.shape[1]
    if square and np.abs(got - want.T).max() < close:
        return "transposed"
    return "wrong values"


def _factor(got: np.ndarray, want: np.ndarray) -> float:
    """The number c for which c * want is closest to got; 0 where there is none."""
    with np.errstate(all="ignore"):
        factor = float((got / np.abs(got).max() * want).sum() / (want**2).sum() * np.abs(got).max())
    return factor if math.isfinite(factor) else 0.0


def _array(value) -> np.ndarray:
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    elif isinstance(value, (list, tuple)):
        value = [_array(item) for item in value]
    return np.asarray(value, dtype=np.float64)


def _message(kind: str, error: float, got: np.ndarray, want: np.ndarray) -> str:
    """The kind of a difference in words, with its numbers."""
    if kind == "wrong shape":
        return f"expected shape {want.shape}, got {got.shape}."
    if kind == "not finite":
        return "some entries are NaN or infinite."
    got = got.reshape(want.shape)
    if want.size == 1:
        return f"got {got.item():.6g}, expected {want.item():.6g} (off by {100 * error:.2g} %)."
    if kind in ("constant factor", "wrong sign"):
        return f"the result is {_factor(got, want):.4g} times the expected one. Which factor is missing or extra?"
    if kind == "transposed":
        return "the result is the transpose of the expected one."
    worst = np.unravel_index(np.abs(got - want).argmax(), want.shape)
    return (
        f"off by {100 * error:.2g} % of the largest expected entry; worst at [{', '.join(map(str, worst))}]: "
        f"got {got[worst]:.6g}, expected {want[worst]:.6g}."
    )
