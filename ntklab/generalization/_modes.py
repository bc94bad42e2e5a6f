"""Checks that filters and learning curves share: a vector of eigenvalues, and numbers or vectors beside it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ntklab._validate import tensors


def mode_vector(name: str, values: Tensor) -> Tensor:
    """Eigenvalues (M,) in float64, none of them negative; what rounding made negative is 0.

    Raises:
        ValueError: another shape, or an entry that is negative beyond rounding.
    """
    if values.ndim != 1:
        raise ValueError(f"{name} must have shape (M,), got {tuple(values.shape)}")
    rounding = 64 * torch.finfo(values.dtype).eps * values.abs().max().item()
    values = values.detach().to(torch.float64)
    if values.min() < -rounding:
        raise ValueError(f"{name} must not be negative, got {values.min().item():g}")
    return values.clamp(min=0.0)


def settings(*, positive: tuple[str, ...] = (), **named) -> tuple[list[Tensor], tuple[int, ...]]:
    """Numbers or vectors (T,), broadcast against each other, in float64, and their common shape, () or (T,).

    Raises:
        ValueError, TypeError: NaN, infinite or negative entries (zero too for those in ``positive``), more than
            one axis, or lengths that differ.
    """
    values, _ = tensors(**{name: np.asarray(v) if np.isscalar(v) else v for name, v in named.items()})
    for name, value in zip(named, values, strict=True):
        if value.ndim > 1:
            raise ValueError(f"{name} must be a number or a vector (T,), got shape {tuple(value.shape)}")
        if (value < 0).any() or (name in positive and (value == 0).any()):
            bound = "above 0" if name in positive else "at least 0"
            raise ValueError(f"{name} must be {bound}, got {value.min().item():g}")
    lengths = {name: len(v) for name, v in zip(named, values, strict=True) if v.ndim}
    if len(set(lengths.values()) - {1}) > 1:
        raise ValueError(f"vectors must have equal lengths, got {lengths}")
    shape = torch.broadcast_shapes(*(tuple(v.shape) for v in values))
    return [v.detach().to(torch.float64).expand(shape).reshape(-1) for v in values], shape
