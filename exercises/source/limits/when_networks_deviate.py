"""Hidden checks of the problem "When do networks deviate from their kernel?"."""

import numpy as np
from exercises.grading.problem import Check, Criterion

PACKAGES = ("matplotlib", "numpy", "pandas", "scipy", "torch", "tqdm")
CPU_SECONDS = 240


def checks(rng):
    """Tables, designs and settings that the visible checks do not have."""
    for shape in ((6,), (3, 5), (2, 3, 4)):
        f_net, f_kernel, f0 = rng.standard_normal((3, *shape)) + np.array([0.0, 1.0, 4.0]).reshape(
            3, *[1] * len(shape)
        )
        yield Check(
            "deviation", (f_net, f_kernel, f0), advice="Norms over the last axis; the change is predicted."
        )

    for runs, factors in ((7, 2), (12, 4)):
        permutations = np.stack([rng.permutation(runs) for _ in range(factors)], axis=1)
        lower = rng.uniform(0.1, 2, factors)
        upper = lower * rng.uniform(3, 50, factors)
        yield Check("latin-hypercube", (permutations, rng.random((runs, factors)), lower, upper))

    wrong = "Logarithms; settings as rows, seeds as columns; every setting reaches run."
    settings = [
        {"width": int(rng.integers(5, 20)), "time": 5.0, "alpha": float(rng.uniform(0.5, 3))}
        for _ in range(3)
    ]
    seeds = [int(seed) for seed in rng.choice(1000, 2, replace=False)]
    yield Check("study-table", (settings, seeds), advice=wrong)
    deep = {"width": 14, "depth": 2, "time": 4.0, "rate": 0.2, "noise": 0.5, "activation": "relu"}
    yield Check("study-table", ([deep], seeds), advice=wrong)

    for shape in ((3, 4, 5), (2, 6, 1), (4, 2, 3)):
        table = rng.standard_normal(shape) + rng.uniform(-2, 2, (shape[0], shape[1], 1))
        yield Check("effects", (table,), advice="Average over replicates, the last axis, first.")
        yield Check("variance-shares", (table,), advice="How many entries of the table carry each effect?")

    for size, resamplings, level in ((5, 40, 0.9), (12, 101, 0.5)):
        indices = rng.integers(size, size=(resamplings, size))
        yield Check("bootstrap-interval", (rng.standard_normal(size) + 2, indices), {"level": level})
    yield Check("bootstrap-interval", (rng.uniform(1, 3, 6), rng.integers(6, size=(30, 6))))

    for runs, factors in ((10, 1), (25, 3)):
        settings = np.exp(rng.uniform(0, 3, (runs, factors)))
        powers = rng.uniform(-1, 1, factors)
        deviations = 0.3 * np.prod(settings**powers, axis=1) * np.exp(0.2 * rng.standard_normal(runs))
        yield Check("fit-exponents", (settings, deviations), advice="One constant, N - K - 1 below the RSS.")


RUBRIC = {
    "answer-protocol": (
        Criterion("a question with a hypothesis in numbers, and where the numbers come from", 1),
        Criterion("factors, ranges and design that can answer the question; replicates", 1),
        Criterion("measure, reference kernel and analysis fixed beforehand", 1),
        Criterion("the outcome that would refute the hypothesis", 1),
    ),
    "answer-report": (
        Criterion("result in a table or figure that the cells make, every number with its uncertainty", 2),
        Criterion("each prediction judged by the protocol's own criterion; refutations said plainly", 2),
        Criterion(
            "a surprise or doubtful result and a check of it (new seeds, a control, another reference)", 1
        ),
        Criterion("limits: task, range, pre-asymptotic widths, replicates; no extrapolation", 1),
        Criterion("deviations from the protocol and what did not work are reported", 1),
        Criterion("a next step that follows from the result", 1),
    ),
}
