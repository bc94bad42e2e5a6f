"""Lookup tables: two gradients meet only where the same row was looked up."""

from __future__ import annotations

from torch import Tensor, nn

from ntklab.structured.factors import Indexed
from ntklab.structured.rule import Rule, joined


def _factors(module: nn.Embedding, calls: list[tuple[Tensor, Tensor]]) -> list[Indexed]:
    """h (n, ...) row indices, delta (n, k, ..., features)."""
    index = joined([h.reshape(len(h), -1) for h, _ in calls], 1)
    delta = joined([d.reshape(*d.shape[:2], -1, d.shape[-1]) for _, d in calls], 2)
    if module.padding_idx is not None:
        delta = delta * (index != module.padding_idx)[:, None, :, None]
    return [Indexed(index, delta)]


def _limits(module: nn.Embedding) -> str | None:
    if module.max_norm is not None:
        return "max_norm changes the table during the forward pass"
    return "scale_grad_by_freq changes its gradient" if module.scale_grad_by_freq else None


embedding = Rule(_factors, _limits, parameters=("weight",))
