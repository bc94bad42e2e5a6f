"""Gaussian expectations by Hermite series.

With he_j the normalised Hermite polynomials and alpha_j(s) = E phi(s z) he_j(z), z standard normal,
Mehler's formula gives E phi(u) phi(v) = sum_j alpha_j(s1) alpha_j(s2) rho^j
(O'Donnell, Analysis of Boolean Functions, 2014, Proposition 11.31; Daniely, Frostig & Singer 2016, eq. 8).
One dimension of quadrature a sample replaces two a pair.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from scipy.special import roots_hermitenorm
from torch import Tensor


@lru_cache(maxsize=16)
def rule(nodes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gauss-Hermite rule for the standard normal: z (Q,), weights (Q,), and w_q he_j(z_q), (Q, Q)."""
    z, weights = roots_hermitenorm(nodes)
    weights = weights / weights.sum()
    table = np.zeros((nodes, nodes))  # sqrt(w_q) he_j(z_q): orthogonal, so the recursion stays bounded
    table[:, 0] = np.sqrt(weights)
    if nodes > 1:
        table[:, 1] = z * table[:, 0]
    for j in range(2, nodes):
        table[:, j] = (z * table[:, j - 1] - np.sqrt(j - 1) * table[:, j - 2]) / np.sqrt(j)
    return z, weights, np.sqrt(weights)[:, None] * table


def coefficients(function, s: Tensor, nodes: int, terms: int) -> tuple[Tensor, Tensor]:
    """alpha_j(s) for j < terms, shape of s plus (terms,), and E phi(s z)^2, shape of s."""
    z, weights, table = (torch.as_tensor(part, dtype=s.dtype, device=s.device) for part in rule(nodes))
    values = function(s[..., None] * z)
    return values @ table[:, :terms], (values * values) @ weights


def mehler(first: Tensor, second: Tensor, rho: Tensor) -> Tensor:
    """sum_j first_j second_j rho^j by Horner's scheme; first, second: (..., J), shape of rho."""
    total = torch.zeros_like(rho)
    for j in reversed(range(first.shape[-1])):
        total = total * rho + first[..., j] * second[..., j]
    return total
