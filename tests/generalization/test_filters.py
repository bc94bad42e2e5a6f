"""Ridge regression and early stopping as filters of one spectrum."""

import functools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from ntklab import GradientDescent, GradientFlow
from ntklab.generalization import (
    descent_filter,
    equivalent_ridge,
    fit,
    flow_filter,
    ridge_filter,
    rkhs_norm,
)

INF = math.inf


def problem(n=7, m=4, features=12, outputs=None, seed=0):
    """A kernel of rank min(n, features) on n training and m test points, and targets."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(n, features)), rng.normal(size=(m, features))
    y = rng.normal(size=n if outputs is None else (n, outputs))
    return a @ a.T / features, b @ a.T / features, y


spectra = st.lists(st.floats(0, 1e6), min_size=1, max_size=8)


@given(spectra, st.floats(0, 1e6), st.floats(0, 1e6))
@settings(max_examples=60)
def test_every_filter_is_between_0_and_1_and_keeps_more_of_larger_modes(eigenvalues, ridge, t):
    modes = np.sort(np.array(eigenvalues))
    for share in (
        ridge_filter(modes, ridge),
        flow_filter(modes, t),
        ridge_filter(modes, 0),
        flow_filter(modes, INF),
    ):
        assert ((share >= 0) & (share <= 1)).all()
        assert (np.diff(share) >= -1e-15).all()
        assert (share[modes == 0] == 0).all()


def test_a_ridge_filter_gives_kernel_ridge_regression():
    k, k_test, y = problem(outputs=2)
    for ridge in (0.0, 1e-3, 1.0, 50.0):
        dual = np.linalg.solve(k + ridge * np.eye(7), y)
        result = fit(k, y, functools.partial(ridge_filter, ridge=ridge))
        np.testing.assert_allclose(result.train, k @ dual, rtol=1e-10)
        np.testing.assert_allclose(result.dual, dual, rtol=1e-9)
        np.testing.assert_allclose(result.predict(k_test), k_test @ dual, rtol=1e-9)
        np.testing.assert_allclose(
            result.degrees_of_freedom, np.trace(np.linalg.solve(k + ridge * np.eye(7), k))
        )
        np.testing.assert_allclose(result.norm, np.sqrt(np.diag(dual.T @ k @ dual)), rtol=1e-9)


@pytest.mark.parametrize("loss", ["mean", "sum"])
@pytest.mark.parametrize("t", [0, 0.3, 5.0, INF])
def test_a_flow_filter_gives_the_closed_form_of_gradient_flow(loss, t):
    k, k_test, y = problem(features=4)  # singular
    flow = GradientFlow(k, y, learning_rate=0.7, loss=loss)
    result = fit(k, y, functools.partial(flow_filter, t=t, learning_rate=0.7, loss=loss))
    np.testing.assert_allclose(result.train, flow.train(t), atol=1e-12)
    np.testing.assert_allclose(result.predict(k_test), flow.test(t, k_test), atol=1e-11)


@pytest.mark.parametrize("factor", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("t", [0, 1, 2, 7, 1000, 10**9])
def test_a_descent_filter_gives_the_steps_of_gradient_descent(factor, t):
    k, k_test, y = problem(features=4)
    rate = factor * GradientDescent(k, y).max_learning_rate
    descent = GradientDescent(k, y, learning_rate=rate)
    result = fit(k, y, functools.partial(descent_filter, t=t, learning_rate=rate))
    np.testing.assert_allclose(result.train, descent.train(t), atol=1e-12)
    np.testing.assert_allclose(result.predict(k_test), descent.test(t, k_test), atol=1e-11)


def test_descent_with_small_steps_is_flow_and_past_the_stable_rate_it_is_refused():
    modes = np.array([3.0, 1.0, 0.1, 0.0])
    flow = flow_filter(modes, 2.0, loss="sum")
    gaps = [
        abs(descent_filter(modes, 2 * k, learning_rate=1 / k, loss="sum") - flow).max() for k in (1000, 2000)
    ]
    assert gaps[0] < 1e-3 and abs(gaps[0] / gaps[1] - 2) < 0.01
    with pytest.raises(ValueError, match=r"learning_rate must be below 0\.66"):
        descent_filter(modes, 3, learning_rate=2 / 3, loss="sum")


def test_vectors_of_ridges_and_times_get_a_leading_axis():
    modes = np.array([2.0, 1.0, 0.0])
    np.testing.assert_allclose(
        ridge_filter(modes, [0, 1, 2]), [[1, 1, 0], [2 / 3, 1 / 2, 0], [1 / 2, 1 / 3, 0]]
    )
    assert flow_filter(modes, [0.0, 1.0, INF]).shape == (3, 3)
    np.testing.assert_array_equal(flow_filter(modes, [0.0, INF]), [[0, 0, 0], [1, 1, 0]])
    np.testing.assert_array_equal(flow_filter(modes, 1.0, n=6), flow_filter(modes, 0.5))
    np.testing.assert_allclose(equivalent_ridge([1, 2], loss="sum"), [1, 0.5])


def test_flow_and_its_equivalent_ridge_keep_shares_whose_ratio_is_between_1_and_1_2985():
    modes = np.geomspace(1e-6, 1e6, 2001)
    flow = flow_filter(modes, 3.0, learning_rate=0.2, n=10)
    ridge = ridge_filter(modes, equivalent_ridge(3.0, learning_rate=0.2, n=10))
    worst = -minimize_scalar(
        lambda u: -(1 - math.exp(-u)) * (1 + u) / u, bounds=(0.1, 10), method="bounded"
    ).fun
    assert worst == pytest.approx(1.2985, abs=1e-4)
    ratio = flow / ridge
    assert ratio.min() >= 1 - 1e-12 and worst - 1e-4 < ratio.max() <= worst


def test_the_risk_of_early_stopping_is_at_most_1_6862_times_that_of_the_equivalent_ridge():
    rng = np.random.default_rng(0)
    modes = 10 * np.arange(1, 31.0) ** -1.5
    for _ in range(20):  # sum (1 - s)^2 v^2 + noise s^2, the risk on the training inputs
        v, noise, t = rng.normal(size=30), rng.exponential(), 10 ** rng.uniform(-2, 3)
        risk = [
            ((1 - s) ** 2) @ v**2 + noise * (s**2).sum()
            for s in (flow_filter(modes, t, loss="sum"), ridge_filter(modes, equivalent_ridge(t, loss="sum")))
        ]
        assert risk[0] <= 1.6862 * risk[1]


def test_the_rkhs_norm_is_that_of_the_least_function_through_the_points():
    k, _, y = problem(outputs=3)
    np.testing.assert_allclose(rkhs_norm(k, y), np.sqrt(np.diag(y.T @ np.linalg.solve(k, y))), rtol=1e-10)
    assert isinstance(rkhs_norm(k, y[:, 0]), float)
    a = np.random.default_rng(1).normal(size=(20, 3))  # three features: f(x) = w . x has the norm |w|
    w = np.array([1.0, -2.0, 0.5])
    assert rkhs_norm(a @ a.T, a @ w) == pytest.approx(np.linalg.norm(w), rel=1e-10)
    assert rkhs_norm(np.zeros((3, 3)), [1.0, 2.0, 3.0]) == 0.0


def test_the_norm_grows_as_training_goes_on_and_shrinks_with_the_ridge():
    k, _, y = problem()
    norms = [fit(k, y, functools.partial(flow_filter, t=t)).norm for t in (0, 1, 10, 100, INF)]
    assert norms[0] == 0 and (np.diff(norms) > 0).all() and norms[-1] == pytest.approx(rkhs_norm(k, y))
    norms = [fit(k, y, functools.partial(ridge_filter, ridge=r)).norm for r in (0, 0.1, 1, 10)]
    assert (np.diff(norms) < 0).all()


def test_repeated_samples_count_as_one_with_the_mean_label():
    k, k_test, y = problem(n=5)
    twice = np.ix_([0, 1, 2, 3, 4, 0], [0, 1, 2, 3, 4, 0])
    merged = y.copy()
    merged[0] = (y[0] + 7.0) / 2
    both = fit(k[twice], np.append(y, 7.0), ridge_filter)
    np.testing.assert_allclose(
        both.predict(k_test[:, [0, 1, 2, 3, 4, 0]]), k_test @ np.linalg.solve(k, merged), rtol=1e-8
    )


def test_torch_in_gives_torch_out_and_float32_stays():
    k, k_test, y = problem()
    tensor = fit(torch.tensor(k), torch.tensor(y), ridge_filter)
    assert isinstance(tensor.train, torch.Tensor) and isinstance(
        tensor.predict(torch.tensor(k_test)), torch.Tensor
    )
    low = fit(k.astype(np.float32), y.astype(np.float32), functools.partial(ridge_filter, ridge=0.1))
    assert low.train.dtype == low.dual.dtype == np.float32
    np.testing.assert_allclose(
        low.train, fit(k, y, functools.partial(ridge_filter, ridge=0.1)).train, rtol=1e-4
    )
    modes = torch.tensor([1.0, 0.5])
    assert (
        isinstance(flow_filter(modes, 1.0), torch.Tensor)
        and ridge_filter(modes.float(), 1).dtype == torch.float32
    )
    integers = ridge_filter([2, 1, 0], 1)
    np.testing.assert_allclose(integers, [2 / 3, 1 / 2, 0])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: ridge_filter([1.0, -0.1]), ValueError, "eigenvalues must not be negative"),
        (lambda: ridge_filter([[1.0]]), ValueError, "eigenvalues must have shape"),
        (lambda: ridge_filter([]), ValueError, "eigenvalues is empty"),
        (lambda: ridge_filter([1.0, np.nan]), ValueError, "eigenvalues"),
        (lambda: ridge_filter([1.0], -1), ValueError, "ridge must be at least 0"),
        (lambda: ridge_filter([1.0], np.nan), ValueError, "ridge"),
        (lambda: ridge_filter([1.0], "a"), TypeError, "ridge"),
        (lambda: ridge_filter([1.0], [[1.0]]), ValueError, "ridge"),
        (lambda: flow_filter([1.0], -1), ValueError, "t must"),
        (lambda: flow_filter([1.0], 1, learning_rate=0), ValueError, "learning_rate"),
        (lambda: flow_filter([1.0], 1, loss="mse"), ValueError, "loss"),
        (lambda: flow_filter([1.0], 1, n=0), ValueError, "n must"),
        (lambda: descent_filter([1.0], 0.5), ValueError, "whole"),
        (lambda: equivalent_ridge(1.0), ValueError, "n must be given"),
        (lambda: equivalent_ridge(0.0, loss="sum"), ValueError, "t must be above 0"),
        (lambda: fit(np.eye(3), np.ones(2), ridge_filter), ValueError, "y must have shape"),
        (lambda: fit(np.eye(3), np.ones(3), lambda s: s[:2]), ValueError, "shrinkage"),
        (lambda: fit(-np.eye(3), np.ones(3), ridge_filter), ValueError, "semidefinite"),
        (lambda: fit(np.ones((2, 3)), np.ones(2), ridge_filter), ValueError, "kernel"),
        (
            lambda: fit(np.eye(3), np.ones(3), ridge_filter).predict(np.ones((2, 2))),
            ValueError,
            "k_test_train",
        ),
        (lambda: rkhs_norm(np.eye(2), [np.inf, 0]), ValueError, "y"),
    ],
)
def test_illegal_arguments_are_refused_by_name(call, error, words):
    with pytest.raises(error, match=words):
        call()
