"""Dual activations against quadrature, and against each other."""

import math

import numpy as np
import pytest
import torch
from scipy.special import erf
from scipy.stats import norm

import ntklab as nl
from tests.oracles import angular, trapezoid

POINTS = [(0.7, 1.3, 0.4), (0.5, 0.5, -0.9), (1.2, 1.1, 0.99), (0.3, 2.0, 0.0), (1.0, 1.0, -0.3)]
SMOOTH = {
    "Erf": (nl.Erf(), erf, lambda z: 2 / math.sqrt(math.pi) * np.exp(-z * z)),
    "GELU": (nl.GELU(), lambda z: z * norm.cdf(z), lambda z: norm.cdf(z) + z * norm.pdf(z)),
    "Sin": (nl.Sin(), np.sin, np.cos),
    "Cos": (nl.Cos(), np.cos, lambda z: -np.sin(z)),
    "Identity": (nl.Identity(), lambda z: z, np.ones_like),
    "Polynomial": (
        nl.Polynomial([0.3, 1, -0.5, 0.2]),
        lambda z: 0.3 + z - 0.5 * z**2 + 0.2 * z**3,
        lambda z: 1 - z + 0.6 * z**2,
    ),
    "tanh": (nl.Elementwise(torch.tanh), np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    "softplus": (
        nl.Elementwise(torch.nn.functional.softplus),
        lambda z: np.logaddexp(z, 0),
        lambda z: 1 / (1 + np.exp(-z)),
    ),
    "given derivative": (nl.Elementwise(torch.sin, torch.cos), np.sin, np.cos),
}
KINKED = {
    "ReLU": (nl.ReLU(), lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
    "LeakyReLU": (
        nl.LeakyReLU(0.3),
        lambda z: np.where(z > 0, z, 0.3 * z),
        lambda z: np.where(z > 0, 1, 0.3),
    ),
    "steep leak": (
        nl.LeakyReLU(-2.5),
        lambda z: np.where(z > 0, z, -2.5 * z),
        lambda z: np.where(z > 0, 1, -2.5),
    ),
    "Abs": (nl.Abs(), np.abs, np.sign),
}
ALL = {**SMOOTH, **KINKED, "Sign": (nl.Sign(), np.sign, np.zeros_like)}


def dual(layer, rho, s1, s2):
    return [
        float(part) for part in layer.dual(*(torch.tensor(v, dtype=torch.float64) for v in (rho, s1, s2)))
    ]


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("point", POINTS)
def test_smooth_duals_are_gaussian_expectations(name, point):
    layer, phi, slope = SMOOTH[name]
    s1, s2, rho = point
    moment, derivative = dual(layer, rho, s1, s2)
    assert moment == pytest.approx(trapezoid(phi, phi, s1, s2, rho), rel=1e-8, abs=1e-9)
    assert derivative == pytest.approx(trapezoid(slope, slope, s1, s2, rho), rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("name", KINKED)
@pytest.mark.parametrize("point", POINTS)
def test_kinked_duals_are_angular_integrals(name, point):
    layer, phi, slope = KINKED[name]
    s1, s2, rho = point
    moment, derivative = dual(layer, rho, s1, s2)
    assert moment == pytest.approx(angular(phi, phi, s1, s2, rho, 1), rel=1e-12, abs=1e-14)
    assert derivative == pytest.approx(angular(slope, slope, s1, s2, rho, 0), rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("point", POINTS)
def test_sign_dual_is_the_arcsine_law(point):
    s1, s2, rho = point
    moment, derivative = dual(nl.Sign(), rho, s1, s2)
    assert moment == pytest.approx(angular(np.sign, np.sign, s1, s2, rho, 0), abs=1e-14)
    assert derivative == 0


@pytest.mark.parametrize("name", [name for name in ALL if name != "Sign"])
def test_derivative_dual_is_the_covariance_derivative_of_the_dual(name):
    """Price's theorem: d E phi(u) phi(v) / d Cov(u, v) = E phi'(u) phi'(v)."""
    layer = ALL[name][0]
    for s1, s2, rho in POINTS:
        step = 1e-4
        up, down = (dual(layer, rho + sign * step, s1, s2)[0] for sign in (1, -1))
        assert dual(layer, rho, s1, s2)[1] == pytest.approx((up - down) / (2 * step * s1 * s2), abs=2e-5)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("s", [0.2, 1.0, 2.5])
def test_mean_is_the_gaussian_mean(name, s):
    layer, phi, _ = ALL[name]
    x, w = np.polynomial.legendre.leggauss(400)
    half = 6 * (x + 1)  # each half line apart, so that kinks at 0 do no harm
    wanted = float((6 * w * norm.pdf(half) * (phi(s * half) + phi(-s * half))).sum())
    mean = layer.mean(torch.tensor(s, dtype=torch.float64))
    assert (0.0 if mean is None else float(mean)) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("name", ALL)
def test_torch_module_is_phi(name):
    layer, phi, _ = ALL[name]
    z = np.linspace(-2, 2, 41)
    assert layer.module()(torch.tensor(z)).numpy() == pytest.approx(phi(z), abs=1e-12)


@pytest.mark.parametrize("name", ["Erf", "GELU", "Sin", "Cos"])
@pytest.mark.parametrize("s", [1e-120, 1e-8, 1e3, 1e9])
def test_duals_keep_their_digits_at_tiny_and_huge_variances(name, s):
    """Against the same expectation in closed form with 400 digits."""
    import mpmath

    for rho in (1.0, 0.5, -0.7):
        moment, derivative = dual(ALL[name][0], rho, s, 2 * s)
        with mpmath.workdps(400):
            a, b, k = mpmath.mpf(s) ** 2, 4 * mpmath.mpf(s) ** 2, 2 * mpmath.mpf(rho) * mpmath.mpf(s) ** 2
            wanted = MPMATH[name](mpmath, a, b, k)
        for value, reference in zip((moment, derivative), map(float, wanted), strict=True):
            assert value == pytest.approx(reference, rel=1e-9, abs=1e-300)


def _erf(mp, a, b, k):
    product = (1 + 2 * a) * (1 + 2 * b)
    return 2 / mp.pi * mp.asin(2 * k / mp.sqrt(product)), 4 / mp.pi / mp.sqrt(product - 4 * k * k)


def _gelu(mp, a, b, k):
    """By Price's theorem from the second derivative: E phi'' phi'' integrated is avoided; direct moments instead."""
    det = (1 + a) * (1 + b) - k * k
    n = 1 / (2 * mp.pi * mp.sqrt(det))
    both = mp.mpf(1) / 4 + mp.asin(k / mp.sqrt((1 + a) * (1 + b))) / (2 * mp.pi)
    moment = k * both + n * (a * b + k * k * (1 - a * b) / ((1 + a) * (1 + b)))
    return moment, both + k * n * (1 / (1 + a) + 1 / (1 + b) + 1 / det)


def _sin(mp, a, b, k):
    return mp.exp(-(a + b) / 2) * mp.sinh(k), mp.exp(-(a + b) / 2) * mp.cosh(k)


MPMATH = {"Erf": _erf, "GELU": _gelu, "Sin": _sin, "Cos": lambda *args: _sin(*args)[::-1]}


def test_elementwise_agrees_with_the_closed_forms():
    rho = torch.linspace(-1, 1, 21, dtype=torch.float64)
    s1, s2 = torch.tensor(0.8, dtype=torch.float64), torch.tensor(1.7, dtype=torch.float64)
    for layer, fn in ((nl.Erf(), torch.erf), (nl.GELU(), torch.nn.functional.gelu), (nl.Cos(), torch.cos)):
        for exact, series in zip(layer.dual(rho, s1, s2), nl.Elementwise(fn).dual(rho, s1, s2), strict=True):
            assert torch.allclose(exact, series, rtol=1e-8, atol=1e-8)


def test_elementwise_refuses_kinks_jumps_and_poles():
    s = torch.ones(1, 1, dtype=torch.float64)
    for fn in (torch.relu, torch.sign, lambda z: 1 / z, lambda z: torch.exp(z * z)):
        with pytest.raises(ValueError, match="quadrature does not converge|not finite"):
            nl.Elementwise(fn).dual(s, s, s)


def test_elementwise_checks_a_given_degree():
    s = torch.full((1, 1), 3.0, dtype=torch.float64)
    with pytest.raises(ValueError, match="degree 4 is not enough"):
        nl.Elementwise(torch.tanh, degree=4).dual(s, s, s)
    cubic = nl.Elementwise(lambda z: z**3, degree=4)
    assert float(cubic.dual(s / 3, s, s)[0]) == pytest.approx(15 * 3.0**6, rel=1e-12)


def test_layers_refuse_bad_constants():
    for make, message in [
        (lambda: nl.Dense(float("nan")), "sigma_w must be finite"),
        (lambda: nl.Dense(-1.0), "sigma_w must be at least 0"),
        (lambda: nl.Dense(1.0, "a"), "sigma_b must be a real number"),
        (lambda: nl.Dense(1.0, trainable=1), "trainable must be True or False"),
        (lambda: nl.LeakyReLU(float("inf")), "slope must be finite"),
        (lambda: nl.Polynomial([]), "coefficients is empty"),
        (lambda: nl.Polynomial(3), "coefficients must be a sequence"),
        (lambda: nl.Elementwise(3), "fn must be a function"),
        (lambda: nl.Elementwise(torch.tanh, degree=0), "degree must be at least 1"),
        (lambda: nl.Residual(), "at least one layer"),
        (lambda: nl.Residual(nl.ReLU()), "weights in its branch or its shortcut"),
        (lambda: nl.Sequential(torch.nn.ReLU()), "layer 0 of Sequential"),
    ]:
        with pytest.raises((ValueError, TypeError), match=message):
            make()
