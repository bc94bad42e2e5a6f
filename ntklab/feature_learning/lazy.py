"""From rich to lazy training by one number: the scale of the output."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from ntklab._validate import choice, real
from ntklab.empirical import check_model
from ntklab.finite import OPTIMIZERS


class LazyScaled(nn.Module):
    """alpha (f(x; theta) - f(x; theta_0)): a network's change since its start, scaled up by alpha.

    Trained on the loss over alpha^2, which for gradient descent is the rate over alpha^2, it moves its
    parameters by O(1/alpha) and its outputs by O(1).  As alpha grows it tends to its linearisation at
    theta_0, at any width and with an error of O(1/alpha); alpha of order 1 or less learns features.
    Its kernel is alpha^2 Theta.

    Args:
        net: a module with trainable parameters, used as it is and trained in place.  theta_0 are its
            present parameters, of which a frozen copy is kept.
        alpha: the scale, above 0.  It multiplies the rounding error of the difference, so it is limited to
            290 for float32 and 6.7e6 for float64.

    Raises:
        ValueError, TypeError: net without trainable parameters, or alpha out of these bounds.

    Source: Chizat, Oyallon & Bach, "On lazy training in differentiable programming" (NeurIPS 2019),
    section 2, for the model h - h(w_0), whose output starts at 0.
    """

    def __init__(self, net: nn.Module, alpha: float):
        super().__init__()
        check_model(net)
        self.alpha = _scale(net, alpha)
        self.net = net
        self.start = copy.deepcopy(net).requires_grad_(False)
        self.training = net.training

    def forward(self, x: Tensor) -> Tensor:
        return self.alpha * (self.net(x) - self.start(x))

    def extra_repr(self) -> str:
        return f"alpha={self.alpha:g}"

    def parameter_groups(self, learning_rate: float, optimizer: str = "sgd") -> list[dict]:
        """The network's own groups, with rates over alpha^2; over alpha for "adam", whose steps do not
        grow with the gradient."""
        learning_rate = real("learning_rate", learning_rate, minimum=0, strict=True)
        choice("optimizer", optimizer, OPTIMIZERS)
        rate = learning_rate / self.alpha ** (2 if optimizer == "sgd" else 1)
        if hasattr(self.net, "parameter_groups"):
            return self.net.parameter_groups(rate, optimizer)
        return [{"params": [p for p in self.net.parameters() if p.requires_grad], "lr": rate}]


def _scale(net: nn.Module, alpha) -> float:
    """alpha, if the difference of two outputs keeps half of the dtype's digits when multiplied by it."""
    alpha = real("alpha", alpha, minimum=0, strict=True)
    dtype = next(p.dtype for p in net.parameters() if p.requires_grad)
    largest = 0.1 / math.sqrt(torch.finfo(dtype).eps)
    if alpha > largest:
        raise ValueError(
            f"alpha must be at most {largest:.2g} for a network in {dtype}, whose rounding errors it multiplies, "
            f"got {alpha:g}"
        )
    return alpha
