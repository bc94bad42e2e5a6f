"""Attempts at the problem limits/when_networks_deviate: right ones that must pass, wrong ones that must not."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from scipy import stats

from exercises.grading import problem as problems

# deviation


def deviation_in_torch(f_net, f_kernel, f0):
    f_net, f_kernel, f0 = (torch.as_tensor(values).double() for values in (f_net, f_kernel, f0))
    return (f_net - f_kernel).norm(dim=-1) / (f_kernel - f0).norm(dim=-1)


def deviation_by_sums(f_net, f_kernel, f0):
    return np.sqrt(((f_net - f_kernel) ** 2).sum(-1) / ((f_kernel - f0) ** 2).sum(-1))


def deviation_over_the_prediction(f_net, f_kernel, f0):
    return np.linalg.norm(f_net - f_kernel, axis=-1) / np.linalg.norm(f_kernel + 0 * f0, axis=-1)


def deviation_over_the_real_change(f_net, f_kernel, f0):
    return np.linalg.norm(f_net - f_kernel, axis=-1) / (np.linalg.norm(f_net - f0, axis=-1) + 1e-9)


def deviation_squared(f_net, f_kernel, f0):
    return deviation_by_sums(f_net, f_kernel, f0) ** 2


def deviation_absolute(f_net, f_kernel, f0):
    return np.linalg.norm(f_net - f_kernel + 0 * f0, axis=-1)


# latin_hypercube


def hypercube_by_loops(permutations, offsets, lower, upper):
    settings = np.empty(permutations.shape)
    for i, k in np.ndindex(settings.shape):
        u = (permutations[i, k] + offsets[i, k]) / len(permutations)
        settings[i, k] = math.exp((1 - u) * math.log(lower[k]) + u * math.log(upper[k]))
    return settings


def hypercube_in_float32(permutations, offsets, lower, upper):
    unit = torch.tensor((permutations + offsets) / len(permutations)).float()
    lower, upper = (torch.tensor(np.asarray(bound, dtype=np.float32)) for bound in (lower, upper))
    return torch.exp(torch.lerp(lower.log().expand(unit.shape), upper.log().expand(unit.shape), unit))


def hypercube_uniform(permutations, offsets, lower, upper):
    unit = (permutations + offsets) / len(permutations)
    return np.asarray(lower) + unit * (np.asarray(upper) - np.asarray(lower))


def hypercube_without_offsets(permutations, offsets, lower, upper):
    return hypercube_by_loops(permutations, 0 * offsets, lower, upper)


def hypercube_over_n_minus_one(permutations, offsets, lower, upper):
    unit = (permutations + offsets) / (len(permutations) - 1)
    return np.asarray(lower) * (np.asarray(upper) / np.asarray(lower)) ** unit


def hypercube_in_powers_of_ten(permutations, offsets, lower, upper):
    unit = (permutations + offsets) / len(permutations)
    return 10 ** (np.log(lower) + unit * np.log(np.asarray(upper) / np.asarray(lower)))


# study_table


@cache
def laboratory():
    """The given cells and the reference solutions of the notebook: `run` is among them."""
    return problems.load("limits/when_networks_deviate").reference()


def runs(settings, seeds):
    """(len(settings), len(seeds), 3, 8)."""
    return np.array([[laboratory()["run"](**setting, seed=seed) for seed in seeds] for setting in settings])


def table_by_stacking(settings, seeds):
    return np.log(deviation_by_sums(*np.moveaxis(runs(settings, seeds), 2, 0)))


def table_in_float32(settings, seeds):
    return torch.tensor(table_by_stacking(settings, seeds)).float()


def table_without_logarithm(settings, seeds):
    return np.exp(table_by_stacking(settings, seeds))


def table_with_common_logarithms(settings, seeds):
    return table_by_stacking(settings, seeds) / math.log(10)


def table_that_ignores_the_seeds(settings, seeds):
    return table_by_stacking(settings, [0 for _ in seeds])


def table_transposed(settings, seeds):
    return table_by_stacking(settings, seeds).T.reshape(-1, len(settings))


def table_with_network_and_prediction_swapped(settings, seeds):
    f_net, f_kernel, f0 = np.moveaxis(runs(settings, seeds), 2, 0)
    return np.log(deviation_by_sums(f_kernel, f_net, f0))


def table_of_the_width_only(settings, seeds):
    return table_by_stacking([{"width": setting["width"]} for setting in settings], seeds)


# effects


def effects_by_sweeping(table):
    cells = torch.as_tensor(table).double().mean(2)
    mean = cells.mean()
    cells = cells - mean
    rows = cells.mean(1)
    cells = cells - rows[:, None]
    columns = cells.mean(0)
    return mean, rows, columns, cells - columns


def effects_by_regression(table):
    """Least squares on indicator columns that sum to zero."""
    a, b, _ = np.shape(table)
    basis_a, basis_b = (np.vstack([np.eye(n - 1), -np.ones(n - 1)]) for n in (a, b))
    design = np.column_stack([np.ones(a * b), np.repeat(basis_a, b, 0), np.tile(basis_b, (a, 1))])
    cells = np.mean(table, 2)
    fit = np.linalg.lstsq(design, cells.ravel(), rcond=None)[0]
    rest = cells - (design @ fit).reshape(a, b)
    return [fit[0], basis_a @ fit[1:a], basis_b @ fit[a:], rest]


def rows_not_centred(table):
    mean, rows, columns, interaction = effects_by_sweeping(table)
    return mean, rows + mean, columns + mean, interaction


def rows_and_columns_swapped(table):
    mean, rows, columns, interaction = effects_by_sweeping(table)
    return mean, columns, rows, interaction


def interaction_with_the_mean(table):
    mean, rows, columns, interaction = effects_by_sweeping(table)
    return mean, rows, columns, interaction + mean


def effects_of_the_first_replicate(table):
    return effects_by_sweeping(np.asarray(table)[:, :, :1])


def interaction_transposed(table):
    mean, rows, columns, interaction = effects_by_sweeping(table)
    return mean, rows, columns, interaction.T


# variance_shares


def shares_by_projection(table):
    table = np.asarray(table)
    mean, rows, columns, interaction = (np.asarray(part) for part in effects_by_sweeping(table))
    parts = [rows[:, None, None], columns[None, :, None], interaction[:, :, None]]
    parts = [np.broadcast_to(part, table.shape) for part in parts]
    parts.append(table - mean - sum(parts))
    squares = np.array([(part**2).sum() for part in parts])
    return squares / ((table - mean) ** 2).sum()


def shares_in_float32(table):
    return torch.tensor(shares_by_projection(table)).float()


def effects_not_repeated(table):
    table = np.asarray(table)
    _, rows, columns, interaction = (np.asarray(part) for part in effects_by_sweeping(table))
    within = ((table - table.mean(2, keepdims=True)) ** 2).sum()
    squares = np.array([(rows**2).sum(), (columns**2).sum(), (interaction**2).sum(), within])
    return squares / squares.sum()


def replicates_forgotten(table):
    shares = shares_by_projection(table)
    shares[3] = 0.0
    return shares / shares.sum()


def repeated_the_wrong_way(table):
    table = np.asarray(table)
    a, b, r = table.shape
    squares = shares_by_projection(table) * np.array([a / b, b / a, 1 / r, 1])
    return squares / squares.sum()


def roots_of_the_shares(table):
    roots = np.sqrt(shares_by_projection(table))
    return roots / roots.sum()


def sums_of_squares(table):
    table = np.asarray(table)
    return shares_by_projection(table) * ((table - table.mean()) ** 2).sum()


# bootstrap_interval


def interval_by_sorting(values, indices, level=0.9):
    means = sorted(np.mean([values[i] for i in row]) for row in indices)
    ends = []
    for share in ((1 - level) / 2, (1 + level) / 2):
        place = share * (len(means) - 1)
        low = min(int(place), len(means) - 2)
        ends.append(means[low] + (place - low) * (means[low + 1] - means[low]))
    return ends


def interval_in_torch(values, indices, level=0.9):
    means = torch.as_tensor(values)[torch.as_tensor(indices)].mean(1)
    share = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=means.dtype)
    return torch.quantile(means, share)


def interval_one_sided(values, indices, level=0.9):
    means = np.asarray(values)[indices].mean(1)
    return np.quantile(means, [1 - level, level])


def interval_of_the_values(values, indices, level=0.9):
    return np.quantile(np.asarray(values)[indices], [(1 - level) / 2, (1 + level) / 2])


def interval_of_the_columns(values, indices, level=0.9):
    means = np.asarray(values)[indices].mean(0)
    return np.quantile(means, [(1 - level) / 2, (1 + level) / 2])


def interval_of_the_medians(values, indices, level=0.9):
    medians = np.median(np.sort(np.asarray(values)[indices], axis=1)[:, :-1], axis=1)
    return np.quantile(medians, [(1 - level) / 2, (1 + level) / 2])


def normal_interval(values, indices, level=0.9):
    means = np.asarray(values)[indices].mean(1)
    return stats.norm.interval(min(level, 0.999), means.mean(), means.std())


# fit_exponents


def exponents_by_qr(settings, deviations):
    design = np.column_stack([np.log(settings), np.ones(len(deviations))])
    q, r = np.linalg.qr(design)
    y = np.log(deviations)
    rest = y - q @ (q.T @ y)
    inverse = np.linalg.inv(r)
    errors = np.sqrt((rest @ rest) / (len(y) - design.shape[1]) * (inverse**2).sum(1))
    return (inverse @ (q.T @ y))[:-1], errors[:-1]


def exponents_by_centring(settings, deviations):
    x, y = torch.as_tensor(settings).log(), torch.as_tensor(deviations).log()
    x, y = x - x.mean(0), y - y.mean()
    inverse = torch.linalg.inv(x.T @ x)
    p = inverse @ x.T @ y
    rest = (y - x @ p).square().sum() / (len(y) - x.shape[1] - 1)
    return torch.stack([p, (rest * inverse.diagonal()).sqrt()])


def exponents_without_a_constant(settings, deviations):
    x, y = np.log(settings), np.log(deviations)
    p = np.linalg.lstsq(x, y, rcond=None)[0]
    rest = ((y - x @ p) ** 2).sum() / (len(y) - x.shape[1])
    return p, np.sqrt(rest * np.diag(np.linalg.inv(x.T @ x)))


def exponents_of_the_deviations_themselves(settings, deviations):
    return exponents_by_qr(settings, np.exp(deviations))


def exponents_one_by_one(settings, deviations):
    fits = [stats.linregress(np.log(column), np.log(deviations)) for column in np.asarray(settings).T]
    error = 1.0 if len(fits) > 1 else math.sqrt(2)
    return [fit.slope for fit in fits], [fit.stderr * error for fit in fits]


def errors_with_n_below(settings, deviations):
    p, errors = exponents_by_qr(settings, deviations)
    n, k = np.shape(settings)
    return p, errors * math.sqrt((n - k - 1) / n)


def errors_squared(settings, deviations):
    p, errors = exponents_by_qr(settings, deviations)
    return p, errors**2


def settings_not_in_logarithms(settings, deviations):
    return exponents_by_qr(np.exp(np.asarray(settings) / 10), deviations)


RIGHT = {
    "deviation": [deviation_in_torch, deviation_by_sums],
    "latin-hypercube": [hypercube_by_loops, hypercube_in_float32],
    "study-table": [table_by_stacking, table_in_float32],
    "effects": [effects_by_sweeping, effects_by_regression],
    "variance-shares": [shares_by_projection, shares_in_float32],
    "bootstrap-interval": [interval_by_sorting, interval_in_torch],
    "fit-exponents": [exponents_by_qr, exponents_by_centring],
}

WRONG = {
    "deviation": [
        deviation_over_the_prediction,
        deviation_over_the_real_change,
        deviation_squared,
        deviation_absolute,
    ],
    "latin-hypercube": [
        hypercube_uniform,
        hypercube_without_offsets,
        hypercube_over_n_minus_one,
        hypercube_in_powers_of_ten,
    ],
    "study-table": [
        table_without_logarithm,
        table_with_common_logarithms,
        table_that_ignores_the_seeds,
        table_transposed,
        table_with_network_and_prediction_swapped,
        table_of_the_width_only,
    ],
    "effects": [
        rows_not_centred,
        rows_and_columns_swapped,
        interaction_with_the_mean,
        effects_of_the_first_replicate,
        interaction_transposed,
    ],
    "variance-shares": [
        effects_not_repeated,
        replicates_forgotten,
        repeated_the_wrong_way,
        roots_of_the_shares,
        sums_of_squares,
    ],
    "bootstrap-interval": [
        interval_one_sided,
        interval_of_the_values,
        interval_of_the_columns,
        interval_of_the_medians,
        normal_interval,
    ],
    "fit-exponents": [
        exponents_without_a_constant,
        exponents_of_the_deviations_themselves,
        exponents_one_by_one,
        errors_with_n_below,
        errors_squared,
        settings_not_in_logarithms,
    ],
}


# Independent values


def deviation_entry_by_entry(f_net, f_kernel, f0):
    return np.hypot.reduce(f_net - f_kernel, axis=-1) / np.hypot.reduce(f_kernel - f0, axis=-1)


def hypercube_by_interpolation(permutations, offsets, lower, upper):
    unit = (permutations + offsets) / len(permutations)
    columns = [
        np.exp(np.interp(u, [0, 1], np.log([low, high])))
        for u, low, high in zip(unit.T, lower, upper, strict=True)
    ]
    return np.stack(columns, axis=1)


def table_entry_by_entry(settings, seeds):
    return [
        [
            math.log(float(deviation_entry_by_entry(*laboratory()["run"](**setting, seed=seed))))
            for seed in seeds
        ]
        for setting in settings
    ]


def shares_from_nested_models(table):
    """Differences of the residual sums of squares of nested least-squares models."""
    table = np.asarray(table)
    a, b, _ = table.shape
    row, column, _ = (index.ravel() for index in np.indices(table.shape))
    one = np.ones((table.size, 1))
    models = [one]
    for groups in (np.eye(a)[row], np.eye(b)[column], np.eye(a * b)[row * b + column]):
        models.append(np.hstack([models[-1], groups]))
    y = table.ravel()
    rest = [((y - m @ np.linalg.lstsq(m, y, rcond=None)[0]) ** 2).sum() for m in models]
    return np.array([*-np.diff(rest), rest[-1]]) / rest[0]


ORACLES = {
    "deviation": deviation_entry_by_entry,
    "latin-hypercube": hypercube_by_interpolation,
    "study-table": table_entry_by_entry,
    "effects": effects_by_regression,
    "variance-shares": shares_from_nested_models,
    "bootstrap-interval": interval_by_sorting,
    "fit-exponents": exponents_by_centring,
}
