"""What passes from layer to layer at infinite width.

For units h_i of a layer and two inputs x, x' write

    K(x, x') = E h_i(x) h_i(x')      Theta(x, x') = E <d h_i(x)/d theta, d h_i(x')/d theta>

Both are kept relative to the standard deviations s(x) = sqrt(K(x, x)):

    rho = K / (s s')                 tau = Theta / (s s')

Scale then drops out of every bias-free layer: rho of parallel inputs is exactly 1 at any depth, and
norms from 1e-150 to 1e150 neither overflow nor underflow on the way.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum, IntEnum

import torch
from torch import Tensor


class Layout(Enum):
    """What a state's trailing axes are: the positions of an image, a sequence or a graph.

    Standard deviations and means always broadcast against ``rho``, so a layer that treats every
    position alike (activations, dense layers, normalisation) needs no knowledge of the layout.

    VECTOR       one value a pair of samples               rho (n1, n2)               std1 (n1, 1)
    PIXELS       matching pixels of two images             rho (n1, n2, H, W)         std1 (n1, 1, H, W)
    PIXEL_PAIRS  every pixel with every other              rho (n1, n2, H, H', W, W') std1 (n1, 1, H, 1, W, 1)
    STEPS        matching time steps of two sequences      rho (n1, n2, T)            std1 (n1, 1, T)
    STEP_PAIRS   every step with every other               rho (n1, n2, T, T')        std1 (n1, 1, T, 1)
    NODE_PAIRS   every node of one graph with every other  rho (n1, n2, N, N')        std1 (n1, 1, N, 1)

    Matching positions suffice as long as nothing mixes positions of one sample; pooling, attention and
    aggregation need all pairs.  Samples of different sizes are padded at the front, see `Side`.
    """

    VECTOR = ("vectors", 0, False)
    PIXELS = ("images", 2, False)
    PIXEL_PAIRS = ("images", 2, True)
    STEPS = ("sequences", 1, False)
    STEP_PAIRS = ("sequences", 1, True)
    NODE_PAIRS = ("graphs", 1, True)

    @property
    def kind(self) -> str:
        """What the samples are: vectors, images, sequences or graphs."""
        return self.value[0]

    @property
    def axes(self) -> int:
        """How many position axes one sample has."""
        return self.value[1]

    @property
    def pairs(self) -> bool:
        """All pairs of positions, or matching ones only?"""
        return self.value[2]


class Need(IntEnum):
    """How much of a covariance over positions the layers above use; decided by one backward pass."""

    NOTHING = 0
    MATCHING = 1
    PAIRS = 2


@dataclass(frozen=True)
class Side:
    """What one set of samples brings along besides its covariances.

    mask       bool (..., P): which positions are there; None where all samples have one size
    adjacency  (..., N, N) of graphs, zero at padded nodes
    memory     what layers that mix positions know of each sample alone, such as standard deviations
               after pooling: filled by a first pass over the pairs (x, x), by place in the architecture
    """

    mask: Tensor | None = None
    adjacency: Tensor | None = None
    memory: dict[tuple, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class State:
    """Covariances of one layer's units between two sets of inputs.

    rho       correlation K / (s s'), in [-1, 1]; 0 where a standard deviation is 0
    tau       Theta / (s s'); a 0-d zero until the first trainable layer
    std1      s of the first set, broadcastable to rho on axis 0
    std2      s of the second set, broadcastable to rho on axis 1
    mean1     E h_i of the first set, like std1; None where it is zero by symmetry
    mean2     the same of the second set
    gaussian  are the units, given the inputs, jointly Gaussian?  Only then does an activation's
              expectation depend on K alone.
    wide      are the units infinitely many?  False for the raw input, whose d features are given.
    layout    see `Layout`
    side1     masks, adjacency and memory of the first set; None for vectors
    side2     the same of the second set
    same      are these the pairs (x, x) of each sample with itself?  Then batch axes are (n,), not (n1, n2).
    path      the place in the architecture
    """

    rho: Tensor
    tau: Tensor
    std1: Tensor
    std2: Tensor
    mean1: Tensor | None = None
    mean2: Tensor | None = None
    gaussian: bool = False
    wide: bool = False
    layout: Layout = Layout.VECTOR
    side1: Side | None = None
    side2: Side | None = None
    same: bool = False
    path: tuple = ()

    @property
    def nngp(self) -> Tensor:
        """K, with the shape of rho."""
        return self.rho * (self.std1 * self.std2)

    @property
    def ntk(self) -> Tensor:
        """Theta, with the shape of rho."""
        return self.tau * (self.std1 * self.std2) + torch.zeros_like(self.rho)

    def to(self, **changes) -> State:
        """A copy with some fields replaced."""
        return replace(self, **changes)


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """numerator / denominator, and 0 where the denominator is 0; gradients stay finite."""
    zero = denominator == 0
    return torch.where(zero, 0.0, numerator / torch.where(zero, 1.0, denominator))


def snap(rho: Tensor) -> Tensor:
    """Correlations within four rounding errors of 1 or -1 are 1 or -1.

    Equal inputs have equal rounding errors, so this recognises them; the angle that is lost is
    below 5e-8 in float64.
    """
    edge = 1 - 4 * torch.finfo(rho.dtype).eps
    low, high = torch.aminmax(rho.detach())
    if -edge <= float(low) and float(high) <= edge:
        return rho
    rho = torch.where(rho > edge, 1.0, rho)
    return torch.where(rho < -edge, -1.0, rho)


def add(first: State, second: State) -> State:
    """State of the sum of two sets of units that meet only in their means.

    Units are independent given the inputs where at least one summand went through weights of its
    own; then E h g' = E h E g' is the whole cross term of K, and Theta has none.
    """
    std1, parts1 = _combine(first.std1, second.std1, first.mean1, second.mean1)
    std2, parts2 = _combine(first.std2, second.std2, first.mean2, second.mean2)
    weight_a, weight_b = parts1[0] * parts2[0], parts1[1] * parts2[1]
    rho = weight_a * first.rho + weight_b * second.rho
    if first.mean1 is not None and second.mean1 is not None:
        cross = ratio(first.mean1, std1) * ratio(second.mean2, std2)
        cross = cross + ratio(second.mean1, std1) * ratio(first.mean2, std2)
        rho = rho + cross
    return first.to(
        rho=snap(rho),
        tau=weight_a * first.tau + weight_b * second.tau,
        std1=std1,
        std2=std2,
        mean1=_sum(first.mean1, second.mean1),
        mean2=_sum(first.mean2, second.mean2),
        gaussian=first.gaussian and second.gaussian,
        wide=first.wide and second.wide,
    )


def _combine(std_a: Tensor, std_b: Tensor, mean_a, mean_b) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Standard deviation of a sum, and each summand's share of it."""
    largest = torch.maximum(std_a, std_b)
    a, b = ratio(std_a, largest), ratio(std_b, largest)
    square = a * a + b * b
    if mean_a is not None and mean_b is not None:
        square = square + 2 * ratio(mean_a, largest) * ratio(mean_b, largest)
    zero = square == 0
    root = torch.where(zero, 0.0, torch.where(zero, 1.0, square).sqrt())
    return largest * root, (ratio(a, root), ratio(b, root))


def _sum(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None or second is None:
        return second if first is None else first
    return first + second
