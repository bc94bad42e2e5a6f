"""Per-sample parameter gradients kept in factored form, and inner products between them.

Shapes: n samples, q outputs (1 once merged for the average), T positions that share the weights,
d inputs and o outputs of the layer.  ``dot`` returns (n1, q, n2, q).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_TILE = 2**23  # entries of the largest temporary: 32 MiB in float32


@dataclass(frozen=True)
class Vector:
    """Gradients written out: g (n, q, p).  For parameters no larger than the activations."""

    g: Tensor

    def merged(self) -> Vector:
        """The q outputs strung into one vector, so that ``dot`` sums over them."""
        return Vector(self.g.flatten(1).unsqueeze(1))

    def numel(self) -> int:
        return self.g.numel()

    def dot(self, other: Vector) -> Tensor:
        return _gram(self.g, other.g)


@dataclass(frozen=True)
class Outer:
    """Gradients sum_t delta_t h_t^T of a matrix (o, d): h (n, T, d) and delta (n, q, T, o)."""

    h: Tensor
    delta: Tensor

    def merged(self) -> Outer:
        return type(self)(self.h, self.delta.transpose(1, 2).flatten(2).unsqueeze(1))

    def numel(self) -> int:
        return self.h.numel() + self.delta.numel()

    def dot(self, other: Outer) -> Tensor:
        """The cheaper order: (h.h')(delta.delta') over pairs of positions, or gradients block by block."""
        n1, q, positions1, o = self.delta.shape
        n2, _, positions2, _ = other.delta.shape
        d = self.h.shape[-1]
        by_positions = n1 * n2 * positions1 * positions2 * (d + q * q * o)
        by_blocks = q * o * d * (n1 * positions1 + n2 * positions2 + n1 * n2 * q)
        return self._dot_positions(other) if by_positions <= by_blocks else self._dot_blocks(other)

    def _dot_positions(self, other: Outer) -> Tensor:
        n1, q, positions1, _ = self.delta.shape
        n2, _, positions2, _ = other.delta.shape
        out = self.delta.new_empty(n1, q, n2, q)
        columns = min(n2, max(1, _TILE // (q * q * positions1 * positions2)))
        rows = max(1, _TILE // (q * q * positions1 * positions2 * columns))
        for i in range(0, n1, rows):
            for j in range(0, n2, columns):
                rows_i, rows_j = slice(i, i + rows), slice(j, j + columns)
                pairs = _gram(self.delta[rows_i].flatten(1, 2), other.delta[rows_j].flatten(1, 2))
                pairs = pairs.unflatten(3, (q, positions2)).unflatten(1, (q, positions1))
                inputs = self._input_gram(other, rows_i, rows_j)[:, None, :, :, None, :]
                out[rows_i, :, rows_j] = pairs.mul_(inputs).sum((2, 5))
        return out

    def _input_gram(self, other: Outer, rows1: slice, rows2: slice) -> Tensor:
        """<h_t, h'_s> for all pairs: (n1, T, n2, S)."""
        return _gram(self.h[rows1], other.h[rows2])

    def _dot_blocks(self, other: Outer) -> Tensor:
        """Never more than ``_TILE`` entries of the gradients at a time."""
        q, o = self.delta.shape[1], self.delta.shape[3]
        entries = (len(self.h) + len(other.h)) * q * self.h.shape[-1]
        step = max(1, _TILE // entries)
        return sum(
            self.gradients(slice(i, i + step)).dot(other.gradients(slice(i, i + step)))
            for i in range(0, o, step)
        )

    def gradients(self, block: slice = slice(None)) -> Vector:
        """Those rows of the gradients written out, (n, q, rows * d)."""
        n, q, positions, _ = self.delta.shape
        delta = self.delta[..., block].transpose(2, 3).reshape(n, -1, positions)
        product = delta * self.h if positions == 1 else torch.bmm(delta, self.h)
        return Vector(product.view(n, q, -1))


@dataclass(frozen=True)
class Indexed(Outer):
    """Gradients of a lookup table: h (n, T) are row indices, in place of one-hot rows."""

    def dot(self, other: Indexed) -> Tensor:
        return self._dot_positions(other)

    def _input_gram(self, other: Indexed, rows1: slice, rows2: slice) -> Tensor:
        return self.h[rows1][:, :, None, None] == other.h[rows2]


def outer(h: Tensor, delta: Tensor) -> Vector | Outer:
    """Gradients sum_t delta_t h_t^T, written out only where that is the smaller form."""
    factors = Outer(h, delta)
    written = delta.shape[0] * delta.shape[1] * delta.shape[3] * h.shape[2]
    return factors.gradients() if written <= factors.numel() else factors


def _gram(a: Tensor, b: Tensor) -> Tensor:
    """Inner products over the last axis: (n1, r, p), (n2, s, p) -> (n1, r, n2, s)."""
    flat = a.flatten(0, 1) @ b.flatten(0, 1).T
    return flat.view(a.shape[0], a.shape[1], b.shape[0], b.shape[1])
