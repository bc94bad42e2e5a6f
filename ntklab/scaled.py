"""Torch modules with weights: plain parameters and fixed scales."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Scaled(nn.Module):
    """weight_scale * (linear map of h by weight) + bias_scale * bias.

    weight (out, in, ...) and bias (out,) or None are ordinary parameters; the scales are plain numbers.
    role: "input", "hidden" or "readout", the place in the network that its learning rate depends on.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, weight_scale: float, bias_scale: float, role: str
    ):
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = None if bias is None else nn.Parameter(bias)
        self.weight_scale, self.bias_scale, self.role = weight_scale, bias_scale, role

    def extra_repr(self) -> str:
        out, fan_in, *size = self.weight.shape
        kernel = f", kernel {tuple(size)}" if size else ""
        return f"{fan_in} -> {out}{kernel}, weight_scale={self.weight_scale:.4g}, bias_scale={self.bias_scale:.4g}"


class ScaledLinear(Scaled):
    """weight_scale * W h + bias_scale * b, on the last axis of h."""

    def forward(self, h: Tensor) -> Tensor:
        if h.shape[-1] != self.weight.shape[1]:
            raise ValueError(f"input must have {self.weight.shape[1]} features, got shape {tuple(h.shape)}")
        if h.dim() == 2:  # one operation for all: small networks train in half the time
            bias, bias_scale = (h.new_zeros(()), 0) if self.bias is None else (self.bias, self.bias_scale)
            return torch.addmm(bias, h, self.weight.T, beta=bias_scale, alpha=self.weight_scale)
        z = nn.functional.linear(h, self.weight)
        if self.weight_scale != 1:
            z = self.weight_scale * z
        return z if self.bias is None else torch.add(z, self.bias, alpha=self.bias_scale)


class ScaledConv(Scaled):
    """weight_scale * (W convolved with h) + bias_scale * b.

    h: images (n, channels, height, width), or with a one-dimensional kernel sequences (n, length, channels).
    """

    groups = 1

    def __init__(self, *parameters, padding: str, stride: int):
        super().__init__(*parameters)
        self.kernel_size = tuple(self.weight.shape[2:])
        self.stride = (stride,) * len(self.kernel_size)
        self.dilation = (1,) * len(self.kernel_size)
        self.padding = tuple(0 if padding == "valid" else size // 2 for size in self.kernel_size)
        self.padding_mode = "circular" if padding == "circular" else "zeros"

    def forward(self, h: Tensor) -> Tensor:
        one = len(self.kernel_size) == 1
        h = h.transpose(1, 2) if one else h
        convolve = nn.functional.conv1d if one else nn.functional.conv2d
        padding = self.padding
        if self.padding_mode == "circular":
            sides = [size for size in reversed(padding) for _ in range(2)]
            h, padding = nn.functional.pad(h, sides, mode="circular"), 0
        z = self.weight_scale * convolve(h, self.weight, stride=self.stride, padding=padding)
        if self.bias is not None:
            z = torch.add(z, self.bias.reshape(-1, *(1,) * len(self.kernel_size)), alpha=self.bias_scale)
        return z.transpose(1, 2) if one else z
