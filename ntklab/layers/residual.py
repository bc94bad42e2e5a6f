"""Residual connections."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ntklab.layers.base import Layer
from ntklab.layers.pooling import Flatten
from ntklab.layers.positions import gather
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
        branch = self.branch.propagate(state.to(path=(*state.path, "branch")))
        shortcut = self.shortcut.propagate(state.to(path=(*state.path, "shortcut")))
        if _flattens(self.branch) and _flattens(self.shortcut):
            raise ValueError(
                "branch and shortcut both end in Flatten(), where units have means of their own at each position: "
                "put one Flatten() behind Residual"
            )
        if not (branch.wide and shortcut.wide):
            raise ValueError(
                "a shortcut around the first layer adds the input's d features to infinitely many units; "
                "put Dense() before Residual or into its shortcut"
            )
        if branch.layout is not shortcut.layout or branch.std1.shape != shortcut.std1.shape:
            raise ValueError(
                f"branch and shortcut must end at the same positions, got {_where(branch)} and {_where(shortcut)}; "
                "a shortcut with a layer of the same stride goes along"
            )
        return add(branch, shortcut)

    def needs(self, after):
        return max(self.branch.needs(after), self.shortcut.needs(after))

    def walk(self):
        yield self
        yield from self.branch.walk()
        yield from self.shortcut.walk()

    @property
    def mixes(self) -> bool:
        return self.branch.mixes or self.shortcut.mixes

    def build(self, builder, units):
        branch, after = self.branch.build(builder, units)
        shortcut, beside = self.shortcut.build(builder, units)
        if after.kind != beside.kind or _grid(after) != _grid(beside):
            raise ValueError(
                f"branch and shortcut must end at the same positions, got {after.kind} of shape {after.shape} and "
                f"{beside.kind} of shape {beside.shape}; a shortcut with a layer of the same stride goes along"
            )
        if after.shape != beside.shape:
            raise ValueError(
                f"branch and shortcut must have equal widths, got {after.shape} and {beside.shape}; "
                "give the layers around one width, and end the network with Dense() outside of Residual"
            )
        return _Sum(branch, shortcut), after

    def weight_layers(self) -> int:
        return self.branch.weight_layers() + self.shortcut.weight_layers()


def _flattens(layers: Sequential) -> bool:
    """Do its units come from several positions, with no weights after that?"""
    for layer in reversed(layers.layers):
        if isinstance(layer, Flatten):
            return True
        if isinstance(layer, (Sequential, Residual)):
            parts = (layer,) if isinstance(layer, Sequential) else (layer.branch, layer.shortcut)
            if any(map(_flattens, parts)):
                return True
        if layer.weight_layers():
            return False
    return False


def _where(state: State) -> str:
    """Kind and size of a state's samples, for messages."""
    if not state.layout.axes:
        return "vectors"
    return (
        f"{state.layout.kind} of size {tuple(gather(state.std1, state.layout).shape[-state.layout.axes :])}"
    )


def _grid(units) -> tuple:
    """Sizes of the positions."""
    return {"images": units.shape[1:], "vectors": ()}.get(units.kind, units.shape[:-1])


class _Sum(nn.Module):
    def __init__(self, branch: nn.Module, shortcut: nn.Module):
        super().__init__()
        self.branch, self.shortcut = branch, shortcut

    positional = True

    def forward(self, h, positions=None):
        return self.branch(h, positions) + self.shortcut(h, positions)
