"""The scikit-learn estimators: its own checks, oracles for predictions and spread, and use as people use them."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from scipy.linalg import expm
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GridSearchCV, LeaveOneOut, cross_val_predict, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import ntklab as nl
from ntklab.generalization.estimators import LOO_GRID, NTKClassifier, NTKRegressor, default_architecture
from ntklab.kernel import Kernels

INF = float("inf")
PLAIN = {"rescale": False, "normalize_y": False}
ESTIMATORS = [
    NTKRegressor(),
    NTKRegressor(kernel="nngp", ridge="loo"),
    NTKClassifier(),
    NTKClassifier(t=50.0, ridge=0.0),
]


@parametrize_with_checks(ESTIMATORS)
def test_scikit_learn_finds_nothing_to_complain_about(estimator, check):
    check(estimator)


class LinearModel:
    """f(x) = phi(x).theta with theta ~ N(0, diag(s)): K = phi s phi', Theta = phi phi'."""

    def __init__(self, directions, shares):
        self.directions, self.shares = directions, shares

    def features(self, x):
        return np.cos(x @ self.directions)

    def kernel(self, x1, x2=None):
        a, b = self.features(x1), self.features(x1 if x2 is None else x2)
        return Kernels(a * self.shares @ b.T, a @ b.T)

    def diagonal(self, x):
        return Kernels(*map(np.diag, self.kernel(x)))


class SquaredExponential:
    """Both kernels are 2 exp(-|x - x'|^2 / 2)."""

    def kernel(self, x1, x2=None):
        square = np.square(x1[:, None] - (x1 if x2 is None else x2)).sum(-1)
        return Kernels(*2 * (2 * np.exp(-square / 2),))

    def diagonal(self, x):
        return Kernels(*2 * (np.full(len(x), 2.0),))


class Points(NamedTuple):
    x: np.ndarray
    y: np.ndarray
    new: np.ndarray


def points(n=14, m=6, d=3, outputs=None, seed=0):
    rng = np.random.default_rng(seed)
    shape = (n,) if outputs is None else (n, outputs)
    return Points(rng.normal(size=(n, d)), rng.normal(size=shape), rng.normal(size=(m, d)))


# --- predictions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["ntk", "nngp"])
@pytest.mark.parametrize("outputs", [None, 1, 3])
def test_predictions_are_those_of_kernel_ridge_regression_with_the_kernel_as_given(kernel, outputs):
    x, y, new = points(outputs=outputs)
    arch = nl.Sequential(nl.Dense(1.3, 0.2), nl.Erf(), nl.Dense())
    expected = KernelRidge(alpha=0.4, kernel="precomputed").fit(getattr(arch.kernel(x), kernel), y)
    model = NTKRegressor(arch, kernel=kernel, ridge=0.4, **PLAIN).fit(x, y)
    np.testing.assert_allclose(
        model.predict(new), expected.predict(getattr(arch.kernel(new, x), kernel)), rtol=1e-9, atol=1e-12
    )


def test_normalising_is_a_change_of_units_of_inputs_and_targets():
    x, y, new = points(outputs=2)
    x_scaled, y_scaled = 3 * x + np.array([5.0, -1.0, 0.0]), y * np.array([10.0, 0.1]) + 7
    new_scaled = 3 * new + np.array([5.0, -1.0, 0.0])
    here = NTKRegressor().fit(x, y).predict(new, return_std=True)
    there = NTKRegressor().fit(x_scaled, y_scaled).predict(new_scaled, return_std=True)
    np.testing.assert_allclose(there[0], here[0] * np.array([10.0, 0.1]) + 7, rtol=1e-8)
    np.testing.assert_allclose(there[1], here[1] * np.array([10.0, 0.1]), rtol=1e-6)


def test_inputs_are_scaled_to_a_mean_square_norm_d_about_their_mean():
    x, y, _ = points(50)
    model = NTKRegressor().fit(100 + 9 * x, y)
    np.testing.assert_allclose(model.X_fit_.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(np.square(model.X_fit_).sum(1).mean(), 3)


def test_the_default_network_has_the_kernels_that_its_docstring_says():
    x = np.random.default_rng(0).normal(size=(1, 5))
    kernels = default_architecture().diagonal(x * np.sqrt(5) / np.linalg.norm(x))
    np.testing.assert_allclose([kernels.nngp[0], kernels.ntk[0]], [1.625, 5.375], rtol=1e-12)


@pytest.mark.parametrize("loss", ["mean", "sum"])
@pytest.mark.parametrize("t", [0.0, 2.0, 100.0])
def test_early_stopping_without_ridge_is_gradient_flow(t, loss):
    x, y, new = points(outputs=2)
    arch = default_architecture()
    flow = nl.GradientFlow(arch.kernel(x).ntk, y, learning_rate=0.3, loss=loss)
    model = NTKRegressor(t=t, ridge=0.0, learning_rate=0.3, loss=loss, **PLAIN).fit(x, y)
    np.testing.assert_allclose(model.predict(new), flow.test(t, arch.kernel(new, x).ntk), atol=1e-10)


@pytest.mark.parametrize("n_train", [1, 2])
def test_with_one_sample_or_equal_samples_the_prediction_is_their_mean(n_train):
    model = NTKRegressor().fit(np.full((n_train, 2), 3.0), np.arange(n_train) + 5.0)
    np.testing.assert_allclose(model.predict([[3.0, 3.0]]), [4.5 + n_train / 2], atol=1e-10)


# --- spread ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("t", [0.0, 1.5, INF])
def test_without_ridge_the_spread_is_that_of_the_trained_ensemble(t):
    x, y, new = points(outputs=2)
    mean, covariance = nl.ensemble(default_architecture(), x, y, new, t=t)
    outputs, std = NTKRegressor(t=t, ridge=0.0, **PLAIN).fit(x, y).predict(new, return_std=True)
    np.testing.assert_allclose(outputs, mean, atol=1e-10)
    np.testing.assert_allclose(std, np.sqrt(np.diag(covariance))[:, None].repeat(2, 1), rtol=1e-6)


@pytest.mark.parametrize(("t", "ridge"), [(1.5, 0.3), (INF, 0.3), (4.0, 0.0), (1.5, 0.0)])
def test_mean_and_spread_are_those_of_parameters_drawn_and_trained_with_a_penalty(t, ridge):
    """In parameters: theta(t) = theta_0 + M^-1 (I - exp(-eta c M t)) J'(y - J theta_0), M = J'J + ridge I."""
    rng = np.random.default_rng(1)
    x, y, new = points(n=9)
    model = LinearModel(rng.normal(size=(3, 5)), rng.uniform(0.2, 3, size=5))
    jacobian, phi = model.features(x), model.features(new)
    m = jacobian.T @ jacobian + ridge * np.eye(5)
    path = np.eye(5) if np.isinf(t) else np.eye(5) - expm(-0.7 / 9 * m * t)
    gain = np.linalg.solve(m, path @ jacobian.T)  # theta(t) = theta_0 + gain (y - J theta_0)
    keep = np.eye(5) - gain @ jacobian
    variance = np.diag(phi @ keep * model.shares @ (phi @ keep).T)

    estimator = NTKRegressor(model, t=t, ridge=ridge, learning_rate=0.7, **PLAIN).fit(x, y)
    mean, std = estimator.predict(new, return_std=True)
    np.testing.assert_allclose(mean, phi @ gain @ y, atol=1e-9)
    np.testing.assert_allclose(std, np.sqrt(variance), atol=1e-6)


def test_monte_carlo_over_drawn_and_trained_parameters_agrees():
    rng = np.random.default_rng(2)
    x, y, new = points(n=4)
    model, draws, ridge = LinearModel(rng.normal(size=(3, 8)), rng.uniform(0.2, 3, size=8)), 20_000, 0.2
    start = rng.normal(size=(8, draws)) * np.sqrt(model.shares)[:, None]
    jacobian, theta = model.features(x), start.copy()
    rate = 1 / (np.linalg.norm(jacobian, 2) ** 2 + ridge)
    for _ in range(2000):
        theta -= rate * (jacobian.T @ (jacobian @ theta - y[:, None]) + ridge * (theta - start))
    outputs = model.features(new) @ theta

    mean, std = NTKRegressor(model, ridge=ridge, **PLAIN).fit(x, y).predict(new, return_std=True)
    assert (np.abs(outputs.mean(1) - mean) < 4 * std / np.sqrt(draws)).all()
    assert (np.abs(outputs.std(1) - std) < 4 * std / np.sqrt(2 * draws)).all()


def test_bayes_is_the_gaussian_process_of_scikit_learn_with_the_ridge_as_noise():
    x, y, new = points(20)
    process = GaussianProcessRegressor(ConstantKernel(2.0) * RBF(1.0), alpha=0.3, optimizer=None).fit(x, y)
    expected = process.predict(new, return_std=True)
    model = NTKRegressor(SquaredExponential(), kernel="nngp", ridge=0.3, **PLAIN).fit(x, y)
    for ours, theirs in zip(model.predict(new, return_std=True), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-8)


def test_bayes_with_the_nngp_kernel_is_gp_posterior():
    x, y, new = points(20)
    mean, covariance = nl.gp_posterior(default_architecture(), x, y, new, noise=0.3)
    outputs, std = NTKRegressor(kernel="nngp", ridge=0.3, **PLAIN).fit(x, y).predict(new, return_std=True)
    np.testing.assert_allclose(outputs, mean, atol=1e-10)
    np.testing.assert_allclose(std, np.sqrt(np.diag(covariance)), rtol=1e-8)


def test_blocks_of_new_inputs_change_nothing(monkeypatch):
    x, y, new = points(10, 25)
    model = NTKRegressor().fit(x, y)
    whole = model.predict(new, return_std=True)
    monkeypatch.setattr("ntklab.generalization.estimators._BLOCK_ELEMENTS", 40)
    for one, other in zip(model.predict(new, return_std=True), whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10)


# --- choice of the ridge --------------------------------------------------------------------------


@pytest.mark.parametrize("normalize", [True, False])
def test_leave_one_out_errors_are_those_of_cross_validation(normalize):
    x, y, _ = points(15, outputs=2)
    options = {"rescale": False, "normalize_y": normalize}
    ridges = [0.01, 0.5, 20.0]
    model = NTKRegressor(ridge=ridges, **options).fit(x, y)
    errors = []
    for ridge in ridges:
        found = cross_val_predict(NTKRegressor(ridge=ridge, **options), x, y, cv=LeaveOneOut())
        errors.append(np.mean(((found - y) / (y.std(0) if normalize else 1)) ** 2))
    np.testing.assert_allclose(model.loo_errors_, errors, rtol=1e-8)
    assert model.ridge_ == ridges[int(np.argmin(errors))]


def test_loo_tries_decades_around_the_kernels_scale_and_keeps_the_best_fit():
    x, y, new = points(30)
    model = NTKRegressor(ridge="loo", **PLAIN).fit(x, y)
    np.testing.assert_allclose(model.ridges_, LOO_GRID * default_architecture().diagonal(x).ntk.mean())
    assert model.ridge_ == model.ridges_[model.loo_errors_.argmin()]
    again = NTKRegressor(ridge=model.ridge_, **PLAIN).fit(x, y)
    np.testing.assert_allclose(model.predict(new), again.predict(new), rtol=1e-9)
    assert not hasattr(model.set_params(ridge=0.1).fit(x, y), "loo_errors_")


def test_pure_noise_gets_a_large_ridge_and_a_clean_function_a_small_one():
    x, noise, _ = points(60)
    assert NTKRegressor(ridge="loo").fit(x, noise).ridge_ >= 1
    assert NTKRegressor(ridge="loo").fit(x, np.sin(x[:, 0])).ridge_ <= 0.1


# --- classes --------------------------------------------------------------------------------------


def test_two_classes_are_one_regression_on_signs():
    x, y, new = points(30)
    labels = np.where(y > 0, "yes", "no")
    model = NTKClassifier().fit(x, labels)
    signs = NTKRegressor(normalize_y=False).fit(x, np.where(y > 0, 1.0, -1.0))
    outputs, std = model.decision_function(new, return_std=True)
    expected, spread = signs.predict(new, return_std=True)
    np.testing.assert_allclose(outputs, expected, rtol=1e-10)
    np.testing.assert_allclose(std, spread, rtol=1e-10)
    np.testing.assert_array_equal(model.predict(new), np.where(expected > 0, "yes", "no"))


def test_several_classes_are_regressions_on_centred_one_hot_rows():
    x, _, new = points(30)
    labels = np.arange(30) % 3 * 10 - 10
    one_hot = (labels[:, None] == [-10, 0, 10]) - 1 / 3
    model, rows = NTKClassifier().fit(x, labels), NTKRegressor(normalize_y=False).fit(x, one_hot)
    np.testing.assert_allclose(model.decision_function(new), rows.predict(new), rtol=1e-10)
    np.testing.assert_array_equal(model.predict(new), np.array([-10, 0, 10])[rows.predict(new).argmax(1)])
    np.testing.assert_allclose(model.decision_function(new).sum(1), 0, atol=1e-12)


# --- in scikit-learn's company --------------------------------------------------------------------


def test_grid_search_in_a_pipeline_chooses_architecture_ridge_and_time():
    wine = nl.data.table("wine", scaling="raw")
    shallow = nl.Sequential(nl.Dense(2**0.5, 0.5), nl.ReLU(), nl.Dense())
    grid = [
        {"ntkclassifier__arch": [None, shallow], "ntkclassifier__ridge": [0.01, 1.0]},
        {"ntkclassifier__t": [10.0, 1000.0], "ntkclassifier__ridge": [0.0]},
    ]
    search = GridSearchCV(make_pipeline(StandardScaler(), NTKClassifier()), grid, cv=3)
    search.fit(wine.x[::2], wine.labels[::2])
    assert len(search.cv_results_["params"]) == 6
    assert search.score(wine.x[1::2], wine.labels[1::2]) > 0.9


@pytest.mark.parametrize("model", ESTIMATORS)
def test_clones_and_pickles_are_equal_and_small(model):
    x, y, new = points(40)
    fitted = clone(model).fit(x, y > 0)
    assert repr(clone(fitted)) == repr(model)
    stored = pickle.dumps(fitted)
    assert len(stored) < 8 * 40 * 40  # no kernel inside
    np.testing.assert_array_equal(pickle.loads(stored).predict(new), fitted.predict(new))


def test_fitting_again_forgets_the_first_fit_and_parameters_are_left_alone():
    x, y, new = points()
    arch = nl.Sequential(nl.Dense(), nl.ReLU(), nl.Dense())
    model = NTKRegressor(arch, ridge=[0.1, 1.0])
    before = dict(model.get_params())
    first = model.fit(x[:7, :2], np.stack([y[:7]] * 2, 1)).predict(new[:, :2])
    assert first.shape == (6, 2) and model.get_params() == before and model.arch is arch
    np.testing.assert_array_equal(model.fit(x, y).predict(new), clone(model).fit(x, y).predict(new))


def test_the_score_is_r2_or_accuracy():
    x, y, _ = points(30)
    regressor, classifier = NTKRegressor(ridge=1.0).fit(x, y), NTKClassifier(ridge=1.0).fit(x, y > 0)
    gap = np.square(regressor.predict(x) - y).mean() / y.var()
    np.testing.assert_allclose(regressor.score(x, y), 1 - gap)
    assert classifier.score(x, y > 0) == (classifier.predict(x) == (y > 0)).mean()


def test_float32_inputs_are_computed_in_float64():
    x, y, new = (a.astype(np.float32) for a in points(60))
    single = NTKRegressor(ridge=0.0).fit(x, y)
    double = NTKRegressor(ridge=0.0).fit(x.astype(float), y.astype(float))
    np.testing.assert_array_equal(single.predict(new), double.predict(new.astype(float)))
    np.testing.assert_allclose(single.predict(x), y, atol=1e-6)


# --- what people try ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        (
            {"arch": "relu"},
            TypeError,
            "arch must be an architecture with a method kernel, or None, got 'relu'",
        ),
        (
            {"arch": nl.ReLU},
            TypeError,
            "arch must be an architecture with a method kernel, or None, got <class",
        ),
        ({"rescale": "no"}, TypeError, "rescale must be True or False, got 'no'"),
        ({"kernel": "rbf"}, ValueError, "kernel must be one of 'ntk', 'nngp', got 'rbf'"),
        ({"ridge": "cv"}, ValueError, "ridge must be one of 'loo', got 'cv'"),
        ({"ridge": -0.1}, ValueError, "ridge must be at least 0, got -0.1"),
        ({"ridge": None}, TypeError, "ridge must be a real number, got None"),
        ({"ridge": []}, ValueError, "ridges must be a number or a sequence"),
        ({"t": -1}, ValueError, "t must not be negative or NaN, got -1"),
        ({"t": "late"}, TypeError, "t must be a number or a vector of numbers, got 'late'"),
        (
            {"t": 3.0, "ridge": "loo"},
            ValueError,
            "ridge must be a number where t is finite, got ridge='loo', t=3",
        ),
        ({"t": 3.0, "kernel": "nngp"}, ValueError, 'kernel must be "ntk" where t is finite, got "nngp"'),
        ({"learning_rate": 0}, ValueError, "learning_rate must be above 0"),
        ({"loss": "hinge"}, ValueError, "loss must be one of 'mean', 'sum', got 'hinge'"),
    ],
)
@pytest.mark.parametrize("model", [NTKRegressor, NTKClassifier])
def test_parameters_out_of_range_are_refused_at_fit(model, parameters, error, message):
    x, y, _ = points()
    with pytest.raises(error, match=message):
        model(**parameters).fit(x, y > 0)


def test_leave_one_out_of_one_sample_is_refused():
    with pytest.raises(ValueError, match="needs at least 2 samples, got n_samples=1"):
        NTKRegressor(ridge="loo").fit([[1.0, 2.0]], [3.0])


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="y must hold at least 2 classes, got one class only: 'a'"):
        NTKClassifier().fit([[1.0], [2.0]], ["a", "a"])


@pytest.mark.parametrize("scale", [1e-200, 1e-9, 1e9, 1e200])
def test_the_units_of_inputs_and_targets_do_not_matter_however_extreme(scale):
    x, y, new = points(30)
    plain = NTKRegressor().fit(x, y).predict(new)
    np.testing.assert_allclose(NTKRegressor().fit(scale * x, y).predict(scale * new), plain, rtol=1e-8)
    np.testing.assert_allclose(NTKRegressor().fit(x, scale * y).predict(new) / scale, plain, rtol=1e-8)


def test_numbers_that_leave_float64_are_refused_and_give_no_nan():
    x, y, _ = points(30)
    with pytest.raises(
        ValueError, match=r"X must stay finite when centred and scaled, got values up to 1e\+300"
    ):
        NTKRegressor().fit(1e-200 * x, y).predict(np.full((1, 3), 1e300))
    top = np.where(y > 1, 1.7e308, -1.7e308)
    with pytest.raises(
        ValueError, match=r"y must stay finite when centred and scaled, got values up to 1.7e\+308"
    ):
        NTKRegressor().fit(x, top)
    with pytest.raises(ValueError, match="X must stay finite"):
        NTKRegressor().fit(np.where(x > 1, 1.7e308, -1.7e308), y)


def test_constant_features_and_constant_targets_are_harmless():
    x, y, new = points(30)
    constant = np.column_stack([x, np.full(30, 1e6)])
    model = NTKRegressor().fit(constant, np.column_stack([y, np.full(30, 4.0)]))
    mean, std = model.predict(np.column_stack([new, np.full(6, 1e6)]), return_std=True)
    np.testing.assert_allclose(mean[:, 1], 4.0)
    assert np.isfinite(mean).all() and np.isfinite(std).all()


# --- digits ---------------------------------------------------------------------------------------


def test_eight_thousand_digits_are_learned_to_96_percent_within_4_gigabytes(record_property):
    """From raw grey levels, with the default settings: the benchmark's first row, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.estimators", "0"]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr
    fit, predict, accuracy, peak = (float(word) for word in done.stdout.split())
    record_property("measured NTKClassifier on 8,000 digits", f"{fit + predict:.1f} s, {accuracy:.2%}")
    assert accuracy >= 0.96
    assert peak * 1024 < 4e9


def test_on_few_digits_it_beats_nearest_neighbours_by_cross_validation():
    digits = nl.data.mnist(600, 10, scaling="pixels")
    ours, theirs = (
        cross_val_score(model, digits.x_train, digits.labels_train, cv=3).mean()
        for model in (NTKClassifier(), KNeighborsClassifier(1))
    )
    assert ours > theirs
