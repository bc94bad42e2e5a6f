"""The abc family of parameterisations, and which infinite-width limit each member has.

With n the width, layer l = 1 .. L+1 computes with W_l = n^-a_l w_l, starts at w_l ~ N(0, n^-2b_l), and is
trained by gradient descent with the rate eta n^-c_l.  The named members (Yang & Hu 2021, table 1):

    member              a_1    a_2 .. a_L    a_L+1     b_1    b_2 .. b_L+1     c      r     limit
    standard, c = 1     0      0             0         0      1/2              1      1/2   kernel
    ntk                 0      1/2           1/2       0      0                0      1/2   kernel
    mean_field, L = 1   0                    1         0      0               -1      0     feature learning
    mup                -1/2    0             1/2       1/2    1/2              0      0     feature learning

(With one hidden layer ``standard`` has r = 3/2.)  Adding theta to a_l, -theta to b_l and -2 theta to c_l
changes no function in training (their equation 5).  The four parameterisations of ``arch.finite`` are
these members, muP in the form shifted by 1/2.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ntklab._validate import choice, positive_int, real
from ntklab.builder import Units
from ntklab.finite import FiniteNetwork, ScaledLinear
from ntklab.layers.base import Layer

_EXACT = 1e-9  # exponents this close count as equal


@dataclass(frozen=True)
class ABC:
    """Exponents of the width n, one a layer: multiplier n^-a, initial size n^-b, learning rate n^-c.

    Args:
        a, b: L + 1 exponents each, from the input layer to the readout, for L >= 1 hidden layers.
        c: one exponent for all layers, as in the paper, or one for each.
        constants: where sigma_w (and 1/sqrt(d) of the first layer) goes, which the exponents leave open:
            "multiplier", or "weights", into the initial size of the weights as ``standard`` has it.

    Example: ``ABC((0, 0.5, 0.5 + s), (0, 0, 0), -2 * s)`` leads from ``ntk(2)`` at s = 0 to ``mup(2)``, in
    shifted form, at s = 1/2; r = 1/2 - s on the way, so all members but the last have a kernel limit.

    Source: Yang & Hu, "Tensor programs IV: feature learning in infinite-width neural networks" (ICML 2021),
    section 3; rates of single layers are the same family in other coordinates (their equation 5).
    """

    a: tuple[float, ...]
    b: tuple[float, ...]
    c: tuple[float, ...]
    constants: str = "multiplier"

    def __post_init__(self):
        a, b = _exponents("a", self.a), _exponents("b", self.b)
        c = self.c if _is_sequence(self.c) else (self.c,) * len(a)
        c = _exponents("c", c)
        if not len(a) == len(b) == len(c) or len(a) < 2:
            raise ValueError(
                f"a, b and c must have one exponent for each of at least 2 layers, got {len(a)}, {len(b)}, {len(c)}"
            )
        choice("constants", self.constants, ("multiplier", "weights"))
        for name, value in (("a", a), ("b", b), ("c", c)):
            object.__setattr__(self, name, value)

    @classmethod
    def standard(cls, depth: int, c: float = 1.0) -> ABC:
        """Variance 1/fan_in at the start, no multiplier.  depth: hidden layers; c = 0 is a fixed rate."""
        depth = positive_int("depth", depth)
        return cls((0.0,) * (depth + 1), (0.0,) + (0.5,) * depth, c, "weights")

    @classmethod
    def ntk(cls, depth: int) -> ABC:
        """The NTK parameterisation with ``depth`` hidden layers."""
        depth = positive_int("depth", depth)
        return cls((0.0,) + (0.5,) * depth, (0.0,) * (depth + 1), 0.0)

    @classmethod
    def mean_field(cls) -> ABC:
        """The mean-field parameterisation, which has one hidden layer; ``mup(1)`` is the same, shifted."""
        return cls((0.0, 1.0), (0.0, 0.0), -1.0)

    @classmethod
    def mup(cls, depth: int) -> ABC:
        """The maximal update parameterisation with ``depth`` hidden layers."""
        depth = positive_int("depth", depth)
        return cls((-0.5,) + (0.0,) * (depth - 1) + (0.5,), (0.5,) * (depth + 1), 0.0)

    @property
    def depth(self) -> int:
        """L, the number of hidden layers."""
        return len(self.a) - 1

    def shifted(self, theta: float | Sequence[float]) -> ABC:
        """(a + theta, b - theta, c - 2 theta): the same network, function and training at every width.

        theta: one number, or one for each layer (then c differs from layer to layer).
        """
        thetas = theta if _is_sequence(theta) else (theta,) * len(self.a)
        thetas = _exponents("theta", thetas)
        if len(thetas) != len(self.a):
            raise ValueError(f"theta must have one entry for each of {len(self.a)} layers, got {len(thetas)}")
        a, b, c = (
            tuple(v + k * t for v, t in zip(values, thetas, strict=True))
            for values, k in ((self.a, 1), (self.b, -1), (self.c, -2))
        )
        return ABC(a, b, c, self.constants)

    @property
    def layer_exponents(self) -> tuple[float, ...]:
        """r_1 .. r_L+1: the change of layer l's own weights moves what it computes by Theta(n^-r_l).

        0 means updated maximally (propositions 5.3 and 5.5), which all layers are in ``mup`` only.
        """
        readout = min(self.a[-1] + self.b[-1], 2 * self.a[-1] + self.c[-1])
        hidden = [readout + self.c[i] - 1 + 2 * self.a[i] + (i == 0) for i in range(self.depth)]
        return (*hidden, 2 * self.a[-1] + self.c[-1] - 1)

    @property
    def feature_exponents(self) -> tuple[float, ...]:
        """For each hidden layer e: post-activations change by Theta(n^-e), through its weights or those below."""
        return tuple(itertools.accumulate(self.layer_exponents[:-1], min))

    @property
    def r(self) -> float:
        """The last hidden layer's (definition 3.2): 0 where features are learnt, more in the kernel regime."""
        return self.feature_exponents[-1]

    @property
    def output_exponent(self) -> float:
        """e: outputs change by Theta(n^-e); 0 where training is neither trivial nor unstable."""
        return min(self.layer_exponents[-1], self.a[-1] + self.b[-1] + self.r - 1)

    @property
    def initial_output_exponent(self) -> float:
        """e: outputs start at Theta(n^-e), 0 for ``standard`` and ``ntk``, 1/2 for ``mean_field`` and ``mup``."""
        return self.a[-1] + self.b[-1] - 0.5

    def regime(self) -> str:
        """Which limit n -> infinity has at a fixed number of steps of gradient descent.

        "unstable": pre-activations or outputs explode, or pre-activations vanish from the start;
        "trivial": outputs do not change;
        "kernel": outputs follow kernel gradient descent, and features stay (r > 0);
        "feature learning": features move by O(1), and no kernel describes the outputs (r = 0).

        Source: Yang & Hu (2021), theorems 3.3 (unstable), 3.4 (trivial), 3.6 and 3.8, corollary 3.9 (the
        dynamical dichotomy); proved for tanh and a smoothed ReLU.
        """
        start = [self.a[0] + self.b[0]] + [self.a[i] + self.b[i] - 0.5 for i in range(1, self.depth)]
        if any(abs(e) > _EXACT for e in start):
            return "unstable"
        if min(self.initial_output_exponent, self.r, self.output_exponent) < -_EXACT:
            return "unstable"
        if self.output_exponent > _EXACT:
            return "trivial"
        return "kernel" if self.r > _EXACT else "feature learning"

    def finite(
        self,
        arch: Layer,
        width: int,
        input_shape,
        outputs: int = 1,
        seed: int | None = None,
        dtype: torch.dtype | None = None,
    ) -> ABCNetwork:
        """An architecture at width n in this parameterisation; arguments as in ``arch.finite``.

        The same seed starts from the same normals as ``arch.finite`` does.  Biases are weights of an
        input 1, with the exponents of the first layer; the readout's bias has a rate that lets it move
        by O(1) at most.

        Raises:
            ValueError: arch has another number of weight layers; and as ``arch.finite``.
        """
        width = positive_int("width", width)
        if not isinstance(arch, Layer):
            raise TypeError(f"arch must be an ntklab layer, got {type(arch).__name__}")
        if arch.weight_layers() != len(self.a):
            raise ValueError(
                f"arch must have {len(self.a)} weight layers for these exponents, got {arch.weight_layers()}"
            )
        return ABCNetwork(self, arch.finite(width, input_shape, outputs, "ntk", seed, dtype))


class ABCNetwork(FiniteNetwork):
    """What ``ABC.finite`` returns; ``abc`` are its exponents."""

    def __init__(self, abc: ABC, net: FiniteNetwork):
        super().__init__(net.arch, net.body, net.width, "abc", Units(net.input_shape, net.kind))
        self.abc = abc
        n = net.width[0]
        for i, layer in self._layers():
            _rescale(layer.weight, n, abc, i, layer, "weight_scale", fan_in=layer.role != "input")
            if layer.bias is not None:
                _rescale(layer.bias, n, abc, 0, layer, "bias_scale", fan_in=False)

    def parameter_groups(self, learning_rate: float, optimizer: str = "sgd") -> list[dict]:
        """Groups for torch.optim.SGD: the rate ``learning_rate`` n^-c of each layer."""
        learning_rate = real("learning_rate", learning_rate, minimum=0, strict=True)
        if choice("optimizer", optimizer, ("sgd", "adam")) == "adam":
            raise ValueError('the exponents c are those of gradient descent: optimizer must be "sgd"')
        a, c, n = self.abc.a, self.abc.c, self.width[0]
        groups: dict[float, list] = {}
        for i, layer in self._layers():
            if layer.weight.requires_grad:
                groups.setdefault(c[i], []).append(layer.weight)
            if layer.bias is not None and layer.bias.requires_grad:
                exponent = c[0] if layer.role != "readout" else max(c[0], -2 * a[0])
                groups.setdefault(exponent, []).append(layer.bias)
        return [{"params": group, "lr": learning_rate * n**-e} for e, group in groups.items()]

    def extra_repr(self) -> str:
        return f"{self.abc}, width={self.width}"

    def _layers(self) -> list[tuple[int, ScaledLinear]]:
        """Every weight layer with the index of its exponents; what reads the input counts as first."""
        layers = [module for module in self.modules() if isinstance(module, ScaledLinear)]
        return [(0 if layer.role == "input" else i, layer) for i, layer in enumerate(layers)]


def _rescale(parameter, n: int, abc: ABC, i: int, layer, scale: str, fan_in: bool) -> None:
    """From unit normals times sigma [/ sqrt(n)] to n^-a times normals of size n^-b, times sigma."""
    constant = getattr(layer, scale) * (n**0.5 if fan_in else 1.0)
    multiplier, size = n ** -abc.a[i], n ** -abc.b[i]
    if abc.constants == "weights":
        size *= constant
    else:
        multiplier *= constant
    with torch.no_grad():
        parameter.mul_(size)
    setattr(layer, scale, multiplier)


def _is_sequence(value) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _exponents(name: str, values) -> tuple[float, ...]:
    if not _is_sequence(values):
        raise TypeError(f"{name} must be a sequence of exponents, one for each layer, got {values!r}")
    return tuple(real(f"{name}[{i}]", value) for i, value in enumerate(values))
