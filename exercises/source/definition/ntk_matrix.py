"""Hidden checks of the problem "The NTK matrix, and how good the linearised network is"."""

import torch
from exercises import kit
from exercises.grading.problem import Check, Criterion

PACKAGES = ("matplotlib", "numpy", "pandas", "scipy", "torch", "tqdm")
CPU_SECONDS = 60


def checks(rng):
    """Networks, inputs and widths that the visible checks do not have."""

    def seed():
        return int(rng.integers(2**31))

    def inputs(n, d):
        return torch.tensor(rng.standard_normal((n, d)))

    deep = kit.Perceptron((3, 12, 9, 1), torch.nn.functional.gelu, seed=seed())
    frozen = kit.Perceptron((4, 10, 1), torch.sin, seed=seed())
    frozen.layers[0].bias.requires_grad_(False)
    once = "Call it twice on one model: are gradients of the first call left over, or is the model changed?"
    yield Check("ntk-matrix", (deep, inputs(7, 3)))
    yield Check("ntk-matrix", (frozen, inputs(4, 4)), advice="Leave frozen parameters out.")
    yield Check("ntk-matrix", (kit.TwoLayerNet(30, inputs=5, seed=seed()), inputs(1, 5)))
    yield Check(
        "ntk-matrix", (kit.TwoLayerNet(9, inputs=3, seed=seed()), inputs(5, 3)), repeat=2, advice=once
    )

    three = kit.Perceptron((2, 16, 3), torch.tanh, last=True, seed=seed())
    order = "The axes are (sample 1, sample 2, output 1, output 2)."
    yield Check("ntk-blocks", (three, inputs(4, 2), inputs(5, 2)), advice=order)
    yield Check(
        "ntk-blocks", (kit.Wave(*rng.uniform(0.5, 2, 2).tolist()), inputs(3, 1), inputs(3, 1)), advice=order
    )

    for repeat, advice in [(1, ""), (2, "The model must stay as it is.")]:
        net = kit.Perceptron((3, 8, 8, 2), torch.sin, seed=seed())
        theta = [p.detach() + 0.3 * torch.tensor(rng.standard_normal(p.shape)) for p in net.parameters()]
        yield Check("linear-prediction", (net, theta, inputs(6, 3)), repeat=repeat, advice=advice)

    width, run = int(rng.integers(150, 400)), int(rng.integers(10, 1000))
    yield Check("linearization-error", (width, run))
    yield Check("linearization-error", (width, run), {"activation": torch.relu})


RUBRIC = {
    "answer": (
        Criterion("the bound: Taylor's remainder, norm of the Hessian times squared distance", 1),
        Criterion("tanh: the second-order term as a sum over neurons of order m^(-3/2) each", 1),
        Criterion("tanh: summands odd in a_j, so random signs and a total of order 1/m", 1),
        Criterion("ReLU: about sqrt(m) neurons change sign, each adds 1/m with a random sign", 1),
    )
}
