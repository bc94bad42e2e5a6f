"""Learning curves against closed forms, mpmath, simulations, the sphere and real digits."""

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import ntklab as nl
from ntklab.convergence import gegenbauer, sphere_spectrum
from ntklab.generalization import (
    Pool,
    effective_regularization,
    from_data,
    kare,
    learnabilities,
    learning_curve,
)

MODES = np.arange(1, 121.0) ** -1.4
TARGET = np.arange(1, 121.0) ** -0.9


# --- the implicit equation ---------------------------------------------------------------------------------

modes_and_more = st.tuples(
    st.lists(st.floats(-30, 30), min_size=1, max_size=6),  # log10 of eigenvalues
    st.lists(st.integers(1, 10**6), min_size=6, max_size=6),
    st.floats(0.001, 0.999),
    st.one_of(st.none(), st.floats(-30, 30)),
)


def exact_kappa(modes, count, n, ridge):
    """The root by bisection in log kappa with 60 digits."""
    with mpmath.workdps(60):
        modes = [mpmath.mpf(float(m)) for m in modes]
        excess = lambda k: sum(c * m / (m + k) for c, m in zip(count, modes, strict=True)) + ridge / k - n  # noqa: E731
        low, high = mpmath.mpf(-400), mpmath.mpf(400)
        for _ in range(180):
            middle = (low + high) / 2
            low, high = (middle, high) if excess(mpmath.exp(middle)) > 0 else (low, middle)
        return float(mpmath.exp(low))


@given(modes_and_more)
@hypothesis_settings(max_examples=40)
def test_kappa_is_the_root_over_sixty_orders_of_magnitude_and_large_multiplicities(case):
    exponents, count, share, ridge = case
    modes, count = 10.0 ** np.array(exponents), np.array(count[: len(exponents)], dtype=float)
    n = share * count.sum() * (1 if ridge is None else 3)
    ridge = 0.0 if ridge is None else 10.0**ridge
    expected = exact_kappa(modes, count, mpmath.mpf(n), mpmath.mpf(ridge))
    assert effective_regularization(modes, n, ridge, count) == pytest.approx(expected, rel=1e-8)


def test_a_flat_spectrum_gives_the_root_of_a_quadratic():
    n, ridge = np.array([1.0, 30, 99, 100, 101, 5000]), 0.7
    b = n * 2 - 100 * 2 - ridge  # n kappa^2 + (n a - M a - ridge) kappa - ridge a = 0 with a = 2, M = 100
    expected = (-b + np.sqrt(b**2 + 4 * n * 2 * ridge)) / (2 * n)
    np.testing.assert_allclose(effective_regularization(np.full(100, 2.0), n, ridge), expected, rtol=1e-10)
    np.testing.assert_allclose(effective_regularization([2.0], n, ridge, [100]), expected, rtol=1e-10)
    below = effective_regularization([2.0], [1, 50, 99.999], 0.0, [100])
    np.testing.assert_allclose(below, 2 * (100 / np.array([1, 50, 99.999]) - 1), rtol=1e-9)


def test_without_ridge_kappa_vanishes_at_the_number_of_nonzero_modes_as_theory_says():
    modes = np.append(MODES, np.zeros(10))
    np.testing.assert_array_equal(effective_regularization(modes, [120, 121, 500]), 0.0)
    for gap in (1e-3, 1e-6, 1e-9):
        expected = gap / (1 / MODES).sum()
        assert effective_regularization(modes, 120 - gap) == pytest.approx(expected, rel=max(2 * gap, 1e-4))
    for ridge in (1e-6, 1e-9):  # beyond, kappa = ridge / (n - M)
        assert effective_regularization(MODES, 150, ridge) == pytest.approx(
            ridge / 30, rel=10 * ridge / MODES[-1]
        )


def test_kappa_falls_with_n_and_grows_with_the_ridge_and_many_samples_learn_everything():
    n = np.geomspace(0.1, 119, 40)
    for ridge in (0.0, 1e-4, 1.0):
        assert (np.diff(effective_regularization(MODES, n, ridge)) < 0).all()
    kappa = effective_regularization(MODES, 50, [0, 1e-6, 1e-2, 1, 100])
    assert (np.diff(kappa) > 0).all()
    assert (np.diff(learning_curve(MODES, TARGET, n).bias) < 0).all()
    far = learning_curve(MODES, TARGET, 1e9, ridge=1.0, noise=0.1)
    assert far.test_error < 1e-6 and far.train_error == pytest.approx(0.1, rel=1e-4)


def test_few_samples_learn_nothing():
    curve = learning_curve(MODES, TARGET, 1e-6)
    assert curve.test_error == pytest.approx((TARGET**2).sum(), rel=1e-5)


# --- structure ---------------------------------------------------------------------------------------------


@given(st.floats(0.5, 500), st.floats(0, 10), st.floats(0, 3))
@hypothesis_settings(max_examples=40)
def test_learnabilities_are_shares_and_sum_to_n_minus_ridge_over_kappa(n, ridge, noise):
    shares = learnabilities(MODES, n, ridge)
    kappa = effective_regularization(MODES, n, ridge)
    assert ((shares >= 0) & (shares <= 1)).all()
    budget = n - ridge / kappa if kappa > 0 else len(MODES)
    assert shares.sum() == pytest.approx(budget, rel=1e-9, abs=1e-9)
    curve = learning_curve(MODES, TARGET, n, ridge=ridge, noise=noise)
    np.testing.assert_allclose(curve.learnability, shares)
    assert curve.bias == pytest.approx(((1 - shares) ** 2) @ TARGET**2)
    factor = n / (n - (shares**2).sum())
    if n - (shares**2).sum() > 1e-6 * n:
        assert curve.overfitting == pytest.approx(factor, rel=1e-7)
        assert curve.test_error == pytest.approx(factor * (curve.bias + noise) - noise, rel=1e-6, abs=1e-12)
    assert curve.test_error == pytest.approx(curve.bias + curve.variance + curve.noise)


def test_multiplicities_are_repeated_eigenvalues():
    values, count = np.array([2.0, 0.5, 0.01, 0.0]), np.array([1, 4, 30, 5])
    repeated = np.repeat(values, count)
    v = np.random.default_rng(0).normal(size=40)
    groups = np.split(v, np.cumsum(count)[:-1])
    together = np.array([np.linalg.norm(g) for g in groups])
    for n, ridge in ((3, 0.0), (20, 0.1), (34.9, 0.0), (60, 0.0), (60, 2.0)):
        one = learning_curve(repeated, v, n, ridge=ridge, noise=0.3)
        other = learning_curve(values, together, n, ridge=ridge, noise=0.3, multiplicities=count)
        for a, b in zip(one[1:-1], other[1:-1], strict=True):
            assert a == pytest.approx(b, rel=1e-9)


def test_only_the_ratio_of_kernel_and_ridge_matters():
    plain = learning_curve(MODES, TARGET, [5, 50, 200], ridge=0.3, noise=0.1)
    for scale in (1e-200, 1e200):
        scaled = learning_curve(MODES * scale, TARGET, [5, 50, 200], ridge=0.3 * scale, noise=0.1)
        np.testing.assert_allclose(scaled.test_error, plain.test_error, rtol=1e-10)
        np.testing.assert_allclose(scaled.kappa, plain.kappa * scale, rtol=1e-10)


def test_what_no_mode_can_express_acts_as_noise():
    outside = learning_curve(np.append(MODES, 0.0), np.append(TARGET, 0.5), [10, 60, 200], ridge=0.05)
    noisy = learning_curve(MODES, TARGET, [10, 60, 200], ridge=0.05, noise=0.25)
    np.testing.assert_allclose(outside.test_error, noisy.test_error + 0.25, rtol=1e-10)
    np.testing.assert_allclose(outside.train_error, noisy.train_error, rtol=1e-10)


def test_outputs_add_up():
    v = np.random.default_rng(0).normal(size=(120, 3))
    whole = learning_curve(MODES, v, [10, 50], ridge=0.1).test_error
    np.testing.assert_allclose(
        whole, sum(learning_curve(MODES, v[:, j], [10, 50], ridge=0.1).test_error for j in range(3))
    )


def test_at_the_interpolation_threshold_only_noise_and_misfit_diverge():
    exact = learning_curve(MODES, TARGET, 120)
    assert exact.test_error == 0.0 and exact.train_error == 0.0
    noisy = learning_curve(MODES, TARGET, 120, noise=0.1)
    assert noisy.test_error == math.inf and noisy.train_error == 0.0
    beyond = learning_curve(MODES, TARGET, 200, noise=0.1)  # least squares with 120 features
    assert beyond.noise == pytest.approx(0.1 * 120 / 80) and beyond.train_error == pytest.approx(
        0.1 * 80 / 200
    )


def test_torch_in_gives_torch_out_numbers_stay_numbers_and_vectors_broadcast():
    modes = torch.tensor(MODES)
    curve = learning_curve(modes, torch.tensor(TARGET), torch.tensor([5.0, 50.0]))
    assert isinstance(curve.test_error, torch.Tensor) and curve.learnability.shape == (2, 120)
    np.testing.assert_allclose(curve.test_error.numpy(), learning_curve(MODES, TARGET, [5, 50]).test_error)
    single = learning_curve(MODES, TARGET, 5)
    assert isinstance(single.test_error, float) and single.learnability.shape == (120,)
    swept = learning_curve(MODES, TARGET, 50, ridge=np.geomspace(1e-3, 1, 7), noise=0.2)
    assert swept.test_error.shape == swept.n.shape == (7,)
    low = learning_curve(MODES.astype(np.float32), TARGET.astype(np.float32), [5, 50])
    np.testing.assert_allclose(low.test_error, learning_curve(MODES, TARGET, [5, 50]).test_error, rtol=1e-5)


# --- simulations -------------------------------------------------------------------------------------------


def gaussian_trials(n, ridge, noise, trials, seed=0):
    """Coefficients (trials, M) of regression with Gaussian features of variance MODES, and training errors."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(trials, n, len(MODES)))
    y = x @ TARGET + noise**0.5 * rng.normal(size=(trials, n))
    k = (x * MODES) @ x.transpose(0, 2, 1)
    dual = np.linalg.solve(k + ridge * np.eye(n), y[..., None])
    return (MODES * (x.transpose(0, 2, 1) @ dual)[..., 0]), ((ridge * dual[..., 0]) ** 2).mean(1)


@pytest.mark.parametrize(
    ("n", "ridge", "noise"), [(40, 0.0, 0.0), (40, 0.3, 0.25), (80, 0.02, 0.25), (200, 1.0, 1.0)]
)
def test_every_part_of_the_error_agrees_with_gaussian_features(n, ridge, noise):
    found, train = gaussian_trials(n, ridge, noise, trials=300)
    curve = learning_curve(MODES, TARGET, n, ridge=ridge, noise=noise)
    errors = ((found - TARGET) ** 2).sum(1)
    agree(errors, curve.test_error, n)
    agree(train, curve.train_error, n)
    mean = found.mean(0)
    scatter = found.var(0, ddof=1).sum()
    bias = ((mean - TARGET) ** 2).sum() - scatter / len(found)
    assert bias == pytest.approx(curve.bias, rel=0.1)
    assert scatter == pytest.approx(curve.variance + curve.noise, rel=0.1)
    error = found.std(0, ddof=1) / len(found) ** 0.5 / TARGET
    assert (abs(mean / TARGET - curve.learnability)[:20] < 4 * error[:20] + 1 / n).all()


def agree(values, predicted, n):
    """Within three standard errors, and the theory's own error of relative order 1/n."""
    error = np.std(values, ddof=1) / len(values) ** 0.5
    assert abs(np.mean(values) - predicted) <= 3 * error + predicted / n + 1e-12


@pytest.mark.parametrize(
    ("n", "ridge", "noise"),
    [(30, 0.0, 0.0), (60, 40.0, 0.1), (120, 1.0, 0.1), (140, 0.0, 0.0), (190, 0.0, 0.1)],
)
def test_in_a_pool_with_eigenvectors_in_random_position_every_part_agrees(n, ridge, noise):
    size, rng = 200, np.random.default_rng(0)
    modes = np.append(MODES, np.zeros(80))  # rank 120
    v = np.append(TARGET, np.full(80, 0.05))
    curve = Pool(modes, v).learning_curve(n, ridge=ridge, noise=noise)
    test, train, inside = [], [], []
    for _ in range(200):
        u = np.linalg.qr(rng.normal(size=(size, size)))[0]
        k, y = size * (u * modes) @ u.T, size**0.5 * u @ v
        e = noise**0.5 * rng.normal(size=n)
        # lstsq gives the least-norm solution where the kernel of the sample is singular
        dual = np.linalg.lstsq(k[:n, :n] + ridge * np.eye(n), y[:n] + e, rcond=1e-9)[0]
        test.append(((k[n:, :n] @ dual - y[n:]) ** 2).mean())
        train.append(((k[:n, :n] @ dual - y[:n] - e) ** 2).mean())
        inside.append(u[n:, 0] @ (k[n:, :n] @ dual) * size**0.5 / (size - n))
    agree(test, curve.test_error, n)
    agree(train, curve.train_error, n)
    error = np.std(inside, ddof=1) / len(inside) ** 0.5
    assert abs(np.mean(inside) - curve.learnability[0] * v[0]) < 4 * error + 1 / n


def test_a_large_pool_gives_the_curve_of_infinitely_many_points():
    for n, ridge, noise in ((20, 0.3, 0.1), (60, 0.0, 0.1), (100, 1.0, 0.0)):
        size = 100_000
        pool = Pool(np.append(MODES, np.zeros(size - 120)), np.append(TARGET, np.zeros(size - 120)))
        finite, infinite = (
            pool.learning_curve(n, ridge=ridge, noise=noise),
            learning_curve(MODES, TARGET, n, ridge=ridge, noise=noise),
        )
        for name in ("test_error", "bias", "variance", "noise", "train_error", "kappa", "overfitting"):
            assert getattr(finite, name) == pytest.approx(
                getattr(infinite, name), rel=20 * n / size, abs=1e-12
            ), name


def test_learnabilities_off_the_training_set_sum_to_zero_because_no_point_predicts_itself():
    pool = Pool(MODES, TARGET)
    for n, ridge in ((10, 0.0), (60, 1.0), (110, 0.0)):
        assert pool.learning_curve(n, ridge=ridge).learnability.sum() == pytest.approx(0, abs=1e-9)


# --- from data ---------------------------------------------------------------------------------------------


def test_a_pool_from_data_keeps_the_mean_square_of_the_targets_and_the_trace():
    rng = np.random.default_rng(0)
    a, y = rng.normal(size=(50, 20)), rng.normal(size=(50, 2))
    pool = from_data(a @ a.T, y)
    assert pool.coefficients.shape == (50, 2) and pool.eigenvalues.shape == (50,)
    np.testing.assert_allclose((pool.coefficients**2).sum(0), (y**2).mean(0))
    assert pool.eigenvalues.sum() == pytest.approx(np.trace(a @ a.T) / 50)
    one = from_data(torch.tensor(a @ a.T), torch.tensor(y[:, 0]))
    assert isinstance(one.eigenvalues, torch.Tensor)
    both = pool.learning_curve([5, 10], ridge=1.0).test_error
    other = from_data(a @ a.T, y[:, 1]).learning_curve([5, 10], ridge=1.0).test_error
    np.testing.assert_allclose(both, one.learning_curve([5, 10], ridge=1.0).test_error.numpy() + other)


def test_kare_is_leave_one_out_where_all_points_are_alike():
    angle = 2 * np.pi * np.arange(12) / 12
    k = (
        nl.Sequential(nl.Dense(1.0, 0.5), nl.ReLU(), nl.Dense())
        .kernel(np.stack([np.cos(angle), np.sin(angle)], axis=1))
        .ntk
    )
    y = np.random.default_rng(0).normal(size=12)
    for ridge in (0.01, 1.0):
        left_out = []
        for i in range(12):
            rest = np.delete(np.arange(12), i)
            left_out.append(
                y[i] - k[i, rest] @ np.linalg.solve(k[np.ix_(rest, rest)] + ridge * np.eye(11), y[rest])
            )
        assert kare(k, y, ridge) == pytest.approx(np.mean(np.square(left_out)), rel=1e-9)


def test_kare_is_right_on_average_over_training_sets():
    rng, estimates = np.random.default_rng(0), []
    for _ in range(200):
        x = rng.normal(size=(60, 120))
        y = x @ TARGET + 0.3 * rng.normal(size=60)
        estimates.append(kare((x * MODES) @ x.T, y, 0.2))
    agree(estimates, learning_curve(MODES, TARGET, 60, ridge=0.2, noise=0.09).test_error + 0.09, 60)


# --- the numbers to reach ----------------------------------------------------------------------------------

SPHERE = nl.Sequential(nl.Dense(2**0.5, 0.5), nl.ReLU(), nl.Dense(2**0.5))


def sphere_errors(n, ridge, noise, trials, dimension=15, degrees=40):
    """Population errors of the NTK on the sphere for a target of degrees 1 to 3, exactly, and their prediction."""
    rng = np.random.default_rng(n)
    spectrum = sphere_spectrum(SPHERE, dimension, degrees)
    eigenvalues, count = spectrum.eigenvalues.clip(min=0), spectrum.multiplicities
    north = np.sqrt(dimension) * np.eye(1, dimension)
    rest = SPHERE.diagonal(north).ntk[0] - eigenvalues @ count  # higher degrees act as a ridge
    v = np.array([0, 1, 0.7, 0.5])
    centres = unit(rng.normal(size=(30, dimension)))
    weights = rng.normal(size=(4, 30))
    gram = gegenbauer(centres @ centres.T, dimension, 3)  # E P_k(x.a) P_k(x.b) = P_k(a.b) / multiplicity
    weights *= (v / np.sqrt(np.einsum("ki,kij,kj->k", weights, gram, weights)))[:, None]
    scale = np.sqrt(count[:4])[:, None]
    grid = np.linspace(-1, 1, 20001)
    twice = (eigenvalues**2 * count) @ gegenbauer(
        grid, dimension, degrees - 1
    )  # kernel of the squared operator
    errors = []
    for _ in range(trials):
        u = unit(rng.normal(size=(n, dimension)))
        harmonics = gegenbauer(u @ centres.T, dimension, 3)
        f = np.einsum("kij,kj->i", harmonics, weights * scale)
        smoothed = np.einsum("kij,kj->i", harmonics, weights * scale * eigenvalues[:4, None])
        k = SPHERE.kernel(np.sqrt(dimension) * u).ntk
        dual = np.linalg.solve(k + ridge * np.eye(n), f + noise**0.5 * rng.normal(size=n))
        errors.append(dual @ np.interp(u @ u.T, grid, twice) @ dual - 2 * dual @ smoothed + v @ v)
    target = np.append(v, np.zeros(degrees - 4))
    curve = learning_curve(eigenvalues, target, n, ridge=ridge + rest, noise=noise, multiplicities=count)
    return np.array(errors), curve.test_error


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize(("ridge", "noise"), [(0.0, 0.0), (0.0, 0.2), (1.0, 0.2)])
def test_on_the_sphere_prediction_and_measurement_agree_within_3_percent_over_two_decades(
    ridge, noise, record_property
):
    ratios = []
    for n, trials in ((10, 300), (32, 150), (100, 80), (320, 40), (1000, 5)):
        errors, predicted = sphere_errors(n, ridge, noise, trials)
        standard_error = errors.std(ddof=1) / trials**0.5 / errors.mean()
        assert standard_error < 0.015
        ratios.append(predicted / errors.mean())
    record_property(
        f"measured predicted/measured on the sphere, ridge {ridge:g} noise {noise:g}", np.round(ratios, 3)
    )
    assert abs(np.array(ratios) - 1).max() < 0.03


def test_on_real_digits_prediction_and_measurement_agree_within_10_percent_over_two_decades(record_property):
    digits = nl.data.mnist(2000, 10, seed=0)
    y = np.where(digits.labels_train % 2 == 0, -1.0, 1.0)
    k = SPHERE.kernel(digits.x_train).ntk
    pool = from_data(k, y)
    rng = np.random.default_rng(0)
    for ridge, noise in ((0.0, 0.0), (0.0, 0.5), (3.0, 0.5)):
        ratios = []
        for n, trials in ((10, 150), (32, 60), (100, 30), (320, 12), (1000, 6)):
            errors = []
            for _ in range(trials):
                order = rng.permutation(2000)
                a, b = order[:n], order[n:]
                labels = y[a] + noise**0.5 * rng.normal(size=n)
                dual = np.linalg.solve(k[np.ix_(a, a)] + ridge * np.eye(n), labels)
                errors.append(((k[np.ix_(b, a)] @ dual - y[b]) ** 2).mean())
            assert np.std(errors, ddof=1) / trials**0.5 < 0.03 * np.mean(errors)
            ratios.append(pool.learning_curve(n, ridge=ridge, noise=noise).test_error / np.mean(errors))
        record_property(
            f"measured predicted/measured on digits, ridge {ridge:g} noise {noise:g}", np.round(ratios, 3)
        )
        assert abs(np.array(ratios) - 1).max() < 0.1


# --- errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: effective_regularization([-1.0, 2.0], 3), ValueError, "eigenvalues must not be negative"),
        (lambda: effective_regularization(np.ones((2, 2)), 3), ValueError, "eigenvalues must have shape"),
        (lambda: effective_regularization([1.0], 0), ValueError, "n must be above 0"),
        (lambda: effective_regularization([1.0], [1, -1]), ValueError, "n must be above 0"),
        (lambda: effective_regularization([1.0], np.nan), ValueError, "n must be finite"),
        (lambda: effective_regularization([1.0], [[1.0]]), ValueError, "n must be a number or a vector"),
        (lambda: effective_regularization([1.0], "ten"), TypeError, "n must hold real numbers"),
        (lambda: effective_regularization([1.0], 1, -0.1), ValueError, "ridge must be at least 0"),
        (lambda: effective_regularization([1.0], [1, 2], [1, 2, 3]), ValueError, "equal lengths"),
        (lambda: effective_regularization([1.0], 1, 0, [0]), ValueError, "multiplicities must be above 0"),
        (lambda: effective_regularization([1.0], 1, 0, [1, 2]), ValueError, "multiplicities must have shape"),
        (lambda: learning_curve([1.0], [1.0, 2.0], 1), ValueError, "coefficients must have shape"),
        (lambda: learning_curve([1.0], [np.nan], 1), ValueError, "coefficients"),
        (lambda: learning_curve([1.0], [1.0], 1, noise=-1), ValueError, "noise must be at least 0"),
        (lambda: Pool(np.ones(3), np.ones(3)).learning_curve(3), ValueError, "n must be below the pool's 3"),
        (lambda: from_data(np.eye(3), np.ones(2)), ValueError, "y must have shape"),
        (lambda: from_data(np.ones((2, 3)), np.ones(2)), ValueError, "kernel must have shape"),
        (lambda: kare(np.ones((2, 2)), np.ones(2), 0.0), ValueError, "ridge must be above 0"),
        (lambda: kare(np.eye(2), np.ones(2), [1.0, 2.0]), ValueError, "ridge must be a number"),
    ],
)
def test_illegal_arguments_are_refused_by_name(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_a_zero_kernel_learns_nothing_and_rounding_below_zero_is_zero():
    curve = learning_curve([0.0, 0.0], [1.0, 2.0], [1, 10], ridge=0.5)
    np.testing.assert_allclose(curve.test_error, 5.0)
    assert learning_curve([0.0], [1.0], 3).test_error == pytest.approx(1.0)
    rounded, exact = learning_curve([1.0, -1e-17], [1, 1], 5), learning_curve([1.0, 0.0], [1, 1], 5)
    assert rounded.test_error == exact.test_error
