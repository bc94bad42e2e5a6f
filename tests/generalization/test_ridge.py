"""Kernel ridge regression and its leave-one-out errors, against scikit-learn, refits and gradient flow."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from sklearn.kernel_ridge import KernelRidge

import ntklab as nl
from ntklab.generalization.ridge import Cholesky, kernel_ridge, leave_one_out, resolvent, restore

INF = float("inf")


def problem(n=12, outputs=None, d=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    shape = (n,) if outputs is None else (n, outputs)
    return nl.Sequential(nl.Dense(1.4, 0.3), nl.ReLU(), nl.Dense()).kernel(x).ntk, rng.normal(size=shape)


def refits(kernel, y, ridge, centre=False):
    """y_i - f_{-i}(x_i), one refit a sample."""
    residuals = []
    for i in range(len(y)):
        rest = np.arange(len(y)) != i
        mean = y[rest].mean(axis=0) if centre else 0.0
        inner = kernel[np.ix_(rest, rest)] + ridge * np.eye(len(y) - 1)
        residuals.append(y[i] - mean - kernel[i, rest] @ np.linalg.solve(inner, y[rest] - mean))
    return np.array(residuals)


@pytest.mark.parametrize("outputs", [None, 1, 3])
@pytest.mark.parametrize("ridge", [1e-3, 1.0, 50.0])
def test_dual_coefficients_are_those_of_scikit_learn(outputs, ridge):
    kernel, y = problem(outputs=outputs)
    expected = KernelRidge(alpha=ridge, kernel="precomputed").fit(kernel, y).dual_coef_
    np.testing.assert_allclose(kernel_ridge(kernel, y, ridge), expected, rtol=1e-9, atol=1e-12)


@settings(max_examples=40)
@given(
    n=st.integers(2, 12),
    outputs=st.sampled_from([None, 1, 2]),
    ridge=st.floats(1e-3, 1e2),
    centre=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_leave_one_out_errors_are_those_of_refits(n, outputs, ridge, centre, seed):
    kernel, y = problem(n, outputs, seed=seed)
    found = leave_one_out(kernel, y, ridge, centre=centre)
    expected = refits(kernel, y, ridge, centre)
    np.testing.assert_allclose(found.residuals, expected, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(found.errors, [np.mean(expected**2)], rtol=1e-7)


def test_the_best_ridge_has_the_smallest_error_and_its_own_fit():
    kernel, y = problem(30, 2, seed=3)
    ridges = [0.01, 3.0, 0.3, 100.0]
    found = leave_one_out(kernel, y, ridges)
    errors = [np.mean(refits(kernel, y, ridge) ** 2) for ridge in ridges]
    np.testing.assert_allclose(found.errors, errors, rtol=1e-8)
    assert found.ridge == ridges[int(np.argmin(errors))]
    np.testing.assert_allclose(found.dual, kernel_ridge(kernel, y, found.ridge), rtol=1e-10)
    np.testing.assert_allclose(found.residuals, refits(kernel, y, found.ridge), rtol=1e-8)
    np.testing.assert_array_equal(found.ridges, ridges)


def test_centred_leave_one_out_does_not_notice_a_constant_added_to_the_targets():
    kernel, y = problem(15)
    near, far = (leave_one_out(kernel, y + shift, [0.1, 1.0], centre=True) for shift in (0.0, 1e3))
    np.testing.assert_allclose(near.errors, far.errors, rtol=1e-8)
    np.testing.assert_allclose(near.residuals, far.residuals, atol=1e-8)


@pytest.mark.parametrize("loss", ["mean", "sum"])
@pytest.mark.parametrize("t", [0.0, 0.3, 20.0, INF])
def test_without_ridge_it_is_gradient_flow_at_time_t(t, loss):
    kernel, y = problem(outputs=2)
    cross = problem(20)[0][12:, :12]
    flow = nl.GradientFlow(kernel, y, learning_rate=0.7, loss=loss)
    dual = kernel_ridge(kernel, y, t=t, learning_rate=0.7, loss=loss)
    np.testing.assert_allclose(cross @ dual, flow.test(t, cross), atol=1e-10)


def test_with_ridge_it_is_gradient_flow_penalised_by_the_distance_from_the_start():
    """d theta/dt = -eta c (J'(J theta - y) + ridge theta), with the kernel J J'."""
    rng = np.random.default_rng(0)
    jacobian, y, ridge, t, rate = rng.normal(size=(6, 10)), rng.normal(size=6), 0.8, 1.7, 0.5

    def velocity(_, theta):
        return -rate / 6 * (jacobian.T @ (jacobian @ theta - y) + ridge * theta)

    theta = solve_ivp(velocity, (0, t), np.zeros(10), rtol=1e-11, atol=1e-12).y[:, -1]
    dual = kernel_ridge(jacobian @ jacobian.T, y, ridge, t=t, learning_rate=rate)
    np.testing.assert_allclose(jacobian.T @ dual, theta, atol=1e-9)


def test_duplicates_without_ridge_get_their_mean_by_the_pseudo_inverse():
    kernel, y = problem(8)
    twice = np.repeat(np.repeat(kernel, 2, axis=0), 2, axis=1)
    targets = np.repeat(y, 2) + np.tile([-0.5, 0.5], 8)
    np.testing.assert_allclose(twice @ kernel_ridge(twice, targets), np.repeat(y, 2), atol=1e-8)
    np.testing.assert_allclose(
        kernel_ridge(twice, targets), np.linalg.pinv(twice, hermitian=True) @ targets, atol=1e-7
    )


def test_a_ridge_that_leaves_the_matrix_singular_counts_as_an_infinite_error():
    kernel, y = problem(6)
    twice, targets = np.tile(kernel, (2, 2)), np.tile(y, 2)
    found = leave_one_out(twice, targets, [0.0, 0.1])
    assert np.isinf(found.errors[0]) and found.ridge == 0.1
    with pytest.raises(ValueError, match=r"positive definite for one of the ridges, got 0 at most"):
        leave_one_out(twice, targets, [0.0])


def test_the_factor_leaves_one_triangle_so_that_the_kernel_can_be_put_back():
    kernel, _ = problem(1100, d=5)
    matrix = kernel.copy()
    factor = Cholesky.of(matrix, 0.5)
    assert not np.array_equal(matrix, kernel)
    factor.inverse_diagonal()
    restore(matrix, kernel.diagonal())
    np.testing.assert_array_equal(matrix, kernel)


def test_the_diagonal_of_the_inverse_and_the_solution_are_those_of_the_inverse_matrix():
    kernel, y = problem(700, 2, d=4)
    inverse = np.linalg.inv(kernel + 0.1 * np.eye(700))
    factor = Cholesky.of(kernel.copy(), 0.1)
    np.testing.assert_allclose(factor.solve(y), inverse @ y, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(factor.inverse_diagonal(), inverse.diagonal(), rtol=1e-8)


@pytest.mark.parametrize("t", [2.0, INF])
def test_the_resolvent_is_one_linear_map_for_vectors_and_columns(t):
    kernel, y = problem(outputs=3)
    solve = resolvent(kernel.copy(), 0.2, t=t)
    for column in range(3):
        np.testing.assert_allclose(solve(y)[:, column], solve(y[:, column].copy()), atol=1e-12)


@pytest.mark.parametrize("kind", ["float32", "torch", "list"])
def test_results_are_of_the_kind_that_came_in_and_nothing_is_overwritten(kind):
    kernel, y = problem()
    exact = kernel_ridge(kernel, y, 0.5)
    if kind == "float32":
        inputs, tolerance = (kernel.astype(np.float32), y.astype(np.float32)), 1e-5
    elif kind == "torch":
        inputs, tolerance = (torch.as_tensor(kernel), torch.as_tensor(y)), 1e-12
    else:
        inputs, tolerance = (kernel.tolist(), y.tolist()), 1e-12
    before = np.asarray(inputs[0]).copy()
    dual, found = kernel_ridge(*inputs, 0.5), leave_one_out(*inputs, 0.5)
    np.testing.assert_array_equal(before, np.asarray(inputs[0]))
    for result in (dual, found.dual):
        assert type(result) is (torch.Tensor if kind == "torch" else np.ndarray)
        assert str(result.dtype).removeprefix("torch.") == ("float32" if kind == "float32" else "float64")
        np.testing.assert_allclose(np.asarray(result), exact, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"kernel": np.eye(3)[:2]}, ValueError, r"kernel must have shape \(n, n\), got \(2, 3\)"),
        ({"y": np.ones(4)}, ValueError, r"y must have shape \(3,\) or \(3, k\), got \(4,\)"),
        ({"y": [1.0, np.nan, 0.0]}, ValueError, "y must be finite, got nan"),
        ({"kernel": np.triu(np.ones((3, 3)))}, ValueError, "kernel must be symmetric"),
        ({"kernel": np.diag([1.0, 1.0, -1.0])}, ValueError, "kernel must be positive semidefinite"),
        ({"ridge": -1.0}, ValueError, "ridge must be at least 0, got -1"),
        ({"ridge": "0.1"}, TypeError, "ridge must be a real number, got '0.1'"),
        ({"t": -1.0}, ValueError, "t must not be negative"),
        ({"t": [1.0, 2.0]}, ValueError, "t must be one number or inf, got 2 of them"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate must be above 0"),
        ({"loss": "max"}, ValueError, "loss must be one of 'mean', 'sum', got 'max'"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change, error, message):
    arguments = {"kernel": np.eye(3), "y": np.ones(3)} | change
    with pytest.raises(error, match=message):
        kernel_ridge(**arguments)


@pytest.mark.parametrize(
    ("ridges", "centre", "n", "message"),
    [
        ([], False, 3, r"ridges must be a number or a sequence \(R,\), got shape \(0,\)"),
        ([[1.0]], False, 3, r"ridges must be a number or a sequence \(R,\), got shape \(1, 1\)"),
        ([1.0, -1.0], False, 3, "ridge must be at least 0, got -1"),
        ([1.0], True, 1, "needs at least 2 samples, got n_samples=1"),
    ],
)
def test_leave_one_out_refuses_what_it_cannot_do(ridges, centre, n, message):
    with pytest.raises(ValueError, match=message):
        leave_one_out(np.eye(n), np.ones(n), ridges, centre=centre)
