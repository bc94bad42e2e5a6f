"""Propagation of chaos: many particles behave as if they were independent, so their output is a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ntklab._validate import positive_int, tensors
from ntklab.feature_learning.mean_field import Population
from ntklab.layers.base import Layer


class Chaos(NamedTuple):
    """Outputs of populations of M sizes at T times on n inputs; with a single time there is no axis T."""

    particles: np.ndarray
    """(M,)."""
    mean: np.ndarray
    """(M, T, n, k): outputs averaged over draws."""
    fluctuation: np.ndarray
    """(M, T): standard deviation over draws, root mean square over inputs and outputs."""
    slope: np.ndarray
    """(T,): of log fluctuation against log particles; -1/2 where particles stay independent."""
    slope_error: np.ndarray
    """(T,): its standard error, by the jackknife over draws."""


def propagation_of_chaos(
    arch: Layer,
    x,
    y,
    *,
    particles: Sequence[int],
    t,
    seeds: int = 16,
    loss: str = "mean",
    seed: int = 0,
) -> Chaos:
    """How outputs through training forget the draw of the particles as their number grows.

    Args:
        arch: Sequential(Dense, activation, Dense).  The readout's bias is no particle and stays random
            in the limit, so all draws start from one value of it.
        x, y: training set, (n, d) and (n,) or (n, k).
        particles: sizes m, at least two different ones.
        t: time of the flow, or times (T,).
        seeds: draws of each size, at least 3.
        seed: of the first draw; no two draws share one.

    Source: Sirignano & Spiliopoulos (2020) for the limit; Rotskoff & Vanden-Eijnden (2022) for the
    fluctuations of order m^-1/2 about it.
    """
    sizes = np.array([positive_int("particles", m) for m in particles])
    if len(np.unique(sizes)) < 2:
        raise ValueError(f"particles must name at least 2 different sizes, got {list(particles)}")
    if positive_int("seeds", seeds) < 3:
        raise ValueError(f"seeds must be at least 3, got {seeds}")
    (x, y), _ = tensors(x=x, y=y)
    features, outputs = x.shape[-1], 1 if y.ndim == 1 else y.shape[1]
    shared = Population.sample(arch, 1, features, outputs, seed=seed).c
    means, spreads, errors = [], [], []
    for i, m in enumerate(sizes.tolist()):
        runs = []
        for draw in range(seeds):
            population = Population.sample(arch, m, features, outputs, seed=seed + i * seeds + draw)
            population = replace(population, c=shared)
            runs.append(population.flow(x, y, t, loss=loss).outputs(x))
        f = torch.stack(runs)
        means.append(f.mean(0))
        spread, error = _log_spread(f)
        spreads.append(spread)
        errors.append(error)
    log_spread, error = torch.stack(spreads), torch.stack(errors)
    place = torch.as_tensor(np.log(sizes)).to(log_spread)
    weight = (place - place.mean()) / (place - place.mean()).square().sum()
    parts = (torch.stack(means), log_spread.exp(), weight @ log_spread, (weight**2 @ error**2).sqrt())
    if np.ndim(t) == 0:
        parts = (parts[0][:, 0], parts[1][:, 0], parts[2][0], parts[3][0])
    return Chaos(sizes, *(part.numpy() for part in parts))


def _log_spread(f: Tensor) -> tuple[Tensor, Tensor]:
    """Log of the fluctuation over S draws and its jackknife error, each (T,), from outputs (S, T, n, k)."""
    draws = len(f)
    f = (f - f.mean(0)).flatten(2)
    squares = f.square().sum(0)
    without = (squares - f.square() - f.square() / (draws - 1)) / (draws - 2)
    logs = without.mean(2).log() / 2
    error = ((draws - 1) / draws * (logs - logs.mean(0)).square().sum(0)).sqrt()
    return (squares / (draws - 1)).mean(1).log() / 2, error
