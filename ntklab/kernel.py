"""Kernels of infinitely wide networks, tile by tile.

A tile, the pairs of a few samples with a few others, goes through all layers while it stays in the cache;
the two Gram matrices are written once.  Without x2 only the tiles on and above the diagonal are computed.
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
from ntklab.layers.positions import matching
from ntklab.layers.sequential import Sequential
from ntklab.layers.state import Layout, Need, State
from ntklab.positioned import Positioned, read_lists
from ntklab.samples import is_ragged

TILE_BYTES = 2**20
TILE_BYTES_STEPS = 2**22  # of all pairs of time steps, which recurrent layers take row by row
TILE_BYTES_GPU = 2**28


class Kernels(NamedTuple):
    """The two kernels of an architecture."""

    nngp: np.ndarray | Tensor
    ntk: np.ndarray | Tensor


def kernel(arch: Layer, x1, x2=None) -> Kernels:
    """NNGP kernel and NTK of an architecture at infinite width; see `Layer.kernel`.

    Memory beyond the two results is a few tiles, unless gradients are recorded: autograd keeps
    every intermediate, about 10 arrays of the whole covariance a layer.
    """
    (first, second), back = _read(x1=x1, x2=x2)
    second = first if second is None else second
    need = _need(arch, first)
    own = _learn(arch, first, need)
    if second is not first:
        _learn(arch, second, need)
    if torch.is_grad_enabled() and (first.unit.requires_grad or second.unit.requires_grad):
        return Kernels(*map(back, _in_one_tile(arch, first, second, need)))

    _keep_freed_memory()
    results = None if own is None else [part.new_empty(len(first), len(second)) for part in own]
    tiles = list(_tiles(first, second, need))
    for rows, columns in tqdm(tiles, desc="kernel", unit="tile", delay=3, leave=False):
        same = second is first and rows == columns
        if same and own is not None and rows.stop - rows.start == 1:
            continue  # one sample with itself: known
        parts, nodes = _tile(arch, first, second, rows, columns, need)
        if results is None:
            results = [parts[0].new_empty(first.count(nodes), second.count(nodes)) for _ in parts]
        i, j = first.places(rows, nodes), second.places(columns, nodes)
        for out, part in zip(results, parts, strict=True):
            part = _mirror(part) if same else part
            _write(out, i, j, part)
            if second is first and not same:
                _write(out, j, i, part.T)
    if second is first and own is not None:  # tiles agree with it up to the rounding of an angle
        for out, part in zip(results, own, strict=True):
            places = first.places(slice(None), False)
            out.diagonal()[places] = part
    return Kernels(*map(back, results))


def diagonal(arch: Layer, x) -> Kernels:
    """Both kernels for the pairs (x, x) only, each (n,); see `Layer.diagonal`."""
    (first,), back = _read(x=x)
    need = _need(arch, first)
    nodes, results = False, [[], []]
    for rows in _chunks(first, need):
        state = _propagate(arch, first.same(rows, need))
        nodes = state.layout is Layout.NODE_PAIRS
        for parts, part in zip(results, _checked(state), strict=True):
            parts.append(matching(part, state.layout).reshape(-1)[first.entries(rows)] if nodes else part)
    places = first.places(slice(None), nodes)
    order = places if isinstance(places, slice) else places.argsort()
    return Kernels(*(back(torch.cat(parts)[order]) for parts in results))


def _keep_freed_memory() -> None:
    """Let the allocator reuse the blocks of one operation for the next.

    glibc returns blocks above a threshold to the system at once, and getting fresh pages costs more than the
    arithmetic of a tile.  Freeing one untouched block just below 32 MiB raises that threshold.
    """
    torch.empty(2**25 - 2**16, dtype=torch.uint8)


def _write(out: Tensor, rows: slice | Tensor, columns: slice | Tensor, part: Tensor) -> None:
    if not isinstance(rows, slice) and not isinstance(columns, slice):
        rows = rows[:, None]
    out[rows, columns] = part


def _read(**named):
    """Inputs, None where None is given, and the function that turns results back into the caller's arrays."""
    if not any(map(is_ragged, named.values())):
        values, back = tensors(**named)
        sides = [
            None if x is None and name == "x2" else _array(name, x)
            for name, x in zip(named, values, strict=True)
        ]
    else:
        sides, back = read_lists(named)
    present = [side for side in sides if side is not None]
    kinds = [side.kind for side in present]
    if len(set(kinds)) > 1:
        raise ValueError(f"x1 and x2 must be of one kind, got {kinds[0]} and {kinds[1]}")
    features = [side.unit.shape[1] for side in present]
    if len(set(features)) > 1:
        raise ValueError(f"x1 and x2 must have equally many features, got {features[0]} and {features[1]}")
    return sides, back


def _array(name: str, x: Tensor | None) -> Vectors | Positioned:
    return Vectors.read(name, x) if x is None or x.dim() not in (3, 4) else Positioned.read(x)


def _need(arch: Layer, x: Vectors | Positioned) -> Need:
    return Need.NOTHING if x.kind == "vectors" else max(arch.needs(Need.NOTHING), Need.MATCHING)


def _learn(arch: Layer, x: Vectors | Positioned, need: Need) -> list[Tensor] | None:
    """Let layers that mix positions learn about each sample alone; both kernels (n,) of the pairs (x, x)."""
    if not x.kind == "graphs" and need is not Need.PAIRS:
        return None
    memories, results = [], [[], []]
    for rows in _chunks(x, need):
        start = x.same(rows, need)
        end = _propagate(arch, start)
        memories.append(start.side1.memory)
        if end.layout is Layout.VECTOR:
            for parts, part in zip(results, _checked(end), strict=True):
                parts.append(part)
    x.remember(memories)
    return [torch.cat(parts) for parts in results] if results[0] else None


def _chunks(x: Vectors | Positioned, need: Need):
    """Runs of samples whose pairs (x, x) fill a tile."""
    step = max(1, _tile_bytes(x, need) // x.pair_bytes(x, need))
    for start in range(0, len(x), step):
        yield slice(start, min(start + step, len(x)))


def _tiles(first: Vectors | Positioned, second: Vectors | Positioned, need: Need):
    """Row and column slices; only those on and above the diagonal where the two sets are one."""
    side = max(1, int((_tile_bytes(first, need) / first.pair_bytes(second, need)) ** 0.5))
    for r in range(0, len(first), side):
        for c in range(r if second is first else 0, len(second), side):
            yield slice(r, min(r + side, len(first))), slice(c, min(c + side, len(second)))


def _tile_bytes(x: Vectors | Positioned, need: Need) -> int:
    if x.unit.device.type != "cpu":
        return TILE_BYTES_GPU
    return TILE_BYTES_STEPS if x.kind == "sequences" and need is Need.PAIRS else TILE_BYTES


def _tile(arch: Layer, first, second, rows: slice, columns: slice, need: Need) -> tuple[list[Tensor], bool]:
    """Both kernels of a tile, a row for each sample or node; and whether rows are nodes."""
    state = _propagate(arch, first.pairs(second, rows, columns, need))
    parts = _checked(state)
    if state.layout is Layout.VECTOR:
        return list(parts), False
    here, there = first.entries(rows), second.entries(columns)
    flat = [part.transpose(1, 2).flatten(2).flatten(0, 1) for part in parts]
    return [part[here][:, there] for part in flat], True


def _in_one_tile(arch: Layer, first, second, need: Need) -> list[Tensor]:
    """The same out of place, for autograd."""
    parts, nodes = _tile(arch, first, second, slice(0, len(first)), slice(0, len(second)), need)
    i, j = (x.places(slice(None), nodes) for x in (first, second))
    i, j = (place if isinstance(place, slice) else place.argsort() for place in (i, j))
    return [(_mirror(part) if second is first else part)[i][:, j] for part in parts]


def _propagate(arch: Layer, state: State) -> State:
    """The state behind the last layer: of vectors, or of the nodes of graphs."""
    end = (arch if isinstance(arch, Sequential) else Sequential(arch)).propagate(state)
    if end.layout.kind in ("images", "sequences"):
        raise ValueError(
            f"outputs still have positions ({end.layout.kind}): end with Flatten() or a pooling layer, "
            "for sequences also with Recurrent, and Dense"
        )
    return end


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
