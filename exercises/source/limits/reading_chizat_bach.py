"""Hidden checks of the problem "Reading Chizat, Oyallon and Bach: on lazy training"."""

import torch
from exercises import kit
from exercises.grading.problem import Check, Criterion

PACKAGES = ("matplotlib", "numpy", "pandas", "scipy", "torch", "tqdm")
CPU_SECONDS = 120


def checks(rng):
    """Networks, scales and data that the visible checks do not have."""

    def seed():
        return int(rng.integers(2**31))

    def inputs(n, d):
        return torch.tensor(rng.standard_normal((n, d)))

    norms = "The residual of alpha h, the spectral norm of the Hessian, the squared length of the gradient, 1/alpha."
    for width, d, activation in ((7, 2, "tanh"), (15, 3, "sin"), (4, 5, "gelu")):
        net = kit.TwoLayerNet(width, inputs=d, activation=kit.ACTIVATIONS[activation], seed=seed())
        numbers = (float(rng.uniform(2, 4)), float(rng.uniform(0.3, 5)))
        yield Check("criterion", (net, inputs(1, d), *numbers), advice=norms)
    deep = kit.Perceptron((2, 5, 4, 1), torch.tanh, seed=seed())
    yield Check("criterion", (deep, inputs(1, 2), float(rng.uniform(-5, -3)), 0.5), advice=norms)

    for shapes in (((3, 2), (4,)), ((2, 2, 2), (1,), (5, 1))):
        lists = [[inputs(1, torch.Size(shape).numel()).reshape(shape) for shape in shapes] for _ in range(2)]
        yield Check("relative-change", tuple(lists))

    scales = (
        "One factor alpha in the output, one in its gradient, two in the rate; centre on both sets of points."
    )
    for alpha, activation, n in ((0.5, "tanh", 6), (2.0, "sin", 9), (8.0, "erf", 4)):
        net = kit.TwoLayerNet(25, inputs=3, activation=kit.ACTIVATIONS[activation], seed=seed())
        data = (inputs(n, 3), 2 * inputs(n, 1), inputs(5, 3))
        yield Check("scaled-training", (alpha, net, *data, 0.4, int(rng.integers(5, 30))), advice=scales)
    net = kit.TwoLayerNet(12, inputs=2, seed=seed())
    data = (inputs(5, 2), 2 * inputs(5, 1), inputs(2, 2))
    again = "Call it twice: is the model as it was before?"
    yield Check("scaled-training", (0.4, net, *data, 0.4, 40), repeat=2, advice=again)


RUBRIC = {
    "answer-introduction": (
        Criterion("lazy training defined by the linearisation along the path; cause: scale, not width", 1),
        Criterion("1/alpha^2 keeps the speed in function space: d(alpha h)/dt has no factor alpha", 1),
        Criterion("the two relative changes to first order and their ratio kappa", 1),
        Criterion("kappa of alpha h like 1/alpha only if alpha h(w_0) stays bounded, as for h(w_0) = 0", 1),
    ),
    "answer-theorems": (
        Criterion(
            "Theorem 2.2: assumptions (locally Lipschitz Dh, Lipschitz gradient of R, h(w_0) = 0, finite T)",
            1,
        ),
        Criterion("Theorem 2.2: three rates; constants grow with T, so nothing about the end of training", 1),
        Criterion(
            "Theorem 2.4: strongly convex R, surjective Dh(w_0) (kernel matrix > 0); global, exponential", 1
        ),
        Criterion("width and networks do not occur in the theorems", 1),
        Criterion(
            "the sentence taken apart: scaling matters, no theorem on generalisation, experiments contradict",
            1,
        ),
    ),
    "answer-experiments": (
        Criterion(
            "the estimate of kappa term by term; 1/sqrt(m) lazy, 1/m not; log of m in the Hessian's norm", 1
        ),
        Criterion("alpha = lambda^q, the scale of the initialisation; q = 2", 1),
        Criterion(
            "two-layer experiment: data, teacher, student, scale of the initialisation, result; two differences",
            1,
        ),
        Criterion("convolutional networks: accuracy drops when lazy; what this does not show", 1),
    ),
    "answer-comparison": (
        Criterion("O(1/alpha) and a fixed kernel against O(1) and a flow of measures", 1),
        Criterion(
            "quantitative global rate against convergence without a rate; RKHS against variation space", 1
        ),
    ),
}
