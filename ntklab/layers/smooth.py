"""Smooth activations with closed-form duals: erf, GELU, sine, cosine.

Arguments of the duals: correlation rho of (u, v), standard deviations s1 of u, s2 of v.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from ntklab.layers.activation import Activation


def _squashed(rho, s1, s2):
    """For q = rho r1 r2 with r = s / sqrt(1 + s^2): q, sqrt(1 - q^2), r1 r2, and i = 1 / sqrt(1 + s^2) twice.

    sqrt(1 - q^2) is summed from positive terms, so that it keeps its digits where q is close to 1.
    """
    i1, i2 = 1 / torch.hypot(torch.ones_like(s1), s1), 1 / torch.hypot(torch.ones_like(s2), s2)
    r = (s1 * i1) * (s2 * i2)
    rest = i1 * i1 + i2 * i2 * (1 - i1 * i1)  # 1 - r^2
    square = (1 - rho) * (1 + rho) + rho * rho * rest
    return rho * r, square.sqrt(), r, i1, i2


class _Function(nn.Module):
    """An elementwise torch function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, z):
        return self.function(z)


@dataclass(frozen=True)
class Erf(Activation):
    """erf(z), not erf(z / sqrt 2) (Williams 1997, eq. 11):

    E phi phi   = 2/pi arcsin(2 k / sqrt((1 + 2 s1^2)(1 + 2 s2^2))),  k = rho s1 s2
    E phi' phi' = 4/pi / sqrt((1 + 2 s1^2)(1 + 2 s2^2) - 4 k^2)
    """

    def dual(self, rho, s1, s2):
        q, rest, _, i1, i2 = _squashed(rho, math.sqrt(2) * s1, math.sqrt(2) * s2)
        return 2 / math.pi * torch.atan2(q, rest), 4 / math.pi * i1 * i2 / rest

    def module(self):
        return _Function(torch.erf)


@dataclass(frozen=True)
class GELU(Activation):
    """z Phi(z), Phi the normal distribution function (Hendrycks & Gimpel 2016), without approximation.

    From Price's theorem and Stein's lemma, with a = s1^2, b = s2^2, k = rho s1 s2,
    D = (1 + a)(1 + b) - k^2 and N = 1 / (2 pi sqrt D):

        E phi phi   = k G + N (a b + k^2 (1 - a b) / ((1 + a)(1 + b)))
        E phi' phi' = G + k N (1 / (1 + a) + 1 / (1 + b) + 1 / D)
        G           = 1/4 + arcsin(k / sqrt((1 + a)(1 + b))) / (2 pi)
    """

    def dual(self, rho, s1, s2):
        q, rest, r, i1, i2 = _squashed(rho, s1, s2)
        both = 0.25 + torch.atan2(q, rest) / (2 * math.pi)
        shrink = (i1 * i2) ** 2
        moment = rho * both + r * (rest + rho * rho * shrink / rest) / (2 * math.pi)
        tilt = i1 * i1 + i2 * i2 + shrink / rest**2
        return s1 * s2 * moment, both + q * tilt / (2 * math.pi * rest)

    def mean(self, s):
        return s * (s / torch.hypot(torch.ones_like(s), s)) / math.sqrt(2 * math.pi)

    def module(self):
        return nn.GELU()


def _distances(rho, s1, s2):
    """exp(-E(u - v)^2 / 2) and exp(-E(u + v)^2 / 2)."""
    near = (s1 - s2) ** 2 + 2 * (1 - rho) * (s1 * s2)
    far = (s1 - s2) ** 2 + 2 * (1 + rho) * (s1 * s2)
    return torch.exp(-near / 2), torch.exp(-far / 2)


def _sine_moment(rho, s1, s2):
    """E sin u sin v = exp(-(s1^2 + s2^2) / 2) sinh(k), without cancellation where k is small."""
    near, far = _distances(rho, s1, s2)
    k = rho * (s1 * s2)
    small = k.abs() < 0.5
    series = torch.exp(-(s1 * s1 + s2 * s2) / 2) * torch.sinh(torch.where(small, k, 0.0))
    return torch.where(small, series, (near - far) / 2)


def _cosine_moment(rho, s1, s2):
    """E cos u cos v = exp(-(s1^2 + s2^2) / 2) cosh(k)."""
    near, far = _distances(rho, s1, s2)
    return (near + far) / 2


@dataclass(frozen=True)
class Sin(Activation):
    """sin(z): E phi phi = exp(-(s1^2 + s2^2) / 2) sinh(k), E phi' phi' = the same with cosh."""

    def dual(self, rho, s1, s2):
        return _sine_moment(rho, s1, s2), _cosine_moment(rho, s1, s2)

    def module(self):
        return _Function(torch.sin)


@dataclass(frozen=True)
class Cos(Activation):
    """cos(z): E phi phi = exp(-(s1^2 + s2^2) / 2) cosh(k), E phi' phi' = the same with sinh."""

    def dual(self, rho, s1, s2):
        return _cosine_moment(rho, s1, s2), _sine_moment(rho, s1, s2)

    def mean(self, s):
        return torch.exp(-s * s / 2)

    def module(self):
        return _Function(torch.cos)
