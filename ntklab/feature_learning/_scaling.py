"""Exponents of power laws in the width, with errors that come from the seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy import stats

from ntklab._validate import positive_int, real


class PowerFit(NamedTuple):
    """value = constant * width^exponent, fitted in logarithms; ``error`` is the exponent's standard error."""

    exponent: float
    error: float
    constant: float
    degrees: float
    """Degrees of freedom of the error; inf where it comes from known errors of the points."""

    def __str__(self) -> str:
        return f"{self.exponent:.3f} +- {self.error:.3f}"

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Confidence interval of the exponent, by Student's t."""
        reach = stats.t.ppf((1 + level) / 2, self.degrees) * self.error
        return self.exponent - reach, self.exponent + reach


def fit_each_seed(widths: np.ndarray, values: np.ndarray) -> PowerFit:
    """A line through every seed's own points; values (W, S), the error is that of the mean slope over seeds."""
    _two_widths(widths)
    x = np.log(widths) - np.log(widths).mean()
    logs = np.log(values)
    slopes = x @ logs / (x @ x)
    seeds = len(slopes)
    error = slopes.std(ddof=1) / math.sqrt(seeds) if seeds > 1 else math.nan
    exponent = float(slopes.mean())
    constant = math.exp(logs.mean() - exponent * np.log(widths).mean())
    return PowerFit(exponent, float(error), constant, seeds - 1)


def fit_points(widths: np.ndarray, values: np.ndarray, errors: np.ndarray) -> PowerFit:
    """Weighted least squares through log values (W,) with standard errors of the values (W,)."""
    _two_widths(widths)
    sigma = errors / values
    weight = 1 / sigma**2
    x = np.log(widths)
    centre = (weight @ x) / weight.sum()
    spread = weight @ (x - centre) ** 2
    exponent = weight @ ((x - centre) * np.log(values)) / spread
    level = (weight @ np.log(values)) / weight.sum() - exponent * centre
    return PowerFit(float(exponent), 1 / math.sqrt(spread), math.exp(level), math.inf)


def _two_widths(widths: np.ndarray) -> None:
    if len(widths) < 2:
        raise ValueError(f"a power of the width needs at least 2 widths, got {len(widths)}")


def integers(name: str, values) -> tuple[int, ...]:
    """Positive integers from one integer or several, else an error that names the argument."""
    several = isinstance(values, Iterable) and not isinstance(values, str)
    numbers = tuple(positive_int(name, v) for v in (values if several else [values]))
    if not numbers:
        raise ValueError(f"{name} is empty")
    if len(set(numbers)) != len(numbers):
        raise ValueError(f"{name} must differ from each other, got {numbers}")
    return numbers


def positive_rates(name: str, values) -> list[float]:
    """One or more different learning rates above 0, else an error that names the argument."""
    if not isinstance(values, Iterable) or isinstance(values, str):
        raise TypeError(f"{name} must be a sequence of learning rates, got {values!r}")
    rates = [real(name, value, minimum=0.0, strict=True) for value in values]
    if not rates or len(set(rates)) != len(rates):
        raise ValueError(f"{name} must be one or more different numbers, got {rates}")
    return rates


def seed_numbers(seeds) -> tuple[int, ...]:
    """A number of seeds, counted from 0, or the very seeds."""
    if not isinstance(seeds, Iterable):
        return tuple(range(positive_int("seeds", seeds)))
    numbers = tuple(seeds)
    if not all(isinstance(s, int | np.integer) and not isinstance(s, bool) and s >= 0 for s in numbers):
        raise TypeError(f"seeds must be a number of seeds, or integers of at least 0, got {seeds!r}")
    if not numbers or len(set(numbers)) != len(numbers):
        raise ValueError(f"seeds must be one or more different integers, got {seeds!r}")
    return tuple(int(s) for s in numbers)


def several_seeds(seeds) -> tuple[int, ...]:
    """At least two seeds, which an error bar needs."""
    numbers = seed_numbers(seeds)
    if len(numbers) < 2:
        raise ValueError("seeds must be at least 2 for an error bar, got 1")
    return numbers
