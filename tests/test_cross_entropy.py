"""Gradient flow of the cross-entropy with a constant kernel, against closed forms and explicit descent."""

import numpy as np
import pytest
import torch
from scipy.optimize import check_grad, minimize
from scipy.special import expit, lambertw, log_softmax, softmax

from ntklab.cross_entropy import CrossEntropyFlow


def problem(n=8, m=4, k=3, features=12, seed=0):
    """A linear model's features, one-hot targets, labels and initial logits."""
    rng = np.random.default_rng(seed)
    phi, labels = rng.normal(size=(n + m, features)) / np.sqrt(features), rng.integers(k, size=n)
    labels[:k] = range(k)
    return phi[:n], phi[n:], np.eye(k)[labels], labels, rng.normal(size=(n + m, k))


def cross_entropy(logits, y):
    return -(y * log_softmax(logits, axis=-1)).sum(-1).mean(-1)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_one_sample_follows_the_lambert_function(label):
    """df/dt = kappa (1 - sigmoid f) has e^f + f = kappa t + e^f0 + f0, so f = c - W(e^c)."""
    kappa, f0, t = 1.7, -0.4, np.array([0.0, 0.5, 3.0, 40.0])
    sign = 2 * label - 1
    c = kappa * 0.3 * t + np.exp(f0) + f0
    expected = sign * (c - lambertw(np.exp(c)).real)
    flow = CrossEntropyFlow([[kappa]], [label], f0=sign * f0, learning_rate=0.3)
    np.testing.assert_allclose(flow.train(t)[:, 0], expected, rtol=1e-7)


@pytest.mark.parametrize("loss", ["mean", "sum"])
def test_flow_is_the_small_step_limit_of_descent_by_autograd_on_the_linear_model(loss):
    phi, phi_test, y, labels, f0 = problem()
    x, x_test, start = (torch.tensor(a) for a in (phi, phi_test, f0))
    t, results = 4.0, []
    for steps in (400, 800):
        weights = torch.zeros(12, 3, dtype=torch.float64, requires_grad=True)
        for _ in range(steps):
            logits = start[:8] + x @ weights
            value = torch.nn.functional.cross_entropy(logits, torch.tensor(labels), reduction=loss)
            (gradient,) = torch.autograd.grad(value, weights)
            weights = (weights - t / steps * gradient).detach().requires_grad_()
        results.append((start + torch.cat([x, x_test]) @ weights).detach().numpy())
    expected = 2 * results[1] - results[0]  # Richardson: the first-order error of descent removed
    flow = CrossEntropyFlow(phi @ phi.T, y, f0=f0[:8], loss=loss)
    np.testing.assert_allclose(flow.train(t), expected[:8], atol=2e-4)
    np.testing.assert_allclose(flow.test(t, phi_test @ phi.T, f0=f0[8:]), expected[8:], atol=2e-4)


def test_the_loss_falls_at_the_rate_of_its_squared_kernel_gradient():
    """dL/dt = -eta (p - y)' Theta (p - y) / n^2."""
    phi, _, y, _, f0 = problem()
    kernel, t, h = phi @ phi.T, 1.3, 1e-3
    flow = CrossEntropyFlow(kernel, y, f0=f0[:8], learning_rate=0.8)
    before, now, after = flow.train([t - h, t, t + h])
    slope = (cross_entropy(after, y) - cross_entropy(before, y)) / (2 * h)
    gap = softmax(now, axis=1) - y
    np.testing.assert_allclose(slope, -0.8 * np.trace(gap.T @ kernel @ gap) / 8**2, rtol=1e-5)


def test_the_sum_of_logits_is_conserved_and_the_loss_never_rises():
    phi, _, y, _, f0 = problem()
    t = np.geomspace(1e-2, 1e4, 40)
    logits = CrossEntropyFlow(phi @ phi.T, y, f0=f0[:8]).train(t)
    np.testing.assert_allclose(logits.sum(2), np.tile(f0[:8].sum(1), (40, 1)), atol=1e-7)
    assert (np.diff(cross_entropy(logits, y)) < 0).all()


def test_one_logit_is_two_classes_with_half_the_kernel():
    """f = f1 - f0 of two softmax outputs moves with twice the kernel of each."""
    phi, phi_test, _, _, _ = problem()
    y = np.array([0, 1, 1, 0, 1, 0, 0.25, 0.5])
    kernel, kernel_test = phi @ phi.T, phi_test @ phi.T
    one = CrossEntropyFlow(kernel, y)
    two = CrossEntropyFlow(kernel / 2, np.stack([1 - y, y], 1))
    t = [0.0, 1.0, 50.0]
    np.testing.assert_allclose(one.train(t), np.diff(two.train(t))[..., 0], atol=1e-6)
    difference = np.diff(two.test(t, kernel_test / 2))[..., 0]
    np.testing.assert_allclose(one.test(t, kernel_test), difference, atol=1e-6)


def test_soft_targets_and_a_full_rank_kernel_end_at_the_targets():
    phi, _, _, _, _ = problem(features=30)
    rng = np.random.default_rng(4)
    y = rng.dirichlet(np.ones(3), size=8)
    logits = CrossEntropyFlow(phi @ phi.T, y, loss="sum").train(1e4)
    np.testing.assert_allclose(softmax(logits, axis=1), y, atol=1e-6)


def test_soft_targets_and_few_features_end_at_logistic_regression():
    phi, phi_test, _, _, _ = problem(features=2)
    y = np.clip(np.random.default_rng(4).random(8), 0.1, 0.9)

    def objective(w):
        f = phi @ w
        return (np.logaddexp(0, f) - y * f).sum()

    def gradient(w):
        return phi.T @ (expit(phi @ w) - y)

    assert check_grad(objective, gradient, np.ones(2)) < 1e-5
    best = minimize(objective, np.zeros(2), jac=gradient, method="BFGS", options={"gtol": 1e-12}).x
    flow = CrossEntropyFlow(phi @ phi.T, y, loss="sum")
    np.testing.assert_allclose(flow.train(1e5), phi @ best, atol=1e-6)
    np.testing.assert_allclose(flow.test(1e5, phi_test @ phi.T), phi_test @ best, atol=1e-6)


def test_a_kernel_with_output_indices_is_theta_times_identity_where_outputs_do_not_couple():
    phi, phi_test, y, _, f0 = problem()
    kernel, kernel_test, eye = phi @ phi.T, phi_test @ phi.T, np.eye(3)
    shared = CrossEntropyFlow(kernel, y, f0=f0[:8])
    full = CrossEntropyFlow(np.einsum("ij,ab->ijab", kernel, eye), y, f0=f0[:8])
    np.testing.assert_allclose(full.train(5.0), shared.train(5.0), atol=1e-6)
    full_test = full.test(5.0, np.einsum("ij,ab->ijab", kernel_test, eye), f0=f0[8:])
    np.testing.assert_allclose(full_test, shared.test(5.0, kernel_test, f0=f0[8:]), atol=1e-6)


def test_coupled_outputs_obey_the_function_space_equation():
    rng = np.random.default_rng(2)
    phi = rng.normal(size=(5, 3, 20)) / 4
    kernel, y, h = np.einsum("iap,jbp->ijab", phi, phi), np.eye(3)[[0, 1, 2, 1, 0]], 1e-3
    before, now, after = CrossEntropyFlow(kernel, y).train([2 - h, 2, 2 + h])
    expected = np.einsum("ijab,jb->ia", kernel, y - softmax(now, axis=1)) / 5
    np.testing.assert_allclose((after - before) / (2 * h), expected, atol=1e-5)


@pytest.mark.parametrize("couple", [False, True])
def test_the_jacobian_is_the_derivative_of_the_velocity(couple):
    phi, _, y, _, f0 = problem()
    kernel = phi @ phi.T
    targets = [y] if couple else [y, y[:, 0]]
    for y in targets:
        full = np.einsum("ij,ab->ijab", kernel, np.eye(3) + 0.2) if couple else kernel
        flow = CrossEntropyFlow(full, y, f0=f0[:8] if y.ndim == 2 else f0[:8, 0])
        b = np.random.default_rng(0).normal(size=flow._features.shape[1] * flow._columns)
        h = 1e-6 * np.eye(len(b))
        slopes = [(flow._velocity(0, b + e) - flow._velocity(0, b - e)) / 2e-6 for e in h]
        np.testing.assert_allclose(flow._jacobian(0, b), np.transpose(slopes), atol=1e-9)


def test_stiff_long_times_stay_accurate():
    """Eigenvalues over eight decades; the explicit and the implicit solver agree on a time both can reach."""
    rng = np.random.default_rng(1)
    q, _ = np.linalg.qr(rng.normal(size=(10, 10)))
    kernel = q * np.geomspace(1e-6, 1e2, 10) @ q.T
    y = (rng.random(10) > 0.5).astype(float)
    flow = CrossEntropyFlow(kernel, y)
    implicit = flow.train([10.0, 1e7])
    gap = y - expit(implicit[1])
    assert np.abs(gap).max() < 1e-2 and np.isfinite(implicit).all()
    from scipy.integrate import solve_ivp

    explicit = solve_ivp(
        lambda _, f: kernel @ (y - expit(f)) / 10,
        (0, 10),
        np.zeros(10),
        method="DOP853",
        rtol=1e-11,
        atol=1e-12,
    )
    np.testing.assert_allclose(implicit[0], explicit.y[:, -1], atol=1e-6)


def test_order_and_repetition_of_times_dtypes_and_libraries():
    phi, phi_test, y, _, _ = problem()
    kernel = phi @ phi.T
    flow = CrossEntropyFlow(kernel, y)
    result = flow.train([3.0, 0.0, 3.0, 1.0])
    np.testing.assert_array_equal(result[0], result[2])
    np.testing.assert_array_equal(result[1], 0)
    np.testing.assert_allclose(result[3], flow.train(1.0), atol=1e-7)
    low = CrossEntropyFlow(torch.tensor(kernel, dtype=torch.float32), torch.tensor(y, dtype=torch.float32))
    assert low.train(1.0).dtype == torch.float32 and low.train(1.0).shape == (8, 3)
    assert isinstance(low.test(1.0, torch.tensor(phi_test @ phi.T)), torch.Tensor)
    np.testing.assert_allclose(low.train(1.0), flow.train(1.0), atol=1e-4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"y": [0, 1, 2]}, "one-hot"),
        ({"y": [-1.0, 1.0, 0.0]}, "probabilities"),
        ({"y": [[0.5, 0.6], [1, 0], [0, 1]]}, "add up to 1"),
        ({"y": np.ones((3, 1))}, "k at least 2"),
        ({"k_train": np.ones((3, 2))}, "k_train"),
        ({"y": [0.0, 1.0]}, "y must have shape"),
        ({"loss": "half"}, "loss"),
        ({"learning_rate": 0}, "learning_rate"),
    ],
)
def test_illegal_problems_are_refused_by_name(change, words):
    with pytest.raises(ValueError, match=words):
        CrossEntropyFlow(**{"k_train": np.eye(3), "y": [0.0, 1.0, 1.0], **change})


def test_infinite_time_is_refused_because_separable_logits_never_stop():
    with pytest.raises(ValueError, match="t must be finite"):
        CrossEntropyFlow(np.eye(2), [0.0, 1.0]).train(float("inf"))
