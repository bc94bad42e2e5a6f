"""The largest stable rate, from the spectrum and from networks that are asked."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import ntklab as nl
from ntklab.convergence import catapult_end, probe_stable_rate, stable_rate

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(10, 3)), RNG.normal(size=10)


def two_layers(activation=None, **options):
    arch = nl.Sequential(nl.Dense(2**0.5, 0.5), activation or nl.ReLU(), nl.Dense(2**0.5))
    return arch.finite(128, (3,), seed=0, dtype=torch.float64, **options)


@pytest.mark.parametrize("loss", ["mean", "sum"])
def test_it_is_that_of_the_exact_dynamics(loss):
    kernel = X @ X.T + np.eye(10)
    assert stable_rate(kernel, loss=loss) == pytest.approx(
        nl.GradientDescent(kernel, Y, loss=loss).max_learning_rate
    )
    heavy = nl.Momentum(kernel, Y, momentum=0.6, loss=loss).max_learning_rate
    assert stable_rate(kernel, loss=loss, momentum=0.6) == pytest.approx(heavy)


def test_the_zero_kernel_is_stable_at_every_rate():
    assert math.isinf(stable_rate(np.zeros((2, 2))))


@pytest.mark.parametrize("loss", ["mean", "sum"])
@pytest.mark.parametrize("activation", [nl.ReLU(), nl.Erf(), nl.GELU()])
def test_a_real_network_says_2_over_lambda_max(activation, loss):
    net = two_layers(activation)
    found = probe_stable_rate(net, X, loss=loss)
    assert found == pytest.approx(stable_rate(nl.empirical_ntk(net, X), loss=loss), rel=2e-4)


def test_the_answer_is_as_accurate_as_asked():
    net = two_layers(nl.Erf())
    exact = stable_rate(nl.empirical_ntk(net, X))
    for tolerance in (1e-2, 1e-4, 1e-6):
        assert probe_stable_rate(net, X, tolerance=tolerance) == pytest.approx(
            exact, rel=2 * tolerance + 2e-6
        )


@pytest.mark.parametrize(
    ("parameterization", "factor"), [("standard", 128), ("mup", 1 / 128), ("mean_field", 1 / 128)]
)
def test_rates_of_the_parameterisation_count(parameterization, factor):
    """In NTK parameterisation's units: standard rates are eta / m; muP's readout is smaller by m^1/2, its rates m."""
    net = two_layers(parameterization=parameterization)
    groups = net.parameter_groups(1.0)
    jacobian = {}
    for group in groups:
        for parameter in group["params"]:
            rows = [
                torch.autograd.grad(net(torch.as_tensor(X))[i, 0], parameter)[0].flatten() for i in range(10)
            ]
            jacobian[parameter] = torch.stack(rows) * group["lr"] ** 0.5
    weighted = sum(rows @ rows.T for rows in jacobian.values()).numpy()
    assert probe_stable_rate(net, X) == pytest.approx(stable_rate(weighted), rel=2e-4)


def test_several_outputs_and_frozen_layers():
    arch = nl.Sequential(nl.Dense(trainable=False), nl.Erf(), nl.Dense())
    net = arch.finite(64, (3,), outputs=3, seed=1, dtype=torch.float64)
    kernel = nl.empirical_ntk(net, X, outputs="full")
    assert probe_stable_rate(net, X) == pytest.approx(stable_rate(kernel), rel=2e-4)


def test_one_sample_and_plain_torch_modules_in_float32():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 1))
    before = [p.clone() for p in net.parameters()]
    kernel = nl.empirical_ntk(net.double(), X[:1])
    assert probe_stable_rate(net.float(), X[:1]) == pytest.approx(stable_rate(kernel), rel=1e-3)
    assert all(torch.equal(a.float(), b) for a, b in zip(before, net.parameters(), strict=True))


def test_the_linearised_network_has_the_same_rate():
    net = two_layers(nl.Erf())
    assert probe_stable_rate(nl.linearize(net), X) == pytest.approx(probe_stable_rate(net, X), rel=2e-4)


def test_a_network_without_gradient_is_refused():
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x):
            return 0 * self.weight + x[:, 0]

    with pytest.raises(ValueError, match="every rate is stable"):
        probe_stable_rate(Constant(), X)


def test_the_catapult_ends_beyond_the_stable_rate_and_the_linearised_network_has_none():
    net = two_layers()
    stable = probe_stable_rate(net, X)
    assert 1.3 * stable < catapult_end(net, X, Y, tolerance=0.05) < 8 * stable
    linear = nl.linearize(net)
    assert catapult_end(linear, X, Y, tolerance=0.05, steps=150) == pytest.approx(stable, rel=0.06)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"loss": "max"}, "loss"), ({"tolerance": 0.0}, "tolerance"), ({"steps": 0}, "steps")],
)
def test_bad_arguments_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        probe_stable_rate(two_layers(), X, **options)
    with pytest.raises(ValueError, match="momentum"):
        stable_rate(np.eye(2), momentum=1.0)
