"""The first-order Taylor expansion of a network in its parameters."""

from __future__ import annotations

import copy

from torch import Tensor, nn
from torch.func import functional_call, jvp


def linearize(model: nn.Module) -> Linearized:
    """An independent copy of the model, first-order in the parameters around their present values.

    f_lin(x) = f(x; theta0) + J(x) (theta - theta0), J the Jacobian at theta0.  The copy's trainable
    parameters theta start at theta0 and train like those of any module; frozen ones stay frozen.
    Its neural tangent kernel is that of the model at theta0 and does not change in training.

    Args:
        model: a torch.nn.Module with trainable parameters, and operations that support forward-mode
            derivatives.

    Raises:
        TypeError: not a module.
        ValueError: no parameter with ``requires_grad``.

    Source: Lee et al., "Wide neural networks of any depth evolve as linear models under gradient
    descent" (2019), equation 3.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError(f"model must have parameters with requires_grad, {type(model).__name__} has none")
    return Linearized(model)


class Linearized(nn.Module):
    """What ``linearize`` returns: ``model`` holds theta, buffers named ``anchor:...`` hold theta0."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = copy.deepcopy(model)
        self.training = model.training
        trainable = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        self._names = tuple(trainable)
        for name, parameter in trainable.items():
            self.register_buffer(_anchor_name(name), parameter.detach().clone())

    def forward(self, *inputs: Tensor) -> Tensor:
        """f(x; theta0) + J(x) (theta - theta0), of the shape that the model returns."""
        anchor = {name: self.get_buffer(_anchor_name(name)) for name in self._names}
        theta = dict(self.model.named_parameters())
        step = {name: theta[name] - anchor[name] for name in self._names}
        value, change = jvp(lambda p: functional_call(self.model, p, inputs), (anchor,), (step,))
        return value + change

    def __getattr__(self, name: str):
        if name == "parameter_groups":  # the rates of the copied network, over this copy's parameters
            return getattr(super().__getattr__("model"), name)
        return super().__getattr__(name)


def _anchor_name(name: str) -> str:
    return "anchor:" + name.replace(".", ":")  # buffers' names may hold no dot
