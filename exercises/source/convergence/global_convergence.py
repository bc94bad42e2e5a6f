"""Hidden checks of the problem "Global convergence, with every constant explicit"."""

import numpy as np
import torch
from exercises import kit
from exercises.grading.problem import Check, Criterion

PACKAGES = ("matplotlib", "numpy", "pandas", "scipy", "torch", "tqdm")
CPU_SECONDS = 60


def checks(rng):
    """Other networks, inputs, matrices, losses and constants."""

    def seed():
        return int(rng.integers(2**31))

    def inputs(n, d):
        return torch.tensor(rng.standard_normal((n, d)))

    def sine(width, d=2):
        return kit.TwoLayerNet(width, inputs=d, activation=torch.sin, seed=seed())

    softplus = kit.TwoLayerNet(6, inputs=4, activation=torch.nn.functional.softplus, seed=seed())
    frozen = sine(7, 3)
    frozen.hidden_bias.requires_grad_(False)
    yield Check("jacobian", (sine(9, 3), inputs(4, 3)))
    yield Check("jacobian", (softplus, inputs(3, 4), torch.sigmoid), advice="Use the argument `derivative`.")
    yield Check("jacobian", (frozen, inputs(5, 3)), advice="A frozen bias has no columns.")
    yield Check("jacobian", (sine(5), inputs(1, 2)), repeat=2, advice="The network must stay as it is.")

    for n, parameters in [(3, 8), (5, 3), (4, 4)]:
        yield Check("extreme-eigenvalues", (inputs(n, parameters),), advice="What if n > P?")

    constants = "Q is the largest |x|^2/d + 1/4, A the largest |a_j|; L has n and m under its root."
    for net, x in [
        (sine(37, 3), inputs(4, 3)),
        (sine(int(rng.integers(200, 900))), kit.circle(5)[0]),
        (sine(2, 5), inputs(1, 5)),
    ]:
        yield Check("lipschitz-constant", (net, x), advice=constants)

    for n, loss, t in [
        (3, "mean", float(rng.uniform(1, 4))),
        (5, "sum", rng.uniform(0.1, 2, 4)),
        (4, "mse", rng.uniform(0.5, 3, (2, 3))),
        (1, "mean", float(rng.uniform(0.1, 1))),
    ]:
        basis = np.linalg.qr(rng.standard_normal((n, n)))[0]
        kernel = (basis * rng.uniform(0.5, 2, n)) @ basis.T
        call = (kernel, rng.standard_normal(n), t, float(rng.uniform(0.2, 0.8)))
        advice = "Smallest eigenvalue, the constant of the loss, the norm and not its square."
        yield Check("exponential-bound", call, {} if loss == "mean" else {"loss": loss}, advice=advice)

    for rho in (0.0, float(rng.uniform(0.1, 0.6)), float(rng.uniform(0.7, 0.99)), 1e-17):
        smallest, residual = rng.uniform(0.2, 3, 2).tolist()
        call = (smallest, residual, rho * smallest / (2 * residual))
        yield Check("movement-bound", call, advice="Avoid the difference of two nearly equal roots.")

    for _ in range(2):
        yield Check("kernel-change-bound", tuple(rng.uniform(0.3, 3, 3).tolist()))

    for net, x in [
        (sine(int(rng.integers(60, 200))), kit.circle(3, offset=float(rng.uniform()))[0]),
        (sine(int(rng.integers(300, 600)), 4), inputs(3, 4)),
        (sine(150), kit.circle(2)[0]),
    ]:
        advice = "rho = 2 L R_0 / lambda falls like the width to the power -1/2."
        yield Check("required-width", (net, x, inputs(len(x), 1)), advice=advice)


RUBRIC = {
    "definite": (
        Criterion(
            "1: equal inputs, odd function, homogeneous function: each with its reason, at every width", 1
        ),
        Criterion(
            "1: polynomial (dimension on the circle) and n > P; only the latter goes away with the width", 1
        ),
        Criterion("2: power series with positive coefficients, Gram matrices of tensor powers", 1),
        Criterion(
            "2: a separating polynomial of odd degree, or another complete argument, for distinct inputs", 1
        ),
    ),
    "proof": (
        Criterion(
            "1: both parts of the gradient bounded by |da_j| and |dv_j|, one change after the other", 1
        ),
        Criterion("1: norm of the 2 x 2 matrix; sums over neurons and inputs give L", 1),
        Criterion("2: Weyl's inequality for singular values along the path", 1),
        Criterion("3: derivative of the norm of the residual against the speed", 1),
        Criterion("3: integrated inequality with the parabola", 1),
        Criterion("3: continuity: the smaller root is never passed, under rho < 1", 1),
        Criterion("4: (i), (ii), (iii) with their constants", 1),
        Criterion("4: (iv); the flow exists for all times and the parameters converge", 1),
        Criterion("5: A, lambda and R_0 in probability, so that rho tends to 0", 1),
    ),
    "pessimism": (
        Criterion("1: a factor for each step, from the measured numbers", 1),
        Criterion("2: the first-order change is odd in a_j, so random signs: 1/m, not m^(-1/2)", 1),
        Criterion("3: Weyl's inequality is for the worst sign and direction; here lambda grows", 1),
    ),
    "steps": (
        Criterion("the ball: least singular value and h |J|^2 <= 1", 1),
        Criterion("the next iterate, and the segment, lie in the ball", 1),
        Criterion("one step of the residual, path and rate by induction", 1),
        Criterion("comparison: better for Lambda / lambda > 10/3, at a smaller rate", 1),
    ),
}
