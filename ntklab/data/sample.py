"""What the toy sets share: inputs with targets, and a private generator for each seed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._validate import real


class Sample(NamedTuple):
    """Inputs ``x`` (n, d) and targets ``y`` (n,), both float64."""

    x: np.ndarray
    y: np.ndarray


def generator(seed) -> np.random.Generator:
    """A private random generator; the global ones of numpy and torch are left alone.

    Raises:
        TypeError: seed is no integer.
        ValueError: seed is negative.
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise TypeError(f"seed must be an integer, got {seed!r}")
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}")
    return np.random.default_rng(int(seed))


def with_noise(y: np.ndarray, noise, rng: np.random.Generator) -> np.ndarray:
    """``y`` plus independent Gaussian noise with standard deviation ``noise``."""
    noise = real("noise", noise, minimum=0)
    return y + noise * rng.standard_normal(y.shape)
