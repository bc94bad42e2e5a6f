"""Does the best learning rate carry over from a narrow network to a wide one?

In muP it does; in the standard parameterisation with one rate for all parameters and widths it does not: with SGD the
largest stable rate falls like 1/m, because the kernel grows like m.

Source: Yang et al., "Tensor Programs V: tuning large neural networks via zero-shot hyperparameter transfer" (NeurIPS
2021): the loss against the rate over widths (figure 1), and the coordinate check (appendix D.1).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, vmap

from ntklab._validate import choice, positive_int, real
from ntklab.feature_learning._scaling import PowerFit, fit_each_seed, integers, positive_rates, seed_numbers
from ntklab.feature_learning._stack import Stack, networks, rate_factors
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
        """(W, S): every seed's best rate, the vertex of a parabola in log rate and log loss through the lowest
        point and its neighbours (the lowest point itself, where a neighbour is missing or diverged)."""
        return np.array([[_best(self.rates, curve) for curve in width.T] for width in self.loss])

    @property
    def best_rate(self) -> np.ndarray:
        """(W,): geometric mean over seeds of the best rates."""
        return np.exp(np.log(self.seed_rates).mean(1))

    @property
    def best_rate_error(self) -> np.ndarray:
        """(W,): standard error over seeds of the logarithm of ``best_rate``; NaN for a single seed."""
        logs = np.log(self.seed_rates)
        if logs.shape[1] == 1:
            return np.full(len(logs), np.nan)
        return logs.std(1, ddof=1) / math.sqrt(logs.shape[1])

    @property
    def at_edge(self) -> np.ndarray:
        """(W,): whether the smallest mean loss is at the first or last rate, so that the best may lie beyond."""
        return np.isin(self.mean_loss.argmin(1), (0, len(self.rates) - 1))

    def fit(self) -> PowerFit:
        """The power of the width in the best rate: 0 in muP, -1 for SGD in standard with one rate.

        Raises:
            ValueError: a width at which all rates diverged.
        """
        if not np.isfinite(self.seed_rates).all():
            bad = self.widths[~np.isfinite(self.seed_rates).all(1)]
            raise ValueError(f"every rate diverged at width {bad[0]}: add smaller rates")
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
        parameterization: a name as in ``arch.finite``, or an ``ABC`` (its exponents are those of "sgd").
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
    rates = sorted(positive_rates("rates", rates))
    choice("optimizer", optimizer, OPTIMIZERS)
    steps = positive_int("steps", steps)
    batch_size = None if batch_size is None else positive_int("batch_size", batch_size)
    results = []
    for width in widths:
        nets, task = networks(arch, width, x, y, parameterization, seeds, loss, dtype)
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


def _batches(n: int, batch_size: int | None, seeds: Sequence[int]) -> Iterator[Tensor | None]:
    """Indices (N, b) of every run's own batches, drawn from its seed, without end; None is the whole set."""
    if batch_size is not None and batch_size > n:
        raise ValueError(f"batch_size must be at most the number of samples {n}, got {batch_size}")
    while batch_size is None or batch_size == n:
        yield None
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    while True:
        order = torch.stack([torch.randperm(n, generator=g) for g in generators])
        yield from order.split(batch_size, dim=1)


def _best(rates: np.ndarray, curve: np.ndarray) -> float:
    """The vertex of the parabola through the lowest point and its neighbours, in logarithms."""
    i = int(np.argmin(curve))
    if np.isinf(curve[i]):
        return math.nan
    near = slice(i - 1, i + 2)
    inner = 0 < i < len(rates) - 1 and np.isfinite(curve[near]).all() and curve[i] > 0
    if not inner or curve[near].max() == curve[i]:
        return rates[i]
    a, b, _ = np.polyfit(np.log(rates[near] / rates[i]), np.log(curve[near]), 2)
    return rates[i] * math.exp(-b / (2 * a))


@dataclass(frozen=True)
class CoordinateCheck:
    """How much the pre-activations of every layer have moved after T steps at W widths, for S seeds."""

    widths: np.ndarray
    """(W,)"""
    layers: tuple[str, ...]
    """Names of the P pre-activations, the last is the output."""
    change: np.ndarray
    """(W, S, P, T + 1): root mean square over samples and units of z_t - z_0, after t = 0 .. T steps."""
    size: np.ndarray
    """(W, S, P, T + 1): root mean square of z_t."""

    def fit(self, step: int = -1) -> dict[str, PowerFit]:
        """For each layer the power of the width in the change after a number of steps (default: all).

        Raises:
            ValueError: training has diverged by then, or nothing has moved.
        """
        change = self.change[..., step]
        if not (np.isfinite(change) & (change > 0)).all():
            raise ValueError(
                f"change at step {step} must be finite and above 0: take another step or learning_rate"
            )
        return {name: fit_each_seed(self.widths, change[:, :, p]) for p, name in enumerate(self.layers)}


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

    In muP every slope tends to 0: each layer moves, and none blows up.  In standard parameterisation with one rate
    and SGD the first step has slopes -1/2, 1/2 and 1 (first layer, other hidden layers, outputs), with Adam 0, 1
    and 3/2; in NTK parameterisation -1/2, -1/2 and 0.

    Args:
        learning_rate: before the factors of ``parameter_groups``; small enough that no width diverges.
        steps: T updates on the whole set.
        others as in ``rate_sweep``.

    Raises:
        ValueError, TypeError: arguments that do not fit, by name.
    """
    widths, seeds = integers("widths", widths), seed_numbers(seeds)
    choice("optimizer", optimizer, OPTIMIZERS)
    learning_rate = real("learning_rate", learning_rate, minimum=0.0, strict=True)
    steps = positive_int("steps", steps)
    change, size = [], []
    for width in widths:
        nets, task = networks(arch, width, x, y, parameterization, seeds, loss, dtype)
        factors = rate_factors(nets[0], optimizer, same_rate=same_rate)
        stack = Stack(nets, task, [learning_rate] * len(nets), factors, optimizer)
        start = _preactivations(stack)
        change.append([[_rms(z - z) for z in start]])
        size.append([[_rms(z) for z in start]])
        for _ in range(steps):
            stack.step()
            now = _preactivations(stack)
            change[-1].append([_rms(z - before) for z, before in zip(now, start, strict=True)])
            size[-1].append([_rms(z) for z in now])
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
