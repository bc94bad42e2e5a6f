"""Attempts at the problem limits/reading_chizat_bach: right ones that must pass, wrong ones that must not."""

from __future__ import annotations

import copy

import numpy as np
import torch

import ntklab.feature_learning as fl
from exercises import kit

# criterion


def derivatives(model, x):
    """Output, gradient and Hessian (p, p) at one point, by two rounds of autograd."""
    parameters = list(model.parameters())
    output = model(x).squeeze()
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(output, parameters, create_graph=True)])
    rows = []
    for entry in gradient:
        if not entry.requires_grad:
            rows.append(torch.zeros_like(gradient))
            continue
        parts = torch.autograd.grad(entry, parameters, retain_graph=True, allow_unused=True)
        zeros = [torch.zeros_like(p) for p in parameters]
        rows.append(torch.cat([(z if p is None else p).flatten() for p, z in zip(parts, zeros, strict=True)]))
    return output.item(), gradient.detach(), torch.stack(rows).detach()


def criterion_by_autograd(model, x, y, alpha):
    f, g, h = derivatives(model, x)
    return abs(alpha * f - y) * torch.linalg.matrix_norm(h, 2).item() / g.dot(g).item() / alpha


def criterion_in_float32(model, x, y, alpha):
    f, g, h = derivatives(model, x)
    return (
        torch.tensor(abs(f - y / alpha)).float() * torch.linalg.svdvals(h.float())[0] / (g.float() ** 2).sum()
    )


def gradient_not_squared(model, x, y, alpha):
    f, g, h = derivatives(model, x)
    return abs(f - y / alpha) * torch.linalg.matrix_norm(h, 2).item() / g.norm().item()


def frobenius_norm_of_the_hessian(model, x, y, alpha):
    f, g, h = derivatives(model, x)
    return abs(f - y / alpha) * h.norm().item() / g.dot(g).item()


def trace_of_the_hessian(model, x, y, alpha):
    f, g, h = derivatives(model, x)
    return abs(f - y / alpha) * abs(h.trace().item()) / g.dot(g).item()


def without_one_over_alpha(model, x, y, alpha):
    return alpha * criterion_by_autograd(model, x, y, alpha)


def residual_of_the_unscaled_model(model, x, y, alpha):
    f, g, h = derivatives(model, x)
    return abs(f - y) * torch.linalg.matrix_norm(h, 2).item() / g.dot(g).item() / alpha


def centred_model(model, x, y, alpha):
    _, g, h = derivatives(model, x)
    return abs(y) * torch.linalg.matrix_norm(h, 2).item() / g.dot(g).item() / alpha


# relative_change


def flat(parts):
    return torch.cat([torch.as_tensor(part).detach().flatten().double() for part in parts])


def change_in_numpy(before, after):
    before, after = flat(before).numpy(), flat(after).numpy()
    return np.linalg.norm(after - before) / np.linalg.norm(before)


def change_in_float32(before, after):
    return (flat(after).float() - flat(before).float()).norm() / flat(before).float().norm()


def change_not_relative(before, after):
    return (flat(after) - flat(before)).norm()


def change_relative_to_the_end(before, after):
    return (flat(after) - flat(before)).norm() / flat(after).norm()


def change_averaged_over_tensors(before, after):
    pairs = zip(before, after, strict=True)
    return float(np.mean([(b - a).norm().item() / a.norm().item() for a, b in pairs]))


def change_squared(before, after):
    return change_in_numpy(before, after) ** 2


# scaled_training


def train(
    alpha,
    model,
    x,
    y,
    x_test,
    rate,
    steps,
    *,
    power=2,
    centre=True,
    scale_test=True,
    per_sample=True,
    over=None,
):
    """Gradient descent on the scaled model, with some of its factors open to mistakes."""
    net = model if over else copy.deepcopy(model)
    before = [p.detach().clone() for p in model.parameters()]
    start, start_test = model(x).detach() * centre, model(x_test).detach() * centre
    optimizer = torch.optim.SGD(net.parameters(), lr=rate / alpha**power)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = ((alpha * (net(x) - start) - y) ** 2).sum() / 2 / (len(x) if per_sample else 1)
        loss.backward()
        optimizer.step()
    outputs = (alpha if scale_test else 1) * (net(x_test) - start_test)
    return outputs.detach(), change_in_numpy(before, list(net.parameters()))


def training_by_sgd(alpha, model, x, y, x_test, learning_rate, steps):
    return train(alpha, model, x, y, x_test, learning_rate, steps)


def training_by_the_kit(alpha, model, x, y, x_test, learning_rate, steps):
    """With targets y / alpha + f_0 and the plain rate the parameters take the same path."""
    end = kit.trained(model, x, y / alpha + model(x).detach(), learning_rate, steps)
    change = change_in_numpy(list(model.parameters()), list(end.parameters()))
    return (alpha * (end(x_test) - model(x_test))).detach().numpy()[:, 0], change


def training_as_a_list_in_float32(alpha, model, x, y, x_test, learning_rate, steps):
    outputs, change = train(alpha, model, x, y, x_test, learning_rate, steps)
    return [outputs.float(), torch.tensor(change).float()]


def rate_without_alpha(alpha, model, x, y, x_test, learning_rate, steps):
    return train(alpha, model, x, y, x_test, learning_rate, steps, power=0)


def rate_over_alpha(alpha, model, x, y, x_test, learning_rate, steps):
    return train(alpha, model, x, y, x_test, learning_rate, steps, power=1)


def not_centred(alpha, model, x, y, x_test, learning_rate, steps):
    return train(alpha, model, x, y, x_test, learning_rate, steps, centre=False)


def outputs_not_scaled(alpha, model, x, y, x_test, learning_rate, steps):
    return train(alpha, model, x, y, x_test, learning_rate, steps, scale_test=False)


def loss_without_one_over_n(alpha, model, x, y, x_test, learning_rate, steps):
    return train(alpha, model, x, y, x_test, learning_rate, steps, per_sample=False)


def one_step_too_many(alpha, model, x, y, x_test, learning_rate, steps):
    return train(alpha, model, x, y, x_test, learning_rate, steps + 1)


def model_trained_in_place(alpha, model, x, y, x_test, learning_rate, steps):
    return train(alpha, model, x, y, x_test, learning_rate, steps, over=True)


RIGHT = {
    "criterion": [criterion_by_autograd, criterion_in_float32],
    "relative-change": [change_in_numpy, change_in_float32],
    "scaled-training": [training_by_sgd, training_by_the_kit, training_as_a_list_in_float32],
}

WRONG = {
    "criterion": [
        gradient_not_squared,
        frobenius_norm_of_the_hessian,
        trace_of_the_hessian,
        without_one_over_alpha,
        residual_of_the_unscaled_model,
        centred_model,
    ],
    "relative-change": [
        change_not_relative,
        change_relative_to_the_end,
        change_averaged_over_tensors,
        change_squared,
    ],
    "scaled-training": [
        rate_without_alpha,
        rate_over_alpha,
        not_centred,
        outputs_not_scaled,
        loss_without_one_over_n,
        one_step_too_many,
        model_trained_in_place,
    ],
}


# Independent values


def criterion_by_power_iteration(model, x, y, alpha):
    """Hessian-vector products only; the norm is the root of the largest eigenvalue of the squared Hessian."""
    parameters = list(model.parameters())
    output = model(x).squeeze()
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(output, parameters, create_graph=True)])
    basis = torch.eye(len(gradient), dtype=gradient.dtype)
    hessian = torch.stack(
        [
            torch.cat(
                [
                    (torch.zeros_like(p) if part is None else part).flatten()
                    for p, part in zip(
                        parameters,
                        torch.autograd.grad(gradient @ e, parameters, retain_graph=True, allow_unused=True),
                        strict=True,
                    )
                ]
            )
            for e in basis
        ]
    )
    square = (hessian @ hessian).detach()
    power = square / square.trace()
    logarithm = square.trace().log()
    for k in range(1, 31):
        power = power @ power
        logarithm = logarithm + power.trace().log() / 2**k
        power = power / power.trace()
    norm = (logarithm / 2).exp()
    return ((alpha * output - y).abs() * norm / (gradient**2).sum() / alpha).item()


def change_entry_by_entry(before, after):
    before, after = flat(before).numpy(), flat(after).numpy()
    return np.hypot.reduce(after - before) / np.hypot.reduce(before)


def training_by_the_package(alpha, model, x, y, x_test, learning_rate, steps):
    """The package's scaled module, descended by torch's own optimiser."""
    net = copy.deepcopy(model)
    scaled = fl.LazyScaled(net, alpha)
    optimizer = torch.optim.SGD(net.parameters(), lr=learning_rate / alpha**2)
    for _ in range(steps):
        optimizer.zero_grad()
        ((scaled(x) - y).square().mean() / 2).backward()
        optimizer.step()
    return scaled(x_test).detach(), change_entry_by_entry(list(model.parameters()), list(net.parameters()))


ORACLES = {
    "criterion": criterion_by_power_iteration,
    "relative-change": change_entry_by_entry,
    "scaled-training": training_by_the_package,
}
