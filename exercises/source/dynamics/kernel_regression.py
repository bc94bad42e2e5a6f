"""Hidden checks of the problem "Training is kernel regression"."""

import math

import numpy as np
import torch
from exercises import kit
from exercises.grading.problem import Check, Criterion

PACKAGES = ("matplotlib", "numpy", "pandas", "scipy", "torch", "tqdm")
CPU_SECONDS = 60

SINGULAR = (
    "Eigenvalues that are zero up to rounding: compare each with the largest, and leave those directions out."
)
LOSS = "The loss is 1/(2n) sum (f - y)^2; the initial outputs enter on the training and on the test inputs."


def checks(rng):
    """Other models, kernels of full and of deficient rank, times, rates and networks."""

    def seed():
        return int(rng.integers(2**31))

    def matrix(rows, columns, rank):
        """Of that rank, with singular values between 1/2 and 3/2."""
        left, right = (np.linalg.qr(rng.standard_normal((size, rank)))[0] for size in (rows, columns))
        return (left * rng.uniform(0.5, 1.5, rank)) @ right.T

    def data(n, n_test, rank):
        train, test = matrix(n, 12, rank), matrix(n_test, 12, n_test)
        k_train, k_test_train = train @ train.T, test @ train.T
        y, f0_train, f0_test = (rng.standard_normal(size) for size in (n, n, n_test))
        return k_train, k_test_train, y, f0_train, f0_test

    def rate(arguments, share):
        """That share of the largest stable rate."""
        return float(share * 2 * len(arguments[2]) / np.linalg.eigvalsh(arguments[0])[-1])

    deep = kit.Perceptron((3, 7, 5, 1), torch.sin, seed=seed())
    yield Check("jacobian", (deep, torch.tensor(rng.standard_normal((5, 3)))))
    net = kit.TwoLayerNet(11, inputs=4, activation=torch.tanh, seed=seed())
    yield Check("jacobian", (net, torch.tensor(rng.standard_normal((1, 4)))))
    yield Check("jacobian", (net, torch.tensor(rng.standard_normal((3, 4)))), repeat=2)

    for n, parameters, rank in [(4, 9, 4), (6, 3, 3), (6, 10, 2)]:
        call = matrix(n, parameters, rank), rng.standard_normal(n)
        yield Check("minimum-norm-parameters", call, advice=SINGULAR)

    full, more, few = data(5, 4, 5), data(1, 3, 1), data(7, 2, 3)
    for arguments, t, advice in [
        (full, float(rng.uniform(1, 10)), LOSS),
        (full, math.inf, LOSS),
        (more, float(rng.uniform(1, 3)), LOSS),
        (few, float(rng.uniform(5, 20)), SINGULAR),
        (few, math.inf, SINGULAR),
        (full, 0.0, "At t = 0 nothing has been learnt."),
    ]:
        yield Check("flow-prediction", (*arguments, t, rate(arguments, 0.1)), advice=advice)

    once = "Call it twice on the same arrays: is one of them changed?"
    for arguments, steps, share, repeat, advice in [
        (data(5, 4, 5), int(rng.integers(2, 6)), 0.3, 1, LOSS),
        (
            data(6, 2, 6),
            int(rng.integers(5, 30)),
            0.95,
            1,
            "Above half the largest rate the outputs oscillate.",
        ),
        (data(7, 3, 3), int(rng.integers(100, 300)), 0.5, 1, SINGULAR),
        (data(4, 5, 4), 1, 0.4, 2, once),
    ]:
        call = (*arguments, steps, rate(arguments, share))
        yield Check("descent-prediction", call, repeat=repeat, advice=advice)

    for low, high, steps in [(40, 80, 100), (100, 300, 100), (200, 400, int(rng.integers(4, 12)))]:
        call = (int(rng.integers(low, high)), seed() % 10_000)
        yield Check("prediction-errors", call, {"steps": steps} if steps != 100 else {})


RUBRIC = {
    "proof": (
        Criterion("1: the equation for the residual, with the factor c, and its solution", 1),
        Criterion("2: integration at any input for the eigenvalues that are not 0", 1),
        Criterion("2: the null directions of Theta: their share of Theta(x, X) is 0, with the reason", 1),
        Criterion(
            "3: limits of the parameters and of f(x), on singular kernels too (projector on the range)", 1
        ),
        Criterion("3: kernel regression and the f_0 term told apart for an invertible kernel", 1),
        Criterion("4: the minimisers are those with J delta = P (y - f_0); theta_inf is one of them", 1),
        Criterion("4: nearest by orthogonality of row space and null space, and the length", 1),
        Criterion(
            "5: the three constants; the limit does not contain c; the power and the range of rates", 1
        ),
    ),
    "formula": (
        Criterion(
            "1: right for 1/2 sum, f_0 = 0, discrete steps; the factor 2/n and both f_0 terms added", 1
        ),
        Criterion("2: the limit does not contain c; a test at a finite time does find it", 1),
        Criterion("3: the factor 1 - n/2 = -49 per step along the top eigenvector: the formula explodes", 1),
    ),
    "random": (
        Criterion("1: f_0 stays in the limit; a variance that does not fall with the width", 1),
        Criterion("2: the mean is kernel regression up to S^(-1/2); S proportional to m", 1),
        Criterion("3: the number 1.55; not the posterior's mean; the condition A = B", 1),
        Criterion("4: the decomposition with an uncorrelated bracket, hence a variance at least as large", 1),
    ),
}
