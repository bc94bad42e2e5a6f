"""Hidden checks of the problem "The two-layer ReLU kernel: derive it, then let networks judge"."""

import numpy as np
from exercises.grading.problem import Check, Criterion

PACKAGES = ("matplotlib", "numpy", "pandas", "scipy", "torch", "tqdm")
CPU_SECONDS = 60

ARCCOS = 1e-3  # near 1 and -1 the arccosine loses half of float32's digits


def checks(rng):
    """Variances, inputs, weights and samples that the visible checks do not have."""

    def normal(*shape):
        return rng.standard_normal(shape)

    a, b, rho = rng.uniform(0.2, 5, (4, 1)), rng.uniform(0.2, 5, 6), rng.uniform(-0.95, 0.95, (4, 6))
    yield Check("expectations", (a, b, rho * np.sqrt(a * b)), advice="a, b and c broadcast.")
    small = 1e-4 * rng.uniform(1, 2, 5)
    yield Check("expectations", (small, 3 * small, rng.uniform(-1.5, 1.5, 5) * small))
    sides = rng.uniform(0.5, 2, 40)
    edge = "Rounding may put c beyond the square root of a b, on either side."
    rounded = np.where(np.arange(40) % 2, np.nextafter(sides, 9), sides)
    both_ways = (sides, sides, rounded * np.sign(normal(40)))
    yield Check("expectations", both_ways, tolerance=ARCCOS, advice=edge)

    for n1, n2, d in [(4, 6, 3), (5, 1, 10)]:
        arguments = (normal(n1, d), normal(n2, d), rng.uniform(0.5, 3), rng.uniform(0.1, 1))
        yield Check("relu-ntk", arguments, advice="Follow both variances through both layers.")
    x = normal(5, 2)
    lines = np.concatenate([x[1:3], -3 * x[:1], 1e-3 * x[3:]])
    parallel = "Inputs may be equal, parallel or opposite."
    yield Check("relu-ntk", (x, lines, rng.uniform(1, 3), 0.0), tolerance=ARCCOS, advice=parallel)
    yield Check("relu-ntk", (20 * normal(3, 30), normal(4, 30), rng.uniform(0.5, 3), rng.uniform(1, 2)))

    for width, inputs, bias_variance in [(60, 4, rng.uniform(0.2, 1)), (7, 9, 0.0), (1, 2, 0.5)]:
        weights = (normal(width, inputs), normal(width), normal(width))
        arguments = (weights, normal(5, inputs), normal(3, inputs), rng.uniform(0.5, 3), float(bias_variance))
        yield Check("hidden-and-readout-parts", arguments, advice="Which sum has the factor a_j squared?")

    samples = rng.uniform(0.5, 2, 6) * normal(30, 6) + normal(6)
    near = samples.mean(axis=0) + 0.2 * normal(4, 6)
    yield Check("standard-errors-off", (samples, near))
    few = "The standard error of the mean has the divisor N - 1 under s and then the root of N."
    yield Check("standard-errors-off", (normal(3, 8), normal(1, 8)), advice=few)


RUBRIC = {
    "answer-averages": (
        Criterion("the pair written with one planar Gaussian vector and two directions at the angle", 1),
        Criterion("the direction is uniform and the wedge where both are active has the angle pi - theta", 1),
        Criterion("mean squared radius 2, and the integral of the product of cosines carried out", 1),
    ),
    "answer-limit": (
        Criterion("all four gradients, with their factors s_w and s_b", 1),
        Criterion("the finite kernel as two averages over units, split into readout and hidden layer", 1),
        Criterion(
            "law of large numbers: identically distributed, integrable, a independent of z, P(z = 0) = 0", 1
        ),
        Criterion("the limit with every s_w and s_b in its place, output bias and hidden bias both", 1),
    ),
    "answer-trial": (
        Criterion("A readout or NNGP, B hidden layer, C everything", 1),
        Criterion(
            "ratio C/A depends on the angle: 2 at 0, 1 at 90 degrees; where each slip stays invisible", 1
        ),
    ),
    "answer-speed": (
        Criterion("average of identically distributed terms: exact mean, variance Var Y / m, and the 3", 1),
        Criterion("64 networks, the same law; with two hidden layers a bias of order 1/m as a rule", 1),
    ),
}
