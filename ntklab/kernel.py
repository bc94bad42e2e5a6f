"""Kernels of infinitely wide networks, tile by tile.

A tile of a few hundred rows and columns goes through all layers while it stays in the cache; the
two Gram matrices are written once.  Without x2 only the tiles on and above the diagonal are computed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ntklab._validate import tensors
from ntklab.inputs import Vectors
from ntklab.layers.base import Layer
from ntklab.layers.sequential import Sequential
from ntklab.layers.state import State

TILE_BYTES = 2**20


class Kernels(NamedTuple):
    """The two kernels of an architecture."""

    nngp: np.ndarray | Tensor
    ntk: np.ndarray | Tensor


def kernel(arch: Layer, x1, x2=None) -> Kernels:
    """NNGP kernel and NTK of an architecture at infinite width; see `Layer.kernel`.

    Memory beyond the two results is a few tiles, unless gradients are recorded: autograd keeps
    every intermediate, about 10 arrays of (n1, n2) a layer.
    """
    (x1, x2), back = tensors(x1=x1, x2=x2)
    first = Vectors.read("x1", x1)
    second = first if x2 is None else Vectors.read("x2", x2)
    if first.unit.shape[1] != second.unit.shape[1]:
        raise ValueError(f"x1 and x2 must have equally many features, got {x1.shape[1]} and {x2.shape[1]}")
    recording = torch.is_grad_enabled() and (first.unit.requires_grad or second.unit.requires_grad)
    if recording:
        tile = _tile(arch, first, second, slice(0, len(first)), slice(0, len(second)))
        return Kernels(*(back(_mirror(part) if second is first else part) for part in tile))

    nngp = first.unit.new_empty(len(first), len(second))
    ntk = torch.empty_like(nngp)
    for rows, columns in tqdm(list(_tiles(first, second)), desc="kernel", unit="tile", delay=3, leave=False):
        parts = _tile(arch, first, second, rows, columns)
        for out, part in zip((nngp, ntk), parts, strict=True):
            if second is first and rows == columns:
                part = _mirror(part)
            out[rows, columns] = part
            if second is first and rows != columns:
                out[columns, rows] = part.T
    return Kernels(back(nngp), back(ntk))


def diagonal(arch: Layer, x) -> Kernels:
    """Both kernels for the pairs (x, x) only, each (n,); see `Layer.diagonal`."""
    (x,), back = tensors(x=x)
    state = _propagate(arch, Vectors.read("x", x).same())
    return Kernels(*map(back, _checked(state)))


def _tiles(first: Vectors, second: Vectors):
    """Row and column slices; only those on and above the diagonal where the two sets are one."""
    side = int((TILE_BYTES / first.unit.element_size()) ** 0.5)
    for r in range(0, len(first), side):
        for c in range(r if second is first else 0, len(second), side):
            yield slice(r, min(r + side, len(first))), slice(c, min(c + side, len(second)))


def _tile(arch: Layer, first: Vectors, second: Vectors, rows: slice, columns: slice) -> tuple[Tensor, Tensor]:
    return _checked(_propagate(arch, first.pairs(second, rows, columns)))


def _propagate(arch: Layer, state: State) -> State:
    return (arch if isinstance(arch, Sequential) else Sequential(arch)).propagate(state)


def _mirror(square: Tensor) -> Tensor:
    """The upper triangle on both sides: exactly symmetric."""
    upper = square.triu()
    return upper + upper.triu(1).T


def _checked(state: State) -> tuple[Tensor, Tensor]:
    """Both kernels of a state, refused where a value leaves the dtype's range."""
    scale = state.std1 * state.std2
    limits = torch.finfo(scale.dtype)
    tau = state.tau.expand_as(state.rho)
    top = scale.detach().amax() * torch.clamp(state.tau.detach().abs().amax(), min=1)
    if not float(top) <= limits.max:
        raise ValueError(
            f"a kernel value overflows {scale.dtype}: use smaller inputs, smaller sigma_w or float64"
        )
    if float(scale.detach().amin()) < limits.tiny:
        present = (state.std1.detach() > 0) & (state.std2.detach() > 0)
        if (present & (scale.detach() < limits.tiny)).any():
            raise ValueError(
                f"a kernel value underflows {scale.dtype}: use larger inputs, larger sigma_w or float64"
            )
    return state.rho * scale, tau * scale
