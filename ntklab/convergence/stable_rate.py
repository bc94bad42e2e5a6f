"""The largest stable learning rate: from the spectrum, and from a network that is asked.

Below 2 / (c lambda_max) small residuals shrink under gradient descent, above it they grow (c = 1/n for the
loss "mean", 1 for "sum").  A *large* residual may grow and then be caught: the network moves to where its
kernel is smaller (the catapult, Lewkowycz et al. 2020).  Bisecting on divergence therefore finds another
number, the catapult's end, up to several times the first.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn

from ntklab import dynamics
from ntklab._spectrum import spectrum, square
from ntklab._validate import choice, positive_int, real, tensors
from ntklab.empirical import check_model
from ntklab.training import train

PROBE = 1e-6  # size of the residual, small against anything that could move the kernel


def stable_rate(kernel, *, loss="mean", momentum=0.0) -> float:
    """Largest stable rate of gradient descent for a constant kernel: 2 n / lambda_max, or 2 / lambda_max.

    Args:
        kernel: (n, n), or (n, n, k, k).
        loss: "mean" is 1/(2n) sum over samples, "sum" is 1/2 sum.
        momentum: heavy-ball beta, from 0 to below 1; it multiplies the rate by 1 + beta.

    Returns inf for the zero kernel.

    Raises:
        ValueError, TypeError: a kernel that is not symmetric positive semidefinite, unknown loss.
    """
    (given,), _ = tensors(kernel=kernel)
    choice("loss", loss, ("mean", "sum"))
    beta = real("momentum", momentum, minimum=0.0)
    if beta >= 1:
        raise ValueError(f"momentum must be below 1, got {beta:g}")
    modes = spectrum("kernel", square("kernel", given), torch.finfo(given.dtype).eps)
    return dynamics.stable_rate(2.0 * (1 + beta), modes, 1.0 / len(given) if loss == "mean" else 1.0)


def probe_stable_rate(net: nn.Module, x, *, loss="mean", steps: int = 8, tolerance: float = 1e-4) -> float:
    """Largest stable rate of gradient descent for a real network, found by training it a little.

    The network, copied in float64, is asked to fit y = f + 1e-6 v at x, where v is its top mode: does that
    residual grow over a few steps?  Bisection on the rate finds where it begins to.  The residual is so small
    that the kernel does not move and nothing can be caught; what is found is 2 / (c lambda_max) of the
    network's own kernel.  v comes from power iteration with training steps too, so nothing but training
    is used, with the network's own rates from ``parameter_groups`` where it has them.

    Args:
        net: a torch.nn.Module, left as it is.
        x: inputs (n, ...).
        loss: "mean" is 1/(2n) sum over samples, "sum" is 1/2 sum.
        steps: of gradient descent at each rate.
        tolerance: relative accuracy of the rate.

    Raises:
        ValueError, TypeError: no trainable parameters, outputs that are not (n,) or (n, k), outputs that do
            not depend on the parameters, NaN or empty inputs.
    """
    trial = _Trial(net, x, loss)
    steps, tolerance = positive_int("steps", steps), real("tolerance", tolerance, minimum=0.0, strict=True)
    mode, largest = trial.top_mode()

    def grows(rate: float) -> bool:
        return not abs(mode @ trial.residual(mode, rate, steps)) <= 1  # NaN has grown

    return _bisect(grows, 1 / largest, tolerance)


def catapult_end(
    net: nn.Module, x, y, *, loss="mean", steps: int = 200, tolerance: float = 0.02, highest: float = 64.0
) -> float:
    """Largest rate at which training from the network's own start still ends below its initial loss.

    This is not a stable rate: between ``stable_rate`` and here the loss first grows.  For ReLU and smooth
    networks it has been seen at about 2 to 6 times the stable rate (Lewkowycz et al. 2020, section 3, write
    eta_max ~ 4 / lambda_max for linear and smooth, up to 12 / lambda_max for ReLU networks).

    Args:
        net: a torch.nn.Module, left as it is.
        x, y: training set, as in ``ntklab.train``.
        loss: "mean" or "sum".
        steps: of each training run.
        tolerance: relative accuracy, by bisection on the logarithm: where rates that end well and rates that
            do not alternate, one of the borders is found.
        highest: rates are tried up to this many times the stable one.

    Raises:
        ValueError, TypeError: as ``ntklab.train`` and ``probe_stable_rate``; no rate up to the highest fails.
    """
    stable = probe_stable_rate(net, x, loss=loss, tolerance=1e-3)
    tolerance, highest = (
        real("tolerance", tolerance, minimum=0.0, strict=True),
        real("highest", highest, minimum=1.0),
    )

    def fails(rate: float) -> bool:
        run = train(
            copy.deepcopy(net),
            x,
            y,
            steps=steps,
            learning_rate=rate,
            loss=loss,
            record=[0, steps],
            probe=0,
            progress=False,
        )
        return run.diverged or not run.loss[-1] < run.loss[0]

    return _bisect(fails, stable / 2, tolerance, highest * stable)


def _bisect(fails, good: float, tolerance: float, highest: float = math.inf) -> float:
    """The rate where ``fails`` turns true, from a rate below it."""
    for _ in range(60):
        if not fails(good):
            break
        good /= 2
    bad = 2 * good
    while not fails(bad):
        good, bad = bad, 2 * bad
        if good > highest:
            raise ValueError(f"no rate up to {highest:g} fails")
    while bad / good > 1 + tolerance:
        middle = math.sqrt(good * bad)
        good, bad = (good, middle) if fails(middle) else (middle, bad)
    return math.sqrt(good * bad)


class _Trial:
    """Gradient descent from a network's present parameters, towards targets a small residual away."""

    def __init__(self, net: nn.Module, x, loss: str):
        check_model(net)
        self.net = copy.deepcopy(net).double()
        (x,), _ = tensors(x=x)
        parameter = next(p for p in self.net.parameters() if p.requires_grad)
        self.x = x.detach().to(parameter)
        self.scale = 1.0 / len(x) if choice("loss", loss, ("mean", "sum")) == "mean" else 1.0
        groups = getattr(self.net, "parameter_groups", None)
        self.groups = (
            groups(1.0)
            if groups
            else [{"params": [p for p in self.net.parameters() if p.requires_grad], "lr": 1.0}]
        )
        self.start = [[p.detach().clone() for p in group["params"]] for group in self.groups]
        with torch.no_grad():
            self.f0 = self.net(self.x)
        if self.f0.ndim not in (1, 2) or len(self.f0) != len(self.x):
            raise ValueError(f"net must give outputs (n,) or (n, k), got {tuple(self.f0.shape)}")

    def residual(self, mode: np.ndarray, rate: float, steps: int) -> np.ndarray:
        """(f_t - y) / 1e-6 after some steps from f_0 - y = 1e-6 mode; both (n k,)."""
        size = PROBE * max(1.0, self.f0.abs().max().item())
        y = self.f0 - size * torch.as_tensor(mode).to(self.f0).reshape(self.f0.shape)
        self._reset()
        for _ in range(steps):
            self._step(y, rate)
        with torch.no_grad():
            return ((self.net(self.x) - y) / size).flatten().cpu().numpy()

    def top_mode(self) -> tuple[np.ndarray, float]:
        """The top eigenvector (n k,) of the kernel at the start, and its c lambda_max."""
        size = self.f0.numel()
        start = np.random.default_rng(0).normal(size=size)
        start /= np.linalg.norm(start)
        rate = 1.0
        for _ in range(60):  # a step that moves outputs by about the residual
            change = np.linalg.norm(start - self.residual(start, rate, 1))
            if 0.1 <= change <= 10:
                break
            rate *= 8 if change < 0.1 else 1 / 8
        else:
            raise ValueError("the network's kernel on x is zero: every rate is stable")

        def apply(v: np.ndarray) -> np.ndarray:
            v = v.ravel()
            norm = np.linalg.norm(v)
            return (v - norm * self.residual(v / norm, rate, 1)) / rate

        if size == 1:
            return np.ones(1), float(apply(np.ones(1))[0])
        operator = LinearOperator((size, size), matvec=apply, dtype=np.float64)
        value, vector = eigsh(operator, k=1, which="LA", tol=1e-8, v0=start)
        return vector[:, 0], float(value[0])

    @torch.no_grad()
    def _reset(self) -> None:
        for group, start in zip(self.groups, self.start, strict=True):
            for p, value in zip(group["params"], start, strict=True):
                p.copy_(value)

    def _step(self, y: Tensor, rate: float) -> None:
        parameters = [p for group in self.groups for p in group["params"]]
        loss = self.scale / 2 * (self.net(self.x) - y).square().sum()
        gradients = iter(torch.autograd.grad(loss, parameters, allow_unused=True))
        with torch.no_grad():
            for group in self.groups:
                for p in group["params"]:
                    gradient = next(gradients)
                    if gradient is not None:
                        p -= rate * group["lr"] * gradient
