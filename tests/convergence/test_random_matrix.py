"""The law of the NTK's eigenvalues at linear width, against closed forms and sampled networks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

import ntklab as nl
from ntklab.convergence import LinearWidthSpectrum, linear_width_spectrum


def sample_covariance(ratio: float, n: int = 60) -> LinearWidthSpectrum:
    """The law of (1/m) sum_j g_j g_j' with white g in R^n, n / m = ratio."""
    return LinearWidthSpectrum(0.0, 0.0, 1.0, (1.0, 0.0), round(n / ratio), np.ones(n))


@pytest.mark.parametrize("ratio", [0.25, 1.0, 3.0])
def test_white_features_give_marchenko_and_pasturs_law(ratio):
    z = np.array([0.5 + 0.1j, 2 + 1e-3j, 5 - 0.3j, -1 + 1e-6j, 0.01 + 1e-2j])
    m = sample_covariance(ratio).stieltjes(z)
    assert np.abs(ratio * z * m * m + (z + ratio - 1) * m + 1).max() < 1e-9 * (1 + np.abs(z * m * m).max())
    assert (np.sign(m.imag) == np.sign(z.imag)).all()


@pytest.mark.parametrize("ratio", [0.25, 0.5, 3.0])
def test_its_density_mass_and_quantiles_are_the_closed_ones(ratio):
    law, (low, high) = sample_covariance(ratio), ((1 - ratio**0.5) ** 2, (1 + ratio**0.5) ** 2)

    def density(x):
        return math.sqrt(max((high - x) * (x - low), 0)) / (2 * math.pi * ratio * x)

    x = np.linspace(low + 0.05, high - 0.05, 9)
    assert law.density(x) == pytest.approx([density(v) for v in x], rel=1e-5)
    atom = max(0.0, 1 - 1 / ratio)
    assert law.cdf(x) == pytest.approx([atom + quad(density, low, v)[0] for v in x], abs=1e-5)
    p = np.linspace(atom + 0.1 * (1 - atom), 0.97, 7)
    assert law.cdf(law.quantiles(p)) == pytest.approx(p, abs=2e-3)


def test_a_deformed_law_solves_silversteins_equation():
    """q = r = 0: the companion transform w(z) obeys z = -1/w + (n/m) mean(F / (1 + F w))."""
    data = np.linspace(0.1, 4, 50)
    law, z = (
        LinearWidthSpectrum(0.0, 0.0, 1.0, (0.3, 0.7), 80, data),
        np.array([1 + 0.5j, 0.2 + 0.05j, 3 + 1e-3j]),
    )
    ratio = 50 / 80
    w = ratio * law.stieltjes(z) - (1 - ratio) / z
    covariance = 0.3 + 0.7 * data
    right = -1 / w + ratio * (covariance / (1 + covariance * w[:, None])).mean(1)
    assert np.abs(right - z).max() < 1e-8


def test_without_randomness_it_is_the_matrix_itself():
    data, z = np.array([0.0, 1.0, 1.0, 2.5]), np.array([0.7 + 0.2j])
    law = LinearWidthSpectrum(0.3, 2.0, 0.0, (1.0, 1.0), 10, data)
    assert law.stieltjes(z) == pytest.approx((1 / (0.3 + 2 * data - z)).mean(keepdims=True))


def test_infinite_width_leaves_the_limiting_kernel():
    data, z = np.linspace(0, 3, 30), np.array([1 + 0.3j])
    law = LinearWidthSpectrum(0.5, 0.4, 2.0, (0.2, 0.6), 10**9, data)
    limit = 0.5 + 0.4 * data + 2 * (0.2 + 0.6 * data)
    assert law.stieltjes(z) == pytest.approx((1 / (limit - z)).mean(keepdims=True), rel=1e-6)


def test_moments_of_the_law_are_read_off_far_away():
    law = linear_width_spectrum(ERF, np.linspace(0.2, 1.8, 40), 30)
    z = 1e5j
    first = (-z * (1 + z * law.stieltjes(np.array([z])))).real[0]
    assert first == pytest.approx(law.mean, rel=1e-3)


RELU = nl.Sequential(nl.Dense(2**0.5), nl.ReLU(), nl.Dense(1.3))
ERF = nl.Sequential(nl.Dense(1.4), nl.Erf(), nl.Dense(1.2))
READOUT_ONLY = nl.Sequential(nl.Dense(trainable=False), nl.GELU(), nl.Dense())
FIRST_ONLY = nl.Sequential(nl.Dense(), nl.Elementwise(torch.tanh), nl.Dense(trainable=False))


def sampled(arch, n: int, runs: int, z: np.ndarray) -> np.ndarray:
    """Resolvent traces of sampled networks minus their prediction, (runs, Z); width 3n/4, dimension n/2."""
    gaps = []
    for seed in range(runs):
        x = nl.data.sphere(n, n // 2, radius=(n / 2) ** 0.5, seed=seed).x
        net = arch.finite(3 * n // 4, (n // 2,), seed=seed, dtype=torch.float64)
        law = linear_width_spectrum(arch, np.linalg.eigvalsh(x @ x.T / x.shape[1]).clip(0), 3 * n // 4)
        gaps.append(
            (1 / (np.linalg.eigvalsh(nl.empirical_ntk(net, x)) - z[:, None])).mean(1) - law.stieltjes(z)
        )
    return np.array(gaps)


@pytest.mark.parametrize("arch", [RELU, ERF, READOUT_ONLY, FIRST_ONLY])
def test_resolvents_of_sampled_networks_tend_to_the_prediction(arch):
    """The gap of a trace is of order 1/n: four times the size leaves a quarter of it, or at most half."""
    z = np.array([1 + 1j, 3 + 0.5j, 6 + 1j])
    small, large = sampled(arch, 80, 60, z), sampled(arch, 320, 12, z)
    for part in (np.real, np.imag):
        mean = [np.abs(part(gaps).mean(0)) for gaps in (small, large)]
        error = [part(gaps).std(0, ddof=1) / len(gaps) ** 0.5 for gaps in (small, large)]
        assert (mean[1] < mean[0] / 2 + 4 * np.hypot(error[1], error[0] / 2)).all()
        assert (mean[1] < 4 / 320 + 4 * error[1]).all()  # a few eigenvalues' worth


def test_quantiles_are_the_eigenvalues_of_one_large_network_but_for_the_top_one():
    n, width = 600, 400
    x = nl.data.sphere(n, 300, radius=300**0.5, seed=0).x
    net = RELU.finite(width, (300,), seed=0, dtype=torch.float64)
    values = np.linalg.eigvalsh(nl.empirical_ntk(net, x))
    law = linear_width_spectrum(RELU, np.linalg.eigvalsh(x @ x.T / 300).clip(0), width)
    predicted = law.quantiles((np.arange(n) + 0.5) / n)
    assert values[-1] > 10 * law.upper
    spread = math.sqrt(2 / width)  # of the mean of a_j^2, which scales the first layer's part
    assert np.abs(values[:-1] / predicted[:-1] - 1).max() < 4 * spread
    assert np.abs(values[:-1] / predicted[:-1] - 1).mean() < 2 * spread


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        (nl.Sequential(nl.Dense(1.0, 0.5), nl.ReLU(), nl.Dense()), "no bias"),
        (nl.Sequential(nl.Dense(), nl.ReLU(), nl.Dense(), nl.ReLU(), nl.Dense()), "must be Sequential"),
        (nl.Dense(), "must be Sequential"),
    ],
)
def test_other_architectures_are_refused(arch, message):
    with pytest.raises(ValueError, match=message):
        linear_width_spectrum(arch, np.ones(3), 5)


def test_bad_arguments_are_refused_by_name():
    with pytest.raises(ValueError, match="data_eigenvalues"):
        linear_width_spectrum(RELU, np.zeros(3), 5)
    with pytest.raises(ValueError, match="data_eigenvalues"):
        linear_width_spectrum(RELU, -np.ones(3), 5)
    with pytest.raises(ValueError, match="width"):
        linear_width_spectrum(RELU, np.ones(3), 0)
    with pytest.raises(ValueError, match="off the real axis"):
        sample_covariance(1.0).stieltjes([1.0])
    with pytest.raises(ValueError, match="p must be from 0 to 1"):
        sample_covariance(1.0).quantiles([1.5])
