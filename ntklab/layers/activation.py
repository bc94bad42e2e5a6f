"""What all activations share: from Gaussian pre-activations to the moments of phi."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ntklab.layers.base import Layer
from ntklab.layers.state import State, ratio, snap


class Activation(Layer):
    """Elementwise phi of jointly Gaussian pre-activations (u, v) with standard deviations s1, s2.

    A subclass gives the dual activation and that of the derivative (Daniely, Frostig & Singer 2016,
    section 4), and the mean; then (Jacot, Gabriel & Hongler 2018, Theorem 1)

        K'     = E phi(u) phi(v)
        Theta' = Theta E phi'(u) phi'(v)
    """

    def dual(self, rho: Tensor, s1: Tensor, s2: Tensor) -> tuple[Tensor, Tensor]:
        """E phi(u) phi(v) and E phi'(u) phi'(v); all shapes broadcast."""
        raise NotImplementedError

    def mean(self, s: Tensor) -> Tensor | None:
        """E phi(u), shape of s; None where it is 0 because phi is odd."""
        return None

    def module(self) -> nn.Module:
        """phi as a torch module."""
        raise NotImplementedError

    def propagate(self, state: State) -> State:
        require_gaussian(state)
        marginal1 = self._marginal(state.std1)
        marginal2 = marginal1 if state.std2 is state.std1 else self._marginal(state.std2)
        return after(state, self.dual(state.rho, state.std1, state.std2), marginal1, marginal2)

    def _marginal(self, s: Tensor) -> tuple[Tensor, Tensor | None]:
        """E phi(u)^2 and E phi(u)."""
        if float(s.detach().amax()) > math.sqrt(torch.finfo(s.dtype).max) / 4:
            raise ValueError(f"a variance overflows {s.dtype}; use smaller sigma or inputs")
        return self.dual(torch.ones_like(s), s, s)[0], self.mean(s)

    def build(self, builder, units):
        return self.module(), units


def after(state: State, duals, marginal1, marginal2) -> State:
    """The state behind an activation, from its two duals and each side's E phi^2 and E phi."""
    moment, derivative = duals
    std1 = _root(marginal1[0])
    std2 = std1 if marginal2 is marginal1 else _root(marginal2[0])
    gain = ratio(state.std1, std1) * ratio(state.std2, std2)
    return state.to(
        rho=snap(ratio(moment, std1 * std2)),
        tau=state.tau * gain * derivative,
        std1=std1,
        std2=std2,
        mean1=marginal1[1],
        mean2=marginal2[1],
        gaussian=False,
    )


def _root(square: Tensor) -> Tensor:
    """Square root, 0 where rounding left a negative; gradients stay finite."""
    zero = square <= 0
    return torch.where(zero, 0.0, torch.where(zero, 1.0, square).sqrt())


def require_gaussian(state: State) -> None:
    """Refuse an activation where the covariance does not determine its expectation."""
    if state.gaussian:
        return
    if not state.wide:
        raise ValueError("an activation on the raw input has no infinite-width kernel; put Dense() before it")
    raise ValueError(
        "an activation needs Gaussian pre-activations, but these units are not: "
        "put Dense() between two activations, and after a sum or mean of activations"
    )
