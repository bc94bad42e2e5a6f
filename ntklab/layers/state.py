"""What passes from layer to layer at infinite width.

For units h_i of a layer and two inputs x, x' write

    K(x, x') = E h_i(x) h_i(x')      Theta(x, x') = E <d h_i(x)/d theta, d h_i(x')/d theta>

Both are kept relative to the standard deviations s(x) = sqrt(K(x, x)):

    rho = K / (s s')                 tau = Theta / (s s')

Scale then drops out of every bias-free layer: rho of parallel inputs is exactly 1 at any depth, and
norms from 1e-150 to 1e150 neither overflow nor underflow on the way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

import torch
from torch import Tensor


class Layout(Enum):
    """How the trailing axes of a state are to be read.

    Standard deviations and means always broadcast against ``rho``, so a layer that treats every
    entry alike (activations, dense layers, normalisation) needs no knowledge of the layout.

    VECTOR       one value a pair of samples          rho (n1, n2)              std1 (n1, 1)
    PIXELS       matching positions only              rho (n1, n2, H, W)        std1 (n1, 1, H, W)
    PIXEL_PAIRS  every position with every other      rho (n1, n2, H, H', W, W') std1 (n1, 1, H, 1, W, 1)
    RAGGED       nodes or time steps of samples of different sizes, concatenated:
                 rho (N1, N2)                         std1 (N1, 1), with segment ids beside it

    Matching positions suffice as long as nothing mixes positions of the two inputs; pooling and
    attention need all pairs.
    """

    VECTOR = "vector"
    PIXELS = "pixels"
    PIXEL_PAIRS = "pixel pairs"
    RAGGED = "ragged"


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
    return State(
        rho=snap(rho),
        tau=weight_a * first.tau + weight_b * second.tau,
        std1=std1,
        std2=std2,
        mean1=_sum(first.mean1, second.mean1),
        mean2=_sum(first.mean2, second.mean2),
        gaussian=first.gaussian and second.gaussian,
        wide=first.wide and second.wide,
        layout=first.layout,
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
