"""Hidden checks of the problem "The kernel on handwritten digits, over widths"."""

import torch
from exercises import kit
from exercises.grading.problem import Check, Criterion

PACKAGES = ("matplotlib", "numpy", "pandas", "scipy", "torch", "tqdm")
CPU_SECONDS = 120


def checks(rng):
    """Networks, inputs and widths that the visible checks do not have."""

    def seed():
        return int(rng.integers(2**31))

    def inputs(n, d):
        return torch.tensor(rng.standard_normal((n, d)))

    shares = "Readout and hidden layer, weights and bias: each share once, with its own factor."
    for width, n, d, activation in ((40, 5, 3, "gelu"), (17, 1, 6, "erf"), (120, 8, 2, "relu")):
        net = kit.TwoLayerNet(width, inputs=d, activation=kit.ACTIVATIONS[activation], seed=seed())
        yield Check("empirical-kernel", (net, inputs(n, d)), advice=shares)
    net = kit.TwoLayerNet(9, inputs=4, activation=torch.sin, seed=seed())
    unchanged = "Call it twice: are the model and the inputs as before?"
    yield Check("empirical-kernel", (net, inputs(4, 4)), repeat=2, advice=unchanged)

    for n in (4, 7):
        before, noise = inputs(n, n), inputs(n, n)
        yield Check("ntk-change", (before @ before.T, before @ before.T + 0.3 * noise))
    yield Check("ntk-change", (inputs(3, 3).numpy(), inputs(3, 3).numpy()))

    for sizes in ((3, 7, 1), (2, 5, 5, 2)):
        yield Check("movement", (kit.Perceptron(sizes, seed=seed()), kit.Perceptron(sizes, seed=seed())))
    yield Check("movement", tuple(kit.TwoLayerNet(6, inputs=9, seed=seed()) for _ in range(2)))

    widths = [int(width) for width in rng.choice(range(10, 50), 3, replace=False)]
    seeds = [int(number) for number in rng.choice(1000, 2, replace=False)]
    yield Check(
        "width-study", (widths, seeds), advice="Four arrays, each with widths as rows and seeds as columns."
    )
    yield Check("width-study", (widths[:1], seeds[:1]), {"activation": torch.relu})

    four = "Weights and biases of both layers train."
    for width, n, d, activation in ((30, 5, 3, "sin"), (12, 6, 2, "relu")):
        net = kit.Perceptron((d, width, 1), kit.ACTIVATIONS[activation], seed=seed())
        yield Check("standard-kernel", (net, inputs(n, d)), advice=four)

    for n in (3, 8):
        factor = inputs(n, n)
        yield Check("stable-rate", (factor @ factor.T,))


RUBRIC = {
    "answer": (
        Criterion("the kernel derived: three derivatives, the sum over inputs factorised", 1),
        Criterion(
            "total movement: squared norm (y - f0)' Theta^-1 (y - f0), of order one; flat in the figure", 1
        ),
        Criterion(
            "relative to |theta_0| ~ sqrt(m), or for each neuron, it falls as m^(-1/2); the note is wrong here",
            1,
        ),
        Criterion(
            "tanh: odd terms with random signs; ReLU: neurons that switch off; says what the error bar allows",
            1,
        ),
    ),
    "answer-standard": (
        Criterion(
            "lambda_max/n = A + B m with B from the features and A of order |x|^2; crossover at A/B", 1
        ),
        Criterion(
            "each run matched with its rate over the stable rate; stable, stable, catapult, diverged", 1
        ),
        Criterion("the large change of the kernel is the catapult's and does not speak against laziness", 1),
        Criterion(
            "two remedies; only NTK parameterisation gives the NTK, the rate c/m gives the NNGP kernel", 1
        ),
    ),
}
