"""Fully connected layers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from ntklab._validate import real
from ntklab.layers.base import Layer
from ntklab.layers.state import Layout, State, ratio, snap


@dataclass(frozen=True)
class Dense(Layer):
    """Fully connected layer, z = sigma_w / sqrt(fan_in) W h + sigma_b b, entries of W, b ~ N(0, 1).

    trainable=False freezes it: its own gradient adds nothing to the NTK.

    Infinite width (Jacot, Gabriel & Hongler 2018, Theorem 1; Lee et al. 2019, eqs. S.6 and S.11):

        K'     = sigma_w^2 K + sigma_b^2
        Theta' = K' + sigma_w^2 Theta           (without K' where frozen)
    """

    sigma_w: float = 1.0
    sigma_b: float = 0.0
    trainable: bool = True

    def __post_init__(self):
        object.__setattr__(self, "sigma_w", real("sigma_w", self.sigma_w, minimum=0))
        object.__setattr__(self, "sigma_b", real("sigma_b", self.sigma_b, minimum=0))
        if not isinstance(self.trainable, bool):
            raise TypeError(f"trainable must be True or False, got {self.trainable!r}")

    def propagate(self, state: State) -> State:
        if state.layout in (Layout.PIXELS, Layout.PIXEL_PAIRS):
            raise ValueError("images go into Dense through Flatten() or pooling only")
        std1, signal1, bias1 = self._shares(state.std1)
        std2, signal2, bias2 = (
            (std1, signal1, bias1) if state.std2 is state.std1 else self._shares(state.std2)
        )
        rho, tau = state.rho, state.tau
        if self.sigma_b or not self.sigma_w:
            signal = signal1 * signal2
            rho, tau = snap(signal * rho + bias1 * bias2), signal * tau
        if self.trainable:
            tau = rho + tau
        return State(rho, tau, std1, std2, gaussian=True, wide=True, layout=state.layout)

    def _shares(self, std):
        """sqrt K'(x, x), and the shares of weights and bias in it: signal^2 + bias^2 = 1."""
        signal = self.sigma_w * std
        if not self.sigma_b:
            share = torch.full_like(std, float(self.sigma_w > 0))
            return signal, share, torch.zeros_like(std)
        total = torch.hypot(signal, torch.full_like(std, self.sigma_b))
        return total, ratio(signal, total), self.sigma_b / total

    def build(self, builder, units) -> tuple[nn.Module, object]:
        return builder.linear(self, units)

    def weight_layers(self) -> int:
        return 1
