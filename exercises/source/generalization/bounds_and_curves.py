"""Hidden checks of the problem "Bounds and learning curves"."""

import numpy as np
from exercises.grading.problem import Check, Criterion

PACKAGES = ("matplotlib", "numpy", "pandas", "scipy", "torch", "tqdm")
CPU_SECONDS = 90


def checks(rng):
    """Other inputs, kernels that are not H, odd radii, ridges, and spectra with power laws."""

    def sphere(n, d):
        x = rng.standard_normal((n, d))
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    def kernel(n, size):
        """Positive definite, with eigenvalues between 0.2 and 1 times ``size``, and not constant on the diagonal."""
        modes = np.linalg.qr(rng.standard_normal((n, n)))[0]
        matrix = size * (modes * rng.uniform(0.2, 1, n)) @ modes.T
        return (matrix + matrix.T) / 2

    def labels(matrix, norm):
        """Labels with sqrt(y' K^-1 y) = norm."""
        y = rng.standard_normal(len(matrix))
        return y * norm / np.sqrt(y @ np.linalg.solve(matrix, y))

    yield Check("hidden-kernel", (sphere(6, 4), sphere(5, 4)), advice="Shape (n1, n2).")
    x = sphere(8, 3)
    yield Check(
        "hidden-kernel", (x, x), advice="On the diagonal x . x may exceed 1 by rounding: clip.", repeat=2
    )
    yield Check("hidden-kernel", (x, -x[:4]), advice="Opposite inputs too.")

    for n in (7, 20):
        yield Check("arora-bound", (kernel(n, 1.0), rng.choice([-1.0, 1.0], n)))

    radius = "R is the smallest integer that is at least B and at least 1; delta becomes delta / (R (R + 1))."
    for n, norm in ((15, 0.4), (30, 3), (60, 11)):
        matrix = kernel(n, float(rng.uniform(0.5, 3)))
        y = labels(matrix, norm + rng.uniform(0.2, 0.5))
        keywords = {"delta": float(rng.uniform(0.001, 0.2))} if n > 20 else {}
        yield Check("guaranteed-loss", (matrix, y), keywords, advice=radius)

    for n, ridge in ((5, 0.0), (12, float(rng.uniform(0.1, 2))), (9, float(rng.uniform(0.01, 0.1)))):
        yield Check("leave-one-out", (kernel(n, 2.0), rng.standard_normal(n), ridge))

    inside = (
        "The noise belongs inside the bracket and is subtracted in the end; the ridge is divided by kappa."
    )
    for size, power, n, ridge, noise in (
        (60, 1.5, 11, 0.0, 0.0),
        (200, 2.0, 40, 0.0, float(rng.uniform(0.1, 0.5))),
        (50, 1.2, 70, float(rng.uniform(0.1, 1)), 0.0),
        (80, 1.0, 25, float(rng.uniform(0.1, 1)), float(rng.uniform(0.1, 1))),
    ):
        eigenvalues = float(rng.uniform(0.5, 3)) * np.arange(1.0, size + 1) ** -power
        yield Check(
            "predicted-error",
            (eigenvalues, rng.uniform(0, 1, size) / np.arange(1, size + 1), n),
            {"ridge": ridge, "noise": noise},
            advice=inside,
        )


RUBRIC = {
    "answer": (
        Criterion("1: arc of length pi - theta; tr H = n/2 gives the leading term", 1),
        Criterion("2: both terms are constants; 2 R sqrt(tr K) / n with R fixed beforehand was meant", 1),
        Criterion(
            "3: random labels have energy in weak modes, B^2 grows faster than n; order; union over R", 1
        ),
        Criterion("4: the derivation by the replaced label", 1),
        Criterion("4: an estimate without a probability, for one predictor, spoilt by selection", 1),
        Criterion("5: divergence at n = M; the ridge bounds E_0; noise stops the fall without a ridge", 1),
        Criterion("6: a question that the tools can answer, a prediction beforehand, a sound method", 1),
        Criterion("6: a result with error bars, a conclusion that it bears, and its limits", 1),
    )
}
