"""From layers to torch modules: widths, scales and random numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ntklab.padding import Chain, Zeroed
from ntklab.scaled import ScaledConv, ScaledLinear

_BLOCK = 2**22


@dataclass(frozen=True)
class Units:
    """One sample's activations.

    shape  vectors (d,), images (channels, height, width), sequences (length, d), graphs (None, d);
           length None where it differs between samples
    kind   "vectors", "images", "sequences" or "graphs"
    wide   are the units a width of ours, not the input's features?
    """

    shape: tuple[int | None, ...]
    kind: str = "vectors"
    wide: bool = False

    def to(self, **changes) -> Units:
        """A copy with some fields replaced."""
        return replace(self, **changes)


@dataclass
class Builder:
    """Hands out widths and random numbers while an architecture becomes modules."""

    widths: list[int]
    outputs: int
    parameterization: str
    generator: torch.Generator
    dtype: torch.dtype
    built: int = field(default=0, init=False)

    def linear(self, layer, units: Units) -> tuple[ScaledLinear, Units]:
        """The module of a `Dense` layer; the last one of the network is the readout."""
        if units.kind == "images":
            flat = (math.prod(units.shape),)
            raise ValueError(
                f"Dense takes vectors, got images of shape {units.shape}: Flatten() makes them {flat}, or pool them"
            )
        width, role = self.next_width(units)
        module = ScaledLinear(*self.parameters(layer, (width, units.shape[-1]), role), role)
        module.requires_grad_(layer.trainable)
        return module, units.to(shape=(*units.shape[:-1], width), wide=True)

    def conv(self, layer, units: Units) -> tuple[ScaledConv, Units]:
        """The module of a `Conv` layer."""
        if units.kind not in ("images", "sequences"):
            raise ValueError(
                f"Conv needs images (channels, height, width) or sequences (length, d), got {units.kind} of "
                f"shape {units.shape}"
            )
        images = units.kind == "images"
        grid, channels = (units.shape[1:], units.shape[0]) if images else (units.shape[:1], units.shape[1])
        ragged = None in grid
        if ragged and (layer.padding != "same" or layer.stride != 1):
            raise ValueError(
                f"sequences of different lengths want padding 'same' and stride 1, got {layer!r}"
            )
        given = layer.kernel_size
        room = given if isinstance(given, tuple) else (given,)  # zeros at the ends make room for any kernel
        size = layer.size(room if ragged and len(room) == 1 else (1,) if ragged else grid)
        width, role = self.next_width(units)
        parameters = self.parameters(layer, (width, channels, *size), role)
        module = ScaledConv(*parameters, role, padding=layer.padding, stride=layer.stride)
        module.requires_grad_(layer.trainable)
        if ragged:  # zeros of a module's own, so that the convolution sees what it is given
            module = Chain(Zeroed(), module)
        else:
            grid = tuple(
                (g + 2 * p - k) // layer.stride + 1
                for g, p, k in zip(grid, module.padding, size, strict=True)
            )
        return module, units.to(shape=(width, *grid) if images else (*grid, width), wide=True)

    def next_width(self, units: Units) -> tuple[int, str]:
        """How many units the next weight layer has, and its role."""
        readout = self.built == len(self.widths)
        width = self.outputs if readout else self.widths[self.built]
        self.built += 1
        return width, "readout" if readout else "hidden" if units.wide else "input"

    def parameters(
        self, layer, shape: tuple[int, ...], role: str
    ) -> tuple[Tensor, Tensor | None, float, float]:
        """weight, bias, weight_scale and bias_scale of a layer with sigma_w, sigma_b and a weight of this shape."""
        fan_in = math.prod(shape[1:])
        weight = self.normal(*shape)
        bias = self.normal(shape[0]) if layer.sigma_b else None
        weight_scale, bias_scale = layer.sigma_w / math.sqrt(fan_in), layer.sigma_b
        if self.parameterization == "standard":
            weight *= weight_scale
            if bias is not None:
                bias *= bias_scale
            weight_scale = bias_scale = 1.0
        elif self.parameterization != "ntk" and role == "readout":
            weight_scale = layer.sigma_w / fan_in
        return weight, bias, weight_scale, bias_scale

    def normal(self, *shape: int) -> Tensor:
        """Standard normals: the same numbers in every dtype."""
        flat = torch.empty(math.prod(shape), dtype=self.dtype)
        for block in flat.split(_BLOCK):
            block.copy_(torch.randn(len(block), generator=self.generator, dtype=torch.float64))
        return flat.reshape(shape)
