"""A verdict says whether an answer is right, and in which of the usual ways it is wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from exercises import kit
from exercises.grading.compare import KINDS, compare

WANT = np.array([[1.0, 2.0], [3.0, -4.0]])


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (WANT, "right"),
        (WANT[None, :, :, None], "right"),
        (WANT * (1 + 5e-5), "right"),
        (WANT.astype(np.float32).astype(float), "right"),
        ([WANT[0], WANT[1]], "right"),
        (None, "no return"),
        ("not numbers", "not numbers"),
        ("too large", "not numbers"),
        ([], "wrong shape"),
        ([WANT, WANT[0]], "wrong shape"),
        ([[WANT[0]], [WANT[1]]], "wrong shape"),
        (WANT[0], "wrong shape"),
        (np.full((2, 2), np.nan), "not finite"),
        (WANT / 4, "constant factor"),
        (-WANT, "wrong sign"),
        (WANT.T, "transposed"),
        (WANT + 1, "wrong values"),
        (np.zeros((2, 2)), "wrong values"),
        (np.full((2, 2), 1e308), "wrong values"),
    ],
)
def test_kinds_of_verdict(answer, kind):
    verdict = compare(answer, WANT)
    assert verdict.kind == kind
    assert verdict.right == (kind == "right")
    assert kind in KINDS


def test_a_number_is_compared_with_a_number_of_any_shape():
    assert compare(np.array([[0.5]]), np.array(0.5)).right
    assert compare(np.array(0.6), np.array(0.5)).kind == "wrong values"


def test_lists_of_arrays_have_the_verdict_of_their_worst_item():
    want = [WANT, WANT[0]]
    assert compare([WANT, WANT[0]], want).right
    assert compare([WANT, 2 * WANT[0]], want).kind == "constant factor"
    assert compare([WANT], want).kind == "wrong shape"
    assert compare(None, want).kind == "no return"
    assert compare([WANT, None], want).kind == "no return"


def test_a_stacked_array_stands_for_a_list_of_arrays_of_one_shape():
    assert compare(np.stack([WANT, WANT.T]), [WANT, WANT.T]).right
    assert compare(np.array(3.0), [np.array(3.0)]).right


def test_expected_zeros_are_compared_absolutely():
    assert compare(np.full(3, 1e-6), np.zeros(3)).right
    assert not compare(np.full(3, 1e-2), np.zeros(3)).right


@given(
    arrays.arrays(np.float64, (3, 3), elements=st.floats()),
    arrays.arrays(np.float64, (3, 3), elements=st.floats(-9, 9)),
)
def test_right_means_within_the_tolerance_of_the_largest_expected_entry(answer, want):
    verdict = compare(answer, want)
    with np.errstate(all="ignore"):
        error = np.abs(answer - want).max() / (np.abs(want).max() or 1)
    assert verdict.right == bool(np.isfinite(answer).all() and error <= kit.TOLERANCE)
    assert verdict.right or verdict.error > kit.TOLERANCE or math.isinf(verdict.error)
