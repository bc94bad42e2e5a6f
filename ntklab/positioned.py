"""Inputs with positions, images, sequences and graphs: from arrays to the state that enters the first layer."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from ntklab.layers.positions import spread
from ntklab.layers.state import Layout, Need, Side, State, snap
from ntklab.samples import is_ragged, read_samples

LAYOUTS = {
    ("images", False): Layout.PIXELS,
    ("images", True): Layout.PIXEL_PAIRS,
    ("sequences", False): Layout.STEPS,
    ("sequences", True): Layout.STEP_PAIRS,
    ("graphs", True): Layout.NODE_PAIRS,
}


FEW_CHANNELS = 128  # up to here one pass a channel is faster than many small matrix products


@dataclass(frozen=True)
class Positioned:
    """n samples: at every position a unit vector, its size, and whether it is there.

    unit (n, c, *grid); std, mean (n, *grid) over the c channels; mask (n, P) or None where all positions
    exist; adjacency (n, N, N) of graphs.  Samples of different sizes are padded at the front, and stand in
    the order of their sizes; ``order`` (n,) are their places as given, ``sizes`` (n,) their positions.
    """

    kind: str
    unit: Tensor
    std: Tensor
    mean: Tensor
    order: Tensor
    sizes: Tensor
    mask: Tensor | None = None
    adjacency: Tensor | None = None
    memory: dict[tuple, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.unit)

    @property
    def channels(self) -> int:
        return self.unit.shape[1]

    @classmethod
    def read(cls, x: Tensor) -> Positioned:
        """From images (n, c, h, w) or sequences (n, length, d)."""
        everything = torch.arange(len(x), device=x.device)
        if x.dim() == 3:
            x, kind = x.transpose(1, 2), "sequences"
        else:
            kind = "images"
        return cls(kind, *_split(x), everything, torch.full_like(everything, x[0, 0].numel()))

    @classmethod
    def read_ragged(cls, features: list[Tensor], adjacency: list[Tensor] | None) -> Positioned:
        """From the features (N_i, d) of each sample and, for graphs, its adjacency (N_i, N_i)."""
        sizes = torch.tensor([len(part) for part in features], device=features[0].device)
        order = sizes.argsort(stable=True)
        size = int(sizes.max())
        ordered = order.tolist()
        stacked = torch.stack([F.pad(features[i].T, (size - len(features[i]), 0)) for i in ordered])
        mask = torch.arange(size, device=order.device) >= size - sizes[order, None]
        unit, std, mean = _split(stacked)
        if bool(mask.all()):
            mask = None
        else:
            std = torch.where(mask, std, 1.0)  # a padded position is a node like any other, alone
        matrices = None
        if adjacency is not None:
            matrices = torch.stack([F.pad(adjacency[i], (size - len(features[i]), 0) * 2) for i in ordered])
        kind = "sequences" if adjacency is None else "graphs"
        return cls(kind, unit, std, mean, order, sizes[order], mask, matrices)

    def layout(self, need: Need) -> Layout:
        return LAYOUTS[self.kind, need is Need.PAIRS or self.kind == "graphs"]

    def pairs(self, other: Positioned, rows: slice, columns: slice, need: Need) -> State:
        """State of the pairs rows x columns of samples, batch axes (n1, n2)."""
        layout = self.layout(need)
        mine, theirs = self._part(rows), other._part(columns)
        if layout.pairs:
            rho = _interleave(torch.einsum("icp,jcq->ijpq", mine.flat, theirs.flat), mine.grid, theirs.grid)
        elif mine.grid == theirs.grid:
            rho = _matching(mine.flat, theirs.flat).unflatten(-1, mine.grid)
        elif self.kind == "sequences":  # aligned at their ends
            size = max(mine.grid[0], theirs.grid[0])
            mine, theirs = self._part(rows, size), other._part(columns, size)
            rho = _matching(mine.flat, theirs.flat)
        else:
            raise ValueError(
                f"x1 and x2 must have equal sizes for an architecture that flattens, got {mine.grid} and {theirs.grid}"
            )
        return self._state(rho, layout, mine, theirs, lambda v: v.unsqueeze(1), lambda v: v.unsqueeze(0))

    def same(self, rows: slice, need: Need) -> State:
        """State of the pairs (x, x), batch axes (n,)."""
        layout = self.layout(need)
        part = self._part(rows)
        if layout.pairs:
            rho = _interleave(torch.einsum("icp,icq->ipq", part.flat, part.flat), part.grid, part.grid)
        else:
            rho = part.flat.square().sum(1).unflatten(-1, part.grid)
        return self._state(rho, layout, part, part, lambda v: v, lambda v: v).to(same=True)

    def _state(self, rho, layout, mine: _Part, theirs: _Part, batch1, batch2) -> State:
        def side(part: _Part, batch, which: int) -> tuple:
            std, mean = (spread(batch(values), layout, which) for values in (part.std, part.mean))
            lifted = {key: batch(value) for key, value in part.memory.items()}
            mask = None if part.mask is None else batch(part.mask)
            adjacency = None if part.adjacency is None else batch(part.adjacency)
            return std, mean, Side(mask, adjacency, lifted)

        std1, mean1, side1 = side(mine, batch1, 1)
        std2, mean2, side2 = side(theirs, batch2, 2)
        if mine is theirs:
            side2 = side1
        return State(
            rho=snap(rho),
            tau=torch.zeros((), dtype=rho.dtype, device=rho.device),
            std1=std1,
            std2=std1 if mine is theirs and not layout.pairs else std2,
            mean1=mean1,
            mean2=mean2,
            layout=layout,
            side1=side1,
            side2=side2,
        )

    def _part(self, rows: slice, size: int | None = None) -> _Part:
        """Some samples, cut to the largest of them (or ``size``) where sizes differ."""
        if self.mask is None:
            if size is not None and size > self.unit.shape[-1]:
                return self._grown(rows, size)
            memory = {key: value[rows] for key, value in self.memory.items()}
            adjacency = None if self.adjacency is None else self.adjacency[rows]
            return _Part(self.unit[rows], self.std[rows], self.mean[rows], None, adjacency, memory)
        size = int(self.sizes[rows].max()) if size is None else size
        if size > self.unit.shape[-1]:
            return self._grown(rows, size)
        memory = {key: _last(value[rows], size) for key, value in self.memory.items()}
        return _Part(
            self.unit[rows][..., -size:],
            self.std[rows][..., -size:],
            self.mean[rows][..., -size:],
            self.mask[rows][..., -size:],
            None if self.adjacency is None else self.adjacency[rows][..., -size:, -size:],
            memory,
        )

    def _grown(self, rows: slice, size: int) -> _Part:
        """Sequences padded further, to meet longer ones of another set."""
        more = size - self.unit.shape[-1]
        part = self._part(rows, self.unit.shape[-1]) if self.mask is not None else self._part(rows)
        mask = torch.ones_like(part.std, dtype=torch.bool) if part.mask is None else part.mask
        return _Part(
            F.pad(part.unit, (more, 0)),
            F.pad(part.std, (more, 0), value=1.0),
            F.pad(part.mean, (more, 0)),
            F.pad(mask, (more, 0)),
            None,
            {key: _padded(value, size) for key, value in part.memory.items()},
        )

    def remember(self, memories: list[dict[tuple, Tensor]]) -> None:
        """Keep what passes over the pairs (x, x) learnt, chunk after chunk."""
        size = self.unit.shape[-1]
        for key in memories[0]:
            parts = [part[key] for part in memories]
            self.memory[key] = torch.cat(
                parts if self.mask is None else [_padded(part, size) for part in parts]
            )

    def pair_bytes(self, other: Positioned, need: Need) -> int:
        """Memory of rho for one pair of samples."""
        count, beside = self.unit[0, 0].numel(), other.unit[0, 0].numel()
        return self.unit.element_size() * (count * beside if self.layout(need).pairs else max(count, beside))

    def places(self, rows: slice, nodes: bool) -> slice | Tensor:
        """Rows of the result that these samples fill: one each, or one for each of their nodes."""
        if not nodes:
            return rows if self.mask is None else self.order[rows]
        given = torch.empty_like(self.sizes)
        given[self.order] = self.sizes
        starts = given.cumsum(0) - given
        samples = self.order[rows].tolist()
        return torch.cat([torch.arange(int(given[i]), device=given.device) + starts[i] for i in samples])

    def count(self, nodes: bool) -> int:
        """How many rows the result has."""
        return int(self.sizes.sum()) if nodes else len(self)

    def entries(self, rows: slice) -> Tensor:
        """Which of the padded positions (len(rows) * P,) of a tile are there."""
        part = self._part(rows)
        return (torch.ones_like(part.std, dtype=torch.bool) if part.mask is None else part.mask).reshape(-1)


@dataclass(frozen=True, eq=False)
class _Part:
    unit: Tensor
    std: Tensor
    mean: Tensor
    mask: Tensor | None
    adjacency: Tensor | None
    memory: dict[tuple, Tensor]

    @property
    def flat(self) -> Tensor:
        return self.unit.flatten(2)

    @property
    def grid(self) -> tuple[int, ...]:
        return tuple(self.unit.shape[2:])


def _split(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(n, c, *grid) into unit vectors over the channels, their sizes |x| / sqrt(c), and means."""
    largest = x.detach().abs().amax(1, keepdim=True)
    scaled = x / torch.where(largest > 0, largest, 1.0)
    norm = torch.linalg.vector_norm(scaled, dim=1, keepdim=True)
    unit = scaled / torch.where(norm > 0, norm, 1.0)
    return unit, norm[:, 0] / math.sqrt(x.shape[1]) * largest[:, 0], scaled.mean(1) * largest[:, 0]


def _matching(first: Tensor, second: Tensor) -> Tensor:
    """Inner products over the channels at matching positions: (n1, c, P), (n2, c, P) to (n1, n2, P)."""
    if first.shape[1] > FEW_CHANNELS:
        return torch.bmm(first.permute(2, 0, 1).contiguous(), second.permute(2, 1, 0).contiguous()).permute(
            1, 2, 0
        )
    total = first[:, None, 0] * second[None, :, 0]
    for channel in range(1, first.shape[1]):
        total = torch.addcmul(total, first[:, None, channel], second[None, :, channel])
    return total


def _interleave(rho: Tensor, grid1: tuple[int, ...], grid2: tuple[int, ...]) -> Tensor:
    """(..., P, P') to (..., H, H', W, W')."""
    if len(grid1) == 1:
        return rho
    batch = rho.dim() - 2
    rho = rho.unflatten(-1, grid2).unflatten(batch, grid1)
    return rho.permute(*range(batch), batch, batch + 2, batch + 1, batch + 3).contiguous()


def _last(value: Tensor, size: int) -> Tensor:
    return value[(slice(None), *(slice(-size, None),) * (value.dim() - 1))]


def _padded(value: Tensor, size: int) -> Tensor:
    widths = [part for axis in reversed(range(1, value.dim())) for part in (size - value.shape[axis], 0)]
    return F.pad(value, widths) if any(widths) else value


def read_lists(named: dict[str, object]):
    """Samples of different sizes under their argument names, None where None is given; and the way back."""
    for name, x in named.items():
        if x is not None and not is_ragged(x):
            raise TypeError(f"{name} must be a list of samples too, got {type(x).__name__}")
    present = {name: x for name, x in named.items() if x is not None}
    joined = [sample for x in present.values() for sample in x]
    labels = [f"{name}[{i}]" for name, x in present.items() for i in range(len(x))]
    features, adjacency, back = read_samples(labels, joined)
    sides, start = [], 0
    for x in named.values():
        if x is None:
            sides.append(None)
            continue
        part = slice(start, start + len(x))
        sides.append(Positioned.read_ragged(features[part], None if adjacency is None else adjacency[part]))
        start = part.stop
    return sides, back
