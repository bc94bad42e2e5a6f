"""scikit-learn estimators on digits: time, peak memory and accuracy, from raw grey levels, default settings.

Each row runs in a process of its own, so that its peak memory is its own.  8,000 digits to train, 2,000 to test.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time

from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

import ntklab as nl
from ntklab.generalization.estimators import NTKClassifier

TRAIN, TEST = 8000, 2000
MODELS = {
    "NTKClassifier()": NTKClassifier,
    "NTKClassifier(ridge=[0.001, 0.01, 0.1])": lambda: NTKClassifier(ridge=[0.001, 0.01, 0.1]),
    "SVC(), RBF": SVC,
    "KNeighborsClassifier()": KNeighborsClassifier,
}


def run() -> tuple[str, list[str], list[list[str]]]:
    """Title, header and rows; memory is the largest resident set, with Python and the libraries in it."""
    rows = []
    for i, name in enumerate(MODELS):
        command = [sys.executable, "-m", "benchmarks.estimators", str(i)]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        fit, predict, score, peak = (float(word) for word in output.split())
        rows.append([name, f"{fit:.1f}", f"{predict:.1f}", f"{peak / 2**20:.2f}", f"{100 * score:.2f}"])
    header = ["estimator", "fit (s)", "predict (s)", "peak (GiB)", "test accuracy (%)"]
    return f"{TRAIN} digits to train, {TEST} to test", header, rows


def measure(model) -> None:
    """Print seconds to fit and to predict, the accuracy, and the peak of the resident set in KiB."""
    digits = nl.data.mnist(TRAIN, TEST, scaling="pixels")
    start = time.perf_counter()
    model.fit(digits.x_train, digits.labels_train)
    fitted = time.perf_counter()
    score = (model.predict(digits.x_test) == digits.labels_test).mean()
    end = time.perf_counter()
    print(fitted - start, end - fitted, score, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    measure(list(MODELS.values())[int(sys.argv[1])]())
