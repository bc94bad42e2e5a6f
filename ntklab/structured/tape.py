"""Chunks of samples in, every parameter's gradients in factored form out."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ntklab.structured.factors import Vector
from ntklab.structured.record import Call, check_paths, no_gradients, output_gradients, recording
from ntklab.structured.rule import Rule, describe, refuse

Shapes = list[tuple[torch.Size, torch.Size]]


class Tape:
    """``tape(x)`` runs one forward and k backward passes over x (n, ...) and returns a list of factors.

    ``forward`` maps x to the outputs (n, k); ``sample`` is one row (1, ...), which shows the shapes;
    ``average`` merges the outputs.  Raises Uncovered, with a module's name, where the factors would
    not give the exact kernel.
    """

    def __init__(self, model: nn.Module, forward: Callable, covers: dict, sample: Tensor, average: bool):
        self.model, self.forward, self.average = model, forward, average
        self.rules = covered_modules(model, covers)
        outputs, calls = self._record(sample)
        self.shapes = {module: _shapes(own) for module, own in calls.items()}
        self._check_samples(calls, 1)
        self.sample_entries = 2 * self._entries(outputs, calls)

    def __call__(self, x: Tensor) -> list:
        outputs, calls = self._record(x)
        self._check_samples(calls, len(x))
        deltas = output_gradients(outputs, [call for own in calls.values() for call in own])
        return self._factors(outputs, calls, deltas)

    def _record(self, x: Tensor) -> tuple[Tensor, dict[nn.Module, list[Call]]]:
        with torch.enable_grad(), recording(self.model, self.rules) as calls:
            outputs = self.forward(x)
        check_paths(self.model, outputs, calls)
        return outputs, calls

    def _check_samples(self, calls: dict[nn.Module, list[Call]], n: int) -> None:
        """Axis 0 must run over samples: the shapes are those of the first sample alone, with n for 1."""
        for module, own in calls.items():
            expected = [tuple((n, *shape[1:]) for shape in pair) for pair in self.shapes[module]]
            if _shapes(own) != expected:
                refuse(self.model, module, "the first axis of its input or output does not run over samples")

    def _entries(self, outputs: Tensor, calls: dict[nn.Module, list[Call]]) -> int:
        """Numbers that a batch of this size keeps in memory: activations, output gradients, factors."""
        deltas = no_gradients(outputs, [call for own in calls.values() for call in own])
        kept = [outputs, *deltas, *(call.h for own in calls.values() for call in own)]
        return sum(item.numel() for item in [*kept, *self._factors(outputs, calls, deltas)])

    def _factors(self, outputs: Tensor, calls: dict[nn.Module, list[Call]], deltas: list[Tensor]) -> list:
        deltas, factors = iter(deltas), []
        for module, own in calls.items():
            if any(call.h._version != call.version for call in own):
                refuse(self.model, module, "its input was changed in place after its call")
            if own:
                pairs = [(call.h, next(deltas)) for call in own]
                factors += self.rules[module].factors(module, pairs)
        if not factors:
            factors = [Vector(outputs.new_zeros(*outputs.shape, 1))]
        return [factor.merged() for factor in factors] if self.average else factors


def covered_modules(model: nn.Module, covers: dict[type[nn.Module], Rule]) -> dict[nn.Module, Rule]:
    """The modules that own trainable parameters, each with its rule; Uncovered if one has none."""
    rules, owner = {}, {}
    for module in model.modules():
        own = {name: p for name, p in module.named_parameters(recurse=False) if p.requires_grad}
        if not own:
            continue
        rule = covers.get(type(module))
        if rule is None:
            refuse(model, module, "no rule for this class")
        if reason := rule.limits(module):
            refuse(model, module, reason)
        for name, parameter in own.items():
            if name not in rule.parameters:
                refuse(model, module, f"no rule for its parameter {name!r}")
            if parameter in owner:
                refuse(model, module, f"shares {name!r} with {describe(model, owner[parameter])}")
            owner[parameter] = module
        rules[module] = rule
    return rules


def _shapes(calls: list[Call]) -> Shapes:
    return [(call.h.shape, call.shape) for call in calls]
