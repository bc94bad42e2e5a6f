"""Networks of finite width from the same architecture, in four parameterisations.

With m the width, d the input's features and all of W, b ~ N(0, 1) at the start:

    parameterisation  input layer        inner layers       readout            SGD rates
    ntk               s_w/sqrt(d)        s_w/sqrt(m)        s_w/sqrt(m)        1
    standard          1, W ~ N(0, s_w^2/fan_in), b ~ N(0, s_b^2)               1/m
    mean_field        s_w/sqrt(d)        (one hidden layer) s_w/m              m (readout bias 1)
    mup               s_w/sqrt(d)        s_w/sqrt(m)        s_w/m              m (readout bias 1)

muP is written with unit normal weights here; it is the abc-parameterisation of Yang & Hu (2021, Table 1)
up to its rescaling symmetry, and with one hidden layer it is the mean-field parameterisation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ntklab._validate import choice, positive_int, real
from ntklab.layers.base import Layer

PARAMETERIZATIONS = ("ntk", "standard", "mean_field", "mup")
OPTIMIZERS = ("sgd", "adam")
_BLOCK = 2**22


class ScaledLinear(nn.Module):
    """weight_scale * W h + bias_scale * b, on the last axis of h.

    weight (out, in) and bias (out,) or None are ordinary parameters; the scales are plain numbers.
    role: "input", "hidden" or "readout", the place in the network that its learning rate depends on.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, weight_scale: float, bias_scale: float, role: str
    ):
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = None if bias is None else nn.Parameter(bias)
        self.weight_scale, self.bias_scale, self.role = weight_scale, bias_scale, role

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

    def extra_repr(self) -> str:
        out, fan_in = self.weight.shape
        return f"{fan_in} -> {out}, weight_scale={self.weight_scale:.4g}, bias_scale={self.bias_scale:.4g}"


@dataclass(frozen=True)
class Units:
    """One sample's activations: shape without the batch, and whether the last axis is a width of ours."""

    shape: tuple[int, ...]
    wide: bool = False


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
        if len(units.shape) > 1:
            flat = (math.prod(units.shape),)
            raise ValueError(f"Dense takes vectors, got units of shape {units.shape}: flatten them to {flat}")
        readout = self.built == len(self.widths)
        width = self.outputs if readout else self.widths[self.built]
        self.built += 1
        role = "readout" if readout else "hidden" if units.wide else "input"
        fan_in = units.shape[-1]
        weight = self.normal(width, fan_in)
        bias = self.normal(width) if layer.sigma_b else None
        weight_scale, bias_scale = layer.sigma_w / math.sqrt(fan_in), layer.sigma_b
        if self.parameterization == "standard":
            weight *= weight_scale
            if bias is not None:
                bias *= bias_scale
            weight_scale = bias_scale = 1.0
        elif self.parameterization != "ntk" and role == "readout":
            weight_scale = layer.sigma_w / fan_in
        module = ScaledLinear(weight, bias, weight_scale, bias_scale, role)
        module.requires_grad_(layer.trainable)
        return module, Units((*units.shape[:-1], width), wide=True)

    def normal(self, *shape: int) -> Tensor:
        """Standard normals: the same numbers in every dtype."""
        flat = torch.empty(math.prod(shape), dtype=self.dtype)
        for block in flat.split(_BLOCK):
            block.copy_(torch.randn(len(block), generator=self.generator, dtype=torch.float64))
        return flat.reshape(shape)


class FiniteNetwork(nn.Module):
    """An architecture at finite width: (n, *input_shape) to (n, outputs).

    arch, width, parameterization: what it was made from.
    """

    def __init__(
        self, arch: Layer, body: nn.Module, width: tuple[int, ...], parameterization: str, input_shape
    ):
        super().__init__()
        self.arch, self.width, self.parameterization = arch, width, parameterization
        self.input_shape = tuple(input_shape)
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1:] != self.input_shape:
            raise ValueError(
                f"x must have shape (n, {', '.join(map(str, self.input_shape))}), got {tuple(x.shape)}"
            )
        return self.body(x)

    def extra_repr(self) -> str:
        return f"parameterization={self.parameterization!r}, width={self.width}"

    def parameter_groups(self, learning_rate: float, optimizer: str = "sgd") -> list[dict]:
        """Parameter groups for a torch optimizer, with the rates this parameterisation needs.

        learning_rate: the rate at width 1; every group's is this times a power of the width, such
            that outputs move by an amount that tends to a finite, non-zero limit as the width grows.
        optimizer: "sgd" (with or without momentum) or "adam".
        """
        learning_rate = real("learning_rate", learning_rate, minimum=0, strict=True)
        choice("optimizer", optimizer, OPTIMIZERS)
        layers = [module for module in self.modules() if isinstance(module, ScaledLinear)]
        width = layers[-1].weight.shape[1] if len(layers) > 1 else 1
        groups: dict[float, list] = {}
        for layer in layers:
            for name, parameter in layer.named_parameters():
                if parameter.requires_grad:
                    factor = width ** _power(self.parameterization, optimizer, layer.role, name)
                    groups.setdefault(factor, []).append(parameter)
        return [{"params": group, "lr": learning_rate * factor} for factor, group in groups.items()]


def _power(parameterization: str, optimizer: str, role: str, name: str) -> float:
    """Exponent of the width in one parameter's learning rate.

    SGD: the gradient's own size sets it.  Adam moves every entry by about the rate, all in the
    direction that moves the output, so the exponent undoes how many entries add up.
    """
    if optimizer == "sgd":
        if parameterization in ("mean_field", "mup"):
            return 0.0 if (role, name) == ("readout", "bias") else 1.0
        return -1.0 if parameterization == "standard" else 0.0
    if name == "bias":
        return 0.0 if role == "readout" or parameterization in ("mean_field", "mup") else -0.5
    return _ADAM[parameterization][role]


_ADAM = {
    "ntk": {"input": -0.5, "hidden": -1.0, "readout": -0.5},
    "standard": {"input": -0.5, "hidden": -1.5, "readout": -1.0},
    "mean_field": {"input": 0.0, "readout": 0.0},
    "mup": {"input": 0.0, "hidden": -0.5, "readout": 0.0},
}


def finite(
    arch: Layer,
    width: int | Sequence[int],
    input_shape: Sequence[int] | int,
    outputs: int = 1,
    parameterization: str = "ntk",
    seed: int | None = None,
    dtype: torch.dtype | None = None,
) -> FiniteNetwork:
    """A network of finite width with ordinary torch parameters.

    width: hidden units, an int or one for each hidden weight layer; the last `Dense` has `outputs` units.
    input_shape: one sample's shape, such as (784,).
    parameterization: "ntk", "standard", "mean_field" (one hidden layer) or "mup"; see the module's table.
    seed: of a private generator: the same normals in every dtype and parameterisation.  None draws a
        fresh one.  The global generator is never touched.
    dtype: of the parameters, by default torch's.

    Raises:
        ValueError, TypeError: bad arguments, unequal widths at a residual sum, or a parameterisation
        that the architecture does not allow.
    """
    choice("parameterization", parameterization, PARAMETERIZATIONS)
    outputs = positive_int("outputs", outputs)
    shape = (input_shape,) if isinstance(input_shape, int) else tuple(input_shape)
    shape = tuple(positive_int("input_shape", size) for size in shape)
    if not shape:
        raise ValueError("input_shape must name one sample's shape, such as (784,), got ()")
    dtype = torch.get_default_dtype() if dtype is None else dtype
    if dtype not in (torch.float32, torch.float64):
        raise TypeError(f"dtype must be torch.float32 or torch.float64, got {dtype!r}")

    hidden = arch.weight_layers() - 1
    if hidden < 0:
        raise ValueError(f"a finite network needs at least one Dense layer, got {arch}")
    widths = _widths(width, hidden)
    if parameterization == "mean_field" and hidden != 1:
        raise ValueError(
            f"mean_field is defined for one hidden layer, got {hidden}; its extension to more is parameterization='mup'"
        )
    if parameterization == "mup" and hidden == 0:
        raise ValueError("mup needs at least one hidden layer, got none")

    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(_seed(seed))
    builder = Builder(widths, outputs, parameterization, generator, dtype)
    body, _units = arch.build(builder, Units(shape))
    if builder.built != hidden + 1:
        raise ValueError(f"built {builder.built} weight layers of {hidden + 1}")
    return FiniteNetwork(arch, body, tuple(widths), parameterization, shape)


def _widths(width, hidden: int) -> list[int]:
    if isinstance(width, Sequence) and not isinstance(width, str):
        widths = [positive_int(f"width[{i}]", size) for i, size in enumerate(width)]
        if len(widths) != hidden:
            raise ValueError(
                f"width must have one entry for each of the {hidden} hidden layers, got {len(widths)}"
            )
        return widths
    return [positive_int("width", width)] * hidden


def _seed(seed) -> int:
    if isinstance(seed, bool) or not hasattr(seed, "__index__"):
        raise TypeError(f"seed must be an integer or None, got {seed!r}")
    return int(seed)
