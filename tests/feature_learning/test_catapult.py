"""Rates past stability: against the exact two-variable map of a linear network, and the three phases."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

import ntklab as nl
from ntklab.feature_learning.catapult import catapult

LINEAR = nl.Sequential(nl.Dense(), nl.Identity(), nl.Dense())
RELU = nl.Sequential(nl.Dense(2**0.5, 0.3), nl.ReLU(), nl.Dense(2**0.5))


def data(n=12, d=3, k=None, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    y = np.sin(x[:, 0]) + 0.5 * x[:, 1]
    return x, y if k is None else np.stack([y, -y, y**2][:k], 1)


def network(arch=RELU, width=256, d=3, k=1, seed=0, **arguments):
    return arch.finite(width, (d,), k, seed=seed, dtype=torch.float64, **arguments)


@pytest.mark.parametrize("rate", [0.5, 1.3, 1.9])
def test_loss_and_curvature_of_a_linear_network_follow_the_exact_map_of_lewkowycz_et_al(rate):
    width, steps = 64, 60
    net = network(LINEAR, width, d=1)
    u, v = (p.detach().numpy().ravel() for p in net.parameters())
    f, curvature = u @ v / math.sqrt(width), (u @ u + v @ v) / width
    eta = rate * 2 / curvature
    losses, sharpness = [], []
    for _ in range(steps + 1):
        losses.append(f**2 / 2)
        sharpness.append(eta * curvature)
        f, curvature = (
            f * (1 - eta * curvature + eta**2 * f**2 / width),
            curvature + eta * f**2 / width * (eta * curvature - 4),
        )
    run = catapult(net, np.ones((1, 1)), np.zeros(1), [rate], steps, record=steps + 1)
    np.testing.assert_allclose(run.learning_rates, eta, rtol=1e-12)
    np.testing.assert_array_equal(run.steps, np.arange(steps + 1))
    np.testing.assert_allclose(run.loss[0], losses, rtol=1e-6, atol=1e-20)
    np.testing.assert_allclose(run.sharpness[0], sharpness, rtol=1e-6)


def test_below_two_over_lambda_lazy_above_catapult_far_above_divergence():
    x, y = data()
    run = catapult(network(), x, y, [0.3, 0.8, 1.2, 1.4, 8.0], 300)
    assert run.regime.tolist() == ["lazy", "lazy", "catapult", "catapult", "divergent"]
    np.testing.assert_allclose(run.sharpness[:, 0], 2 * run.rates)
    assert (run.peak[:2] == 1).all() and (run.peak[2:] > 1.2).all()
    assert (run.sharpness[:4, -1] < 2).all(), "what has converged lies in the stable region"
    assert (run.sharpness[2:4, -1] < run.sharpness[2:4, 0]).all()
    assert (run.kernel_drift[:2, -1] < 0.1).all() and (run.kernel_drift[2:4, -1] > 0.1).all()
    assert np.isinf(run.loss[4, -1]) and np.isinf(run.sharpness[4, -1]) and np.isinf(run.kernel_drift[4, -1])
    assert run.converged.tolist() == [True, True, True, True, False]


@pytest.mark.parametrize("seed", range(3))
def test_wide_linear_networks_stop_converging_at_four_over_lambda(seed):
    """lambda falls exactly while eta lambda < 4: the end of the phase is at twice the largest stable rate."""
    net = network(LINEAR, 4096, d=1, seed=seed)
    run = catapult(net, np.ones((1, 1)), np.zeros(1), [1.05, 1.5, 1.9, 2.1, 2.5], 400, record=2)
    assert run.regime.tolist() == ["catapult"] * 3 + ["divergent"] * 2


def test_in_the_lazy_phase_the_kernel_moves_less_and_less_with_width_in_the_catapult_phase_it_does_not():
    x, y = data()
    runs = {m: catapult(network(width=m), x, y, [0.5, 1.4], 300, record=2) for m in (256, 4096)}
    lazy, thrown = np.array([runs[m].kernel_drift[:, -1] for m in (256, 4096)]).T
    assert lazy[1] < 0.5 * lazy[0]
    assert thrown[1] > 0.1 and thrown[1] > 0.5 * thrown[0]


def test_the_losses_are_those_of_train_at_the_same_rate():
    x, y = data(k=2)
    net = network(k=2, width=20)
    run = catapult(net, x, y, [0.4, 1.1], 30, loss="sum")
    for rate, losses in zip(run.learning_rates, run.loss, strict=True):
        history = nl.train(
            copy.deepcopy(net), x, y, steps=30, learning_rate=rate, loss="sum", record=range(31), probe=0
        )
        np.testing.assert_allclose(losses, history.loss, rtol=1e-9)
    first = nl.empirical_ntk(net, x, outputs="full").transpose(0, 2, 1, 3).reshape(24, 24)
    np.testing.assert_allclose(run.learning_rates, run.rates * 2 / np.linalg.eigvalsh(first)[-1])


def test_loss_conventions_differ_in_the_rate_alone():
    x, y = data()
    mean, total = (catapult(network(width=30), x, y, [0.5, 1.2], 40, loss=loss) for loss in ("mean", "sum"))
    np.testing.assert_allclose(mean.learning_rates, 12 * total.learning_rates)
    np.testing.assert_allclose(12 * mean.loss, total.loss, rtol=1e-6)
    np.testing.assert_allclose(mean.sharpness, total.sharpness, rtol=1e-6)


@pytest.mark.parametrize("parameterization", ["standard", "mup"])
def test_rates_of_parameter_groups_enter_the_limit_of_stability(parameterization):
    """Along the top eigenvector of J R J' a small residual shrinks below the limit and grows above it."""
    x, y = data()
    net = network(width=64, parameterization=parameterization)
    residual = catapult(net, x, y, [1.0], 1).learning_rates
    f = net(torch.tensor(x))[:, 0]
    jacobian = [
        torch.stack([torch.autograd.grad(o, p, retain_graph=True)[0].ravel() for o in f])
        for p in net.parameters()
    ]
    factor = {id(p): g["lr"] for g in net.parameter_groups(1.0) for p in g["params"]}
    kernel = sum(factor[id(p)] * j @ j.T for p, j in zip(net.parameters(), jacobian, strict=True))
    values, vectors = torch.linalg.eigh(kernel)
    np.testing.assert_allclose(residual, 2 * 12 / values[-1].item())
    target = (f + 1e-6 * vectors[:, -1]).detach().numpy()
    run = catapult(net, x, target, [0.95, 1.05], 10)
    assert run.loss[0, -1] < 0.5 * run.loss[0, 0] and run.loss[1, -1] > 2 * run.loss[1, 0]


def test_a_lazy_run_is_lazy_however_long_it_rests_at_rounding_error():
    x, y = data(3)
    for dtype in (torch.float64, torch.float32):
        run = catapult(RELU.finite(512, (3,), seed=0, dtype=dtype), x, y, [0.6], 800, record=2)
        assert run.loss[0, -1] < 1e-10 * run.loss[0, 0] and run.regime[0] == "lazy"


def test_a_network_that_fits_has_nothing_to_learn():
    x, _ = data()
    net = network(width=4)
    with pytest.raises(ValueError, match="y must differ from the network's outputs"):
        catapult(net, x, net(torch.tensor(x)).detach().numpy(), [1.0], 3)


def test_network_and_random_numbers_are_left_alone():
    x, y = data()
    net = network(width=8)
    before, state = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    catapult(net, x, y, [0.5, 3.0], 5)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert torch.equal(state, torch.get_rng_state())


def test_any_torch_module_can_be_thrown():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 50), nn.Tanh(), nn.Linear(50, 1)).float()
    x, y = data()
    run = catapult(net, x, y, [0.5, 1.1], 200)
    assert run.regime[0] == "lazy" and run.loss.shape == (2, 201)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rates": []}, "rates must be one or more"),
        ({"rates": [0.0]}, "rates must be above 0"),
        ({"rates": [1.0, 1.0]}, "rates must be one or more different"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"loss": "cross_entropy"}, "loss must be one of"),
        ({"y": np.zeros(3)}, "y must have shape"),
        ({"x": np.full((12, 3), np.nan)}, "x must be finite"),
        ({"tolerance": 0.0}, "tolerance must be above 0"),
    ],
)
def test_arguments_that_do_not_fit_are_named(change, message):
    x, y = data()
    with pytest.raises(ValueError, match=message):
        catapult(network(width=4), **{"x": x, "y": y, "rates": [1.0], "steps": 3, **change})


def test_a_network_without_a_kernel_has_no_largest_rate():
    with pytest.raises(ValueError, match="kernel on x is zero"):
        catapult(network(LINEAR, 4, d=1), np.zeros((1, 1)), np.ones(1), [1.0], 3)
