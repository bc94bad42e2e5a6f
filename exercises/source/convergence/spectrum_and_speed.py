"""Hidden checks of the problem "The spectrum and the speed of learning"."""

import math

import numpy as np
import torch
from exercises import kit
from exercises.grading.problem import Check, Criterion

PACKAGES = ("matplotlib", "numpy", "pandas", "scipy", "torch", "tqdm")
CPU_SECONDS = 60


def checks(rng):
    """Kernels of other sizes, the three losses, many times at once, and networks with other activations."""

    def seed():
        return int(rng.integers(2**31))

    def kernel(n):
        """Eigenvalues 1, 2, ..., n times 0.3 to 0.6 in a random basis: none repeated, none close to 0."""
        modes = np.linalg.qr(rng.standard_normal((n, n)))[0]
        matrix = modes * (rng.uniform(0.3, 0.6) * np.arange(1.0, n + 1)) @ modes.T
        return (matrix + matrix.T) / 2

    def residual(n):
        return rng.standard_normal(n)

    order = "From the largest eigenvalue to the smallest, and the energies in the same order."
    for n in (5, 9, 2):
        yield Check("mode-energies", (kernel(n), residual(n)), advice=order)

    factor = "mean: c = 1/n, sum: c = 1, mse: c = 2/n."
    for loss, scale in (("mean", 1.0), ("sum", 0.2), ("mse", 0.5)):
        rate = scale * float(rng.uniform(0.5, 1.0))
        flow = (kernel(5), residual(5), rng.uniform(0, 3, 4), rate, "flow", loss)
        descent = (kernel(5), residual(5), rng.integers(0, 12, 4), rate, "descent", loss)
        yield Check("remaining", flow, advice=factor)
        yield Check("remaining", descent, advice=factor)
        yield Check("largest-stable-rate", (kernel(7), loss), advice=factor)
    yield Check("remaining", (kernel(4), residual(4), np.array([2.5])), repeat=2)

    for n, fraction in ((3, 0.5), (8, 0.05), (12, 1e-4)):
        yield Check(
            "time-to", (kernel(n), residual(n), fraction), {"learning_rate": float(rng.uniform(0.2, 2))}
        )
    thin = rng.standard_normal((6, 3))
    start = thin @ rng.standard_normal(3)
    zero = "Modes without speed keep their energy; here they hold none, or rounding only."
    yield Check("time-to", (thin @ thin.T, start, 0.01), tolerance=1e-3, advice=zero)

    for n in (6, 14):
        yield Check("wave-eigenvalues", (kernel(n),), advice="Use the whole matrix, not its first row.")
    angles = 2 * math.pi * np.arange(10) / 10
    profile = np.exp(float(rng.uniform(0.5, 2)) * np.cos(angles[:, None] - angles))
    yield Check("wave-eigenvalues", (profile,))

    shapes = "Outputs and labels have shape (n, 1); divide by size u . u; one step only."
    for name, n in (("tanh", 5), ("relu", 8), ("sin", 3)):
        net = kit.TwoLayerNet(40, inputs=3, activation=kit.ACTIVATIONS[name], seed=seed())
        x, u = torch.tensor(rng.standard_normal((n, 3))), torch.tensor(rng.standard_normal(n))
        rate = float(rng.uniform(0.1, 0.8))
        yield Check("surviving-share", (net, x, u, rate), advice=shapes, repeat=2)


RUBRIC = {
    "answer": (
        Criterion("1: partial integration twice, boundary term of the kink, lambda_k ~ s / (pi k^2)", 1),
        Criterion("1: time constant 1 / (eta lambda_k), so about 16 times as long: spectral bias", 1),
        Criterion("2: the odd part of f is linear whatever the weights; odd waves from 3 on never appear", 1),
        Criterion("3: the catapult: growth, the kernel shrinks, the run is caught; the probe stays tiny", 1),
        Criterion(
            "4: no energy in modes of eigenvalue 0; the speed is the smallest positive one with energy", 1
        ),
    )
}
