"""Spectra on circle and sphere against closed forms, high precision, traces and large samples."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import eval_gegenbauer, polygamma, roots_gegenbauer

import ntklab as nl
from ntklab.convergence import circle_spectrum, gegenbauer, sphere_spectrum
from ntklab.convergence.series import kernel_series
from ntklab.convergence.sphere import multiplicity
from tests.oracles import relu_kernels

RELU = nl.Sequential(nl.Dense(2**0.5), nl.ReLU(), nl.Dense(2**0.5))
DEEP = nl.Sequential(nl.Dense(2**0.5, 0.5), nl.ReLU(), nl.Dense(2**0.5, 0.5), nl.ReLU(), nl.Dense(2**0.5))
ERF = nl.Sequential(nl.Dense(1.4, 0.3), nl.Erf(), nl.Dense())
NETS = {
    "relu": RELU,
    "deep relu": DEEP,
    "erf": ERF,
    "tanh": nl.Sequential(nl.Dense(1.3, 0.2), nl.Elementwise(torch.tanh), nl.Dense()),
    "gelu": nl.Sequential(nl.Dense(1.3, 0.2), nl.GELU(), nl.Dense(1.2), nl.GELU(), nl.Dense()),
    "sign": nl.Sequential(nl.Dense(), nl.Sign(), nl.Dense()),
    "polynomial": nl.Sequential(nl.Dense(), nl.Polynomial([0.3, 1.0, 0.5]), nl.Dense()),
    "residual": nl.Sequential(
        nl.Dense(),
        nl.Residual(nl.ReLU(), nl.Dense(1.2)),
        nl.ReLU(),
        nl.LayerNorm(),
        nl.Dense(),
        nl.LeakyReLU(0.2),
        nl.Dense(),
    ),
    "frozen": nl.Sequential(nl.Dense(trainable=False), nl.Abs(), nl.Dense(1.1, 0.4), nl.Sin(), nl.Dense()),
}


def profile(arch, t, dimension, kernel="ntk"):
    x = np.zeros((len(t) + 1, dimension))
    x[0, 0] = dimension**0.5
    x[1:, 0], x[1:, 1] = dimension**0.5 * t, dimension**0.5 * np.sqrt(1 - t * t)
    return getattr(arch.kernel(x[:1], x[1:]), kernel)[0]


@settings(max_examples=40)
@given(dimension=st.integers(3, 900), degree=st.integers(0, 40), t=st.floats(-1, 1))
def test_gegenbauer_polynomials_are_scipys_over_their_value_at_1(dimension, degree, t):
    order = dimension / 2 - 1
    expected = eval_gegenbauer(degree, order, t) / eval_gegenbauer(degree, order, 1.0)
    assert gegenbauer(t, dimension, degree)[degree] == pytest.approx(expected, rel=1e-7, abs=1e-12)


@pytest.mark.parametrize("dimension", [3, 4, 9, 30])
def test_their_mean_squares_are_1_over_the_multiplicities(dimension):
    t, w = roots_gegenbauer(40, dimension / 2 - 1)
    table = gegenbauer(t, dimension, 12)
    gram = (table * w / w.sum()) @ table.T
    scale = np.sqrt(multiplicity(dimension, np.arange(13)))
    assert np.allclose(gram * scale * scale[:, None], np.eye(13), atol=1e-9)


@pytest.mark.parametrize("dimension", [2, 3, 5, 784])
def test_multiplicities_add_up_to_the_polynomials_of_a_degree(dimension):
    """On the sphere, polynomials of degree <= K: comb(d+K-1, K) + comb(d+K-2, K-1)."""
    top = 12
    total = math.comb(dimension + top - 1, top) + math.comb(dimension + top - 2, top - 1)
    assert multiplicity(dimension, np.arange(top + 1)).sum() == pytest.approx(total, rel=1e-12)


def test_the_linear_network_has_degree_1_alone():
    spectrum = sphere_spectrum(nl.Sequential(nl.Dense(1.5)), 7, 6)
    assert spectrum.eigenvalues * 7 == pytest.approx([0, 1.5**2, 0, 0, 0, 0], rel=1e-10)


@pytest.mark.parametrize("frequency", [0, 1, 2, 3, 4, 7, 10, 40])
def test_relu_on_the_circle_has_its_closed_form(frequency):
    """Both arc-cosine kernels' Fourier coefficients, from integrals of theta sin and theta cos over [0, pi]."""
    k = frequency
    even = (1 + (-1) ** k) / 2
    if k == 1:
        order0, order1 = 2 / math.pi**2, 1 / 4
        nngp, ntk = order1, order1 + 1 / 4  # cos(t) kappa_0: (c_0 + c_2)/2 = (1/2 + 0)/2
    else:
        order0 = 0.5 if k == 0 else (1 - (-1) ** k) / (math.pi * k) ** 2
        order1 = 2 * even * 2 / (math.pi**2 * (k * k - 1) ** 2) if k else 4 / math.pi**2
        neighbours = [abs(k - 1), k + 1]
        shifted = sum((1 - (-1) ** j) / (math.pi * j) ** 2 if j else 0.5 for j in neighbours) / 2
        nngp, ntk = order1, order1 + shifted
        assert order0 >= 0
    spectrum = circle_spectrum(nl.Sequential(nl.Dense(2**0.5), nl.ReLU(), nl.Dense()), [k])
    assert spectrum.multiplicities[0] == (1 if k == 0 else 2)
    assert circle_spectrum(RELU, [k]).eigenvalues[0] == pytest.approx(2 * spectrum.eigenvalues[0], rel=1e-12)
    scale = circle_spectrum(nl.Sequential(nl.Dense(2**0.5), nl.ReLU(), nl.Dense()), [k], kernel="nngp")
    assert scale.eigenvalues[0] == pytest.approx(nngp, rel=1e-9, abs=1e-16)
    assert spectrum.eigenvalues[0] == pytest.approx(ntk, rel=1e-9, abs=1e-16)


def test_the_bias_free_relu_kernel_has_no_odd_degrees_from_3_on_and_a_bias_or_depth_gives_them():
    assert (sphere_spectrum(RELU, 5, [3, 5, 7, 21]).eigenvalues == 0).all()
    assert (circle_spectrum(RELU, [3, 5, 7, 21]).eigenvalues == 0).all()
    for arch in (
        nl.Sequential(nl.Dense(2**0.5, 0.5), nl.ReLU(), nl.Dense()),
        nl.Sequential(nl.Dense(), nl.ReLU(), nl.Dense(), nl.ReLU(), nl.Dense()),
    ):
        assert (sphere_spectrum(arch, 5, [3, 5, 7, 21]).eigenvalues > 0).all()


@pytest.mark.parametrize(("dimension", "degree"), [(2, 12), (3, 30), (10, 15), (50, 8), (784, 4)])
def test_deep_relu_eigenvalues_are_those_of_a_high_precision_integral(dimension, degree):
    with mpmath.workdps(50):
        order = mpmath.mpf(dimension) / 2 - 1

        def polynomial(angle):
            if dimension == 2:
                return mpmath.cos(degree * angle)
            return mpmath.gegenbauer(degree, order, mpmath.cos(angle)) / mpmath.gegenbauer(degree, order, 1)

        root = mpmath.sqrt(2)

        def kernel(
            angle,
        ):  # |x|^2 = d = 2 on the circle gives the same function of the angle in any dimension
            return relu_angle(root, angle)

        weight = lambda angle: mpmath.sin(angle) ** (dimension - 2)  # noqa: E731
        cuts = [mpmath.pi * i / 24 for i in range(25)]
        total = mpmath.quad(lambda a: kernel(a) * polynomial(a) * weight(a), cuts, maxdegree=5)
        expected = float(total / mpmath.quad(weight, cuts, maxdegree=5))
    assert sphere_spectrum(DEEP, dimension, [degree]).eigenvalues[0] == pytest.approx(expected, rel=1e-6)


def relu_angle(root, angle):
    """The NTK of DEEP at an angle, from the recursion, all in mpmath."""
    half = mpmath.mpf(1) / 4
    a = c = None
    a, c = 2 + half, 2 * mpmath.cos(angle) + half
    theta = c
    for bias in (half, mpmath.mpf(0)):
        cosine = max(mpmath.mpf(-1), min(mpmath.mpf(1), c / a))
        t = mpmath.acos(cosine)
        moment = a * (mpmath.sin(t) + (mpmath.pi - t) * cosine) / (2 * mpmath.pi)
        slope = (mpmath.pi - t) / (2 * mpmath.pi)
        a, c = a + bias, 2 * moment + bias
        theta = c + 2 * slope * theta
    return theta


def test_the_oracle_above_is_the_one_of_the_other_tests():
    x = [math.sqrt(2), 0.0], [math.sqrt(2) * math.cos(0.7), math.sqrt(2) * math.sin(0.7)]
    here = float(relu_angle(mpmath.sqrt(2), mpmath.mpf(0.7)))
    assert here == pytest.approx(float(DEEP.kernel(np.array(x[:1]), np.array(x[1:])).ntk[0, 0]), rel=1e-12)
    assert relu_kernels(*x, 1, 2**0.5, 0.0)[1] == pytest.approx(RELU.kernel(np.array(x)).ntk[0, 1], rel=1e-12)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("dimension", [2, 3, 12, 200])
@pytest.mark.parametrize("kernel", ["ntk", "nngp"])
def test_the_harmonics_sum_to_the_kernel(name, dimension, kernel):
    """sum_k multiplicity_k lambda_k P_k(t) = kappa(t): at t = 0 and 0.5 the truncated sum is accurate."""
    spectrum = sphere_spectrum(NETS[name], dimension, 41, kernel=kernel)
    weights = spectrum.eigenvalues * spectrum.multiplicities
    t = np.array([0.0, 0.5, -0.3])
    exact = profile(NETS[name], t, dimension, kernel)
    size = getattr(NETS[name].diagonal(np.ones((1, dimension))), kernel)[0]
    assert (weights >= 0).all() and weights.sum() <= size * (1 + 1e-9)
    left = size - weights.sum()
    decay = np.abs(gegenbauer(t, dimension, 40)[20:]).max(0)  # harmonics beyond are no larger at these t
    rounding = 1e-4 * weights @ np.abs(gegenbauer(t, dimension, 40)) + 41e-12 * size  # as promised
    gap = np.abs(weights @ gegenbauer(t, dimension, 40) - exact)
    assert (gap <= left * decay + rounding).all()


@pytest.mark.parametrize(("name", "dimension"), [("erf", 3), ("erf", 784), ("gelu", 30), ("polynomial", 10)])
def test_traces_of_smooth_kernels_are_the_kernel_on_the_diagonal(name, dimension):
    spectrum = sphere_spectrum(NETS[name], dimension, 101)
    trace = (spectrum.eigenvalues * spectrum.multiplicities).sum()
    assert trace == pytest.approx(NETS[name].diagonal(np.ones((1, dimension))).ntk[0], rel=1e-8)


@pytest.mark.parametrize("name", [name for name in NETS if name != "frozen"])
def test_power_series_sum_to_the_kernel_and_have_no_negative_terms(name):
    powers = kernel_series(NETS[name], 1.0, 512)
    t = np.array([-0.9, -0.4, 0.0, 0.3, 0.9])
    for series, kernel in zip(powers, ("nngp", "ntk"), strict=True):
        assert (series >= 0).all()
        expected = profile(NETS[name], t, 8, kernel)
        assert np.polynomial.polynomial.polyval(t, series) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_in_high_dimension_eigenvalues_are_the_kernels_taylor_coefficients():
    """P_k(t) -> t^k as d grows, so multiplicity times eigenvalue tends to the coefficient of t^k, error O(1/d)."""
    expected, gaps = kernel_series(ERF, 1.0, 64)[1][:8], []
    for dimension in (10**4, 10**5):
        spectrum = sphere_spectrum(ERF, dimension, 8)
        gaps.append(np.abs(spectrum.eigenvalues * spectrum.multiplicities - expected).max())
    assert gaps[1] < 1e-3 and gaps[0] / gaps[1] == pytest.approx(10, rel=0.05)


def test_degree_30_in_dimension_784_is_finite_and_its_weight_in_proportion():
    spectrum = sphere_spectrum(RELU, 784, [2, 10, 30])
    weights = spectrum.eigenvalues * spectrum.multiplicities
    powers = kernel_series(RELU, 1.0, 256)[1][[2, 10, 30]]
    assert np.isfinite(spectrum.multiplicities).all() and spectrum.eigenvalues[2] < 1e-50
    assert (0.3 * powers < weights).all() and (weights < 2 * powers).all()


@pytest.mark.parametrize(("arch", "dimension"), [(DEEP, 3), (ERF, 5), (RELU, 4)])
def test_eigenvalues_of_large_samples_tend_to_them(arch, dimension):
    """Sorted eigenvalues of K/n, averaged over samples, with their harmonics' multiplicities."""
    n, runs = 800, 6
    spectrum = sphere_spectrum(arch, dimension, 12)
    order = np.argsort(-spectrum.eigenvalues)[:3]
    measured = []
    for seed in range(runs):
        x = nl.data.sphere(n, dimension, radius=dimension**0.5, seed=seed).x
        values, at, means = np.linalg.eigvalsh(arch.kernel(x).ntk)[::-1] / n, 0, []
        for k in order:
            count = int(spectrum.multiplicities[k])
            means.append(values[at : at + count].mean())
            at += count
        measured.append(means)
    mean, error = np.mean(measured, 0), np.std(measured, 0, ddof=1) / runs**0.5
    # the bias of sorted eigenvalues is of order trace / n (Koltchinskii & Gine 2000)
    bias = arch.diagonal(np.ones((1, dimension))).ntk[0] / n
    assert (np.abs(mean - spectrum.eigenvalues[order]) < 4 * error + 2 * bias).all()


def test_on_even_points_of_the_circle_the_gram_matrix_folds_the_frequencies():
    n, spectrum = 64, circle_spectrum(DEEP, 1001)
    found = np.fft.rfft(DEEP.kernel(nl.data.circle(n, radius=2**0.5).x).ntk[0]).real / n
    # beyond frequency 1000 eigenvalues are c / k^2: sum_{j >= 15} 2 c / (n j)^2
    tail = 2 * spectrum.eigenvalues[1000] * 1000**2 / n**2 * polygamma(1, 15)
    folded = [
        spectrum.eigenvalues[k]
        + sum(spectrum.eigenvalues[j * n + s * k] for j in range(1, 15) for s in (1, -1))
        + tail
        for k in range(9)
    ]
    assert found[:9] == pytest.approx(folded, rel=2e-5)


def test_the_radius_scales_the_bias_free_relu_kernel():
    small, large = sphere_spectrum(RELU, 3, 5, radius=1.0), sphere_spectrum(RELU, 3, 5, radius=3.0)
    assert large.eigenvalues == pytest.approx(9 * small.eigenvalues)


def test_degrees_may_come_in_any_order_and_twice():
    one = sphere_spectrum(ERF, 3, [4, 0, 4])
    assert one.degrees.tolist() == [4, 0, 4] and one.eigenvalues[0] == one.eigenvalues[2] < one.eigenvalues[1]
    assert sphere_spectrum(ERF, 3, 5).eigenvalues[4] == one.eigenvalues[0]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"dimension": 1}, ValueError, "dimension must be at least 2"),
        ({"degrees": []}, ValueError, "degrees must be"),
        ({"degrees": [0.5]}, TypeError, "degrees must be whole"),
        ({"degrees": [-1]}, ValueError, "degrees must be"),
        ({"radius": 0.0}, ValueError, "radius must be above 0"),
        ({"kernel": "rbf"}, ValueError, "kernel must be one of"),
        ({"dimension": 10**6, "degrees": [200]}, ValueError, "more harmonics"),
        ({"arch": nl.Sequential(nl.LayerNorm(), nl.Dense(), nl.ReLU(), nl.Dense())}, ValueError, "rotations"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, error, message):
    with pytest.raises(error, match=message):
        sphere_spectrum(**{"arch": RELU, "dimension": 3, "degrees": 3, **arguments})


def test_a_layer_without_series_in_high_dimension_is_an_error_and_not_a_wrong_number():
    class Opaque(nl.Layer):
        def propagate(self, state):
            return RELU.propagate(state)

        def weight_layers(self):
            return 2

    assert sphere_spectrum(Opaque(), 10, 9).eigenvalues == pytest.approx(
        sphere_spectrum(RELU, 10, 9).eigenvalues
    )
    with pytest.raises(ValueError, match="cannot resolve degree"):
        sphere_spectrum(Opaque(), 784, 20)
