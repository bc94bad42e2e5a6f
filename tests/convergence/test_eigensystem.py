"""Eigensystems of kernel matrices and power laws of spectra."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import ntklab as nl
from ntklab.convergence import eigensystem, power_law


def gram(n: int, rank: int, seed: int = 0) -> np.ndarray:
    features = np.random.default_rng(seed).normal(size=(n, rank))
    return features @ features.T


@settings(max_examples=30)
@given(n=st.integers(1, 12), rank=st.integers(1, 12), seed=st.integers(0, 1000))
def test_modes_are_orthonormal_and_give_the_kernel_back(n, rank, seed):
    kernel = gram(n, rank, seed)
    found = eigensystem(kernel)
    scale = np.linalg.norm(kernel, 2)
    assert np.allclose((found.modes * found.eigenvalues) @ found.modes.T, kernel, atol=1e-12 * scale)
    assert np.allclose(found.modes.T @ found.modes, np.eye(n), atol=1e-12)
    assert (np.diff(found.eigenvalues) <= 0).all() and found.rank == min(n, rank)
    assert found.trace == pytest.approx(np.trace(kernel), rel=1e-12)


def test_condition_number_is_that_of_numpy_and_infinite_without_full_rank():
    kernel = gram(6, 6)
    assert eigensystem(kernel).condition_number == pytest.approx(np.linalg.cond(kernel), rel=1e-9)
    assert math.isinf(eigensystem(gram(6, 3)).condition_number)


def test_duplicate_inputs_cost_one_rank():
    x = np.random.default_rng(0).normal(size=(5, 3))
    arch = nl.Sequential(nl.Dense(sigma_b=1.0), nl.ReLU(), nl.Dense())
    assert eigensystem(arch.kernel(np.vstack([x, x[:1]])).ntk).rank == 5


@given(n=st.integers(1, 20))
def test_effective_rank_is_n_for_equal_eigenvalues_and_1_for_one(n):
    assert eigensystem(np.eye(n)).effective_rank == pytest.approx(n)
    assert eigensystem(np.ones((n, n))).effective_rank == pytest.approx(1)


def test_the_zero_kernel_has_rank_0_and_effective_rank_0():
    found = eigensystem(np.zeros((3, 3)))
    assert found.rank == 0 and found.effective_rank == 0 and math.isinf(found.condition_number)


def test_coefficients_are_projections_that_keep_the_norm():
    found, rng = eigensystem(gram(7, 7)), np.random.default_rng(1)
    for y in (rng.normal(size=7), rng.normal(size=(7, 2))):
        coefficients = found.coefficients(y)
        assert coefficients.shape == y.shape and np.allclose(found.modes @ coefficients, y)
    with pytest.raises(ValueError, match="y must have shape"):
        found.coefficients(np.ones(6))


def test_torch_in_gives_torch_out_and_float32_stays():
    kernel = torch.tensor(gram(5, 5), dtype=torch.float32)
    found = eigensystem(kernel)
    assert found.eigenvalues.dtype == found.modes.dtype == torch.float32
    assert isinstance(found.trace, float) and "rank=5" in repr(found)


def test_kernels_of_several_outputs_are_read_as_matrices_over_pairs():
    net = nl.Sequential(nl.Dense(), nl.Erf(), nl.Dense()).finite(
        8, (3,), outputs=2, seed=0, dtype=torch.float64
    )
    kernel = nl.empirical_ntk(net, np.random.default_rng(0).normal(size=(4, 3)), outputs="full")
    found = eigensystem(kernel)
    assert len(found.eigenvalues) == 8 and found.trace == pytest.approx(np.einsum("iiaa", kernel))


@settings(max_examples=30)
@given(exponent=st.floats(0.1, 6), constant=st.floats(1e-3, 1e3), first=st.integers(1, 10))
def test_an_exact_power_law_is_found_exactly(exponent, constant, first):
    fit = power_law(constant * np.arange(1, 41.0) ** -exponent, first, 40)
    assert fit.exponent == pytest.approx(exponent, rel=1e-9) and fit.constant == pytest.approx(
        constant, rel=1e-8
    )
    assert fit.error < 1e-8 and (fit.first, fit.last) == (first, 40)


def test_its_standard_error_covers_the_truth_as_often_as_it_should():
    rng, ranks, inside = np.random.default_rng(0), np.arange(1, 31.0), 0
    for _ in range(400):
        fit = power_law(ranks**-2.0 * np.exp(0.1 * rng.normal(size=30)))
        inside += abs(fit.exponent - 2) < fit.error * stats.t.ppf(0.975, 28)
    assert stats.binomtest(inside, 400, 0.95).pvalue > 1e-3


def test_a_method_fits_down_to_the_rank():
    found = eigensystem(np.diag([4.0, 1.0, 4 / 9, 0.0]))
    assert found.power_law().exponent == pytest.approx(2) and found.power_law().last == 3


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (np.ones((2, 3)), "kernel must have shape"),
        (np.array([[1.0, 2.0], [0.0, 1.0]]), "symmetric"),
        (np.diag([1.0, -1.0]), "positive semidefinite"),
        (np.full((2, 2), np.nan), "kernel must be finite"),
        (np.zeros((0, 0)), "kernel is empty"),
    ],
)
def test_what_is_no_kernel_is_refused_by_name(kernel, message):
    with pytest.raises(ValueError, match=message):
        eigensystem(kernel)


def test_power_laws_need_three_positive_eigenvalues():
    with pytest.raises(ValueError, match="span 3 ranks"):
        power_law([1.0, 0.5])
    with pytest.raises(ValueError, match="above 0"):
        power_law([1.0, 0.5, 0.0])
    with pytest.raises(ValueError, match="first and last"):
        power_law([1.0, 0.5, 0.2, 0.1], 2, 9)
