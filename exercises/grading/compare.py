"""One answer against the expected value: right, or in which way wrong."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from exercises import kit

KINDS = {
    "right": "right",
    "no return": "nothing was returned",
    "not numbers": "the result is not an array of numbers",
    "wrong shape": "the result has the wrong shape",
    "not finite": "some entries are NaN or infinite",
    "constant factor": "right up to a constant factor",
    "wrong sign": "right up to its sign",
    "transposed": "the transpose of the right result",
    "wrong values": "the numbers are wrong",
}


class Verdict(NamedTuple):
    """``kind`` is a key of KINDS; ``error`` the largest deviation over the largest expected entry, or inf."""

    right: bool
    kind: str
    error: float


def compare(answer, expected, tolerance: float = kit.TOLERANCE) -> Verdict:
    """Compare a decoded answer with the expected array, or list of arrays.

    Axes of size 1 are ignored, as in ``kit.check``; a stacked array stands for a list of arrays of one shape
    and the other way round.
    """
    if answer is None:
        return Verdict(False, "no return", math.inf)
    if isinstance(answer, str):
        return Verdict(False, "not numbers", math.inf)
    if isinstance(expected, list):
        return _compare_lists(answer, expected, tolerance)
    if isinstance(answer, list):
        if any(not isinstance(item, np.ndarray) or item.shape != answer[0].shape for item in answer):
            return Verdict(False, "wrong shape", math.inf)
        answer = np.stack(answer) if answer else np.empty(0)
    kind, error = kit.diagnose(answer, expected, tolerance)
    return Verdict(kind == "right", kind, error)


def _compare_lists(answer, expected: list, tolerance: float) -> Verdict:
    """The worst verdict over the items."""
    if isinstance(answer, np.ndarray):
        answer = list(answer) if answer.ndim else [answer]
    if len(answer) != len(expected):
        return Verdict(False, "wrong shape", math.inf)
    verdicts = [compare(*pair, tolerance) for pair in zip(answer, expected, strict=True)]
    return max(verdicts, key=lambda verdict: (not verdict.right, verdict.error))
