"""The eigensystem of a kernel matrix, and the numbers by which spectra are compared."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ntklab._spectrum import spectrum, square
from ntklab._validate import positive_int, tensors


class PowerLaw(NamedTuple):
    """lambda_i = constant * i^-exponent, fitted to the ranks i = first .. last by least squares on logarithms."""

    exponent: float
    error: float
    """Standard error of the exponent: that of a straight line through points with independent errors.
    Eigenvalues of one matrix are not independent; repeat over samples for a sampling error."""
    constant: float
    first: int
    last: int


@dataclass(frozen=True, eq=False, repr=False)
class Eigensystem:
    """Theta = sum_i lambda_i v_i v_i', from the largest eigenvalue down."""

    eigenvalues: np.ndarray | Tensor
    """(N,); below N eps lambda_max they are 0."""
    modes: np.ndarray | Tensor
    """(N, N): eigenvectors v_i as columns, of unit length."""
    rank: int
    """How many eigenvalues are not 0."""

    def __repr__(self) -> str:
        return (
            f"Eigensystem(n={len(self.eigenvalues)}, rank={self.rank}, largest={float(self.eigenvalues[0]):.4g}, "
            f"condition_number={self.condition_number:.4g})"
        )

    @property
    def trace(self) -> float:
        """Sum of the eigenvalues."""
        return float(self.eigenvalues.sum())

    @property
    def condition_number(self) -> float:
        """lambda_max / lambda_min; inf where the rank is not full."""
        if self.rank < len(self.eigenvalues):
            return math.inf
        return float(self.eigenvalues[0] / self.eigenvalues[-1])

    @property
    def effective_rank(self) -> float:
        """Participation ratio (sum lambda)^2 / sum lambda^2: n for equal eigenvalues, 1 for a single one.

        0 for the zero matrix.
        """
        if not self.rank:
            return 0.0
        share = self.eigenvalues / self.eigenvalues[0]
        return float(share.sum() ** 2 / (share * share).sum())

    def coefficients(self, y) -> np.ndarray | Tensor:
        """v_i . y for every mode: (N,), or (N, k) for targets (N, k)."""
        (modes, y), back = tensors(modes=self.modes, y=y)
        if y.ndim not in (1, 2) or len(y) != len(modes):
            raise ValueError(f"y must have shape ({len(modes)},) or ({len(modes)}, k), got {tuple(y.shape)}")
        return back(modes.T @ y)

    def power_law(self, first: int = 1, last: int | None = None) -> PowerLaw:
        """The power law through the eigenvalues of ranks first .. last; see ``power_law``."""
        return power_law(self.eigenvalues, first, self.rank if last is None else last)


def eigensystem(kernel) -> Eigensystem:
    """Eigenvalues and eigenvectors of a symmetric positive semidefinite kernel matrix.

    Args:
        kernel: (n, n), or (n, n, k, k), which is read as the matrix (n k, n k) over pairs (sample, output).

    Returns:
        An ``Eigensystem``, numpy or torch as the kernel; computed in float64.

    Raises:
        ValueError: not square, not symmetric, with a negative eigenvalue beyond rounding, NaN or infinite.
        TypeError: no real numbers.
    """
    (kernel,), back = tensors(kernel=kernel)
    found = spectrum("kernel", square("kernel", kernel), torch.finfo(kernel.dtype).eps)
    parts = (back(part.to(kernel.dtype)) for part in found[:2])
    return Eigensystem(*parts, rank=found.rank)


def power_law(eigenvalues, first: int = 1, last: int | None = None) -> PowerLaw:
    """Fit lambda_i = constant * i^-exponent to the ranks i = first .. last.

    Args:
        eigenvalues: (N,), from the largest down; those used must be above 0.
        first, last: ranks, counted from 1, both included; ``last`` defaults to N.  Three at least.

    Raises:
        ValueError, TypeError: ranks out of order or range, or an eigenvalue in the range that is not above 0.
    """
    (values,), _ = tensors(eigenvalues=eigenvalues)
    if values.ndim != 1:
        raise ValueError(f"eigenvalues must have shape (N,), got {tuple(values.shape)}")
    first = positive_int("first", first)
    last = len(values) if last is None else positive_int("last", last)
    if not first + 2 <= last <= len(values):
        raise ValueError(f"first and last must span 3 ranks from 1 to {len(values)}, got {first} and {last}")
    used = values[first - 1 : last].detach().cpu().to(torch.float64).numpy()
    if used.min() <= 0:
        raise ValueError(f"eigenvalues must be above 0 from rank {first} to {last}, got {used.min():g}")
    ranks = np.log(np.arange(first, last + 1))
    centred = ranks - ranks.mean()
    slope = centred @ np.log(used) / (centred @ centred)
    intercept = np.log(used).mean() - slope * ranks.mean()
    left = np.log(used) - intercept - slope * ranks
    error = math.sqrt(left @ left / (len(ranks) - 2) / (centred @ centred))
    return PowerLaw(-float(slope), error, math.exp(intercept), first, last)
