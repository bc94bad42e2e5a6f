"""Positions made visible to the layers above."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ntklab._validate import real
from ntklab.layers.base import Layer
from ntklab.layers.positions import gather, require_positions, spread
from ntklab.layers.state import State, add

_JITTER = 1e-9  # on the diagonal: a long length scale leaves the covariance singular to rounding


@dataclass(frozen=True)
class PositionalEncoding(Layer):
    """Mixes in a fixed random vector p_a of each position: h_a -> sqrt(1 - share) h_a + sqrt(share) p_a.

    The units of p are independent Gaussians over the positions, of covariance

        R_ab = exp(-|a - b|^2 / (2 length_scale^2)),

    distances in steps of a sequence, counted from its beginning, or in pixels of an image.  p is not trained.

    share: in [0, 1].  length_scale: above 0.

    Infinite width (Hron, Bahri, Sohl-Dickstein & Novak 2020, "Infinite attention: NNGP and NTK for deep attention
    networks", on positional encodings):

        K' = (1 - share) K + share R        Theta' = (1 - share) Theta

    Raises:
        ValueError: graphs, whose nodes have no order, or samples without positions; at infinite width also raw
            inputs, whose few features cannot hold p (put `Dense` before it).
    """

    share: float = 0.5
    length_scale: float = 1.0

    def __post_init__(self):
        object.__setattr__(self, "share", real("share", self.share, minimum=0))
        object.__setattr__(
            self, "length_scale", real("length_scale", self.length_scale, minimum=0, strict=True)
        )
        if self.share > 1:
            raise ValueError(f"share must be at most 1, got {self.share:g}")

    def propagate(self, state: State) -> State:
        _refuse_graphs(state.layout.kind)
        require_positions(state, "PositionalEncoding", ("images", "sequences"))
        if not state.wide:
            raise ValueError(
                "PositionalEncoding adds infinitely many random units to the input's features; put Dense() before it"
            )
        keep, size = math.sqrt(1 - self.share), math.sqrt(self.share)
        encoding = State(
            rho=self._correlation(state),
            tau=torch.zeros_like(state.tau),
            std1=torch.full_like(state.std1, size),
            std2=torch.full_like(state.std2, size),
            gaussian=True,
            wide=True,
        )
        shrunk = {name: getattr(state, name) for name in ("std1", "std2", "mean1", "mean2")}
        shrunk = {name: None if value is None else keep * value for name, value in shrunk.items()}
        return add(state.to(**shrunk), encoding)

    def _correlation(self, state: State) -> Tensor:
        """R, broadcasting against rho."""
        layout, square = state.layout, 0
        for i in range(layout.axes):
            here = spread(_places(state.std1, state, state.side1.mask, i), layout, 1)
            there = spread(_places(state.std2, state, state.side2.mask, i), layout, 2)
            square = square + ((here - there) / self.length_scale).square()
        return torch.exp(-square / 2)

    def build(self, builder, units):
        _refuse_graphs(units.kind)
        if units.kind == "vectors":
            raise ValueError(f"PositionalEncoding needs positions, got vectors of shape {units.shape}")
        images = units.kind == "images"
        width = units.shape[0] if images else units.shape[-1]
        grid = units.shape[1:] if images else units.shape[:-1]
        seed = int(torch.randint(2**62, (), generator=builder.generator))
        if None in grid:
            return _Growing(self, width, seed), units
        table = self.draw(grid, width, seed).to(builder.dtype)
        return _Fixed(self, table.permute(2, 0, 1) if images else table), units

    def draw(self, grid: tuple[int, ...], width: int, seed: int) -> Tensor:
        """Encodings (*grid, width), float64; of a longer sequence they begin with those of a shorter one."""
        table = torch.from_numpy(np.random.default_rng(seed).standard_normal((*grid, width)))
        for axis, size in enumerate(grid):  # the covariance is a product over the axes
            places = torch.arange(size, dtype=table.dtype)
            square = ((places[:, None] - places) / self.length_scale).square()
            covariance = torch.exp(-square / 2) + _JITTER * torch.eye(size, dtype=table.dtype)
            factor = torch.linalg.cholesky(covariance) / math.sqrt(1 + _JITTER)
            table = torch.tensordot(factor, table, dims=([1], [axis])).movedim(0, axis)
        return table


def _refuse_graphs(kind: str) -> None:
    if kind == "graphs":
        raise ValueError("PositionalEncoding needs images or sequences: the nodes of graphs have no order")


def _places(std: Tensor, state: State, mask: Tensor | None, axis: int) -> Tensor:
    """The coordinate of each position along one axis, 0 at a sample's first: broadcasts against (..., *grid)."""
    if mask is not None:
        return (mask.cumsum(-1) - 1).to(std.dtype)
    axes = state.layout.axes
    size = gather(std, state.layout).shape[-axes:][axis]
    shape = [1] * axes
    shape[axis] = size
    return torch.arange(size, dtype=std.dtype, device=std.device).reshape(shape)


class _Fixed(nn.Module):
    """Samples of one size: the encodings (*sample) are a buffer."""

    def __init__(self, layer: PositionalEncoding, table: Tensor):
        super().__init__()
        self.keep, self.size = math.sqrt(1 - layer.share), math.sqrt(layer.share)
        self.register_buffer("table", table.contiguous())

    def forward(self, h: Tensor) -> Tensor:
        return self.keep * h + self.size * self.table


class _Growing(nn.Module):
    """Sequences of any length: a seed is the buffer, encodings are drawn up to the longest length met."""

    positional = True

    def __init__(self, layer: PositionalEncoding, width: int, seed: int):
        super().__init__()
        self.layer, self.width = layer, width
        self.keep, self.size = math.sqrt(1 - layer.share), math.sqrt(layer.share)
        self.register_buffer("seed", torch.tensor(seed))
        self._drawn = (None, torch.empty(0, width))

    def forward(self, h: Tensor, positions=None) -> Tensor:
        table = self._table(h)
        if positions is None or positions.mask is None:
            return self.keep * h + self.size * table[: h.shape[1]]
        places = (positions.mask.cumsum(1) - 1).clamp(min=0).long()
        return self.keep * h + self.size * table[places]

    def _table(self, h: Tensor) -> Tensor:
        """Encodings (at least h's length, width)."""
        seed = int(self.seed)
        drawn, table = self._drawn
        if drawn != seed or len(table) < h.shape[1]:
            length = 2 ** max(4, (h.shape[1] - 1).bit_length())
            table = self.layer.draw((length,), self.width, seed)
        self._drawn = (seed, table.to(h))
        return self._drawn[1]
