"""What a forward pass of covered modules leaves behind: inputs, and places in the autograd graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from ntklab.structured.rule import refuse


@dataclass(frozen=True)
class Call:
    """One call of a module: its input h (n, ...), its output's shape and gradient edge.

    The edge, unlike the output tensor, still means the module's own output after a later change in place.
    """

    h: Tensor
    version: int
    source: torch.autograd.graph.Node | None
    shape: torch.Size
    edge: GradientEdge


@contextmanager
def recording(model: nn.Module, modules: Iterable[nn.Module]) -> Iterator[dict[nn.Module, list[Call]]]:
    """Collect the calls of each module while the block runs."""
    calls = {module: [] for module in modules}

    def hook(module, args, kwargs, output):
        h = args[0] if args else kwargs["input"]
        if not output.requires_grad:
            refuse(model, module, "its call is hidden from autograd (no_grad, a transform or a checkpoint)")
        calls[module].append(Call(h.detach(), h._version, h.grad_fn, output.shape, get_gradient_edge(output)))

    handles = []
    try:
        for module in calls:
            handles.append(module.register_forward_hook(hook, prepend=True, with_kwargs=True))
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def check_paths(model: nn.Module, outputs: Tensor, calls: dict[nn.Module, list[Call]]) -> None:
    """Every way from the outputs to a trainable parameter must lead through a call of its owner.

    Raises Uncovered for a parameter that is used elsewhere, as in ``F.linear(x, layer.weight)``: the
    output gradients of its owner would miss that part.
    """
    inside = {}
    for module, own_calls in calls.items():
        for call in own_calls:
            inside.update(dict.fromkeys(_nodes(call.edge.node, until=call.source), module))
    owners = {id(p): m for m in model.modules() for p in m.parameters(recurse=False) if p.requires_grad}
    for node in _nodes(outputs.grad_fn):
        for following, _ in node.next_functions:
            parameter = id(getattr(following, "variable", None))
            if parameter in owners and inside.get(node) is not owners[parameter]:
                refuse(model, owners[parameter], "its parameters are also used outside its own forward pass")


def _nodes(start, until=None) -> set:
    """The nodes of the autograd graph behind ``start``, itself included; the walk ends at ``until``."""
    found, todo = set(), [start]
    while todo:
        node = todo.pop()
        if node is None or node is until or node in found:
            continue
        found.add(node)
        todo += [following for following, _ in node.next_functions]
    return found


def no_gradients(outputs: Tensor, calls: list[Call]) -> list[Tensor]:
    """Zeros of the shapes of ``output_gradients``."""
    return [outputs.new_zeros(call.shape[0], outputs.shape[1], *call.shape[1:]) for call in calls]


def output_gradients(outputs: Tensor, calls: list[Call]) -> list[Tensor]:
    """Gradients of each output by each call's output: (n, k, ...), by k backward passes over the batch.

    Only these are asked for, so no gradient of a parameter is ever formed.
    """
    if not outputs.requires_grad or not calls:
        return no_gradients(outputs, calls)
    k, edges, rows = outputs.shape[1], [call.edge for call in calls], []
    for a in range(k):
        column = outputs[:, a].sum()  # a sample's outputs depend on that sample alone
        rows.append(torch.autograd.grad(column, edges, retain_graph=a < k - 1, allow_unused=True))
    return [_stack(outputs, call, grads) for call, grads in zip(calls, zip(*rows, strict=True), strict=True)]


def _stack(outputs: Tensor, call: Call, grads: tuple[Tensor | None, ...]) -> Tensor:
    """(n, k, ...); zero where there is no way from the outputs to the call."""
    if grads[0] is None:
        return no_gradients(outputs, [call])[0]
    return grads[0].unsqueeze(1) if len(grads) == 1 else torch.stack(grads, 1)
