"""Attempts at the problem infinite_width/two_layer_relu: right ones that must pass, wrong ones that must not."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import stats

import ntklab as nl

# Task 2, right


def angle_of(a, b, c):
    return np.arccos(np.clip(c / np.sqrt(a * b), -1, 1))


def averages(a, b, c):
    angle, scale = angle_of(a, b, c), np.sqrt(np.multiply(a, b))
    first = scale * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)
    return first, (np.pi - angle) / (2 * np.pi)


def averages_in_torch(a, b, c):
    a, b, c = (torch.as_tensor(value, dtype=torch.float64) for value in (a, b, c))
    scale = (a * b).sqrt()
    angle = (c / scale).clamp(-1, 1).acos()
    overlap = (math.pi - angle) / (2 * math.pi)
    return [scale * angle.sin() / (2 * math.pi) + c * overlap, overlap]


def averages_in_float32(a, b, c):
    return averages(*(np.asarray(value, dtype=np.float32) for value in (a, b, c)))


def averages_one_by_one(a, b, c):
    triples = np.broadcast(a, b, c)
    values = []
    for one, two, both in triples:
        cosine = max(-1.0, min(1.0, both / math.sqrt(one * two)))
        rest = math.pi - math.acos(cosine)
        root = math.sqrt(1 - cosine**2)
        values.append([math.sqrt(one * two) * (root + rest * cosine) / (2 * math.pi), rest / (2 * math.pi)])
    return np.array(values).T.reshape(2, *triples.shape)


# Task 2, wrong


def averages_of_unit_variances(a, b, c):
    first, second = averages(a, b, c)
    return first / np.sqrt(np.multiply(a, b)), second


def averages_scaled_by_variances(a, b, c):
    first, second = averages(a, b, c)
    return first * np.sqrt(np.multiply(a, b)), second


def arc_cosine_kernels_without_one_half(a, b, c):
    return tuple(2 * value for value in averages(a, b, c))


def angle_without_its_complement(a, b, c):
    angle, scale = angle_of(a, b, c), np.sqrt(np.multiply(a, b))
    return scale * (np.sin(angle) + angle * np.cos(angle)) / (2 * np.pi), angle / (2 * np.pi)


def average_without_the_sine(a, b, c):
    angle, scale = angle_of(a, b, c), np.sqrt(np.multiply(a, b))
    return scale * (np.pi - angle) * np.cos(angle) / (2 * np.pi), (np.pi - angle) / (2 * np.pi)


def averages_without_clipping(a, b, c):
    scale = np.sqrt(np.multiply(a, b))
    with np.errstate(invalid="ignore"):
        angle = np.arccos(c / scale)
    first = scale * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)
    return first, (np.pi - angle) / (2 * np.pi)


def averages_that_take_deviations_for_variances(a, b, c):
    return averages(np.square(a), np.square(b), c)


# Task 4, right


def first_kernel(x1, x2, weight_variance, bias_variance):
    """K1 of all pairs, and the variances of both sets, as a column and a row."""
    d = x1.shape[1]
    cross = weight_variance * x1 @ x2.T / d + bias_variance
    one = weight_variance * (x1**2).sum(1) / d + bias_variance
    two = weight_variance * (x2**2).sum(1) / d + bias_variance
    return one[:, None], two[None, :], cross


def kernels(x1, x2, weight_variance, bias_variance):
    a, b, c = first_kernel(x1, x2, weight_variance, bias_variance)
    moment, slope = averages(a, b, c)
    nngp = weight_variance * moment + bias_variance
    return nngp, nngp + weight_variance * slope * c


def kernels_pair_by_pair(x1, x2, weight_variance, bias_variance):
    result = np.empty((2, len(x1), len(x2)))
    for i, j in np.ndindex(len(x1), len(x2)):
        pair = kernels(x1[i : i + 1], x2[j : j + 1], weight_variance, bias_variance)
        result[:, i, j] = np.ravel(pair)
    return result


def kernels_in_float32_tensors(x1, x2, weight_variance, bias_variance):
    x1, x2 = x1.astype(np.float32), x2.astype(np.float32)
    return torch.tensor(np.array(kernels(x1, x2, weight_variance, bias_variance), dtype=np.float32))


def kernels_by_a_constant_feature(x1, x2, weight_variance, bias_variance):
    """A bias is a weight on one more input."""
    d = x1.shape[1]
    x1, x2 = (
        np.column_stack([x * (weight_variance / d) ** 0.5, np.full(len(x), bias_variance**0.5)])
        for x in (x1, x2)
    )
    moment, slope = averages((x1**2).sum(1)[:, None], (x2**2).sum(1), x1 @ x2.T)
    nngp = weight_variance * moment + bias_variance
    return nngp, nngp + weight_variance * slope * (x1 @ x2.T)


# Task 4, wrong


def nngp_kernel_as_ntk(x1, x2, weight_variance, bias_variance):
    nngp, _ = kernels(x1, x2, weight_variance, bias_variance)
    return nngp, nngp


def hidden_part_as_ntk(x1, x2, weight_variance, bias_variance):
    nngp, ntk = kernels(x1, x2, weight_variance, bias_variance)
    return nngp, ntk - nngp


def twice_the_nngp_kernel_as_ntk(x1, x2, weight_variance, bias_variance):
    nngp, _ = kernels(x1, x2, weight_variance, bias_variance)
    return nngp, 2 * nngp


def ntk_before_nngp(x1, x2, weight_variance, bias_variance):
    return kernels(x1, x2, weight_variance, bias_variance)[::-1]


def kernels_without_the_number_of_inputs(x1, x2, weight_variance, bias_variance):
    d = x1.shape[1] ** 0.5
    return kernels(d * x1, d * x2, weight_variance, bias_variance)


def kernels_without_output_bias(x1, x2, weight_variance, bias_variance):
    return tuple(part - bias_variance for part in kernels(x1, x2, weight_variance, bias_variance))


def ntk_with_untrained_hidden_biases(x1, x2, weight_variance, bias_variance):
    a, b, c = first_kernel(x1, x2, weight_variance, bias_variance)
    nngp, _ = kernels(x1, x2, weight_variance, bias_variance)
    return nngp, nngp + weight_variance * averages(a, b, c)[1] * (c - bias_variance)


def kernels_with_one_weight_variance_forgotten(x1, x2, weight_variance, bias_variance):
    a, b, c = first_kernel(x1, x2, weight_variance, bias_variance)
    nngp, _ = kernels(x1, x2, weight_variance, bias_variance)
    return nngp, nngp + averages(a, b, c)[1] * c


def kernels_from_the_angle_of_the_inputs(x1, x2, weight_variance, bias_variance):
    a, b, c = first_kernel(x1, x2, weight_variance, bias_variance)
    norms = np.linalg.norm(x1, axis=1)[:, None] * np.linalg.norm(x2, axis=1) + 1e-300
    moment, slope = averages(a, b, np.sqrt(a * b) * (x1 @ x2.T) / norms)
    nngp = weight_variance * moment + bias_variance
    return nngp, nngp + weight_variance * slope * c


def kernels_of_deviations_for_variances(x1, x2, weight_variance, bias_variance):
    return kernels(x1, x2, weight_variance**2, bias_variance**2)


# Task 5, right


def parts(weights, x1, x2, weight_variance, bias_variance):
    w, b, a = (np.asarray(part) for part in weights)
    m, d = w.shape
    z1, z2 = (math.sqrt(weight_variance / d) * x @ w.T + math.sqrt(bias_variance) * b for x in (x1, x2))
    first = weight_variance / d * x1 @ x2.T + bias_variance
    hidden = weight_variance / m * np.einsum("im,jm,m->ij", z1 > 0, z2 > 0, a**2) * first
    readout = weight_variance / m * np.einsum("im,jm->ij", z1.clip(0), z2.clip(0)) + bias_variance
    return hidden, readout


def parts_by_gradients(weights, x1, x2, weight_variance, bias_variance):
    parameters = [torch.tensor(part, requires_grad=True) for part in (*weights, 0.0)]
    w, b, a, last = parameters
    rows = []
    for x in np.concatenate([x1, x2]):
        z = (weight_variance / len(x)) ** 0.5 * w @ torch.tensor(x) + bias_variance**0.5 * b
        f = (weight_variance / len(w)) ** 0.5 * a @ torch.relu(z) + bias_variance**0.5 * last
        rows.append([part.flatten() for part in torch.autograd.grad(f, parameters)])
    hidden = torch.stack([torch.cat(row[:2]) for row in rows])
    readout = torch.stack([torch.cat(row[2:]) for row in rows])
    return [part[: len(x1)] @ part[len(x1) :].T for part in (hidden, readout)]


def parts_in_float32(weights, x1, x2, weight_variance, bias_variance):
    return tuple(part.astype(np.float32) for part in parts(weights, x1, x2, weight_variance, bias_variance))


# Task 5, wrong


def parts_swapped(weights, x1, x2, weight_variance, bias_variance):
    return parts(weights, x1, x2, weight_variance, bias_variance)[::-1]


def parts_with_a_once(weights, x1, x2, weight_variance, bias_variance):
    w, b, a = weights
    return parts((w, b, np.abs(a) ** 0.5), x1, x2, weight_variance, bias_variance)


def parts_with_expected_readout(weights, x1, x2, weight_variance, bias_variance):
    w, b, a = weights
    return parts((w, b, np.ones_like(a)), x1, x2, weight_variance, bias_variance)


def parts_without_the_width(weights, x1, x2, weight_variance, bias_variance):
    hidden, readout = parts(weights, x1, x2, weight_variance, bias_variance)
    m = len(weights[2])
    return m * hidden, m * (readout - bias_variance) + bias_variance


def parts_without_hidden_biases(weights, x1, x2, weight_variance, bias_variance):
    hidden, readout = parts(weights, x1, x2, weight_variance, bias_variance)
    dot = weight_variance * x1 @ x2.T / x1.shape[1]
    return hidden / (dot + bias_variance) * dot, readout


def parts_without_output_bias(weights, x1, x2, weight_variance, bias_variance):
    hidden, readout = parts(weights, x1, x2, weight_variance, bias_variance)
    return hidden, readout - bias_variance


def parts_with_the_readout_weighted_too(weights, x1, x2, weight_variance, bias_variance):
    w, b, a = weights
    hidden, _ = parts(weights, x1, x2, weight_variance, bias_variance)
    z1, z2 = ((weight_variance / w.shape[1]) ** 0.5 * x @ w.T + bias_variance**0.5 * b for x in (x1, x2))
    outputs = np.einsum("im,jm,m->ij", z1.clip(0), z2.clip(0), a**2)
    return hidden, weight_variance * outputs / len(w) + bias_variance


def sum_and_readout(weights, x1, x2, weight_variance, bias_variance):
    hidden, readout = parts(weights, x1, x2, weight_variance, bias_variance)
    return hidden + readout, readout


# Task 6, right


def distances(samples, candidates):
    samples, candidates = np.asarray(samples), np.asarray(candidates)
    error = samples.std(0, ddof=1) / math.sqrt(len(samples))
    t = (samples.mean(0) - candidates) / error
    return np.sqrt(np.mean(t**2, axis=1))


def distances_in_torch(samples, candidates):
    samples, candidates = torch.as_tensor(samples), torch.as_tensor(candidates)
    t = (candidates - samples.mean(0)) / samples.std(0) * len(samples) ** 0.5
    return t.square().mean(1).sqrt()


def distances_one_by_one(samples, candidates):
    result = []
    for candidate in candidates:
        total = 0.0
        for column, value in zip(np.transpose(samples), candidate, strict=True):
            variance = sum((entry - column.mean()) ** 2 for entry in column) / (len(column) - 1)
            total += (column.mean() - value) ** 2 / (variance / len(column))
        result.append([math.sqrt(total / len(candidate))])
    return result


# Task 6, wrong


def distances_with_divisor_n(samples, candidates):
    return distances(samples, candidates) * math.sqrt(len(samples) / (len(samples) - 1))


def distances_in_standard_deviations(samples, candidates):
    return distances(samples, candidates) / math.sqrt(len(samples))


def distances_divided_by_n(samples, candidates):
    return distances(samples, candidates) * math.sqrt(len(samples))


def distances_by_the_signed_mean(samples, candidates):
    error = np.std(samples, axis=0, ddof=1) / math.sqrt(len(samples))
    return np.abs(((np.mean(samples, axis=0) - candidates) / error).mean(1))


def distances_summed(samples, candidates):
    return distances(samples, candidates) * np.shape(candidates)[1] ** 0.5


def distances_over_the_formulas(samples, candidates):
    error = np.std(samples, axis=0, ddof=1) / math.sqrt(len(samples))
    return np.sqrt((((np.mean(samples, axis=0) - candidates) / error) ** 2).mean(0))


RIGHT = {
    "expectations": [averages, averages_in_torch, averages_in_float32, averages_one_by_one],
    "relu-ntk": [
        kernels,
        kernels_pair_by_pair,
        kernels_in_float32_tensors,
        kernels_by_a_constant_feature,
    ],
    "hidden-and-readout-parts": [parts, parts_by_gradients, parts_in_float32],
    "standard-errors-off": [distances, distances_in_torch, distances_one_by_one],
}

WRONG = {
    "expectations": [
        averages_of_unit_variances,
        averages_scaled_by_variances,
        arc_cosine_kernels_without_one_half,
        angle_without_its_complement,
        average_without_the_sine,
        averages_without_clipping,
        averages_that_take_deviations_for_variances,
    ],
    "relu-ntk": [
        nngp_kernel_as_ntk,
        hidden_part_as_ntk,
        twice_the_nngp_kernel_as_ntk,
        ntk_before_nngp,
        kernels_without_the_number_of_inputs,
        kernels_without_output_bias,
        ntk_with_untrained_hidden_biases,
        kernels_with_one_weight_variance_forgotten,
        kernels_from_the_angle_of_the_inputs,
        kernels_of_deviations_for_variances,
    ],
    "hidden-and-readout-parts": [
        parts_swapped,
        parts_with_a_once,
        parts_with_expected_readout,
        parts_without_the_width,
        parts_without_hidden_biases,
        parts_without_output_bias,
        parts_with_the_readout_weighted_too,
        sum_and_readout,
    ],
    "standard-errors-off": [
        distances_with_divisor_n,
        distances_in_standard_deviations,
        distances_divided_by_n,
        distances_by_the_signed_mean,
        distances_summed,
        distances_over_the_formulas,
    ],
}


# Independent values: quadrature over the wedge, the package, its layers with one of them frozen, Student's t


def averages_by_quadrature(a, b, c):
    """Gauss-Legendre on the angles where both units are active; no antiderivative is used."""
    nodes, weights = np.polynomial.legendre.leggauss(30)
    a, b, c = np.broadcast_arrays(a, b, c)
    angle = angle_of(a, b, c)[..., None]
    half = (np.pi - angle) / 2
    direction = angle / 2 + half * nodes
    product = np.cos(direction) * np.cos(direction - angle)
    mean = [
        (half * weights * values).sum(-1) / (2 * np.pi) for values in (2 * product, np.ones_like(product))
    ]
    return np.sqrt(a * b) * mean[0], mean[1]


def kernels_of_the_package(x1, x2, weight_variance, bias_variance):
    dense = nl.Dense(weight_variance**0.5, bias_variance**0.5)
    return tuple(nl.Sequential(dense, nl.ReLU(), dense).kernel(x1, x2))


def parts_of_the_package(weights, x1, x2, weight_variance, bias_variance):
    """The package's network with these weights; the readout's part is what a frozen readout takes away."""
    scales = weight_variance**0.5, bias_variance**0.5
    values = [*weights[:2], weights[2][None], np.zeros(1)]
    kernels = []
    for trainable in (False, True):
        arch = nl.Sequential(nl.Dense(*scales), nl.ReLU(), nl.Dense(*scales, trainable=trainable))
        net = arch.finite(len(weights[0]), x1.shape[1:], seed=0, dtype=torch.float64)
        if bias_variance == 0:
            values = [value for value in values if value.ndim == 2]
        with torch.no_grad():
            for parameter, value in zip(net.parameters(), values, strict=True):
                parameter.copy_(torch.tensor(value))
        kernels.append(nl.empirical_ntk(net, torch.tensor(x1), torch.tensor(x2), method="jacobian"))
    return kernels[0], kernels[1] - kernels[0]


def distances_by_a_t_test(samples, candidates):
    t = np.array([stats.ttest_1samp(samples, candidate, axis=0).statistic for candidate in candidates])
    return np.sqrt((t**2).mean(1))


ORACLES = {
    "expectations": averages_by_quadrature,
    "relu-ntk": kernels_of_the_package,
    "hidden-and-readout-parts": parts_of_the_package,
    "standard-errors-off": distances_by_a_t_test,
}
