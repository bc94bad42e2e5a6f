"""Attempts at the problem limits/finite_against_infinite: right ones that must pass, wrong ones that must not."""

from __future__ import annotations

import math
import statistics

import numpy as np
import torch
from scipy import stats

# confidence_interval


def interval_in_torch(samples, quantile=1.96):
    samples = torch.as_tensor(samples)
    return samples.mean(0), quantile * samples.std(0) / len(samples) ** 0.5


def interval_in_float32_as_one_array(samples, quantile=1.96):
    samples = np.asarray(samples, dtype=np.float32)
    centred = samples - samples.mean(0)
    error = np.sqrt((centred**2).sum(0) / (len(samples) - 1) / len(samples))
    return np.stack([samples.mean(0), quantile * error])


def divided_by_the_number_of_samples(samples, quantile=1.96):
    return np.mean(samples, 0), quantile * np.std(samples, 0) / len(samples) ** 0.5


def interval_of_a_single_sample(samples, quantile=1.96):
    return np.mean(samples, 0), quantile * np.std(samples, 0, ddof=1)


def whole_interval(samples, quantile=1.96):
    mean, half = interval_in_torch(samples, quantile)
    return mean, 2 * half


def over_all_axes(samples, quantile=1.96):
    samples = np.asarray(samples)
    return samples.mean(), quantile * samples.std(ddof=1) / samples.size**0.5


def quantile_ignored(samples, quantile=1.96):
    return interval_in_torch(samples, 1.0)


# kernel_distance


def distance_by_loop(kernels, limit):
    return [np.sqrt(((kernel - limit) ** 2).sum() / (limit**2).sum()) for kernel in kernels]


def distance_in_float32(kernels, limit):
    kernels, limit = torch.as_tensor(kernels).float(), torch.as_tensor(limit).float()
    return (kernels - limit).flatten(1).norm(dim=1) / limit.norm()


def distance_not_relative(kernels, limit):
    return np.linalg.norm(kernels - limit, axis=(1, 2))


def distance_relative_to_the_sample(kernels, limit):
    return np.linalg.norm(kernels - limit, axis=(1, 2)) / (np.linalg.norm(kernels, axis=(1, 2)) + 1e-3)


def distance_in_operator_norm(kernels, limit):
    return np.linalg.norm(kernels - limit, 2, axis=(1, 2)) / np.linalg.norm(limit, 2)


def distance_of_the_mean(kernels, limit):
    return np.full(len(kernels), np.linalg.norm(kernels.mean(0) - limit) / np.linalg.norm(limit))


# function_distance


def error_by_loop(outputs, predictions, start):
    rows = zip(outputs, predictions, start, strict=True)
    return [math.dist(f, g) / math.dist(g, f0) for f, g, f0 in rows]


def error_in_torch(outputs, predictions, start):
    outputs, predictions, start = (torch.as_tensor(v) for v in (outputs, predictions, start))
    return ((outputs - predictions) ** 2).sum(1).sqrt() / ((predictions - start) ** 2).sum(1).sqrt()


def error_over_the_prediction(outputs, predictions, start):
    return np.linalg.norm(outputs - predictions, axis=1) / np.linalg.norm(predictions, axis=1)


def error_over_the_change_of_the_network(outputs, predictions, start):
    return np.linalg.norm(outputs - predictions, axis=1) / np.linalg.norm(outputs - start, axis=1)


def error_not_relative(outputs, predictions, start):
    return np.linalg.norm(outputs - predictions, axis=1)


def error_squared(outputs, predictions, start):
    return np.asarray(error_by_loop(outputs, predictions, start)) ** 2


def error_of_all_networks_together(outputs, predictions, start):
    ratio = np.linalg.norm(outputs - predictions) / np.linalg.norm(predictions - start)
    return np.full(len(outputs), ratio)


# kernel_fluctuation


def fluctuation_over_pairs(kernels, limit):
    """Unbiased as inner products of different samples."""
    gaps = (np.asarray(kernels) - limit).reshape(len(kernels), -1)
    products, scale, count = gaps @ gaps.T, (np.asarray(limit) ** 2).sum(), len(kernels)
    bias = (products.sum() - np.trace(products)) / count / (count - 1)
    return bias / scale, (np.trace(products) / count - bias) / scale


def fluctuation_in_torch(kernels, limit):
    kernels, limit = torch.as_tensor(kernels), torch.as_tensor(limit)
    spread = kernels.var(0).sum() / limit.square().sum()
    distance = (kernels.mean(0) - limit).square().sum() / limit.square().sum()
    return [distance - spread / len(kernels), spread]


def _fluctuation(kernels, limit, ddof=1, corrected=1.0, root=False, relative=True):
    scale = (limit**2).sum() if relative else 1.0
    spread = kernels.var(axis=0, ddof=ddof).sum() / scale
    bias = ((kernels.mean(0) - limit) ** 2).sum() / scale - corrected * spread / len(kernels)
    return (abs(bias) ** 0.5, spread**0.5) if root else (bias, spread)


def bias_not_corrected(kernels, limit):
    return _fluctuation(kernels, limit, corrected=0.0)


def corrected_by_the_whole_spread(kernels, limit):
    return _fluctuation(kernels, limit, corrected=len(kernels))


def variance_over_s(kernels, limit):
    return _fluctuation(kernels, limit, ddof=0)


def roots_in_place_of_squares(kernels, limit):
    return _fluctuation(kernels, limit, root=True)


def fluctuation_not_relative(kernels, limit):
    return _fluctuation(kernels, limit, relative=False)


def spread_around_the_limit(kernels, limit):
    bias, _ = _fluctuation(kernels, limit)
    return bias, ((kernels - limit) ** 2).sum() / (len(kernels) - 1) / (limit**2).sum()


# fitted_slope


def slope_by_least_squares(widths, values):
    values = np.asarray(values)
    x, y = np.repeat(np.log(widths), values.shape[1]), np.log(values).ravel()
    design = np.column_stack([x, np.ones_like(x)])
    coefficients, *_ = np.linalg.lstsq(design, y, rcond=None)
    variance = ((y - design @ coefficients) ** 2).sum() / (len(x) - 2)
    return coefficients[0], np.sqrt(variance * np.linalg.inv(design.T @ design)[0, 0])


def slope_in_torch(widths, values):
    values = torch.as_tensor(values)
    x = torch.as_tensor(widths).double().log().repeat_interleave(values.shape[1])
    y = values.log().flatten()
    slope = torch.cov(torch.stack([x, y]))[0, 1] / x.var()
    residual = (y - y.mean()) - slope * (x - x.mean())
    return torch.stack([slope, (residual.square().sum() / (len(x) - 2) / ((x - x.mean()) ** 2).sum()).sqrt()])


def slope_without_logarithms(widths, values):
    values = np.asarray(values)
    fit = stats.linregress(np.repeat(widths, values.shape[1]), values.ravel())
    return fit.slope, fit.stderr


def slope_of_the_means(widths, values):
    fit = stats.linregress(np.log(widths), np.log(values).mean(1))
    return fit.slope, fit.stderr


def error_with_n_below(widths, values):
    slope, error = slope_by_least_squares(widths, values)
    count = np.asarray(values).size
    return slope, error * math.sqrt((count - 2) / count)


def error_is_the_scatter(widths, values):
    slope, error = slope_by_least_squares(widths, values)
    x = np.repeat(np.log(widths), np.asarray(values).shape[1])
    return slope, error * np.sqrt(((x - x.mean()) ** 2).sum())


def axes_inverted(widths, values):
    values = np.asarray(values)
    fit = stats.linregress(np.log(values).ravel(), np.repeat(np.log(widths), values.shape[1]))
    return fit.slope, fit.stderr


def rows_and_columns_mixed_up(widths, values):
    values = np.asarray(values)
    return slope_by_least_squares(np.exp(np.tile(np.log(widths), values.shape[1])), values.reshape(-1, 1))


# extrapolate


def extrapolate_by_polyfit(widths, values, order=1):
    values = np.asarray(values)
    flat = np.polyfit(1 / np.asarray(widths, dtype=float), values.reshape(len(values), -1), order)[-1]
    return flat.reshape(values.shape[1:])


def extrapolate_by_normal_equations(widths, values, order=1):
    powers = np.vander(1 / np.asarray(widths, dtype=float), order + 1, increasing=True)
    return np.tensordot(np.linalg.solve(powers.T @ powers, powers.T), np.asarray(values), 1)[0]


def widest_network(widths, values, order=1):
    return np.asarray(values)[-1]


def polynomial_in_m(widths, values, order=1):
    return extrapolate_by_polyfit(1 / np.asarray(widths, dtype=float), values, order)


def powers_of_the_root(widths, values, order=1):
    return extrapolate_by_polyfit(np.sqrt(widths), values, order)


def always_order_one(widths, values, order=1):
    return extrapolate_by_polyfit(widths, values, 1)


def last_two_widths(widths, values, order=1):
    return extrapolate_by_polyfit(widths[-2:], np.asarray(values)[-2:], 1)


def highest_coefficient(widths, values, order=1):
    values = np.asarray(values)
    flat = np.polyfit(1 / np.asarray(widths, dtype=float), values.reshape(len(values), -1), order)[0]
    return flat.reshape(values.shape[1:])


# log_spread


def log_spread_by_statistics(values):
    spread = statistics.stdev([math.log(value) for value in values])
    return spread, spread / math.sqrt(2 * (len(values) - 1))


def log_spread_in_float32(values):
    spread = torch.as_tensor(values).float().log().std()
    return torch.stack([spread, spread / (2 * len(values) - 2) ** 0.5])


def spread_without_logarithm(values):
    spread = np.std(values, ddof=1)
    return spread, spread / np.sqrt(2 * (len(values) - 1))


def log_spread_over_s(values):
    spread = np.std(np.log(values))
    return spread, spread / np.sqrt(2 * (len(values) - 1))


def error_of_the_mean(values):
    spread, _ = log_spread_by_statistics(values)
    return spread, spread / math.sqrt(len(values))


def variance_of_the_logarithm(values):
    spread, error = log_spread_by_statistics(values)
    return spread**2, error**2


def error_without_the_two(values):
    spread, error = log_spread_by_statistics(values)
    return spread, error * math.sqrt(2)


RIGHT = {
    "confidence-interval": [interval_in_torch, interval_in_float32_as_one_array],
    "kernel-distance": [distance_by_loop, distance_in_float32],
    "function-distance": [error_by_loop, error_in_torch],
    "kernel-fluctuation": [fluctuation_over_pairs, fluctuation_in_torch],
    "fitted-slope": [slope_by_least_squares, slope_in_torch],
    "extrapolate": [extrapolate_by_polyfit, extrapolate_by_normal_equations],
    "log-spread": [log_spread_by_statistics, log_spread_in_float32],
}

WRONG = {
    "confidence-interval": [
        divided_by_the_number_of_samples,
        interval_of_a_single_sample,
        whole_interval,
        over_all_axes,
        quantile_ignored,
    ],
    "kernel-distance": [
        distance_not_relative,
        distance_relative_to_the_sample,
        distance_in_operator_norm,
        distance_of_the_mean,
    ],
    "function-distance": [
        error_over_the_prediction,
        error_over_the_change_of_the_network,
        error_not_relative,
        error_squared,
        error_of_all_networks_together,
    ],
    "kernel-fluctuation": [
        bias_not_corrected,
        corrected_by_the_whole_spread,
        variance_over_s,
        roots_in_place_of_squares,
        fluctuation_not_relative,
        spread_around_the_limit,
    ],
    "fitted-slope": [
        slope_without_logarithms,
        slope_of_the_means,
        error_with_n_below,
        error_is_the_scatter,
        axes_inverted,
        rows_and_columns_mixed_up,
    ],
    "extrapolate": [
        widest_network,
        polynomial_in_m,
        powers_of_the_root,
        always_order_one,
        last_two_widths,
        highest_coefficient,
    ],
    "log-spread": [
        spread_without_logarithm,
        log_spread_over_s,
        error_of_the_mean,
        variance_of_the_logarithm,
        error_without_the_two,
    ],
}


# Independent values


def interval_of_scipy(samples, quantile=1.96):
    return np.mean(samples, axis=0), quantile * stats.sem(samples, axis=0)


def distance_by_traces(kernels, limit):
    gaps = kernels - limit
    return np.sqrt(np.trace(gaps.transpose(0, 2, 1) @ gaps, axis1=1, axis2=2) / np.trace(limit.T @ limit))


def slope_of_scipy(widths, values):
    fit = stats.linregress(np.repeat(np.log(widths), values.shape[1]), np.log(values).ravel())
    return fit.slope, fit.stderr


def extrapolate_by_projection(widths, values, order=1):
    """The constant column, freed of the others, carries the coefficient (Frisch, Waugh and Lovell)."""
    u = 1 / np.asarray(widths, dtype=float)
    others = np.linalg.qr(u[:, None] ** np.arange(1, order + 1))[0]
    constant = np.ones_like(u) - others @ (others.T @ np.ones_like(u))
    return np.tensordot(constant, np.asarray(values), 1) / (constant @ constant)


ORACLES = {
    "confidence-interval": interval_of_scipy,
    "kernel-distance": distance_by_traces,
    "function-distance": error_by_loop,
    "kernel-fluctuation": fluctuation_over_pairs,
    "fitted-slope": slope_of_scipy,
    "extrapolate": extrapolate_by_projection,
    "log-spread": log_spread_by_statistics,
}
