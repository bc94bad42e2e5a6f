"""Ensembles of trained infinite networks and the Bayesian posterior, against sampling and linear algebra."""

from collections import namedtuple

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF

import ntklab as nl
from ntklab.dynamics import GradientFlow
from ntklab.ensemble import ensemble, gp_posterior

INF = float("inf")
Kernels = namedtuple("Kernels", "nngp ntk")


class Gaussians:
    """A stand-in for an architecture: K = exp(-|x - x'|^2 / 2), Theta = K (1 + slope x.x')."""

    def __init__(self, slope=1.0):
        self.slope = slope

    def kernel(self, x1, x2=None):
        x2 = x1 if x2 is None else x2
        square = (x1 * x1).sum(1)[:, None] + (x2 * x2).sum(1) - 2 * x1 @ x2.T
        exp = torch.exp if isinstance(square, torch.Tensor) else np.exp
        nngp = exp(-square / 2)
        return Kernels(nngp, nngp * (1 + self.slope * x1 @ x2.T))


class Linear:
    """A linear model f = x.w with w ~ N(0, I): both kernels are x.x', of rank d."""

    def kernel(self, x1, x2=None):
        return Kernels(*2 * (x1 @ (x1 if x2 is None else x2).T,))


def points(n=7, m=5, d=2, outputs=None, seed=0):
    rng = np.random.default_rng(seed)
    shape = (n,) if outputs is None else (n, outputs)
    return rng.normal(size=(n, d)), rng.normal(size=shape), rng.normal(size=(m, d))


@pytest.mark.parametrize(("t", "loss"), [(3.0, "mean"), (0.8, "sum"), (INF, "mean")])
def test_ensemble_has_the_moments_of_sampled_networks_each_trained_by_gradient_flow(t, loss):
    x, y, x_test = points(n=5, m=4)
    arch, draws, rate = Gaussians(), 40_000, 0.7
    train, cross = arch.kernel(x), arch.kernel(x_test, x)
    joint = arch.kernel(np.vstack([x, x_test])).nngp
    f0 = np.random.default_rng(1).multivariate_normal(np.zeros(9), joint, size=draws).T
    flow = GradientFlow(train.ntk, np.tile(y[:, None], draws), f0=f0[:5], learning_rate=rate, loss=loss)
    samples = flow.test(t, cross.ntk, f0=f0[5:])

    mean, covariance = ensemble(arch, x, y, x_test, t=t, learning_rate=rate, loss=loss)
    variance = np.diag(covariance)
    error_of_mean = np.sqrt(variance / draws)
    error_of_covariance = np.sqrt((np.outer(variance, variance) + covariance**2) / draws)
    assert (np.abs(samples.mean(1) - mean) < 4 * error_of_mean).all()
    assert (np.abs(np.cov(samples) - covariance) < 4 * error_of_covariance).all()


def test_covariance_solves_its_own_differential_equation():
    """d f/dt = -eta Theta (f - y) is linear in f: the joint covariance obeys dC/dt = -(M C + C M')."""
    x, y, x_test = points(n=4, m=3)
    arch = Gaussians()
    both = np.vstack([x, x_test])
    drift = np.zeros((7, 7))
    drift[:, :4] = arch.kernel(both, x).ntk / 4

    def velocity(_, c):
        c = c.reshape(7, 7)
        return -(drift @ c + c @ drift.T).ravel()

    start = arch.kernel(both).nngp.ravel()
    t = [0.5, 4.0]
    solution = solve_ivp(velocity, (0, 4), start, t_eval=t, rtol=1e-11, atol=1e-12).y.T.reshape(2, 7, 7)
    np.testing.assert_allclose(ensemble(arch, x, y, x_test, t=t).covariance, solution[:, 4:, 4:], atol=1e-8)


def test_at_time_zero_the_ensemble_is_the_prior():
    x, y, x_test = points(outputs=2)
    mean, covariance = ensemble(Gaussians(), x, y, x_test, t=0)
    np.testing.assert_array_equal(mean, np.zeros((5, 2)))
    np.testing.assert_allclose(covariance, Gaussians().kernel(x_test).nngp, rtol=1e-14)


def test_where_theta_equals_k_the_trained_ensemble_is_the_noise_free_posterior_and_else_it_is_not():
    x, y, x_test = points()
    readout_only, all_layers = Gaussians(slope=0.0), Gaussians(slope=1.0)
    trained, bayes = ensemble(readout_only, x, y, x_test), gp_posterior(readout_only, x, y, x_test)
    np.testing.assert_allclose(trained.mean, bayes.mean, atol=1e-9)
    np.testing.assert_allclose(trained.covariance, bayes.covariance, atol=1e-9)

    trained, bayes = ensemble(all_layers, x, y, x_test), gp_posterior(all_layers, x, y, x_test)
    assert np.abs(trained.mean - bayes.mean).max() > 1e-2
    assert np.linalg.eigvalsh(trained.covariance - bayes.covariance)[0] > -1e-10  # no estimator beats Bayes


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_training_only_the_readout_of_a_deep_network_samples_its_noise_free_posterior(dtype):
    x, y, x_test = (a.astype(dtype) for a in points(n=6, d=4))
    frozen = nl.Dense(1.4, 0.2, trainable=False)
    arch = nl.Sequential(frozen, nl.ReLU(), frozen, nl.Erf(), nl.Dense(1.1))
    trained, bayes = ensemble(arch, x, y, x_test), gp_posterior(arch, x, y, x_test)
    tolerance = 1e-10 if dtype == np.float64 else 1e-3
    np.testing.assert_allclose(trained.mean, bayes.mean, atol=tolerance)
    np.testing.assert_allclose(trained.covariance, bayes.covariance, atol=tolerance)
    assert trained.mean.dtype == trained.covariance.dtype == dtype


def test_infinite_time_is_the_closed_form_by_linear_solves():
    x, y, x_test = points()
    arch = Gaussians()
    train, cross, test = arch.kernel(x), arch.kernel(x_test, x), arch.kernel(x_test)
    a = np.linalg.solve(train.ntk, cross.ntk.T).T
    mixed = a @ cross.nngp.T
    mean, covariance = ensemble(arch, x, y, x_test)
    np.testing.assert_allclose(mean, a @ y, atol=1e-9)
    np.testing.assert_allclose(covariance, test.nngp - mixed - mixed.T + a @ train.nngp @ a.T, atol=1e-9)


def test_a_linear_model_with_fewer_features_than_samples_ends_at_least_squares_without_variance():
    x, y, x_test = points(n=9, d=3)
    for mean, covariance in (ensemble(Linear(), x, y, x_test), gp_posterior(Linear(), x, y, x_test)):
        np.testing.assert_allclose(mean, x_test @ np.linalg.lstsq(x, y, rcond=None)[0], atol=1e-11)
        np.testing.assert_allclose(covariance, 0, atol=1e-12)
        assert (np.diag(covariance) >= 0).all()


def test_a_linear_model_with_more_features_keeps_its_prior_on_what_the_data_do_not_see():
    x, y, x_test = points(n=3, d=6)
    unseen = np.eye(6) - np.linalg.pinv(x) @ x
    for mean, covariance in (ensemble(Linear(), x, y, x_test), gp_posterior(Linear(), x, y, x_test)):
        np.testing.assert_allclose(mean, x_test @ np.linalg.pinv(x) @ y, atol=1e-12)
        np.testing.assert_allclose(covariance, x_test @ unseen @ x_test.T, atol=1e-12)


@pytest.mark.parametrize("noise", [0.0, 1e-3, 0.5])
def test_gp_posterior_agrees_with_scikit_learn(noise):
    x, y, x_test = points()
    peer = GaussianProcessRegressor(RBF(1.0), alpha=max(noise, 1e-13), optimizer=None).fit(x, y)
    mean, covariance = peer.predict(x_test, return_cov=True)
    ours = gp_posterior(Gaussians(), x, y, x_test, noise=noise)
    np.testing.assert_allclose(ours.mean, mean, atol=1e-8)
    np.testing.assert_allclose(ours.covariance, covariance, atol=1e-8)


@pytest.mark.parametrize("predict", [ensemble, gp_posterior])
def test_duplicated_and_repeated_points_are_interpolated_with_variance_zero(predict):
    x, y, _ = points()
    x, y = (
        np.vstack([x, x[:2]]),
        np.concatenate([y, y[:2] + np.array([0.3, 0.0])]),
    )  # one duplicate with another label
    mean, covariance = predict(Gaussians(), x, y, x[:3])
    expected = y[:3] + np.array([0.15, 0, 0])  # two labels for one point: their mean
    np.testing.assert_allclose(mean, expected, atol=1e-8)
    np.testing.assert_allclose(covariance, 0, atol=1e-8)
    assert (np.diag(covariance) >= 0).all()


@pytest.mark.parametrize("t", [0.0, 1.0, 100.0, INF])
def test_covariance_is_exactly_symmetric_and_positive_semidefinite_to_rounding(t):
    x, y, x_test = points(n=20, m=30)
    for covariance in (
        ensemble(Gaussians(), x, y, x_test, t=t)[1],
        gp_posterior(Gaussians(), x, y, x_test)[1],
    ):
        np.testing.assert_array_equal(covariance, covariance.T)
        assert np.linalg.eigvalsh(covariance)[0] > -1e-8


def test_a_vector_of_times_puts_a_leading_axis_and_outputs_share_the_covariance():
    x, y, x_test = points(outputs=3)
    t = [0.0, 2.0, INF]
    mean, covariance = ensemble(Gaussians(), x, y, x_test, t=t)
    assert mean.shape == (3, 5, 3) and covariance.shape == (3, 5, 5)
    for i, moment in enumerate(t):
        single = ensemble(Gaussians(), x, y[:, 1], x_test, t=moment)
        np.testing.assert_allclose(mean[i, :, 1], single.mean, atol=1e-12)
        np.testing.assert_allclose(covariance[i], single.covariance, atol=1e-12)
    posterior = gp_posterior(Gaussians(), x, y, x_test, noise=0.1)
    assert posterior.mean.shape == (5, 3) and posterior.covariance.shape == (5, 5)


@pytest.mark.parametrize("predict", [ensemble, gp_posterior])
def test_library_and_dtype_follow_the_arguments(predict):
    x, y, x_test = points(n=4)
    exact = predict(Gaussians(), x, y, x_test)
    x32, y32, x_test32 = (torch.tensor(a, dtype=torch.float32) for a in (x, y, x_test))
    low = predict(Gaussians(), x32, y32, x_test32)
    assert low.mean.dtype == low.covariance.dtype == torch.float32
    np.testing.assert_allclose(low.mean, exact.mean, atol=1e-3)
    assert isinstance(exact.mean, np.ndarray) and exact.covariance.dtype == np.float64
    assert isinstance(predict(Gaussians(), x, torch.tensor(y), x_test).mean, torch.Tensor)


@pytest.mark.parametrize("predict", [ensemble, gp_posterior])
def test_illegal_arguments_are_refused_by_name(predict):
    x, y, x_test = points()
    for wrong in (y[:-1], np.ones((7, 2, 2)), 1.0):
        with pytest.raises(ValueError, match="y must have shape"):
            predict(Gaussians(), x, wrong, x_test)
    with pytest.raises(ValueError, match="y must be finite"):
        predict(Gaussians(), x, np.full(7, np.nan), x_test)
    with pytest.raises(ValueError, match="noise"):
        gp_posterior(Gaussians(), x, y, x_test, noise=-0.1)
    with pytest.raises(ValueError, match="t must"):
        ensemble(Gaussians(), x, y, x_test, t=-1)
    with pytest.raises(ValueError, match="loss"):
        ensemble(Gaussians(), x, y, x_test, loss="huber")
