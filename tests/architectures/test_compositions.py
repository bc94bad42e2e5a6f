"""Random architectures of layers with positions: built at both widths, consistent, and those of the loops."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ntklab as nl
from tests.architectures.loops import assert_loops
from tests.architectures.samples import GRAPHS

RNG = np.random.default_rng(6)
IMAGES = RNG.standard_normal((4, 3, 4, 3))  # two channels after a norm are 1 and -1: parallel everywhere
SEQUENCES = RNG.standard_normal((4, 5, 3))
RAGGED = [RNG.standard_normal((length, 3)) for length in (3, 1, 4, 2)]

LOOPED = [nl.ReLU(), nl.Erf(), nl.Identity()]
ACTIVATIONS = [
    *LOOPED,
    nl.LeakyReLU(0.3),
    nl.Abs(),
    nl.GELU(),
    nl.Sin(),
    nl.Cos(),
    nl.Sign(),
    nl.Polynomial([0.1, 1, 0.2]),
]
SIGMAS = st.tuples(st.sampled_from([0.5, 1.0, 2**0.5]), st.sampled_from([0.0, 0.3]))


def dense(draw):
    return nl.Dense(*draw(SIGMAS), draw(st.booleans()))


def conv(draw, grid, stride=1, keep=False, size=None):
    """A convolution that fits, and the grid behind it; keep: of the same size but for the stride."""
    padding = "same" if keep else draw(st.sampled_from(["same", "valid", "circular"]))
    if size is None:
        room = min(grid) if padding == "valid" else 2 * min(grid) - 1
        size = draw(st.sampled_from([k for k in (1, 2, 3, 5) if k <= room and (padding == "valid" or k % 2)]))
    layer = nl.Conv(size, *draw(SIGMAS), padding, stride, draw(st.booleans()))
    shrink = size - 1 if padding == "valid" else 0
    return layer, tuple((g - shrink - 1) // stride + 1 for g in grid)


@st.composite
def blocks(draw, grid, activations, fixed=False):
    """A run from Gaussian units on this grid to Gaussian units, and the grid behind; fixed: sizes stay."""
    act = draw(st.sampled_from(activations))
    pool = min(grid) >= 2 and not fixed
    kinds = ["plain", "plain", "norm", "nested", "identity", "projected", "means"]
    kind = draw(st.sampled_from(kinds + (["pooled", "pooled Gaussian", "residual pool"] if pool else [])))
    stride = 1 if fixed else draw(st.sampled_from([1, 2]))
    small = tuple(g // 2 for g in grid)
    if kind == "norm":
        layer, after = conv(draw, grid, stride, fixed)
        return [nl.LayerNorm(), act, nl.LayerNorm(), layer], after
    if kind == "nested":
        inner, after = draw(blocks(grid, activations, fixed))
        return [nl.Sequential(nl.Sequential(), *inner)], after
    if kind == "identity":
        return [nl.Residual(act, conv(draw, grid, 1, True)[0])], grid
    if kind == "means":
        layer = conv(draw, grid, 1, True)[0]
        return [
            act,
            nl.Residual(nl.Sequential(layer, act), shortcut=draw(st.sampled_from([(), (layer, act)]))),
            layer,
        ], grid
    if kind == "projected":
        branch, after = conv(draw, grid, stride, True)
        side = conv(draw, grid, stride, True, 1)[0]
        return [nl.Residual(act, branch, shortcut=side)], after
    if kind == "pooled":
        layer, after = conv(draw, small, 1)
        return [act, nl.AvgPool(2), layer], after
    if kind == "pooled Gaussian":
        return [act, conv(draw, grid, 1, True)[0], nl.AvgPool(2)], small
    if kind == "residual pool":
        return [nl.Residual(act, conv(draw, grid, 1, True)[0], nl.AvgPool(2), shortcut=nl.AvgPool(2))], small
    layer, after = conv(draw, grid, stride, fixed)
    return [act, layer], after


@st.composite
def architectures(draw, grid, activations=ACTIVATIONS, ragged=False):
    """From raw inputs on this grid to one output a sample."""
    first, grid = conv(draw, grid, 1, ragged)
    layers = [*([nl.LayerNorm()] if draw(st.booleans()) else []), first]
    for _ in range(draw(st.integers(0, 3))):
        more, grid = draw(blocks(grid, activations, ragged))
        layers += more
    act = draw(st.sampled_from(activations))
    pool = draw(
        st.sampled_from([nl.GlobalAvgPool(), nl.GlobalSumPool()] + ([] if ragged else [nl.Flatten()]))
    )
    before = draw(st.booleans()) and not isinstance(pool, nl.Flatten)
    layers += [pool, act] if before else [act, pool]
    if draw(st.booleans()):
        layers.append(nl.LayerNorm())
    return nl.Sequential(*layers, dense(draw))


@st.composite
def on_graphs(draw, activations=ACTIVATIONS):
    layers = [dense(draw)]
    for _ in range(draw(st.integers(1, 3))):
        act, hear = draw(st.sampled_from(activations)), nl.Aggregate(draw(st.sampled_from(["sum", "mean"])))
        kind = draw(st.sampled_from(["before", "after", "residual", "norm"]))
        if kind == "before":
            layers += [hear, act, dense(draw)]
        elif kind == "after":
            layers += [act, hear, dense(draw)]
        elif kind == "residual":
            layers.append(nl.Residual(hear, act, dense(draw), shortcut=draw(st.sampled_from([(), hear]))))
        else:
            layers += [nl.LayerNorm(), act, dense(draw), hear]
    pool = draw(st.sampled_from([nl.GlobalAvgPool(), nl.GlobalSumPool()]))
    return nl.Sequential(*layers, draw(st.sampled_from(activations)), pool, dense(draw))


CASES = st.one_of(
    st.tuples(architectures((4, 3)), st.just(IMAGES)),
    st.tuples(architectures((5,)), st.just(SEQUENCES)),
    st.tuples(architectures((3,), ragged=True), st.just(RAGGED)),
    st.tuples(on_graphs(), st.just(GRAPHS)),
)


@settings(max_examples=100)
@given(CASES)
def test_every_architecture_has_positive_semidefinite_consistent_kernels(case):
    arch, x = case
    both, own, cross = arch.kernel(x), arch.diagonal(x), arch.kernel(x[:1], x[1:])
    for part, line, piece in zip(both, own, cross, strict=True):
        size = max(np.abs(part).max(), 1e-300)
        assert np.isfinite(part).all() and np.array_equal(part, part.T)
        assert np.linalg.eigvalsh(part)[0] > -1e-7 * size
        assert np.abs(np.diag(part) - line).max() < 1e-7 * size  # the angle between equal positions
        assert np.abs(part[:1, 1:] - piece).max() < 1e-7 * size


@settings(max_examples=60)
@given(CASES, st.integers(0, 3))
def test_every_architecture_builds_a_network_with_that_many_outputs(case, seed):
    arch, x = case
    shape = (None, 3) if isinstance(x, list) else x.shape[1:]
    net = arch.finite(32, shape, outputs=3, seed=seed, dtype=torch.float64)
    out = net(x if isinstance(x, list) else torch.tensor(x))
    assert out.shape == (4, 3) and torch.isfinite(out).all()
    assert sum(len(group["params"]) for group in net.parameter_groups(0.1)) == sum(
        p.requires_grad for p in net.parameters()
    )
    alone = net(x[:1] if isinstance(x, list) else torch.tensor(x[:1]))
    torch.testing.assert_close(out[:1], alone, rtol=1e-9, atol=1e-9)


@settings(max_examples=80)
@given(
    st.one_of(
        st.tuples(architectures((4, 3), LOOPED), st.just(IMAGES[:2])),
        st.tuples(architectures((5,), LOOPED), st.just(SEQUENCES[:2])),
        st.tuples(architectures((3,), LOOPED, ragged=True), st.just(RAGGED[:2])),
        st.tuples(on_graphs(LOOPED), st.just(GRAPHS[:2])),
    )
)
def test_every_architecture_is_that_of_the_loops(case):
    arch, x = case
    assert_loops(arch, x, rel=1e-6)


@settings(max_examples=15)
@given(st.one_of(architectures((4, 3)), architectures((5,)), on_graphs()))
def test_architectures_are_values(arch):
    assert eval(repr(arch), vars(nl)) == arch and hash(eval(repr(arch), vars(nl))) == hash(arch)
