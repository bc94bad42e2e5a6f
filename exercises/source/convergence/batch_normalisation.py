"""Hidden checks of the problem "What batch normalisation does to the NTK"."""

import torch
from exercises import kit
from exercises.grading.problem import Check, Criterion

PACKAGES = ("matplotlib", "numpy", "pandas", "scipy", "torch", "tqdm")
CPU_SECONDS = 90


def checks(rng):
    """Other batches and shapes, two and three layers, smooth activations, normalisation in each place."""

    def normal(*shape):
        return torch.tensor(rng.standard_normal(shape))

    axis = "Statistics over the samples (axis 0), variance divided by n, eps under the root."
    yield Check("batch-norm", (normal(7, 3),), advice=axis)
    yield Check("batch-norm", (5 * normal(6) + 20,), advice=axis)
    yield Check("batch-norm", (0.1 * normal(9, 4),), {"eps": float(rng.uniform(0.01, 0.1))}, advice=axis)

    through = "The derivative goes through the mean and through the variance."
    for n in (4, 11):
        yield Check("batch-norm-jacobian", (3 * normal(n) + 7,), advice=through)
    yield Check("batch-norm-jacobian", (0.01 * normal(5),), repeat=2, advice=through)

    whole = "All outputs of the batch in one go; nothing in the statistics is detached."
    for name, norm, sizes in (
        ("tanh", "hidden", (3, 7)),
        ("relu", "hidden", (4, 9, 5)),
        ("sin", "output", (2, 6, 6)),
        ("gelu", "none", (5, 4, 3, 6)),
        ("tanh", "output", (3, 8)),
    ):
        weights = [normal(*pair) for pair in zip(sizes[1:], sizes[:-1], strict=True)]
        network = (normal(6, sizes[0]) + 0.5, weights, normal(sizes[-1]))
        yield Check("layer-kernels", (*network, kit.ACTIVATIONS[name], norm), advice=whole, repeat=2)

    for n, mean in ((3, 1.0), (8, 0.5), (5, 0.3)):
        root = normal(n, n + 2) + mean
        yield Check("constant-mode", ((root @ root.T).numpy(),), advice="Divide by |1|^2 = n, once.")

    for d, width, steps in ((3, 6, 1), (5, 4, 4)):
        x, y = normal(10, d), normal(10)
        start = (x, y, normal(width, d), normal(width))
        rate = float(rng.uniform(2, 4))
        advice = "Full batch, loss 1/(2n) sum, hidden weights only; the arguments stay as they are."
        yield Check("train-hidden", (*start, rate, steps), advice=advice, repeat=2)
    yield Check("train-hidden", (*start, 0.5, 0))


RUBRIC = {
    "answer": (
        Criterion("1: derivative through mean and variance; the projection identified", 1),
        Criterion(
            "2: Theta as a sum over neurons with P_j; shift invariance from P_j 1 = 0 and the statistics", 1
        ),
        Criterion(
            "3: right angle; flow keeps the length, descent adds; 1/c^2; effective rate eta / |w|^2", 1
        ),
        Criterion("4: P stands outside: Theta 1 = Theta f = 0; mean and scale of labels cannot be fitted", 1),
        Criterion(
            "4: hidden: the mean of phi(zhat) keeps a constant mode; only the inputs' mean goes away", 1
        ),
        Criterion("5: E phi'^2 / Var phi = pi / (pi - 1); the weights' variance cancels", 1),
        Criterion("6: a new input is predicted by another function (frozen, moving statistics)", 1),
    )
}
