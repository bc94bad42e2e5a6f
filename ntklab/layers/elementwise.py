"""Any elementwise activation, by quadrature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ntklab._validate import positive_int
from ntklab.layers import hermite
from ntklab.layers.activation import Activation, after, require_gaussian
from ntklab.layers.smooth import _Function

TOLERANCE = 1e-8
MAX_DEGREE = 2048
CHECKED = 16  # standard deviations, from the smallest to the largest, at which convergence is checked


@dataclass(frozen=True, repr=False)
class Elementwise(Activation):
    """A torch function applied to every unit; its Gaussian expectations by quadrature.

    fn: elementwise torch function, such as torch.tanh (importable by name if it is to be pickled).
    derivative: its derivative; by autograd if not given.
    degree: number of Hermite terms.  If not given it is doubled from 16 until the series, the
        quadrature and a quadrature twice as fine agree to 1e-8 at the variances met; a given degree
        is checked the same way.

    Raises ValueError, on use, where they do not agree: kinks and jumps converge slowly, and have
    closed forms of their own (`ReLU`, `LeakyReLU`, `Abs`, `Sign`).
    """

    fn: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor], Tensor] | None = None
    degree: int | None = None

    def __post_init__(self):
        if not callable(self.fn):
            raise TypeError(f"fn must be a function of a tensor, got {self.fn!r}")
        if self.derivative is not None and not callable(self.derivative):
            raise TypeError(f"derivative must be a function of a tensor, got {self.derivative!r}")
        if self.degree is not None:
            object.__setattr__(self, "degree", positive_int("degree", self.degree))

    def __repr__(self) -> str:
        parts = [getattr(self.fn, "__name__", repr(self.fn))]
        if self.derivative is not None:
            parts.append(f"derivative={getattr(self.derivative, '__name__', repr(self.derivative))}")
        if self.degree is not None:
            parts.append(f"degree={self.degree}")
        return f"Elementwise({', '.join(parts)})"

    def propagate(self, state):
        require_gaussian(state)
        degree = self._degree(state.std1, state.std2)
        side1 = self._side(state.std1, degree)
        side2 = side1 if state.std2 is state.std1 else self._side(state.std2, degree)
        duals = [hermite.mehler(a, b, state.rho) for a, b in zip(side1[:2], side2[:2], strict=True)]
        return after(state, duals, side1[2], side1[2] if side2 is side1 else side2[2])

    def dual(self, rho, s1, s2):
        degree = self._degree(s1, s2)
        side1, side2 = self._side(s1, degree), self._side(s2, degree)
        return hermite.mehler(side1[0], side2[0], rho), hermite.mehler(side1[1], side2[1], rho)

    def mean(self, s):
        return self._side(s, self._degree(s))[0][..., 0]

    def module(self):
        return _Function(self.fn)

    def _side(self, s: Tensor, degree: int) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Hermite coefficients of phi and of phi', shape of s plus (degree,); E phi(u)^2 and E phi(u)."""
        alpha, beta = (
            hermite.coefficients(function, s.double(), degree)[0].to(s.dtype)
            for function in (self.fn, self._slope)
        )
        return alpha, beta, (hermite.mehler(alpha, alpha, torch.ones_like(s)), alpha[..., 0])

    def _degree(self, *stds: Tensor) -> int:
        """The number of terms that is enough between the smallest and the largest standard deviation."""
        s = torch.cat([part.detach().double().reshape(-1) for part in stds]).sort().values
        s = s[torch.linspace(0, len(s) - 1, min(len(s), CHECKED), device=s.device).long()]
        if self.degree is not None:
            gap = self._gap(s, self.degree)
            if gap <= TOLERANCE:
                return self.degree
            raise ValueError(
                f"degree {self.degree} is not enough: error {gap:.1e} at standard deviations "
                f"{s.min():.3g} to {s.max():.3g}, wanted {TOLERANCE:.0e}"
            )
        degree = 16
        while (gap := self._gap(s, degree)) > TOLERANCE:
            degree *= 2
            if degree > MAX_DEGREE:
                raise ValueError(
                    f"quadrature does not converge: error {gap:.1e} with {MAX_DEGREE} terms at standard "
                    f"deviations {s.min():.3g} to {s.max():.3g}, wanted {TOLERANCE:.0e}; has fn kinks, jumps or poles?"
                )
        return degree

    def _gap(self, s: Tensor, degree: int) -> float:
        """Largest relative disagreement of E phi^2 and E phi'^2: series, coarse and fine quadrature.

        By Cauchy-Schwarz the tail of the series at rho = 1 bounds that at every rho.
        """
        gap = 0.0
        for name, function in (("fn", self.fn), ("derivative", self._slope)):
            alpha, fine = hermite.coefficients(function, s, degree)
            _, coarse = hermite.coefficients(function, s, degree, hermite.COARSE)
            if not torch.isfinite(fine).all():
                raise ValueError(
                    f"{name} is not finite at the pre-activations met (standard deviation {s.max():.3g})"
                )
            scale = torch.where(fine > 0, fine, 1.0)
            series = (alpha * alpha).sum(-1)
            gap = max(
                gap,
                float(((series - fine).abs() / scale).max()),
                float(((coarse - fine).abs() / scale).max()),
            )
        return gap

    def _slope(self, z: Tensor) -> Tensor:
        if self.derivative is not None:
            return self.derivative(z) + torch.zeros_like(z)
        with torch.enable_grad():
            keep = z.requires_grad
            z = z if keep else z.detach().requires_grad_()
            value = self.fn(z)
            if value.shape != z.shape:
                raise ValueError(
                    f"fn must be elementwise: shape {tuple(z.shape)} became {tuple(value.shape)}"
                )
            if not value.requires_grad:
                return torch.zeros_like(z)
            slope = torch.autograd.grad(value.sum(), z, create_graph=keep, allow_unused=True)[0]
        return torch.zeros_like(z) if slope is None else slope
