"""Linear layers, W h + b: the gradient of W is sum_t delta_t h_t^T over the positions t that share it.

Source: Novak, Sohl-Dickstein and Schoenholz, "Fast finite width neural tangent kernel" (2022), section 3.3.
"""

from __future__ import annotations

from torch import Tensor, nn

from ntklab.structured.factors import outer
from ntklab.structured.rule import Rule, affine, joined


def _factors(module: nn.Module, calls: list[tuple[Tensor, Tensor]]) -> list:
    """h (n, ..., in), delta (n, k, ..., out); scales as in ``ntklab.finite.ScaledLinear``."""
    h = joined([h.reshape(len(h), -1, h.shape[-1]) for h, _ in calls], 1)
    delta = joined([d.reshape(*d.shape[:2], -1, d.shape[-1]) for _, d in calls], 2)
    weight_scale, bias_scale = (getattr(module, name, 1.0) for name in ("weight_scale", "bias_scale"))
    return affine(
        module,
        weight=lambda: [outer(h if weight_scale == 1 else weight_scale * h, delta)],
        bias=lambda: bias_scale * delta.sum(2),
    )


linear = Rule(_factors)
