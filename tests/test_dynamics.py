"""Closed forms of training with a constant kernel, against solvers, explicit loops and matrix functions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from ntklab.dynamics import GradientDescent, GradientFlow
from ntklab.momentum import Momentum

INF = float("inf")


def problem(n=6, m=4, features=9, outputs=None, seed=0):
    """A linear model's kernels Phi Phi', targets and initial outputs: k_train, k_test, y, f0, f0_test."""
    rng = np.random.default_rng(seed)
    phi = rng.normal(size=(n + m, features))
    shape = () if outputs is None else (outputs,)
    y, f0, f0_test = (rng.normal(size=(size, *shape)) for size in (n, n, m))
    return phi[:n] @ phi[:n].T, phi[n:] @ phi[:n].T, y, f0, f0_test


def outputs_kernel(n=5, m=3, k=3, seed=1):
    """A kernel (n, n, k, k) that couples outputs, and its flat form built entry by entry."""
    rng = np.random.default_rng(seed)
    phi = rng.normal(size=(n + m, k, 20))
    full = np.einsum("iap,jbp->ijab", phi, phi)
    flat = np.empty(((n + m) * k, (n + m) * k))
    for i, j, a, b in np.ndindex(*full.shape):
        flat[i * k + a, j * k + b] = full[i, j, a, b]
    return full[:n, :n], full[n:, :n], flat[: n * k, : n * k], flat[n * k :, : n * k]


# --- gradient flow -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["mean", "sum"])
def test_flow_solves_the_function_space_ode_on_train_and_test_points(loss):
    k, k_test, y, f0, f0_test = problem()
    rate, t = 0.3, np.array([0.0, 0.4, 2.5])
    scale = rate / (len(y) if loss == "mean" else 1)
    both = np.vstack([k, k_test])

    def velocity(_, f):
        return -scale * both @ (f[: len(y)] - y)

    start = np.concatenate([f0, f0_test])
    solution = solve_ivp(velocity, (0, t[-1]), start, t_eval=t, rtol=1e-11, atol=1e-12, method="DOP853").y.T
    flow = GradientFlow(k, y, f0=f0, learning_rate=rate, loss=loss)
    np.testing.assert_allclose(flow.train(t), solution[:, : len(y)], atol=1e-8)
    np.testing.assert_allclose(flow.test(t, k_test, f0=f0_test), solution[:, len(y) :], atol=1e-8)


def test_flow_is_the_matrix_exponential():
    k, _, y, f0, _ = problem(outputs=2)
    expected = y + expm(-0.7 * k * 1.3 / len(y)) @ (f0 - y)
    np.testing.assert_allclose(GradientFlow(k, y, f0=f0, learning_rate=0.7).train(1.3), expected, rtol=1e-12)


def test_training_loss_never_rises_and_obeys_the_bound_by_the_smallest_eigenvalue():
    k, _, y, f0, _ = problem()
    flow = GradientFlow(k, y, f0=f0, loss="sum")
    t = np.linspace(0, 2, 50)
    square = ((flow.train(t) - y) ** 2).sum(1)
    smallest = np.linalg.eigvalsh(k)[0]
    assert (np.diff(square) <= 0).all()
    assert (square <= np.exp(-2 * smallest * t) * square[0] * (1 + 1e-12)).all()


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), s=st.floats(0, 30), t=st.floats(0, 30), features=st.integers(1, 9))
def test_flow_for_s_then_t_is_flow_for_s_plus_t(seed, s, t, features):
    k, k_test, y, f0, f0_test = problem(features=features, seed=seed)
    whole = GradientFlow(k, y, f0=f0)
    halfway = whole.train(s)
    rest = GradientFlow(k, y, f0=halfway)
    np.testing.assert_allclose(rest.train(t), whole.train(s + t), atol=1e-9)
    two_legs = rest.test(t, k_test, f0=whole.test(s, k_test, f0=f0_test))
    np.testing.assert_allclose(two_legs, whole.test(s + t, k_test, f0=f0_test), atol=1e-6)


def test_test_prediction_at_train_points_is_the_train_prediction():
    k, _, y, f0, _ = problem()
    flow = GradientFlow(k, y, f0=f0)
    t = [0, 0.1, 3, INF]
    np.testing.assert_allclose(flow.test(t, k, f0=f0), flow.train(t), atol=1e-11)


def test_infinite_time_is_kernel_regression_of_the_residual():
    k, k_test, y, f0, f0_test = problem()
    expected = f0_test + k_test @ np.linalg.solve(k, y - f0)
    np.testing.assert_allclose(GradientFlow(k, y, f0=f0).test(INF, k_test, f0=f0_test), expected, rtol=1e-9)


def test_infinite_time_of_a_singular_kernel_is_the_pseudo_inverse_and_null_modes_keep_f0():
    k, k_test, y, f0, f0_test = problem(features=3)
    pinv = np.linalg.pinv(k, hermitian=True, rcond=1e-12)
    null = np.eye(len(y)) - pinv @ k
    for method in (GradientFlow(k, y, f0=f0), GradientDescent(k, y, f0=f0, learning_rate=0.1)):
        for t in (7, 10**6, INF):
            np.testing.assert_allclose(null @ method.train(t), null @ f0, atol=1e-12)
        np.testing.assert_allclose(method.train(INF), k @ pinv @ y + null @ f0, atol=1e-12)
        expected = f0_test + k_test @ pinv @ (y - f0)
        np.testing.assert_allclose(method.test(INF, k_test, f0=f0_test), expected, atol=1e-11)
        assert (method.eigenvalues[3:] == 0).all() and (method.eigenvalues[:3] > 0).all()


def test_an_eigenvalue_under_n_eps_lambda_max_counts_as_zero_and_one_above_does_not():
    y = np.ones(3)
    for dtype in (np.float64, np.float32):
        threshold = 3 * np.finfo(dtype).eps
        k = np.diag([1.0, 5 * threshold, 0.2 * threshold]).astype(dtype)
        np.testing.assert_allclose(GradientFlow(k, y).train(INF), [1, 1, 0], atol=1e-7)


def test_growth_along_tiny_eigenvalues_is_linear_in_time_without_cancellation():
    k, y = np.diag([1.0, 1e-14]), np.array([1.0, 1.0])
    for method in (GradientFlow, GradientDescent):
        prediction = method(k, y, learning_rate=0.5, loss="sum").test(10, np.array([[0.0, 1.0]]))
        np.testing.assert_allclose(prediction, 5.0, rtol=1e-12)


# --- gradient descent --------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["mean", "sum"])
@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_descent_is_sgd_on_the_linear_model_step_by_step(loss, momentum):
    rng = np.random.default_rng(3)
    phi, phi_test = (torch.tensor(rng.normal(size=(n, 8))) for n in (5, 4))
    y, start = torch.tensor(rng.normal(size=(5, 2))), torch.tensor(rng.normal(size=(8, 2)))
    rate = 0.05
    weights = start.clone().requires_grad_()
    optimizer = torch.optim.SGD([weights], lr=rate, momentum=momentum)
    train, test = [], []
    for _ in range(21):
        train.append((phi @ weights).detach())
        test.append((phi_test @ weights).detach())
        optimizer.zero_grad()
        (((phi @ weights - y) ** 2).sum() / (2 * (5 if loss == "mean" else 1))).backward()
        optimizer.step()

    arguments = dict(f0=phi @ start, learning_rate=rate, loss=loss)
    method = Momentum(phi @ phi.T, y, momentum=momentum, **arguments)
    methods = [method] if momentum else [method, GradientDescent(phi @ phi.T, y, **arguments)]
    for method in methods:
        torch.testing.assert_close(method.train(np.arange(21)), torch.stack(train), rtol=0, atol=1e-12)
        predicted = method.test(np.arange(21), phi_test @ phi.T, f0=phi_test @ start)
        torch.testing.assert_close(predicted, torch.stack(test), rtol=0, atol=1e-12)


def test_descent_is_the_matrix_power():
    k, _, y, f0, _ = problem()
    rate = 1.5 / np.linalg.eigvalsh(k)[-1]
    expected = y + np.linalg.matrix_power(np.eye(len(y)) - rate * k, 37) @ (f0 - y)
    descent = GradientDescent(k, y, f0=f0, learning_rate=rate, loss="sum")
    np.testing.assert_allclose(descent.train(37), expected, rtol=1e-11)


def test_error_of_descent_against_flow_is_first_order_in_the_rate():
    k, _, y, f0, _ = problem()
    target = GradientFlow(k, y, f0=f0).train(1.0)
    errors = []
    for steps in (1000, 2000, 4000):
        descent = GradientDescent(k, y, f0=f0, learning_rate=1 / steps)
        errors.append(np.abs(descent.train(steps) - target).max())
    np.testing.assert_allclose(np.divide(errors[:-1], errors[1:]), 2, rtol=0.01)


@pytest.mark.parametrize("factor", [0.3, 0.5, 0.5000001, 0.75, 0.999])
def test_progress_of_one_mode_is_exact_at_every_rate_up_to_the_stable_one(factor):
    """1 - (1 - x)^t with x = 2 factor, in exact rational arithmetic."""
    from fractions import Fraction

    x = Fraction(2 * factor)
    for t in (0, 1, 2, 5, 12):
        expected = float(1 - (1 - x) ** t)
        result = GradientDescent([[1.0]], [1.0], learning_rate=2 * factor).train(t)
        np.testing.assert_allclose(result, expected, rtol=1e-14)


@pytest.mark.parametrize("loss", ["mean", "sum"])
def test_residuals_shrink_just_below_and_grow_just_above_the_largest_stable_rate(loss):
    k, _, y, f0, _ = problem()
    limit = GradientFlow(k, y, loss=loss).max_learning_rate
    np.testing.assert_allclose(limit, 2 * (6 if loss == "mean" else 1) / np.linalg.eigvalsh(k)[-1])
    for momentum in (None, 0.5):
        extra = {} if momentum is None else {"momentum": momentum}
        method = GradientDescent if momentum is None else Momentum
        stable = (1 + (momentum or 0)) * limit
        assert method(k, y, **extra, loss=loss).max_learning_rate == pytest.approx(stable)
        below, above = (
            method(k, y, f0=f0, learning_rate=c * stable, loss=loss, **extra) for c in (0.99, 1.01)
        )
        assert np.abs(below.train(5000) - y).max() < 1e-3
        assert np.abs(above.train(5000) - y).max() > 1e3


# --- divergence --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", [{}, {"momentum": 0.4}])
def test_divergence_gives_infinities_with_the_sign_of_the_fastest_mode_never_nan(extra):
    k, k_test, y, f0, f0_test = problem(n=8, m=5, features=12, seed=5)
    values, vectors = np.linalg.eigh(k)
    method = Momentum if extra else GradientDescent
    rate = 100 / values[-1]  # several modes diverge
    diverging = method(k, y, f0=f0, learning_rate=rate, loss="sum", **extra)
    gap = vectors[:, -1] * (vectors[:, -1] @ (f0 - y))
    for t in (10**4, 10**4 + 1, 10**15, INF):
        sign = -1 if t == 10**4 + 1 else 1
        np.testing.assert_array_equal(diverging.train(t), sign * np.sign(gap) * np.inf)
        test = diverging.test(t, k_test, f0=f0_test)
        np.testing.assert_array_equal(test, sign * np.sign(k_test @ gap) * np.inf)


def test_samples_that_a_diverging_mode_does_not_touch_stay_finite():
    k, y = np.diag([4.0, 3.0, 1e-3]), np.array([1.0, 0.0, 1.0])
    descent = GradientDescent(k, y, learning_rate=1.0, loss="sum")
    result = descent.train([1000, 1001])
    assert result[0, 0] == -np.inf and result[1, 0] == np.inf  # (1 - 4)^t, and y - f0 = 1
    np.testing.assert_array_equal(result[:, 1], 0)  # at its target from the start
    np.testing.assert_allclose(result[:, 2], 1 - 0.999 ** np.array([1000, 1001]), rtol=1e-12)


def test_values_near_the_end_of_float64_are_exact_before_they_become_infinite():
    descent = GradientDescent([[3.0]], [1.0], learning_rate=1.0)
    t = 1020
    assert descent.train(t)[0] == pytest.approx(-(2.0**t), rel=1e-12)
    assert descent.train(1030)[0] == -np.inf
    assert np.isinf(GradientDescent(np.float32([[3.0]]), np.float32([1]), learning_rate=1.0).train(200)).all()


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    rate=st.floats(1e-3, 1e6),
    t=st.one_of(st.integers(0, 10**17), st.just(INF)),
    features=st.integers(1, 9),
    momentum=st.one_of(st.none(), st.floats(0, 0.99)),
)
def test_no_rate_and_no_time_gives_nan(seed, rate, t, features, momentum):
    k, k_test, y, f0, f0_test = problem(features=features, seed=seed)
    extra = {} if momentum is None else {"momentum": momentum}
    method = (GradientDescent if momentum is None else Momentum)(k, y, f0=f0, learning_rate=rate, **extra)
    assert not np.isnan(method.train(t)).any()
    assert not np.isnan(method.test(t, k_test, f0=f0_test)).any()


def test_kernels_of_extreme_scale_behave_like_their_rescaled_copy():
    k, k_test, y, f0, f0_test = problem()
    plain = GradientFlow(k, y, f0=f0, learning_rate=0.5)
    for scale in (1e-280, 1e280):
        scaled = GradientFlow(k * scale, y, f0=f0, learning_rate=0.5 / scale)
        for t in (0.5, INF):
            np.testing.assert_allclose(scaled.train(t), plain.train(t), rtol=1e-10)
            scaled_test = scaled.test(t, k_test * scale, f0=f0_test)
            np.testing.assert_allclose(scaled_test, plain.test(t, k_test, f0=f0_test), rtol=1e-8)


def test_targets_near_the_end_of_float64_diverge_to_infinity_too():
    k, k_test, y, f0, _ = problem()
    y, f0 = y * 1e300, f0 * 1e300
    descent = GradientDescent(k, y, f0=f0, learning_rate=1.0)
    for t in (1, 10, 100, 10**6, INF):
        assert not np.isnan(descent.train(t)).any() and not np.isnan(descent.test(t, k_test)).any()
    assert np.isinf(descent.train(10**6)).all()


def test_later_changes_of_the_arguments_do_not_reach_the_solution():
    k, _, y, f0, _ = (torch.tensor(a) for a in problem())
    flow = GradientFlow(k, y, f0=f0)
    before = flow.train([0.0, 1.0])
    for argument in (k, y, f0):
        argument.mul_(2)
    torch.testing.assert_close(flow.train([0.0, 1.0]), before, rtol=0, atol=0)


def test_a_zero_kernel_learns_nothing():
    for method in (GradientFlow, GradientDescent):
        still = method(np.zeros((3, 3)), [1.0, 2.0, 3.0], f0=0.5)
        np.testing.assert_array_equal(still.train([0, 5, INF]), 0.5)
        np.testing.assert_array_equal(still.test(INF, np.zeros((2, 3)), f0=[7.0, 8.0]), [7, 8])
        assert still.max_learning_rate == math.inf
    np.testing.assert_array_equal(Momentum(np.zeros((2, 2)), [1.0, 2.0], momentum=0.5).train([3, INF]), 0)


# --- momentum ----------------------------------------------------------------------------------------------


def test_momentum_zero_is_gradient_descent_for_long_times_too():
    k, k_test, y, f0, f0_test = problem(seed=2)
    rate = 0.3 * GradientDescent(k, y).max_learning_rate
    plain = GradientDescent(k, y, f0=f0, learning_rate=rate)
    heavy = Momentum(k, y, f0=f0, learning_rate=rate, momentum=0.0)
    t = [0, 1, 10, 1000, 10**6, 10**15, INF]
    np.testing.assert_allclose(heavy.train(t), plain.train(t), atol=1e-10)
    np.testing.assert_allclose(
        heavy.test(t, k_test, f0=f0_test), plain.test(t, k_test, f0=f0_test), atol=1e-9
    )


# --- several outputs, shapes, dtypes -----------------------------------------------------------------------


def test_a_kernel_with_output_indices_is_the_flat_matrix_over_sample_output_pairs():
    k, k_test, flat, flat_test = outputs_kernel()
    rng = np.random.default_rng(0)
    y, f0, f0_test = rng.normal(size=(5, 3)), rng.normal(size=(5, 3)), rng.normal(size=(3, 3))
    rate, t = 0.2, 1.7
    decay = expm(-rate * t / 5 * flat)  # 1/n counts samples, not sample-output pairs
    expected = y.ravel() + decay @ (f0 - y).ravel()
    gain = flat_test @ np.linalg.solve(flat, np.eye(15) - decay) @ (y - f0).ravel()
    flow = GradientFlow(k, y, f0=f0, learning_rate=rate)
    np.testing.assert_allclose(flow.train(t), expected.reshape(5, 3), rtol=1e-11)
    np.testing.assert_allclose(flow.test(t, k_test, f0=f0_test).ravel(), f0_test.ravel() + gain, rtol=1e-8)
    assert flow.train([0, 1, 2, 3]).shape == (4, 5, 3) and flow.test([0.0], k_test).shape == (1, 3, 3)
    assert flow.max_learning_rate == pytest.approx(2 * 5 / np.linalg.eigvalsh(flat)[-1])


@pytest.mark.parametrize("method", [GradientFlow, GradientDescent])
def test_theta_times_identity_over_outputs_equals_the_shared_kernel_and_each_output_alone(method):
    k, k_test, y, f0, f0_test = problem(outputs=2)
    shared = method(k, y, f0=f0, learning_rate=0.1)
    eye = np.eye(2)
    full = method(np.einsum("ij,ab->ijab", k, eye), y, f0=f0, learning_rate=0.1)
    full_test = full.test(3, np.einsum("ij,ab->ijab", k_test, eye), f0=f0_test)
    np.testing.assert_allclose(full.train(3), shared.train(3), atol=1e-12)
    np.testing.assert_allclose(full_test, shared.test(3, k_test, f0=f0_test), atol=1e-12)
    for a in range(2):
        alone = method(k, y[:, a], f0=f0[:, a], learning_rate=0.1)
        np.testing.assert_allclose(shared.train(3)[:, a], alone.train(3), atol=1e-13)


def test_one_output_may_be_written_with_or_without_its_axis():
    k, k_test, y, _, _ = problem()
    plain = GradientFlow(k, y).test(2, k_test)
    four = GradientFlow(k[:, :, None, None], y).test(2, k_test[:, :, None, None])
    column = GradientFlow(k[:, :, None, None], y[:, None]).test(2, k_test[:, :, None, None])
    np.testing.assert_allclose(four, plain, rtol=1e-12)
    np.testing.assert_allclose(column[:, 0], plain, rtol=1e-12)


def test_time_may_be_a_number_or_a_vector_of_any_library():
    k, k_test, y, _, _ = problem()
    flow = GradientFlow(k, y)
    for t in ([0.5, INF], np.array([0.5, INF]), torch.tensor([0.5, INF]), (0.5, INF)):
        assert flow.train(t).shape == (2, 6) and flow.test(t, k_test).shape == (2, 4)
        np.testing.assert_array_equal(flow.train(t)[0], flow.train(0.5))
    for t in (1, 1.0, np.int64(1), np.float32(1), np.array(1.0), torch.tensor(1)):
        np.testing.assert_array_equal(flow.train(t), flow.train(1.0))
    np.testing.assert_array_equal(flow.train([5.0, 0.0, 2.0])[1], np.zeros(6))


def test_results_have_the_library_and_the_promoted_dtype_of_the_arguments():
    k, k_test, y, _, _ = problem()
    k32, y32 = k.astype(np.float32), y.astype(np.float32)
    exact = GradientFlow(k, y).test(2, k_test)
    low = GradientFlow(k32, y32, f0=0.0).train(1.0)
    assert isinstance(low, np.ndarray) and low.dtype == np.float32
    assert GradientFlow(k32, y).train(1.0).dtype == np.float64
    np.testing.assert_allclose(GradientFlow(k32, y32).test(2, k_test.astype(np.float32)), exact, rtol=1e-3)
    mixed = GradientFlow(k, y).test(2, torch.tensor(k_test))
    assert isinstance(mixed, torch.Tensor) and mixed.dtype == torch.float64
    tensor = GradientFlow(torch.tensor(k32), torch.tensor(y32))
    assert tensor.train(1.0).dtype == torch.float32
    assert isinstance(tensor.test(1.0, k_test), torch.Tensor)
    assert isinstance(GradientFlow(k.tolist(), y.tolist()).train(1), np.ndarray)
    whole = GradientFlow([[2, 1], [1, 2]], [1, 0])
    assert whole.train(1).dtype == np.float64


def test_eigenvalues_and_eigenvectors_give_back_the_kernel_from_the_largest_down():
    k, _, y, _, _ = problem()
    flow = GradientFlow(k, y)
    assert (np.diff(flow.eigenvalues) <= 0).all()
    np.testing.assert_allclose(flow.eigenvectors * flow.eigenvalues @ flow.eigenvectors.T, k, atol=1e-12)


# --- errors ------------------------------------------------------------------------------------------------

GOOD = dict(k_train=np.eye(3), y=np.ones(3))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"k_train": np.ones((3, 2))}, "k_train"),
        ({"k_train": np.ones((3, 3, 2))}, "k_train"),
        ({"k_train": np.ones((3, 3, 2, 1))}, "k_train"),
        ({"k_train": np.array([[1, 0.5, 0], [0, 1, 0], [0, 0, 1]])}, "symmetric"),
        ({"k_train": np.diag([1.0, 1.0, -0.1])}, "semidefinite"),
        ({"k_train": -np.eye(3)}, "semidefinite"),
        ({"k_train": np.diag([1.0, np.nan, 1.0])}, "k_train"),
        ({"y": np.ones(4)}, "y must have shape"),
        ({"y": np.ones((3, 2, 1))}, "y must have shape"),
        ({"y": 1.0}, "y must have shape"),
        ({"y": [1.0, np.inf, 0.0]}, "y"),
        ({"y": []}, "empty"),
        ({"k_train": np.zeros((3, 3, 2, 2)), "y": np.ones(3)}, "y must have shape"),
        ({"f0": np.zeros(2)}, "f0"),
        ({"f0": np.zeros((3, 1))}, "f0"),
        ({"f0": np.nan}, "f0"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"learning_rate": np.inf}, "learning_rate"),
        ({"loss": "l2"}, "loss"),
        ({"y": np.full(3, 1.5e308), "f0": -1.5e308}, "y - f0"),
    ],
)
@pytest.mark.parametrize("method", [GradientFlow, GradientDescent])
def test_illegal_problems_are_refused_by_name(method, change, words):
    with pytest.raises(ValueError, match=words):
        method(**{**GOOD, **change})


@pytest.mark.parametrize("t", [-1, np.nan, [1, -2], [], [[1.0]]])
def test_illegal_times_are_refused(t):
    for method in (GradientFlow, GradientDescent):
        with pytest.raises(ValueError, match="t must"):
            method(**GOOD).train(t)


def test_illegal_arguments_of_test_momentum_and_steps_are_refused():
    flow = GradientFlow(**GOOD)
    with pytest.raises(ValueError, match=r"k_test_train must have shape \(m, 3\)"):
        flow.test(1, np.ones((2, 4)))
    with pytest.raises(ValueError, match="f0"):
        flow.test(1, np.ones((2, 3)), f0=np.zeros(3))
    with pytest.raises(ValueError, match="whole"):
        GradientDescent(**GOOD).train(1.5)
    with pytest.raises(TypeError, match="t must"):
        flow.train("1")
    with pytest.raises(TypeError, match="learning_rate"):
        GradientFlow(**GOOD, learning_rate="1")
    for momentum in (-0.1, 1.0):
        with pytest.raises(ValueError, match="momentum"):
            Momentum(**GOOD, momentum=momentum)


def test_rounding_asymmetry_and_rounding_negative_eigenvalues_are_accepted():
    k, _, y, _, _ = problem(features=3)
    noisy = k + 1e-13 * np.random.default_rng(0).normal(size=k.shape)
    np.testing.assert_allclose(GradientFlow(noisy, y).train(1.0), GradientFlow(k, y).train(1.0), atol=1e-10)
