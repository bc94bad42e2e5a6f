"""Images, sequences and graphs as inputs: kinds of arrays, order, duplicates, precision, tiles, gradients."""

import numpy as np
import pytest
import torch

import ntklab as nl
import ntklab.kernel
from tests.architectures.loops import assert_same
from tests.architectures.samples import ARCHITECTURES, CONV, ERF, GRAPHS, HEAD, IMAGES, RAGGED, RELU

NODES = (nl.Sequential(nl.Dense(1.2, 0.3), RELU, nl.Aggregate(), HEAD), GRAPHS)
ALL = {**ARCHITECTURES, "nodes": NODES}
each = pytest.mark.parametrize("name", ALL)


def cast(x, change):
    """The same samples as other arrays."""
    if not isinstance(x, list):
        return change(x)
    if isinstance(x[0], nl.Graph):
        return [nl.Graph(change(graph.features), change(graph.adjacency)) for graph in x]
    return [change(sample) for sample in x]


def take(x, order):
    return [x[i] for i in order] if isinstance(x, list) else x[order]


def rows(name, x, order):
    """Rows of the kernel that belong to these samples."""
    if name != "nodes":
        return list(order)
    starts = np.cumsum([0] + [len(graph) for graph in x])
    return [row for i in order for row in range(starts[i], starts[i + 1])]


# --- consistency ---------------------------------------------------------------------------------------------


@each
def test_symmetric_positive_semidefinite_and_its_diagonal(name):
    arch, x = ALL[name]
    x = x if name == "nodes" else cast(take(x, [0, 1, 2, 3, 0]), lambda part: part)
    for part, line in zip(arch.kernel(x), arch.diagonal(x), strict=True):
        assert np.array_equal(part, part.T)
        assert np.linalg.eigvalsh(part)[0] > -1e-7 * np.abs(part).max()
        np.testing.assert_allclose(np.diag(part), line, rtol=1e-8)
        if name != "nodes":
            np.testing.assert_allclose(part[0, 4], part[0, 0], rtol=1e-7)  # a sample and its copy


@each
def test_second_sets_are_parts_of_the_whole(name):
    arch, x = ALL[name]
    whole = arch.kernel(x)
    for first, second in (([0], [1, 2, 3]), ([1, 3], [0]), ([2], [3, 1, 0]), ([0, 1, 2, 3], [0, 1, 2, 3])):
        got = arch.kernel(take(x, first), take(x, second))
        want = [part[np.ix_(rows(name, x, first), rows(name, x, second))] for part in whole]
        assert_same(got, want, 1e-7 if len(first) == 4 else 1e-11)


@each
def test_order_and_batch_do_not_matter(name):
    arch, x = ALL[name]
    whole = arch.kernel(x)
    for order in ([3, 1, 0, 2], [2], [0], [3, 3]):
        index = rows(name, x, order)
        assert_same(arch.kernel(take(x, order)), [part[np.ix_(index, index)] for part in whole], 1e-7)
        assert_same(arch.diagonal(take(x, order)), [np.diag(part)[index] for part in whole], 1e-8)


@each
def test_tiles_do_not_show(name, monkeypatch):
    arch, x = ALL[name]
    whole, own, cross = arch.kernel(x), arch.diagonal(x), arch.kernel(take(x, [3]), take(x, [0, 1, 2]))
    size = 8 * {4: 256, 3: 36}.get(getattr(x, "ndim", 3), 36)
    for pairs in (0.01, 2, 3, 5):
        monkeypatch.setattr(ntklab.kernel, "TILE_BYTES", int(pairs * size))
        assert_same(arch.kernel(x), whole, 1e-7)
        assert_same(arch.diagonal(x), own, 1e-8)
        assert_same(arch.kernel(take(x, [3]), take(x, [0, 1, 2])), cross, 1e-11)
        for part in arch.kernel(x):
            assert np.array_equal(part, part.T)


# --- kinds of arrays -----------------------------------------------------------------------------------------


@each
def test_types_in_and_out(name):
    arch, x = ALL[name]
    exact = arch.kernel(x)
    single = arch.kernel(cast(x, np.float32))
    same = arch.kernel(cast(x, torch.tensor))
    low = arch.diagonal(cast(x, lambda part: torch.tensor(part, dtype=torch.float32)))
    for want, part, tensor, line in zip(exact, single, same, low, strict=True):
        assert isinstance(part, np.ndarray) and part.dtype == np.float32
        np.testing.assert_allclose(part, want, rtol=1e-4, atol=1e-4 * np.abs(want).max())
        assert isinstance(tensor, torch.Tensor) and tensor.dtype == torch.float64
        np.testing.assert_allclose(tensor.numpy(), want, rtol=1e-12)
        assert line.dtype == torch.float32
        np.testing.assert_allclose(line, np.diag(want), rtol=1e-4)


@each
def test_integers_are_float64(name):
    arch, x = ALL[name]
    whole = cast(x, lambda part: np.round(3 * part) + np.eye(*part.shape[-2:]))
    counted = cast(whole, lambda part: part.astype(int))
    for a, b in zip(arch.kernel(counted), arch.kernel(whole), strict=True):
        assert a.dtype == np.float64 and np.array_equal(a, b)


def test_dtypes_promote_and_torch_anywhere_gives_torch():
    for name in ("same, flatten", "ragged", "graph", "one axis, flatten"):
        arch, x = ALL[name]
        mixed = arch.kernel(cast(take(x, [0, 1]), np.float32), cast(take(x, [2]), torch.tensor))
        assert isinstance(mixed.ntk, torch.Tensor) and mixed.ntk.dtype == torch.float64
        assert mixed.ntk.shape == (2, 1)


def test_the_samples_are_left_alone():
    for arch, x in ALL.values():
        parts = [
            part
            for sample in x
            for part in ((sample.features, sample.adjacency) if isinstance(sample, nl.Graph) else (sample,))
        ]
        before = [part.copy() for part in parts]
        arch.kernel(x), arch.diagonal(x)
        assert all(map(np.array_equal, parts, before))


def test_lists_of_one_size_are_arrays():
    for name in ("one axis, flatten", "dense steps, mean", "same, flatten"):
        arch, x = ALL[name]
        for a, b in zip(arch.kernel(list(x)), arch.kernel(x), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-13)
    nested = nl.Sequential(CONV, nl.GlobalAvgPool())
    assert_same(
        nested.kernel([[[1, 2], [3, 4]], [[5, 6]]]),
        nested.kernel([np.array([[1, 2], [3, 4]]), np.array([[5, 6]])]),
    )


def test_sequences_of_two_lengths_are_one_ragged_list():
    arch, _ = ALL["ragged"]
    random = np.random.default_rng(4)
    short, long = random.standard_normal((2, 3, 3)), random.standard_normal((3, 5, 3))
    whole = arch.kernel([*short, *long])
    for first, second, part in ((short, long, np.s_[:2, 2:]), (long, short, np.s_[2:, :2])):
        want = [kernel[part] for kernel in whole]
        assert_same(arch.kernel(first, second), want, 1e-11)
        assert_same(arch.kernel(list(first), list(second)), want, 1e-11)


# --- zeros, scale --------------------------------------------------------------------------------------------


@each
def test_zero_samples_beside_others(name):
    arch, x = ALL[name]
    if "norm" in name or name in ("ragged, sum", "graph, mean"):
        return
    last = {"nodes": lambda g: nl.Graph(0 * g.features, g.adjacency)}
    zero = last["nodes"](x[1]) if isinstance(x[1], nl.Graph) else 0 * x[1]
    mixed = [x[0], zero, x[2]]
    if not isinstance(x, list):
        mixed = np.stack(mixed)
    result, own = arch.kernel(mixed), arch.diagonal(mixed)
    for part, line, whole in zip(result, own, arch.kernel(x), strict=True):
        assert np.isfinite(part).all()
        np.testing.assert_allclose(np.diag(part), line, rtol=1e-8)
        a, b = rows(name, x, [0, 2]), rows(name, x, [0, 2])
        np.testing.assert_allclose(part[np.ix_(a, b)], whole[np.ix_(a, b)], rtol=1e-11)


@pytest.mark.parametrize("scale", [1e-100, 1e100])
def test_huge_and_tiny_samples(scale):
    """Without a bias K(c x, c x') = c^2 K(x, x'); with one, tiny samples are zero and huge ones drown it."""
    for name in ("graph", "ragged", "pool", "stride, sum", "dense steps, mean"):
        _, x = ALL[name]
        first = nl.Dense() if name not in ("pool", "stride, sum") else nl.Conv(3)
        tail = (nl.Aggregate(),) if name == "graph" else ()
        bare = nl.Sequential(first, RELU, *tail, nl.GlobalAvgPool(), nl.Dense())
        scaled = (
            cast(x, lambda part, s=scale: part * s)
            if name != "graph"
            else [nl.Graph(graph.features * scale, graph.adjacency) for graph in x]
        )
        for a, b in zip(bare.kernel(scaled), bare.kernel(x), strict=True):
            np.testing.assert_allclose(a / scale / scale, b, rtol=1e-12)
        cross = bare.kernel(x, scaled)
        for a, b in zip(cross, bare.kernel(x), strict=True):
            np.testing.assert_allclose(a / scale, b, rtol=1e-7)


def test_values_out_of_range_are_refused():
    arch = nl.Sequential(nl.Conv(3), RELU, nl.GlobalAvgPool(), nl.Dense())
    for x in (IMAGES, RAGGED):
        big, small = (cast(x, lambda part, s=s: part * s) for s in (1e160, 1e-160))
        with pytest.raises(ValueError, match="overflows torch.float64"):
            arch.kernel(big)
        with pytest.raises(ValueError, match="underflows torch.float64"):
            arch.kernel(small)


# --- gradients -----------------------------------------------------------------------------------------------


def with_leaves(x):
    """Samples as tensors, those that are differentiated, and how to put them together again."""
    if not isinstance(x, list):
        return [torch.tensor(x, requires_grad=True)], lambda leaf: leaf
    if isinstance(x[0], nl.Graph):
        leaves = [torch.tensor(part, requires_grad=True) for g in x for part in (g.features, g.adjacency)]
        return leaves, lambda *parts: [nl.Graph(a, b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return [torch.tensor(part, requires_grad=True) for part in x], lambda *parts: list(parts)


@each
def test_gradients_are_finite_differences(name):
    """Along one direction in all inputs, features and adjacency of graphs too."""
    arch, x = ALL[name]
    x = x[:2]
    leaves, joined = with_leaves(x)
    torch.manual_seed(0)
    directions = [torch.randn_like(leaf) for leaf in leaves]
    weights = torch.randn(2, 6, 6, dtype=torch.float64)

    def value(*parts):
        samples = joined(*parts)
        one, two = arch.kernel(samples), arch.kernel(samples[:1], samples[1:])
        size = one.ntk.shape
        total = (weights[0, : size[0], : size[1]] * (one.ntk + one.nngp)).sum()
        return total + (two.ntk * two.nngp).sum() + arch.diagonal(samples).ntk.sum()

    gradients = torch.autograd.grad(value(*leaves), leaves)
    slope = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True))
    h = 1e-5
    with torch.no_grad():
        ahead, behind = (
            value(*(leaf + s * d for leaf, d in zip(leaves, directions, strict=True))) for s in (h, -h)
        )
    assert float(slope) == pytest.approx(float(ahead - behind) / (2 * h), rel=1e-5, abs=1e-6)


@each
def test_values_are_the_same_with_and_without_gradients(name):
    arch, x = ALL[name]
    leaves, joined = with_leaves(x)
    recorded = arch.kernel(joined(*leaves))
    for a, b in zip(recorded, arch.kernel(x), strict=True):
        assert a.requires_grad
        np.testing.assert_allclose(a.detach(), b, rtol=1e-7)


def test_gradients_are_finite_at_zeros_and_copies():
    x = torch.tensor(np.concatenate([IMAGES[:2], IMAGES[:1], 2 * IMAGES[:1], np.zeros((1, 2, 4, 4))]))
    x[1, :, 0] = 0
    for sigma_b in (0.0, 0.3):
        for end in (nl.Flatten(), nl.GlobalAvgPool()):
            leaf = x.clone().requires_grad_()
            conv = nl.Conv(3, 1.2, sigma_b)
            result = nl.Sequential(conv, RELU, nl.AvgPool(2), conv, ERF, end, HEAD).kernel(leaf)
            assert torch.isfinite(torch.autograd.grad(result.ntk.sum() + result.nngp.sum(), leaf)[0]).all()
