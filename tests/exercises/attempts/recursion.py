"""Attempts at the problem infinite_width/recursion: right ones that must pass, wrong ones that must not."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import integrate

import ntklab as nl
from exercises import kit


def with_slope(activation, z):
    return torch.func.jvp(activation, (z,), (torch.ones_like(z),))


def broadcast(*values):
    return torch.broadcast_tensors(*(torch.as_tensor(value, dtype=torch.float64) for value in values))


def plane(a, b, c, x, y):
    """u and v (..., nodes, nodes) with the right covariance from independent standard normal x and y."""
    a, b, c = (value[..., None, None] for value in broadcast(a, b, c))
    rho = (c / (a * b).sqrt()).clamp(-1, 1)
    return a.sqrt() * (x + 0 * y), b.sqrt() * (rho * x + (1 - rho**2).sqrt() * y)


def mean_products(activation, u, v, weights):
    (f, df), (g, dg) = with_slope(activation, u), with_slope(activation, v)
    return (weights * f * g).sum((-1, -2)), (weights * df * dg).sum((-1, -2))


def legendre(low, high, nodes=60):
    """Nodes and weights on [low, high], which may be tensors: a last axis is added."""
    t, w = (torch.tensor(part) for part in np.polynomial.legendre.leggauss(nodes))
    half = (torch.as_tensor(high) - torch.as_tensor(low))[..., None] / 2
    return torch.as_tensor(low)[..., None] + half * (1 + t), half * w


# Task 1, right


def by_halves(activation, a, b, c):
    """First u, then v given u, each cut where it changes sign."""
    a, b, c = broadcast(a, b, c)
    rho = (c / (a * b).sqrt()).clamp(-1, 1)[..., None]
    s = (1 - rho**2).sqrt() + 1e-15
    total = [0.0, 0.0]
    ten = torch.tensor(10.0, dtype=torch.float64)
    for low, high in ((-ten, 0 * ten), (0 * ten, ten)):
        x, x_weight = legendre(low, high)
        cut = (-rho * x / s).clamp(-10, 10)
        for below, above in ((-ten.expand_as(cut), cut), (cut, ten.expand_as(cut))):
            y, y_weight = legendre(below, above)
            density = torch.exp(-(x[:, None] ** 2 + y**2) / 2) / (2 * math.pi)
            v = b.sqrt()[..., None, None] * (rho[..., None] * x[:, None] + s[..., None] * y)
            u = a.sqrt()[..., None, None] * x[:, None].expand_as(v)
            parts = mean_products(activation, u, v, density * x_weight[:, None] * y_weight)
            total = [old + new for old, new in zip(total, parts, strict=True)]
    return total


def by_arcs_in_float32(activation, a, b, c):
    a, b, c = (value.double() for value in broadcast(a, b, c))
    theta = (c / (a * b).sqrt()).clamp(-1, 1).acos()
    moment = slope = 0.0
    r, r_weight = legendre(torch.tensor(0.0), torch.tensor(9.0), 40)
    density = (r_weight * r * torch.exp(-(r**2) / 2) / (2 * math.pi)).float()
    starts = (theta - math.pi / 2, theta * 0 + math.pi / 2, theta + math.pi / 2, theta * 0 + 1.5 * math.pi)
    for start, length in zip(starts, (math.pi - theta, theta) * 2, strict=True):
        angle, weight = legendre(start, start + length, 40)
        u = (a.sqrt()[..., None] * angle.cos()).float()[..., None] * r.float()
        v = (b.sqrt()[..., None] * (angle - theta[..., None]).cos()).float()[..., None] * r.float()
        parts = mean_products(activation, u, v, weight.float()[..., None] * density)
        moment, slope = moment + parts[0], slope + parts[1]
    return moment, slope


def closed_forms_and_gauss_hermite(activation, a, b, c):
    """ReLU and the absolute value by their formulas, smooth activations in the plane; in numpy."""
    a, b, c = broadcast(a, b, c)
    scale = (a * b).sqrt()
    theta = (c / scale).clamp(-1, 1).acos()
    if activation is torch.relu:
        first = scale * (theta.sin() + (math.pi - theta) * theta.cos()) / (2 * math.pi)
        return first.numpy(), ((math.pi - theta) / (2 * math.pi)).numpy()
    if activation is torch.abs:
        first = 2 * scale * (theta.sin() + (math.pi / 2 - theta) * theta.cos()) / math.pi
        return first.numpy(), (1 - 2 * theta / math.pi).numpy()
    return tuple(part.numpy() for part in gauss_hermite(activation, a, b, c, nodes=150))


# Task 1, wrong


def gauss_hermite(activation, a, b, c, nodes=40):
    z, weights = (torch.tensor(part) for part in np.polynomial.hermite_e.hermegauss(nodes))
    weights = weights / weights.sum()
    u, v = plane(a, b, c, z[:, None], z)
    return mean_products(activation, u, v, weights[:, None] * weights)


def monte_carlo(activation, a, b, c):
    draws = torch.tensor(np.random.default_rng(0).standard_normal((2, 1, 2000)))
    u, v = plane(a, b, c, *draws)
    return mean_products(activation, u, v, 1 / 2000)


def only_where_both_are_positive(activation, a, b, c):
    a, b, c = broadcast(a, b, c)
    theta = (c / (a * b).sqrt()).clamp(-1, 1).acos()
    r, r_weight = legendre(torch.tensor(0.0), torch.tensor(9.0), 40)
    angle, weight = legendre(theta - math.pi / 2, theta * 0 + math.pi / 2, 40)
    u = (a.sqrt()[..., None] * angle.cos())[..., None] * r
    v = (b.sqrt()[..., None] * (angle - theta[..., None]).cos())[..., None] * r
    density = r_weight * r * torch.exp(-(r**2) / 2) / (2 * math.pi)
    return mean_products(activation, u, v, weight[..., None] * density)


def independent_units(activation, a, b, c):
    return by_halves(activation, a, b, 0 * torch.as_tensor(c))


def variances_for_deviations(activation, a, b, c):
    a, b, c = broadcast(a, b, c)
    return by_halves(activation, a**2, b**2, c * (a * b).sqrt())


def covariance_for_correlation(activation, a, b, c):
    a, b, c = broadcast(a, b, c)
    return by_halves(activation, a, b, c.clamp(-1, 1) * (a * b).sqrt())


def slopes_of_one_unit_only(activation, a, b, c):
    moment, _ = by_halves(activation, a, b, c)
    a, b, c = broadcast(a, b, c)
    return moment, by_halves(activation, a, a, a)[1]


def averages_the_wrong_way_round(activation, a, b, c):
    return by_halves(activation, a, b, c)[::-1]


# Task 3, right


def exact_dual(activation, a, b, c):
    return by_halves(activation, a, b, c)


def step(activation, nngp, ntk, weight_variance, bias_variance):
    diagonal = torch.diagonal(nngp)
    moment, slope = exact_dual(activation, diagonal[:, None], diagonal[None], nngp)
    new = weight_variance * moment + bias_variance
    return new, new + weight_variance * slope * ntk


def step_entry_by_entry(activation, nngp, ntk, weight_variance, bias_variance):
    result = np.empty((2, *nngp.shape))
    for i, j in np.ndindex(*nngp.shape):
        moment, slope = exact_dual(activation, nngp[i, i], nngp[j, j], nngp[i, j])
        result[0, i, j] = weight_variance * moment + bias_variance
        result[1, i, j] = result[0, i, j] + weight_variance * slope * ntk[i, j]
    return result


def step_in_float32(activation, nngp, ntk, weight_variance, bias_variance):
    return [part.float() for part in step(activation, nngp, ntk, weight_variance, bias_variance)]


# Task 3, wrong


def averages_of(activation, nngp):
    diagonal = nngp.diagonal()
    return exact_dual(activation, diagonal[:, None], diagonal, nngp)


def printed_step(activation, nngp, ntk, weight_variance, bias_variance):
    moment, slope = averages_of(activation, nngp)
    new = weight_variance * moment + bias_variance
    return new, new * slope + ntk * moment


def step_without_the_slopes_variance(activation, nngp, ntk, weight_variance, bias_variance):
    moment, slope = averages_of(activation, nngp)
    new = weight_variance * moment + bias_variance
    return new, new + slope * ntk


def step_that_adds_the_old_nngp_kernel(activation, nngp, ntk, weight_variance, bias_variance):
    new, above = step(activation, nngp, ntk, weight_variance, bias_variance)
    return new, above - new + nngp


def step_without_bias_in_theta(activation, nngp, ntk, weight_variance, bias_variance):
    new, above = step(activation, nngp, ntk, weight_variance, bias_variance)
    return new, above - bias_variance


def step_without_own_parameters(activation, nngp, ntk, weight_variance, bias_variance):
    new, above = step(activation, nngp, ntk, weight_variance, bias_variance)
    return new, above - new


def step_with_unit_variances(activation, nngp, ntk, weight_variance, bias_variance):
    scale = nngp.diagonal().sqrt()
    return step(activation, nngp / scale[:, None] / scale, ntk, weight_variance, bias_variance)


# Task 4, right


def first_kernel(x, weight_variance, bias_variance):
    return weight_variance * x @ x.T / x.shape[1] + bias_variance


def deep(x, depth, activation, weight_variance, bias_variance, trained=None):
    trained = trained or [True] * (depth + 1)
    nngp = first_kernel(x, weight_variance, bias_variance)
    ntk = nngp if trained[0] else torch.zeros_like(nngp)
    for own in trained[1:]:
        moment, slope = averages_of(activation, nngp)
        nngp = weight_variance * moment + bias_variance
        ntk = weight_variance * slope * ntk
        if own:
            ntk = ntk + nngp
    return nngp, ntk


def deep_as_a_sum_over_layers(x, depth, activation, weight_variance, bias_variance, trained=None):
    """Every layer's kernel times the slopes of all layers above it; in numpy."""
    trained = trained or [True] * (depth + 1)
    kernels, slopes = [first_kernel(x, weight_variance, bias_variance)], []
    for _ in range(depth):
        moment, slope = averages_of(activation, kernels[-1])
        kernels.append(weight_variance * moment + bias_variance)
        slopes.append(weight_variance * slope)
    total = np.zeros(kernels[0].shape)
    for k, own in enumerate(trained):
        if own:
            total += math.prod([part.numpy() for part in slopes[k:]], start=kernels[k].numpy())
    return kernels[-1].numpy(), total


# Task 4, wrong


def deep_with_a_start_at_zero(x, depth, activation, weight_variance, bias_variance, trained=None):
    mask = [False, *(trained or [True] * (depth + 1))[1:]]
    return deep(x, depth, activation, weight_variance, bias_variance, mask)


def deep_with_a_start_at_the_inner_product(
    x, depth, activation, weight_variance, bias_variance, trained=None
):
    nngp = ntk = x @ x.T
    for _ in range(depth):
        nngp, ntk = step(activation, nngp, ntk, weight_variance, bias_variance)
    return nngp, ntk


def deep_with_one_layer_too_many(x, depth, activation, weight_variance, bias_variance, trained=None):
    mask = [*(trained or [True] * (depth + 1)), True]
    return deep(x, depth + 1, activation, weight_variance, bias_variance, mask)


def deep_with_the_mask_reversed(x, depth, activation, weight_variance, bias_variance, trained=None):
    mask = (trained or [True] * (depth + 1))[::-1]
    return deep(x, depth, activation, weight_variance, bias_variance, mask)


def deep_with_frozen_layers_that_block(x, depth, activation, weight_variance, bias_variance, trained=None):
    mask = list(trained or [True] * (depth + 1))
    for k in range(depth, -1, -1):
        if not mask[k]:
            mask[: k + 1] = [False] * (k + 1)
            break
    return deep(x, depth, activation, weight_variance, bias_variance, mask)


def deep_that_ignores_the_mask(x, depth, activation, weight_variance, bias_variance, trained=None):
    return deep(x, depth, activation, weight_variance, bias_variance)


def deep_with_the_printed_recursion(x, depth, activation, weight_variance, bias_variance, trained=None):
    nngp = ntk = first_kernel(x, weight_variance, bias_variance)
    for _ in range(depth):
        nngp, ntk = printed_step(activation, nngp, ntk, weight_variance, bias_variance)
    return nngp, ntk


# Task 6, right


def residual(x, blocks, activation, weight_variance, bias_variance):
    nngp = ntk = first_kernel(x, weight_variance, bias_variance)
    for block in range(blocks + 1):
        moment, slope = averages_of(activation, nngp)
        own = weight_variance * moment + bias_variance
        below = weight_variance * slope * ntk
        nngp, ntk = (nngp + own, ntk + own + below) if block < blocks else (own, own + below)
    return nngp, ntk


def residual_in_numpy(x, blocks, activation, weight_variance, bias_variance):
    return np.array(
        [part.numpy() for part in residual(x, blocks, activation, weight_variance, bias_variance)]
    )


# Task 6, wrong


def residual_without_shortcuts(x, blocks, activation, weight_variance, bias_variance):
    return deep(x, blocks + 1, activation, weight_variance, bias_variance)


def residual_with_a_shortcut_in_the_nngp_kernel_only(x, blocks, activation, weight_variance, bias_variance):
    nngp = ntk = first_kernel(x, weight_variance, bias_variance)
    for _ in range(blocks):
        own, below = step(activation, nngp, ntk, weight_variance, bias_variance)
        nngp, ntk = nngp + own, below
    return step(activation, nngp, ntk, weight_variance, bias_variance)


def residual_that_adds_the_nngp_kernel_twice(x, blocks, activation, weight_variance, bias_variance):
    nngp = ntk = first_kernel(x, weight_variance, bias_variance)
    for _ in range(blocks):
        own, below = step(activation, nngp, ntk, weight_variance, bias_variance)
        nngp, ntk = nngp + own, nngp + own + below
    return step(activation, nngp, ntk, weight_variance, bias_variance)


def residual_around_the_readout_too(x, blocks, activation, weight_variance, bias_variance):
    nngp = ntk = first_kernel(x, weight_variance, bias_variance)
    for _ in range(blocks + 1):
        own, below = step(activation, nngp, ntk, weight_variance, bias_variance)
        nngp, ntk = nngp + own, ntk + below
    return nngp, ntk


def residual_with_a_block_missing(x, blocks, activation, weight_variance, bias_variance):
    return residual(x, max(blocks - 1, 0), activation, weight_variance, bias_variance)


def residual_with_averaged_branches(x, blocks, activation, weight_variance, bias_variance):
    nngp = ntk = first_kernel(x, weight_variance, bias_variance)
    for _ in range(blocks):
        own, below = step(activation, nngp, ntk, weight_variance, bias_variance)
        nngp, ntk = (nngp + own) / 2, (ntk + below) / 2
    return step(activation, nngp, ntk, weight_variance, bias_variance)


# Task 8, right


def line_values(activation, variance):
    """E phi^2 and E phi'^2 on a fine grid of the line; midpoints, so that 0 is not among them."""
    z = (torch.arange(40_000, dtype=torch.float64) + 0.5) / 2000 - 10
    density = torch.exp(-(z**2) / 2) / (2000 * math.sqrt(2 * math.pi))
    value, slope = with_slope(activation, variance**0.5 * z)
    return float((density * value**2).sum()), float((density * slope**2).sum())


def critical_on_the_line(activation, variance):
    moment, slope = line_values(activation, variance)
    return np.array([1 / slope, variance - moment / slope])


def critical_as_tensors(activation, variance):
    moment, slope = exact_dual(activation, variance, variance, variance)
    return 1 / slope, variance - moment / slope


# Task 8, wrong


def critical_deviations(activation, variance):
    return np.sqrt(np.maximum(critical_on_the_line(activation, variance), 0))


def critical_for_the_variance(activation, variance):
    moment, _ = line_values(activation, variance)
    return variance / moment, 0.0


def critical_with_an_unweighted_moment(activation, variance):
    moment, slope = line_values(activation, variance)
    return 1 / slope, variance - moment


def critical_at_unit_variance(activation, variance):
    moment, slope = line_values(activation, 1.0)
    return 1 / slope, variance - moment / slope


def critical_by_the_mean_slope(activation, variance):
    z = (torch.arange(40_000, dtype=torch.float64) + 0.5) / 2000 - 10
    density = torch.exp(-(z**2) / 2) / (2000 * math.sqrt(2 * math.pi))
    value, slope = with_slope(activation, variance**0.5 * z)
    mean = float((density * slope.abs()).sum())
    return 1 / mean, variance - float((density * value**2).sum()) / mean


RIGHT = {
    "dual": [by_halves, by_arcs_in_float32, closed_forms_and_gauss_hermite],
    "recursion-step": [step, step_entry_by_entry, step_in_float32],
    "deep-ntk": [deep, deep_as_a_sum_over_layers],
    "residual-ntk": [residual, residual_in_numpy],
    "critical-variances": [critical_on_the_line, critical_as_tensors],
}

WRONG = {
    "dual": [
        gauss_hermite,
        monte_carlo,
        only_where_both_are_positive,
        independent_units,
        variances_for_deviations,
        covariance_for_correlation,
        slopes_of_one_unit_only,
        averages_the_wrong_way_round,
    ],
    "recursion-step": [
        printed_step,
        step_without_the_slopes_variance,
        step_that_adds_the_old_nngp_kernel,
        step_without_bias_in_theta,
        step_without_own_parameters,
        step_with_unit_variances,
    ],
    "deep-ntk": [
        deep_with_a_start_at_zero,
        deep_with_a_start_at_the_inner_product,
        deep_with_one_layer_too_many,
        deep_with_the_mask_reversed,
        deep_with_frozen_layers_that_block,
        deep_that_ignores_the_mask,
        deep_with_the_printed_recursion,
    ],
    "residual-ntk": [
        residual_without_shortcuts,
        residual_with_a_shortcut_in_the_nngp_kernel_only,
        residual_that_adds_the_nngp_kernel_twice,
        residual_around_the_readout_too,
        residual_with_a_block_missing,
        residual_with_averaged_branches,
    ],
    "critical-variances": [
        critical_deviations,
        critical_for_the_variance,
        critical_with_an_unweighted_moment,
        critical_at_unit_variance,
        critical_by_the_mean_slope,
    ],
}


# Independent values: the package's closed forms and Hermite series, its architectures, adaptive quadrature

_LAYERS = {
    kit.ACTIVATIONS["relu"]: nl.ReLU(),
    kit.ACTIVATIONS["abs"]: nl.Abs(),
    kit.ACTIVATIONS["erf"]: nl.Erf(),
    kit.ACTIVATIONS["gelu"]: nl.GELU(),
    kit.ACTIVATIONS["sin"]: nl.Sin(),
    kit.ACTIVATIONS["cos"]: nl.Cos(),
    kit.ACTIVATIONS["tanh"]: nl.Elementwise(torch.tanh),
    kit.ACTIVATIONS["softplus"]: nl.Elementwise(torch.nn.functional.softplus),
}


def dual_of_the_package(activation, a, b, c):
    a, b, c = broadcast(a, b, c)
    shape = a.shape
    a, b, c = a.flatten(), b.flatten(), c.flatten()
    rho = (c / (a * b).sqrt()).clamp(-1, 1)
    parts = _LAYERS[activation].dual(rho, a.sqrt(), b.sqrt())
    return [part.reshape(shape) for part in parts]


def step_of_the_package(activation, nngp, ntk, weight_variance, bias_variance):
    """A network whose first pre-activations have the covariance `nngp`; its NTK minus its NNGP kernel is
    weight_variance E phi' phi' times `nngp`."""
    x = torch.linalg.cholesky(nngp)
    first = nl.Dense(x.shape[1] ** 0.5)
    arch = nl.Sequential(first, _LAYERS[activation], nl.Dense(weight_variance**0.5, bias_variance**0.5))
    kernels = arch.kernel(x)
    return kernels.nngp, kernels.nngp + (kernels.ntk - kernels.nngp) / nngp * ntk


def deep_of_the_package(x, depth, activation, weight_variance, bias_variance, trained=None):
    scales = weight_variance**0.5, bias_variance**0.5
    trained = trained or [True] * (depth + 1)
    layers = [nl.Dense(*scales, trainable=trained[0])]
    for own in trained[1:]:
        layers += [_LAYERS[activation], nl.Dense(*scales, trainable=own)]
    return tuple(nl.Sequential(*layers).kernel(x))


def residual_of_the_package(x, blocks, activation, weight_variance, bias_variance):
    dense, phi = nl.Dense(weight_variance**0.5, bias_variance**0.5), _LAYERS[activation]
    return tuple(nl.Sequential(dense, *[nl.Residual(phi, dense)] * blocks, phi, dense).kernel(x))


def critical_by_adaptive_quadrature(activation, variance):
    def mean(index):
        def integrand(z):
            part = with_slope(activation, torch.tensor(variance**0.5 * z, dtype=torch.float64))[index]
            return float(part) ** 2 * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

        return sum(integrate.quad(integrand, *ends, limit=200)[0] for ends in ((-12, 0), (0, 12)))

    return 1 / mean(1), variance - mean(0) / mean(1)


ORACLES = {
    "dual": dual_of_the_package,
    "recursion-step": step_of_the_package,
    "deep-ntk": deep_of_the_package,
    "residual-ntk": residual_of_the_package,
    "critical-variances": critical_by_adaptive_quadrature,
}
