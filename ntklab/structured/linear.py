"""Linear layers, W h + b: the gradient of W is sum_t delta_t h_t^T over the positions t that share it.

Source: Novak, Sohl-Dickstein and Schoenholz, "Fast finite width neural tangent kernel" (2022), section 3.3.
"""

from __future__ import annotations

from torch import Tensor, nn

from ntklab.structured.factors import outer
from ntklab.structured.rule import Rule, joined, trains


def trained_inputs(module: nn.Module, h: Tensor) -> Tensor:
    """What multiplies the trainable parameters: h (n, T, d), and 1 for the bias, each with its scale.

    Scales as in ``ntklab.finite.ScaledLinear``; a bias is the weight of a constant input.
    """
    columns = []
    if trains(module, "weight"):
        scale = getattr(module, "weight_scale", 1.0)
        columns.append(h if scale == 1 else scale * h)
    if trains(module, "bias"):
        columns.append(h.new_full((*h.shape[:2], 1), getattr(module, "bias_scale", 1.0)))
    return joined(columns, 2)


def _factors(module: nn.Module, calls: list[tuple[Tensor, Tensor]]) -> list:
    """h (n, ..., in), delta (n, k, ..., out)."""
    h = joined([h.reshape(len(h), -1, h.shape[-1]) for h, _ in calls], 1)
    delta = joined([d.reshape(*d.shape[:2], -1, d.shape[-1]) for _, d in calls], 2)
    return [outer(trained_inputs(module, h), delta)]


linear = Rule(_factors)
