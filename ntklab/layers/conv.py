"""Convolutions in one and two dimensions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ntklab._validate import choice, positive_int, real
from ntklab.layers.base import Layer
from ntklab.layers.dense import affine
from ntklab.layers.positions import (
    along,
    flat,
    gather,
    lift,
    padded_as_one,
    require_positions,
    root,
    scales,
    spread,
)
from ntklab.layers.state import Layout, State, ratio, snap

PADDINGS = ("same", "valid", "circular")


@dataclass(frozen=True)
class Conv(Layer):
    """Convolution, z_p = sigma_w / sqrt(c |k|) sum_i W_i h_(s p + i) + sigma_b b, entries of W, b ~ N(0, 1).

    kernel_size: odd for "same" and "circular"; an int takes its dimension from the input, images (n, c, h, w)
        or sequences (n, length, d); a tuple fixes it.
    padding: "same" (zeros, half a kernel on both sides), "valid" or "circular".
    stride: the same in all directions; output sizes as in torch.

    Infinite width (Arora et al. 2019, "On Exact Computation with an Infinitely Wide Neural Net", section 4;
    Garriga-Alonso, Rasmussen & Aitchison 2019): with A the mean over matching places of two patches,

        K'     = sigma_w^2 A(K) + sigma_b^2          A(K)(p, p') = sum_i K(s p + i, s p' + i) / |k|
        Theta' = K' + sigma_w^2 A(Theta)             (without K' where frozen)

    Only pairs of equal offset meet, so matching positions suffice unless a later layer mixes positions.
    """

    kernel_size: int | tuple[int, ...]
    sigma_w: float = 1.0
    sigma_b: float = 0.0
    padding: str = "same"
    stride: int = 1
    trainable: bool = True
    mixes = True

    def __post_init__(self):
        size = self.kernel_size
        if isinstance(size, (tuple, list)):
            if len(size) not in (1, 2):
                raise ValueError(f"kernel_size must have 1 or 2 entries, got {size!r}")
            size = tuple(positive_int(f"kernel_size[{i}]", part) for i, part in enumerate(size))
        else:
            size = positive_int("kernel_size", size)
        object.__setattr__(self, "kernel_size", size)
        object.__setattr__(self, "sigma_w", real("sigma_w", self.sigma_w, minimum=0))
        object.__setattr__(self, "sigma_b", real("sigma_b", self.sigma_b, minimum=0))
        object.__setattr__(self, "stride", positive_int("stride", self.stride))
        choice("padding", self.padding, PADDINGS)
        if not isinstance(self.trainable, bool):
            raise TypeError(f"trainable must be True or False, got {self.trainable!r}")
        if self.padding != "valid" and any(
            part % 2 == 0 for part in (size if isinstance(size, tuple) else (size,))
        ):
            raise ValueError(f"padding {self.padding!r} wants an odd kernel_size, got {self.kernel_size}")

    def propagate(self, state: State) -> State:
        require_positions(state, "Conv", ("images", "sequences"))
        return affine(self._patches(state), self.sigma_w, self.sigma_b, self.trainable)

    def size(self, grid: tuple[int, ...]) -> tuple[int, ...]:
        """The kernel's size along each position axis of samples of these sizes.

        Raises:
            ValueError: the kernel has another dimension, or does not fit.
        """
        size = self.kernel_size
        if isinstance(size, int):
            size = (size,) * len(grid)
        if len(size) != len(grid):
            raise ValueError(
                f"kernel_size {size} is {len(size)}-dimensional, got inputs of {len(grid)} position axes"
            )
        room = {"same": [g + k - 1 for g, k in zip(grid, size, strict=True)], "valid": grid}.get(self.padding)
        if room and any(k > g for k, g in zip(size, room, strict=True)):
            raise ValueError(f"a kernel of size {size} does not fit into inputs of size {tuple(grid)}")
        if self.padding == "circular" and any(k // 2 > g for k, g in zip(size, grid, strict=True)):
            raise ValueError(
                f"a circular kernel of size {size} wraps more than once around inputs of {tuple(grid)}"
            )
        return size

    def _patches(self, state: State) -> State:
        """Units averaged over patches, as if each offset had units of its own."""
        layout = state.layout
        _check_lengths(state, self)
        top1, part1, top2, part2 = scales(state)
        size = self.size(gather(part1, layout).shape[-layout.axes :])
        self.size(gather(part2, layout).shape[-layout.axes :])
        own1 = self._own(part1, layout, size)
        own2 = own1 if part2 is part1 else self._own(part2, layout, size)
        both = part1 * part2
        share = spread(ratio(torch.ones_like(own1), own1), layout, 1) * spread(
            ratio(torch.ones_like(own2), own2), layout, 2
        )
        rho = snap(self._sum(state.rho * both, layout, size).mul_(share))
        tau = state.tau
        if tau.dim():
            tau = self._sum(tau * both, layout, size).mul_(share)
        area = math.prod(size)
        own1 = padded_as_one(own1 * lift(top1 / area**0.5, layout.axes), state.side1)
        std1 = spread(own1, layout, 1)
        if part2 is part1 and not layout.pairs:
            std2 = std1
        else:
            own2 = padded_as_one(own2 * lift(top2 / area**0.5, layout.axes), state.side2)
            std2 = spread(own2, layout, 2)
        return state.to(rho=rho, tau=tau, std1=std1, std2=std2, mean1=None, mean2=None)

    def _own(self, part: Tensor, layout: Layout, size: tuple[int, ...]) -> Tensor:
        """Root of the sum of squares over each patch, (..., *grid)."""
        return root(self._sum(gather(part, layout).square(), flat(layout), size))

    def _sum(self, values: Tensor, layout: Layout, size: tuple[int, ...]) -> Tensor:
        """Sums over patches, separable: along the diagonal of one pair of position axes, then of the other."""

        def windows(v: Tensor, axes: tuple[int, ...], i: int) -> Tensor:
            return window_sum(v, axes, size[i], self.padding, self.stride)

        return along(values, layout, windows)

    def build(self, builder, units):
        return builder.conv(self, units)

    def weight_layers(self) -> int:
        return 1


def window_sum(values: Tensor, axes: tuple[int, ...], size: int, padding: str, stride: int = 1) -> Tensor:
    """Sums over windows of ``size`` entries that move along all ``axes`` together.

    Each offset is one addition of a shifted slice: no gathering, and no subtraction, so that nothing cancels.
    """
    half = size // 2
    if padding == "same":  # what lies outside is zero, so it is left out
        total = values.clone()
        for shift in range(1, half + 1):
            lengths = [values.shape[axis] - shift for axis in axes]
            if min(lengths) > 0:
                _cut(total, axes, shift, lengths).add_(_cut(values, axes, 0, lengths))
                _cut(total, axes, 0, lengths).add_(_cut(values, axes, shift, lengths))
        return total if stride == 1 else _cut(total, axes, 0, [values.shape[axis] for axis in axes], stride)
    if padding == "circular":
        for axis in axes:
            ends = values.narrow(axis, values.shape[axis] - half, half), values.narrow(axis, 0, half)
            values = torch.cat([ends[0], values, ends[1]], axis)
    lengths = [values.shape[axis] - size + 1 for axis in axes]
    total = _cut(values, axes, 0, lengths, stride).clone()
    for shift in range(1, size):
        total.add_(_cut(values, axes, shift, lengths, stride))
    return total


def _cut(values: Tensor, axes: tuple[int, ...], start: int, lengths: list[int], stride: int = 1) -> Tensor:
    index = [slice(None)] * values.dim()
    for axis, length in zip(axes, lengths, strict=True):
        index[axis] = slice(start, start + length, stride)
    return values[tuple(index)]


def _check_lengths(state: State, conv: Conv) -> None:
    """Sequences of different lengths have zeros where others go on, as "same" has beyond the ends."""
    ragged = any(side is not None and side.mask is not None for side in (state.side1, state.side2))
    if ragged and (conv.padding != "same" or conv.stride != 1):
        raise ValueError(f"sequences of different lengths want padding 'same' and stride 1, got {conv!r}")
