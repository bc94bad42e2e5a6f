"""Slow, obvious references that share no formula with the package."""

from __future__ import annotations

import itertools
import math

import mpmath
import numpy as np


def trapezoid(f, g, s1: float, s2: float, rho: float, step: float = 0.05) -> float:
    """E f(u) g(v) for analytic f, g: the trapezoidal rule on two independent normals converges exponentially."""
    z = np.arange(-12, 12 + step / 2, step)
    w = np.exp(-z * z / 2) * step / math.sqrt(2 * math.pi)
    u = s1 * z[:, None]
    v = s2 * (rho * z[:, None] + math.sqrt(1 - rho**2) * z[None, :])
    return float((w[:, None] * w[None, :] * f(u) * g(v)).sum())


def angular(f, g, s1: float, s2: float, rho: float, degree: int) -> float:
    """E f(u) g(v) for f, g positively homogeneous of one degree (0 or 1), kinked at 0 only.

    In polar coordinates the radius integrates to 2^degree degree!; the angle is integrated by
    Gauss-Legendre between the directions where u or v changes sign.
    """
    theta = math.acos(rho)
    cuts = sorted(
        {(c % (2 * math.pi)) for c in (math.pi / 2, -math.pi / 2, theta + math.pi / 2, theta - math.pi / 2)}
    )
    cuts.append(cuts[0] + 2 * math.pi)
    x, w = np.polynomial.legendre.leggauss(40)
    total = 0.0
    for a, b in itertools.pairwise(cuts):
        alpha = (a + b) / 2 + (b - a) / 2 * x
        total += (b - a) / 2 * float((w * f(s1 * np.cos(alpha)) * g(s2 * np.cos(alpha - theta))).sum())
    return total * 2**degree * math.factorial(degree) / (2 * math.pi)


def relu_kernels(
    x1, x2, hidden: int, sigma_w: float, sigma_b: float, digits: int = 60
) -> tuple[float, float]:
    """NNGP kernel and NTK of a ReLU network, every Dense with (sigma_w, sigma_b), in high precision.

    x1, x2: sequences of mpmath numbers or floats.
    """
    with mpmath.workdps(digits):
        x1, x2 = [mpmath.mpf(a) for a in x1], [mpmath.mpf(a) for a in x2]
        sw, sb, d = mpmath.mpf(sigma_w) ** 2, mpmath.mpf(sigma_b) ** 2, len(x1)
        dot = lambda a, b: sum(p * q for p, q in zip(a, b, strict=True)) / d  # noqa: E731
        a, b, c = (sw * dot(p, q) + sb for p, q in ((x1, x1), (x2, x2), (x1, x2)))
        theta_ntk = c
        for _ in range(hidden):
            scale = mpmath.sqrt(a * b)
            cosine = max(mpmath.mpf(-1), min(mpmath.mpf(1), c / scale)) if scale else mpmath.mpf(0)
            t = mpmath.acos(cosine)
            moment = scale * (mpmath.sin(t) + (mpmath.pi - t) * cosine) / (2 * mpmath.pi)
            slope = (mpmath.pi - t) / (2 * mpmath.pi)
            a, b, c = sw * a / 2 + sb, sw * b / 2 + sb, sw * moment + sb
            theta_ntk = c + sw * slope * theta_ntk
        return float(c), float(theta_ntk)
