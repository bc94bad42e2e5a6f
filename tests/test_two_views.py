"""Every layer's two views against each other: finite networks tend to the infinite kernel as width^(-1/2)."""

import numpy as np
import pytest
import torch

import ntklab as nl

X = np.random.default_rng(1).standard_normal((4, 3))
WIDTHS = (32, 128, 512)
NETS = 24

ARCHITECTURES = {
    "linear, two layers": nl.Sequential(nl.Dense(1.3, 0.2), nl.Dense(0.9, 0.4)),
    **{
        f"{act!r}"[:24]: nl.Sequential(nl.Dense(1.3, 0.2), act, nl.Dense(1.2, 0.3), act, nl.Dense(0.8))
        for act in (
            nl.ReLU(),
            nl.LeakyReLU(0.3),
            nl.Abs(),
            nl.Erf(),
            nl.GELU(),
            nl.Sin(),
            nl.Cos(),
            nl.Identity(),
            nl.Elementwise(torch.tanh),
            nl.Polynomial([0.2, 1, 0.1]),
        )
    },
    "Sign, readout": nl.Sequential(nl.Dense(1.3, 0.2), nl.Sign(), nl.Dense()),
    "frozen hidden": nl.Sequential(
        nl.Dense(1.3, 0.2), nl.ReLU(), nl.Dense(1.1, 0.2, trainable=False), nl.ReLU(), nl.Dense()
    ),
    "residual": nl.Sequential(nl.Dense(), nl.Residual(nl.ReLU(), nl.Dense(1.2, 0.1)), nl.ReLU(), nl.Dense()),
    "residual, projected": nl.Sequential(
        nl.Residual(nl.Dense(), nl.ReLU(), nl.Dense(), shortcut=nl.Dense(0.7, 0.2)), nl.Erf(), nl.Dense()
    ),
    "residual after activation": nl.Sequential(
        nl.Dense(), nl.ReLU(), nl.Residual(nl.Dense(), nl.ReLU()), nl.Dense(1.1), nl.ReLU(), nl.Dense()
    ),
    "norm of pre-activations": nl.Sequential(nl.Dense(2.0, 0.3), nl.LayerNorm(), nl.ReLU(), nl.Dense()),
    "norm of activations": nl.Sequential(
        nl.Dense(1.0, 0.3), nl.ReLU(), nl.LayerNorm(), nl.Dense(1.2, 0.1), nl.Erf(), nl.Dense()
    ),
    "norm of the input": nl.Sequential(nl.LayerNorm(), nl.Dense(), nl.GELU(), nl.Dense()),
    "ends in an activation": nl.Sequential(nl.Dense(1.2, 0.1), nl.ReLU(), nl.Dense(), nl.Erf()),
}


def finite_kernels(arch, width, seed):
    """Both kernels of one network, over its outputs; without Dense at the end, over its units."""
    estimate = nl.monte_carlo_kernel
    ends = isinstance(arch.layers[-1], nl.Dense)
    if ends:
        return estimate(arch, X, width=width, seeds=2, seed=2 * seed)
    wide = nl.Sequential(*arch.layers, nl.Dense(trainable=False))  # its kernels are those of the layer below
    return estimate(wide, X, width=width, seeds=2, seed=2 * seed)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_finite_kernels_tend_to_the_infinite_ones_at_rate_one_half(name):
    arch = ARCHITECTURES[name]
    exact = arch.kernel(X)
    errors = np.zeros((2, len(WIDTHS)))
    for w, width in enumerate(WIDTHS):
        samples = [finite_kernels(arch, width, seed) for seed in range(NETS // 2)]
        for k, (kernel, field) in enumerate(zip(exact, ("nngp", "ntk"), strict=True)):
            stack = np.stack([getattr(s, field) for s in samples])
            scale = np.abs(kernel).max()
            errors[k, w] = np.sqrt(np.mean((stack - kernel) ** 2)) / scale
            mean, error = stack.mean(0), stack.std(0, ddof=1) / np.sqrt(len(stack))
            bias = 3 * scale / width  # the O(1/width) of finite depth
            assert np.all(np.abs(mean - kernel) < 5 * error + bias), (field, width, (mean - kernel) / error)
    for k, row in enumerate(errors):
        if row.max() < 1e-12:  # deterministic: nothing random in this kernel
            continue
        slope = np.polyfit(np.log(WIDTHS), np.log(row), 1)[0]
        # The root mean square of 24 networks has a relative error near 1/sqrt(2 * 24) = 0.14 (more
        # where entries are correlated), so the slope over a factor 16 has one near 0.08.
        assert -0.5 - 0.28 < slope < -0.5 + 0.28, (("nngp", "ntk")[k], slope, row)
