"""Hidden checks of the problem "Finite against infinite: a toolbox"."""

import numpy as np
from exercises.grading.problem import Check, Criterion

PACKAGES = ("matplotlib", "numpy", "pandas", "scipy", "torch", "tqdm")
CPU_SECONDS = 120


def checks(rng):
    """Measurements drawn at random, of other sizes than in the visible checks."""
    for shape in ((6,), (2, 3), (9, 2, 4)):
        yield Check("confidence-interval", (rng.standard_normal(shape) + 1,), {"quantile": 2.5})
    yield Check("confidence-interval", (rng.uniform(1, 2, (40, 3)),), advice="The default quantile is 1.96.")

    for count, n in ((5, 3), (1, 6)):
        factor = rng.standard_normal((n, n))
        limit = factor @ factor.T
        yield Check("kernel-distance", (limit + 0.2 * rng.standard_normal((count, n, n)), limit))
    per_network = "One number for each network."
    for count, n in ((4, 7), (3, 1)):
        outputs, predictions, start = rng.standard_normal((3, count, n)) + np.array([0, 1, 5])[:, None, None]
        yield Check("function-distance", (outputs, predictions, start), advice=per_network)

    for count, n, shift, noise in ((3, 4, 0.5, 0.1), (8, 2, 0.0, 1.0), (25, 5, 0.2, 0.7)):
        limit = np.eye(n) + rng.uniform(0, 1, (n, n))
        kernels = limit + shift + noise * rng.standard_normal((count, n, n))
        advice = "The squared distance of the sample mean contains spread^2 / S."
        yield Check("kernel-fluctuation", (kernels, limit), advice=advice)

    for widths, count in (((8, 64, 256), 4), ((10, 20, 30, 80, 90), 1), ((100, 1000), 6)):
        powers = np.array(widths, dtype=float)[:, None] ** rng.uniform(-1, -0.3)
        values = powers * np.exp(0.3 * rng.standard_normal((len(widths), count)))
        yield Check(
            "fitted-slope", (np.array(widths), values), advice="All W S points in one fit, N - 2 below."
        )

    for widths, shape, order in (((4, 9), (3,), 1), ((5, 10, 20, 40), (2, 2), 1), ((3, 6, 7, 20, 50), (), 2)):
        values = rng.uniform(1, 2, (len(widths), *shape))
        yield Check("extrapolate", (list(widths), values), {"order": order}, advice="A polynomial in 1/m.")

    for count in (3, 30):
        yield Check("log-spread", (np.exp(rng.standard_normal(count) + 2),))


RUBRIC = {
    "answer": (
        Criterion(
            "mean of an average of m equal terms: the limit at every width; variance c/m; seen in the output",
            1,
        ),
        Criterion("expansion in delta: the linear term gives m^(-1/2) for one network", 1),
        Criterion(
            "average: the linear term has mean zero; quadratic term and mean drift are of order 1/m", 1
        ),
        Criterion("S must grow faster than m; narrow networks are cheaper for a 1/m law", 1),
        Criterion("the fit at larger widths; an error bar contains scatter, not a wrong model", 1),
        Criterion(
            "order 2: less systematic error, more noise; no expansion in 1/m for norms of one network or ReLU",
            1,
        ),
    ),
    "answer-depth": (
        Criterion("3/m by hand, equal to the formula at L = 1", 1),
        Criterion("logarithms of L factors add up to L/m; only m much larger than L is near the limit", 1),
        Criterion("heavy tail of Theta: the second moment cannot be measured from few networks", 1),
    ),
}
