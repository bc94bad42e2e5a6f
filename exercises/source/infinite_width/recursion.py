"""Hidden checks of the problem "Kernels of deep networks: one recursion, any activation, several architectures"."""

import torch
from exercises import kit
from exercises.grading.problem import Check, Criterion

PACKAGES = ("matplotlib", "numpy", "pandas", "scipy", "torch", "tqdm")
CPU_SECONDS = 60

ARCCOS = 1e-3  # near 1 and -1 the arccosine loses half of float32's digits
PHI = kit.ACTIVATIONS


def checks(rng):
    """Activations, variances, inputs and depths that the visible checks do not have."""

    def inputs(n, d):
        return torch.tensor(rng.standard_normal((n, d)))

    def uniform(low, high, *shape):
        return torch.tensor(rng.uniform(low, high, shape))

    def variances():
        return float(rng.uniform(0.8, 2)), float(rng.uniform(0.05, 0.5))

    for name in ("relu", "abs", "gelu", "tanh", "softplus", "cos"):
        a, b, rho = uniform(0.3, 3, 3, 1), uniform(0.3, 3, 4), uniform(-0.9, 0.9, 3, 4)
        kink = "The kink at 0 needs a rule of its own on either side." if name in ("relu", "abs") else ""
        yield Check("dual", (PHI[name], a, b, rho * (a * b).sqrt()), advice=kink)
    a = uniform(0.1, 8, 6)
    edge = "c may equal the root of a b, or exceed it by a rounding error."
    signs = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    for name in ("relu", "erf"):
        yield Check("dual", (PHI[name], a, a, signs * a * (1 + 3e-16)), tolerance=ARCCOS, advice=edge)

    for name in ("relu", "gelu", "sin"):
        z, y = inputs(4, 6), inputs(4, 6)
        nngp, ntk = z @ z.T / 6 + 0.2, y @ y.T / 3 + 0.5
        yield Check("recursion-step", (PHI[name], nngp, ntk, *variances()), advice="Keep K and Theta apart.")

    once = "The arguments must stay as they are."
    for name, depth in [("relu", 3), ("erf", 1), ("tanh", 4)]:
        yield Check("deep-ntk", (inputs(4, 3), depth, PHI[name], *variances()), repeat=2, advice=once)
    z = inputs(3, 2)
    lines = torch.cat([z, -2 * z[:1], z[1:2]])
    yield Check("deep-ntk", (lines, 2, torch.relu, float(rng.uniform(1.5, 2.5)), 0.0), tolerance=ARCCOS)
    for trained in ([False, True, True], [True, False, False], [True, False, True]):
        arguments = (inputs(4, 5), 2, PHI["gelu"], *variances())
        frozen = "A frozen layer adds nothing itself and passes on what is below."
        yield Check("deep-ntk", arguments, {"trained": trained}, advice=frozen)

    for name, blocks in [("relu", 3), ("tanh", 1), ("erf", 4)]:
        shortcut = "The shortcut carries both kernels."
        yield Check("residual-ntk", (inputs(4, 3), blocks, PHI[name], *variances()), advice=shortcut)

    for name in ("tanh", "erf", "abs", "sin"):
        yield Check("critical-variances", (PHI[name], float(rng.uniform(0.2, 2))))


RUBRIC = {
    "answer-derivation": (
        Criterion("statement of the induction with the order of limits, and its start at every width", 1),
        Criterion("own parameters: their gradients and the law of large numbers give the NNGP kernel", 1),
        Criterion("parameters below: double sum by the chain rule, of which the diagonal is left", 1),
        Criterion("law of large numbers with weights independent of units below: the factor E phi' phi'", 1),
    ),
    "answer-residual": (
        Criterion("both kernels through a block, with a reason why cross terms vanish", 1),
        Criterion("2^B and 2^B (1 + B/2); variance of the branches of order 1/B", 1),
    ),
    "answer-printed": (
        Criterion("an exact counterexample carried out: linear or constant activation", 1),
        Criterion("K unmultiplied, slopes and s_w^2 on what is below; evidence in standard errors", 1),
    ),
    "answer-depth": (
        Criterion("the powers 3/2 and 2 from the angle and from Taylor's and Price's theorems", 1),
        Criterion("the law of epsilon and the factor 1 - p / ((p - 1) l)", 1),
        Criterion("the limit (p - 1) / (2p - 1), 1/4 and 1/3, and what the four limits mean", 1),
    ),
}
