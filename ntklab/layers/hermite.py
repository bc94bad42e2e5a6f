"""Gaussian expectations by Hermite series.

With he_j the normalised Hermite polynomials and alpha_j(s) = E phi(s z) he_j(z), z standard normal,
Mehler's formula gives E phi(u) phi(v) = sum_j alpha_j(s1) alpha_j(s2) rho^j
(O'Donnell, Analysis of Boolean Functions, 2014, Proposition 11.31; Daniely, Frostig & Singer 2016, eq. 8).
One dimension of quadrature a sample replaces two a pair.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

COARSE, FINE = 1, 2


@lru_cache(maxsize=32)
def rule(terms: int, level: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Trapezoidal rule for the standard normal: z (Q,), weights (Q,), and w_q he_j(z_q), (Q, terms).

    The rule converges exponentially for analytic functions, poles near the real line included, where
    Gauss-Hermite needs far more nodes.  The fine level halves the step and reaches further out.
    """
    step = 1 / (level * (2 + math.sqrt(terms)))
    reach = math.ceil((11 if level == COARSE else 16) / step)
    z = step * np.arange(-reach, reach + 1)
    weights = step / math.sqrt(2 * math.pi) * np.exp(-z * z / 2)
    table = np.zeros((len(z), terms))  # sqrt(w_q) he_j(z_q) stays bounded in the recursion
    table[:, 0] = np.sqrt(weights)
    for j in range(1, terms):
        table[:, j] = z * table[:, j - 1]
        if j > 1:
            table[:, j] -= math.sqrt(j - 1) * table[:, j - 2]
        table[:, j] /= math.sqrt(j)
    return z, weights, np.sqrt(weights)[:, None] * table


def coefficients(function, s: Tensor, terms: int, level: int = FINE) -> tuple[Tensor, Tensor]:
    """alpha_j(s) for j < terms, shape of s plus (terms,), and E phi(s z)^2, shape of s."""
    z, weights, table = (torch.as_tensor(part, dtype=s.dtype, device=s.device) for part in rule(terms, level))
    values = function(s[..., None] * z)
    return values @ table, (values * values) @ weights


def mehler(first: Tensor, second: Tensor, rho: Tensor) -> Tensor:
    """sum_j first_j second_j rho^j by Horner's scheme; first, second: (..., J), shape of rho."""
    total = torch.zeros_like(rho)
    for j in reversed(range(_terms(first.detach(), second.detach()))):
        total = total * rho + first[..., j] * second[..., j]
    return total


def _terms(first: Tensor, second: Tensor) -> int:
    """How many terms are above rounding error."""
    size = first.abs().reshape(-1, first.shape[-1]).amax(0) * second.abs().reshape(-1, second.shape[-1]).amax(
        0
    )
    above = torch.nonzero(size > 1e-18 * size.sum())
    return int(above[-1]) + 1 if len(above) else 1
