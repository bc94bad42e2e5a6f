"""The data sets are what their docstrings say: shapes, scales, labels, and the same for the same seed."""

import math
import os
import random
import shutil
import subprocess
import sys
import zipfile
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from ntklab import data
from ntklab.data import digits
from ntklab.data.regression import _zonal_harmonic

TOYS = {
    "line": lambda seed: data.line(40, noise=0.1, seed=seed),
    "circle": lambda seed: data.circle(40, spacing="random", seed=seed),
    "sphere": lambda seed: data.sphere(40, 5, degree=2, seed=seed),
    "two_moons": lambda seed: data.two_moons(40, seed=seed),
    "gaussian_mixture": lambda seed: data.gaussian_mixture(40, 3, seed=seed),
    "xor": lambda seed: data.xor(40, seed=seed),
    "parity": lambda seed: data.parity(40, 6, degree=3, seed=seed),
    "staircase": lambda seed: data.staircase(40, 6, degree=3, seed=seed),
}


def _rows(x):
    return {row.tobytes() for row in x}


def _numpy_global_state():
    return np.random.get_state()[1].copy()  # noqa: NPY002 - the generator under test is the legacy one


# --- digits ---------------------------------------------------------------------------------------


def test_the_archive_holds_ten_thousand_digits_of_28_by_28_and_is_a_package_resource():
    with (files("ntklab.data") / "mnist_10k.npz").open("rb") as file, np.load(file) as archive:
        images, labels = archive["images"], archive["labels"]
    assert images.shape == (10_000, 28, 28) and images.dtype == np.uint8
    counts = np.bincount(labels, minlength=10)
    assert counts.min() == 863 and counts.max() == 1127 and counts.sum() == 10_000


def test_the_attribution_names_the_authors_and_the_licence():
    text = (files("ntklab.data") / "README.md").read_text(encoding="utf-8")
    for word in ("LeCun", "Cortes", "Burges", "CC BY-SA 3.0", "Cazala", "MIT"):
        assert word in text


def test_shapes_and_dtypes_are_as_documented():
    d = data.mnist(30, 20)
    assert d.x_train.shape == (30, 784) and d.x_test.shape == (20, 784)
    assert d.y_train.shape == (30, 10) and d.y_test.shape == (20, 10)
    assert d.labels_train.shape == (30,) and d.labels_test.shape == (20,)
    assert d.classes == tuple(range(10))
    assert {a.dtype for a in d[:4]} == {np.dtype(np.float64)}
    assert d.labels_train.dtype == np.int64


def test_images_are_the_same_numbers_in_one_channel_and_float32_is_a_rounding():
    flat, image = data.mnist(30, 20), data.mnist(30, 20, flatten=False)
    assert image.x_train.shape == (30, 1, 28, 28)
    np.testing.assert_array_equal(image.x_test.reshape(20, 784), flat.x_test)
    single = data.mnist(30, 20, dtype=np.float32)
    assert single.x_train.dtype == single.y_train.dtype == np.float32
    np.testing.assert_array_equal(single.x_train, flat.x_train.astype(np.float32))


def test_training_rows_have_mean_zero_and_mean_square_norm_d():
    d = data.mnist(400, 100)
    np.testing.assert_allclose(d.x_train.mean(axis=0), 0, atol=1e-13)
    assert (d.x_train**2).sum(axis=1).mean() == pytest.approx(784, rel=1e-13)


def test_the_test_set_is_moved_by_the_training_statistics():
    raw, d = data.mnist(400, 100, scaling="pixels"), data.mnist(400, 100)
    assert raw.x_train.min() == 0 and raw.x_train.max() == 1
    mean = raw.x_train.mean(axis=0)
    factor = math.sqrt(784 / raw.x_train.var(axis=0).sum())
    np.testing.assert_allclose(d.x_test, factor * (raw.x_test - mean), atol=1e-12)


def test_rows_on_the_sphere_have_norm_sqrt_d_and_the_direction_of_the_standard_ones():
    sphere, standard = data.mnist(50, 50, scaling="sphere"), data.mnist(50, 50)
    for a, b in [(sphere.x_train, standard.x_train), (sphere.x_test, standard.x_test)]:
        np.testing.assert_allclose((a**2).sum(axis=1), 784, rtol=1e-13)
        cosine = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        np.testing.assert_allclose(cosine, 1, rtol=1e-13)


def test_training_and_test_digits_are_different_rows_of_the_archive(monkeypatch):
    tagged = np.arange(10_000 * 784, dtype=np.float64).reshape(10_000, 784)
    labels = data.mnist(9_000, 1_000).labels_train
    original = digits._archive()[1]
    monkeypatch.setattr(digits, "_archive", lambda: (tagged, original))
    d = digits.mnist(9_000, 1_000, scaling="pixels")
    assert len(_rows(d.x_train)) == 9_000 and len(_rows(d.x_test)) == 1_000
    assert not _rows(d.x_train) & _rows(d.x_test)
    np.testing.assert_array_equal(d.labels_train, labels)


def test_training_sets_are_nested_and_the_test_set_ignores_their_size():
    small, large = (data.mnist(n, 60, scaling="pixels", seed=3) for n in (50, 500))
    np.testing.assert_array_equal(small.x_train, large.x_train[:50])
    np.testing.assert_array_equal(small.x_test, large.x_test)


def test_the_seed_decides_everything():
    one, same, other = data.mnist(50, 50, seed=1), data.mnist(50, 50, seed=1), data.mnist(50, 50, seed=2)
    for a, b in zip(one[:6], same[:6], strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(one.labels_train, other.labels_train)


def test_a_shuffled_set_has_all_digits_in_the_archive_proportions():
    counts = np.bincount(data.mnist(5_000, 5_000).labels_train, minlength=10)
    assert stats.chisquare(counts, np.full(10, 500)).pvalue > 1e-6
    assert len(set(data.mnist(100, 1).labels_train)) == 10


def test_one_hot_targets_are_centred_and_point_at_the_digit():
    d = data.mnist(200, 50, classes=(3, 5, 8))
    assert d.y_train.shape == (200, 3)
    np.testing.assert_allclose(d.y_train.sum(axis=1), 0, atol=1e-15)
    np.testing.assert_array_equal(np.array(d.classes)[d.y_train.argmax(axis=1)], d.labels_train)
    np.testing.assert_allclose(np.unique(d.y_test), [-1 / 3, 2 / 3])


def test_two_classes_give_minus_one_for_the_first_and_one_for_the_second():
    d = data.mnist(100, 100, classes=[7, 1])
    np.testing.assert_array_equal(d.y_train, np.where(d.labels_train == 1, 1, -1))
    assert d.y_test.shape == (100,) and set(d.labels_test) == {1, 7}


def test_changing_the_result_leaves_later_calls_alone():
    first = data.mnist(5, 5, scaling="pixels")
    first.x_train[:] = -1
    first.labels_train[:] = -1
    again = data.mnist(5, 5, scaling="pixels")
    assert again.x_train.min() >= 0 and again.labels_train.min() >= 0


def test_a_nearest_neighbour_recognises_most_digits():
    d = data.mnist(1_000, 300)
    distance = (d.x_test**2).sum(1)[:, None] - 2 * d.x_test @ d.x_train.T + (d.x_train**2).sum(1)
    assert (d.labels_train[distance.argmin(axis=1)] == d.labels_test).mean() > 0.8


@pytest.mark.parametrize(
    ("arguments", "error", "names"),
    [
        (dict(n_train=0), ValueError, "n_train"),
        (dict(n_train=2.5), TypeError, "n_train"),
        (dict(n_test=-1), ValueError, "n_test"),
        (dict(n_train=9_999, n_test=2), ValueError, "10000"),
        (dict(n_train=1), ValueError, "n_train"),
        (dict(classes=(3,)), ValueError, "classes"),
        (dict(classes=(3, 3)), ValueError, "classes"),
        (dict(classes=(3, 11)), ValueError, "classes"),
        (dict(classes="35"), TypeError, "classes"),
        (dict(classes=(3.0, 5)), TypeError, "classes"),
        (dict(classes=4), TypeError, "classes"),
        (dict(seed=None), TypeError, "seed"),
        (dict(seed=-1), ValueError, "seed"),
        (dict(dtype=np.int32), TypeError, "dtype"),
        (dict(dtype=torch.float64), TypeError, "dtype"),
        (dict(scaling="whiten"), ValueError, "scaling"),
    ],
)
def test_mnist_refuses_what_it_cannot_do_and_names_the_argument(arguments, error, names):
    with pytest.raises(error, match=names):
        data.mnist(**arguments)


# --- toy sets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", TOYS.values(), ids=TOYS)
def test_toy_sets_are_float64_of_n_rows_and_repeat_with_the_seed(make):
    one, same, other = make(1), make(1), make(2)
    assert one.x.shape[0] == 40 and one.x.ndim == 2 and one.y.shape == (40,)
    assert one.x.dtype == one.y.dtype == np.float64
    np.testing.assert_array_equal(one.x, same.x)
    np.testing.assert_array_equal(one.y, same.y)
    assert not np.array_equal(one.x, other.x)


@pytest.mark.parametrize(
    "make", [*TOYS.values(), lambda seed: data.mnist(20, 20, seed=seed)], ids=[*TOYS, "mnist"]
)
def test_the_global_generators_are_left_alone(make):
    before = random.getstate(), _numpy_global_state(), torch.get_rng_state()
    make(0)
    assert random.getstate() == before[0]
    np.testing.assert_array_equal(_numpy_global_state(), before[1])
    assert torch.equal(torch.get_rng_state(), before[2])


def test_the_line_is_uniform_on_its_interval_and_carries_the_target():
    x, y = data.line(4_000, target=np.exp, extent=2.0)
    assert x.shape == (4_000, 1)
    assert stats.kstest(x[:, 0], stats.uniform(-2, 4).cdf).pvalue > 1e-4
    np.testing.assert_array_equal(y, np.exp(x[:, 0]))
    np.testing.assert_allclose(data.line(5, extent=2, spacing="even").x[:, 0], [-2, -1, 0, 1, 2])


def test_noise_has_its_standard_deviation():
    x, y = data.line(20_000, noise=0.3)
    assert (y - np.sin(x[:, 0])).std() == pytest.approx(0.3, rel=0.03)


def test_even_circle_points_are_roots_of_unity_and_frequencies_are_orthogonal():
    n = 12
    x, _ = data.circle(n, radius=2)
    np.testing.assert_allclose((x[:, 0] + 1j * x[:, 1]) ** n, 2.0**n, rtol=1e-13)
    targets = np.array([data.circle(n, frequency=k).y for k in range(6)])
    np.testing.assert_allclose(targets @ targets.T, np.diag([n] + [n / 2] * 5), atol=1e-12)


def test_the_circle_target_is_the_cosine_of_frequency_times_angle():
    x, y = data.circle(50, frequency=3, phase=0.4, spacing="random", seed=5)
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, rtol=1e-14)
    np.testing.assert_allclose(y, np.cos(3 * np.arctan2(x[:, 1], x[:, 0]) - 0.4), atol=1e-13)


def test_sphere_points_have_the_radius_and_the_projection_law():
    x, _ = data.sphere(4_000, 5, radius=3)
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 3, rtol=1e-13)
    first = (x[:, 2] / 3 + 1) / 2
    assert stats.kstest(first, stats.beta(2, 2).cdf).pvalue > 1e-4  # Beta((d-1)/2, (d-1)/2)


@pytest.mark.parametrize("dimension", [2, 3, 4, 7])
def test_sphere_targets_of_different_degree_are_orthonormal(dimension):
    def product(j, k):
        def integrand(a):
            t = np.array([math.cos(a)])
            return (_zonal_harmonic(t, dimension, j) * _zonal_harmonic(t, dimension, k)).item() * math.sin(
                a
            ) ** (dimension - 2)

        return integrate.quad(integrand, 0, math.pi, limit=200)[0]

    gram = np.array([[product(j, k) for k in range(5)] for j in range(5)])
    np.testing.assert_allclose(gram / gram[0, 0], np.eye(5), atol=1e-10)


def test_the_sphere_target_of_degree_one_is_linear_and_of_degree_two_the_centred_square():
    x, y = data.sphere(30, 6)
    np.testing.assert_allclose(y, math.sqrt(6) * x[:, 0], atol=1e-13)
    x, y = data.sphere(30, 3, degree=2)
    np.testing.assert_allclose(y, math.sqrt(5) * (3 * x[:, 0] ** 2 - 1) / 2, atol=1e-13)


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_two_moons_are_centred_and_have_mean_square_norm_two(noise):
    x, y = data.two_moons(100_000, noise=noise)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=0.02)
    assert (x**2).sum(axis=1).mean() == pytest.approx(2, rel=0.02)
    assert abs(y.sum()) <= 1


def test_two_moons_are_two_half_circles_that_interlock():
    x, y = data.two_moons(500, noise=0)
    scale = math.sqrt(2 / (1.3125 - 1 / math.pi))
    upper = x[y > 0] / scale + [0.5, 0.25]
    lower = x[y < 0] / scale + [0.5, 0.25]
    np.testing.assert_allclose(np.linalg.norm(upper, axis=1), 1, rtol=1e-13)
    np.testing.assert_allclose(np.linalg.norm(lower - [1, 0.5], axis=1), 1, rtol=1e-13)
    assert upper[:, 1].min() >= 0 and lower[:, 1].max() <= 0.5 + 1e-12
    assert upper[:, 1].min() < 0.1 and lower[:, 1].max() > 0.4


def test_the_gaussian_mixture_has_its_means_and_its_bayes_error():
    x, y = data.gaussian_mixture(40_000, 4, separation=2)
    np.testing.assert_allclose(x[y > 0].mean(axis=0), [1, 0, 0, 0], atol=0.03)
    np.testing.assert_allclose(np.cov(x[y < 0].T), np.eye(4), atol=0.04)
    assert (np.sign(x[:, 0]) != y).mean() == pytest.approx(stats.norm.cdf(-1), abs=0.01)


def test_xor_labels_are_the_product_of_signs_and_uncorrelated_with_every_coordinate():
    x, y = data.xor(40_000, noise=0)
    np.testing.assert_array_equal(y, x[:, 0] * x[:, 1])
    assert set(np.unique(x)) == {-1, 1}
    noisy, y = data.xor(40_000)
    np.testing.assert_allclose(noisy.T @ y / len(y), 0, atol=0.03)


def test_parity_is_the_product_of_the_first_signs():
    x, y = data.parity(200, 7, degree=3)
    assert x.shape == (200, 7) and set(np.unique(x)) == {-1, 1}
    np.testing.assert_array_equal(y, x[:, 0] * x[:, 1] * x[:, 2])


def test_the_staircase_adds_one_coordinate_a_term_and_has_mean_square_one():
    x, y = data.staircase(40_000, 5, degree=3)
    np.testing.assert_allclose(y * math.sqrt(3), x[:, 0] * (1 + x[:, 1] * (1 + x[:, 2])), atol=1e-13)
    assert (y**2).mean() == pytest.approx(1, rel=0.03)


@pytest.mark.parametrize(
    ("call", "error", "names"),
    [
        (lambda: data.line(0), ValueError, "n must"),
        (lambda: data.line(5, extent=0), ValueError, "extent"),
        (lambda: data.line(5, noise=-1), ValueError, "noise"),
        (lambda: data.line(5, spacing="log"), ValueError, "spacing"),
        (lambda: data.line(5, target=3), TypeError, "target"),
        (lambda: data.line(5, target=np.mean), ValueError, "target"),
        (
            lambda: data.line(5, spacing="even", target=lambda x: np.where(x < 0, np.nan, x)),
            ValueError,
            "target",
        ),
        (lambda: data.circle(5, frequency=0.5), TypeError, "frequency"),
        (lambda: data.circle(5, frequency=-1), ValueError, "frequency"),
        (lambda: data.circle(5, radius=float("inf")), ValueError, "radius"),
        (lambda: data.sphere(5, 1), ValueError, "dimension"),
        (lambda: data.sphere(5, 3, degree=-1), ValueError, "degree"),
        (lambda: data.two_moons(True), TypeError, "n must"),
        (lambda: data.two_moons(5, noise=float("nan")), ValueError, "noise"),
        (lambda: data.gaussian_mixture(5, 0), ValueError, "dimension"),
        (lambda: data.gaussian_mixture(5, separation=-1), ValueError, "separation"),
        (lambda: data.xor(5, seed="a"), TypeError, "seed"),
        (lambda: data.parity(5, 2, degree=3), ValueError, "degree"),
        (lambda: data.staircase(5, 2, degree=0), ValueError, "degree"),
    ],
)
def test_toy_sets_refuse_what_they_cannot_do_and_name_the_argument(call, error, names):
    with pytest.raises(error, match=names):
        call()


# --- packaging ------------------------------------------------------------------------------------


def test_a_wheel_carries_the_digits_and_their_attribution(tmp_path):
    pytest.importorskip("setuptools")
    root = Path(__file__).parents[1]
    source = tmp_path / "source"
    shutil.copytree(root / "ntklab", source / "ntklab", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "pyproject.toml", source)
    (source / "README.md").write_text("ntklab\n")
    code = "from setuptools import build_meta as b; print(b.build_wheel('dist'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=source,
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    with zipfile.ZipFile(next((source / "dist").glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    assert {"ntklab/data/mnist_10k.npz", "ntklab/data/README.md", "ntklab/data/digits.py"} <= names
