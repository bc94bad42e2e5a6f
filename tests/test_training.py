"""Training of finite networks: against exact dynamics, and against the limits of width."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import ntklab as nl
from ntklab._stability import sharpest
from ntklab.cross_entropy import CrossEntropyFlow
from ntklab.dynamics import GradientDescent, GradientFlow
from ntklab.ensemble import ensemble
from ntklab.momentum import Momentum
from ntklab.training import train

ARCH = nl.Sequential(nl.Dense(1.5, 0.3), nl.Erf(), nl.Dense(1.0))
DEEP = nl.Sequential(nl.Dense(1.4, 0.3), nl.Erf(), nl.Dense(1.4, 0.3), nl.Erf(), nl.Dense())


def data(n=6, m=3, d=3, seed=0):
    """x (n, d), y (n,), x_test (m, d)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n + m, d))
    return x[:n], np.sin(2 * x[:n, 0]) + x[:n, 1], x[n:]


def network(width=16, seed=0, arch=ARCH, dtype=torch.float64, **arguments):
    return arch.finite(width, (3,), seed=seed, dtype=dtype, **arguments)


def linear(outputs=1, seed=0):
    torch.manual_seed(seed)
    return nn.Linear(3, outputs).double()


def outputs(net, x):
    with torch.no_grad():
        return net(torch.tensor(x))[:, 0].numpy()


def power_law(widths, values):
    """Exponent of values (seeds, widths) in the width, and its standard error over seeds."""
    log_width = np.log(widths) - np.mean(np.log(widths))
    slopes = np.log(values) @ log_width / (log_width @ log_width)
    return slopes.mean(), slopes.std(ddof=1) / math.sqrt(len(slopes))


# --- against exact dynamics --------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["mean", "sum"])
@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_a_linear_model_follows_the_exact_steps_of_its_constant_kernel(loss, momentum):
    x, y, x_test = data()
    y = np.stack([y, -y + 1], 1)
    net = linear(2)
    f0, f0_test = net(torch.tensor(x)).detach(), net(torch.tensor(x_test)).detach()
    kernel = nl.empirical_ntk(net, np.vstack([x, x_test]), x)
    rate = 0.5 / np.linalg.eigvalsh(kernel[:6])[-1]
    history = train(
        net, x, y, steps=60, learning_rate=rate, momentum=momentum, loss=loss, x_test=x_test, record=8
    )
    exact = Momentum(kernel[:6], y, f0=f0, learning_rate=rate, momentum=momentum, loss=loss)
    expected = exact.test(history.steps, kernel[6:], f0=f0_test)
    np.testing.assert_allclose(history.train_outputs, exact.train(history.steps), atol=1e-11)
    np.testing.assert_allclose(history.test_outputs, expected, atol=1e-11)
    scale = 12 if loss == "mean" else 2
    square = ((history.train_outputs - y) ** 2).sum((1, 2))
    np.testing.assert_allclose(history.loss, square / scale, rtol=1e-12)
    np.testing.assert_allclose(history.kernel_drift, 0, atol=1e-14)


def test_the_linearised_network_of_any_width_follows_its_empirical_kernel():
    x, y, x_test = data()
    net = nl.linearize(network(width=5))
    kernel = nl.empirical_ntk(net, np.vstack([x, x_test]), x)
    f0, f0_test = outputs(net, x), outputs(net, x_test)
    history = train(net, x, y, steps=300, x_test=x_test)
    exact = GradientDescent(kernel[:6], y, f0=f0, learning_rate=history.learning_rate)
    expected = exact.test(history.steps, kernel[6:], f0=f0_test)
    np.testing.assert_allclose(history.train_outputs, exact.train(history.steps), atol=1e-9)
    np.testing.assert_allclose(history.test_outputs, expected, atol=1e-9)


def test_small_steps_on_the_cross_entropy_follow_its_flow():
    x, _, x_test = data()
    labels = np.array([0, 1, 2, 1, 0, 2])
    net = linear(3)
    kernel = nl.empirical_ntk(net, np.vstack([x, x_test]), x)
    f0, f0_test = net(torch.tensor(x)).detach().numpy(), net(torch.tensor(x_test)).detach().numpy()
    arguments = dict(
        steps=2000, learning_rate=1e-3, loss="cross_entropy", x_test=x_test, record=[2000], probe=0
    )
    history = train(net, x, labels, **arguments)
    flow = CrossEntropyFlow(kernel[:6], np.eye(3)[labels], f0=f0)
    np.testing.assert_allclose(history.train_outputs[0], flow.train(2.0), atol=2e-3)
    np.testing.assert_allclose(history.test_outputs[0], flow.test(2.0, kernel[6:], f0=f0_test), atol=2e-3)


def test_a_label_a_one_hot_row_and_a_single_logit_mean_the_same_cross_entropy():
    x, _, _ = data()
    labels = np.array([0, 1, 1, 0, 1, 0])
    arguments = dict(steps=5, learning_rate=0.5, loss="cross_entropy", probe=0)
    by_label = train(linear(2), x, labels, **arguments)
    by_row = train(linear(2), x, np.eye(2)[labels], **arguments)
    np.testing.assert_allclose(by_label.loss, by_row.loss, rtol=1e-12)
    single = train(linear(1), x, labels, **arguments)
    f = single.train_outputs
    np.testing.assert_allclose(single.loss, (np.logaddexp(0, f) - labels * f).mean(1), rtol=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_descent_takes_the_steps_of_torch_with_the_same_groups(momentum):
    x, y, _ = data()
    net, same = (network(arch=DEEP, parameterization="standard") for _ in range(2))
    train(net, x, y, steps=20, learning_rate=2.0, momentum=momentum, probe=0)
    optimizer = torch.optim.SGD(same.parameter_groups(2.0), momentum=momentum)
    for _ in range(20):
        optimizer.zero_grad()
        ((same(torch.tensor(x))[:, 0] - torch.tensor(y)).square().mean() / 2).backward()
        optimizer.step()
    for p, q in zip(net.parameters(), same.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)
        assert p.grad is None


def test_one_adam_step_moves_every_parameter_by_the_rate():
    x, y, _ = data()
    history = train(linear(), x, y, steps=1, optimizer="adam", learning_rate=0.01, probe=0)
    assert history.movement[-1] == pytest.approx(0.01 * math.sqrt(4), rel=1e-5)


# --- against the limits of width ---------------------------------------------------------------------------


def test_trained_networks_approach_the_infinite_width_prediction_like_one_over_root_width(record_property):
    """|f(x, t) - [f0(x) + Theta(x, X) V (p / lambda) V' (y - f0)]| ~ m^-1/2, with the limit's Theta."""
    x, y, x_test = data()
    widths, rate, steps = [32, 128, 512, 2048], 0.5, 120
    theta, theta_test = ARCH.kernel(x).ntk, ARCH.kernel(x_test, x).ntk
    errors = np.empty((6, len(widths)))
    for seed, i in np.ndindex(*errors.shape):
        net = network(widths[i], seed=seed)
        f0, f0_test = outputs(net, x), outputs(net, x_test)
        train(net, x, y, steps=steps, learning_rate=rate, record=[steps], probe=0)
        limit = GradientDescent(theta, y, f0=f0, learning_rate=rate)
        gap = outputs(net, x_test) - limit.test(steps, theta_test, f0=f0_test)
        errors[seed, i] = np.linalg.norm(gap)
    slope, error = power_law(widths, errors)
    record_property(
        "measured exponent of the trained network's distance to its limit", f"{slope:.3f} +- {error:.3f}"
    )
    assert abs(slope + 0.5) < max(3 * error, 0.05) and error < 0.1  # 0.05: corrections at width 32


def test_kernel_drift_falls_like_one_over_width_and_relative_movement_like_its_root(record_property):
    """For a smooth activation (Huang & Yau 2020), and |theta_t - theta_0| itself tends to a limit above 0.

    Linearised descent moves by J' V (p / lambda) V' (y - f0), so by sqrt(sum_j p_j^2 c_j^2 / lambda_j).
    """
    x, y, _ = data(n=4)
    widths, rate, steps = [32, 128, 512, 2048], 0.5, 150
    values, vectors = np.linalg.eigh(ARCH.kernel(x).ntk)
    progress = 1 - (1 - rate * values / 4) ** steps
    drift, movement, relative = np.empty((3, 6, len(widths)))
    for seed, i in np.ndindex(*drift.shape):
        net = network(widths[i], seed=seed)
        history = train(net, x, y, steps=steps, learning_rate=rate, record=[0, steps])
        residual = vectors.T @ (y - history.train_outputs[0])
        limit = math.sqrt(((progress * residual) ** 2 / values).sum())
        drift[seed, i], movement[seed, i] = history.kernel_drift[-1], history.movement[-1] / limit
        relative[seed, i] = history.relative_movement[-1] / limit
    for name, expected, measured in (("kernel drift", -1, drift), ("relative movement", -0.5, relative)):
        slope, error = power_law(widths, measured)
        record_property(f"measured exponent of the {name}", f"{slope:.3f} +- {error:.3f}")
        assert abs(slope - expected) < max(3 * error, 0.05) and error < 0.1  # 0.05: corrections at width 32
    gap = np.abs(movement - 1).mean(0)
    assert gap[-1] < 0.05 and gap[-1] < gap[0]


def test_outputs_of_many_trained_networks_have_the_mean_and_covariance_of_the_ensemble():
    x, y, x_test = data(n=4)
    rate, steps, seeds = 0.1, 40, 300
    samples = np.empty((seeds, len(x_test)))
    for seed in range(seeds):
        history = train(
            network(256, seed=seed),
            x,
            y,
            steps=steps,
            learning_rate=rate,
            x_test=x_test,
            record=[steps],
            probe=0,
        )
        samples[seed] = history.test_outputs[0]
    mean, covariance = ensemble(ARCH, x, y, x_test, t=steps, learning_rate=rate)
    variance = np.diag(covariance)
    error = np.sqrt((np.outer(variance, variance) + covariance**2) / seeds)
    assert (np.abs(samples.mean(0) - mean) < 4 * np.sqrt(variance / seeds)).all()
    assert (np.abs(np.cov(samples.T) - covariance) < 4 * error).all()
    prior = np.diag(ARCH.kernel(x_test).nngp)
    assert (variance < 0.9 * prior).all()  # training changed what is compared


def test_a_smaller_rate_approaches_gradient_flow_not_the_kernel_limit():
    """The drift after a fixed time eta t does not fall with eta: it is set by the width."""
    x, y, _ = data()
    drift = [
        train(network(32), x, y, steps=round(20 / rate), learning_rate=rate, record=[0, round(20 / rate)])
        for rate in (0.2, 0.05, 0.0125)
    ]
    drift = np.array([history.kernel_drift[-1] for history in drift])
    assert drift.min() > 0.05
    gaps = np.abs(np.diff(drift))
    assert gaps[1] < gaps[0] / 3 and gaps[1] < 0.01 * drift[-1]


# --- learning rates ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("parameterization", ["ntk", "standard", "mup"])
def test_sharpness_by_lanczos_is_the_largest_eigenvalue_of_the_rate_weighted_kernel(parameterization):
    x, _, _ = data()
    net = DEEP.finite(40, (3,), outputs=2, parameterization=parameterization, seed=1, dtype=torch.float64)
    groups = net.parameter_groups(1.0)
    total = np.zeros((12, 12))
    for group in groups:
        net.requires_grad_(False)
        for parameter in group["params"]:
            parameter.requires_grad_(True)
        full = nl.empirical_ntk(net, x, outputs="full")
        total += group["lr"] * full.transpose(0, 2, 1, 3).reshape(12, 12)
    expected = np.linalg.eigvalsh(total)[-1] / 6
    assert sharpest(net, torch.tensor(x), groups) == pytest.approx(expected, rel=0.02)


def test_sharpness_of_outputs_that_no_parameter_moves_is_zero():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU()).double()
    nn.init.constant_(net[0].bias, -100.0)  # no unit is ever active
    groups = [{"params": list(net.parameters()), "lr": 1.0}]
    assert sharpest(net, torch.tensor(data()[0]), groups) == 0


def test_a_tiny_residual_along_the_top_eigenvector_grows_exactly_above_the_largest_stable_rate():
    """Bisecting on whether it grows gives 2 n / lambda_max, not the end of the catapult phase near 4."""
    x, _, _ = data()
    net = network(64)
    kernel = nl.empirical_ntk(net, x)
    values, vectors = np.linalg.eigh(kernel)
    f0 = outputs(net, x)
    y = f0 + 1e-6 * vectors[:, -1]
    low, high = 1.0, 4.0  # in units of n / lambda_max
    while high - low > 1e-3:
        middle = (low + high) / 2
        rate = middle * len(x) / values[-1]
        history = train(network(64), x, y, steps=4, learning_rate=rate, record=[3, 4], probe=0)
        grows = history.loss[1] > history.loss[0]
        low, high = (low, middle) if grows else (middle, high)
    stable = GradientFlow(kernel, y).max_learning_rate * values[-1] / len(x)
    assert stable == pytest.approx(2) and abs(low - stable) < 2e-3


@pytest.mark.parametrize("parameterization", ["ntk", "standard", "mup"])
@pytest.mark.parametrize("width", [30, 300])
@pytest.mark.parametrize("arguments", [{}, {"batch_size": 2}, {"loss": "sum"}, {"momentum": 0.9}])
def test_the_default_rate_trains_at_every_width_in_every_parameterization(parameterization, width, arguments):
    x, y, _ = data()
    net = network(width, arch=DEEP, parameterization=parameterization, dtype=torch.float32)
    history = train(net, x, y, steps=200, record=5, probe=0, **arguments)
    assert not history.diverged and history.loss[-1] < 0.25 * history.loss[0]


def test_between_two_and_four_over_lambda_the_catapult_raises_the_loss_lowers_sharpness_and_converges():
    x, y, _ = data()
    arch = nl.Sequential(nl.Dense(1.4), nl.ReLU(), nl.Dense())
    net = network(512, arch=arch)
    rate = 2.8 * len(x) / np.linalg.eigvalsh(nl.empirical_ntk(net, x))[-1]
    history = train(net, x, y, steps=400, learning_rate=rate)
    assert history.sharpness[0] * rate == pytest.approx(2.8)
    assert history.loss.max() > 3 * history.loss[0] and history.loss[-1] < history.loss[0]
    assert history.sharpness[-1] * rate < 2 and not history.diverged


def test_divergence_is_recorded_as_infinity_and_stops_early():
    x, y, x_test = data()
    net = nl.linearize(network(64, dtype=torch.float32))
    history = train(net, x, y, steps=5000, learning_rate=1e3, x_test=x_test)
    assert history.diverged and history.steps[-1] < 200
    assert history.loss[-1] == math.inf and history.kernel_drift[-1] == math.inf
    assert np.isfinite(history.loss[:-1]).all()
    arrays = (
        history.loss,
        history.train_outputs,
        history.test_outputs,
        history.kernel_drift,
        history.movement,
    )
    for values in arrays:
        assert len(values) == len(history.steps) and not np.isnan(values).any()


# --- what is recorded --------------------------------------------------------------------------------------


def test_a_record_holds_the_state_after_that_many_updates():
    x, y, x_test = data()
    history = train(network(), x, y, steps=7, learning_rate=0.1, x_test=x_test, record=[0, 3, 7], probe=4)
    assert history.steps.tolist() == [0, 3, 7]
    net, start = network(), network()
    np.testing.assert_array_equal(history.train_outputs[0], outputs(net, x))
    train(net, x, y, steps=3, learning_rate=0.1, probe=0)
    np.testing.assert_allclose(history.train_outputs[1], outputs(net, x), rtol=1e-12)
    np.testing.assert_allclose(history.test_outputs[1], outputs(net, x_test), rtol=1e-12)
    chosen = x[[0, 2, 3, 5]]
    before, after = nl.empirical_ntk(start, chosen), nl.empirical_ntk(net, chosen)
    drift = np.linalg.norm(after - before) / np.linalg.norm(before)
    assert history.kernel_drift[1] == pytest.approx(drift, rel=1e-10)
    assert history.sharpness[1] == pytest.approx(np.linalg.eigvalsh(after)[-1] / 4)
    flat, flat0 = (nn.utils.parameters_to_vector(n.parameters()).detach() for n in (net, start))
    assert history.movement[1] == pytest.approx((flat - flat0).norm().item(), rel=1e-10)
    assert history.relative_movement[1] == pytest.approx(((flat - flat0).norm() / flat0.norm()).item())


def test_layers_movements_and_norms_add_up_to_the_whole():
    x, y, _ = data()
    history = train(network(arch=DEEP), x, y, steps=20, probe=0)
    assert len(history.layer_movement) == 3 and history.kernel_drift is None and history.sharpness is None
    total = np.sqrt(sum(values**2 for values in history.layer_movement.values()))
    np.testing.assert_allclose(total, history.movement, rtol=1e-12)
    norm = np.sqrt(sum(value**2 for value in history.layer_norm.values()))
    np.testing.assert_allclose(history.relative_movement, history.movement / norm, rtol=1e-12)


def test_default_records_are_even_in_log_step_and_hold_both_ends():
    x, y, _ = data()
    steps = train(network(), x, y, steps=1000, learning_rate=0.01, probe=0).steps
    assert steps[0] == 0 and steps[1] == 1 and steps[-1] == 1000 and 25 < len(steps) <= 41
    assert (steps[2:] / steps[1:-1]).max() <= 2


def test_mini_batches_follow_the_seed_visit_every_sample_and_leave_the_global_generator_alone():
    x, y, _ = data()
    state = torch.random.get_rng_state()
    arguments = dict(steps=30, batch_size=4, learning_rate=0.05, probe=0)
    first, again, other = (train(network(), x, y, **arguments, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.train_outputs, again.train_outputs)
    assert np.abs(first.train_outputs[-1] - other.train_outputs[-1]).max() > 1e-6
    assert torch.equal(state, torch.random.get_rng_state())
    whole = train(network(), x, y, **{**arguments, "batch_size": 6})
    full = train(network(), x, y, **{**arguments, "batch_size": None})
    np.testing.assert_array_equal(whole.train_outputs, full.train_outputs)


@pytest.mark.parametrize("loss", ["mean", "sum"])
def test_the_mini_batch_gradient_is_unbiased(loss):
    """The mean of one-step updates over all batches of one sample is the full-batch update."""
    x, y, _ = data()
    start = linear().weight.detach()
    single = torch.zeros_like(start)
    seen = set()
    for seed in range(60):
        net = linear()
        train(net, x, y, steps=1, learning_rate=1e-3, batch_size=1, loss=loss, seed=seed, probe=0)
        step = net.weight.detach() - start
        key = tuple(step.flatten().tolist())
        single += 0 if key in seen else step / 6
        seen.add(key)
    assert len(seen) == 6
    full = linear()
    train(full, x, y, steps=1, learning_rate=1e-3, loss=loss, probe=0)
    torch.testing.assert_close(single, full.weight.detach() - start, rtol=1e-9, atol=1e-15)


def test_width_scaled_rates_of_the_network_are_used():
    x, y, _ = data()
    net = network(50, parameterization="standard")
    reference = network(50, parameterization="standard")
    loss = ((reference(torch.tensor(x))[:, 0] - torch.tensor(y)) ** 2).sum() / 12
    gradients = torch.autograd.grad(loss, list(reference.parameters()))
    train(net, x, y, steps=1, learning_rate=0.3, probe=0)
    for after, start, gradient in zip(net.parameters(), reference.parameters(), gradients, strict=True):
        torch.testing.assert_close(after - start, -0.3 / 50 * gradient, rtol=1e-7, atol=1e-14)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"net": 3}, TypeError, "net"),
        ({"net": nn.Flatten()}, ValueError, "parameters"),
        ({"y": np.ones(5)}, ValueError, "y must have shape"),
        ({"y": np.ones((6, 2))}, ValueError, "y must have shape"),
        ({"y": np.full(6, np.nan)}, ValueError, "y must be finite"),
        ({"steps": 0}, ValueError, "steps"),
        ({"steps": 1.5}, TypeError, "steps"),
        ({"learning_rate": -1.0}, ValueError, "learning_rate"),
        ({"optimizer": "lbfgs"}, ValueError, "optimizer"),
        ({"optimizer": "adam"}, ValueError, "learning_rate is needed"),
        ({"momentum": 1.0}, ValueError, "momentum"),
        ({"momentum": 0.5, "optimizer": "adam", "learning_rate": 0.1}, ValueError, "momentum"),
        ({"loss": "mse"}, ValueError, "loss"),
        ({"batch_size": 7}, ValueError, "batch_size"),
        ({"record": [0, 11]}, ValueError, "record"),
        ({"record": "all"}, TypeError, "record"),
        ({"probe": -1}, ValueError, "probe"),
        ({"seed": None}, TypeError, "seed"),
        ({"loss": "cross_entropy", "y": np.full(6, 2.0)}, ValueError, "probabilities"),
    ],
)
def test_illegal_arguments_are_refused_by_name(change, error, words):
    x, y, _ = data()
    arguments = {"net": linear(), "x": x, "y": y, "steps": 10, **change}
    with pytest.raises(error, match=words):
        train(arguments.pop("net"), arguments.pop("x"), arguments.pop("y"), **arguments)


def test_labels_out_of_range_are_refused():
    x, _, _ = data()
    with pytest.raises(ValueError, match="labels 0 to 2"):
        train(linear(3), x, [0, 1, 2, 3, 0, 1], steps=1, loss="cross_entropy")
