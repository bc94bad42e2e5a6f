"""What is left of each mode, against the dynamics, recursions and high precision."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ntklab as nl
from ntklab.convergence import decay, eigensystem, exponential_bound

RATE = 0.7


def problem(n: int = 7, seed: int = 0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, n))
    return features @ features.T, rng.normal(size=n), rng.normal(size=n)


@pytest.mark.parametrize("loss", ["mean", "sum"])
@pytest.mark.parametrize(
    ("method", "solver", "options"),
    [
        ("flow", nl.GradientFlow, {}),
        ("descent", nl.GradientDescent, {}),
        ("momentum", nl.Momentum, {"momentum": 0.8}),
    ],
)
def test_modes_put_together_again_are_the_solution_of_the_dynamics(loss, method, solver, options):
    kernel, y, f0 = problem()
    rate = 0.05 if loss == "sum" else RATE
    modes, t = eigensystem(kernel), np.array([0, 1, 2, 9, 100])
    left = decay(modes.eigenvalues, t, method=method, learning_rate=rate, loss=loss, **options)
    outputs = y + (left * modes.coefficients(f0 - y)) @ modes.modes.T
    expected = solver(kernel, y, f0=f0, learning_rate=rate, loss=loss, **options).train(t)
    assert np.allclose(outputs, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


@settings(max_examples=60)
@given(x=st.floats(0, 4.5), beta=st.floats(0, 0.99), t=st.integers(0, 60))
def test_momentum_follows_its_recursion(x, beta, t):
    with mpmath.workdps(40):
        before = now = mpmath.mpf(1)
        for _ in range(t):
            before, now = now, (1 + mpmath.mpf(beta) - mpmath.mpf(x)) * now - mpmath.mpf(beta) * before
        size = max(abs(now), abs(before), mpmath.mpf(beta) ** (t / 2))
    found = decay([x], t, method="momentum", loss="sum", momentum=beta)[0]
    assert found == pytest.approx(float(now), rel=1e-10, abs=1e-11 * float(size) * (1 + t))


@given(x=st.floats(0, 3), t=st.integers(0, 500))
def test_momentum_0_is_gradient_descent(x, t):
    plain, heavy = decay([x], t, method="descent", loss="sum"), decay([x], t, method="momentum", loss="sum")
    assert heavy[0] == pytest.approx(plain[0], rel=1e-10, abs=1e-300)


@given(x=st.floats(1e-3, 50), t=st.floats(0, 14))
def test_flow_keeps_its_digits_down_to_the_smallest_numbers(x, t):
    assert decay([x], t, loss="sum")[0] == pytest.approx(
        float(mpmath.exp(-mpmath.mpf(x) * t)), rel=1e-12, abs=1e-320
    )


def test_descent_tends_to_flow_as_the_rate_goes_to_0():
    values, gaps = np.array([3.0, 1.0, 0.2]), []
    for rate in (0.02, 0.01, 0.005):
        t = round(1 / rate)
        steps = decay(values, t, method="descent", learning_rate=rate, loss="sum")
        gaps.append(np.abs(steps - decay(values, t, learning_rate=rate, loss="sum")).max())
    assert np.allclose(np.array(gaps[:-1]) / gaps[1:], 2, rtol=0.05)  # first order


def test_past_2_over_lambda_a_mode_grows_and_below_it_shrinks():
    left = decay([1.99, 2.0, 2.01], [1, 2, 400, 401], method="descent", loss="sum")
    assert (
        abs(left[2, 0]) < 0.1
        and left[2, 1] == 1
        and left[3, 1] == -1
        and left[2, 2] > 50
        and left[3, 2] < -50
    )


def test_infinite_times_are_limits_and_never_nan():
    values = [5.0, 2.0, 1.0, 0.5, 0.0]
    assert decay(values, math.inf, loss="sum").tolist() == [0, 0, 0, 0, 1]
    assert decay(values, math.inf, method="descent", loss="sum").tolist() == [math.inf, 1, 0, 0, 1]
    edge = decay([7.0, 3.0, 1.0, 0.0], math.inf, method="momentum", momentum=0.5, loss="sum")
    assert edge.tolist() == [math.inf, 3, 0, 1]
    late = decay([3.0], 2000, method="momentum", momentum=0.5, loss="sum")
    assert late[0] == pytest.approx(3, rel=1e-9)


def test_overflow_is_an_infinity_with_the_right_sign():
    left = decay([9.0], [1000, 1001], method="descent", loss="sum")[:, 0]
    assert left.tolist() == [math.inf, -math.inf]
    heavy = decay([9.0], [1000, 1001], method="momentum", momentum=0.3, loss="sum")[:, 0]
    assert heavy.tolist() == [math.inf, -math.inf]


def test_shapes_dtypes_and_libraries_are_kept():
    values = torch.tensor([2.0, 1.0], dtype=torch.float32)
    assert decay(values, 3.0).shape == (2,) and decay(values, [1.0, 2.0]).shape == (2, 2)
    assert decay(values, 3.0).dtype == torch.float32
    assert decay(values, 1.0, n=10)[0] == pytest.approx(math.exp(-0.2), rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eigenvalues": [-1.0]}, "eigenvalues must"),
        ({"eigenvalues": np.ones((2, 2))}, "eigenvalues must"),
        ({"method": "adam"}, "method must be one of"),
        ({"t": 0.5, "method": "descent"}, "t counts steps"),
        ({"t": -1.0}, "t must not be negative"),
        ({"momentum": 0.5}, "momentum must be"),
        ({"momentum": 1.0, "method": "momentum"}, "momentum must be"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"n": 0}, "n must be at least 1"),
        ({"loss": "max"}, "loss must be one of"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        decay(**{"eigenvalues": [1.0], "t": 1.0, **arguments})


@settings(max_examples=40)
@given(seed=st.integers(0, 1000), share=st.floats(0.05, 3), method=st.sampled_from(["flow", "descent"]))
def test_the_bound_holds_at_every_rate_and_time(seed, share, method):
    kernel, y, f0 = problem(5, seed)
    rate = share * nl.GradientDescent(kernel, y).max_learning_rate
    found = exponential_bound(kernel, y, np.arange(30), f0=f0, learning_rate=rate, method=method)
    assert (found.residual <= found.bound * (1 + 1e-12)).all() and (found.tightness <= 1 + 1e-12).all()
    solver = nl.GradientFlow if method == "flow" else nl.GradientDescent
    outputs = solver(kernel, y, f0=f0, learning_rate=rate).train(np.arange(30))
    assert np.allclose(found.residual, ((outputs - y) ** 2).sum(1), rtol=1e-7, atol=1e-12 * found.residual[0])


@pytest.mark.parametrize("loss", ["mean", "sum"])
def test_it_is_attained_along_the_smallest_eigenvector_and_only_there(loss):
    kernel, _, _ = problem()
    modes = eigensystem(kernel)
    rate, t = (
        0.9 * 2 * (len(kernel) if loss == "mean" else 1) / (modes.eigenvalues[0] + modes.eigenvalues[-1]),
        50,
    )
    for method in ("flow", "descent"):
        options = {"learning_rate": rate, "loss": loss, "method": method}
        assert exponential_bound(kernel, modes.modes[:, -1], t, **options).tightness == pytest.approx(
            1, rel=1e-10
        )
        assert exponential_bound(kernel, modes.modes[:, -2], t, **options).tightness < 0.9


def test_the_bound_is_the_closed_formula():
    kernel, y, _ = problem()
    least, n = np.linalg.eigvalsh(kernel)[0], len(y)
    flow = exponential_bound(kernel, y, 11.0, learning_rate=0.3)
    steps = exponential_bound(kernel, y, 11, learning_rate=0.3, method="descent")
    assert flow.bound == pytest.approx(math.exp(-2 * 0.3 * least / n * 11) * y @ y, rel=1e-9)
    assert steps.bound == pytest.approx((1 - 0.3 * least / n) ** 22 * y @ y, rel=1e-9)


def test_tightness_survives_where_the_bound_underflows():
    modes = np.diag([2.0, 1.0])
    found = exponential_bound(modes, np.ones(2), 1e6, loss="sum")
    assert found.bound == 0 and found.tightness == pytest.approx(0.5)


def test_a_singular_kernel_bounds_nothing():
    found = exponential_bound(np.diag([1.0, 0.0]), np.array([0.0, 1.0]), [0.0, 100.0], loss="sum")
    assert found.residual.tolist() == found.bound.tolist() == [1, 1]


def test_several_outputs_share_a_bound():
    kernel, _, _ = problem()
    y = np.random.default_rng(3).normal(size=(7, 2))
    both = exponential_bound(kernel, y, 4.0).residual
    assert both == pytest.approx(sum(exponential_bound(kernel, column, 4.0).residual for column in y.T))


def test_nothing_to_learn_is_an_error():
    with pytest.raises(ValueError, match="f0 must differ"):
        exponential_bound(np.eye(2), np.ones(2), 1.0, f0=1.0)
    with pytest.raises(ValueError, match="y must have shape"):
        exponential_bound(np.eye(2), np.ones(3), 1.0)
