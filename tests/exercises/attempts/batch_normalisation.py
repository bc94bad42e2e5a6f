"""Attempts at the problem convergence/batch_normalisation: right ones that must pass, wrong ones that must not."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

TINY = 1e-30  # the framework's layers want eps > 0

# Task 1, right


def norm_in_numpy(z, eps=0.0):
    z = np.asarray(z)
    return (z - z.mean(0)) / np.sqrt(z.var(0) + eps)


def norm_in_float32(z, eps=0.0):
    variance, mean = torch.var_mean(z.float(), dim=0, correction=0)
    return (z.float() - mean) * torch.rsqrt(variance + eps)


def norm_of_the_framework(z, eps=0.0):
    columns = z if z.ndim == 2 else z[:, None]
    return nn.functional.batch_norm(columns, None, None, training=True, eps=eps or TINY).reshape(z.shape)


# Task 1, wrong


def norm_with_n_minus_one(z, eps=0.0):
    return (z - z.mean(0)) / torch.sqrt(z.var(0) + eps)


def norm_of_the_layer(z, eps=0.0):
    axis = z.ndim - 1
    mean, variance = z.mean(axis, keepdim=True), z.var(axis, correction=0, keepdim=True)
    return (z - mean) / torch.sqrt(variance + eps)


def norm_over_everything(z, eps=0.0):
    return (z - z.mean()) / torch.sqrt(z.var(correction=0) + eps)


def norm_without_the_root(z, eps=0.0):
    return (z - z.mean(0)) / (z.var(0, correction=0) + eps)


def norm_with_eps_outside_the_root(z, eps=0.0):
    return (z - z.mean(0)) / (z.std(0, correction=0) + eps)


def norm_not_centred(z, eps=0.0):
    return z / torch.sqrt(z.var(0, correction=0) + eps)


def norm_of_a_unit_vector(z, eps=0.0):
    return nn.functional.normalize(z - z.mean(0), dim=0, eps=eps)


# Task 2, right


def jacobian_by_columns(z):
    z = np.asarray(z)
    n, sigma = len(z), z.std()
    rows = []
    for k in range(n):
        inner = np.eye(n)[k] - 1 / n
        rows.append(inner / sigma - (z - z.mean()) * (z[k] - z.mean()) / (n * sigma**3))
    return np.stack(rows, axis=1)


def jacobian_by_torch_func(z):
    return torch.func.jacrev(_normalised)(z).float()


def _normalised(z):
    return (z - z.mean(0)) / z.std(0, correction=0)


# Task 2, wrong


def jacobian_without_the_variance(z):
    n = len(z)
    return (torch.eye(n).to(z) - 1 / n) / z.std(correction=0)


def jacobian_without_the_mean(z):
    n, zhat = len(z), _normalised(z)
    return (torch.eye(n).to(z) - torch.outer(zhat, zhat) / n) / z.std(correction=0)


def jacobian_with_frozen_statistics(z):
    return torch.eye(len(z)).to(z) / z.std(correction=0)


def jacobian_without_sigma(z):
    return torch.func.jacrev(_normalised)(z) * z.std(correction=0)


def jacobian_with_a_missing_n(z):
    n, zhat = len(z), _normalised(z)
    return (torch.eye(n).to(z) - 1 / n - torch.outer(zhat, zhat)) / z.std(correction=0)


def jacobian_over_the_variance(z):
    return torch.func.jacrev(_normalised)(z) / z.std(correction=0)


def jacobian_with_n_minus_one(z):
    return torch.func.jacrev(lambda z: (z - z.mean()) / z.std())(z)


# Task 3, right


def _outputs(x, weights, readout, activation, norm, batch_norm=_normalised):
    h = x
    for weight in weights:
        z = h @ weight.T / weight.shape[1] ** 0.5
        h = activation(batch_norm(z) if norm == "hidden" else z)
    f = h @ readout / len(readout) ** 0.5
    return batch_norm(f) if norm == "output" else f


def _jacobians(x, weights, readout, activation, norm, batch_norm=_normalised):
    parameters = (*(w.detach() for w in weights), readout.detach())

    def outputs(*parameters):
        return _outputs(x, parameters[:-1], parameters[-1], activation, norm, batch_norm)

    parts = torch.func.jacrev(outputs, argnums=tuple(range(len(parameters))))(*parameters)
    return [part.flatten(1) for part in parts]


def kernels_by_torch_func(x, weights, readout, activation=torch.relu, norm="hidden"):
    return torch.stack([j @ j.T for j in _jacobians(x, weights, readout, activation, norm)])


def kernels_in_float32(x, weights, readout, activation=torch.relu, norm="hidden"):
    parts = _jacobians(x, weights, readout, activation, norm)
    return np.array([(j.float() @ j.float().T).numpy() for j in parts])


def kernels_as_a_list(x, weights, readout, activation=torch.relu, norm="hidden"):
    return list(kernels_by_torch_func(x, weights, readout, activation, norm))


# Task 3, wrong


def kernels_summed(x, weights, readout, activation=torch.relu, norm="hidden"):
    return kernels_by_torch_func(x, weights, readout, activation, norm).sum(0)


def kernels_with_frozen_statistics(x, weights, readout, activation=torch.relu, norm="hidden"):
    def frozen(z):
        return (z - z.mean(0).detach()) / z.std(0, correction=0).detach()

    parameters = [p.detach().clone().requires_grad_() for p in (*weights, readout)]
    f = _outputs(x, parameters[:-1], parameters[-1], activation, norm, frozen)
    rows = [torch.autograd.grad(one, parameters, retain_graph=True) for one in f]
    parts = [torch.stack([g.flatten() for g in part]) for part in zip(*rows, strict=True)]
    return torch.stack([j @ j.T for j in parts])


def kernels_with_frozen_variance(x, weights, readout, activation=torch.relu, norm="hidden"):
    def frozen(z):
        return (z - z.mean(0)) / z.std(0, correction=0).detach()

    parameters = [p.detach().clone().requires_grad_() for p in (*weights, readout)]
    f = _outputs(x, parameters[:-1], parameters[-1], activation, norm, frozen)
    rows = [torch.autograd.grad(one, parameters, retain_graph=True) for one in f]
    parts = [torch.stack([g.flatten() for g in part]) for part in zip(*rows, strict=True)]
    return torch.stack([j @ j.T for j in parts])


def kernels_that_ignore_norm(x, weights, readout, activation=torch.relu, norm="hidden"):
    return kernels_by_torch_func(x, weights, readout, activation, "hidden")


def kernels_never_normalised(x, weights, readout, activation=torch.relu, norm="hidden"):
    return kernels_by_torch_func(x, weights, readout, activation, "none")


def kernels_over_n(x, weights, readout, activation=torch.relu, norm="hidden"):
    return kernels_by_torch_func(x, weights, readout, activation, norm) / len(x)


def kernels_in_standard_parameterisation(x, weights, readout, activation=torch.relu, norm="hidden"):
    scales = [w.shape[1] for w in weights] + [len(readout)]
    kernels = kernels_by_torch_func(x, weights, readout, activation, norm)
    return torch.stack([k * s for k, s in zip(kernels, scales, strict=True)])


def kernels_readout_first(x, weights, readout, activation=torch.relu, norm="hidden"):
    return kernels_by_torch_func(x, weights, readout, activation, norm).flip(0)


# Task 4, right


def constant_by_torch(kernel):
    kernel = torch.as_tensor(kernel)
    values, modes = torch.linalg.eigh(kernel)
    one = torch.ones(len(kernel), dtype=kernel.dtype) / len(kernel) ** 0.5
    return torch.stack([values[-1], one @ kernel @ one, (one @ modes[:, -1]) ** 2]).float()


def constant_by_power_iteration(kernel):
    one, power = np.ones(len(kernel)), np.asarray(kernel)
    for _ in range(20):  # kernel^(2^20)
        power = power @ power / np.linalg.norm(power @ power)
    v = power @ (one + 0.01 * np.arange(len(kernel)))
    v = v / np.linalg.norm(v)
    return [v @ kernel @ v, one @ kernel @ one / (one @ one), (v @ one) ** 2 / (one @ one)]


# Task 4, wrong


def constant_of_the_smallest(kernel):
    values, modes = np.linalg.eigh(kernel)
    return values[0], kernel.sum() / len(kernel), modes[:, 0].sum() ** 2 / len(kernel)


def constant_not_divided(kernel):
    top, constant, cosine = constant_by_power_iteration(kernel)
    return top, constant * len(kernel), cosine


def constant_mean_entry(kernel):
    top, constant, cosine = constant_by_power_iteration(kernel)
    return top, constant / len(kernel), cosine


def constant_cosine_not_squared(kernel):
    top, constant, cosine = constant_by_power_iteration(kernel)
    return top, constant, cosine**0.5


def constant_of_a_row(kernel):
    values, modes = np.linalg.eigh(kernel)
    return values[-1], kernel.sum() / len(kernel), modes[-1].sum() ** 2 / len(kernel)


def constant_of_a_long_vector(kernel):
    top, constant, cosine = constant_by_power_iteration(kernel)
    return top, constant, cosine * len(kernel)


# Task 5, right


def _descent(x, y, weight, readout, rate, steps, *, both=False, loss=None, batch_norm=_normalised):
    loss = loss or (lambda f: (f - y).square().mean() / 2)
    parameters = [weight.detach().clone(), readout.detach().clone()]
    for _ in range(steps):
        for p in parameters:
            p.requires_grad_()
        value = loss(_outputs(x, parameters[:1], parameters[1], torch.relu, "hidden", batch_norm))
        gradients = torch.autograd.grad(value, parameters)
        parameters = [
            (p - rate * g * (1.0 if both or i == 0 else 0.0)).detach()
            for i, (p, g) in enumerate(zip(parameters, gradients, strict=True))
        ]
    outputs = _outputs(x, parameters[:1], parameters[1], torch.relu, "hidden")
    return outputs, parameters[0].square().sum(1)


def training_in_float32(x, y, weight, readout, learning_rate, steps):
    x, y, weight, readout = (part.float() for part in (x, y, weight, readout))
    return _descent(x, y, weight, readout, learning_rate, steps)


def training_by_an_optimizer(x, y, weight, readout, learning_rate, steps):
    layer = nn.Linear(x.shape[1], len(weight), bias=False).to(x)
    layer.weight.data = weight.clone() / x.shape[1] ** 0.5
    norm = nn.BatchNorm1d(len(weight), eps=TINY, affine=False).to(x)
    net = nn.Sequential(layer, norm, nn.ReLU())
    # z = (W / sqrt d) x: the gradient of W is 1/sqrt d of that of W / sqrt d, and so is its step
    optimizer = torch.optim.SGD(layer.parameters(), lr=learning_rate / x.shape[1])
    for _ in range(steps):
        optimizer.zero_grad()
        (nn.functional.mse_loss(net(x) @ readout / len(readout) ** 0.5, y) / 2).backward()
        optimizer.step()
    outputs = net(x) @ readout / len(readout) ** 0.5
    return outputs.detach().numpy(), (layer.weight * x.shape[1] ** 0.5).square().sum(1).detach().numpy()


# Task 5, wrong


def training_both_layers(x, y, weight, readout, learning_rate, steps):
    return _descent(x, y, weight, readout, learning_rate, steps, both=True)


def training_on_the_sum(x, y, weight, readout, learning_rate, steps):
    return _descent(x, y, weight, readout, learning_rate * len(x), steps)


def training_without_the_half(x, y, weight, readout, learning_rate, steps):
    return _descent(x, y, weight, readout, 2 * learning_rate, steps)


def training_uphill(x, y, weight, readout, learning_rate, steps):
    return _descent(x, y, weight, readout, -learning_rate, steps)


def training_one_step_short(x, y, weight, readout, learning_rate, steps):
    return _descent(x, y, weight, readout, learning_rate, max(steps - 1, 0))


def training_with_frozen_statistics(x, y, weight, readout, learning_rate, steps):
    def frozen(z):
        return (z - z.mean(0).detach()) / z.std(0, correction=0).detach()

    return _descent(x, y, weight, readout, learning_rate, steps, batch_norm=frozen)


def training_with_lengths_not_squared(x, y, weight, readout, learning_rate, steps):
    outputs, lengths = _descent(x, y, weight, readout, learning_rate, steps)
    return outputs, lengths.sqrt()


def training_with_lengths_of_columns(x, y, weight, readout, learning_rate, steps):
    outputs, lengths = _descent(x, y, weight, readout, learning_rate, steps)
    return outputs, lengths.mean().expand(len(lengths)) * len(lengths) / x.shape[1]


RIGHT = {
    "batch-norm": [norm_in_numpy, norm_in_float32, norm_of_the_framework],
    "batch-norm-jacobian": [jacobian_by_columns, jacobian_by_torch_func],
    "layer-kernels": [kernels_by_torch_func, kernels_in_float32, kernels_as_a_list],
    "constant-mode": [constant_by_torch, constant_by_power_iteration],
    "train-hidden": [training_in_float32, training_by_an_optimizer],
}

WRONG = {
    "batch-norm": [
        norm_with_n_minus_one,
        norm_of_the_layer,
        norm_over_everything,
        norm_without_the_root,
        norm_with_eps_outside_the_root,
        norm_not_centred,
        norm_of_a_unit_vector,
    ],
    "batch-norm-jacobian": [
        jacobian_without_the_variance,
        jacobian_without_the_mean,
        jacobian_with_frozen_statistics,
        jacobian_without_sigma,
        jacobian_with_a_missing_n,
        jacobian_over_the_variance,
        jacobian_with_n_minus_one,
    ],
    "layer-kernels": [
        kernels_summed,
        kernels_with_frozen_statistics,
        kernels_with_frozen_variance,
        kernels_that_ignore_norm,
        kernels_never_normalised,
        kernels_over_n,
        kernels_in_standard_parameterisation,
        kernels_readout_first,
    ],
    "constant-mode": [
        constant_of_the_smallest,
        constant_not_divided,
        constant_mean_entry,
        constant_cosine_not_squared,
        constant_of_a_row,
        constant_of_a_long_vector,
    ],
    "train-hidden": [
        training_both_layers,
        training_on_the_sum,
        training_without_the_half,
        training_uphill,
        training_one_step_short,
        training_with_frozen_statistics,
        training_with_lengths_not_squared,
        training_with_lengths_of_columns,
    ],
}


# Independent values: the framework's layer, finite differences, and a step through the kernel's square root


def norm_of_a_module(z, eps=0.0):
    columns = z.reshape(len(z), -1)
    layer = nn.BatchNorm1d(columns.shape[1], eps=eps or TINY, affine=False).double()
    return layer(columns).reshape(z.shape)


def jacobian_by_differences(z):
    size = 1e-5 * float(z.std())
    steps = [
        (norm_of_a_module(z + h) - norm_of_a_module(z - h)) / (2 * size) for h in size * torch.eye(len(z))
    ]
    return torch.stack(steps, dim=1)


class _Scaled(nn.Linear):
    """A linear layer in NTK parameterisation, without bias."""

    def forward(self, x):
        return super().forward(x) / self.in_features**0.5


class _Activation(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def kernels_of_modules(x, weights, readout, activation=torch.relu, norm="hidden"):
    layers, linear = [], []
    for weight in [*weights, readout[None]]:
        linear.append(_Scaled(weight.shape[1], weight.shape[0], bias=False).double())
        linear[-1].weight.data = weight.clone()
        layers.append(linear[-1])
        last = weight.shape[0] == 1 and len(linear) > len(weights)
        if norm == ("output" if last else "hidden"):
            layers.append(nn.BatchNorm1d(weight.shape[0], eps=TINY, affine=False).double())
        if not last:
            layers.append(_Activation(activation))
    net, kernels = nn.Sequential(*layers), []
    for layer in linear:
        rows = []
        for i in range(len(x)):
            net.zero_grad()
            net(x)[i, 0].backward()
            rows.append(layer.weight.grad.flatten().clone())
        kernels.append(torch.stack(rows) @ torch.stack(rows).T)
    return torch.stack(kernels)


def constant_by_singular_values(kernel):
    left, values, _ = np.linalg.svd(kernel)
    return values[0], len(kernel) * kernel.mean(), len(kernel) * left[:, 0].mean() ** 2


def training_by_the_formula(x, y, weight, readout, learning_rate, steps):
    """The gradient written out neuron by neuron: a_j X' P_j D_j (f - y) / (sigma_j n sqrt(m d))."""
    x, y, weight, readout = (part.numpy() for part in (x, y, weight, readout))
    n, d = x.shape
    m = len(readout)
    for step in range(steps + 1):
        z = x @ weight.T / np.sqrt(d)
        sigma = z.std(0)
        zhat = (z - z.mean(0)) / sigma
        f = np.maximum(zhat, 0) @ readout / np.sqrt(m)
        if step == steps:
            return f, (weight**2).sum(1)
        back = (f - y)[:, None] * (zhat > 0)
        back = back - back.mean(0) - zhat * (zhat * back).mean(0)
        weight = weight - learning_rate * (readout / sigma)[:, None] * (back.T @ x) / (n * np.sqrt(m * d))
    return None


ORACLES = {
    "batch-norm": norm_of_a_module,
    "batch-norm-jacobian": jacobian_by_differences,
    "layer-kernels": kernels_of_modules,
    "constant-mode": constant_by_singular_values,
    "train-hidden": training_by_the_formula,
}
