"""Attempts at the problem definition/ntk_matrix: right ones that must pass, wrong ones that must not.

A function's name says what its author thought; it stands in for the notebook's function of the cell it is
listed under.
"""

from __future__ import annotations

import math

import numpy as np
import torch

import ntklab as nl
from exercises import kit


def gradients(model, output, parameters=None):
    """One flat vector of all parameters' gradients."""
    parameters = [p for p in model.parameters() if p.requires_grad] if parameters is None else parameters
    parts = torch.autograd.grad(output, parameters, retain_graph=True, allow_unused=True)
    zeros = [torch.zeros_like(p) for p in parameters]
    return torch.cat(
        [(zero if part is None else part).flatten() for part, zero in zip(parts, zeros, strict=True)]
    )


def jacobian(model, x):
    """(n, k, P), row by row."""
    outputs = model(x)
    return torch.stack([torch.stack([gradients(model, output) for output in row]) for row in outputs])


# Task 1, right


def pair_by_pair(model, x):
    matrix = np.zeros((len(x), len(x)))
    for i in range(len(x)):
        for j in range(i, len(x)):
            one, two = gradients(model, model(x[i : i + 1])), gradients(model, model(x[j : j + 1]))
            matrix[i, j] = matrix[j, i] = float(one @ two)
    return matrix


def by_backward(model, x):
    rows = []
    for sample in x:
        model.zero_grad()
        model(sample[None]).sum().backward()
        rows.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).numpy())
    return np.array(rows) @ np.array(rows).T


def by_torch_func(model, x):
    parameters = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    parts = torch.func.jacrev(lambda p: torch.func.functional_call(model, p, (x,)))(parameters)
    return sum(torch.einsum("iap,jap->ij", g, g) for g in (p.flatten(2) for p in parts.values()))


def in_float32(model, x):
    rows = jacobian(model, x)[:, 0].float()
    return rows @ rows.T


def with_output_axes(model, x):
    rows = jacobian(model, x)
    return torch.einsum("iap,jbp->ijab", rows, rows).numpy()


def that_keeps_its_graph(model, x):
    outputs = model(x)
    parameters = [p for p in model.parameters() if p.requires_grad]
    rows = [
        torch.cat([g.flatten() for g in torch.autograd.grad(output, parameters, create_graph=True)])
        for output in outputs.flatten()
    ]
    return torch.stack(rows) @ torch.stack(rows).T


# Task 1, wrong


def divided_by_n(model, x):
    return by_torch_func(model, x) / len(x)


def readout_only(model, x):
    last = [list(model.parameters())[-1]]
    rows = torch.stack([gradients(model, output, last) for output in model(x).flatten()])
    return rows @ rows.T


def without_biases(model, x):
    matrices = [p for p in model.parameters() if p.ndim == 2]
    rows = torch.stack([gradients(model, output, matrices) for output in model(x).flatten()])
    return rows @ rows.T


def gradient_of_the_sum(model, x):
    gradient = gradients(model, model(x).sum())
    return torch.full((len(x), len(x)), float(gradient @ gradient))


def upper_triangle_only(model, x):
    return torch.triu(by_torch_func(model, x))


def loop_that_skips_the_diagonal(model, x):
    matrix = by_torch_func(model, x)
    return matrix - torch.diag(torch.diag(matrix))


def loop_that_stops_one_early(model, x):
    matrix = by_torch_func(model, x).clone()
    matrix[-1] = matrix[:, -1] = 0
    return matrix


def accumulated_gradients(model, x):
    rows = []
    for sample in x:
        model(sample[None]).sum().backward()
        rows.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad]).clone())
    return torch.stack(rows) @ torch.stack(rows).T


def gradients_of_inputs(model, x):
    x = x.clone().requires_grad_()
    (rows,) = torch.autograd.grad(model(x).sum(), x)
    return rows @ rows.T


def cosine_of_gradients(model, x):
    rows = torch.nn.functional.normalize(jacobian(model, x)[:, 0], dim=1)
    return rows @ rows.T


def parameters_in_place_of_samples(model, x):
    rows = jacobian(model, x)[:, 0]
    return rows.T @ rows


def frozen_parameters_counted(model, x):
    frozen = [p for p in model.parameters() if not p.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    matrix = by_torch_func(model, x)
    for parameter in frozen:
        parameter.requires_grad_(False)
    return matrix


def forgotten_return(model, x):
    by_torch_func(model, x)


# Task 2, right


def blocks_by_loops(model, x1, x2):
    one, two = jacobian(model, x1).numpy(), jacobian(model, x2).numpy()
    result = np.empty((len(one), len(two), one.shape[1], two.shape[1]))
    for i, j, a, b in np.ndindex(result.shape):
        result[i, j, a, b] = one[i, a] @ two[j, b]
    return result


def blocks_in_float32(model, x1, x2):
    return torch.einsum("iap,jbp->ijab", jacobian(model, x1).float(), jacobian(model, x2).float())


def blocks_by_reshape_and_permute(model, x1, x2):
    one, two = jacobian(model, x1), jacobian(model, x2)
    (n1, k, _), n2 = one.shape, len(two)
    return (one.flatten(0, 1) @ two.flatten(0, 1).T).reshape(n1, k, n2, k).permute(0, 2, 1, 3)


# Task 2, wrong


def outputs_transposed(model, x1, x2):
    return torch.einsum("iap,jbp->ijba", jacobian(model, x1), jacobian(model, x2))


def reshape_without_permute(model, x1, x2):
    one, two = jacobian(model, x1), jacobian(model, x2)
    (n1, k, _), n2 = one.shape, len(two)
    return (one.flatten(0, 1) @ two.flatten(0, 1).T).reshape(n1, n2, k, k)


def outputs_summed(model, x1, x2):
    one, two = jacobian(model, x1), jacobian(model, x2)
    total = torch.einsum("ip,jp->ij", one.sum(1), two.sum(1))
    return total[:, :, None, None].expand(-1, -1, one.shape[1], two.shape[1])


def outputs_averaged(model, x1, x2):
    return torch.einsum("iap,jap->ij", jacobian(model, x1), jacobian(model, x2)) / 2


def diagonal_blocks_only(model, x1, x2):
    blocks = torch.einsum("iap,jbp->ijab", jacobian(model, x1), jacobian(model, x2))
    return blocks * torch.eye(blocks.shape[-1], dtype=blocks.dtype)


def first_set_twice(model, x1, x2):
    return torch.einsum("iap,jbp->ijab", jacobian(model, x1), jacobian(model, x1))


# Task 3, right


def taylor(model, theta, x):
    change = torch.cat(
        [(new - old).detach().flatten() for new, old in zip(theta, model.parameters(), strict=True)]
    )
    return model(x).detach() + jacobian(model, x) @ change


def taylor_in_numpy(model, theta, x):
    return taylor(model, theta, x).numpy()


def taylor_in_float32(model, theta, x):
    return taylor(model, theta, x).float()


# Task 3, wrong


def without_initial_outputs(model, theta, x):
    return taylor(model, theta, x) - model(x)


def order_zero(model, theta, x):
    return model(x)


def wrong_sign(model, theta, x):
    return 2 * model(x) - taylor(model, theta, x)


def factor_one_half(model, theta, x):
    return (model(x) + taylor(model, theta, x)) / 2


def gradient_at_the_trained_parameters(model, theta, x):
    kept = [p.detach().clone() for p in model.parameters()]
    _assign(model, theta)
    back = taylor(model, kept, x)
    end = model(x).detach()
    _assign(model, kept)
    return model(x).detach() + end - back


def the_trained_network_itself(model, theta, x):
    kept = [p.detach().clone() for p in model.parameters()]
    _assign(model, theta)
    end = model(x).detach()
    _assign(model, kept)
    return end


def last_parameter_forgotten(model, theta, x):
    return taylor(model, [*theta[:-1], list(model.parameters())[-1]], x)


def model_overwritten(model, theta, x):
    result = taylor(model, theta, x)
    _assign(model, theta)
    return result


def _assign(model, theta):
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), theta, strict=True):
            parameter.copy_(value)


# Task 4


def _networks(width, seed, activation):
    x, y = kit.circle(12)
    start = kit.TwoLayerNet(width, activation=activation, seed=seed)
    return start, kit.trained(start, x, y, learning_rate=1.0, steps=200)


def _gap(width, seed, activation, x):
    start, end = _networks(width, seed, activation)
    return end(x).detach() - taylor(start, list(end.parameters()), x)


TEST = kit.circle(60, offset=0.5)[0]


def error_in_numpy(width, seed, activation=torch.tanh):
    return np.sqrt(np.mean(_gap(width, seed, activation, TEST).numpy() ** 2))


def error_of_a_float32_expansion(width, seed, activation=torch.tanh):
    start, end = _networks(width, seed, activation)
    prediction = taylor(start, list(end.parameters()), TEST).float()
    return (end(TEST).detach() - prediction).norm() / math.sqrt(60)


def error_without_the_root(width, seed, activation=torch.tanh):
    return _gap(width, seed, activation, TEST).square().mean()


def error_summed(width, seed, activation=torch.tanh):
    return _gap(width, seed, activation, TEST).norm()


def error_by_mean_absolute_value(width, seed, activation=torch.tanh):
    return _gap(width, seed, activation, TEST).abs().mean()


def error_of_the_signed_mean(width, seed, activation=torch.tanh):
    return _gap(width, seed, activation, TEST).mean()


def error_on_the_training_points(width, seed, activation=torch.tanh):
    return _gap(width, seed, activation, kit.circle(12)[0]).square().mean().sqrt()


def error_of_the_initial_outputs(width, seed, activation=torch.tanh):
    start, end = _networks(width, seed, activation)
    return (end(TEST) - start(TEST)).square().mean().sqrt()


def error_against_the_labels(width, seed, activation=torch.tanh):
    _, end = _networks(width, seed, activation)
    return (end(TEST) - kit.circle(60, offset=0.5)[1]).square().mean().sqrt()


def error_that_ignores_the_seed(width, seed, activation=torch.tanh):
    return error_in_numpy(width, 1, activation)


def error_after_too_few_steps(width, seed, activation=torch.tanh):
    x, y = kit.circle(12)
    start = kit.TwoLayerNet(width, activation=activation, seed=seed)
    end = kit.trained(start, x, y, learning_rate=1.0, steps=20)
    return (end(TEST).detach() - taylor(start, list(end.parameters()), TEST)).square().mean().sqrt()


RIGHT = {
    "ntk-matrix": [
        pair_by_pair,
        by_backward,
        by_torch_func,
        in_float32,
        with_output_axes,
        that_keeps_its_graph,
    ],
    "ntk-blocks": [blocks_by_loops, blocks_in_float32, blocks_by_reshape_and_permute],
    "linear-prediction": [taylor, taylor_in_numpy, taylor_in_float32],
    "linearization-error": [error_in_numpy, error_of_a_float32_expansion],
}

WRONG = {
    "ntk-matrix": [
        divided_by_n,
        readout_only,
        without_biases,
        gradient_of_the_sum,
        upper_triangle_only,
        loop_that_skips_the_diagonal,
        loop_that_stops_one_early,
        accumulated_gradients,
        gradients_of_inputs,
        cosine_of_gradients,
        parameters_in_place_of_samples,
        frozen_parameters_counted,
        forgotten_return,
    ],
    "ntk-blocks": [
        outputs_transposed,
        reshape_without_permute,
        outputs_summed,
        outputs_averaged,
        diagonal_blocks_only,
        first_set_twice,
    ],
    "linear-prediction": [
        without_initial_outputs,
        order_zero,
        wrong_sign,
        factor_one_half,
        gradient_at_the_trained_parameters,
        the_trained_network_itself,
        last_parameter_forgotten,
        model_overwritten,
    ],
    "linearization-error": [
        error_without_the_root,
        error_summed,
        error_by_mean_absolute_value,
        error_of_the_signed_mean,
        error_on_the_training_points,
        error_of_the_initial_outputs,
        error_against_the_labels,
        error_that_ignores_the_seed,
        error_after_too_few_steps,
    ],
}


# Independent values: the package, which the problems do not use


def ntk_matrix_of_the_package(model, x):
    return nl.empirical_ntk(model, x, method="jacobian")


def ntk_blocks_of_the_package(model, x1, x2):
    return nl.empirical_ntk(model, x1, x2, outputs="full", method="jacobian")


def linear_prediction_of_the_package(model, theta, x):
    linear = nl.linearize(model)
    _assign(linear, theta)
    return linear(x)


def linearization_error_of_the_package(width, seed, activation=torch.tanh):
    start, end = _networks(width, seed, activation)
    gap = end(TEST) - linear_prediction_of_the_package(start, list(end.parameters()), TEST)
    return gap.norm() / math.sqrt(len(TEST))


ORACLES = {
    "ntk-matrix": ntk_matrix_of_the_package,
    "ntk-blocks": ntk_blocks_of_the_package,
    "linear-prediction": linear_prediction_of_the_package,
    "linearization-error": linearization_error_of_the_package,
}
