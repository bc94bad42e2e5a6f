"""The empirical neural tangent kernel of any torch.nn.Module."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from ntklab._validate import choice, finite, positive_int, tensors
from ntklab.finite import FiniteNetwork
from ntklab.structured import Uncovered, covers
from ntklab.structured.factors import Vector
from ntklab.structured.tape import Tape

_CHUNK_BYTES = 2**29  # memory for the gradients of one chunk of samples; two chunks are alive at a time


def empirical_ntk(model, x1, x2=None, *, outputs="average", method="auto", batch_size=None):
    r"""Inner products of the model's parameter gradients, Theta(x, x') = <grad f(x), grad f(x')>.

    The gradients are over all parameters with ``requires_grad``, at their present values.

    Args:
        model: a torch.nn.Module from (n, ...) to (n,), (n, k) or (n, ...), which is read as (n, k).
        x1: samples (n1, ...), cast to the model's dtype and device; integers stay integers if the
            model has an embedding.  Networks of `finite` also take a list of graphs or sequences.
        x2: samples (n2, ...); left out, x1.
        outputs: "average" over the k outputs, or "full" for all their pairs.
        method: "jacobian" forms the per-sample gradients, n times the parameter count in memory;
            "structured" multiplies the Gram matrices of the activations and of the output gradients
            layer by layer, with memory free of the parameter count; "auto" is "structured" where it
            covers the model, else "jacobian".
        batch_size: samples in one pass; by default as many as fit into 512 MiB.

    Returns:
        (n1, n2), or (n1, n2, k, k) with entries [i, j, a, b] = <grad f_a(x1_i), grad f_b(x2_j)>;
        exactly symmetric without x2.  A torch tensor if an argument was one, else a numpy array.

    Raises:
        ValueError: empty, NaN or infinite input; a model without trainable parameters, with active
            dropout or batch statistics, or one that ``method="structured"`` does not cover.

    Source: Jacot, Gabriel and Hongler, "Neural tangent kernel" (2018), section 4.
    """
    choice("outputs", outputs, ("average", "full"))
    choice("method", method, ("auto", "jacobian", "structured"))
    if batch_size is not None:
        batch_size = positive_int("batch_size", batch_size)
    check_model(model)
    if isinstance(model, FiniteNetwork) and model.ragged and isinstance(x1, (list, tuple)):
        x1, x2 = model.packed(x1, x2)
    x1, x2, back = _inputs(model, x1, x2)
    with torch.inference_mode(False), torch.random.fork_rng(devices=[]):
        return back(_empirical_ntk(model, x1, x2, outputs == "average", method, batch_size))


def _empirical_ntk(model, x1, x2, average: bool, method: str, batch_size: int | None) -> Tensor:
    forward, result = _Forward(model, x1[:1]), None
    if method != "jacobian":
        try:
            result = _contract(Tape(model, forward, covers, x1[:1], average), x1, x2, batch_size)
        except Uncovered:
            if method == "structured":
                raise
    if result is None:
        result = _contract(_Jacobian(model, forward, x1[:2], average), x1, x2, batch_size)
    if not torch.isfinite(result).all():
        raise ValueError(f"the empirical kernel leaves the range of {result.dtype}")
    result = result.permute(0, 2, 1, 3)
    return result[:, :, 0, 0] / forward.alone.shape[1] if average else result


class _Jacobian:
    """``jacobian(x)``: per-sample gradients, one Vector (n, k, p) a parameter."""

    def __init__(self, model: nn.Module, forward: _Forward, samples: Tensor, average: bool):
        self.forward, self.average = forward, average
        self.parameters = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
        with torch.no_grad():
            k = forward(samples[:1]).shape[1]
            forward(samples)
        self.sample_entries = k * sum(p.numel() for p in self.parameters.values())

    def __call__(self, x: Tensor) -> list[Vector]:
        try:
            rows = vmap(jacrev(self._single), in_dims=(None, 0))(self.parameters, x)
        except (RuntimeError, ValueError, NotImplementedError, TypeError):
            rows = self._loop(x)
        vectors = [Vector(row.detach().flatten(2)) for row in rows.values()]
        return [vector.merged() for vector in vectors] if self.average else vectors

    def _single(self, parameters: dict[str, Tensor], sample: Tensor) -> Tensor:
        return self.forward(sample.unsqueeze(0), parameters)[0]

    @torch.enable_grad()
    def _loop(self, x: Tensor) -> dict[str, Tensor]:
        """For what vmap cannot do: control flow on data, operations without a batching rule."""
        leaves = {name: p.clone().requires_grad_() for name, p in self.parameters.items()}
        grads = [
            torch.autograd.grad(output, list(leaves.values()), retain_graph=True, materialize_grads=True)
            for sample in x
            for output in self._single(leaves, sample)
        ]
        columns = zip(leaves, zip(*grads, strict=True), strict=True)
        return {name: torch.stack(column).unflatten(0, (len(x), -1)) for name, column in columns}


def _contract(gradients: Callable, x1: Tensor, x2: Tensor | None, batch_size: int | None) -> Tensor:
    """All inner products (n1, q, n2, q), chunk by chunk; x2 None: the upper triangle, mirrored."""
    symmetric = x2 is None
    if batch_size is None:
        batch_size = max(1, _CHUNK_BYTES // (gradients.sample_entries * x1.itemsize))
    chunks1 = x1.split(batch_size)
    chunks2 = chunks1 if symmetric else x2.split(batch_size)
    only2 = gradients(chunks2[0]) if len(chunks2) == 1 and not symmetric else None
    blocks = [[None] * len(chunks2) for _ in chunks1]
    for i, chunk1 in enumerate(chunks1):
        left = gradients(chunk1)
        for j, chunk2 in enumerate(chunks2):
            if symmetric and j < i:
                blocks[i][j] = blocks[j][i].permute(2, 3, 0, 1)
                continue
            right = left if symmetric and i == j else only2 or gradients(chunk2)
            block = sum(a.dot(b) for a, b in zip(left, right, strict=True))
            blocks[i][j] = (block + block.permute(2, 3, 0, 1)) / 2 if symmetric and i == j else block
    return torch.cat([torch.cat(row, 2) for row in blocks], 0)


class _Forward:
    """``forward(x)``: the model's outputs (n, k), at its own parameters or at those given.

    The model works on copies of its buffers, so that none of them changes.  Where ``sample`` (1, ...)
    leads a batch again, its outputs must be the same again.
    """

    def __init__(self, model: nn.Module, sample: Tensor):
        self.model, self.sample, self.alone = model, sample, None

    def __call__(self, x: Tensor, parameters: dict[str, Tensor] | None = None) -> Tensor:
        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        changed = {**buffers, **(parameters or {})}
        try:
            y = functional_call(self.model, changed, (x,)) if changed else self.model(x)
        except RuntimeError as error:
            raise ValueError(f"the model fails on inputs of shape {tuple(x.shape)}: {error}") from error
        if not isinstance(y, Tensor):
            raise TypeError(f"the model must return a tensor, got {type(y).__name__}")
        if y.shape[:1] != x.shape[:1] and not (y.dim() == 0 and len(x) == 1):
            shape = tuple(y.shape)
            raise ValueError(
                f"the model must return one row a sample, got shape {shape} for {len(x)} samples"
            )
        y = y.reshape(len(x), -1)
        if parameters is None and torch.equal(x[:1], self.sample):
            self._compare(y[:1].detach())
        return y

    def _compare(self, y: Tensor) -> None:
        if self.alone is None:
            if not torch.isfinite(y).all():
                raise ValueError("the model returns NaN or infinity")
            self.alone = y
        tolerance = torch.finfo(y.dtype).eps ** 0.5 * max(1.0, self.alone.abs().max().item())
        if not (y - self.alone).abs().max() <= tolerance:
            raise ValueError(
                "the model's output for one sample depends on the other samples or on chance "
                "(dropout, batch statistics); model.eval() turns that off"
            )


def check_model(model: nn.Module) -> None:
    """A module with trainable parameters whose output for a sample is a function of that sample alone."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError(f"model must have parameters with requires_grad, {type(model).__name__} has none")
    for name, module in model.named_modules():
        if reason := _active(module):
            where = f"{name!r} ({type(module).__name__})" if name else type(module).__name__
            raise ValueError(f"{where} {reason}: call model.eval() first")


def _active(module: nn.Module) -> str | None:
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        if module.training or module.running_mean is None:
            return "uses batch statistics, so no sample has an output of its own"
    rate = module.p if isinstance(module, nn.modules.dropout._DropoutNd) else getattr(module, "dropout", 0)
    if module.training and isinstance(rate, (int, float)) and rate > 0:
        return f"drops at random (rate {rate:g})"
    if module.training and isinstance(module, nn.RReLU):
        return "draws its slopes at random"
    return None


def _inputs(model: nn.Module, x1, x2):
    """x1 and x2 on the model's device, floating ones in its dtype."""
    parameter = next(p for p in model.parameters() if p.requires_grad)
    looks_up = any(isinstance(module, (nn.Embedding, nn.EmbeddingBag)) for module in model.modules())
    given = {"x1": x1, "x2": x2}
    (first, second), back = tensors(**given)
    cast = []
    for (name, original), value in zip(given.items(), (first, second), strict=True):
        if value is None:
            cast.append(None)
            continue
        if value.dim() == 0:
            raise ValueError(f"{name} must be samples of shape (n, ...), got a number")
        dtype = torch.long if looks_up and _integers(original) else parameter.dtype
        cast.append(value.detach().to(device=parameter.device, dtype=dtype))
        if dtype != value.dtype:
            finite(name, cast[-1])
    return *cast, back


def _integers(value) -> bool:
    return not torch.as_tensor(value).is_floating_point()
