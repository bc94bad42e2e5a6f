"""The kernel's velocity and fluctuation: against differences, closed forms, quadrature and probability theory."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from torch import nn

import ntklab as nl
from ntklab.feature_learning import correction, kernel_velocity, log_kernel_fluctuation, velocity_law
from ntklab.feature_learning._stack import Stack, networks, rate_factors

ERF = nl.Sequential(nl.Dense(1.3, 0.2), nl.Erf(), nl.Dense(1.2, 0.1), nl.Erf(), nl.Dense(1.1, 0.3))
TWO_LAYERS = nl.Sequential(nl.Dense(), nl.Erf(), nl.Dense())
RELU = nl.Sequential(nl.Dense(), nl.ReLU(), nl.Dense())


def data(n=5, d=3, k=None, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(size=n if k is None else (n, k))


def critical(depth):
    """Bias-free ReLU at sigma_w^2 = 2 with ``depth`` hidden layers."""
    return nl.Sequential(*[nl.Dense(2**0.5), nl.ReLU()] * depth, nl.Dense())


def conv():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Unflatten(1, (1, 9)), nn.Conv1d(1, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(28, 2)
    ).double()


def difference(net, x, y, x_eval, loss, eps=1e-4):
    """(Theta after an Euler step of eps - Theta after one of -eps) / 2 eps: gradients by plain autograd."""
    outputs = net(torch.as_tensor(x))
    targets = torch.as_tensor(y)
    if loss == "cross_entropy":
        value = nn.functional.cross_entropy(outputs, targets)
    else:
        value = (
            (outputs.reshape(targets.shape) - targets).square().sum() / 2 / (len(x) if loss == "mean" else 1)
        )
    gradients = torch.autograd.grad(value, list(net.parameters()))
    kernels = []
    for sign in (1, -1):
        moved = copy.deepcopy(net)
        with torch.no_grad():
            for p, g in zip(moved.parameters(), gradients, strict=True):
                p.sub_(sign * eps * g)
        kernels.append(nl.empirical_ntk(moved, x_eval))
    return (kernels[0] - kernels[1]) / (2 * eps)


# --- one network -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["mean", "sum", "cross_entropy"])
@pytest.mark.parametrize(
    "activation", [nl.Erf(), nl.GELU(), nl.Sin(), nl.ReLU(), nl.Elementwise(torch.tanh)], ids=repr
)
def test_velocity_is_the_derivative_of_the_empirical_kernel_along_an_euler_step(activation, loss):
    k = 3
    arch = nl.Sequential(nl.Dense(1.3, 0.2), activation, nl.Dense(1.2, 0.1), activation, nl.Dense(1.0, 0.3))
    x, y = data(k=k)
    y = np.array([0, 2, 1, 1, 0]) if loss == "cross_entropy" else y
    x_eval = data(n=4, seed=1)[0]
    net = arch.finite(9, (3,), k, seed=2, dtype=torch.float64)
    expected = difference(net, x, y, x_eval, loss, eps=1e-6 if activation == nl.ReLU() else 1e-4)
    velocity = kernel_velocity(net, x, y, x_eval, loss=loss)
    np.testing.assert_allclose(velocity, expected, rtol=0, atol=1e-6 * abs(expected).max())
    np.testing.assert_array_equal(velocity, velocity.T)


def test_any_torch_module_has_a_velocity():
    x, y = data(d=9, k=2)
    expected = difference(conv(), x, y, x, "mean")
    np.testing.assert_allclose(kernel_velocity(conv(), x, y), expected, atol=1e-6 * abs(expected).max())


@given(seed=st.integers(0, 1000), n=st.integers(1, 6), points=st.integers(1, 4), width=st.integers(1, 30))
@settings(max_examples=25)
def test_two_layers_have_the_velocity_that_the_chain_rule_gives(seed, n, points, width):
    """f = m^-1/2 a . phi(z), phi = erf: every term written out."""
    x, y = data(n, 2, seed=seed)
    at = data(points, 2, seed=seed + 1)[0]
    net = TWO_LAYERS.finite(width, (2,), seed=seed, dtype=torch.float64)
    w, a = (p.detach().numpy() for p in net.parameters())
    a = a[0]
    phi = special.erf
    d1 = lambda z: 2 / math.sqrt(math.pi) * np.exp(-(z**2))  # noqa: E731
    d2 = lambda z: -2 * z * d1(z)  # noqa: E731
    z, z_at = x @ w.T / math.sqrt(2), at @ w.T / math.sqrt(2)
    residual = (phi(z) @ a / math.sqrt(width) - y) / n
    a_dot = -residual @ phi(z) / math.sqrt(width)
    w_dot = -((residual[:, None] * d1(z) * a / math.sqrt(width)).T @ x) / math.sqrt(2)
    z_dot = at @ w_dot.T / math.sqrt(2)
    features, slopes = phi(z_at), a * d1(z_at)
    features_dot, slopes_dot = d1(z_at) * z_dot, a_dot * d1(z_at) + a * d2(z_at) * z_dot
    half = (features_dot @ features.T + (slopes_dot @ slopes.T) * (at @ at.T) / 2) / width
    np.testing.assert_allclose(kernel_velocity(net, x, y, at), half + half.T, rtol=1e-9, atol=1e-12)


def test_a_model_linear_in_its_parameters_has_a_kernel_that_stands_still():
    x, y = data()
    net = nl.linearize(ERF.finite(8, (3,), seed=0, dtype=torch.float64))
    np.testing.assert_allclose(kernel_velocity(net, x, y), 0, atol=1e-14)


def test_a_network_that_fits_its_targets_has_a_kernel_that_stands_still():
    x, _ = data()
    net = ERF.finite(8, (3,), seed=0, dtype=torch.float64)
    np.testing.assert_allclose(kernel_velocity(net, x, net(torch.tensor(x)).detach().numpy()), 0, atol=1e-14)


@pytest.mark.parametrize("parameterization", ["ntk", "standard", "mup"])
def test_velocity_follows_the_rates_with_which_train_trains(parameterization):
    x, y = data()
    net = ERF.finite(16, (3,), parameterization=parameterization, seed=0, dtype=torch.float64)
    before, velocity = nl.empirical_ntk(net, x), kernel_velocity(net, x, y, learning_rate=2.0)
    after = copy.deepcopy(net)
    nl.train(after, x, y, steps=1, learning_rate=2e-6, probe=0)
    moved = (nl.empirical_ntk(after, x) - before) / 1e-6
    np.testing.assert_allclose(velocity, moved, atol=1e-4 * abs(moved).max())


def test_the_first_order_in_time_predicts_the_kernel_up_to_the_second_order():
    x, y = data()
    net = TWO_LAYERS.finite(64, (3,), seed=0, dtype=torch.float64)
    start, velocity = nl.empirical_ntk(net, x), kernel_velocity(net, x, y)
    times, moved, missed = np.array([0.05, 0.025, 0.0125]), [], []
    for time in times:
        trained = copy.deepcopy(net)
        nl.train(trained, x, y, steps=200, learning_rate=time / 200, probe=0)
        change = nl.empirical_ntk(trained, x) - start
        moved.append(np.linalg.norm(change))
        missed.append(np.linalg.norm(change - time * velocity))
    order = lambda errors: np.diff(np.log(errors)) / np.diff(np.log(times))  # noqa: E731
    assert abs(order(moved)[-1] - 1) < 0.05
    assert abs(order(missed)[-1] - 2) < 0.05
    assert missed[-1] < 0.1 * moved[-1]


def test_chunks_do_not_change_the_velocity(monkeypatch):
    x, y = data(n=7)
    net = ERF.finite(8, (3,), seed=0, dtype=torch.float64)
    whole = kernel_velocity(net, x, y)
    monkeypatch.setattr(correction, "_CHUNK_BYTES", 3 * 8 * sum(p.numel() for p in net.parameters()))
    np.testing.assert_allclose(kernel_velocity(net, x, y), whole, rtol=1e-12)


def test_velocity_leaves_network_gradients_and_random_numbers_alone():
    x, y = data()
    net = ERF.finite(8, (3,), seed=0, dtype=torch.float64)
    before, state = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    kernel_velocity(net, x, y)
    velocity_law(ERF, x, y, 4, 2)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    assert torch.equal(state, torch.get_rng_state())


def test_torch_in_gives_torch_out_in_the_dtype_of_the_network():
    x, y = (torch.tensor(a, dtype=torch.float32) for a in data())
    net = ERF.finite(8, (3,), seed=0, dtype=torch.float32)
    velocity = kernel_velocity(net, x, y)
    assert isinstance(velocity, torch.Tensor) and velocity.dtype == torch.float32
    exact = kernel_velocity(ERF.finite(8, (3,), seed=0, dtype=torch.float64), x.double(), y.double())
    np.testing.assert_allclose(velocity, exact, atol=1e-5 * exact.abs().max().item())


# --- the law of 1/m ----------------------------------------------------------------------------------------


def gaussian(function, points=200):
    """E function(z) for z ~ N(0, 1), by Gauss-Hermite quadrature."""
    z, weights = np.polynomial.hermite_e.hermegauss(points)
    return weights @ function(z) / math.sqrt(2 * math.pi)


def erf_moments():
    """E f^2, E f S and E S^2 of the module's docstring, for phi = erf and q = 1."""
    phi = special.erf
    d1 = lambda z: 2 / math.sqrt(math.pi) * np.exp(-(z**2))  # noqa: E731
    first = lambda z: 2 * phi(z) * d1(z) ** 2  # noqa: E731
    second = lambda z: -2 * z * d1(z) ** 3  # noqa: E731
    ff = gaussian(lambda z: phi(z) ** 2)
    fs = gaussian(lambda z: phi(z) * (first(z) + 3 * second(z)))
    ss = gaussian(lambda z: first(z) ** 2 + 6 * first(z) * second(z) + 15 * second(z) ** 2)  # E a^2, a^4, a^6
    return ff, fs, ss


@pytest.mark.parametrize("width", [3, 50])
@pytest.mark.parametrize("target", [0.0, 2.0])
def test_mean_velocity_at_one_point_is_minus_two_over_m_times_E_f_S_for_every_width_and_target(width, target):
    law = velocity_law(TWO_LAYERS, np.ones((1, 4)), [target], width, 3000)
    expected = -2 / width * erf_moments()[1]
    assert abs(law.mean[0, 0, 0] - expected) < 4 * law.mean_error[0, 0, 0]


@pytest.mark.parametrize("target", [0.0, 3.0])
def test_the_typical_velocity_follows_from_the_joint_gaussian_of_output_and_S(target):
    """Isserlis: E (f - y)^2 S^2 = E f^2 E S^2 + 2 (E f S)^2 + y^2 E S^2 in the limit of width."""
    ff, fs, ss = erf_moments()
    law = velocity_law(TWO_LAYERS, np.ones((1, 4)), [target], 500, 1000)
    expected = 2 / 500 * math.sqrt(ff * ss + 2 * fs**2 + target**2 * ss)
    assert abs(law.size[0] - expected) < 4 * law.size_error[0]


@pytest.mark.parametrize(
    ("arch", "widths", "seeds"), [(TWO_LAYERS, [64, 256, 1024], 500), (ERF, [64, 128, 256], 150)]
)
def test_the_velocity_of_a_smooth_network_falls_like_one_over_m(arch, widths, seeds, record_property):
    x, _ = data(1, 4)
    law = velocity_law(arch, x, [0.0], widths, seeds)
    depth = arch.weight_layers() - 1
    for name, fit, largest in (("size", law.fit_size(), 0.1), ("mean", law.fit_mean(), 0.2)):
        record_property(f"measured exponent in m of the {name} of dTheta/dt, {depth} hidden layers", str(fit))
        assert abs(fit.exponent + 1) < 4 * fit.error
        assert fit.error < largest * depth


def test_per_decay_does_not_depend_on_rate_loss_convention_and_scale_of_the_readout():
    x, _ = data(2, 3)
    y = np.zeros(2)
    base = velocity_law(RELU, x, y, 16, 5).per_decay
    other = nl.Sequential(nl.Dense(), nl.ReLU(), nl.Dense())
    np.testing.assert_allclose(
        velocity_law(other, x, y, 16, 5, loss="sum", learning_rate=7.0).per_decay, base
    )
    for i, kernel in enumerate(velocity_law(RELU, x, y, 16, 5).kernel[0]):
        net = RELU.finite(16, (3,), seed=i, dtype=torch.float64)
        np.testing.assert_allclose(kernel, nl.empirical_ntk(net, x), rtol=1e-12)
        velocity = kernel_velocity(net, x, y)
        share = np.linalg.norm(velocity) / np.linalg.norm(kernel) / (np.linalg.eigvalsh(kernel)[-1] / 2)
        np.testing.assert_allclose(base[0, i], share, rtol=1e-10)


def train_one_point(arch, target, width, networks_, time, steps=10):
    """(Theta_t - Theta_0 - t dTheta/dt) and residuals at the only training point, for many networks."""
    x, y = np.ones((1, 2)), [target]
    law = velocity_law(arch, x, y, width, networks_)
    nets, task = networks(arch, width, x, y, "ntk", range(networks_), "mean", torch.float64)
    stack = Stack(nets, task, [time / steps] * networks_, rate_factors(nets[0]))
    residual = (2 * stack.losses()).sqrt().numpy()
    for _ in range(steps):
        stack.step()
    w, a = (value.numpy() for value in stack.values.values())
    z, a = w.sum(2) / math.sqrt(2), a[:, 0]
    if arch == RELU:
        kernel = (np.maximum(z, 0) ** 2 + a**2 * (z > 0)).mean(1)
    else:
        kernel = (special.erf(z) ** 2 + a**2 * 4 / math.pi * np.exp(-2 * z**2)).mean(1)
    return kernel - law.kernel[0, :, 0, 0] - time * law.velocity[0, :, 0, 0], residual


def test_kinks_let_the_mean_kernel_of_relu_fall_at_order_m_to_minus_half_which_the_velocity_does_not_contain():
    """Neurons that switch off: a loss of t |r| p(0) E|a|^3 / (2 sqrt m), p(0) = 1/sqrt(2 pi), E|a|^3 = 2 sqrt(2/pi)."""
    width, time = 2048, 0.2
    missed, residual = train_one_point(RELU, 1.0, width, 300, time)
    expected = -time * residual.mean() / (math.pi * math.sqrt(width))
    error = missed.std(ddof=1) / math.sqrt(len(missed))
    assert abs(missed.mean() - expected) < 4 * error + time * abs(expected)  # the residual decays on the way
    assert missed.mean() < -10 * error
    smooth, _ = train_one_point(TWO_LAYERS, 1.0, width, 100, time)
    assert abs(smooth.mean()) < 0.05 * abs(missed.mean())


# --- depth over width --------------------------------------------------------------------------------------


def test_readout_kernel_of_relu_is_a_product_of_chi_squares_with_binomially_many_terms():
    """Hanin & Nica: |h_l|^2 / |h_(l-1)|^2 = (2/m) chi^2_N with N ~ Bin(m, 1/2), independent from layer to layer."""
    depth, width, seeds = 4, 24, 1500
    frozen = [nl.Dense(2**0.5, trainable=False), nl.ReLU()] * depth
    result = log_kernel_fluctuation(nl.Sequential(*frozen, nl.Dense()), np.ones(3), width, seeds)
    terms = np.arange(1, width + 1)
    weight = stats.binom.pmf(terms, width, 0.5)
    mean = special.digamma(terms / 2) + math.log(4 / width)  # E log (2/m) chi^2_N, given N
    variance = weight @ (special.polygamma(1, terms / 2) + mean**2) - (weight @ mean) ** 2
    assert abs(result.std[0, 0] - math.sqrt(depth * variance)) < 4 * result.std_error[0, 0]
    average = result.log_kernel.mean()
    assert abs(average - depth * (weight @ mean)) < 4 * result.std[0, 0] / math.sqrt(seeds)


def test_std_of_log_kernel_collapses_on_depth_over_width_at_the_square_root_of_eleven_thirds(record_property):
    """Products forward and backward are two Brownian motions of variance 5 L/m each and covariance L/m, so that
    int (1 - s) dF + int s dB has variance (5/3 + 5/3 + 1/3) L/m."""
    for depth, width in ((4, 64), (8, 128), (4, 32), (8, 64)):
        result = log_kernel_fluctuation(critical(depth), np.ones(5), width, 300)
        record_property(f"measured std of log Theta, L = {depth}, m = {width}", f"{result.std[0, 0]:.3f}")
        assert result.ratio[0, 0] == depth / width
        expected = math.sqrt(11 / 3 * depth / width)
        # at finite depth and width the increments differ from their limit by O(1/m + 1/L)
        assert abs(result.std[0, 0] / expected - 1) < 4 * result.std_error[0, 0] / expected + 1 / depth / 4


def test_the_kernel_moves_in_proportion_to_depth_over_width(record_property):
    """E dTheta/dt / (E Theta)^2 over L/m is one number for all small L/m (y = 0; Hanin & Nica, theorem 2)."""
    values, errors = [], []
    for depth, width in ((2, 64), (4, 128), (4, 64), (8, 128)):
        law = velocity_law(critical(depth), np.ones((1, 4)), [0.0], width, 200)
        scale = law.kernel.mean() ** 2 * depth / width
        values.append(law.mean[0, 0, 0] / scale)
        errors.append(law.mean_error[0, 0, 0] / scale)
    values, weights = np.array(values), 1 / np.array(errors) ** 2
    common = weights @ values / weights.sum()
    record_property(
        "measured relative rate of the kernel over L/m", f"{common:.2f} +- {weights.sum() ** -0.5:.2f}"
    )
    assert common < -10 * weights.sum() ** -0.5
    assert stats.chi2.sf(weights @ (values - common) ** 2, len(values) - 1) > 1e-4


def test_fluctuation_is_that_of_the_empirical_kernel_and_takes_several_architectures():
    archs, x = [critical(1), critical(3)], np.array([[1.0, -2.0, 0.5]])
    result = log_kernel_fluctuation(archs, x, [16, 32], [3, 5], parameterization="standard")
    assert result.log_kernel.shape == (2, 2, 2)
    np.testing.assert_array_equal(result.depths, [1, 3])
    for i, arch in enumerate(archs):
        for j, width in enumerate((16, 32)):
            for k, seed in enumerate((3, 5)):
                net = arch.finite(width, (3,), seed=seed, dtype=torch.float64, parameterization="standard")
                expected = math.log(nl.empirical_ntk(net, x)[0, 0])
                assert math.isclose(result.log_kernel[i, j, k], expected, rel_tol=1e-10, abs_tol=1e-10)


# --- errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net, x, y: kernel_velocity(net, x, y[:-1]), "y must have shape"),
        (lambda net, x, y: kernel_velocity(net, x * np.nan, y), "x must be finite"),
        (lambda net, x, y: kernel_velocity(net, x, y, learning_rate=0.0), "learning_rate must be above 0"),
        (lambda net, x, y: kernel_velocity(net, x, y, loss="hinge"), "loss must be one of"),
        (lambda net, x, y: kernel_velocity(nn.ReLU(), x, y), "parameters with requires_grad"),
        (lambda net, x, y: velocity_law(ERF, x, y, [8, 8], 2), "widths must differ"),
        (lambda net, x, y: velocity_law(ERF, x, y, 8, 1), "seeds must be at least 2"),
        (lambda net, x, y: velocity_law(ERF, x, y, 8, 2).fit_size(), "at least 2 widths"),
        (lambda net, x, y: log_kernel_fluctuation(ERF, x, 8, 2), "x must be one input"),
    ],
)
def test_arguments_that_do_not_fit_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(ERF.finite(4, (3,), seed=0, dtype=torch.float64), *data())


def test_a_network_whose_neurons_are_all_off_has_no_log_kernel():
    with pytest.raises(ValueError, match=r"Theta\(x, x\) is 0 for seed"):
        log_kernel_fluctuation(critical(6), np.ones(2), 1, 20)


def test_what_is_no_architecture_is_a_type_error():
    with pytest.raises(TypeError, match="archs must be"):
        log_kernel_fluctuation(nn.Linear(2, 1), np.ones(2), 8, 2)
