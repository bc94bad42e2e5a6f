"""Networks of one shape trained side by side as one batch of tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from ntklab._record import Task
from ntklab.training import _groups


def rate_factors(net: nn.Module, optimizer: str = "sgd", *, same_rate: bool = False) -> dict[str, float]:
    """For each trainable parameter the factor of its learning rate, from ``parameter_groups`` where there are any."""
    if same_rate:
        return {name: 1.0 for name, p in net.named_parameters() if p.requires_grad}
    rates = {id(p): group["lr"] for group in _groups(net, 1.0, optimizer) for p in group["params"]}
    return {name: rates[id(p)] for name, p in net.named_parameters() if id(p) in rates}


class Stack:
    """N networks of the same shape; every parameter is one tensor (N, ...).

    nets: the S different initialisations; run r S + s has the rate rates[r] and starts as nets[s].
    """

    def __init__(
        self,
        nets: Sequence[nn.Module],
        task: Task,
        rates: Sequence[float],
        optimizer: str,
        factors: dict[str, float],
    ):
        self.task, self.net, self.factors, self.seeds = task, nets[0], factors, len(nets)
        self.rates = [rate for rate in rates for _ in nets]
        self.values = {
            name: torch.stack([net.get_parameter(name).detach() for net in nets]).repeat(
                len(rates), *[1] * p.ndim
            )
            for name, p in nets[0].named_parameters()
        }
        self._optimizer = _adam(self) if optimizer == "adam" else None
        self._column = torch.tensor(self.rates).to(next(iter(self.values.values())))

    def outputs(self, values: dict[str, Tensor], x: Tensor) -> Tensor:
        """One network's outputs in the shape of the targets."""
        f = functional_call(self.net, values, (x,))
        return f[:, 0] if self.task._flat else f

    def losses(self, chosen: Tensor | None = None) -> Tensor:
        """(N,): the loss of every run over the training set, or over its own batch, chosen (S, b)."""

        def one(values: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            return self.task.of(self.outputs(values, x), y)

        if chosen is None:
            return vmap(one, in_dims=(0, None, None))(self.values, self.task.x, self.task.y)
        chosen = chosen.repeat(len(self.rates) // self.seeds, 1).to(self.task.x.device)
        return vmap(one)(self.values, self.task.x[chosen], self.task.y[chosen])

    def step(self, chosen: Tensor | None = None) -> Tensor:
        """One update of every run; returns the losses (N,) before it."""
        leaves = {name: self.values[name].requires_grad_() for name in self.factors}
        losses = self.losses(chosen)
        gradients = torch.autograd.grad(losses.sum(), list(leaves.values()))
        for value in leaves.values():
            value.requires_grad_(False)
        if self._optimizer is None:
            for (name, value), gradient in zip(leaves.items(), gradients, strict=True):
                rate = self._column.reshape(-1, *[1] * (value.ndim - 1))
                value.addcmul_(gradient, rate, value=-self.factors[name])
        else:
            for name, gradient in zip(leaves, gradients, strict=True):
                for row, part in zip(self._rows[name], gradient.contiguous(), strict=True):
                    row.grad = part
            self._optimizer.step()
        return losses.detach()


def _adam(stack: Stack) -> torch.optim.Optimizer:
    stack._rows = {name: list(stack.values[name]) for name in stack.factors}
    groups = [
        {"params": [row], "lr": rate * factor}
        for name, factor in stack.factors.items()
        for row, rate in zip(stack._rows[name], stack.rates, strict=True)
    ]
    return torch.optim.Adam(groups, fused=True)
