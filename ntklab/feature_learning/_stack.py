"""Networks of one shape, trained side by side as one batch of tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from ntklab._record import Task
from ntklab.training import _groups

_DECAY1, _DECAY2, _EPS = 0.9, 0.999, 1e-8  # of Adam, as torch.optim.Adam has them


def stacked_parameters(nets: Sequence[nn.Module]) -> dict[str, Tensor]:
    """Every parameter of N networks as one tensor (N, ...), a copy."""
    names = [name for name, _ in nets[0].named_parameters()]
    return {name: torch.stack([net.get_parameter(name).detach() for net in nets]) for name in names}


def rate_factors(net: nn.Module, optimizer: str = "sgd", *, same_rate: bool = False) -> dict[str, float]:
    """For each trainable parameter the factor of its learning rate, from ``parameter_groups`` if there are any."""
    if same_rate:
        return {name: 1.0 for name, p in net.named_parameters() if p.requires_grad}
    rates = {id(p): group["lr"] for group in _groups(net, 1.0, optimizer) for p in group["params"]}
    return {name: rates[id(p)] for name, p in net.named_parameters() if id(p) in rates}


class Stack:
    """N training runs at once: run i starts as nets[i] and has the rate rates[i].

    ``values`` holds each parameter as a tensor (N, ...).  The networks themselves are not touched.
    """

    def __init__(
        self,
        nets: Sequence[nn.Module],
        task: Task,
        rates: Sequence[float],
        factors: dict[str, float],
        optimizer: str = "sgd",
    ):
        self.net, self.task, self.factors, self.optimizer = nets[0], task, factors, optimizer
        self.values = stacked_parameters(nets)
        self._rates = torch.tensor(rates).to(task.x)
        self._moments = {}
        if optimizer == "adam":
            self._moments = {name: (0 * self.values[name], 0 * self.values[name]) for name in factors}
        self._steps = 0

    def losses(self, chosen: Tensor | None = None) -> Tensor:
        """(N,): every run's loss over the training set, or over its own batch of indices, chosen (N, b)."""

        def one(values: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            f = functional_call(self.net, values, (x,))
            return self.task.of(f[:, 0] if self.task._flat else f, y)

        if chosen is None:
            return vmap(one, in_dims=(0, None, None))(self.values, self.task.x, self.task.y)
        chosen = chosen.to(self.task.x.device)
        return vmap(one)(self.values, self.task.x[chosen], self.task.y[chosen])

    def step(self, chosen: Tensor | None = None) -> Tensor:
        """One update of every run; returns the losses (N,) before it."""
        leaves = [self.values[name].requires_grad_() for name in self.factors]
        losses = self.losses(chosen)
        gradients = torch.autograd.grad(losses.sum(), leaves)
        self._steps += 1
        for name, value, gradient in zip(self.factors, leaves, gradients, strict=True):
            value.requires_grad_(False)
            rate = self._rates.reshape(-1, *[1] * (value.ndim - 1))
            step = self._adam(name, gradient) if self.optimizer == "adam" else gradient
            value.addcmul_(step, rate, value=-self.factors[name])
        return losses.detach()

    def _adam(self, name: str, gradient: Tensor) -> Tensor:
        """Kingma & Ba 2015, algorithm 1."""
        first, second = self._moments[name]
        first.lerp_(gradient, 1 - _DECAY1)
        second.mul_(_DECAY2).addcmul_(gradient, gradient, value=1 - _DECAY2)
        size = (second / (1 - _DECAY2**self._steps)).sqrt_().add_(_EPS)
        return (first / size).div_(1 - _DECAY1**self._steps)
