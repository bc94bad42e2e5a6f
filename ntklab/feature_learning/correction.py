"""The first correction to a constant kernel: how fast it moves, and how much it fluctuates.

Under gradient flow the parameters move by theta' = -eta grad L, so with J the Jacobian of the outputs and H the
Hessians,

    dTheta/dt (x, x') = <H(x) theta', J(x')> + <J(x), H(x') theta'> .

In NTK parameterisation it is of order 1/m: in a two-layer network, with one training point and q = |x|^2/d,

    dTheta/dt = -(2 eta c r / m) S,   S = m^-1/2 sum_j a_j (2 phi phi'^2 q + a_j^2 phi'^2 phi'' q^2)(z_j),

where r = f - y and S, f are both of order 1.  As S is odd in a, its mean is 0; but S and f are correlated, so that
the mean over networks, -(2 eta c / m) E[f S], is of order 1/m too, and does not depend on y.

For ReLU phi'' is 0 almost everywhere, and that is what autodiff sees.  The kernel of a network then moves between
jumps at this velocity; the jumps, where neurons cross their kinks, are of order m^-1/2 on average at the training
points, and are no part of it.

Sources: Huang & Yau, "Dynamics of deep neural networks and neural tangent hierarchy" (ICML 2020);
Dyer & Gur-Ari, "Asymptotics of wide networks from Feynman diagrams" (ICLR 2020).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev, jvp, vmap

from ntklab._record import Task
from ntklab._validate import real, tensors
from ntklab.empirical import check_model
from ntklab.feature_learning._scaling import PowerFit, fit_points, integers, several_seeds
from ntklab.feature_learning._stack import network, networks, rate_factors, stacked_parameters
from ntklab.layers.base import Layer

_CHUNK_BYTES = 2**28  # memory for the Jacobian of one chunk; its derivative takes as much again


def kernel_velocity(net: nn.Module, x, y, x_eval=None, *, loss: str = "mean", learning_rate: float = 1.0):
    """dTheta/dt of the empirical NTK at the present parameters, under gradient flow on (x, y).

    Exact, by forward-mode derivative of the Jacobian along the gradient of the loss: twice the Jacobian's
    memory, in chunks, and no tensor over triples of samples.  Parameters move at the rates of the network's
    ``parameter_groups`` where it has them, as in ``nl.train``.

    Args:
        net: a torch.nn.Module to (n,) or (n, k), of operations with forward-mode derivatives.
        x: training inputs (n, ...).
        y: targets, as in ``nl.train``.
        x_eval: inputs (m, ...) between which the kernel is taken; left out, x.
        loss: "mean", "sum" or "cross_entropy", as in ``nl.train``.
        learning_rate: eta.

    Returns:
        (m, m), averaged over outputs like ``nl.empirical_ntk``; exactly symmetric.

    Raises:
        ValueError, TypeError: arguments that do not fit, by name.
    """
    check_model(net)
    learning_rate = real("learning_rate", learning_rate, minimum=0.0, strict=True)
    (_, _, points), back = tensors(x=x, y=y, x_eval=x_eval)
    task = Task(net, x, y, None, loss)
    points = task.x if points is None else points.detach().to(task.x)
    flow = _Flow(net, task, learning_rate)
    parameters = {name: p.detach() for name, p in net.named_parameters()}
    size = max(1, _CHUNK_BYTES // (flow.count * points.element_size()))
    chunks, velocity = points.split(size), flow.direction(parameters)
    blocks = [[None] * len(chunks) for _ in chunks]
    for i, first in enumerate(chunks):
        left = flow.jacobian(parameters, velocity, first)
        for j, second in enumerate(chunks[i:], i):
            right = left if i == j else flow.jacobian(parameters, velocity, second)
            blocks[i][j] = _symmetric(left, right)
            blocks[j][i] = blocks[i][j].T
    return back(torch.cat([torch.cat(row, 1) for row in blocks]) / flow.outputs)


class _Flow:
    """A network as a function of its parameters, and the direction in which gradient flow moves them."""

    def __init__(self, net: nn.Module, task: Task, learning_rate: float):
        self.net, self.task = net, task
        self.rates = {name: learning_rate * factor for name, factor in rate_factors(net).items()}
        with torch.no_grad():
            self.outputs = net(task.x[:1]).numel()
        self.count = self.outputs * sum(net.get_parameter(name).numel() for name in self.rates)

    def direction(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        trained, rest = self._split(parameters)

        def loss(values):
            f = functional_call(self.net, {**rest, **values}, (self.task.x,))
            return self.task.of(f[:, 0] if self.task._flat else f, self.task.y)

        return {name: -self.rates[name] * g for name, g in grad(loss)(trained).items()}

    def jacobian(
        self, parameters: dict[str, Tensor], velocity: dict[str, Tensor], x: Tensor
    ) -> tuple[list[Tensor], list[Tensor]]:
        """J and its derivative along the velocity at x (b, ...), for each parameter (b, k p)."""
        trained, rest = self._split(parameters)

        def one(values, sample):
            return functional_call(self.net, {**rest, **values}, (sample.unsqueeze(0),)).flatten()

        rows, change = jvp(lambda p: vmap(jacrev(one), in_dims=(None, 0))(p, x), (trained,), (velocity,))
        return [rows[n].flatten(1) for n in trained], [change[n].flatten(1) for n in trained]

    def _split(self, parameters: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        trained = {name: parameters[name] for name in self.rates}
        return trained, {name: p for name, p in parameters.items() if name not in self.rates}


def _symmetric(left: tuple[list[Tensor], list[Tensor]], right: tuple[list[Tensor], list[Tensor]]) -> Tensor:
    forward = sum(a @ b.T for a, b in zip(left[0], right[1], strict=True))
    return forward + (
        forward.T if left is right else sum(a @ b.T for a, b in zip(left[1], right[0], strict=True))
    )


@dataclass(frozen=True)
class VelocityLaw:
    """Kernel and velocity at initialisation, of S networks at each of W widths, on n training points."""

    widths: np.ndarray
    """(W,)"""
    velocity: np.ndarray
    """(W, S, n, n): dTheta/dt."""
    kernel: np.ndarray
    """(W, S, n, n): Theta."""
    learning_rate: float
    """eta c, the factor between Theta (f - y) and df/dt: c = 1/n for "mean", 1 for "sum"."""

    @property
    def mean(self) -> np.ndarray:
        """(W, n, n): the mean velocity over networks."""
        return self.velocity.mean(1)

    @property
    def mean_error(self) -> np.ndarray:
        """(W, n, n): its standard error."""
        return self.velocity.std(1, ddof=1) / np.sqrt(self.velocity.shape[1])

    @property
    def size(self) -> np.ndarray:
        """(W,): the typical size, root mean square over networks of the Frobenius norm."""
        return np.sqrt(np.square(self.velocity).sum((2, 3)).mean(1))

    @property
    def size_error(self) -> np.ndarray:
        """(W,): its standard error."""
        squares = np.square(self.velocity).sum((2, 3))
        return squares.std(1, ddof=1) / np.sqrt(squares.shape[1]) / (2 * self.size)

    @property
    def per_decay(self) -> np.ndarray:
        """(W, S): |dTheta/dt|_F / |Theta|_F over eta c lambda_max, the share of the kernel that moves while the
        fastest mode decays by a factor e: in the limit constant in eta and the scale of the kernel."""
        share = np.linalg.norm(self.velocity, axis=(2, 3)) / np.linalg.norm(self.kernel, axis=(2, 3))
        return share / (self.learning_rate * np.linalg.eigvalsh(self.kernel)[..., -1])

    def fit_size(self) -> PowerFit:
        """The power of the width in ``size``: -1 in NTK parameterisation."""
        return fit_points(self.widths, self.size, self.size_error)

    def fit_mean(self, i: int = 0, j: int = 0) -> PowerFit:
        """The power of the width in the absolute mean velocity at one pair of points: -1 as well."""
        return fit_points(self.widths, abs(self.mean[:, i, j]), self.mean_error[:, i, j])


def velocity_law(
    arch: Layer, x, y, widths, seeds, *, parameterization="ntk", loss="mean", learning_rate=1.0
) -> VelocityLaw:
    """``kernel_velocity`` at initialisation of many networks at one or several widths, in float64.

    Args:
        arch: an architecture.
        x, y, loss, learning_rate: as in ``kernel_velocity``.
        widths: one width or several.
        seeds: a number S of networks at each width, or their seeds.
        parameterization: a name as in ``arch.finite``, or an ``ABC``.

    Raises:
        ValueError, TypeError: arguments that do not fit, by name; fewer than two seeds.
    """
    widths, seeds = integers("widths", widths), several_seeds(seeds)
    learning_rate = real("learning_rate", learning_rate, minimum=0.0, strict=True)
    results = []
    for width in widths:
        nets, task = networks(arch, width, x, y, parameterization, seeds, loss, torch.float64)
        flow = _Flow(nets[0], task, learning_rate)

        def both(parameters, flow=flow, points=task.x):
            rows, change = flow.jacobian(parameters, flow.direction(parameters), points)
            return torch.stack([_symmetric((rows, change), (rows, change)), sum(a @ a.T for a in rows)])

        size = max(1, _CHUNK_BYTES // (flow.count * task.n * 8))
        results.append(
            vmap(both, chunk_size=size)(stacked_parameters(nets)).detach().cpu().numpy() / flow.outputs
        )
    velocity, kernel = np.stack(results).transpose(2, 0, 1, 3, 4)
    return VelocityLaw(
        np.array(widths), velocity, kernel, learning_rate if loss == "sum" else learning_rate / task.n
    )


@dataclass(frozen=True)
class Fluctuation:
    """log Theta(x, x) of S networks for each of A architectures and W widths."""

    depths: np.ndarray
    """(A,): hidden layers."""
    widths: np.ndarray
    """(W,)"""
    log_kernel: np.ndarray
    """(A, W, S)"""

    @property
    def ratio(self) -> np.ndarray:
        """(A, W): depth over width, L / m."""
        return self.depths[:, None] / self.widths

    @property
    def std(self) -> np.ndarray:
        """(A, W): standard deviation of log Theta(x, x) over networks."""
        return self.log_kernel.std(2, ddof=1)

    @property
    def std_error(self) -> np.ndarray:
        """(A, W): standard error of ``std``, from the fourth moment."""
        centred = self.log_kernel - self.log_kernel.mean(2, keepdims=True)
        second, fourth = np.square(centred).mean(2), (centred**4).mean(2)
        return np.sqrt((fourth - second**2) / self.log_kernel.shape[2] / (4 * second))


def log_kernel_fluctuation(
    archs: Layer | Sequence[Layer], x, widths, seeds, *, parameterization="ntk"
) -> Fluctuation:
    """How much log Theta(x, x) fluctuates between networks, against depth over width.

    For bias-free ReLU networks at criticality (sigma_w^2 = 2) the standard deviation depends on L/m alone,
    once both are large (Hanin & Nica, ICLR 2020, theorem 1).  For small L/m it is sqrt(11/3 L/m): layer l adds
    |h_(l-1)|^2 |g_l|^2 to Theta, and the logarithms of the forward and the backward norm are random walks with
    variance 5/m and covariance 1/m a layer, whose average over l has the variance (5/3 + 5/3 + 1/3) L/m.

    Args:
        archs: an architecture or several, such as one of each depth.
        x: one input, (d,) or (1, d).
        widths: one width or several.
        seeds: a number S of networks, or their seeds.
        parameterization: a name as in ``arch.finite``, or an ``ABC``.

    Raises:
        ValueError, TypeError: arguments that do not fit, by name; fewer than two seeds; a network whose
            kernel is 0, because no neuron of some ReLU layer is active.
    """
    archs = list(archs) if isinstance(archs, Iterable) else [archs]
    if not archs or not all(isinstance(arch, Layer) for arch in archs):
        raise TypeError(f"archs must be one ntklab architecture or several, got {archs!r}")
    widths, seeds = integers("widths", widths), several_seeds(seeds)
    (point,), _ = tensors(x=x)
    point = (point if point.ndim == 2 else point[None]).to(torch.float64)
    if point.ndim != 2 or len(point) != 1:
        raise ValueError(f"x must be one input, (d,) or (1, d), got shape {tuple(point.shape)}")
    logs = [[_log_kernels(arch, point, width, seeds, parameterization) for width in widths] for arch in archs]
    depths = np.array([arch.weight_layers() - 1 for arch in archs])
    return Fluctuation(depths, np.array(widths), np.array(logs))


def _log_kernels(
    arch: Layer, point: Tensor, width: int, seeds: tuple[int, ...], parameterization
) -> np.ndarray:
    """(S,): log Theta(x, x), by one gradient for each network."""
    template = network(arch, width, point.shape[1:], 1, parameterization, seeds[0], torch.float64)
    trained = [name for name, p in template.named_parameters() if p.requires_grad]

    def kernel(parameters):
        rest = {name: p for name, p in parameters.items() if name not in trained}

        def output(values):
            return functional_call(template, {**rest, **values}, (point,))[0, 0]

        gradients = grad(output)({name: parameters[name] for name in trained})
        return sum(g.square().sum() for g in gradients.values())

    size = max(1, _CHUNK_BYTES // (2 * sum(p.numel() for p in template.parameters()) * 8))
    values = []
    for first in range(0, len(seeds), size):
        some = seeds[first : first + size]
        nets = [network(arch, width, point.shape[1:], 1, parameterization, s, torch.float64) for s in some]
        values.append(vmap(kernel)(stacked_parameters(nets)))
    kernels = torch.cat(values)
    if (kernels == 0).any():
        dead = seeds[int((kernels == 0).nonzero()[0])]
        raise ValueError(
            f"Theta(x, x) is 0 for seed {dead} at width {width}: no path through the network is active"
        )
    return kernels.log().numpy()
