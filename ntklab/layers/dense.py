"""Fully connected layers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ntklab._validate import real
from ntklab.layers.base import Layer
from ntklab.layers.state import State, ratio, snap


@dataclass(frozen=True)
class Dense(Layer):
    """Fully connected layer, z = sigma_w / sqrt(fan_in) W h + sigma_b b, entries of W, b ~ N(0, 1).

    Acts on every node of a graph and every step of a sequence; images need `Flatten` or pooling before it.

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
        if state.layout.kind == "images":
            raise ValueError("images go into Dense through Flatten() or pooling only")
        return affine(state, self.sigma_w, self.sigma_b, self.trainable)

    def build(self, builder, units) -> tuple[nn.Module, object]:
        return builder.linear(self, units)

    def weight_layers(self) -> int:
        return 1


def affine(state: State, sigma_w: float, sigma_b: float, trainable: bool) -> State:
    """K' = sigma_w^2 K + sigma_b^2 and Theta' = K' + sigma_w^2 Theta (without K' where frozen)."""
    std1, signal1, bias1 = _shares(state.std1, sigma_w, sigma_b)
    std2, signal2, bias2 = (
        (std1, signal1, bias1) if state.std2 is state.std1 else _shares(state.std2, sigma_w, sigma_b)
    )
    rho, tau = state.rho, state.tau
    if sigma_b or not sigma_w:
        signal = signal1 * signal2
        rho, tau = snap(signal * rho + bias1 * bias2), signal * tau
    if trainable:
        tau = rho + tau
    return state.to(rho=rho, tau=tau, std1=std1, std2=std2, mean1=None, mean2=None, gaussian=True, wide=True)


def _shares(std: Tensor, sigma_w: float, sigma_b: float) -> tuple[Tensor, Tensor, Tensor]:
    """sqrt K'(x, x), and the shares of weights and bias in it: signal^2 + bias^2 = 1."""
    signal = sigma_w * std
    if not sigma_b:
        share = torch.full_like(std, float(sigma_w > 0))
        return signal, share, torch.zeros_like(std)
    total = torch.hypot(signal, torch.full_like(std, sigma_b))
    return total, ratio(signal, total), sigma_b / total
