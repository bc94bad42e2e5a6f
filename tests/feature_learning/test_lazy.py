"""Chizat's output scaling: kernel, rates, and the linear limit with its rate 1/alpha."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

import ntklab as nl
from ntklab import feature_learning as fl

SMOOTH = nl.Sequential(nl.Dense(1.5, 0.2), nl.Erf(), nl.Dense(1.5, 0.2), nl.Erf(), nl.Dense(1.0, 0.1))
X = np.random.default_rng(0).standard_normal((8, 4))
Y = np.random.default_rng(1).standard_normal(8)
ALPHAS = np.array([16.0, 64.0, 256.0, 1024.0])


def fresh(width=16, parameterization="ntk", dtype=torch.float64, seed=0):
    return SMOOTH.finite(width, (4,), parameterization=parameterization, seed=seed, dtype=dtype)


def test_output_is_alpha_times_the_change_since_the_start():
    net = fresh()
    scaled = fl.LazyScaled(net, 3.0)
    x = torch.tensor(X)
    assert not scaled(x).any()
    start = net(x).detach()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1)
    assert torch.equal(scaled(x), 3.0 * (net(x) - start))
    assert len(list(p for p in scaled.parameters() if p.requires_grad)) == len(list(net.parameters()))


@pytest.mark.parametrize("method", ["structured", "jacobian", "auto"])
def test_kernel_is_alpha_squared_times_that_of_the_network(method):
    net = fresh()
    theta = nl.empirical_ntk(net, X, X[:3], outputs="full")
    scaled = nl.empirical_ntk(fl.LazyScaled(net, 7.0), X, X[:3], outputs="full", method=method)
    np.testing.assert_allclose(scaled, 49 * theta, rtol=1e-10)


@pytest.mark.parametrize("parameterization", ["ntk", "standard", "mup"])
def test_first_step_of_the_function_is_free_of_alpha(parameterization):
    """Rate / alpha^2 times kernel alpha^2: d f = eta Theta y / n to first order, in any parameterisation."""
    steps = []
    for alpha in (1.0, 10.0, 100.0):
        scaled = fl.LazyScaled(fresh(parameterization=parameterization), alpha)
        steps.append(
            nl.train(scaled, X, Y, steps=1, learning_rate=1e-6, record=[1], probe=0).train_outputs[0]
        )
    np.testing.assert_allclose(steps[1], steps[0], rtol=1e-4)
    np.testing.assert_allclose(steps[2], steps[0], rtol=1e-4)
    if parameterization == "ntk":
        np.testing.assert_allclose(steps[0], 1e-6 * nl.empirical_ntk(fresh(), X) @ Y / len(Y), rtol=1e-4)


def test_training_is_gradient_descent_on_the_loss_over_alpha_squared_by_hand():
    alpha, rate = 2.5, 0.1
    net, x, y = fresh(), torch.tensor(X), torch.tensor(Y)[:, None]
    by_hand, start = copy.deepcopy(net), net(x).detach()
    for _ in range(20):
        loss = (alpha * (by_hand(x) - start) - y).square().sum() / (2 * len(y)) / alpha**2
        gradients = torch.autograd.grad(loss, list(by_hand.parameters()))
        with torch.no_grad():
            for p, g in zip(by_hand.parameters(), gradients, strict=True):
                p.sub_(rate * g)
    nl.train(fl.LazyScaled(net, alpha), X, Y, steps=20, learning_rate=rate, probe=0)
    for p, q in zip(net.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-10, atol=1e-12)


def test_large_alpha_tends_to_the_linearised_network_at_rate_one_over_alpha():
    """Chizat, Oyallon & Bach: parameters move O(1/alpha), the function's distance to its linearisation,
    kernel drift and feature movement are O(1/alpha) each, at a width of 16."""
    measured = {"distance": [], "drift": [], "movement": [], "features": []}
    for alpha in ALPHAS:
        scaled = fl.LazyScaled(fresh(), alpha)
        linear = nl.linearize(scaled)
        history = nl.train(scaled, X, Y, steps=100, learning_rate=0.3, record=[0, 100])
        nl.train(linear, X, Y, steps=100, learning_rate=0.3, record=[100], probe=0)
        measured["distance"].append(fl.linearization_distance(scaled, linear, X))
        measured["drift"].append(history.kernel_drift[-1])
        measured["movement"].append(history.movement[-1])
        measured["features"].append(fl.feature_movement(scaled.start, scaled, X)[-1])
    slopes = {name: np.polyfit(np.log(ALPHAS), np.log(values), 1)[0] for name, values in measured.items()}
    assert all(abs(slope + 1) < 0.05 for slope in slopes.values()), slopes


def test_limit_is_the_gradient_descent_of_the_kernel_at_the_start_from_zero():
    net = fresh()
    theta = nl.empirical_ntk(net, X)
    expected = nl.GradientDescent(theta, Y, learning_rate=0.3).train(50)
    history = nl.train(fl.LazyScaled(net, 1e5), X, Y, steps=50, learning_rate=0.3, record=[50], probe=0)
    np.testing.assert_allclose(history.train_outputs[0], expected, atol=1e-4)


def test_small_alpha_moves_features_and_kernel_by_order_one():
    lazy, rich = (fl.LazyScaled(fresh(), alpha) for alpha in (64.0, 0.1))
    drifts = [nl.train(f, X, Y, steps=300, record=[0, 300]).kernel_drift[-1] for f in (lazy, rich)]
    assert drifts[0] < 0.02 < 0.5 < drifts[1]


def test_default_rate_of_train_and_sharpness_do_not_depend_on_alpha():
    histories = [nl.train(fl.LazyScaled(fresh(), a), X, Y, steps=1, record=[0]) for a in (1.0, 50.0)]
    assert math.isclose(histories[0].learning_rate, histories[1].learning_rate, rel_tol=1e-2)


def test_adam_moves_the_function_by_an_amount_free_of_alpha():
    moves = []
    for alpha in (1.0, 100.0):
        scaled = fl.LazyScaled(fresh(), alpha)
        history = nl.train(scaled, X, Y, steps=1, learning_rate=1e-6, optimizer="adam", record=[1], probe=0)
        moves.append(history.train_outputs[0])
    np.testing.assert_allclose(moves[1], moves[0], rtol=1e-2)


def test_plain_torch_modules_float32_frozen_layers_and_copies():
    torch_net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    torch_net[0].requires_grad_(False)
    scaled = fl.LazyScaled(torch_net, 2.0)
    (group,) = scaled.parameter_groups(0.4)
    assert group["lr"] == 0.1 and [tuple(p.shape) for p in group["params"]] == [(1, 8), (1,)]
    nl.train(scaled, X, Y, steps=20, learning_rate=0.1)
    twin = copy.deepcopy(scaled)
    x = torch.tensor(X, dtype=torch.float32)
    assert torch.equal(twin(x), scaled(x)) and scaled(x).dtype == torch.float32
    assert torch.equal(torch_net[0].weight, scaled.start[0].weight)
    again = fl.LazyScaled(torch_net, 2.0)
    again.load_state_dict(scaled.state_dict())
    assert torch.equal(again(x), scaled(x))


@pytest.mark.parametrize(("alpha", "message"), [(0.0, "above 0"), (-1.0, "above 0"), (math.inf, "finite")])
def test_alpha_must_be_positive(alpha, message):
    with pytest.raises(ValueError, match=f"alpha must be {message}"):
        fl.LazyScaled(fresh(), alpha)


def test_alpha_is_bounded_by_the_digits_of_the_dtype():
    """Below the bound kernel and training work, above it rounding errors are refused by name."""
    for dtype, bound in ((torch.float32, 289), (torch.float64, 6.7e6)):
        scaled = fl.LazyScaled(fresh(width=256, dtype=dtype), bound)
        assert nl.train(scaled, X, Y, steps=20).loss[-1] < 0.5 * np.square(Y).mean() / 2
        with pytest.raises(ValueError, match=f"alpha must be at most .* {dtype}"):
            fl.LazyScaled(fresh(dtype=dtype), 1.01 * bound)


def test_bad_networks_and_optimizers_are_named():
    with pytest.raises(TypeError, match=r"torch\.nn\.Module"):
        fl.LazyScaled(SMOOTH, 1.0)
    with pytest.raises(ValueError, match="requires_grad"):
        fl.LazyScaled(nn.ReLU(), 1.0)
    with pytest.raises(ValueError, match="optimizer must be one of"):
        fl.LazyScaled(fresh(), 1.0).parameter_groups(0.1, "lion")
