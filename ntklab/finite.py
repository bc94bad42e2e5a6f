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

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ntklab._validate import choice, positive_int, real
from ntklab.builder import Builder, Units
from ntklab.layers.base import Layer
from ntklab.layers.graph import Aggregate, Graph
from ntklab.padding import pack, unpack
from ntklab.scaled import Scaled, ScaledLinear

__all__ = ["FiniteNetwork", "ScaledLinear", "finite"]

PARAMETERIZATIONS = ("ntk", "standard", "mean_field", "mup")
OPTIMIZERS = ("sgd", "adam")


class FiniteNetwork(nn.Module):
    """An architecture at finite width: n samples to (n, outputs).

    Samples are (n, *input_shape), or a list of graphs or of sequences of different lengths; a network that ends
    at the nodes of graphs gives (n, nodes, outputs), nodes padded at the front.

    arch, width, parameterization: what it was made from.
    """

    def __init__(
        self, arch: Layer, body: nn.Module, width: tuple[int, ...], parameterization: str, inputs: Units
    ):
        super().__init__()
        self.arch, self.width, self.parameterization = arch, width, parameterization
        self.input_shape, self.kind = inputs.shape, inputs.kind
        self.body = body

    @property
    def ragged(self) -> bool:
        """Does it take lists of samples of different sizes?"""
        return self.kind == "graphs" or None in self.input_shape

    def forward(self, x: Tensor | list) -> Tensor:
        if isinstance(x, (list, tuple)):
            x = torch.as_tensor(self.packed(x)).to(next(self.parameters()))
        if self.ragged:
            h, positions = unpack(x, self.kind, self.input_shape[-1])
            return self.body(h, positions)
        if x.shape[1:] != self.input_shape:
            raise ValueError(
                f"x must have shape (n, {', '.join(map(str, self.input_shape))}), got {tuple(x.shape)}"
            )
        return self.body(x)

    def packed(self, *lists):
        """Lists of samples, or None, as arrays of one size (see `ntklab.padding`); one for one.

        Raises:
            TypeError, ValueError: a network of one fixed shape, samples of another kind or with other features.
        """
        if not self.ragged:
            raise TypeError(
                f"x must be a tensor of shape (n, {', '.join(map(str, self.input_shape))}), got a list; "
                "lists are for graphs, and for sequences where input_shape is (None, d)"
            )
        kinds = {True: "Graph", False: "arrays"}
        for sample in (sample for samples in lists if samples is not None for sample in samples):
            graph, shape = isinstance(sample, Graph), tuple(np.shape(getattr(sample, "features", sample)))
            if graph is not (self.kind == "graphs") or shape[-1:] != self.input_shape[-1:]:
                raise ValueError(
                    f"x must be a list of {kinds[self.kind == 'graphs']} with {self.input_shape[-1]} features, got "
                    f"{kinds[graph]} of shape {shape}"
                )
        return pack(*lists)

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
        layers = [module for module in self.modules() if isinstance(module, Scaled)]
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
    input_shape: one sample's shape: (784,), an image's (channels, height, width), a sequence's (length, d);
        (None, d) for sequences of different lengths, and for graphs.
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
    inputs = _inputs(arch, input_shape)
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
    body, units = arch.build(builder, inputs)
    if units.kind in ("images", "sequences"):
        raise ValueError(
            f"outputs still have positions, {units.kind} of shape {units.shape}: end with Flatten() or pooling, and Dense"
        )
    if builder.built != hidden + 1:
        raise ValueError(f"built {builder.built} weight layers of {hidden + 1}")
    return FiniteNetwork(arch, body, tuple(widths), parameterization, inputs)


def _inputs(arch: Layer, input_shape) -> Units:
    """One sample's units; an architecture with `Aggregate` takes graphs."""
    shape = (input_shape,) if isinstance(input_shape, int) else tuple(input_shape)
    graphs = any(isinstance(layer, Aggregate) for layer in arch.walk())
    if not 1 <= len(shape) <= 3:
        raise ValueError(
            "input_shape must name one sample's shape, (d,), (channels, height, width), (length, d) or (None, d), "
            f"got {shape}"
        )
    free = len(shape) == 2 and shape[0] is None
    sizes = tuple(positive_int("input_shape", size) for size in (shape[1:] if free else shape))
    if graphs:
        if len(shape) == 3:
            raise ValueError(f"input_shape of graphs must be (None, d), got {shape}")
        return Units((None, sizes[-1]), "graphs")
    if free:
        return Units((None, *sizes), "sequences")
    return Units(sizes, {1: "vectors", 2: "sequences", 3: "images"}[len(sizes)])


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
