"""Which compositions have an infinite-width meaning, and properties of all that have."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ntklab as nl
from ntklab.layers.state import Layout, State

X = np.random.default_rng(0).standard_normal((6, 4))


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        (nl.ReLU(), "layer 0, ReLU.*raw input"),
        (nl.Sequential(nl.Erf(), nl.Dense()), "layer 0, Erf.*raw input"),
        (nl.Sequential(nl.Dense(), nl.ReLU(), nl.Erf(), nl.Dense()), "layer 2, Erf.*Gaussian"),
        (
            nl.Sequential(nl.Dense(), nl.Residual(nl.ReLU(), nl.Dense(), nl.ReLU()), nl.ReLU()),
            "layer 2, ReLU.*Gaussian",
        ),
        (nl.Sequential(nl.Dense(), nl.ReLU(), nl.LayerNorm(), nl.ReLU()), "layer 3, ReLU.*Gaussian"),
        (
            nl.Sequential(nl.Residual(nl.Dense(), nl.ReLU(), nl.Dense()), nl.ReLU()),
            "layer 0, Residual.*first layer",
        ),
        (nl.Sequential(nl.LayerNorm(), nl.Residual(nl.Dense()), nl.ReLU()), "layer 1, Residual.*first layer"),
        (nl.Sequential(nl.Dense(), nl.Sequential(nl.ReLU(), nl.Abs())), "layer 1, Sequential.*layer 1, Abs"),
    ],
    ids=repr,
)
def test_compositions_without_infinite_width_meaning_are_refused(arch, message):
    with pytest.raises(ValueError, match=message):
        arch.kernel(X)
    with pytest.raises(ValueError, match=message):
        arch.diagonal(X)


ACTIVATIONS = st.sampled_from(
    [
        nl.ReLU(),
        nl.LeakyReLU(0.3),
        nl.Abs(),
        nl.Erf(),
        nl.GELU(),
        nl.Sin(),
        nl.Cos(),
        nl.Sign(),
        nl.Identity(),
        nl.Polynomial([0.1, 1, 0.2]),
    ]
)
DENSE = st.builds(nl.Dense, st.sampled_from([0.5, 1.0, 2**0.5]), st.sampled_from([0.0, 0.3]), st.booleans())


@st.composite
def blocks(draw, deep=True):
    """A run of layers from Gaussian units to Gaussian units."""
    parts = []
    for _ in range(draw(st.integers(1, 2))):
        kind = draw(
            st.sampled_from(
                ["plain", "norm before", "norm after"] + (["residual", "projected"] if deep else [])
            )
        )
        if kind == "residual":
            parts.append(nl.Residual(*draw(blocks(deep=False))))
        elif kind == "projected":
            parts.append(nl.Residual(*draw(blocks(deep=False)), shortcut=draw(DENSE)))
        else:
            parts += [nl.LayerNorm()] if kind == "norm before" else []
            parts.append(draw(ACTIVATIONS))
            parts += [nl.LayerNorm()] if kind == "norm after" else []
            parts.append(draw(DENSE))
    return parts


LEGAL = st.builds(
    lambda first, rest, last: nl.Sequential(first, *rest, nl.ReLU(), last), DENSE, blocks(), DENSE
)


@settings(max_examples=80)
@given(LEGAL)
def test_every_legal_architecture_has_positive_semidefinite_consistent_kernels(arch):
    first, second = X[:4], X[3:]
    both = arch.kernel(X)
    for part, cross, line in zip(both, arch.kernel(first, second), arch.diagonal(X), strict=True):
        assert np.array_equal(part, part.T)
        scale = max(np.abs(part).max(), 1e-300)
        assert np.linalg.eigvalsh(part)[0] > -1e-11 * scale
        assert np.abs(part[:4, 3:] - cross).max() < 1e-6 * scale  # the shared row: 1e-7 near parallel
        assert np.abs(np.delete(part[:4, 3:] - cross, 3, 0)).max() < 1e-11 * scale
        assert np.abs(np.diag(part) - line).max() < 1e-13 * scale


@settings(max_examples=30)
@given(LEGAL, st.integers(0, 3))
def test_every_legal_architecture_builds_a_network_with_that_many_outputs(arch, seed):
    net = arch.finite(8, (4,), outputs=3, seed=seed, dtype=torch.float64)
    out = net(torch.tensor(X))
    assert out.shape == (6, 3) and torch.isfinite(out).all()


@pytest.mark.parametrize(
    "act",
    [nl.ReLU(), nl.Abs(), nl.Erf(), nl.GELU(), nl.Cos(), nl.Sign(), nl.Elementwise(torch.tanh)],
    ids=repr,
)
def test_elementwise_layers_do_not_look_at_the_layout(act):
    """The same numbers as pixel pairs (n1, n2, H, H', W, W') or as a matrix of all pixels give the same kernels."""
    gen = torch.Generator().manual_seed(0)
    n, h, w = 2, 3, 2
    z = torch.randn(n * h * w, 5, generator=gen, dtype=torch.float64)
    z = z / z.norm(dim=1, keepdim=True)
    std = torch.rand(n * h * w, generator=gen, dtype=torch.float64) + 0.5
    rho = (z @ z.T).clamp(-1, 1)
    flat = State(rho, 0.7 * rho, std[:, None], std[None, :], gaussian=True, wide=True)

    def pairs(matrix):
        return matrix.reshape(n, h, w, n, h, w).permute(0, 3, 1, 4, 2, 5)

    spatial = State(
        pairs(flat.rho),
        pairs(flat.tau),
        std.reshape(n, 1, h, 1, w, 1),
        std.reshape(1, n, 1, h, 1, w),
        gaussian=True,
        wide=True,
        layout=Layout.PIXEL_PAIRS,
    )
    one, other = act.propagate(flat), act.propagate(spatial)
    assert torch.allclose(pairs(one.nngp), other.nngp, atol=1e-14)
    assert torch.allclose(pairs(one.ntk), other.ntk, atol=1e-14)
    with pytest.raises(ValueError, match="images go into Dense through"):
        nl.Dense().propagate(other)
