"""Networks of one shape, trained side by side as one batch of tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from ntklab._record import Task
from ntklab._validate import tensors
from ntklab.layers.base import Layer
from ntklab.training import _groups


def network(
    arch: Layer, width: int, input_shape, outputs: int, parameterization, seed: int, dtype
) -> nn.Module:
    """A network in a parameterisation given by its name, or by an object with ``finite`` such as ``ABC``."""
    if not isinstance(arch, Layer):
        raise TypeError(f"arch must be an ntklab architecture, got {arch!r}")
    if hasattr(parameterization, "finite"):
        return parameterization.finite(arch, width, input_shape, outputs, seed, dtype)
    return arch.finite(width, input_shape, outputs, parameterization, seed, dtype)


def networks(
    arch: Layer, width: int, x, y, parameterization, seeds: Sequence[int], loss: str, dtype
) -> tuple[list[nn.Module], Task]:
    """A network for every seed that fits inputs (n, ...) and targets, and what they are to learn."""
    (inputs, targets), _ = tensors(x=x, y=y)
    outputs = targets.shape[1] if targets.ndim == 2 else 1
    if loss == "cross_entropy" and targets.ndim == 1 and (targets == targets.round()).all():
        outputs = max(1, int(targets.max()) + 1)
    nets = [network(arch, width, inputs.shape[1:], outputs, parameterization, s, dtype) for s in seeds]
    return nets, Task(nets[0], inputs, targets, None, loss)


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
        self.net, self.task, self.factors = nets[0], task, factors
        self.values = stacked_parameters(nets)
        self._rates = torch.tensor(rates, dtype=task.x.dtype, device=task.x.device)
        self._adam = self._new_adam(rates) if optimizer == "adam" else None

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
        for leaf in leaves:
            leaf.requires_grad_(False)
        if self._adam is None:
            for factor, value, gradient in zip(self.factors.values(), leaves, gradients, strict=True):
                rate = self._rates.reshape(-1, *[1] * (value.ndim - 1))
                value.addcmul_(gradient, rate, value=-factor)
        else:
            for group, gradient in zip(self._adam_groups(), gradients, strict=True):
                for row, part in zip(group, gradient.contiguous(), strict=True):
                    row.grad = part
            self._adam.step()
        return losses.detach()

    def _new_adam(self, rates: Sequence[float]) -> torch.optim.Optimizer:
        """Adam on the rows of the stacked tensors, each a parameter with its own rate."""
        groups = [
            {"params": [row], "lr": rate * factor}
            for name, factor in self.factors.items()
            for row, rate in zip(self.values[name], rates, strict=True)
        ]
        return torch.optim.Adam(groups, fused=True)

    def _adam_groups(self) -> list[list[Tensor]]:
        """The rows, parameter by parameter."""
        rows = [group["params"][0] for group in self._adam.param_groups]
        return [rows[first : first + len(self._rates)] for first in range(0, len(rows), len(self._rates))]
