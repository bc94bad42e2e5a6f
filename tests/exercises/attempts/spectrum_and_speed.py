"""Attempts at the problem convergence/spectrum_and_speed: right ones that must pass, wrong ones that must not."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from scipy import integrate, linalg, optimize

import ntklab as nl
from exercises import kit
from ntklab import convergence

# Task 1, right


def energies_by_torch(kernel, residual):
    values, modes = torch.linalg.eigh(torch.as_tensor(kernel))
    return values.flip(0), (modes.T @ torch.as_tensor(residual)).square().flip(0)


def energies_by_singular_values(kernel, residual):
    modes, values, _ = np.linalg.svd(np.asarray(kernel))
    return np.stack([values, np.square(np.asarray(residual) @ modes)])


def energies_in_float32(kernel, residual):
    values, modes = np.linalg.eigh(np.asarray(kernel, dtype=np.float32))
    pairs = sorted(((v, float(m @ np.asarray(residual)) ** 2) for v, m in zip(values, modes.T, strict=True)))
    return [v for v, _ in reversed(pairs)], [e for _, e in reversed(pairs)]


# Task 1, wrong


def energies_ascending(kernel, residual):
    values, energies = energies_by_torch(kernel, residual)
    return values.flip(0), energies.flip(0)


def energies_by_rows(kernel, residual):
    values, modes = np.linalg.eigh(np.asarray(kernel))
    return values[::-1], np.square(modes @ np.asarray(residual))[::-1]


def coefficients_not_squared(kernel, residual):
    values, energies = energies_by_torch(kernel, residual)
    return values, energies.sqrt()


def energies_over_n(kernel, residual):
    values, energies = energies_by_torch(kernel, residual)
    return values, energies / len(residual)


def energies_as_shares(kernel, residual):
    values, energies = energies_by_torch(kernel, residual)
    return values, energies / energies.sum()


def energies_in_the_other_order(kernel, residual):
    values, energies = energies_by_torch(kernel, residual)
    return values, energies.flip(0)


# Task 2, right


def _c(loss, n):
    return {"mean": 1 / n, "sum": 1, "mse": 2 / n}[loss]


def remaining_by_matrix_functions(kernel, residual, times, learning_rate=1.0, method="flow", loss="mean"):
    generator = learning_rate * _c(loss, len(kernel)) * torch.as_tensor(kernel)
    eye, start = torch.eye(len(kernel)).to(generator), torch.as_tensor(residual)
    if method == "flow":
        return torch.stack([torch.matrix_exp(-generator * float(t)) @ start for t in times])
    return torch.stack([torch.linalg.matrix_power(eye - generator, int(t)) @ start for t in times])


def remaining_step_by_step(kernel, residual, times, learning_rate=1.0, method="flow", loss="mean"):
    if method == "flow":
        return remaining_by_matrix_functions(kernel, residual, times, learning_rate, method, loss).numpy()
    rows = []
    for t in times:
        r = np.array(residual, dtype=float)
        for _ in range(int(t)):
            r = r - learning_rate * _c(loss, len(r)) * np.asarray(kernel) @ r
        rows.append(r)
    return np.array(rows)


def remaining_as_a_list(kernel, residual, times, learning_rate=1.0, method="flow", loss="mean"):
    values, modes = np.linalg.eigh(np.asarray(kernel))
    rows = []
    for t in times:
        x = learning_rate * _c(loss, len(kernel)) * values
        factor = np.exp(-x * float(t)) if method == "flow" else (1 - x) ** int(t)
        rows.append(sum(f * (v @ np.asarray(residual)) * v for f, v in zip(factor, modes.T, strict=True)))
    return rows


# Task 2, wrong


def remaining_with_c_one(kernel, residual, times, learning_rate=1.0, method="flow", loss="mean"):
    return remaining_by_matrix_functions(kernel, residual, times, learning_rate, method, "sum")


def remaining_that_knows_one_loss(kernel, residual, times, learning_rate=1.0, method="flow", loss="mean"):
    return remaining_by_matrix_functions(kernel, residual, times, learning_rate, method, "mean")


def remaining_with_mse_as_sum(kernel, residual, times, learning_rate=1.0, method="flow", loss="mean"):
    loss = "sum" if loss == "mse" else loss
    return remaining_by_matrix_functions(kernel, residual, times, learning_rate, method, loss)


def remaining_without_the_rate(kernel, residual, times, learning_rate=1.0, method="flow", loss="mean"):
    return remaining_by_matrix_functions(kernel, residual, times, 1.0, method, loss)


def remaining_as_for_the_loss(kernel, residual, times, learning_rate=1.0, method="flow", loss="mean"):
    return remaining_by_matrix_functions(kernel, residual, times, 2 * learning_rate, method, loss)


def remaining_always_by_flow(kernel, residual, times, learning_rate=1.0, method="flow", loss="mean"):
    return remaining_by_matrix_functions(kernel, residual, times, learning_rate, "flow", loss)


def remaining_in_the_eigenbasis(kernel, residual, times, learning_rate=1.0, method="flow", loss="mean"):
    modes = np.linalg.eigh(np.asarray(kernel))[1]
    return remaining_step_by_step(kernel, residual, times, learning_rate, method, loss) @ modes


def remaining_transposed(kernel, residual, times, learning_rate=1.0, method="flow", loss="mean"):
    return remaining_by_matrix_functions(kernel, residual, times, learning_rate, method, loss).T


def what_was_learnt_instead(kernel, residual, times, learning_rate=1.0, method="flow", loss="mean"):
    left = remaining_step_by_step(kernel, residual, times, learning_rate, method, loss)
    return np.asarray(residual) - left


# Task 3, right


def rate_by_torch(kernel, loss="mean"):
    return 2 / (_c(loss, len(kernel)) * torch.linalg.eigvalsh(torch.as_tensor(kernel))[-1])


def rate_by_power_iteration(kernel, loss="mean"):
    kernel = np.asarray(kernel)
    v = np.arange(1.0, len(kernel) + 1)
    for _ in range(1000):
        v = kernel @ v / np.linalg.norm(kernel @ v)
    return np.array([2 / _c(loss, len(kernel)) / (v @ kernel @ v)], dtype=np.float32)


# Task 3, wrong


def rate_for_the_sum(kernel, loss="mean"):
    return rate_by_torch(kernel, "sum")


def rate_without_the_two(kernel, loss="mean"):
    return rate_by_torch(kernel, loss) / 2


def rate_from_the_smallest(kernel, loss="mean"):
    return 2 / (_c(loss, len(kernel)) * np.linalg.eigvalsh(np.asarray(kernel))[0])


def rate_from_the_trace(kernel, loss="mean"):
    return 2 / (_c(loss, len(kernel)) * np.trace(np.asarray(kernel)))


def rate_of_fastest_convergence(kernel, loss="mean"):
    return 2 / (_c(loss, len(kernel)) * np.linalg.eigvalsh(np.asarray(kernel))[[0, -1]].sum())


def rate_with_mse_as_mean(kernel, loss="mean"):
    return rate_by_torch(kernel, "mean" if loss == "mse" else loss)


def rate_where_the_catapult_ends(kernel, loss="mean"):
    return 2 * rate_by_torch(kernel, loss)


# Task 4, right


def time_by_brentq(kernel, residual, fraction, learning_rate=1.0):
    return _root(kernel, residual, fraction, 2 * learning_rate / len(kernel))


def time_in_torch(kernel, residual, fraction, learning_rate=1.0):
    return torch.tensor(
        _root(kernel, residual, fraction, 2 * learning_rate / len(kernel)), dtype=torch.float32
    )


def _root(kernel, residual, fraction, speed):
    values, energies = (np.asarray(part) for part in energies_by_torch(kernel, residual))
    values = np.where(values > 1e-12 * values[0], values, 0.0)
    energies = energies / energies.sum()
    if energies[values == 0].sum() >= fraction:
        return math.inf
    end = math.log(1e3 / fraction) / (speed * values[values > 0][-1])

    def gap(t):
        return energies @ np.exp(-speed * values * t) - fraction

    while gap(end) > 0:
        end *= 2
    return optimize.brentq(gap, 0, end, xtol=1e-13, rtol=1e-14)


# Task 4, wrong


def time_of_the_residual(kernel, residual, fraction, learning_rate=1.0):
    return _root(kernel, residual, fraction**2, 2 * learning_rate / len(kernel))


def time_without_the_two(kernel, residual, fraction, learning_rate=1.0):
    return _root(kernel, residual, fraction, learning_rate / len(kernel))


def time_without_n(kernel, residual, fraction, learning_rate=1.0):
    return _root(kernel, residual, fraction, 2 * learning_rate)


def time_without_the_rate(kernel, residual, fraction, learning_rate=1.0):
    return _root(kernel, residual, fraction, 2 / len(kernel))


def time_of_the_bound(kernel, residual, fraction, learning_rate=1.0):
    values = np.linalg.eigvalsh(np.asarray(kernel))
    return len(kernel) * math.log(1 / fraction) / (2 * learning_rate * max(values[0], 1e-3))


def time_of_the_top_mode(kernel, residual, fraction, learning_rate=1.0):
    values = np.linalg.eigvalsh(np.asarray(kernel))
    return len(kernel) * math.log(1 / fraction) / (2 * learning_rate * values[-1])


def time_in_whole_steps(kernel, residual, fraction, learning_rate=1.0):
    return math.ceil(time_by_brentq(kernel, residual, fraction, learning_rate))


# Task 5, right


def waves_by_fourier(kernel):
    kernel = np.asarray(kernel)
    n = len(kernel)
    row = [np.mean([kernel[i, (i + shift) % n] for i in range(n)]) for shift in range(n)]
    return np.fft.rfft(row).real


def waves_by_quotients(kernel):
    kernel = torch.as_tensor(kernel)
    n, result = len(kernel), []
    angles = 2 * math.pi * torch.arange(n, dtype=kernel.dtype) / n
    for k in range(n // 2 + 1):
        waves = [(k * angles).cos()] + ([(k * angles).sin()] if 0 < k < n // 2 else [])
        result.append(sum(w @ kernel @ w / (w @ w) for w in waves) / len(waves))
    return torch.stack(result).float()


# Task 5, wrong


def waves_over_n(kernel):
    return waves_by_fourier(kernel) / len(kernel)


def waves_of_the_first_row(kernel):
    return np.fft.rfft(np.asarray(kernel)[0]).real


def waves_with_half_length_everywhere(kernel):
    result = waves_by_fourier(kernel)
    result[[0, -1]] *= 2
    return result


def waves_by_sorted_eigenvalues(kernel):
    return np.linalg.eigvalsh(np.asarray(kernel))[::-1][: len(kernel) // 2 + 1]


def waves_without_the_last(kernel):
    return waves_by_fourier(kernel)[:-1]


def waves_of_the_cosine_only(kernel):
    kernel = np.asarray(kernel)
    n = len(kernel)
    cos = np.cos(2 * np.pi * np.outer(np.arange(n // 2 + 1), np.arange(n)) / n)
    return (cos @ kernel * cos).sum(1) / (cos * cos).sum(1)


# Task 6, right


def share_by_hand(model, x, direction, learning_rate, size=1e-6):
    model = copy.deepcopy(model)
    u = torch.as_tensor(direction, dtype=x.dtype).reshape(-1, 1)
    y = model(x).detach() + size * u
    ((model(x) - y).square().sum() / (2 * len(x))).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0 if parameter.grad is None else learning_rate * parameter.grad
        return (u.flatten() @ (y - model(x)).flatten()) / (size * u.square().sum())


def share_by_the_kernel(model, x, direction, learning_rate, size=1e-6):
    rows = [torch.autograd.grad(f, list(model.parameters()), retain_graph=True) for f in model(x).flatten()]
    jacobian = torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])
    moved = jacobian.T @ torch.as_tensor(direction)
    return np.float32(1 - learning_rate / len(x) * float(moved @ moved / (direction @ direction)))


# Task 6, wrong


def _share(model, x, u, learning_rate, size, *, steps=1, wish=None):
    y = model(x).detach() + size * u[:, None]
    after = kit.trained(model, x, y if wish is None else wish(y), learning_rate, steps)(x).detach()
    return float((u @ (y - after)[:, 0]) / (size * (u @ u)))


def share_fulfilled(model, x, direction, learning_rate, size=1e-6):
    return 1 - _share(model, x, direction, learning_rate, size)


def share_without_length(model, x, direction, learning_rate, size=1e-6):
    return _share(model, x, direction, learning_rate, size) * float(direction @ direction)


def share_over_n(model, x, direction, learning_rate, size=1e-6):
    return _share(model, x, direction, learning_rate, size) * float(direction @ direction) / len(x)


def share_after_two_steps(model, x, direction, learning_rate, size=1e-6):
    return _share(model, x, direction, learning_rate, size, steps=2)


def share_with_flat_labels(model, x, direction, learning_rate, size=1e-6):
    return _share(model, x, direction, learning_rate, size, wish=lambda y: y[:, 0])


def share_for_the_sum(model, x, direction, learning_rate, size=1e-6):
    return _share(model, x, direction, learning_rate * len(x), size)


def share_of_a_large_wish(model, x, direction, learning_rate, size=1e-6):
    y = model(x).detach() + direction[:, None]
    after = kit.trained(model, x, y, learning_rate, 1)(x).detach()
    return float((y - after).norm() / direction.norm())


def share_squared(model, x, direction, learning_rate, size=1e-6):
    return _share(model, x, direction, learning_rate, size) ** 2


RIGHT = {
    "mode-energies": [energies_by_torch, energies_by_singular_values, energies_in_float32],
    "remaining": [remaining_by_matrix_functions, remaining_step_by_step, remaining_as_a_list],
    "largest-stable-rate": [rate_by_torch, rate_by_power_iteration],
    "time-to": [time_by_brentq, time_in_torch],
    "wave-eigenvalues": [waves_by_fourier, waves_by_quotients],
    "surviving-share": [share_by_hand, share_by_the_kernel],
}

WRONG = {
    "mode-energies": [
        energies_ascending,
        energies_by_rows,
        coefficients_not_squared,
        energies_over_n,
        energies_as_shares,
        energies_in_the_other_order,
    ],
    "remaining": [
        remaining_with_c_one,
        remaining_that_knows_one_loss,
        remaining_with_mse_as_sum,
        remaining_without_the_rate,
        remaining_as_for_the_loss,
        remaining_always_by_flow,
        remaining_in_the_eigenbasis,
        remaining_transposed,
        what_was_learnt_instead,
    ],
    "largest-stable-rate": [
        rate_for_the_sum,
        rate_without_the_two,
        rate_from_the_smallest,
        rate_from_the_trace,
        rate_of_fastest_convergence,
        rate_with_mse_as_mean,
        rate_where_the_catapult_ends,
    ],
    "time-to": [
        time_of_the_residual,
        time_without_the_two,
        time_without_n,
        time_without_the_rate,
        time_of_the_bound,
        time_of_the_top_mode,
        time_in_whole_steps,
    ],
    "wave-eigenvalues": [
        waves_over_n,
        waves_of_the_first_row,
        waves_with_half_length_everywhere,
        waves_by_sorted_eigenvalues,
        waves_without_the_last,
        waves_of_the_cosine_only,
    ],
    "surviving-share": [
        share_fulfilled,
        share_without_length,
        share_over_n,
        share_after_two_steps,
        share_with_flat_labels,
        share_for_the_sum,
        share_of_a_large_wish,
        share_squared,
    ],
}


# Independent values: the package, an ODE solver, scipy's root finder on the package's decay


def energies_of_the_package(kernel, residual):
    found = convergence.eigensystem(np.asarray(kernel))
    return found.eigenvalues, found.coefficients(np.asarray(residual)) ** 2


def remaining_by_an_ode_solver(kernel, residual, times, learning_rate=1.0, method="flow", loss="mean"):
    rate = learning_rate * {"mean": 1 / len(kernel), "sum": 1.0, "mse": 2 / len(kernel)}[loss]
    if method == "descent":
        zero = np.zeros(len(kernel))
        return nl.GradientDescent(kernel, zero, f0=residual, learning_rate=rate, loss="sum").train(times)
    speed = rate * kernel
    order = np.argsort(times)
    found = integrate.solve_ivp(
        lambda t, r: -speed @ r, (0, max(times)), residual, t_eval=times[order], rtol=1e-9, atol=1e-11
    )
    return found.y.T[np.argsort(order)]


def rate_of_the_package(kernel, loss="mean"):
    return (
        convergence.stable_rate(kernel, loss="sum")
        * {"mean": len(kernel), "sum": 1, "mse": len(kernel) / 2}[loss]
    )


def time_by_an_ode_solver(kernel, residual, fraction, learning_rate=1.0):
    start = residual @ residual

    def reached(t, r):
        return r @ r - fraction * start

    reached.terminal = True
    step = -learning_rate / len(kernel) * kernel
    found = integrate.solve_ivp(
        lambda t, r: step @ r, (0, 1e6), residual, events=reached, rtol=1e-9, atol=1e-11
    )
    return found.t_events[0][0]


def waves_by_a_unitary_transform(kernel):
    n = len(kernel)
    unitary = linalg.dft(n, scale="sqrtn")
    return np.diag(unitary @ kernel @ unitary.conj().T).real[: n // 2 + 1]


def share_of_the_package(model, x, direction, learning_rate, size=1e-6):
    kernel = torch.as_tensor(nl.empirical_ntk(model, x)).detach()
    return 1 - learning_rate / len(x) * float(direction @ kernel @ direction / (direction @ direction))


ORACLES = {
    "mode-energies": energies_of_the_package,
    "remaining": remaining_by_an_ode_solver,
    "largest-stable-rate": rate_of_the_package,
    "time-to": time_by_an_ode_solver,
    "wave-eigenvalues": waves_by_a_unitary_transform,
    "surviving-share": share_of_the_package,
}
