"""Piecewise linear activations with one kink: ReLU, leaky ReLU, absolute value, identity."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from ntklab._validate import real
from ntklab.layers.activation import Activation, require_gaussian
from ntklab.layers.angles import arc_cosine
from ntklab.layers.state import State, snap


class PiecewiseLinear(Activation):
    """phi(z) = z for z > 0 and slope * z for z < 0.

    With k1, k0 the normalised arc-cosine kernels of order 1 and 0 (Cho & Saul 2009) and
    w = (1 - slope)^2 / (1 + slope^2), ``E phi^2 = s^2 (1 + slope^2) / 2`` and

        rho' = w k1(rho) + (1 - w) rho            tau' = tau (w k0(rho) + 1 - w)
    """

    slope: float

    def propagate(self, state: State) -> State:
        require_gaussian(state)
        gain = math.sqrt((1 + self.slope**2) / 2)
        bend = (1 - self.slope) ** 2 / (1 + self.slope**2)
        order1, order0 = arc_cosine(state.rho)
        if bend != 1:
            order1 = snap(bend * order1 + (1 - bend) * state.rho)
            order0 = bend * order0 + (1 - bend)
        std1, std2 = gain * state.std1, gain * state.std2
        return state.to(
            rho=order1,
            tau=state.tau * order0,
            std1=std1,
            std2=std1 if state.std2 is state.std1 else std2,
            mean1=self.mean(state.std1),
            mean2=self.mean(state.std2),
            gaussian=False,
        )

    def dual(self, rho, s1, s2):
        order1, order0 = arc_cosine(rho)
        bend = (1 - self.slope) ** 2 / 2
        return s1 * s2 * (bend * order1 + self.slope * rho), bend * order0 + self.slope

    def mean(self, s):
        return s * ((1 - self.slope) / math.sqrt(2 * math.pi))


@dataclass(frozen=True)
class ReLU(PiecewiseLinear):
    """max(z, 0): E phi phi = s1 s2 (sin t + (pi - t) cos t) / (2 pi), E phi' phi' = (pi - t) / (2 pi)."""

    slope = 0.0

    def module(self):
        return nn.ReLU()


@dataclass(frozen=True)
class LeakyReLU(PiecewiseLinear):
    """z for z > 0, slope * z for z < 0."""

    slope: float = 0.01

    def __post_init__(self):
        object.__setattr__(self, "slope", real("slope", self.slope))

    def module(self):
        return nn.LeakyReLU(self.slope)


class _AbsModule(nn.Module):
    def forward(self, z):
        return z.abs()


@dataclass(frozen=True)
class Abs(PiecewiseLinear):
    """|z|."""

    slope = -1.0

    def module(self):
        return _AbsModule()


@dataclass(frozen=True)
class Identity(Activation):
    """phi(z) = z: changes nothing, at any place."""

    def propagate(self, state: State) -> State:
        return state

    def dual(self, rho, s1, s2):
        return rho * (s1 * s2), torch.ones_like(rho)

    def module(self):
        return nn.Identity()
