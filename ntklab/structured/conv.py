"""Convolutions in one and two dimensions: linear layers on patches, shared by all positions."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ntklab.structured.factors import outer
from ntklab.structured.linear import trained_inputs
from ntklab.structured.rule import Rule, joined


def _factors(module: nn.Module, calls: list[tuple[Tensor, Tensor]]) -> list:
    """h (n, channels, [height,] width), delta (n, k, out, [height,] width)."""
    delta = joined([d.flatten(3) for _, d in calls], 3).transpose(2, 3)
    patches = joined([_patches(module, h) for h, _ in calls], 2).transpose(1, 2)
    groups = zip(patches.chunk(module.groups, 2), delta.chunk(module.groups, 3), strict=True)
    return [outer(trained_inputs(module, h), d) for h, d in groups]


def _sequence_factors(module: nn.Module, calls: list[tuple[Tensor, Tensor]]) -> list:
    """The same with channels last where the kernel is one-dimensional: h (n, length, channels)."""
    if len(module.kernel_size) == 1:
        calls = [(h.transpose(1, 2), d.transpose(2, 3)) for h, d in calls]
    return _factors(module, calls)


def _patches(module: nn.Module, h: Tensor) -> Tensor:
    """(n, channels * kernel area, positions), channels first, padded as the module pads."""
    kernel, stride, dilation = module.kernel_size, module.stride, module.dilation
    sides = []
    for axis in reversed(range(len(kernel))):
        sides += _sides(module.padding, axis, dilation[axis] * (kernel[axis] - 1))
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    h = F.pad(h, sides, mode=mode)
    if len(kernel) == 1:
        h, kernel, stride, dilation = h.unsqueeze(2), (1, *kernel), (1, *stride), (1, *dilation)
    return F.unfold(h, kernel, dilation=dilation, stride=stride)


def _sides(padding, axis: int, reach: int) -> list[int]:
    if padding == "same":
        return [reach // 2, reach - reach // 2]
    return [0, 0] if padding == "valid" else [padding[axis]] * 2


conv = Rule(_factors)
scaled_conv = Rule(_sequence_factors)
