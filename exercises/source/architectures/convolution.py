"""Hidden checks of the problem "Convolutional kernels: what weight sharing is worth"."""

import itertools

import numpy as np
from exercises.grading.problem import Check, Criterion

PACKAGES = ("matplotlib", "numpy", "pandas", "scipy", "torch", "tqdm")
CPU_SECONDS = 60

PADDINGS, READOUTS = ("zeros", "circular"), ("flatten", "pool")


def checks(rng):
    """Sizes, paddings, channels, dead stretches and depths that the visible checks do not have."""
    together = "Both positions move by the same offset, and the divisor is k everywhere."
    for shape, size, padding in (
        ((6, 6), 5, "zeros"),
        ((2, 3, 7, 7), 3, "circular"),
        ((4, 5, 5), 7, "zeros"),
        ((5, 5), 5, "circular"),
    ):
        yield Check("patch-average", (rng.standard_normal(shape), size, padding), advice=together)

    axes = "The first variance belongs to the axis p, the second to p'."
    for left, right in ((4, 6), (5, 5)):
        u, v = rng.standard_normal((left, 7)), rng.standard_normal((right, 7))
        u[1] = 0
        alive = (np.linalg.norm(u, axis=1) > 0)[:, None]
        theta = rng.uniform(0.5, 2, (left, right)) * alive
        variances = (u**2).sum(1), (v**2).sum(1)
        yield Check("relu-layer", (u @ v.T, theta, *variances), repeat=2, advice=axes)
    u, v = rng.standard_normal((3, 1, 4, 6)), rng.standard_normal((1, 2, 4, 6))
    nngp = np.einsum("...pi,...qi->...pq", u, v)
    yield Check("relu-layer", (nngp, nngp + 1, (u**2).sum(-1), (v**2).sum(-1)), advice="Axes broadcast.")
    edge = np.array([[1.0, -1.0]]) * 2 * (1 + 4e-16)
    yield Check(
        "relu-layer",
        (edge, edge * rng.uniform(0.5, 2), np.array([2.0]), np.array([2.0, 2.0])),
        tolerance=1e-3,
        advice="A rounding error may take the cosine beyond 1.",
    )

    pairs = "Flatten: matching positions; pool: all pairs."
    for (n, c, p), depth, size in (((3, 2, 7), 3, 3), ((2, 3, 6), 1, 5)):
        for padding, readout in itertools.product(PADDINGS, READOUTS):
            x = rng.standard_normal((n, c, p))
            yield Check("conv-kernel", (x, depth, size, padding, readout), advice=pairs, repeat=2)
    x = rng.standard_normal((3, 1, 9))
    x[1, :, 1:6] = 0
    x[2, :, 5:] = 0
    for readout in READOUTS:
        dead = "Where a whole patch is zero both kernels are zero, not NaN."
        yield Check("conv-kernel", (x, 2, 3, "zeros", readout), advice=dead)

    for (n, c, p), blocks, size in (
        ((3, 2, 6), 1, 3),
        ((2, 1, 5), 4, 3),
        ((3, 3, 6), 2, 5),
        ((2, 2, 4), 0, 3),
    ):
        for norm in (False, True):
            padding = PADDINGS[int(rng.integers(2))]
            x = rng.standard_normal((n, c, p)) * rng.uniform(0.5, 3, (n, 1, 1))
            shortcut = "Both kernels pass the shortcut; variances are taken afresh in every block."
            yield Check("residual-ntk", (x, blocks, size, padding, norm), advice=shortcut, repeat=2)


RUBRIC = {
    "answer-recursion": (
        Criterion("covariance of two units given the layer below, law of large numbers over channels", 1),
        Criterion("equal offsets: named as the step where independent weights of one filter drop out", 1),
        Criterion("own weights: the gradient is an input, and the sum over the filter gives K again", 1),
        Criterion("weights below: chain rule, induction, mean over the newest weights", 1),
        Criterion("both readouts with the pairs they need; cost P against P squared", 1),
    ),
    "answer-norm": (
        Criterion("Jacobian with its two mean terms; their contributions are of order 1/m", 1),
        Criterion("2^B V_0 against V_0 + B, and a consequence for rates or depth", 1),
    ),
    "answer-sharing": (
        Criterion("flatten: other positions drop out, matching pairs obey the same closed recursion", 1),
        Criterion("pool: the formula, with the product of means for different positions", 1),
        Criterion("comparison with the guess; sharing counts through pooling in the kernel regime", 1),
    ),
    "answer-shift": (
        Criterion("induction over layers: patch average, ReLU step with its variances", 1),
        Criterion("conclusions for pool and flatten, one shift and a common one", 1),
        Criterion("what fails with zeros; exact invariance of the trained pooled network; low accuracies", 1),
        Criterion("each prediction compared with the result, reasons for failures", 1),
    ),
}
