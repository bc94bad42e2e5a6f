"""The spectrum of a finite network's NTK when width, samples and input dimension are all large alike.

Samples in high dimension are nearly orthogonal.  There each part of the kernel of a bias-free network with one
hidden layer of width m is, up to terms that move no more than a few eigenvalues (El Karoui 2010; Fan & Wang 2020,
section 3),

    Theta ~ r I + q G + s G_1,    G = X X' / d,    G_1 = 1/m sum_j g_j g_j',   Cov g_j = F = f_0 I + f_1 G

G_1 is a sample covariance matrix over neurons, whose spectrum does not tend to that of F unless m / n is large.
The resolvent (Theta - z)^-1 has the deterministic equivalent

    (r I + q G + s F / (1 + s delta) - z)^-1,    delta = 1/m tr F (r I + q G + s F / (1 + s delta) - z)^-1

so its trace needs only the eigenvalues of G.  q = r = 0 is Marchenko & Pastur's law and its deformation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from ntklab._validate import positive_int, tensors
from ntklab.convergence.series import kernel_series
from ntklab.layers.activation import Activation
from ntklab.layers.base import Layer
from ntklab.layers.dense import Dense
from ntklab.layers.sequential import Sequential

NEWTON_STEPS = 200
STEP = 0.7  # of log(height), on the way down to the real axis
LOWEST, HIGHEST = 1e-7, 1e5  # heights, over the largest eigenvalue there can be
GRID = 128


@dataclass(frozen=True, eq=False, repr=False)
class LinearWidthSpectrum:
    """The law of the eigenvalues of r I + q G + s G_1; see ``linear_width_spectrum``."""

    identity: float
    """r"""
    gram: float
    """q"""
    features: float
    """s"""
    covariance: tuple[float, float]
    """(f_0, f_1) of F = f_0 I + f_1 G"""
    width: int
    """m"""
    data: np.ndarray
    """Eigenvalues of G, (n,)."""

    @property
    def mean(self) -> float:
        """Mean of the law."""
        fixed, random = self._parts()
        return float((fixed + random).mean())

    @property
    def upper(self) -> float:
        """A number above all of the law."""
        fixed, random = self._parts()
        return float(fixed.max() + random.max() * (1 + math.sqrt(len(self.data) / self.width)) ** 2)

    def stieltjes(self, z) -> np.ndarray:
        """int dmu(lambda) / (lambda - z) for complex z (...) off the real axis.

        Raises:
            ValueError: a real z.
        """
        z = np.asarray(z, dtype=complex)
        if z.size == 0 or not (np.isfinite(z) & (z.imag != 0)).all():
            raise ValueError("z must hold finite numbers off the real axis, got a real, infinite or no one")
        flat, height = z.ravel(), np.abs(z.imag).ravel()
        start = max(HIGHEST * self.upper, height.max())
        steps = 2 + math.ceil(math.log(start / height.min()) / STEP)
        delta = np.zeros_like(flat)
        for share in np.linspace(0, 1, steps):
            delta, trace = self._solve(flat.real + 1j * start ** (1 - share) * height**share, delta)
        return np.where(flat.imag > 0, trace, trace.conj()).reshape(z.shape)

    def density(self, x) -> np.ndarray:
        """Density at x (X,), without point masses."""
        return self._descend(x)[0]

    def cdf(self, x) -> np.ndarray:
        """Share of the eigenvalues below x (X,), with half of a point mass at x itself."""
        return self._descend(x)[1]

    def quantiles(self, p) -> np.ndarray:
        """Where the cdf reaches p (P,), numbers from 0 to 1; p = (i - 1/2) / n predicts n eigenvalues."""
        p = _vector("p", p)
        if p.min() < 0 or p.max() > 1:
            raise ValueError(f"p must be from 0 to 1, got {p.min():g} to {p.max():g}")
        x = np.linspace(0, self.upper, GRID)
        x = np.concatenate([x, self.identity + 1e-4 * self.upper * np.array([-1, 1])])
        level = self.cdf(x)
        for _ in range(2):
            order = np.argsort(x)
            x, level = x[order], np.maximum.accumulate(level[order])
            between = np.interp(np.linspace(0, 1, GRID // 2), level, x)
            x, level = np.append(x, between), np.append(level, self.cdf(between))
        order = np.argsort(x)
        return np.interp(p, np.maximum.accumulate(level[order]), x[order])

    def _descend(self, x) -> tuple[np.ndarray, np.ndarray]:
        """Density and cdf at x (X,), both from the vertical lines above x.

        1/pi Im m is the density at their feet, and  1/2 - 1/pi int_0^inf Re m(x + i h) dh  the cdf: the
        trapezoidal rule in log(h) converges exponentially.
        """
        x = _vector("x", x)
        steps = math.ceil(math.log(HIGHEST / LOWEST) / STEP)
        delta, total = np.zeros(len(x), complex), 0.0
        for height in self.upper * np.geomspace(HIGHEST, LOWEST, steps + 1):
            delta, trace = self._solve(x + 1j * height, delta)
            total = total + trace.real * height
        total = total * math.log(HIGHEST / LOWEST) / steps
        return trace.imag / math.pi, np.clip(0.5 - total / math.pi, 0, 1)

    def _parts(self) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues (n,) of r I + q G and of s F."""
        fixed = self.identity + self.gram * self.data
        return fixed, self.features * (self.covariance[0] + self.covariance[1] * self.data)

    def _solve(self, z: np.ndarray, delta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """s delta(z) and m(z), each (Z,), by Newton's method from a nearby delta.

        Where Newton leaves the upper half-plane a fixed-point step is taken, which never does, and which
        alone would converge too, but slowly near the axis.
        """
        fixed, random = self._parts()
        atoms, counts = np.unique(np.stack([fixed, random]), axis=1, return_counts=True)
        fixed, random = atoms
        weight, delta, left = counts / self.width, delta.copy(), np.arange(len(z))
        for _ in range(NEWTON_STEPS):
            old = delta[left]
            shrink = 1 / (1 + old)
            terms = random / (fixed + random * shrink[:, None] - z[left, None])
            update, slope = terms @ weight, (terms * terms) @ weight * shrink**2
            new = old - (old - update) / (1 - slope)
            delta[left] = new = np.where(new.imag > 0, new, update)
            left = left[np.abs(new - old) > 1e-10 * np.abs(new)]
            if not len(left):
                break
        inverse = 1 / (fixed + random / (1 + delta)[:, None] - z[:, None])
        return delta, inverse @ counts / len(self.data)


def linear_width_spectrum(arch: Layer, data_eigenvalues, width: int) -> LinearWidthSpectrum:
    """Predict the spectrum of the NTK of a one-hidden-layer network of finite width at initialisation.

    For width m, samples n and input dimension d that are large alike and samples that are nearly orthogonal
    and of nearly the same length.  With k(t) the kernel of infinite width at cosine t, split into the
    readout's part (the NNGP kernel) and the first layer's, r I + q G + s F is the expansion
    k(0) 1 1' + k'(0) G + (k(1) - k(0) - k'(0)) I of both, without its first term.  That term, and the mean
    of phi, move a bounded number of eigenvalues: the law says nothing of those.

    Args:
        arch: ``Sequential(Dense(sigma_w), phi, Dense(...))``, where the first layer has no bias.  (With one, the
            first layer's part would fluctuate with the width as well.)  Frozen layers count as such.
        data_eigenvalues: of G = X X' / d, (n,), at least 0.
        width: m.

    Raises:
        ValueError, TypeError: another architecture, eigenvalues that are negative or all 0.

    Source: Fan & Wang 2020, section 3 (one hidden layer); the equivalent is Silverstein & Bai 1995.
    """
    (values,), _ = tensors(data_eigenvalues=data_eigenvalues)
    data = values.detach().cpu().to(torch.float64).numpy()
    if data.ndim != 1 or data.min() < 0 or not data.max() > 0:
        raise ValueError(
            "data_eigenvalues must have shape (n,) and be at least 0, not all 0, "
            f"got shape {data.shape}, from {data.min():g} to {data.max():g}"
        )
    width, length = positive_int("width", width), float(data.mean())
    first, activation, readout = _layers(arch)
    hidden = Sequential(first, activation)
    features, gradients = kernel_series(hidden, length, 64)
    ends = hidden.diagonal(np.full((1, 1), math.sqrt(length)))
    gain = readout.sigma_w**2
    return LinearWidthSpectrum(
        identity=gain * float(ends.ntk[0] - gradients[1]),
        gram=gain * float(gradients[1]) / length,
        features=gain if readout.trainable else 0.0,
        covariance=(max(float(ends.nngp[0] - features[0] - features[1]), 0.0), float(features[1]) / length),
        width=width,
        data=data,
    )


def _layers(arch: Layer) -> tuple[Dense, Activation, Dense]:
    layers = arch.layers if isinstance(arch, Sequential) else ()
    kinds = (Dense, Activation, Dense)
    if len(layers) != 3 or not all(map(isinstance, layers, kinds)):
        raise ValueError(f"arch must be Sequential(Dense, activation, Dense), got {arch!r}")
    if layers[0].sigma_b or not layers[0].sigma_w:
        raise ValueError(f"the first layer must have sigma_w > 0 and no bias, got {layers[0]!r}")
    return layers


def _vector(name: str, value) -> np.ndarray:
    (values,), _ = tensors(**{name: value})
    if values.ndim != 1:
        raise ValueError(f"{name} must have shape (N,), got {tuple(values.shape)}")
    return values.detach().cpu().to(torch.float64).numpy()
