"""Samples of different sizes in one tensor, for finite networks.

A packed batch is (n, P, d + 1) for sequences and (n, P, d + 1 + P) for graphs: features, then 1 where the
position is there, then the adjacency.  Samples are padded with zeros at the front, so that the last step of
every sequence is the last of the batch.  Being one tensor, it goes through anything that takes a batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Positions:
    """mask (n, P), 1 at positions that are there, or None where all are; adjacency (n, N, N) or None."""

    mask: Tensor | None = None
    adjacency: Tensor | None = None


def pack(*sets):
    """Lists of graphs or of sequences (length_i, d), None where None is given, as arrays of one number of positions.

    numpy in gives numpy out.

    Raises:
        TypeError, ValueError: no lists of such samples.
    """
    from ntklab.samples import read_samples

    lists = [list(samples) for samples in sets if samples is not None]
    features, adjacency, back = read_samples("x", [sample for samples in lists for sample in samples])
    size = max(len(part) for part in features)
    rows = []
    for i, part in enumerate(features):
        columns = [part, part.new_ones(len(part), 1)]
        if adjacency is not None:
            columns.append(F.pad(adjacency[i], (size - len(part), 0)))
        rows.append(F.pad(torch.cat(columns, 1), (0, 0, size - len(part), 0)))
    parts = iter(torch.stack(rows).split([len(samples) for samples in lists]))
    packed = [None if samples is None else back(next(parts)) for samples in sets]
    return packed[0] if len(packed) == 1 else packed


def unpack(x: Tensor, kind: str, d: int) -> tuple[Tensor, Positions]:
    """Features (n, P, d) and positions; sequences (n, length, d) of one length may come unpacked."""
    if x.dim() == 3:
        size = x.shape[1]
        if kind == "sequences" and x.shape[2] == d:
            return x, Positions()
        if kind == "sequences" and x.shape[2] == d + 1:
            return x[..., :d], Positions(x[..., d])
        if kind == "graphs" and x.shape[2] == d + 1 + size:
            return x[..., :d], Positions(x[..., d], x[..., d + 1 :])
    wanted = "a list of Graph" if kind == "graphs" else "a list of arrays"
    raise ValueError(f"x must be {wanted} with {d} features, got a tensor of shape {tuple(x.shape)}")


class Chain(nn.Sequential):
    """Modules one after another; those that are ``positional`` are also told the positions."""

    positional = True

    def forward(self, h: Tensor, positions: Positions | None = None) -> Tensor:
        for module in self:
            h = module(h, positions) if getattr(module, "positional", False) else module(h)
        return h


class Zeroed(nn.Module):
    """Zeros at padded positions of sequences (n, length, channels)."""

    positional = True

    def forward(self, h: Tensor, positions: Positions | None = None) -> Tensor:
        return h if positions is None or positions.mask is None else h * positions.mask[..., None]
