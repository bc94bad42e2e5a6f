"""Polynomial activations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ntklab._validate import real
from ntklab.layers.activation import Activation
from ntklab.layers.hermite import mehler


@dataclass(frozen=True)
class Polynomial(Activation):
    """a0 + a1 z + a2 z^2 + ...; exact by the Hermite expansion of monomials.

    E phi phi = sum_j alpha_j(s1) alpha_j(s2) rho^j with
    alpha_j(s) = sum_k a_k s^k k! / (2^i i! sqrt(j!)), where k = j + 2 i.
    """

    coefficients: tuple[float, ...]

    def __post_init__(self):
        try:
            values = tuple(self.coefficients)
        except TypeError:
            raise TypeError(
                f"coefficients must be a sequence of numbers, got {self.coefficients!r}"
            ) from None
        if not values:
            raise ValueError("coefficients is empty, wanted at least one number")
        values = tuple(real(f"coefficients[{k}]", value) for k, value in enumerate(values))
        object.__setattr__(self, "coefficients", values)

    def dual(self, rho, s1, s2):
        slopes = tuple(k * a for k, a in enumerate(self.coefficients))[1:] or (0.0,)
        moment = mehler(_hermite(self.coefficients, s1), _hermite(self.coefficients, s2), rho)
        return moment, mehler(_hermite(slopes, s1), _hermite(slopes, s2), rho)

    def mean(self, s):
        return _hermite(self.coefficients, s)[..., 0]

    def module(self):
        return _Horner(self.coefficients)


def _hermite(coefficients: tuple[float, ...], s: Tensor) -> Tensor:
    """alpha_j(s), shape of s plus (degree + 1,)."""
    degree = len(coefficients) - 1
    columns = []
    for j in range(degree + 1):
        total = torch.zeros_like(s)
        for k in range(j, degree + 1, 2):
            i = (k - j) // 2
            factor = math.factorial(k) / (2**i * math.factorial(i) * math.sqrt(math.factorial(j)))
            total = total + coefficients[k] * factor * s**k
        columns.append(total)
    return torch.stack(columns, -1)


class _Horner(nn.Module):
    def __init__(self, coefficients: tuple[float, ...]):
        super().__init__()
        self.coefficients = coefficients

    def forward(self, z):
        value = torch.full_like(z, self.coefficients[-1])
        for a in reversed(self.coefficients[:-1]):
            value = value * z + a
        return value
