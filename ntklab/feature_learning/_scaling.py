"""Exponents of power laws in the width, with errors that come from the seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from ntklab._validate import positive_int


class PowerFit(NamedTuple):
    """value = constant * width^exponent, fitted in logarithms; ``error`` is the exponent's standard error."""

    exponent: float
    error: float
    constant: float
    degrees: float
    """Degrees of freedom of the error; inf where it comes from known errors of the points."""

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Confidence interval of the exponent, by Student's t."""
        reach = stats.t.ppf((1 + level) / 2, self.degrees) * self.error
        return self.exponent - reach, self.exponent + reach


def fit_each_seed(widths: np.ndarray, values: np.ndarray) -> PowerFit:
    """A line through every seed's own points; values (W, S), the error is that of the mean slope over seeds."""
    x = np.log(widths) - np.log(widths).mean()
    logs = np.log(values)
    slopes = x @ logs / (x @ x)
    seeds = len(slopes)
    error = slopes.std(ddof=1) / math.sqrt(seeds) if seeds > 1 else math.nan
    exponent = slopes.mean()
    return PowerFit(exponent, error, math.exp(logs.mean() - exponent * np.log(widths).mean()), seeds - 1)


def fit_points(widths: np.ndarray, values: np.ndarray, errors: np.ndarray) -> PowerFit:
    """Weighted least squares through log values (W,) with standard errors of the values (W,)."""
    sigma = errors / values
    weight = 1 / sigma**2
    x = np.log(widths)
    centre = (weight @ x) / weight.sum()
    spread = weight @ (x - centre) ** 2
    exponent = weight @ ((x - centre) * np.log(values)) / spread
    level = (weight @ np.log(values)) / weight.sum() - exponent * centre
    return PowerFit(exponent, 1 / math.sqrt(spread), math.exp(level), math.inf)


def integers(name: str, values, *, distinct: bool = True) -> tuple[int, ...]:
    """Positive integers from one integer or several, else an error that names the argument."""
    several = isinstance(values, Iterable) and not isinstance(values, str)
    numbers = tuple(positive_int(name, v) for v in (values if several else [values]))
    if not numbers:
        raise ValueError(f"{name} is empty")
    if distinct and len(set(numbers)) != len(numbers):
        raise ValueError(f"{name} must differ from each other, got {numbers}")
    return numbers


def seed_numbers(seeds) -> tuple[int, ...]:
    """A number of seeds, counted from 0, or the very seeds."""
    if isinstance(seeds, Sequence | range | np.ndarray) and not isinstance(seeds, str):
        numbers = tuple(int(s) for s in seeds)
        if not numbers or len(set(numbers)) != len(numbers):
            raise ValueError(f"seeds must be different integers, got {seeds!r}")
        return numbers
    return tuple(range(positive_int("seeds", seeds)))
