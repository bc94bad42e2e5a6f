"""Attempts at the problem dynamics/kernel_regression: right ones that must pass, wrong ones that must not."""

from __future__ import annotations

import math

import numpy as np
import scipy.linalg
import scipy.sparse.linalg
import torch

import ntklab as nl
from exercises import kit

# Task 2, the Jacobian: right


def by_torch_func(model, x):
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    parts = torch.func.jacrev(lambda p: torch.func.functional_call(model, p, (x,))[:, 0])(parameters)
    return torch.cat([part.flatten(1) for part in parts.values()], dim=1).numpy()


def in_float32(model, x):
    return by_torch_func(model, x).astype(np.float32)


def by_backward(model, x):
    rows = []
    for sample in x:
        model.zero_grad()
        model(sample[None]).sum().backward()
        rows.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    return torch.stack(rows)


# wrong


def transposed(model, x):
    return by_torch_func(model, x).T


def weights_only(model, x):
    parameters = [p for p in model.parameters() if p.ndim == 2]
    rows = [torch.autograd.grad(output, parameters, retain_graph=True) for output in model(x).flatten()]
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])


def gradient_of_the_mean(model, x):
    return by_torch_func(model, x) / len(x)


def gradients_that_accumulate(model, x):
    return np.cumsum(by_torch_func(model, x), axis=0)


def layers_in_reverse(model, x):
    rows = [
        torch.autograd.grad(output, list(model.parameters())[::-1], retain_graph=True)
        for output in model(x).flatten()
    ]
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])


# Task 2, the shortest way: right


def by_least_squares(jacobian, residual):
    return np.linalg.lstsq(jacobian, -residual, rcond=1e-8)[0]


def by_the_kernel(jacobian, residual):
    jacobian, residual = torch.as_tensor(jacobian), torch.as_tensor(residual)
    return -jacobian.T @ torch.linalg.pinv(jacobian @ jacobian.T, rtol=1e-12, hermitian=True) @ residual


def shortest_in_float32(jacobian, residual):
    return -np.linalg.pinv(jacobian.astype(np.float32), rcond=1e-5) @ residual.astype(np.float32)


def by_a_long_descent(jacobian, residual):
    change, rate = np.zeros(jacobian.shape[1]), 1 / np.linalg.norm(jacobian, 2) ** 2
    for _ in range(50_000):
        change -= rate * jacobian.T @ (jacobian @ change + residual)
    return change


# wrong


def in_the_wrong_direction(jacobian, residual):
    return -by_least_squares(jacobian, residual)


def one_gradient(jacobian, residual):
    return -jacobian.T @ residual


def divided_by_n(jacobian, residual):
    return by_least_squares(jacobian, residual) / len(residual)


def with_a_ridge(jacobian, residual):
    return -jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + np.eye(len(residual)), residual)


def a_longer_solution(jacobian, residual):
    change = by_least_squares(jacobian, residual)
    free = np.eye(len(change)) - np.linalg.pinv(jacobian, rcond=1e-8) @ jacobian
    return change + free @ np.ones(len(change)) + 0.1 * change


def with_the_kernel_forgotten(jacobian, residual):
    kernel = np.linalg.pinv(jacobian @ jacobian.T, rcond=1e-12)
    return -jacobian.T @ kernel @ kernel @ residual


# Tasks 3 and 4: right


def _spectral(share, k_train, k_test_train, y, f0_train, f0_test, cutoff=1e-10):
    """Outputs with ``share(eigenvalues)`` as what is learnt of each eigendirection."""
    values, vectors = np.linalg.eigh(k_train)
    kept = values > cutoff * values[-1]
    values, vectors = values[kept], vectors[:, kept]
    return f0_test + k_test_train @ (vectors @ (share(values) / values * (vectors.T @ (y - f0_train))))


def flow(k_train, k_test_train, y, f0_train, f0_test, t, learning_rate):
    return _spectral(
        lambda v: 1 - np.exp(-learning_rate * v * t / len(y)), k_train, k_test_train, y, f0_train, f0_test
    )


def flow_in_torch(k_train, k_test_train, y, f0_train, f0_test, t, learning_rate):
    k_train, k_test_train, y, f0_train, f0_test = map(
        torch.as_tensor, (k_train, k_test_train, y, f0_train, f0_test)
    )
    left = y - f0_train
    if not math.isinf(t):
        left = left - torch.linalg.matrix_exp(-learning_rate * t / len(y) * k_train) @ left
    return f0_test + k_test_train @ torch.linalg.pinv(k_train, rtol=1e-10, hermitian=True) @ left


def flow_in_float32(k_train, k_test_train, y, f0_train, f0_test, t, learning_rate):
    arrays = (a.astype(np.float32) for a in (k_train, k_test_train, y, f0_train, f0_test))
    return _spectral(lambda v: -np.expm1(-np.float32(learning_rate * t / len(y)) * v), *arrays, cutoff=1e-5)


def flow_row_by_row(k_train, k_test_train, y, f0_train, f0_test, t, learning_rate):
    rows = zip(k_test_train, f0_test, strict=True)
    return [flow(k_train, row[None], y, f0_train, np.array([start]), t, learning_rate) for row, start in rows]


def descent(k_train, k_test_train, y, f0_train, f0_test, steps, learning_rate):
    return _spectral(
        lambda v: 1 - (1 - learning_rate * v / len(y)) ** steps, k_train, k_test_train, y, f0_train, f0_test
    )


def descent_step_by_step(k_train, k_test_train, y, f0_train, f0_test, steps, learning_rate):
    train, test = f0_train.copy(), f0_test.copy()
    for _ in range(steps):
        residual = train - y
        train = train - learning_rate / len(y) * k_train @ residual
        test = test - learning_rate / len(y) * k_test_train @ residual
    return test


def descent_by_matrix_power(k_train, k_test_train, y, f0_train, f0_test, steps, learning_rate):
    power = np.linalg.matrix_power(np.eye(len(y)) - learning_rate / len(y) * k_train, steps)
    learnt = np.linalg.pinv(k_train, rcond=1e-10) @ (np.eye(len(y)) - power) @ (y - f0_train)
    return torch.as_tensor(f0_test + k_test_train @ learnt)


def descent_in_float32(k_train, k_test_train, y, f0_train, f0_test, steps, learning_rate):
    arrays = (a.astype(np.float32) for a in (k_train, k_test_train, y, f0_train, f0_test))
    return descent_step_by_step(*arrays, steps, np.float32(learning_rate))


# wrong: either function, with what it does at time t


def _wrong(predict, how):
    """A mistake in either function: ``how`` gets the seven arguments and returns them changed."""

    def attempt(*arguments):
        with np.errstate(all="ignore"):  # a rate that is too large
            return predict(*how(*arguments))

    return attempt


def _named(predict, mistakes):
    attempts = []
    for name, how in mistakes.items():
        attempt = _wrong(predict, how)
        attempt.__name__ = f"{predict.__name__}_{name}"
        attempts.append(attempt)
    return attempts


MISTAKES = {
    "of_half_the_sum": lambda k, row, y, f, start, t, rate: (k, row, y, f, start, t, rate * len(y)),
    "of_torch_mse_loss": lambda k, row, y, f, start, t, rate: (k, row, y, f, start, t, 2 * rate),
    "without_f0": lambda k, row, y, f, start, t, rate: (k, row, y, 0 * f, 0 * start, t, rate),
    "without_f0_on_the_training_inputs": lambda k, row, y, f, start, t, rate: (
        *(k, row, y, 0 * f, start),
        *(t, rate),
    ),
    "without_f0_on_the_test_inputs": lambda k, row, y, f, start, t, rate: (k, row, y, f, 0 * start, t, rate),
    "from_the_labels": lambda k, row, y, f, start, t, rate: (k, row, f, y, start, t, rate),
}


def flow_always_to_the_end(k_train, k_test_train, y, f0_train, f0_test, t, learning_rate):
    return flow(k_train, k_test_train, y, f0_train, f0_test, math.inf, learning_rate)


def flow_with_zero_eigenvalues_kept(k_train, k_test_train, y, f0_train, f0_test, t, learning_rate):
    values, vectors = np.linalg.eigh(k_train)
    with np.errstate(all="ignore"):
        share = (1 - np.exp(-learning_rate * values * t / len(y))) / values
        return f0_test + k_test_train @ (vectors * share) @ vectors.T @ (y - f0_train)


def flow_as_if_the_test_inputs_were_training_inputs(
    k_train, k_test_train, y, f0_train, f0_test, t, learning_rate
):
    full = flow(k_train, k_test_train, y, f0_train, f0_test, math.inf, learning_rate)
    speed = np.exp(-learning_rate * np.linalg.eigvalsh(k_train)[-1] * min(t, 1e9) / len(y))
    return full + speed * (f0_test - full)


def descent_by_the_exponential(k_train, k_test_train, y, f0_train, f0_test, steps, learning_rate):
    return flow(k_train, k_test_train, y, f0_train, f0_test, steps, learning_rate)


def descent_one_step_short(k_train, k_test_train, y, f0_train, f0_test, steps, learning_rate):
    return descent(k_train, k_test_train, y, f0_train, f0_test, steps - 1, learning_rate)


def descent_as_the_note_has_it(k_train, k_test_train, y, f0_train, f0_test, steps, learning_rate):
    with np.errstate(all="ignore"):
        power = np.linalg.matrix_power(np.eye(len(y)) - learning_rate * k_train, steps)
        return k_test_train @ np.linalg.pinv(k_train, rcond=1e-10) @ (np.eye(len(y)) - power) @ y


def descent_to_the_end(k_train, k_test_train, y, f0_train, f0_test, steps, learning_rate):
    return flow(k_train, k_test_train, y, f0_train, f0_test, math.inf, learning_rate)


# Task 6


def _limit(x1, x2):
    """By the package, not by the formula that the notebook gives."""
    arch = nl.Sequential(nl.Dense(1.0, 0.5), nl.Sin(), nl.Dense(1.0, 0.0))
    return arch.kernel(np.asarray(x1), np.asarray(x2)).ntk


def _setting(width, seed, steps):
    x, y = (a[:4] for a in kit.circle(6))
    test, _ = kit.circle(60, offset=0.5)
    net = kit.TwoLayerNet(width, activation=torch.sin, seed=seed)
    end = kit.trained(net, x, y, 2.0, steps)(test)[:, 0].detach().numpy()
    starts = [net(a)[:, 0].detach().numpy() for a in (x, test)]
    rows = [by_torch_func(net, a) for a in (x, test)]
    return x, test, y[:, 0].numpy(), end, starts, rows


def errors_step_by_step(
    width, seed, steps=100, predict=descent_step_by_step, scale=1.0, last=True, mean=np.mean
):
    x, test, y, end, (f0_train, f0_test), (train, other) = _setting(width, seed, steps)
    own, limit = (train @ train.T, other @ train.T), (_limit(x, x) * scale, _limit(test, x) * scale)
    cases = [(own, 1), (limit, 1), (limit, 0 if last else 1)]
    guesses = [predict(*k, y, on * f0_train, on * f0_test, steps, 2.0) for k, on in cases]
    return [math.sqrt(mean((np.asarray(guess) - end) ** 2)) for guess in guesses]


def errors_in_a_tensor(width, seed, steps=100):
    return torch.tensor(errors_step_by_step(width, seed, steps, predict=descent)).float()


def errors_at_infinite_time(width, seed, steps=100):
    return errors_step_by_step(width, seed, steps, predict=descent_to_the_end)


def errors_by_gradient_flow(width, seed, steps=100):
    return errors_step_by_step(width, seed, steps, predict=flow)


def errors_with_f0_everywhere(width, seed, steps=100):
    return errors_step_by_step(width, seed, steps, last=False)


def errors_summed(width, seed, steps=100):
    return errors_step_by_step(width, seed, steps, mean=np.sum)


def errors_with_half_the_sum(width, seed, steps=100):
    def predict(k, row, y, f0, start, steps, rate):
        return descent(k, row, y, f0, start, steps, rate * len(y) / 2)

    return errors_step_by_step(width, seed, steps, predict=predict)


def errors_in_another_order(width, seed, steps=100):
    return errors_step_by_step(width, seed, steps)[::-1]


def errors_that_ignore_the_steps(width, seed, steps=100):
    return errors_step_by_step(width, seed, 100)


RIGHT = {
    "jacobian": [by_torch_func, in_float32, by_backward],
    "minimum-norm-parameters": [by_least_squares, by_the_kernel, shortest_in_float32, by_a_long_descent],
    "flow-prediction": [flow, flow_in_torch, flow_in_float32, flow_row_by_row],
    "descent-prediction": [descent, descent_step_by_step, descent_by_matrix_power, descent_in_float32],
    "prediction-errors": [errors_step_by_step, errors_in_a_tensor],
}

WRONG = {
    "jacobian": [
        transposed,
        weights_only,
        gradient_of_the_mean,
        gradients_that_accumulate,
        layers_in_reverse,
    ],
    "minimum-norm-parameters": [
        in_the_wrong_direction,
        one_gradient,
        divided_by_n,
        with_a_ridge,
        a_longer_solution,
        with_the_kernel_forgotten,
    ],
    "flow-prediction": [
        *_named(flow, MISTAKES),
        flow_always_to_the_end,
        flow_with_zero_eigenvalues_kept,
        flow_as_if_the_test_inputs_were_training_inputs,
    ],
    "descent-prediction": [
        *_named(descent, MISTAKES),
        descent_by_the_exponential,
        descent_one_step_short,
        descent_as_the_note_has_it,
        descent_to_the_end,
    ],
    "prediction-errors": [
        errors_at_infinite_time,
        errors_by_gradient_flow,
        errors_with_f0_everywhere,
        errors_summed,
        errors_with_half_the_sum,
        errors_in_another_order,
        errors_that_ignore_the_steps,
    ],
}


# Independent values


def jacobian_by_differences(model, x, step=1e-5):
    columns = []
    with torch.no_grad():
        for parameter in model.parameters():
            for index in np.ndindex(*parameter.shape):
                kept, outputs = parameter[index].item(), []
                for sign in (1, -1):
                    parameter[index] = kept + sign * step
                    outputs.append(model(x)[:, 0])
                parameter[index] = kept
                columns.append((outputs[0] - outputs[1]) / (2 * step))
    return torch.stack(columns, dim=1)


def shortest_by_krylov(jacobian, residual):
    """LSQR from 0 converges to the least-squares solution of least norm."""
    return scipy.sparse.linalg.lsqr(jacobian, -residual, atol=1e-14, btol=1e-14)[0]


def flow_by_one_matrix_exponential(k_train, k_test_train, y, f0_train, f0_test, t, learning_rate):
    """Training and test outputs are one linear system of differential equations: no inverse of the kernel."""
    n, total = len(y), len(y) + len(f0_test)
    t = min(t, 1e6)  # e^(-1e3) is 0 for the kernels of the checks
    generator = np.zeros((total, total))
    generator[:n, :n], generator[n:, :n] = k_train, k_test_train
    state = scipy.linalg.expm(-learning_rate * t / n * generator) @ np.concatenate([f0_train - y, f0_test])
    return state[n:]


def descent_of_the_package(k_train, k_test_train, y, f0_train, f0_test, steps, learning_rate):
    rule = nl.GradientDescent(k_train, y, f0=f0_train, learning_rate=learning_rate)
    return rule.test(steps, k_test_train, f0_test)


def errors_of_the_package(width, seed, steps=100):
    x, test, y, end, starts, _ = _setting(width, seed, steps)
    net = kit.TwoLayerNet(width, activation=torch.sin, seed=seed)
    own = [nl.empirical_ntk(net, a, x).detach().numpy() for a in (x, test)]
    limit = [_limit(x, x), _limit(test, x)]
    guesses = [descent_of_the_package(*own, y, *starts, steps, 2.0)]
    guesses.append(descent_of_the_package(*limit, y, *starts, steps, 2.0))
    guesses.append(nl.GradientDescent(limit[0], y, learning_rate=2.0).test(steps, limit[1]))
    return [np.linalg.norm(guess - end) / math.sqrt(60) for guess in guesses]


ORACLES = {
    "jacobian": jacobian_by_differences,
    "minimum-norm-parameters": shortest_by_krylov,
    "flow-prediction": flow_by_one_matrix_exponential,
    "descent-prediction": descent_of_the_package,
    "prediction-errors": errors_of_the_package,
}
