"""What a training run is about, and what is written down on the way."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ntklab._validate import choice, tensors
from ntklab.empirical import empirical_ntk


@dataclass(frozen=True)
class History:
    """A training run at R recorded steps.  Arrays are numpy; after divergence the last record holds inf."""

    steps: np.ndarray
    """(R,): updates made so far; 0 is the initialisation."""
    loss: np.ndarray
    """(R,): over the whole training set."""
    train_outputs: np.ndarray
    """(R, n) or (R, n, k)."""
    test_outputs: np.ndarray | None
    """(R, m) or (R, m, k)."""
    kernel_drift: np.ndarray | None
    """(R,): |Theta_t - Theta_0|_F / |Theta_0|_F on the probe points, averaged over outputs."""
    sharpness: np.ndarray | None
    """(R,): the largest eigenvalue of Theta_t on the probe points over their number."""
    movement: np.ndarray
    """(R,): |theta_t - theta_0| over all trained parameters."""
    relative_movement: np.ndarray
    """(R,): the same over |theta_0|."""
    layer_movement: dict[str, np.ndarray]
    """For each layer (R,): |theta_t - theta_0| over its weight and bias."""
    layer_norm: dict[str, float]
    """For each layer |theta_0|."""
    learning_rate: float
    """As given or chosen, before the factors of ``parameter_groups``."""
    diverged: bool
    """The loss overflowed or was NaN, and training stopped."""


class Task:
    """Inputs and targets as the network wants them, and the loss."""

    def __init__(self, net: nn.Module, x, y, x_test, loss: str):
        if not isinstance(net, nn.Module):
            raise TypeError(f"net must be a torch.nn.Module, got {type(net).__name__}")
        parameter = next((p for p in net.parameters() if p.requires_grad), None)
        if parameter is None:
            raise ValueError("net must have parameters with requires_grad, got none")
        self.net, self.name = net, choice("loss", loss, ("mean", "sum", "cross_entropy"))
        (x, x_test, y), _ = tensors(x=x, x_test=x_test, y=y)
        self.x, y = x.detach().to(parameter), y.detach().to(parameter)
        self.x_test = None if x_test is None else x_test.detach().to(parameter)
        self.n = len(self.x)
        with torch.no_grad():
            shape = tuple(net(self.x[:1]).shape[1:])
        if len(shape) > 1:
            raise ValueError(f"net must give outputs (n,) or (n, k), got {('n', *shape)}")
        self._k = shape[0] if shape else 1
        self.y, self._flat = self._targets(y, shape), y.ndim == 1 and len(shape) == 1 and self._k == 1

    def _targets(self, y: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Targets in the shape of the outputs, or labels for the cross-entropy."""
        labels = self.name == "cross_entropy" and self._k > 1 and y.shape == (self.n,)
        wanted = [(self.n, *shape)] + ([(self.n,)] if self._k == 1 or labels else [])
        if tuple(y.shape) not in wanted:
            words = " or ".join(map(str, wanted))
            raise ValueError(f"y must have shape {words} to fit x and the outputs, got {tuple(y.shape)}")
        if not labels:
            if self.name == "cross_entropy" and (y.min() < 0 or y.max() > 1):
                raise ValueError(f"y must hold probabilities, got values from {y.min():g} to {y.max():g}")
            return y
        if (y != y.round()).any() or y.min() < 0 or y.max() >= self._k:
            raise ValueError(
                f"y must hold labels 0 to {self._k - 1}, got values from {y.min():g} to {y.max():g}"
            )
        return y.long()

    def outputs(self, x: Tensor) -> Tensor:
        """The network's outputs in the shape of the targets."""
        f = self.net(x)
        return f[:, 0] if self._flat else f

    def loss(self, chosen: Tensor | None = None) -> Tensor:
        """The loss over all samples, or its estimate from the chosen ones."""
        if chosen is None:
            return self.of(self.outputs(self.x), self.y)
        chosen = chosen.to(self.x.device)
        return self.of(self.outputs(self.x[chosen]), self.y[chosen])

    def of(self, f: Tensor, y: Tensor) -> Tensor:
        """The loss of outputs f for targets y."""
        if self.name == "cross_entropy":
            if self._k == 1:
                return functional.binary_cross_entropy_with_logits(f, y)
            return functional.cross_entropy(f, y)
        samples = len(y) if self.name == "mean" else len(y) / self.n
        return (f - y).square().sum() / (2 * samples)


class Recorder:
    """Remembers the initial parameters and kernel, and writes down one row a record."""

    def __init__(self, task: Task, probe: int):
        if isinstance(probe, bool) or not isinstance(probe, (int, np.integer)) or probe < 0:
            raise ValueError(f"probe must be a number of points, or 0 for none, got {probe!r}")
        self._task = task
        self._start = {name: p.detach().clone() for name, p in task.net.named_parameters() if p.requires_grad}
        self._layer_norm = {layer: _norm(parts) for layer, parts in _by_layer(self._start).items()}
        spread = torch.linspace(0, task.n - 1, min(int(probe), task.n)).round().long()
        self._probe = task.x[spread.to(task.x.device)] if probe else None
        self._kernel = None if self._probe is None else empirical_ntk(task.net, self._probe)
        self._rows: dict[str, list] = defaultdict(list)
        self.diverged = False

    def record(self, step: int, diverged: bool = False) -> None:
        """Add a row; ``diverged`` is set if the loss is not finite, or said not to be."""
        task = self._task
        with torch.no_grad():
            outputs = task.outputs(task.x)
            loss = task.of(outputs, task.y)
            self.diverged = diverged or not bool(torch.isfinite(loss))
            row = {"steps": step, "loss": torch.inf if self.diverged else loss.item()}
            row["train_outputs"] = _array(outputs)
            if task.x_test is not None:
                row["test_outputs"] = _array(task.outputs(task.x_test))
            row |= self._movement() | self._drift()
        if self._rows["steps"] and self._rows["steps"][-1] == step:
            for column in self._rows.values():
                column.pop()
        for name, value in row.items():
            self._rows[name].append(value)

    def _movement(self) -> dict:
        change = {name: p.detach() - self._start[name] for name, p in self._named()}
        layers = {layer: _norm(parts) for layer, parts in _by_layer(change).items()}
        return {"layers": layers, "movement": _norm(change.values())}

    def _named(self):
        return ((name, p) for name, p in self._task.net.named_parameters() if name in self._start)

    def _drift(self) -> dict:
        if self._probe is None:
            return {}
        if self.diverged:
            return {"kernel_drift": torch.inf, "sharpness": torch.inf}
        kernel = empirical_ntk(self._task.net, self._probe)
        size = torch.linalg.matrix_norm(self._kernel)
        drift = torch.linalg.matrix_norm(kernel - self._kernel) / size if size else size
        largest = torch.linalg.eigvalsh(kernel)[-1] / len(kernel)
        return {"kernel_drift": drift.item(), "sharpness": largest.item()}

    def history(self, learning_rate: float) -> History:
        columns = {name: np.array(rows) for name, rows in self._rows.items() if name != "layers"}
        norm = _norm(self._start.values())
        return History(
            **{name: columns.get(name) for name in ("test_outputs", "kernel_drift", "sharpness")},
            **{name: columns[name] for name in ("steps", "loss", "train_outputs", "movement")},
            relative_movement=columns["movement"] / norm,
            layer_movement={
                layer: np.array([row[layer] for row in self._rows["layers"]]) for layer in self._layer_norm
            },
            layer_norm=self._layer_norm,
            learning_rate=learning_rate,
            diverged=self.diverged,
        )


def _by_layer(parameters: dict[str, Tensor]) -> dict[str, list[Tensor]]:
    layers = defaultdict(list)
    for name, value in parameters.items():
        layers[name.rpartition(".")[0]].append(value)
    return dict(layers)


def _norm(parts) -> float:
    """Euclidean norm over several tensors; NaN counts as inf."""
    norm = float(np.linalg.norm([torch.linalg.vector_norm(part).item() for part in parts]))
    return np.inf if np.isnan(norm) else norm


def _array(outputs: Tensor) -> np.ndarray:
    """As float64, with inf for NaN."""
    return outputs.detach().to("cpu", torch.float64).nan_to_num(torch.inf, torch.inf, -torch.inf).numpy()
