"""A two-layer network as a cloud of interacting particles, whose law moves by a gradient flow.

    f(x) = 1/m sum_j s_2 a_j phi(s_1 w_j . x / sqrt(d) + t_1 b_j) + t_2 c

Particle j is (w_j, b_j, a_j).  Its velocity, minus the gradient of what one particle adds to the loss,

    d(particle)/dt = -1/n sum_i (f(x_i) - y_i) grad [s_2 a phi(s_1 w . x_i / sqrt(d) + t_1 b)]

depends on the others through f alone and holds no m: for m to infinity the law of the particles follows
a flow in the space of measures, and f is a number, no random variable.  This is the network of
``arch.finite(parameterization="mean_field")``, in time t = step * learning_rate.

Source: Mei, Montanari & Nguyen (2018); Chizat & Bach (2018); Rotskoff & Vanden-Eijnden (2022);
Sirignano & Spiliopoulos (2020).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ntklab._validate import choice, positive_int, real, tensors
from ntklab.feature_learning._integrate import integrate
from ntklab.finite import FiniteNetwork, ScaledLinear, finite
from ntklab.layers.activation import Activation
from ntklab.layers.base import Layer
from ntklab.layers.dense import Dense
from ntklab.layers.sequential import Sequential


@dataclass(frozen=True, eq=False, repr=False)
class Population:
    """m particles of a two-layer architecture ``Sequential(Dense, activation, Dense)``.

    Population.sample(arch, particles, features) draws one; population(x) is the network's output.
    """

    arch: Sequential
    w: Tensor
    """(m, d): input weights."""
    b: Tensor | None
    """(m,): hidden biases; None where the first Dense has sigma_b = 0."""
    a: Tensor
    """(m, k): output weights."""
    c: Tensor | None
    """(k,): the readout's bias, which all particles share; None where the second Dense has none."""

    @classmethod
    def sample(
        cls,
        arch: Layer,
        particles: int,
        features: int,
        outputs: int = 1,
        *,
        seed: int | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> Population:
        """Independent standard normal particles: those of ``arch.finite`` for the same seed.

        features: d, the size of an input;  outputs: k.
        """
        _check(arch)
        particles = positive_int("particles", particles)
        return cls.from_network(finite(arch, particles, features, outputs, "mean_field", seed, dtype))

    @classmethod
    def from_network(cls, net: FiniteNetwork) -> Population:
        """A copy of the particles of a network with parameterization="mean_field"."""
        if not isinstance(net, FiniteNetwork) or net.parameterization != "mean_field":
            raise ValueError(
                f'net must come from arch.finite with parameterization="mean_field", got {type(net).__name__}'
            )
        first, second = _layers(net)
        copies = [None if p is None else p.detach().clone() for p in _parameters(first, second)]
        w, b, a, c = copies
        return cls(_check(net.arch), w, b, a.T.contiguous(), c)

    def network(self) -> FiniteNetwork:
        """These particles as a network, for ``empirical_ntk``, ``hidden_features`` and the like."""
        m, d = self.w.shape
        net = finite(self.arch, m, d, self.a.shape[1], "mean_field", 0, self.w.dtype)
        with torch.no_grad():
            for parameter, value in zip(_parameters(*_layers(net)), self._parts(), strict=True):
                if parameter is not None:
                    parameter.copy_(value)
        return net

    def __len__(self) -> int:
        return len(self.w)

    def __repr__(self) -> str:
        return f"Population({len(self)} particles, {self.w.shape[1]} features, {self.a.shape[1]} outputs)"

    def __call__(self, x):
        """Outputs f(x), (n, k), for x (n, d)."""
        (x,), back = tensors(x=x)
        return back(self._outputs(self._features(x.detach().to(self.w))))

    def velocity(self, x, y, loss: str = "mean") -> Population:
        """Velocity of every particle (and of c) in the gradient flow, as a population of velocities.

        x (n, d), y (n,) or (n, k); loss: "mean", 1/(2n) sum |f - y|^2, or "sum", 1/2 sum.
        """
        x, y = self._task(x, y)
        return self._velocity(x, y, _weight(loss, len(x)))

    def descend(
        self,
        x,
        y,
        *,
        learning_rate: float,
        steps: int,
        loss: str = "mean",
        record: Sequence[int] | None = None,
    ) -> Trajectory:
        """Gradient descent: what ``train`` does with the mean-field network and the same rate.

        record: steps to keep; by default the first and the last.  Times are step * learning_rate.
        """
        rate = real("learning_rate", learning_rate, minimum=0, strict=True)
        steps = positive_int("steps", steps)
        wanted = [0, steps] if record is None else sorted(set(record))
        if not wanted or wanted[0] < 0 or wanted[-1] > steps:
            raise ValueError(f"record must name steps from 0 to {steps}, got {record!r}")
        x, y = self._task(x, y)
        weight = _weight(loss, len(x))
        kept, now = [], self
        for step in range(wanted[-1] + 1):
            if step > 0:
                now = now._plus(now._velocity(x, y, weight), rate)
            if step in wanted:
                kept.append(now)
        return Trajectory(self, np.array(wanted) * rate, tuple(kept))

    def flow(self, x, y, t, *, loss: str = "mean", tolerance: float = 1e-4) -> Trajectory:
        """The gradient flow itself, by an adaptive Runge-Kutta method of order 3.

        t: a time or times (T,) from 0 on, increasing;  tolerance: error of a step, as the mean distance of
            particles over their mean size.  Velocities jump at the kink of a ReLU, where particles can stay:
            there errors are of first order in the step, and tolerances below 1e-5 take long.

        Raises:
            ValueError: shapes that do not fit, bad times, or a tolerance that takes too many steps.
        """
        times = np.atleast_1d(np.asarray(t, dtype=float))
        bad = times.ndim != 1 or times.size == 0 or not np.isfinite(times).all()
        if bad or times[0] < 0 or (np.diff(times) <= 0).any():
            raise ValueError(f"t must be finite, increasing times from 0 on, got {t!r}")
        tolerance = real("tolerance", tolerance, minimum=0, strict=True)
        x, y = self._task(x, y)
        weight = _weight(loss, len(x))

        def speed(parts: list[Tensor]) -> list[Tensor]:
            return self._like(parts)._velocity(x, y, weight)._present()

        def size(parts: list[Tensor]) -> float:
            return self._like(parts)._lengths().mean().item()

        states = integrate(speed, self._present(), times.tolist(), tolerance, size)
        return Trajectory(self, times, tuple(map(self._like, states)))

    def moved(self, start: Population) -> Tensor:
        """Distance of every particle (w, b, a) from where it is in ``start``, (m,): O(1) as m grows."""
        if start.w.shape != self.w.shape or start.a.shape != self.a.shape:
            raise ValueError("start must hold the same particles")
        return self._plus(start, -1.0)._lengths()

    def polar(self) -> tuple[Tensor, Tensor]:
        """Angle of w in (-pi, pi] and norm |w|, each (m,), for inputs of two features."""
        if self.w.shape[1] != 2:
            raise ValueError(f"angles need 2 features, got {self.w.shape[1]}")
        return torch.atan2(self.w[:, 1], self.w[:, 0]), torch.linalg.vector_norm(self.w, dim=1)

    def _features(self, x: Tensor) -> Tensor:
        """phi of the pre-activations, (n, m)."""
        first, activation, _ = self.arch.layers
        if x.ndim != 2 or x.shape[1] != self.w.shape[1]:
            raise ValueError(f"x must have shape (n, {self.w.shape[1]}), got {tuple(x.shape)}")
        z = first.sigma_w / math.sqrt(self.w.shape[1]) * (x @ self.w.T)
        return activation.module()(z if self.b is None else z + first.sigma_b * self.b)

    def _outputs(self, features: Tensor) -> Tensor:
        second = self.arch.layers[2]
        f = second.sigma_w / len(self) * (features @ self.a)
        return f if self.c is None else f + second.sigma_b * self.c

    def _velocity(self, x: Tensor, y: Tensor, weight: float) -> Population:
        first, _, second = self.arch.layers
        with torch.enable_grad():
            w = self.w.detach().requires_grad_()
            b = None if self.b is None else self.b.detach().requires_grad_()
            features = Population(self.arch, w, b, self.a, self.c)._features(x)
        residual = weight * (self._outputs(features.detach()) - y)
        pull = -second.sigma_w * residual
        hidden = [w] if b is None else [w, b]
        if first.trainable:
            speeds = torch.autograd.grad(features, hidden, pull @ self.a.T)
        else:
            speeds = [torch.zeros_like(p) for p in hidden]
        da = features.detach().T @ pull if second.trainable else torch.zeros_like(self.a)
        dc = None if self.c is None else -second.sigma_b * residual.sum(0) * float(second.trainable)
        return Population(self.arch, speeds[0], None if b is None else speeds[1], da, dc)

    def _task(self, x, y) -> tuple[Tensor, Tensor]:
        (x, y), _ = tensors(x=x, y=y)
        x, y = x.detach().to(self.w), y.detach().to(self.w)
        k = self.a.shape[1]
        wanted = [(len(x), k)] + ([(len(x),)] if k == 1 else [])
        if tuple(y.shape) not in wanted:
            raise ValueError(f"y must have shape {' or '.join(map(str, wanted))}, got {tuple(y.shape)}")
        self._features(x[:1])
        return x, y.reshape(len(x), k)

    def _parts(self) -> tuple:
        return self.w, self.b, self.a.T, self.c

    def _plus(self, velocity: Population, time: float) -> Population:
        mine, theirs = (self.w, self.b, self.a, self.c), (velocity.w, velocity.b, velocity.a, velocity.c)
        moved = [None if p is None else p + time * v for p, v in zip(mine, theirs, strict=True)]
        return Population(self.arch, *moved)

    def _lengths(self) -> Tensor:
        """Euclidean length of every particle (w, b, a), (m,)."""
        square = self.w.square().sum(1) + self.a.square().sum(1)
        return (square if self.b is None else square + self.b.square()).sqrt()

    def _present(self) -> list[Tensor]:
        return [p for p in (self.w, self.b, self.a, self.c) if p is not None]

    def _like(self, present: list[Tensor]) -> Population:
        """The inverse of ``_present``."""
        rest = iter(present)
        parts = [None if p is None else next(rest) for p in (self.w, self.b, self.a, self.c)]
        return Population(self.arch, *parts)


@dataclass(frozen=True, eq=False, repr=False)
class Trajectory:
    """Where a population came by at T times."""

    start: Population
    """At time 0, whether or not that is among the times."""
    times: np.ndarray
    """(T,): steps times learning rate, or times of the flow."""
    populations: tuple[Population, ...]
    """T of them."""

    def __repr__(self) -> str:
        return f"Trajectory({self.start}, times={self.times})"

    @property
    def end(self) -> Population:
        """The population at the last time."""
        return self.populations[-1]

    def outputs(self, x):
        """f(x) at every time, (T, n, k), for x (n, d)."""
        (x,), back = tensors(x=x)
        return back(torch.stack([population(x) for population in self.populations]))


def _check(arch: Layer) -> Sequential:
    layers = arch.layers if isinstance(arch, Sequential) else ()
    kinds = (Dense, Activation, Dense)
    if len(layers) != 3 or not all(map(isinstance, layers, kinds)):
        raise ValueError(f"arch must be Sequential(Dense, activation, Dense), got {arch!r}")
    return arch


def _layers(net: FiniteNetwork) -> list[ScaledLinear]:
    return [module for module in net.modules() if isinstance(module, ScaledLinear)]


def _parameters(first: ScaledLinear, second: ScaledLinear) -> tuple:
    return first.weight, first.bias, second.weight, second.bias


def _weight(loss: str, n: int) -> float:
    return 1 / n if choice("loss", loss, ("mean", "sum")) == "mean" else 1.0
