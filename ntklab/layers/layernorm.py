"""Layer normalisation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from ntklab.layers.base import Layer
from ntklab.layers.state import State, ratio, snap


@dataclass(frozen=True)
class LayerNorm(Layer):
    """(h - mean) / std over the units of one sample, without gain, bias or epsilon (Ba, Kiros & Hinton 2016).

    Where samples have positions, over the channels of each.

    Infinite width: mean and std tend to constants of the sample, so

        K'     = (K - mean mean') / (c c')        c^2 = K(x, x) - mean^2
        Theta' = Theta / (c c')

    On the raw input it normalises the d features exactly.  A sample without variance is an error.
    """

    def propagate(self, state: State) -> State:
        share1 = _share(state.std1, state.mean1)
        share2 = share1 if state.std2 is state.std1 else _share(state.std2, state.mean2)
        rho, tau = state.rho, state.tau
        if state.mean1 is not None:
            rho = rho - ratio(state.mean1, state.std1) * ratio(state.mean2, state.std2)
            scale = share1 * share2
            rho, tau = snap(rho / scale), tau / scale
        std1 = torch.ones_like(state.std1)
        std2 = std1 if state.std2 is state.std1 else torch.ones_like(state.std2)
        return state.to(rho=rho, tau=tau, std1=std1, std2=std2, mean1=None, mean2=None)

    def build(self, builder, units):
        return Normalize(axis=1 if units.kind == "images" else -1), units


def _share(std: torch.Tensor, mean: torch.Tensor | None) -> torch.Tensor:
    """c / s, the part of the root mean square that is not the mean."""
    if mean is None:
        square = torch.ones_like(std)
    else:
        part = ratio(mean, std)
        square = (1 - part) * (1 + part)
    bad = (std == 0) | (square < 64 * torch.finfo(std.dtype).eps)
    if bad.any():
        raise ValueError("a sample whose units are all equal has no variance to normalise by")
    return square.sqrt()


class Normalize(nn.Module):
    """Layer normalisation over one axis, without parameters."""

    def __init__(self, axis: int = -1):
        super().__init__()
        self.axis = axis

    def forward(self, h, positions=None):
        if h.dim() == 3 and positions is not None and positions.mask is not None:
            ghost = torch.arange(h.shape[-1], dtype=h.dtype, device=h.device)
            h = torch.where(
                positions.mask[..., None] > 0, h, ghost
            )  # a padded position has something to normalise
        centred = h - h.mean(self.axis, keepdim=True)
        centred = centred / centred.detach().abs().amax(self.axis, keepdim=True)  # squares stay in range
        return centred / centred.square().mean(self.axis, keepdim=True).sqrt()

    positional = True
