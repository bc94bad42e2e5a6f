"""Attempts at the problem convergence/global_convergence: right ones that must pass, wrong ones that must not."""

from __future__ import annotations

import math

import numpy as np
import scipy.linalg
import scipy.optimize
import torch

# Task 1: right


def _parts(net, x, derivative=torch.cos, dtype=torch.float64):
    """Blocks of the Jacobian: weights (n, m, d), biases (n, m), readout (n, m)."""
    weight, bias, readout = (p.detach().to(dtype) for p in net.parameters())
    x = x.to(dtype)
    z = x @ weight.T / x.shape[1] ** 0.5 + bias / 2
    slope = readout * derivative(z) / len(bias) ** 0.5
    return (
        slope[:, :, None] * x[:, None, :] / x.shape[1] ** 0.5,
        slope / 2,
        net.activation(z) / len(bias) ** 0.5,
    )


def _joined(net, weights, biases, readout):
    blocks = (
        [weights.flatten(1), biases, readout]
        if net.hidden_bias.requires_grad
        else [weights.flatten(1), readout]
    )
    return torch.cat(blocks, dim=1)


def by_blocks(net, x, derivative=torch.cos):
    return _joined(net, *_parts(net, x, derivative)).numpy()


def by_blocks_in_float32(net, x, derivative=torch.cos):
    return _joined(net, *_parts(net, x, derivative, torch.float32))


def neuron_by_neuron(net, x, derivative=torch.cos):
    (m, d), rows = net.hidden_weight.shape, []
    for sample in x:
        weights, biases, readout = [], [], []
        for j in range(m):
            z = (net.hidden_weight[j] @ sample / math.sqrt(d) + net.hidden_bias[j] / 2).detach()
            slope = net.readout_weight[0, j].item() * derivative(z).item() / math.sqrt(m)
            weights += [slope * entry.item() / math.sqrt(d) for entry in sample]
            biases.append(slope / 2)
            readout.append(net.activation(z).item() / math.sqrt(m))
        rows.append(weights + (biases if net.hidden_bias.requires_grad else []) + readout)
    return np.array(rows)


# wrong


def without_the_root_of_m(net, x, derivative=torch.cos):
    return by_blocks(net, x, derivative) * math.sqrt(len(net.hidden_weight))


def without_the_root_of_d(net, x, derivative=torch.cos):
    weights, biases, readout = _parts(net, x, derivative)
    return _joined(net, weights * x.shape[1] ** 0.5, biases, readout)


def without_the_half_of_the_bias(net, x, derivative=torch.cos):
    weights, biases, readout = _parts(net, x, derivative)
    return _joined(net, weights, 2 * biases, readout)


def without_the_readout_weight(net, x, derivative=torch.cos):
    weights, biases, readout = _parts(net, x, derivative)
    a = net.readout_weight.detach()
    return _joined(net, weights / a[:, :, None], biases / a, readout)


def with_the_derivative_of_sine_always(net, x, derivative=torch.cos):
    return by_blocks(net, x)


def with_the_frozen_bias(net, x, derivative=torch.cos):
    weights, biases, readout = _parts(net, x, derivative)
    return torch.cat([weights.flatten(1), biases, readout], dim=1)


def inputs_before_neurons(net, x, derivative=torch.cos):
    weights, biases, readout = _parts(net, x, derivative)
    return _joined(net, weights.transpose(1, 2), biases, readout)


def readout_only(net, x, derivative=torch.cos):
    weights, biases, readout = _parts(net, x, derivative)
    return _joined(net, 0 * weights, 0 * biases, readout)


# Task 2: right


def by_numpy(jacobian):
    return np.linalg.eigvalsh(np.asarray(jacobian) @ np.asarray(jacobian).T)[[0, -1]]


def in_float32(jacobian):
    values = torch.linalg.eigvalsh(jacobian.float() @ jacobian.float().T)
    return values[0], values[-1]


def by_singular_values(jacobian):
    values = np.linalg.svd(np.asarray(jacobian), compute_uv=False) ** 2
    return [values[-1] if len(values) == len(jacobian) else 0.0, values[0]]


# wrong


def singular_values_without_care(jacobian):
    values = np.linalg.svd(np.asarray(jacobian), compute_uv=False) ** 2
    return values[-1], values[0]


def singular_values_not_squared(jacobian):
    values = np.linalg.svd(np.asarray(jacobian), compute_uv=False)
    return [values[-1] if len(values) == len(jacobian) else 0.0, values[0]]


def in_falling_order(jacobian):
    return by_numpy(jacobian)[::-1]


def of_the_wrong_product(jacobian):
    return np.linalg.eigvalsh(np.asarray(jacobian).T @ np.asarray(jacobian))[[0, -1]]


def by_the_diagonal(jacobian):
    diagonal = np.diag(np.asarray(jacobian) @ np.asarray(jacobian).T)
    return diagonal.min(), diagonal.max()


def divided_by_n(jacobian):
    return by_numpy(jacobian) / len(jacobian)


# Task 3


def _lipschitz(net, x, largest=torch.amax, bias=0.25, points=None, width=None, norm=None):
    m, d = net.hidden_weight.shape
    q = float(torch.amax((x**2).sum(dim=1))) / d + bias
    s = float(largest(net.readout_weight.detach().abs().flatten())) * q**0.5
    norm = norm or (lambda s: (s + (s * s + 4) ** 0.5) / 2)
    return ((len(x) if points is None else points) * q / (width or m)) ** 0.5 * norm(s)


def by_formula(net, x):
    return np.array([_lipschitz(net, x)])


def formula_in_float32(net, x):
    return torch.tensor(_lipschitz(net, x)).float()


def with_the_mean_readout_weight(net, x):
    return _lipschitz(net, x, largest=torch.mean)


def without_the_bias_in_q(net, x):
    return _lipschitz(net, x, bias=0.0)


def for_one_point(net, x):
    return _lipschitz(net, x, points=1)


def without_the_width(net, x):
    return _lipschitz(net, x, width=1)


def with_the_constant_of_the_chapter(net, x):
    return _lipschitz(net, x, norm=lambda s: max(2, 1 + 2 * s * s) ** 0.5)


def without_the_moving_slope(net, x):
    return _lipschitz(net, x, norm=lambda s: 1.0)


def squared(net, x):
    return _lipschitz(net, x) ** 2


# Task 5: right


def _bound(kernel, residual, t, learning_rate, loss, c=None, pick=min, power=1, size=np.linalg.norm):
    n = len(residual)
    c = {"sum": 1, "mean": 1 / n, "mse": 2 / n}[loss] if c is None else c
    value = float(pick(np.linalg.eigvalsh(kernel)))
    return size(residual) ** power * np.exp(-power * learning_rate * c * value * np.asarray(t))


def bound_by_formula(kernel, residual, t, learning_rate, loss="mean"):
    return torch.as_tensor(_bound(kernel, residual, t, learning_rate, loss))


def bound_time_by_time(kernel, residual, t, learning_rate, loss="mean"):
    values = [_bound(kernel, residual, time, learning_rate, loss) for time in np.ravel(t)]
    return np.reshape(values, np.shape(t)).tolist()


def bound_in_float32(kernel, residual, t, learning_rate, loss="mean"):
    arrays = (np.asarray(a, dtype=np.float32) for a in (kernel, residual, t))
    return _bound(*arrays, learning_rate, loss).astype(np.float32)


# wrong


def bound_of_half_the_sum(kernel, residual, t, learning_rate, loss="mean"):
    return _bound(kernel, residual, t, learning_rate, loss, c=1)


def bound_of_the_mean_always(kernel, residual, t, learning_rate, loss="mean"):
    return _bound(kernel, residual, t, learning_rate, loss, c=1 / len(residual))


def bound_of_the_squared_norm(kernel, residual, t, learning_rate, loss="mean"):
    return _bound(kernel, residual, t, learning_rate, loss, power=2)


def bound_by_the_largest_eigenvalue(kernel, residual, t, learning_rate, loss="mean"):
    return _bound(kernel, residual, t, learning_rate, loss, pick=max)


def bound_with_twice_the_rate(kernel, residual, t, learning_rate, loss="mean"):
    return _bound(kernel, residual, t, 2 * learning_rate, loss)


def bound_by_root_mean_square(kernel, residual, t, learning_rate, loss="mean"):
    return _bound(kernel, residual, t, learning_rate, loss, size=lambda r: np.sqrt(np.mean(r**2)))


# Task 6


def movement_with_a_case(smallest, residual_norm, lipschitz):
    if lipschitz * residual_norm < 1e-7 * smallest:
        return residual_norm / math.sqrt(smallest)
    return (math.sqrt(smallest) - math.sqrt(smallest - 2 * lipschitz * residual_norm)) / lipschitz


def movement_by_rho(smallest, residual_norm, lipschitz):
    rho = torch.tensor(2 * lipschitz * residual_norm / smallest)
    return 2 * residual_norm / smallest**0.5 / (1 + (1 - rho).sqrt())


def movement_of_the_linear_model(smallest, residual_norm, lipschitz):
    return residual_norm / math.sqrt(smallest)


def movement_at_worst(smallest, residual_norm, lipschitz):
    return 2 * residual_norm / math.sqrt(smallest)


def movement_to_the_larger_root(smallest, residual_norm, lipschitz):
    root = math.sqrt(smallest - 2 * lipschitz * residual_norm)
    return (math.sqrt(smallest) + root) / max(lipschitz, 1e-9)


def movement_without_the_root(smallest, residual_norm, lipschitz):
    return 2 * residual_norm / (smallest + math.sqrt(smallest**2 - 2 * lipschitz * residual_norm * smallest))


def movement_with_cancellation(smallest, residual_norm, lipschitz):
    if lipschitz == 0:
        return residual_norm / math.sqrt(smallest)
    return (math.sqrt(smallest) - math.sqrt(smallest - 2 * lipschitz * residual_norm)) / lipschitz


def change_by_difference_of_squares(largest, lipschitz, radius):
    return (math.sqrt(largest) + lipschitz * radius) ** 2 - largest


def change_in_torch(largest, lipschitz, radius):
    change = torch.tensor(lipschitz * radius, dtype=torch.float32)
    return change**2 + 2 * largest**0.5 * change


def change_without_the_two(largest, lipschitz, radius):
    return (math.sqrt(largest) + lipschitz * radius) * lipschitz * radius


def change_to_first_order(largest, lipschitz, radius):
    return 2 * math.sqrt(largest) * lipschitz * radius


def change_without_the_root(largest, lipschitz, radius):
    return (2 * largest + lipschitz * radius) * lipschitz * radius


# Task 7


def _rho(net, x, y, norm=torch.linalg.norm, pick=0):
    residual = float(norm(net(x).detach() - y))
    return 2 * _lipschitz(net, x) * residual / by_numpy(by_blocks(net, x))[pick]


def width_by_solving(net, x, y):
    return len(net.hidden_weight) * 4 * _rho(net, x, y) ** 2


def width_in_float32(net, x, y):
    jacobian = torch.tensor(by_blocks(net, x)).float()
    smallest = torch.linalg.svdvals(jacobian)[-1] ** 2
    residual = (net(x) - y).detach().float().norm()
    return 16 * len(net.hidden_weight) * (_lipschitz(net, x) * residual / smallest) ** 2


def width_for_rho_one(net, x, y):
    return len(net.hidden_weight) * _rho(net, x, y) ** 2


def width_without_the_square(net, x, y):
    return len(net.hidden_weight) * 2 * _rho(net, x, y)


def width_as_a_factor(net, x, y):
    return 4 * _rho(net, x, y) ** 2


def width_by_root_mean_square(net, x, y):
    return len(net.hidden_weight) * 4 * _rho(net, x, y, norm=lambda r: r.square().mean().sqrt()) ** 2


def width_by_the_largest_eigenvalue(net, x, y):
    return len(net.hidden_weight) * 4 * _rho(net, x, y, pick=1) ** 2


def width_of_the_labels_alone(net, x, y):
    return len(net.hidden_weight) * 4 * _rho(net, x, y + net(x).detach()) ** 2


def width_for_a_residual_not_squared(net, x, y):
    return width_by_solving(net, x, y) / (net(x) - y).norm()


RIGHT = {
    "jacobian": [by_blocks, by_blocks_in_float32, neuron_by_neuron],
    "extreme-eigenvalues": [by_numpy, in_float32, by_singular_values],
    "lipschitz-constant": [by_formula, formula_in_float32],
    "exponential-bound": [bound_by_formula, bound_time_by_time, bound_in_float32],
    "movement-bound": [movement_with_a_case, movement_by_rho],
    "kernel-change-bound": [change_by_difference_of_squares, change_in_torch],
    "required-width": [width_by_solving, width_in_float32],
}

WRONG = {
    "jacobian": [
        without_the_root_of_m,
        without_the_root_of_d,
        without_the_half_of_the_bias,
        without_the_readout_weight,
        with_the_derivative_of_sine_always,
        with_the_frozen_bias,
        inputs_before_neurons,
        readout_only,
    ],
    "extreme-eigenvalues": [
        singular_values_without_care,
        singular_values_not_squared,
        in_falling_order,
        of_the_wrong_product,
        by_the_diagonal,
        divided_by_n,
    ],
    "lipschitz-constant": [
        with_the_mean_readout_weight,
        without_the_bias_in_q,
        for_one_point,
        without_the_width,
        with_the_constant_of_the_chapter,
        without_the_moving_slope,
        squared,
    ],
    "exponential-bound": [
        bound_of_half_the_sum,
        bound_of_the_mean_always,
        bound_of_the_squared_norm,
        bound_by_the_largest_eigenvalue,
        bound_with_twice_the_rate,
        bound_by_root_mean_square,
    ],
    "movement-bound": [
        movement_of_the_linear_model,
        movement_at_worst,
        movement_to_the_larger_root,
        movement_without_the_root,
        movement_with_cancellation,
    ],
    "kernel-change-bound": [change_without_the_two, change_to_first_order, change_without_the_root],
    "required-width": [
        width_for_rho_one,
        width_without_the_square,
        width_as_a_factor,
        width_by_root_mean_square,
        width_by_the_largest_eigenvalue,
        width_of_the_labels_alone,
        width_for_a_residual_not_squared,
    ],
}


# Independent values


def jacobian_by_autograd(net, x, derivative=torch.cos):
    parameters = [p for p in net.parameters() if p.requires_grad]
    rows = [torch.autograd.grad(output, parameters, retain_graph=True) for output in net(x).flatten()]
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])


def extremes_by_the_general_solver(jacobian):
    """Without symmetry; in the other order, so that J^T J adds the zeros that are missing."""
    matrix = jacobian.numpy()
    values = np.sort(scipy.linalg.eigvals(matrix.T @ matrix).real)[::-1]
    values = np.concatenate([values, np.zeros(len(matrix))])[: len(matrix)]
    return values[-1], values[0]


def lipschitz_by_the_matrix_of_the_proof(net, x):
    """The norm of the block matrix that bounds the change of the gradients, neuron by neuron."""
    (m, d), a = net.hidden_weight.shape, net.readout_weight.detach().numpy()[0]
    q = max(float(sample @ sample) / d + 0.25 for sample in x)
    blocks = [np.sqrt(q / m) * np.array([[0, 1], [1, abs(entry) * np.sqrt(q)]]) for entry in a]
    return np.linalg.norm(np.kron(np.ones((len(x), 1)), max(blocks, key=lambda b: np.linalg.norm(b, 2))), 2)


def bound_along_the_slowest_mode(kernel, residual, t, learning_rate, loss="mean"):
    """The residual of the same length that is worst: evolve it by a matrix exponential."""
    c = {"sum": 1, "mean": 1 / len(residual), "mse": 2 / len(residual)}[loss]
    slowest = scipy.linalg.eigh(kernel, subset_by_index=[0, 0])[1][:, 0] * np.linalg.norm(residual)
    ends = [scipy.linalg.expm(-learning_rate * c * time * kernel) @ slowest for time in np.ravel(t)]
    return np.reshape([np.linalg.norm(end) for end in ends], np.shape(t))


def movement_by_root_finding(smallest, residual_norm, lipschitz):
    """Where the parabola of the proof reaches the residual."""

    def missing(length):
        return math.sqrt(smallest) * length - lipschitz * length**2 / 2 - residual_norm

    return scipy.optimize.brentq(missing, 0, 2 * residual_norm / math.sqrt(smallest) + 1e-12, xtol=1e-13)


def change_of_the_worst_matrix(largest, lipschitz, radius):
    """A Jacobian that attains the bound: one row, moved along itself."""
    first = np.array([[0.6, 0.8]]) * math.sqrt(largest)
    now = first * (1 + lipschitz * radius / math.sqrt(largest))
    return np.linalg.norm(now @ now.T - first @ first.T, 2)


def width_by_bisection(net, x, y):
    m, residual = len(net.hidden_weight), (net(x) - y).norm().item()
    smallest = extremes_by_the_general_solver(jacobian_by_autograd(net, x))[0]
    lipschitz = lipschitz_by_the_matrix_of_the_proof(net, x)

    def excess(log_width):
        return 2 * lipschitz * math.sqrt(m / math.exp(log_width)) * residual / smallest - 0.5

    return math.exp(scipy.optimize.brentq(excess, -10, 60, xtol=1e-13))


ORACLES = {
    "jacobian": jacobian_by_autograd,
    "extreme-eigenvalues": extremes_by_the_general_solver,
    "lipschitz-constant": lipschitz_by_the_matrix_of_the_proof,
    "exponential-bound": bound_along_the_slowest_mode,
    "movement-bound": movement_by_root_finding,
    "kernel-change-bound": change_of_the_worst_matrix,
    "required-width": width_by_bisection,
}
