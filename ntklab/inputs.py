"""From arrays of inputs to the state that enters the first layer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ntklab.layers.state import Need, State

#: Correlations this close to 1 or -1 are computed again from the distance of the two unit vectors.
NEARLY_PARALLEL = {torch.float64: 1e-10, torch.float32: 1e-4}
REFINE_ELEMENTS = 2**22


@dataclass(frozen=True)
class Vectors:
    """n inputs of d features as unit vectors and sizes: K(x, x') = x . x' / d.

    unit (n, d), a zero row for the zero input;  std (n,) = |x| / sqrt(d);  mean (n,) over the features.
    """

    unit: Tensor
    std: Tensor
    mean: Tensor

    @classmethod
    def read(cls, name: str, x: Tensor | None) -> Vectors:
        """Split (n, d) into directions and sizes, safe for norms whose squares leave the dtype's range.

        Raises:
            TypeError, ValueError: x is None, or has another number of axes.
        """
        if x is None:
            raise TypeError(f"{name} must be an array of shape (n, d), got None")
        if x.ndim != 2:
            raise ValueError(
                f"{name} must have shape (n, d), (n, channels, height, width) or (n, length, d), got {tuple(x.shape)}"
            )
        largest = x.detach().abs().amax(1, keepdim=True)
        scaled = x / torch.where(largest > 0, largest, 1.0)
        norm = torch.linalg.vector_norm(scaled, dim=1, keepdim=True)
        unit = scaled / torch.where(norm > 0, norm, 1.0)
        largest = largest[:, 0]
        return cls(unit, norm[:, 0] / math.sqrt(x.shape[1]) * largest, scaled.mean(1) * largest)

    def __len__(self) -> int:
        return len(self.unit)

    kind = "vectors"

    def pairs(self, other: Vectors, rows: slice, columns: slice, need: Need) -> State:
        """State of the pairs rows x columns; other may be self."""
        a, b = self.unit[rows], other.unit[columns]
        rho = (a @ b.T).clamp(-1, 1)
        if other is self and rows == columns:
            rho = _refine(rho.fill_diagonal_(0) if not rho.requires_grad else _without_diagonal(rho), a, b)
            rho = rho + torch.diag((self.std[rows] > 0).to(rho.dtype))
        else:
            rho = _refine(rho, a, b)
        return State(
            rho=rho,
            tau=torch.zeros((), dtype=rho.dtype, device=rho.device),
            std1=self.std[rows, None],
            std2=other.std[None, columns],
            mean1=self.mean[rows, None],
            mean2=other.mean[None, columns],
        )

    def same(self, rows: slice, need: Need) -> State:
        """State of the pairs (x, x)."""
        std, mean = self.std[rows], self.mean[rows]
        rho = (std > 0).to(std.dtype)
        tau = torch.zeros((), dtype=rho.dtype, device=rho.device)
        return State(rho=rho, tau=tau, std1=std, std2=std, mean1=mean, mean2=mean, same=True)

    def pair_bytes(self, other: Vectors, need: Need) -> int:
        """Memory of rho for one pair."""
        return self.unit.element_size()

    def places(self, rows: slice, nodes: bool) -> slice:
        """Rows of the result that these samples fill."""
        return rows

    def count(self, nodes: bool) -> int:
        """How many rows the result has."""
        return len(self)


def _without_diagonal(rho: Tensor) -> Tensor:
    return rho - torch.diag(rho.diagonal())


def _refine(rho: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Replace correlations near 1 and -1 by 1 - |u - v|^2 / 2, exact for equal and parallel inputs."""
    edge = 1 - NEARLY_PARALLEL[rho.dtype]
    low, high = torch.aminmax(rho.detach())
    if -float(low) <= edge and float(high) <= edge:
        return rho
    i, j = torch.nonzero(rho.detach().abs() > edge, as_tuple=True)
    exact = []
    for part in torch.arange(len(i), device=rho.device).split(max(1, REFINE_ELEMENTS // a.shape[1])):
        sign = rho.detach()[i[part], j[part]].sign()
        gap = a[i[part]] - sign[:, None] * b[j[part]]
        exact.append(sign * (1 - gap.square().sum(1) / 2))
    return rho.index_put((i, j), torch.cat(exact))
