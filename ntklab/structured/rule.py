"""What a layer must say about itself to be covered by the structured method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor, nn


class Uncovered(ValueError):
    """A model that the structured method cannot do exactly; the message names the module."""


def describe(model: nn.Module, module: nn.Module) -> str:
    """The module's path and class, as an error message names it."""
    path = next((name for name, other in model.named_modules() if other is module), "")
    return f"{path!r} ({type(module).__name__})" if path else type(module).__name__


def refuse(model: nn.Module, module: nn.Module, reason: str) -> NoReturn:
    name = describe(model, module)
    raise Uncovered(f"method='structured' does not cover {name}: {reason}; method='jacobian' works")


def _no_limits(module: nn.Module) -> None:
    return None


@dataclass(frozen=True)
class Rule:
    """How to read the parameter gradients of one class of modules off its inputs and output gradients.

    ``factors(module, calls)`` gets one pair (h, delta) for each call of the module in one forward
    pass, h (n, ...) its input and delta (n, k, ...) the gradients of the k outputs by its output;
    it returns the factored gradients of the trainable parameters, one entry a parameter.
    ``limits(module)`` says why this instance is not covered, or None.
    ``parameters`` are the names that ``factors`` treats.
    """

    factors: Callable[[nn.Module, list[tuple[Tensor, Tensor]]], list]
    limits: Callable[[nn.Module], str | None] = _no_limits
    parameters: tuple[str, ...] = ("weight", "bias")


def joined(parts: list[Tensor], axis: int) -> Tensor:
    """Concatenation that costs nothing for a single part, the usual case."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, axis)


def trains(module: nn.Module, name: str) -> bool:
    parameter = getattr(module, name, None)
    return parameter is not None and parameter.requires_grad
