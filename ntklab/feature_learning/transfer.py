"""Does the best learning rate carry over from a narrow network to a wide one?

In muP it does; in the standard parameterisation with one rate for all parameters and widths it does not: with SGD the
largest stable rate falls like 1/m, because the kernel grows like m.

Source: Yang et al., "Tensor Programs V: tuning large neural networks via zero-shot hyperparameter transfer" (NeurIPS
2021): loss-against-rate curves (Figure 1) and the coordinate check (Appendix D.1, Figure 5).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, vmap

from ntklab._record import Task
from ntklab._validate import choice, positive_int, real, tensors
from ntklab.feature_learning._scaling import PowerFit, fit_each_seed, integers, seed_numbers
from ntklab.feature_learning._stack import Stack, rate_factors
from ntklab.finite import OPTIMIZERS, ScaledLinear
from ntklab.layers.base import Layer

_PARAMETERS = 2**22  # parameters trained at once: more leave the processor's cache
_CHECK_EVERY = 10  # steps between two looks at the losses for divergence


@dataclass(frozen=True)
class RateSweep:
    """The loss after training at each of W widths, R rates and S seeds."""

    widths: np.ndarray
    """(W,)"""
    rates: np.ndarray
    """(R,): in increasing order."""
    loss: np.ndarray
    """(W, R, S): on the whole training set at the end; inf where training diverged."""

    @property
    def mean_loss(self) -> np.ndarray:
        """(W, R): geometric mean over seeds."""
        with np.errstate(divide="ignore"):
            return np.exp(np.log(self.loss).mean(2))

    @property
    def seed_rates(self) -> np.ndarray:
        """(W, S): every seed's best rate, the vertex of a parabola in log rate and log loss."""
        return np.array([[_best(self.rates, curve) for curve in width.T] for width in self.loss])

    @property
    def best_rate(self) -> np.ndarray:
        """(W,): geometric mean over seeds of the best rates."""
        return np.exp(np.log(self.seed_rates).mean(1))

    @property
    def best_rate_error(self) -> np.ndarray:
        """(W,): standard error of the logarithm of ``best_rate``, over seeds."""
        seeds = self.loss.shape[2]
        return (
            np.log(self.seed_rates).std(1, ddof=1) / math.sqrt(seeds)
            if seeds > 1
            else np.full(len(self.widths), np.nan)
        )

    @property
    def at_edge(self) -> np.ndarray:
        """(W,): whether the smallest mean loss is at the first or last rate, so that the best may lie beyond."""
        return np.isin(self.mean_loss.argmin(1), (0, len(self.rates) - 1))

    def fit(self) -> PowerFit:
        """The power of the width in the best rate: 0 in muP, -1 for SGD in standard with one rate."""
        return fit_each_seed(self.widths, self.seed_rates)


def rate_sweep(
    arch: Layer,
    widths: Sequence[int],
    rates: Sequence[float],
    x,
    y,
    *,
    parameterization="mup",
    optimizer: str = "sgd",
    steps: int = 50,
    seeds=3,
    loss: str = "mean",
    batch_size: int | None = None,
    same_rate: bool = False,
    dtype: torch.dtype = torch.float32,
) -> RateSweep:
    """Train at every width, rate and seed, and keep the final loss.

    Args:
        arch: an architecture.
        widths: W widths.
        rates: R learning rates, before the factors of ``parameter_groups``.
        x: inputs (n, ...).
        y: targets, as in ``nl.train``.
        parameterization: as in ``arch.finite``.
        optimizer: "sgd" or "adam".
        steps: number of updates.
        seeds: a number S of networks, or their seeds; a seed sets the initialisation and the batches.
        loss: "mean", "sum" or "cross_entropy", as in ``nl.train``.
        batch_size: None is the whole set; else samples without replacement, reshuffled every epoch.
        same_rate: one rate for all parameters at all widths, in place of ``parameter_groups``.
        dtype: of the networks.

    Raises:
        ValueError, TypeError: arguments that do not fit, by name.
    """
    widths, seeds = integers("widths", widths), seed_numbers(seeds)
    rates = sorted(real("rates", r, minimum=0.0, strict=True) for r in rates)
    steps = positive_int("steps", steps)
    results = []
    for width in widths:
        nets, task = _networks(arch, width, x, y, parameterization, seeds, loss, dtype)
        factors = rate_factors(nets[0], optimizer, same_rate=same_rate)
        runs = [(net, seed, rate) for rate in rates for net, seed in zip(nets, seeds, strict=True)]
        together = max(1, _PARAMETERS // sum(p.numel() for p in nets[0].parameters()))
        losses = []
        for first in range(0, len(runs), together):
            some, own, at = zip(*runs[first : first + together], strict=True)
            stack = Stack(some, task, at, factors, optimizer)
            losses.append(_final(stack, steps, _batches(task.n, batch_size, own)))
        results.append(np.concatenate(losses).reshape(len(rates), len(seeds)))
    return RateSweep(np.array(widths), np.array(rates), np.stack(results))


def _final(stack: Stack, steps: int, batches: Iterator[Tensor | None]) -> np.ndarray:
    """(N,): the losses after training; inf where they are not finite."""
    for step in range(steps):
        losses = stack.step(next(batches))
        if step % _CHECK_EVERY == 0 and not torch.isfinite(losses).any():
            break
    with torch.no_grad():
        return stack.losses().double().nan_to_num(torch.inf, torch.inf).cpu().numpy()


def _networks(arch, width, x, y, parameterization, seeds, loss, dtype):
    (inputs, targets), _ = tensors(x=x, y=y)
    k = targets.shape[1] if targets.ndim == 2 else 1
    if loss == "cross_entropy" and targets.ndim == 1:
        k = int(targets.max()) + 1
    if hasattr(parameterization, "finite"):
        nets = [parameterization.finite(arch, width, inputs.shape[1:], k, seed, dtype) for seed in seeds]
    else:
        nets = [arch.finite(width, inputs.shape[1:], k, parameterization, seed, dtype) for seed in seeds]
    return nets, Task(nets[0], inputs, targets, None, loss)


def _batches(n: int, batch_size: int | None, seeds: Sequence[int]) -> Iterator[Tensor | None]:
    """Indices (N, b) of every run's own batches, drawn from its seed, without end; None is the whole set."""
    while batch_size is None or batch_size >= n:
        yield None
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    while True:
        order = torch.stack([torch.randperm(n, generator=g) for g in generators])
        for first in range(0, n - batch_size + 1, batch_size):
            yield order[:, first : first + batch_size]


def _best(rates: np.ndarray, curve: np.ndarray) -> float:
    """The vertex of the parabola through the lowest point and its neighbours, in logarithms."""
    i = int(np.argmin(curve))
    near = slice(i - 1, i + 2)
    if i in (0, len(rates) - 1) or not np.isfinite(curve[near]).all():
        return rates[i]
    a, b, _ = np.polyfit(np.log(rates[near]) - np.log(rates[i]), np.log(curve[near]), 2)
    return rates[i] * math.exp(-b / (2 * a)) if a > 0 else rates[i]


@dataclass(frozen=True)
class CoordinateCheck:
    """How much the pre-activations of every layer have moved after T steps at W widths, for S seeds."""

    widths: np.ndarray
    """(W,)"""
    layers: tuple[str, ...]
    """Names of the P pre-activations, the last is the output."""
    change: np.ndarray
    """(W, S, P, T + 1): root mean square over samples and units of z_t - z_0; T + 1 entries from 0 steps on."""
    size: np.ndarray
    """(W, S, P, T + 1): root mean square of z_t."""

    def fit(self, step: int = -1) -> dict[str, PowerFit]:
        """For each layer the power of the width in the change after a number of steps (default: all)."""
        return {
            name: fit_each_seed(self.widths, self.change[:, :, p, step]) for p, name in enumerate(self.layers)
        }


def coordinate_check(
    arch: Layer,
    widths: Sequence[int],
    x,
    y,
    *,
    parameterization="mup",
    optimizer: str = "sgd",
    steps: int = 3,
    learning_rate: float = 0.1,
    seeds=5,
    loss: str = "mean",
    same_rate: bool = False,
    dtype: torch.dtype = torch.float64,
) -> CoordinateCheck:
    """Size of the change of every layer's pre-activations in the first steps, against width.

    In muP no slope differs from 0: every layer moves, and none blows up.

    Args:
        as in ``rate_sweep``, with a single learning_rate.

    Raises:
        ValueError, TypeError: arguments that do not fit, by name.
    """
    widths, seeds = integers("widths", widths), seed_numbers(seeds)
    choice("optimizer", optimizer, OPTIMIZERS)
    learning_rate = real("learning_rate", learning_rate, minimum=0.0, strict=True)
    steps = positive_int("steps", steps)
    change, size = [], []
    for width in widths:
        nets, task = _networks(arch, width, x, y, parameterization, seeds, loss, dtype)
        factors = rate_factors(nets[0], optimizer, same_rate=same_rate)
        stack = Stack(nets, task, [learning_rate] * len(nets), factors, optimizer)
        start = _preactivations(stack)
        rows = [(start, start)]
        for _ in range(steps):
            stack.step()
            rows.append((start, _preactivations(stack)))
        change.append([[_rms(b - a) for a, b in zip(*row, strict=True)] for row in rows])
        size.append([[_rms(b) for b in now] for _, now in rows])
    names = (*(f"layer {i + 1}" for i in range(len(start) - 1)), "output")
    return CoordinateCheck(np.array(widths), names, _axes(change), _axes(size))


def _axes(rows: list) -> np.ndarray:
    """(W, T + 1, P, S) as (W, S, P, T + 1)."""
    return np.array(rows).transpose(0, 3, 2, 1)


def _rms(z: Tensor) -> np.ndarray:
    """(S,) from (S, n, units)."""
    return z.double().square().flatten(1).mean(1).sqrt().numpy()


def _preactivations(stack: Stack) -> list[Tensor]:
    """Outputs of every weight layer at the training inputs, each (S, n, units)."""
    seen: list[Tensor] = []
    layers = [module for module in stack.net.modules() if isinstance(module, ScaledLinear)]
    handles = [
        layer.register_forward_hook(lambda _module, _inputs, out: seen.append(out)) for layer in layers
    ]

    def one(values):
        seen.clear()
        functional_call(stack.net, values, (stack.task.x,))
        return list(seen)

    try:
        with torch.no_grad():
            return vmap(one)(stack.values)
    finally:
        for handle in handles:
            handle.remove()
