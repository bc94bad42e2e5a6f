"""Layers one after another."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ntklab.layers.base import Layer
from ntklab.layers.state import State
from ntklab.padding import Chain


@dataclass(frozen=True, repr=False)
class Sequential(Layer):
    """Layers one after another; itself a layer.

    Example: ``Sequential(Dense(2**0.5), ReLU(), Dense())`` is a network with one hidden layer.
    """

    layers: tuple[Layer, ...]

    def __init__(self, *layers: Layer):
        for i, layer in enumerate(layers):
            if not isinstance(layer, Layer):
                raise TypeError(f"layer {i} of Sequential must be an ntklab layer, got {layer!r}")
        object.__setattr__(self, "layers", tuple(layers))

    def __repr__(self) -> str:
        return f"Sequential({', '.join(map(repr, self.layers))})"

    def propagate(self, state: State) -> State:
        place = state.path
        for i, layer in enumerate(self.layers):
            try:
                new = layer.propagate(state.to(path=(*place, i)))
            except ValueError as error:
                raise ValueError(f"layer {i}, {layer}: {error}") from None
            _in_range(f"layer {i}, {layer}", None if layer.mixes else state.std1, new.std1)
            if new.std2 is not new.std1:
                _in_range(f"layer {i}, {layer}", None if layer.mixes else state.std2, new.std2)
            state = new
        return state.to(path=place)

    def needs(self, after):
        for layer in reversed(self.layers):
            after = layer.needs(after)
        return after

    def walk(self):
        yield self
        for layer in self.layers:
            yield from layer.walk()

    @property
    def mixes(self) -> bool:
        return any(layer.mixes for layer in self.layers)

    def build(self, builder, units):
        modules = []
        for i, layer in enumerate(self.layers):
            try:
                module, units = layer.build(builder, units)
            except ValueError as error:
                raise ValueError(f"layer {i}, {layer}: {error}") from None
            modules.append(module)
        return Chain(*modules), units

    def weight_layers(self) -> int:
        return sum(layer.weight_layers() for layer in self.layers)


def _in_range(where: str, before: torch.Tensor | None, after: torch.Tensor) -> None:
    """Refuse standard deviations that overflowed, or vanished by underflow.

    before: None where positions mix, and a zero may come from other positions.
    """
    top = float(after.detach().amax())
    if not top <= torch.finfo(after.dtype).max:
        raise ValueError(
            f"{where}: a standard deviation overflows {after.dtype}; use smaller sigma or inputs"
        )
    tiny = torch.finfo(after.dtype).tiny
    if float(after.detach().amin()) < tiny:
        lost = (after.detach() < tiny) & (after.detach() > 0)
        if before is not None and after.shape == before.shape:
            lost = lost | ((after.detach() == 0) & (before.detach() > 0))
        if lost.any() and not (before is not None and _maps_to_zero(before, after)):
            raise ValueError(
                f"{where}: a standard deviation underflows {after.dtype}; use larger sigma or inputs"
            )


def _maps_to_zero(before: torch.Tensor, after: torch.Tensor) -> bool:
    """All-zero outputs of ordinary inputs are a zero layer (sigma_w = 0), not an underflow."""
    return bool((after == 0).all() and float(before.detach().amax()) > 1e-100)
