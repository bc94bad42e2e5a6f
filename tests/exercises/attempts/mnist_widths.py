"""Attempts at the problem limits/mnist_widths: right ones that must pass, wrong ones that must not."""

from __future__ import annotations

import numpy as np
import torch

import ntklab as nl
from exercises import kit


def layers(net, x):
    """Features phi(z) and slopes phi'(z), (n, m) each, and readout weights (m,)."""
    with torch.no_grad():
        z = x @ net.hidden_weight.T / net.hidden_weight.shape[1] ** 0.5 + net.hidden_bias / 2
    features, slopes = torch.func.jvp(net.activation, (z,), (torch.ones_like(z),))
    return features.detach(), slopes.detach(), net.readout_weight.detach()[0]


def vector(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


# empirical_kernel, right


def kernel_by_jacobian(model, x):
    rows = []
    for output in model(x)[:, 0]:
        gradients = torch.autograd.grad(output, list(model.parameters()), retain_graph=True)
        rows.append(torch.cat([g.flatten() for g in gradients]))
    return torch.stack(rows) @ torch.stack(rows).T


def kernel_in_numpy(model, x):
    h, s, a = (v.numpy() for v in layers(model, x))
    x = x.numpy()
    return h @ h.T / len(a) + (s * a) @ (s * a).T / len(a) * (x @ x.T / x.shape[1] + 0.25)


def kernel_in_float32(model, x):
    return torch.as_tensor(kernel_in_numpy(model, x)).float()


def kernel_neuron_by_neuron(model, x):
    h, s, a = layers(model, x)
    total = torch.zeros(len(x), len(x), dtype=torch.float64)
    extended = torch.cat([x / x.shape[1] ** 0.5, torch.full((len(x), 1), 0.5)], dim=1)
    for j in range(len(a)):
        hidden = a[j] * s[:, j : j + 1] * extended
        total += torch.outer(h[:, j], h[:, j]) + hidden @ hidden.T
    return total / len(a)


# empirical_kernel, wrong


def _kernel(model, x, readout=1.0, hidden=1.0, bias=0.25, power=2, fan_in=None, over=None):
    h, s, a = layers(model, x)
    backward = s * a.abs() ** (power / 2)
    inputs = x @ x.T / (fan_in or x.shape[1]) + bias
    return (readout * h @ h.T + hidden * backward @ backward.T * inputs) / (over or len(a))


def readout_only(model, x):
    return _kernel(model, x, hidden=0)


def hidden_only(model, x):
    return _kernel(model, x, readout=0)


def hidden_bias_forgotten(model, x):
    return _kernel(model, x, bias=0)


def bias_scale_not_squared(model, x):
    return _kernel(model, x, bias=0.5)


def readout_weights_forgotten(model, x):
    return _kernel(model, x, power=0)


def inputs_not_divided_by_their_number(model, x):
    return _kernel(model, x, fan_in=1)


def sum_over_neurons_in_place_of_the_mean(model, x):
    return _kernel(model, x, over=1)


def mean_over_samples(model, x):
    return _kernel(model, x, over=len(x) * model.hidden_weight.shape[0])


def matrix_product_in_place_of_the_entrywise_one(model, x):
    h, s, a = layers(model, x)
    return (h @ h.T + (s * a) @ (s * a).T @ (x @ x.T / x.shape[1] + 0.25)) / len(a)


# ntk_change and movement


def change_in_numpy(before, after):
    before, after = np.asarray(before), np.asarray(after)
    return np.sqrt(((after - before) ** 2).sum() / (before**2).sum())


def change_by_trace(before, after):
    before, gap = np.asarray(before), np.asarray(after) - np.asarray(before)
    return np.sqrt(np.trace(gap.T @ gap) / np.trace(before.T @ before))


def change_not_relative(before, after):
    return np.linalg.norm(np.asarray(after) - np.asarray(before))


def change_relative_to_the_end(before, after):
    return np.linalg.norm(np.asarray(after) - np.asarray(before)) / np.linalg.norm(after)


def change_in_operator_norm(before, after):
    return np.linalg.norm(np.asarray(after) - np.asarray(before), 2) / np.linalg.norm(before, 2)


def change_squared(before, after):
    return change_in_numpy(before, after) ** 2


def movement_by_sums(before, after):
    pairs = [(a.detach(), b.detach()) for a, b in zip(before.parameters(), after.parameters(), strict=True)]
    total = sum(((b - a) ** 2).sum() for a, b in pairs) ** 0.5
    return [float(total), float(total / sum((a**2).sum() for a, _ in pairs) ** 0.5)]


def movement_in_float32(before, after):
    start, end = vector(before).float(), vector(after).float()
    return torch.stack([(end - start).norm(), (end - start).norm() / start.norm()])


def movement_of_summed_norms(before, after):
    pairs = [(a.detach(), b.detach()) for a, b in zip(before.parameters(), after.parameters(), strict=True)]
    total = sum((b - a).norm().item() for a, b in pairs)
    return total, total / sum(a.norm().item() for a, _ in pairs)


def movement_squared(before, after):
    total, relative = movement_by_sums(before, after)
    return total**2, relative**2


def movement_relative_to_the_end(before, after):
    total, _ = movement_by_sums(before, after)
    return total, total / vector(after).norm().item()


def movement_of_the_norm(before, after):
    start, end = vector(before).norm().item(), vector(after).norm().item()
    return abs(end - start), abs(end - start) / start


def movement_swapped(before, after):
    return movement_by_sums(before, after)[::-1]


# width_study


def study(
    widths, seeds, activation=torch.tanh, steps=25, train=30, measured=slice(0, 30), tested=slice(30, 230)
):
    x, y = kit.digits(230, classes=(4, 9))
    results = np.empty((4, len(widths), len(seeds)))
    for i, j in np.ndindex(results.shape[1:]):
        start = kit.TwoLayerNet(widths[i], inputs=784, activation=activation, seed=seeds[j])
        end = kit.trained(start, x[:train], y[:train], learning_rate=2.0, steps=steps)
        kernels = [_kernel(net, x[measured]).numpy() for net in (start, end)]
        right = (torch.sign(end(x[tested])) == y[tested]).numpy()
        results[:, i, j] = [change_in_numpy(*kernels), *movement_by_sums(start, end), right.mean()]
    return results


def study_as_one_array(widths, seeds, activation=torch.tanh):
    return study(widths, seeds, activation)


def study_as_a_list_in_float32(widths, seeds, activation=torch.tanh):
    return [torch.tensor(part).float() for part in study(widths, seeds, activation)]


def seeds_as_rows(widths, seeds, activation=torch.tanh):
    return study(widths, seeds, activation).transpose(0, 2, 1)


def kernel_on_the_test_digits(widths, seeds, activation=torch.tanh):
    return study(widths, seeds, activation, measured=slice(30, 230))


def accuracy_on_the_training_digits(widths, seeds, activation=torch.tanh):
    return study(widths, seeds, activation, tested=slice(0, 30))


def trained_on_everything(widths, seeds, activation=torch.tanh):
    return study(widths, seeds, activation, train=230)


def one_step_short(widths, seeds, activation=torch.tanh):
    return study(widths, seeds, activation, steps=24)


def always_tanh(widths, seeds, activation=torch.tanh):
    return study(widths, seeds)


def readout_kernel_only(widths, seeds, activation=torch.tanh):
    x, y = kit.digits(230, classes=(4, 9))
    results = study(widths, seeds, activation)
    for i, j in np.ndindex(results.shape[1:]):
        start = kit.TwoLayerNet(widths[i], inputs=784, activation=activation, seed=seeds[j])
        end = kit.trained(start, x[:30], y[:30], learning_rate=2.0, steps=25)
        results[0, i, j] = change_in_numpy(readout_only(start, x[:30]), readout_only(end, x[:30]))
    return results


# standard_kernel


def standard_shares(model, x):
    hidden, readout = model.layers
    with torch.no_grad():
        z = hidden(x)
    features, slopes = torch.func.jvp(model.activation, (z,), (torch.ones_like(z),))
    backward = (slopes * readout.weight).detach()
    features = features.detach()
    return features @ features.T, backward @ backward.T, x @ x.T


def standard_in_numpy(model, x):
    features, backward, inputs = (v.numpy() for v in standard_shares(model, x))
    return features + 1 + backward * (1 + inputs)


def standard_in_float32(model, x):
    return torch.as_tensor(standard_in_numpy(model, x)).float()


def standard_without_the_output_bias(model, x):
    return standard_in_numpy(model, x) - 1


def standard_without_the_hidden_bias(model, x):
    features, backward, inputs = standard_shares(model, x)
    return features + 1 + backward * inputs


def standard_with_the_factors_of_the_other(model, x):
    features, backward, inputs = standard_shares(model, x)
    return (features + 1 + backward * (inputs / x.shape[1] + 0.25)) / model.layers[1].in_features


def standard_readout_only(model, x):
    return standard_shares(model, x)[0] + 1


# stable_rate


def rate_from_singular_values(kernel):
    return 2 * len(kernel) / np.linalg.svd(np.asarray(kernel), compute_uv=False)[0]


def rate_from_the_operator_norm(kernel):
    return 2 * len(kernel) / np.linalg.norm(np.asarray(kernel, dtype=np.float32), 2)


def rate_without_n(kernel):
    return 2 / np.linalg.eigvalsh(np.asarray(kernel))[-1]


def rate_of_the_smallest_eigenvalue(kernel):
    kernel = np.asarray(kernel)
    return 2 * len(kernel) / (np.linalg.eigvalsh(kernel)[0] + 1e-3)


def rate_of_fastest_decay(kernel):
    return len(kernel) / np.linalg.eigvalsh(np.asarray(kernel))[-1]


def rate_from_the_trace(kernel):
    return 2 * len(kernel) / np.trace(np.asarray(kernel))


RIGHT = {
    "empirical-kernel": [kernel_by_jacobian, kernel_in_numpy, kernel_in_float32, kernel_neuron_by_neuron],
    "ntk-change": [change_in_numpy, change_by_trace],
    "movement": [movement_by_sums, movement_in_float32],
    "width-study": [study_as_one_array, study_as_a_list_in_float32],
    "standard-kernel": [kernel_by_jacobian, standard_in_numpy, standard_in_float32],
    "stable-rate": [rate_from_singular_values, rate_from_the_operator_norm],
}

WRONG = {
    "empirical-kernel": [
        readout_only,
        hidden_only,
        hidden_bias_forgotten,
        bias_scale_not_squared,
        readout_weights_forgotten,
        inputs_not_divided_by_their_number,
        sum_over_neurons_in_place_of_the_mean,
        mean_over_samples,
        matrix_product_in_place_of_the_entrywise_one,
    ],
    "ntk-change": [
        change_not_relative,
        change_relative_to_the_end,
        change_in_operator_norm,
        change_squared,
    ],
    "movement": [
        movement_of_summed_norms,
        movement_squared,
        movement_relative_to_the_end,
        movement_of_the_norm,
        movement_swapped,
    ],
    "width-study": [
        seeds_as_rows,
        kernel_on_the_test_digits,
        accuracy_on_the_training_digits,
        trained_on_everything,
        one_step_short,
        always_tanh,
        readout_kernel_only,
    ],
    "standard-kernel": [
        standard_without_the_output_bias,
        standard_without_the_hidden_bias,
        standard_with_the_factors_of_the_other,
        standard_readout_only,
    ],
    "stable-rate": [
        rate_without_n,
        rate_of_the_smallest_eigenvalue,
        rate_of_fastest_decay,
        rate_from_the_trace,
    ],
}


# Independent values


def kernel_of_the_package(model, x):
    return nl.empirical_ntk(model, x, method="jacobian")


def change_entry_by_entry(before, after):
    before, after = np.asarray(before).ravel(), np.asarray(after).ravel()
    return np.hypot.reduce(after - before) / np.hypot.reduce(before)


def movement_entry_by_entry(before, after):
    start, end = vector(before).numpy(), vector(after).numpy()
    return np.hypot.reduce(end - start), np.hypot.reduce(end - start) / np.hypot.reduce(start)


def study_by_the_package(widths, seeds, activation=torch.tanh):
    """Gradient descent written out with torch.func, kernels by the package."""
    x, y = kit.digits(230, classes=(4, 9))
    results = np.empty((4, len(widths), len(seeds)))
    for i, j in np.ndindex(results.shape[1:]):
        net = kit.TwoLayerNet(widths[i], inputs=784, activation=activation, seed=seeds[j])
        before, start = kernel_of_the_package(net, x[:30]), vector(net)
        for _ in range(25):
            loss = (net(x[:30]) - y[:30]).square().mean() / 2
            for p, g in zip(net.parameters(), torch.autograd.grad(loss, list(net.parameters())), strict=True):
                p.data -= 2 * g
        moved = np.hypot.reduce((vector(net) - start).numpy())
        right = np.mean((net(x[30:]) * y[30:]).detach().numpy() > 0)
        change = change_entry_by_entry(before, kernel_of_the_package(net, x[:30]))
        results[:, i, j] = change, moved, moved / np.hypot.reduce(start.numpy()), right
    return results


def rate_by_power_iteration(kernel):
    """Largest eigenvalue from the trace of a high power, K^(2^30), by repeated squaring."""
    kernel = np.asarray(kernel)
    power, log_trace = kernel / np.trace(kernel), 0.0
    for _ in range(30):
        power = power @ power
        size = np.trace(power)
        power, log_trace = power / size, 2 * log_trace + np.log(size)
    return 2 * len(kernel) / (np.trace(kernel) * np.exp(log_trace / 2**30))


ORACLES = {
    "empirical-kernel": kernel_of_the_package,
    "ntk-change": change_entry_by_entry,
    "movement": movement_entry_by_entry,
    "width-study": study_by_the_package,
    "standard-kernel": kernel_of_the_package,
    "stable-rate": rate_by_power_iteration,
}
