"""Layers that take positions together: flattening and pooling."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ntklab._validate import positive_int
from ntklab.layers.base import Layer
from ntklab.layers.positions import (
    along,
    averaged,
    flat,
    gather,
    matching,
    mixed,
    require_positions,
    root,
    scales,
    spread,
)
from ntklab.layers.state import Layout, Need, Side, State, ratio, snap


@dataclass(frozen=True)
class Flatten(Layer):
    """All units of all positions in one row: K' = (1/P) sum_p K(p, p), the same for Theta.

    The next `Dense` has fan_in = channels times positions, and weights of its own for each, so only matching
    positions of two samples meet (Novak et al. 2019, "Bayesian Deep Convolutional Networks with Many Channels
    are Gaussian Processes", section 3.1).  Samples must have equal sizes.
    """

    def needs(self, after: Need) -> Need:
        return Need.MATCHING

    def propagate(self, state: State) -> State:
        layout = state.layout
        require_positions(state, "Flatten", ("images", "sequences", "graphs"))
        sizes = [gather(std, layout).shape[-layout.axes :] for std in (state.std1, state.std2)]
        if sizes[0] != sizes[1] or _ragged(state):
            raise ValueError("Flatten needs samples of one size; pool over positions where sizes differ")
        top1, part1, top2, part2 = scales(state)
        axes = tuple(range(-layout.axes, 0))
        own1, own2 = gather(part1, layout), gather(part2, layout)
        both = own1 * own2
        size1, size2 = root(own1.square().mean(axes)), root(own2.square().mean(axes))
        share = ratio(torch.ones_like(size1), size1) * ratio(torch.ones_like(size2), size2)
        tau = state.tau
        if tau.dim():
            tau = (matching(tau, layout) * both).mean(axes) * share
        std1 = top1 * size1
        return state.to(
            rho=snap((matching(state.rho, layout) * both).mean(axes) * share),
            tau=tau,
            std1=std1,
            std2=std1 if state.std2 is state.std1 else top2 * size2,
            mean1=None if state.mean1 is None else gather(state.mean1, layout).mean(axes),
            mean2=None if state.mean2 is None else gather(state.mean2, layout).mean(axes),
            gaussian=state.gaussian and own1.shape[-layout.axes :].numel() == 1,
            layout=Layout.VECTOR,
        )

    def build(self, builder, units):
        size = 1
        for part in units.shape:
            if part is None:
                raise ValueError("Flatten needs samples of one size; pool over positions where sizes differ")
            size *= part
        return nn.Flatten(1), units.to(shape=(size,), kind="vectors")


@dataclass(frozen=True)
class AvgPool(Layer):
    """Mean over blocks of ``size`` positions along each axis, stride = size; a rest is dropped, as in torch.

    K'(q, q') = mean of K(p, p') over p in block q and p' in block q'; the same for Theta.  A mean of Gaussian
    units is Gaussian, a mean of activations is not: the next activation wants weights before it.
    """

    size: int
    mixes = True

    def __post_init__(self):
        object.__setattr__(self, "size", positive_int("size", self.size))

    def needs(self, after: Need) -> Need:
        return Need.PAIRS

    def propagate(self, state: State) -> State:
        layout = state.layout
        require_positions(state, "AvgPool", ("images", "sequences"))
        if _ragged(state):
            raise ValueError("AvgPool needs samples of one size; GlobalAvgPool takes any")
        for std in (state.std1, state.std2):
            self._blocks(gather(std, layout).shape[-layout.axes :])
        top1, part1, top2, part2 = scales(state)
        both = part1 * part2
        means = [
            None if mean is None else spread(self._mean(gather(mean, layout), flat(layout)), layout, side)
            for side, mean in ((1, state.mean1), (2, state.mean2))
        ]
        return mixed(
            state,
            self._mean(state.rho * both, layout),
            state.tau if state.tau.dim() == 0 else self._mean(state.tau * both, layout),
            top1,
            top2,
            layout,
            mean1=means[0],
            mean2=means[1],
        )

    def _blocks(self, grid) -> tuple[int, ...]:
        if any(g < self.size for g in grid):
            raise ValueError(f"AvgPool({self.size}) does not fit into inputs of size {tuple(grid)}")
        return tuple(g // self.size for g in grid)

    def _mean(self, values: Tensor, layout: Layout) -> Tensor:
        def blocks(v: Tensor, axes: tuple[int, ...], i: int) -> Tensor:
            for axis in reversed(axes):
                count = v.shape[axis] // self.size
                v = v.narrow(axis, 0, count * self.size).unflatten(axis, (count, self.size)).mean(axis + 1)
            return v

        return along(values, layout, blocks)

    def build(self, builder, units):
        if units.kind == "images":
            return nn.AvgPool2d(self.size), units.to(shape=(units.shape[0], *self._blocks(units.shape[1:])))
        if units.kind == "sequences" and units.shape[0] is not None:
            return _Blocks(self.size), units.to(shape=(*self._blocks(units.shape[:1]), units.shape[1]))
        raise ValueError(
            f"AvgPool needs images, or sequences of one length, got {units.kind} of {units.shape}"
        )


class _Blocks(nn.Module):
    """Means over blocks of time steps: (n, length, d) to (n, length // size, d)."""

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def forward(self, h):
        return F.avg_pool1d(h.transpose(1, 2), self.size).transpose(1, 2)


@dataclass(frozen=True)
class GlobalAvgPool(Layer):
    """Mean over all positions: K' = (1 / (P P')) sum_(p, p') K(p, p'), the same for Theta.

    Samples may have different sizes.  (Arora et al. 2019, section 4.2.)
    """

    def needs(self, after: Need) -> Need:
        return Need.PAIRS

    def propagate(self, state: State) -> State:
        require_positions(state, type(self).__name__, ("images", "sequences", "graphs"))
        return averaged(state, self._weights(state, 1), self._weights(state, 2))

    def _weights(self, state: State, side: int) -> Tensor:
        counts = _counts(state, side)
        return counts / counts.sum(tuple(range(-state.layout.axes, 0)), keepdim=True)

    def build(self, builder, units):
        if units.kind == "vectors":
            raise ValueError(f"{type(self).__name__} needs positions, got vectors of shape {units.shape}")
        width = units.shape[0] if units.kind == "images" else units.shape[-1]
        module = _GlobalPool(units.kind, mean=not isinstance(self, GlobalSumPool))
        return module, units.to(shape=(width,), kind="vectors")


@dataclass(frozen=True)
class GlobalSumPool(GlobalAvgPool):
    """Sum over all positions, the usual readout of a graph: K' = sum_(p, p') K(p, p'), the same for Theta.

    Source: Du et al. 2019, "Graph Neural Tangent Kernel", section 3.
    """

    def _weights(self, state: State, side: int) -> Tensor:
        return _counts(state, side)


class _GlobalPool(nn.Module):
    """Mean or sum over positions; ``positions.mask`` says which are there."""

    positional = True

    def __init__(self, kind: str, mean: bool):
        super().__init__()
        self.kind, self.mean = kind, mean

    def forward(self, h, positions=None):
        if self.kind == "images":
            return h.mean((2, 3)) if self.mean else h.sum((2, 3))
        if positions is None or positions.mask is None:
            return h.mean(1) if self.mean else h.sum(1)
        total = (h * positions.mask[..., None]).sum(1)
        return total / positions.mask.sum(1, keepdim=True) if self.mean else total


def _counts(state: State, side: int) -> Tensor:
    """1 at every position that is there, (..., *grid)."""
    std, about = (state.std1, state.side1) if side == 1 else (state.std2, state.side2)
    ones = torch.ones_like(gather(std.detach(), state.layout))
    return ones if about is None or about.mask is None else ones * about.mask


def _ragged(state: State) -> bool:
    sides: tuple[Side | None, ...] = (state.side1, state.side2)
    return any(side is not None and side.mask is not None for side in sides)
