"""Residual connections."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ntklab.layers.base import Layer
from ntklab.layers.sequential import Sequential
from ntklab.layers.state import State, add


@dataclass(frozen=True, repr=False)
class Residual(Layer):
    """branch(h) + shortcut(h); the empty shortcut is h itself.

    Infinite width: K' = K_branch + K_shortcut, Theta' = Theta_branch + Theta_shortcut, because at
    least one of the two goes through weights of its own (Yang 2019, Tensor Programs I, section 2).
    """

    branch: Sequential
    shortcut: Sequential

    def __init__(self, *branch: Layer, shortcut=()):
        shortcut = (shortcut,) if isinstance(shortcut, Layer) else tuple(shortcut)
        object.__setattr__(self, "branch", Sequential(*branch))
        object.__setattr__(self, "shortcut", Sequential(*shortcut))
        if not branch:
            raise ValueError("Residual needs at least one layer in its branch, got none")
        if not (self.branch.weight_layers() or self.shortcut.weight_layers()):
            raise ValueError(
                "Residual needs weights in its branch or its shortcut: else the two are correlated "
                "unit by unit, and their sum is not determined by their kernels"
            )

    def __repr__(self) -> str:
        parts = [repr(layer) for layer in self.branch.layers]
        if self.shortcut.layers:
            parts.append(f"shortcut=({', '.join(map(repr, self.shortcut.layers))},)")
        return f"Residual({', '.join(parts)})"

    def propagate(self, state: State) -> State:
        branch, shortcut = self.branch.propagate(state), self.shortcut.propagate(state)
        if not (branch.wide and shortcut.wide):
            raise ValueError(
                "a shortcut around the first layer adds the input's d features to infinitely many units; "
                "put Dense() before Residual or into its shortcut"
            )
        return add(branch, shortcut)

    def build(self, builder, units):
        branch, after = self.branch.build(builder, units)
        shortcut, beside = self.shortcut.build(builder, units)
        if after.shape != beside.shape:
            raise ValueError(
                f"branch and shortcut must have equal widths, got {after.shape} and {beside.shape}; "
                "give the layers around one width, and end the network with Dense() outside of Residual"
            )
        return _Sum(branch, shortcut), after

    def weight_layers(self) -> int:
        return self.branch.weight_layers() + self.shortcut.weight_layers()


class _Sum(nn.Module):
    def __init__(self, branch: nn.Module, shortcut: nn.Module):
        super().__init__()
        self.branch, self.shortcut = branch, shortcut

    def forward(self, h):
        return self.branch(h) + self.shortcut(h)
