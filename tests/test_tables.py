"""scikit-learn's real tables: shapes, scales and targets as their docstring says."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn import datasets

from ntklab import data

SHAPES = {
    "wine": ((178, 13), (178, 3)),
    "breast_cancer": ((569, 30), (569,)),
    "diabetes": ((442, 10), (442,)),
    "digits": ((1797, 64), (1797, 10)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_dtypes_and_names_are_as_documented(name):
    x, y, labels, features, classes = data.table(name)
    assert (x.shape, y.shape) == SHAPES[name]
    assert x.dtype == y.dtype == np.float64
    assert len(set(features)) == x.shape[1] and all(type(word) is str for word in (*features, *classes))
    if name == "diabetes":
        assert labels is None and classes == ()
    else:
        assert labels.dtype == np.int64
        np.testing.assert_array_equal(np.unique(labels), np.arange(len(classes)))


@pytest.mark.parametrize("name", SHAPES)
def test_standard_features_have_mean_0_and_variance_1_and_constant_ones_are_0(name):
    x, raw = data.table(name).x, data.table(name, scaling="raw").x
    constant = np.ptp(raw, axis=0) == 0
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(x.std(0)[~constant], 1, rtol=1e-12)
    assert (x[:, constant] == 0).all() and constant.any() == (name == "digits")


@pytest.mark.parametrize("name", SHAPES)
def test_raw_tables_are_those_of_scikit_learn(name):
    options = {"scaled": False} if name == "diabetes" else {}
    x, target = getattr(datasets, f"load_{name}")(return_X_y=True, **options)
    raw = data.table(name, scaling="raw")
    np.testing.assert_array_equal(raw.x, x)
    np.testing.assert_array_equal(raw.y if raw.labels is None else raw.labels, target)


def test_targets_are_signs_or_centred_one_hot_rows_or_standardised_numbers():
    two, three, number = data.table("breast_cancer"), data.table("wine"), data.table("diabetes")
    np.testing.assert_array_equal(two.y, np.where(two.labels == 1, 1.0, -1.0))
    assert two.classes == ("malignant", "benign")
    np.testing.assert_array_equal(three.y.argmax(1), three.labels)
    np.testing.assert_allclose(three.y.sum(1), 0, atol=1e-15)
    np.testing.assert_allclose([number.y.mean(), number.y.std()], [0, 1], atol=1e-12)


def test_callers_own_what_they_get():
    data.table("wine").x[:] = 0
    data.table("wine", scaling="raw").x[:] = 0
    assert data.table("wine", scaling="raw").x.min() > 0


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="name must be one of 'wine'.*got 'iris'"):
        data.table("iris")
    with pytest.raises(ValueError, match="scaling must be one of 'standard', 'raw', got 'sphere'"):
        data.table("wine", scaling="sphere")


def test_the_package_does_without_scikit_learn_until_a_table_or_an_estimator_is_asked_for():
    code = """
import sys
sys.modules["sklearn"] = None
import ntklab, ntklab.generalization
for ask in (lambda: ntklab.data.table("wine"), lambda: ntklab.generalization.NTKRegressor):
    try:
        ask()
    except ImportError as error:
        assert "ntklab[sklearn]" in str(error), error
    else:
        raise AssertionError
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
