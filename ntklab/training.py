"""Training a finite network while recording what the theory speaks of."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from ntklab._record import History, Recorder, Task
from ntklab._stability import sharpest
from ntklab._validate import choice, positive_int, real

_CHECK_EVERY = 10  # steps between two looks at the loss for divergence
_RATE_SAMPLES = 512  # samples from which the default rate is estimated
_RATE_BATCHES = 8


def train(
    net: nn.Module,
    x,
    y,
    *,
    steps: int,
    learning_rate: float | None = None,
    optimizer: str = "sgd",
    momentum: float = 0.0,
    loss: str = "mean",
    batch_size: int | None = None,
    record: int | Sequence[int] = 40,
    x_test=None,
    probe: int = 64,
    seed: int = 0,
    progress: bool = True,
) -> History:
    """Train a network in place, and record outputs, loss, kernel drift and parameter movement.

    Args:
        net: a torch.nn.Module.  Where it has ``parameter_groups(learning_rate, optimizer)``, as networks from
            ``arch.finite`` do, that sets the rate of each parameter.
        x: inputs (n, ...), cast to the network's dtype and device.
        y: targets of the outputs' shape, (n, k); (n,) for one output.  For "cross_entropy" labels 0 .. k-1
            (n,) or probabilities (n, k); with a single logit the probability of class 1, (n,) or (n, 1).
        steps: number of updates.
        learning_rate: None takes half the largest rate that is stable for the kernel at initialisation, which
            is 1 / lambda_max(Theta_0) in the loss's scaling, and with mini-batches the smallest of eight
            batches' such rates.  (Cross-entropy curves at most half as much, so this is safe for it too.)
            Adam has no such default.
        optimizer: "sgd" or "adam".
        momentum: of "sgd", from 0 to below 1.
        loss: "mean" is 1/(2n) sum |f - y|^2, "sum" is 1/2 sum |f - y|^2, "cross_entropy" the mean over
            samples.  A mini-batch gives an unbiased estimate.
        batch_size: None is the whole set; else samples without replacement, reshuffled every epoch.
        record: about how many steps to record, evenly in log(step), or the very steps.
        x_test: inputs (m, ...) at which outputs are recorded too.
        probe: number of training points, evenly spread, on which the kernel is followed; 0 leaves it out.
        seed: of the mini-batches; the global generator is untouched.
        progress: show a bar, if on a terminal.

    Returns:
        A ``History``.  Once the loss overflows or is NaN training stops, with ``diverged`` set.

    Raises:
        ValueError, TypeError: arguments that do not fit, by name.
    """
    task = Task(net, x, y, x_test, loss)
    steps = positive_int("steps", steps)
    choice("optimizer", optimizer, ("sgd", "adam"))
    if real("momentum", momentum, minimum=0.0) >= 1 or (momentum and optimizer == "adam"):
        raise ValueError(f'momentum must be below 1, and 0 for "adam", got {momentum:g}')
    batch_size = None if batch_size is None else positive_int("batch_size", batch_size)
    if batch_size is not None and batch_size > task.n:
        raise ValueError(f"batch_size must be at most the number of samples {task.n}, got {batch_size}")
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise TypeError(f"seed must be an integer, got {seed!r}")
    recorded = _recorded(record, steps)
    generator = torch.Generator().manual_seed(int(seed))
    if learning_rate is None:
        learning_rate = _default_rate(task, optimizer, batch_size, generator)
    learning_rate = real("learning_rate", learning_rate, minimum=0.0, strict=True)
    recorder = Recorder(task, probe)

    with tqdm(total=steps, desc="training", disable=not (progress and sys.stderr.isatty())) as bar:
        updater = _optimizer(net, learning_rate, optimizer, momentum)
        batches = _batches(task.n, batch_size, generator)
        for step in range(steps + 1):
            if step in recorded:
                recorder.record(step)
            if step == steps or recorder.diverged:
                break
            updater.zero_grad()
            value = task.loss(next(batches))
            if step % _CHECK_EVERY == 0 and not math.isfinite(value.item()):
                recorder.record(step, diverged=True)
                break
            value.backward()
            updater.step()
            bar.update()
        updater.zero_grad()
    return recorder.history(learning_rate)


def _recorded(record, steps: int) -> set[int]:
    if isinstance(record, (int, np.integer)) and not isinstance(record, bool):
        count = positive_int("record", record)
        return {0, steps, *np.geomspace(1, steps, count).round().astype(int).tolist()}
    chosen = np.asarray(record)
    if chosen.ndim != 1 or chosen.size == 0 or chosen.dtype.kind not in "iu":
        raise TypeError(f"record must be a number of records or a list of steps, got {record!r}")
    if chosen.min() < 0 or chosen.max() > steps:
        raise ValueError(f"record must name steps from 0 to {steps}, got {chosen.min()} to {chosen.max()}")
    return set(chosen.tolist())


def _batches(n: int, batch_size: int | None, generator: torch.Generator) -> Iterator[Tensor | None]:
    """Indices of the batches without end; None is the whole set."""
    while batch_size is None or batch_size == n:
        yield None
    while True:
        yield from torch.randperm(n, generator=generator).split(batch_size)


def _groups(net: nn.Module, learning_rate: float, optimizer: str) -> list[dict]:
    if hasattr(net, "parameter_groups"):
        return net.parameter_groups(learning_rate, optimizer)
    return [{"params": [p for p in net.parameters() if p.requires_grad], "lr": learning_rate}]


class _Descent:
    """Gradient descent with heavy-ball momentum, the steps of torch.optim.SGD.

    (That one loads torch's compiler when it is made, which takes longer than a small network's training.)
    """

    def __init__(self, groups: list[dict], momentum: float):
        self._rate = {p: group["lr"] for group in groups for p in group["params"]}
        self._momentum = momentum
        self._velocity: dict[Tensor, Tensor] = {}

    @torch.no_grad()
    def step(self) -> None:
        for p, rate in self._rate.items():
            if p.grad is None:
                continue
            move = p.grad
            if self._momentum:
                former = self._velocity.get(p)
                move = move if former is None else former.mul_(self._momentum).add_(move)
                self._velocity[p] = move
            p.add_(move, alpha=-rate)

    def zero_grad(self) -> None:
        for p in self._rate:
            p.grad = None


def _optimizer(net: nn.Module, learning_rate: float, optimizer: str, momentum: float):
    groups = _groups(net, learning_rate, optimizer)
    return _Descent(groups, momentum) if optimizer == "sgd" else torch.optim.Adam(groups)


def _default_rate(task: Task, optimizer: str, batch_size: int | None, generator: torch.Generator) -> float:
    """1 / lambda_max of the loss's Hessian of the linearised network: half the largest stable rate."""
    if optimizer != "sgd":
        raise ValueError(f"learning_rate is needed for optimizer={optimizer!r}: the kernel sets none")
    size = min(task.n, _RATE_SAMPLES)
    sets = [torch.linspace(0, task.n - 1, size).round().long()]
    if batch_size is not None:
        batches = _batches(task.n, batch_size, torch.Generator().manual_seed(generator.initial_seed()))
        sets += [next(batches) for _ in range(_RATE_BATCHES)] if batch_size < task.n else []
    groups = _groups(task.net, 1.0, optimizer)
    largest = max(sharpest(task.net, task.x[chosen.to(task.x.device)], groups) for chosen in sets)
    if not largest > 0:
        raise ValueError("learning_rate is needed: the network's kernel on x is zero")
    return 1.0 / (largest * (task.n if task.name == "sum" else 1))
