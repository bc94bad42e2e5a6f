"""Attempts at the problem generalization/bounds_and_curves: right ones that must pass, wrong ones that must not."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import integrate, optimize

from ntklab import generalization as gen

# Task 1, right


def kernel_in_torch(x1, x2):
    cosines = (torch.as_tensor(x1) @ torch.as_tensor(x2).T).clamp(-1, 1)
    return cosines * (0.5 - cosines.arccos() / (2 * math.pi))


def kernel_by_arcsine(x1, x2):
    cosines = np.clip(np.asarray(x1) @ np.asarray(x2).T, -1, 1)
    return (cosines / 4 + cosines * np.arcsin(cosines) / (2 * np.pi)).astype(np.float32)


def kernel_by_loops(x1, x2):
    def angle(one, two):
        return 2 * math.atan2(np.linalg.norm(one - two), np.linalg.norm(one + two))

    return [[math.cos(t) * (math.pi - t) / (2 * math.pi) for t in (angle(a, b) for b in x2)] for a in x1]


# Task 1, wrong


def kernel_twice_as_large(x1, x2):
    return 2 * kernel_in_torch(x1, x2)


def kernel_without_the_inputs(x1, x2):
    cosines = np.clip(x1 @ x2.T, -1, 1)
    return (np.pi - np.arccos(cosines)) / (2 * np.pi)


def kernel_of_the_features(x1, x2):
    cosines = np.clip(x1 @ x2.T, -1, 1)
    angle = np.arccos(cosines)
    return (np.sin(angle) + (np.pi - angle) * cosines) / (2 * np.pi)


def kernel_of_the_opposite_angle(x1, x2):
    cosines = np.clip(x1 @ x2.T, -1, 1)
    return cosines * np.arccos(cosines) / (2 * np.pi)


def kernel_transposed(x1, x2):
    return np.asarray(kernel_in_torch(x2, x1)) if len(x1) != len(x2) else -np.asarray(kernel_in_torch(x2, x1))


def kernel_not_clipped(x1, x2):
    cosines = np.asarray(x1) @ np.asarray(x2).T * (1 + 1e-12)
    with np.errstate(invalid="ignore"):
        return cosines * (np.pi - np.arccos(cosines)) / (2 * np.pi)


# Task 2, right


def bound_by_cholesky(kernel, y):
    half = np.linalg.solve(np.linalg.cholesky(np.asarray(kernel)), np.asarray(y))
    return math.sqrt(2 / len(half)) * np.linalg.norm(half)


def bound_in_float32(kernel, y):
    kernel, y = torch.as_tensor(kernel).float(), torch.as_tensor(y).float()
    return (2 * (y @ torch.linalg.inv(kernel) @ y) / len(y)).sqrt()


# Task 2, wrong


def bound_without_the_root(kernel, y):
    return bound_by_cholesky(kernel, y) ** 2


def bound_without_the_two(kernel, y):
    return bound_by_cholesky(kernel, y) / math.sqrt(2)


def bound_without_n(kernel, y):
    return bound_by_cholesky(kernel, y) * math.sqrt(len(y))


def bound_over_n_outside(kernel, y):
    return bound_by_cholesky(kernel, y) / math.sqrt(len(y))


def bound_without_the_inverse(kernel, y):
    return math.sqrt(2 * y @ kernel @ y / len(y))


def bound_of_the_diagonal(kernel, y):
    return math.sqrt(2 * np.sum(y**2 / np.diag(kernel)) / len(y))


# Task 3, right


def _norm(kernel, y):
    return math.sqrt(np.asarray(y) @ np.linalg.solve(np.asarray(kernel), np.asarray(y)))


def _guarantee(kernel, y, delta, radius, *, union=True, trace=None):
    n = len(y)
    trace = np.trace(np.asarray(kernel)) if trace is None else trace
    inner = 2 * (radius * (radius + 1) if union else 1) / delta
    return 2 * radius * math.sqrt(trace) / n + 3 * math.sqrt(math.log(inner) / (2 * n))


def guarantee_by_a_search(kernel, y, delta=0.05):
    radius = 1
    while radius < _norm(kernel, y):
        radius += 1
    return _guarantee(kernel, y, delta, radius)


def guarantee_in_float32(kernel, y, delta=0.05):
    kernel, y = torch.as_tensor(kernel).float(), torch.as_tensor(y).float()
    radius = (y @ torch.linalg.solve(kernel, y)).sqrt().ceil().clamp(min=1)
    n = len(y)
    second = 3 * torch.sqrt(torch.log(2 * radius * (radius + 1) / delta) / (2 * n))
    return 2 * radius * kernel.trace().sqrt() / n + second


# Task 3, wrong


def guarantee_not_rounded(kernel, y, delta=0.05):
    return _guarantee(kernel, y, delta, max(1, _norm(kernel, y)))


def guarantee_without_the_union(kernel, y, delta=0.05):
    return _guarantee(kernel, y, delta, max(1, math.ceil(_norm(kernel, y))), union=False)


def guarantee_rounded_down(kernel, y, delta=0.05):
    return _guarantee(kernel, y, delta, max(1, math.floor(_norm(kernel, y))))


def guarantee_without_a_least_radius(kernel, y, delta=0.05):
    norm = _norm(kernel, y)
    if norm >= 1:
        return guarantee_by_a_search(kernel, y, delta)
    return _guarantee(kernel, y, delta, 1) - 2 * (1 - norm) * math.sqrt(np.trace(kernel)) / len(y)


def guarantee_with_the_trace_outside(kernel, y, delta=0.05):
    radius = max(1, math.ceil(_norm(kernel, y)))
    return _guarantee(kernel, y, delta, radius, trace=np.trace(kernel) ** 2)


def guarantee_with_the_squared_norm(kernel, y, delta=0.05):
    return _guarantee(kernel, y, delta, max(1, math.ceil(_norm(kernel, y) ** 2)))


def guarantee_of_the_leading_term(kernel, y, delta=0.05):
    radius = max(1, math.ceil(_norm(kernel, y)))
    return 2 * radius * math.sqrt(np.trace(kernel)) / len(y)


def guarantee_at_five_per_cent(kernel, y, delta=0.05):
    return guarantee_by_a_search(kernel, y)


# Task 4, right


def errors_by_retraining(kernel, y, ridge=0.0):
    kernel, y = np.asarray(kernel), np.asarray(y)
    errors = []
    for i in range(len(y)):
        rest = np.arange(len(y)) != i
        matrix = kernel[np.ix_(rest, rest)] + ridge * np.eye(len(y) - 1)
        errors.append(y[i] - kernel[i, rest] @ np.linalg.solve(matrix, y[rest]))
    return errors


def errors_from_the_hat_matrix(kernel, y, ridge=0.0):
    """(y - f) / (1 - h) with a ridge; without one both vanish, so then the inverse itself."""
    kernel, y = torch.as_tensor(kernel), torch.as_tensor(y)
    inverse = torch.linalg.inv(kernel + ridge * torch.eye(len(y)).to(kernel))
    hat = kernel @ inverse
    if not ridge:
        return inverse @ y / inverse.diagonal()
    return ((y - hat @ y) / (1 - hat.diagonal())).float()


# Task 4, wrong


def errors_on_the_training_set(kernel, y, ridge=0.0):
    return y - kernel @ np.linalg.solve(kernel + ridge * np.eye(len(y)), y)


def errors_without_the_diagonal(kernel, y, ridge=0.0):
    return np.linalg.solve(kernel + ridge * np.eye(len(y)), y)


def errors_that_forget_the_ridge(kernel, y, ridge=0.0):
    return errors_by_retraining(kernel, y, 0.0)


def errors_with_the_ridge_times_n(kernel, y, ridge=0.0):
    return errors_by_retraining(kernel, y, ridge * len(y))


def errors_that_are_predictions(kernel, y, ridge=0.0):
    return y - np.asarray(errors_by_retraining(kernel, y, ridge))


def errors_with_the_kernels_diagonal(kernel, y, ridge=0.0):
    return np.linalg.solve(kernel + ridge * np.eye(len(y)), y) * np.diag(kernel)


def errors_with_the_wrong_sign(kernel, y, ridge=0.0):
    return -np.asarray(errors_by_retraining(kernel, y, ridge))


# Task 5, right


def _kappa(eigenvalues, n, ridge):
    def gap(log_kappa):
        kappa = math.exp(log_kappa)
        return (eigenvalues / (eigenvalues + kappa)).sum() + ridge / kappa - n

    return math.exp(optimize.brentq(gap, -60, 60, xtol=1e-13))


def _predicted(eigenvalues, powers, n, ridge, noise, kappa=None):
    eigenvalues, powers = np.asarray(eigenvalues), np.asarray(powers)
    kappa = _kappa(eigenvalues, n, ridge) if kappa is None else kappa
    learnt = eigenvalues / (eigenvalues + kappa)
    return n / (n - learnt @ learnt), learnt, ((1 - learnt) ** 2 * powers).sum()


def prediction_by_brentq(eigenvalues, powers, n, ridge=0.0, noise=0.0):
    overfit, _, bias = _predicted(eigenvalues, powers, n, ridge, noise)
    return overfit * bias + (overfit - 1) * noise


def prediction_in_torch(eigenvalues, powers, n, ridge=0.0, noise=0.0):
    eigenvalues, powers = torch.as_tensor(eigenvalues), torch.as_tensor(powers)
    grid = torch.logspace(-12, 6, 200_001, dtype=torch.float64)[:, None]
    needed = (eigenvalues / (eigenvalues + grid)).sum(1) + ridge / grid[:, 0] - n
    after = int((needed < 0).nonzero()[0])
    share = needed[after - 1] / (needed[after - 1] - needed[after])
    kappa = grid[after - 1] + share * (grid[after] - grid[after - 1])
    learnt = eigenvalues / (eigenvalues + kappa)
    overfit = n / (n - learnt.square().sum())
    return (overfit * ((1 - learnt).square() @ powers + noise) - noise).float()


# Task 5, wrong


def prediction_with_noise_left_in(eigenvalues, powers, n, ridge=0.0, noise=0.0):
    return prediction_by_brentq(eigenvalues, powers, n, ridge, noise) + noise


def prediction_with_noise_outside(eigenvalues, powers, n, ridge=0.0, noise=0.0):
    overfit, _, bias = _predicted(eigenvalues, powers, n, ridge, noise)
    return overfit * bias + noise


def prediction_without_overfitting(eigenvalues, powers, n, ridge=0.0, noise=0.0):
    return _predicted(eigenvalues, powers, n, ridge, noise)[2]


def prediction_without_the_ridge_over_kappa(eigenvalues, powers, n, ridge=0.0, noise=0.0):
    return prediction_by_brentq(eigenvalues, powers, n, 0.0 if n < len(eigenvalues) else 1e-3, noise)


def prediction_with_kappa_the_ridge(eigenvalues, powers, n, ridge=0.0, noise=0.0):
    overfit, _, bias = _predicted(eigenvalues, powers, n, ridge, noise, kappa=max(ridge, 1e-3) / n)
    return overfit * (bias + noise) - noise


def prediction_of_what_is_learnt(eigenvalues, powers, n, ridge=0.0, noise=0.0):
    overfit, learnt, _ = _predicted(eigenvalues, powers, n, ridge, noise)
    return overfit * (learnt**2 @ powers + noise) - noise


def prediction_not_squared(eigenvalues, powers, n, ridge=0.0, noise=0.0):
    overfit, learnt, _ = _predicted(eigenvalues, powers, n, ridge, noise)
    return overfit * ((1 - learnt) @ powers + noise) - noise


def prediction_with_a_linear_sum(eigenvalues, powers, n, ridge=0.0, noise=0.0):
    _, learnt, bias = _predicted(eigenvalues, powers, n, ridge, noise)
    return n / max(n - learnt.sum(), 1e-9) * (bias + noise) - noise


def prediction_with_squared_powers(eigenvalues, powers, n, ridge=0.0, noise=0.0):
    overfit, learnt, _ = _predicted(eigenvalues, powers, n, ridge, noise)
    return overfit * ((1 - learnt) ** 2 @ powers**2 + noise) - noise


RIGHT = {
    "hidden-kernel": [kernel_in_torch, kernel_by_arcsine, kernel_by_loops],
    "arora-bound": [bound_by_cholesky, bound_in_float32],
    "guaranteed-loss": [guarantee_by_a_search, guarantee_in_float32],
    "leave-one-out": [errors_by_retraining, errors_from_the_hat_matrix],
    "predicted-error": [prediction_by_brentq, prediction_in_torch],
}

WRONG = {
    "hidden-kernel": [
        kernel_twice_as_large,
        kernel_without_the_inputs,
        kernel_of_the_features,
        kernel_of_the_opposite_angle,
        kernel_transposed,
        kernel_not_clipped,
    ],
    "arora-bound": [
        bound_without_the_root,
        bound_without_the_two,
        bound_without_n,
        bound_over_n_outside,
        bound_without_the_inverse,
        bound_of_the_diagonal,
    ],
    "guaranteed-loss": [
        guarantee_not_rounded,
        guarantee_without_the_union,
        guarantee_rounded_down,
        guarantee_without_a_least_radius,
        guarantee_with_the_trace_outside,
        guarantee_with_the_squared_norm,
        guarantee_of_the_leading_term,
        guarantee_at_five_per_cent,
    ],
    "leave-one-out": [
        errors_on_the_training_set,
        errors_without_the_diagonal,
        errors_that_forget_the_ridge,
        errors_with_the_ridge_times_n,
        errors_that_are_predictions,
        errors_with_the_kernels_diagonal,
        errors_with_the_wrong_sign,
    ],
    "predicted-error": [
        prediction_with_noise_left_in,
        prediction_with_noise_outside,
        prediction_without_overfitting,
        prediction_without_the_ridge_over_kappa,
        prediction_with_kappa_the_ridge,
        prediction_of_what_is_learnt,
        prediction_not_squared,
        prediction_with_a_linear_sum,
        prediction_with_squared_powers,
    ],
}


# Independent values: quadrature over directions, the package, and the closed form by deleting samples


def kernel_by_quadrature(x1, x2):
    """The share of directions in the plane of two inputs that are positive on both, by adding up an indicator."""

    def share(angle):
        edges = sorted(
            [
                math.pi / 2,
                3 * math.pi / 2,
                (angle + math.pi / 2) % (2 * math.pi),
                (angle - math.pi / 2) % (2 * math.pi),
            ]
        )
        return integrate.quad(
            lambda t: float(math.cos(t) >= 0 and math.cos(t - angle) >= 0),
            0,
            2 * math.pi,
            points=edges,
            limit=200,
        )[0] / (2 * math.pi)

    cosines = np.clip(x1 @ x2.T, -1, 1)
    return cosines * np.vectorize(share)(np.arccos(cosines))


def bound_of_the_package(kernel, y):
    return math.sqrt(2 / len(y)) * float(gen.rkhs_norm(kernel, y))


def guarantee_of_the_package(kernel, y, delta=0.05):
    return gen.arora_bound(kernel, y, delta=delta).value


def prediction_of_the_package(eigenvalues, powers, n, ridge=0.0, noise=0.0):
    return gen.learning_curve(eigenvalues, powers**0.5, n, ridge=ridge, noise=noise).test_error


ORACLES = {
    "hidden-kernel": kernel_by_quadrature,
    "arora-bound": bound_of_the_package,
    "guaranteed-loss": guarantee_of_the_package,
    "leave-one-out": errors_by_retraining,
    "predicted-error": prediction_of_the_package,
}
