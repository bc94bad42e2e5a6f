"""Learning rates past stability: the lazy, the catapult and the divergent phase.

Gradient descent on the squared loss with a constant kernel diverges once eta lambda_max > 2.  A network of finite
width need not: as its outputs grow, lambda_max falls, and if it falls below 2/eta in time, training converges.  For a
linear network with one hidden layer, a single sample x = 1 and y = 0 this is exact (loss f^2 / 2):

    f'      = f (1 - eta lambda + eta^2 f^2 / m)
    lambda' = lambda + (eta f^2 / m) (eta lambda - 4),

so lambda falls exactly while eta lambda < 4, which bounds the phase from above.

Source: Lewkowycz, Bahri, Dyer, Sohl-Dickstein & Gur-Ari, "The large learning rate phase of deep learning: the
catapult mechanism" (2020), section 2.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ntklab._record import Task
from ntklab._validate import choice, positive_int, real
from ntklab.empirical import check_model, empirical_ntk
from ntklab.feature_learning._scaling import positive_rates
from ntklab.feature_learning._stack import Stack, rate_factors

_FLOOR = 1e-10  # of the first loss: below it rounding decides
_RISE = 1.01  # a loss that exceeds its own past minimum by this factor has risen


@dataclass(frozen=True)
class Catapult:
    """R runs from one initialisation, one at each rate."""

    rates: np.ndarray
    """(R,): in units of the largest stable rate 2 / lambda_max."""
    learning_rates: np.ndarray
    """(R,): eta."""
    loss: np.ndarray
    """(R, steps + 1): after every step; inf from the overflow on."""
    steps: np.ndarray
    """(T,): the steps at which the kernel was taken."""
    sharpness: np.ndarray
    """(R, T): eta lambda_max; stable below 2; inf after overflow."""
    kernel_drift: np.ndarray
    """(R, T): |Theta_t - Theta_0|_F / |Theta_0|_F; inf after overflow."""
    converged: np.ndarray
    """(R,): whether the loss ended below ``tolerance`` times its start."""

    @property
    def peak(self) -> np.ndarray:
        """(R,): the largest loss on the way over the first."""
        with np.errstate(over="ignore"):
            return self.loss.max(1) / self.loss[:, 0]

    @property
    def rise(self) -> np.ndarray:
        """(R,): the largest factor by which the loss exceeded its own past minimum; 1 if it only fell.

        What happens below 1e-10 of the first loss is rounding, and left out.
        """
        least = np.minimum.accumulate(self.loss, axis=1)
        with np.errstate(over="ignore"):
            return np.maximum(1, (self.loss / np.maximum(least, _FLOOR * self.loss[:, :1])).max(1))

    @property
    def regime(self) -> np.ndarray:
        """(R,): "lazy" where the loss only fell, "catapult" where it rose and converged, else "divergent"."""
        names = np.where(self.converged, "catapult", "divergent")
        return np.where(self.rise <= _RISE, "lazy", names)


def catapult(
    net: nn.Module,
    x,
    y,
    rates: Sequence[float],
    steps: int,
    *,
    loss: str = "mean",
    record: int = 20,
    tolerance: float = 0.1,
) -> Catapult:
    """Gradient descent from one initialisation at several rates; the network itself is not touched.

    Args:
        net: a torch.nn.Module; where it has ``parameter_groups``, they set the rates of its parameters.
        x: inputs (n, ...).
        y: targets, (n,) or (n, k).
        rates: R rates, in units of the largest that is stable for the kernel at initialisation.
        steps: number of updates.
        loss: "mean" or "sum", as in ``nl.train``.
        record: number of steps, evenly spread, at which kernels are taken.
        tolerance: what is left of the loss where a run counts as converged.

    Raises:
        ValueError, TypeError: arguments that do not fit, by name.
    """
    check_model(net)
    choice("loss", loss, ("mean", "sum"))
    rates = np.array(positive_rates("rates", rates))
    steps, record = positive_int("steps", steps), positive_int("record", record)
    tolerance = real("tolerance", tolerance, minimum=0.0, strict=True)
    task, factors = Task(net, x, y, None, loss), rate_factors(net)
    with torch.no_grad():
        if task.loss() <= task.of(0 * task.y, task.y) * (10 * torch.finfo(task.y.dtype).eps) ** 2:
            raise ValueError("y must differ from the network's outputs: there is nothing to learn")
    scale = 1.0 / task.n if loss == "mean" else 1.0
    first = _kernel(net, task.x, factors)
    largest = scale * torch.linalg.eigvalsh(first)[-1].item()
    if not largest > 0:
        raise ValueError("the network's kernel on x is zero, so every rate is stable")
    learning_rates = rates * 2 / largest

    stack = Stack([net] * len(rates), task, learning_rates.tolist(), factors)
    recorded = sorted({0, steps, *np.linspace(0, steps, record).round().astype(int).tolist()})
    probe, losses, sharpness, drift = copy.deepcopy(net), [], [], []
    for step in range(steps + 1):
        if step in recorded:
            kernels = [_stacked_kernel(probe, stack, run, factors) for run in range(len(rates))]
            sharpness.append(
                [np.inf if k is None else scale * torch.linalg.eigvalsh(k)[-1].item() for k in kernels]
            )
            drift.append(
                [np.inf if k is None else (torch.dist(k, first) / first.norm()).item() for k in kernels]
            )
        losses.append((stack.step() if step < steps else stack.losses().detach()).double().numpy())
    loss_path = np.stack(losses, 1)
    overflow = np.maximum.accumulate(~np.isfinite(loss_path), axis=1)
    loss_path = np.where(overflow, np.inf, loss_path)
    return Catapult(
        rates,
        learning_rates,
        loss_path,
        np.array(recorded),
        np.array(sharpness).T * learning_rates[:, None],
        np.array(drift).T,
        loss_path[:, -1] <= tolerance * loss_path[:, 0],
    )


def _kernel(net: nn.Module, x: Tensor, factors: dict[str, float]) -> Tensor:
    """J R J' with R the factors of the rates, as a matrix over (sample, output)."""
    total = 0.0
    probe = copy.deepcopy(net)
    for factor in set(factors.values()):
        for name, p in probe.named_parameters():
            p.requires_grad_(factors.get(name) == factor)
        kernel = empirical_ntk(probe, x, outputs="full")
        total = total + factor * kernel.permute(0, 2, 1, 3).flatten(2).flatten(0, 1)
    return total


def _stacked_kernel(probe: nn.Module, stack: Stack, run: int, factors: dict[str, float]) -> Tensor | None:
    values = {name: value[run] for name, value in stack.values.items()}
    if not all(torch.isfinite(v).all() for v in values.values()):
        return None
    with torch.no_grad():
        for name, p in probe.named_parameters():
            p.copy_(values[name])
    try:
        return _kernel(probe, stack.task.x, factors)
    except ValueError:
        return None  # the kernel itself overflows
