"""The sign activation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ntklab.layers.activation import Activation
from ntklab.layers.angles import arcsine
from ntklab.layers.smooth import _Function


@dataclass(frozen=True)
class Sign(Activation):
    """sign(z), with derivative 0 (as torch has it): only layers above it train.

    E phi phi = 2/pi arcsin(rho) (Cho & Saul 2009, order 0, shifted); sign(0) = 0.
    """

    def dual(self, rho, s1, s2):
        present = ((s1 > 0) & (s2 > 0)).to(rho.dtype)
        return 2 / math.pi * arcsine(rho) * present, torch.zeros_like(rho)

    def module(self):
        return _Function(torch.sign)
