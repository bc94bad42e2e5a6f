"""Bounds: their constants by hand, the inequalities behind them, and how often they fail in simulations."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import ntklab as nl
from ntklab.generalization import arora_bound, operator_bound, rkhs_bound, trace_bound

HIDDEN = nl.Sequential(nl.Dense(), nl.ReLU(), nl.Dense(trainable=False))  # H of Arora et al. for |x|^2 = d


def on_sphere(n, d, rng):
    x = rng.normal(size=(n, d))
    return x * np.sqrt(d) / np.linalg.norm(x, axis=1, keepdims=True)


# --- constants ---------------------------------------------------------------------------------------------


def test_the_trace_bound_has_the_constants_of_the_theorem():
    k = np.diag([1.0, 2.0, 6.0, 7.0])
    bound = trace_bound(k, 3.0, delta=0.1, lipschitz=0.5, loss_bound=2.0)
    assert bound.complexity == pytest.approx(2 * 0.5 * 3 * math.sqrt(16) / 4)
    assert bound.confidence == pytest.approx(3 * 2 * math.sqrt(math.log(20) / 8))
    assert bound.value == bound.complexity + bound.confidence
    before = operator_bound(4.0, 3.0, 4, delta=0.1, lipschitz=0.5, loss_bound=2.0)
    assert before.complexity == pytest.approx(bound.complexity)  # Tr K / n = tr T here
    assert before.confidence == pytest.approx(2 * math.sqrt(math.log(10) / 8))


def test_the_arora_bound_has_the_published_leading_term_and_all_remainders():
    rng = np.random.default_rng(0)
    x = on_sphere(40, 5, rng)
    h = HIDDEN.kernel(x).ntk
    cosine = np.clip(x @ x.T / 5, -1, 1)
    np.testing.assert_allclose(h, cosine * (np.pi - np.arccos(cosine)) / (2 * np.pi), atol=1e-7)
    y = np.sign(x[:, 0])
    bound = arora_bound(h, y, delta=0.05)
    inverse = y @ np.linalg.solve(h, y)
    assert bound.complexity == pytest.approx(math.sqrt(2 * inverse / 40), rel=1e-9)
    assert bound.norm == pytest.approx(math.sqrt(inverse), rel=1e-9)
    radius = math.ceil(bound.norm)
    assert bound.complexity + bound.rounding == pytest.approx(radius * math.sqrt(2 / 40))
    assert bound.confidence == pytest.approx(3 * math.sqrt(math.log(2 * radius * (radius + 1) / 0.05) / 80))
    assert bound.value == pytest.approx(bound.complexity + bound.rounding + bound.confidence)


def test_the_rkhs_bound_has_its_constants_and_the_best_ridge_minimises_it():
    clean = rkhs_bound(3.0, 50, kernel_bound=2.0)
    assert clean.ridge == 0 and clean.value == pytest.approx(2 * 9 / 50)
    best = rkhs_bound(3.0, 50, kernel_bound=2.0, noise=0.4)
    assert best.value == pytest.approx(2 * 3 * math.sqrt(0.4 * 2 / 50) + 2 * 9 / 50)
    for factor in (0.5, 0.99, 1.01, 2):
        other = rkhs_bound(3.0, 50, kernel_bound=2.0, noise=0.4, ridge=factor * best.ridge)
        assert other.value > best.value
        assert other.value == pytest.approx((other.ridge + 2) * 9 / 50 + 0.4 * 2 / other.ridge)
    likely = rkhs_bound(3.0, 50, kernel_bound=2.0, delta=0.1)
    assert likely.value == pytest.approx(clean.value * (1 + math.log(10)) / (1 - math.exp(-1)))
    assert rkhs_bound(3.0, 50, kernel_bound=2.0, noise=0.4, delta=0.1).value == pytest.approx(10 * best.value)
    nothing = rkhs_bound(0.0, 50, kernel_bound=2.0, noise=0.4)
    assert nothing.value == 0 and nothing.ridge == math.inf


def test_the_trace_over_n_tends_to_a_constant_and_its_root_over_n_falls_as_a_half_power():
    rng, sizes = np.random.default_rng(0), np.array([50, 200, 800])
    kernels = [HIDDEN.kernel(rng.normal(size=(n, 6))).ntk for n in sizes]
    per_sample = np.array([np.trace(k) / n for k, n in zip(kernels, sizes, strict=True)])
    np.testing.assert_allclose(per_sample, 0.5, rtol=0.15)  # E |x|^2 / 2d
    complexity = np.array([trace_bound(k, 1.0).complexity for k in kernels])
    slope = np.polyfit(np.log(sizes), np.log(complexity), 1)[0]
    assert slope == pytest.approx(-0.5, abs=0.05)


# --- the inequalities behind them --------------------------------------------------------------------------


def test_the_complexity_of_a_ball_is_at_most_the_root_of_the_trace_and_at_least_its_root_half():
    k = HIDDEN.kernel(on_sphere(30, 4, np.random.default_rng(0))).ntk
    signs = np.random.default_rng(1).choice([-1.0, 1.0], size=(20_000, 30))
    samples = np.sqrt(np.einsum("si,ij,sj->s", signs, k, signs)) / 30  # sup over |f| <= 1 of mean sign f(x)
    measured, error = samples.mean(), samples.std() / len(samples) ** 0.5
    bound = math.sqrt(np.trace(k)) / 30
    assert bound / math.sqrt(2) - 3 * error <= measured <= bound + 3 * error  # Kahane-Khintchine


@given(st.integers(1, 9), st.floats(1e-3, 10), st.integers(0, 100))
@hypothesis_settings(max_examples=30)
def test_sequential_ridge_regression_pays_exactly_what_the_best_function_pays(n, ridge, seed):
    rng = np.random.default_rng(seed)
    k, y = HIDDEN.kernel(rng.normal(size=(n, 3))).ntk, rng.normal(size=n)
    paid = 0.0
    for t in range(n):
        inverse = np.linalg.inv(k[:t, :t] + ridge * np.eye(t))
        unexplained = k[t, t] - k[t, :t] @ inverse @ k[:t, t]
        paid += (y[t] - k[t, :t] @ inverse @ y[:t]) ** 2 / (1 + unexplained / ridge)
    assert paid == pytest.approx(ridge * y @ np.linalg.solve(k + ridge * np.eye(n), y), rel=1e-6)


def test_sequential_errors_without_noise_never_sum_to_more_than_the_squared_norm_times_the_kernel():
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, centres, weights = on_sphere(40, 4, rng), on_sphere(5, 4, rng), rng.normal(size=5)
        k, f = HIDDEN.kernel(x).ntk, HIDDEN.kernel(x, centres).ntk @ weights
        norm2 = weights @ HIDDEN.kernel(centres).ntk @ weights
        errors = [f[t] - k[t, :t] @ np.linalg.solve(k[:t, :t], f[:t]) for t in range(40)]
        assert np.sum(np.square(errors)) <= 0.5 * norm2 + 1e-9


# --- how often they fail -----------------------------------------------------------------------------------


def absolute(f, y):
    return np.minimum(abs(f - y), 1.0)


def test_the_trace_bound_fails_no_more_often_than_delta_even_for_functions_that_overfit():
    rng, d, n, delta = np.random.default_rng(0), 5, 200, 0.1
    unseen = on_sphere(1000, d, rng)
    failures = 0
    for _ in range(50):
        x = on_sphere(n, d, rng)
        y, y_unseen = (rng.choice([0.0, 1.0], size=m) for m in (n, len(unseen)))
        k = HIDDEN.kernel(x).ntk
        dual = np.linalg.solve(k, y)
        dual *= 2.0 / math.sqrt(
            dual @ k @ dual
        )  # on the sphere of norm 2: f bends as far to the labels as it may
        gap = absolute(HIDDEN.kernel(unseen, x).ntk @ dual, y_unseen).mean() - absolute(k @ dual, y).mean()
        bound = trace_bound(k, 2.0, delta=delta).value
        assert bound < 0.5  # says something
        failures += gap > bound
    assert failures <= 50 * delta


@pytest.mark.parametrize("labels", ["true", "random"])
def test_the_arora_bound_fails_no_more_often_than_delta_and_tells_true_from_random_labels(labels):
    rng, d, n, delta = np.random.default_rng(0), 5, 200, 0.1
    unseen = on_sphere(2000, d, rng)
    target = lambda x: x[:, 0] / math.sqrt(d)  # noqa: E731
    failures, bounds = 0, []
    for _ in range(40):
        x = on_sphere(n, d, rng)
        y = target(x) if labels == "true" else rng.choice([-1.0, 1.0], size=n)
        y_unseen = target(unseen) if labels == "true" else rng.choice([-1.0, 1.0], size=len(unseen))
        h = HIDDEN.kernel(x).ntk
        f = HIDDEN.kernel(unseen, x).ntk @ np.linalg.solve(h, y)
        bound = arora_bound(h, y, delta=delta)
        bounds.append(bound.complexity)
        failures += absolute(f, y_unseen).mean() > bound.value
    assert failures <= 40 * delta
    assert max(bounds) < 0.35 if labels == "true" else min(bounds) > 1


@pytest.mark.parametrize(("noise", "ridge"), [(0.0, None), (0.0, 0.3), (0.2, None), (0.2, 1.0)])
def test_the_mean_error_of_sequential_ridge_regression_obeys_the_rkhs_bound(noise, ridge):
    rng, d, n = np.random.default_rng(0), 4, 40
    unseen, centres, weights = on_sphere(1500, d, rng), on_sphere(5, d, rng), rng.normal(size=5)
    norm = math.sqrt(weights @ HIDDEN.kernel(centres).ntk @ weights)
    bound = rkhs_bound(norm, n, kernel_bound=0.5, noise=noise, ridge=ridge)
    likely = rkhs_bound(norm, n, kernel_bound=0.5, noise=noise, ridge=ridge, delta=0.1)
    f_unseen = HIDDEN.kernel(unseen, centres).ntk @ weights
    averages = []
    for _ in range(40):
        x = on_sphere(n, d, rng)
        y = HIDDEN.kernel(x, centres).ntk @ weights + noise**0.5 * rng.normal(size=n)
        k, cross = HIDDEN.kernel(x).ntk + bound.ridge * np.eye(n), HIDDEN.kernel(unseen, x).ntk
        errors = [
            np.mean((cross[:, :t] @ np.linalg.solve(k[:t, :t], y[:t]) - f_unseen) ** 2) for t in range(n)
        ]
        assert errors[-1] < errors[0]
        averages.append(np.mean(errors))
    assert np.mean(averages) <= bound.value
    assert np.mean(np.array(averages) > likely.value) <= 0.1


# --- types and errors --------------------------------------------------------------------------------------


def test_labels_outside_the_range_of_a_singular_kernel_have_no_interpolant():
    k = np.ones((3, 3))
    assert arora_bound(k, [1.0, 2.0, 3.0]).value == math.inf
    assert arora_bound(k, [1.0, 1.0, 1.0]).norm == pytest.approx(1.0)
    assert arora_bound(np.eye(2), [0.0, 0.0]).norm == 0.0
    assert arora_bound(torch.eye(2), torch.ones(2)).norm == pytest.approx(math.sqrt(2))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: trace_bound(np.ones((2, 3)), 1.0), ValueError, "kernel must have shape"),
        (lambda: trace_bound(-np.eye(2), 1.0), ValueError, "semidefinite"),
        (lambda: trace_bound(np.eye(2), -1.0), ValueError, "norm"),
        (lambda: trace_bound(np.eye(2), 1.0, delta=0.0), ValueError, "delta must be above 0"),
        (lambda: trace_bound(np.eye(2), 1.0, delta=1.0), ValueError, "delta must be below 1"),
        (lambda: trace_bound(np.eye(2), 1.0, lipschitz=-1.0), ValueError, "lipschitz"),
        (lambda: trace_bound(np.eye(2), 1.0, loss_bound=np.inf), ValueError, "loss_bound"),
        (lambda: trace_bound(np.diag([1, np.nan]), 1.0), ValueError, "kernel"),
        (lambda: operator_bound(-1.0, 1.0, 3), ValueError, "trace"),
        (lambda: operator_bound(1.0, 1.0, 0), ValueError, "n must"),
        (lambda: arora_bound(np.eye(2), np.ones(3)), ValueError, "y must have shape"),
        (lambda: arora_bound(np.eye(2), np.ones((2, 2))), ValueError, "y must have shape"),
        (lambda: rkhs_bound(1.0, 10, kernel_bound=0.0), ValueError, "kernel_bound"),
        (lambda: rkhs_bound(1.0, 10, kernel_bound=1.0, noise=-1.0), ValueError, "noise"),
        (
            lambda: rkhs_bound(1.0, 10, kernel_bound=1.0, noise=1.0, ridge=0.0),
            ValueError,
            "ridge must be above 0",
        ),
        (lambda: rkhs_bound("1", 10, kernel_bound=1.0), TypeError, "norm"),
    ],
)
def test_illegal_arguments_are_refused_by_name(call, error, words):
    with pytest.raises(error, match=words):
        call()
