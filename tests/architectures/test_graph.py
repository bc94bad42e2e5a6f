"""Graphs: against loops over nodes, relabelled, of all sizes and edges, and from networkx."""

import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ntklab as nl
import ntklab.kernel
from tests.architectures.loops import assert_loops, assert_same

RNG = np.random.default_rng(2)
HEAD = nl.Dense(1.1, 0.2)
RELU, MEAN, SUM = nl.ReLU(), nl.GlobalAvgPool(), nl.GlobalSumPool()
ADD, AVERAGE = nl.Aggregate(), nl.Aggregate("mean")


def random_graph(size, seed=0, density=0.5):
    """Directed, weighted, some nodes that hear nothing or only themselves."""
    rng = np.random.default_rng([size, seed])
    weights = rng.uniform(0.2, 1.5, (size, size)) * (rng.random((size, size)) < density)
    return nl.Graph(rng.standard_normal((size, 3)), weights)


MIXED = [random_graph(size) for size in (3, 1, 5, 3)]
LONELY = nl.Graph(RNG.standard_normal((3, 3)), np.zeros((3, 3)))
HALF = nl.Graph(RNG.standard_normal((3, 3)), [[0, 0, 0], [1, 0, 2], [0, 0, 1]])
ONE = nl.Graph([[1.0, 2.0, -1.0]], [[0]])
EQUAL = [random_graph(4, seed) for seed in (1, 2)]
OTHERS = [random_graph(4), ONE, LONELY, HALF]

BODIES = {
    "aggregate first": (ADD, nl.Dense(1.2, 0.3), RELU),
    "two rounds": (nl.Dense(1.2, 0.3), ADD, RELU, nl.Dense(1.1, 0.1), ADD, nl.Erf()),
    "mean": (AVERAGE, nl.Dense(1.2, 0.3), RELU, AVERAGE, HEAD, RELU),
    "aggregate activations": (nl.Dense(1.2, 0.3), RELU, ADD, HEAD, nl.Sin()),
    "aggregate twice": (nl.Dense(1.2, 0.3), ADD, AVERAGE, RELU),
    "no bias": (ADD, nl.Dense(1.3), RELU, ADD, nl.Dense(), RELU),
    "residual": (
        HEAD,
        nl.Residual(ADD, RELU, HEAD),
        RELU,
        nl.Residual(AVERAGE, HEAD, shortcut=nl.Dense(0.5)),
        RELU,
    ),
    "residual, means meet": (HEAD, RELU, nl.Residual(ADD, HEAD, RELU), ADD),
    "norm": (HEAD, RELU, nl.LayerNorm(), ADD, HEAD, nl.LayerNorm(), RELU),
    "frozen": (nl.Dense(1.2, 0.3, trainable=False), ADD, RELU, nl.Dense(trainable=False), RELU),
    "no edges used": (HEAD, RELU),
}


@pytest.mark.parametrize("end", ["mean", "sum", "nodes"])
@pytest.mark.parametrize("name", BODIES)
def test_loops(name, end):
    arch = nl.Sequential(*BODIES[name], *{"mean": [MEAN], "sum": [SUM], "nodes": []}[end], HEAD)
    assert_loops(arch, MIXED)
    assert_loops(arch, EQUAL)
    assert_loops(arch, MIXED[1:3], OTHERS, rel=1e-9)


@pytest.mark.parametrize("end", [MEAN, SUM], ids=repr)
def test_activations_and_norms_after_pooling(end):
    for layers in ((HEAD, ADD, end, RELU), (HEAD, RELU, ADD, end, nl.LayerNorm()), (ADD, HEAD, end, RELU)):
        assert_loops(nl.Sequential(*layers, HEAD), MIXED[::2])


def test_graphs_of_one_size_flatten():
    for body in ((HEAD, ADD, RELU), (HEAD, RELU, AVERAGE)):
        assert_loops(nl.Sequential(*body, nl.Flatten(), HEAD), EQUAL)


# --- nodes ---------------------------------------------------------------------------------------------------


def relabelled(graph, order):
    return nl.Graph(graph.features[order], graph.adjacency[np.ix_(order, order)])


@pytest.mark.parametrize("name", BODIES)
def test_names_of_nodes_do_not_matter(name):
    """C36."""
    orders = [RNG.permutation(len(graph)) for graph in MIXED]
    twins = [relabelled(graph, order) for graph, order in zip(MIXED, orders, strict=True)]
    for pool in (MEAN, SUM):
        arch = nl.Sequential(*BODIES[name], pool, HEAD)
        assert_same(arch.kernel(twins), arch.kernel(MIXED), 1e-12)
        # A graph and its twin have exactly one kernel, but the angle between two equal nodes is right to 1e-8.
        assert_same(arch.kernel(MIXED, twins), arch.kernel(MIXED), 1e-7)
    nodes = nl.Sequential(*BODIES[name], HEAD)
    starts = np.cumsum([0] + [len(graph) for graph in MIXED[:-1]])
    rows = np.concatenate([start + order for start, order in zip(starts, orders, strict=True)])
    assert_same(nodes.kernel(twins), [part[np.ix_(rows, rows)] for part in nodes.kernel(MIXED)], 1e-10)


def test_a_node_that_hears_nothing_is_zero():
    bare = nl.Sequential(ADD, nl.Dense(), RELU, SUM, nl.Dense())
    for part in bare.kernel([LONELY, MIXED[0]]):
        assert (part[0] == 0).all() and (part[:, 0] == 0).all() and part[1, 1] > 0
    nodes = nl.Sequential(AVERAGE, nl.Dense(), RELU, AVERAGE, nl.Dense()).kernel([HALF])
    assert (nodes.ntk[0] == 0).all() and nodes.ntk[1, 1] > 0
    with pytest.raises(ValueError, match="layer 1, LayerNorm.*no variance"):
        nl.Sequential(ADD, nl.LayerNorm(), nl.Dense(), SUM).kernel([LONELY])


def test_only_self_loops_are_no_edges_and_a_complete_mean_is_the_pool():
    eye = [nl.Graph(graph.features, 2 * np.eye(len(graph))) for graph in MIXED]
    sets = nl.Sequential(nl.Dense(1.2, 0.3), RELU, SUM, HEAD)
    alone = nl.Sequential(nl.Dense(1.2, 0.3), RELU, AVERAGE, SUM, HEAD)
    assert_same(alone.kernel(eye), sets.kernel(MIXED), 1e-12)
    full = [nl.Graph(graph.features, np.ones((len(graph),) * 2)) for graph in MIXED]
    once, twice = (nl.Sequential(HEAD, RELU, *body, MEAN, HEAD) for body in ((), (AVERAGE, AVERAGE)))
    assert_same(twice.kernel(full), once.kernel(full), 1e-12)


@pytest.mark.parametrize("power", [-300, 300])
def test_weights_scale_the_kernel_without_bias(power):
    heavy = [nl.Graph(graph.features, graph.adjacency * 2.0**power) for graph in MIXED]
    for pool in ([SUM], []):
        arch = nl.Sequential(nl.Dense(), RELU, ADD, nl.Dense(), RELU, *pool, nl.Dense())
        for a, b in zip(arch.kernel(heavy), arch.kernel(MIXED), strict=True):
            assert np.array_equal(a, b * 4.0**power)
        arch = nl.Sequential(nl.Dense(), RELU, AVERAGE, HEAD, *pool)
        for a, b in zip(arch.kernel(heavy), arch.kernel(MIXED), strict=True):
            assert np.array_equal(a, b)


def test_edges_have_a_direction():
    path = nl.Graph(np.eye(3), np.diag([1.0, 1.0], -1))
    nngp = nl.Sequential(ADD, ADD, nl.Dense()).kernel([path]).nngp
    np.testing.assert_allclose(nngp, np.diag([0, 0, 1]) / 3, rtol=1e-14)  # node 2 hears node 0, in two steps


def test_edgeless_architectures_on_graphs_are_those_on_sequences():
    x = [graph.features for graph in MIXED]
    for pool in (MEAN, SUM):
        arch = nl.Sequential(*BODIES["no edges used"], pool, HEAD)
        assert_same(arch.kernel(MIXED), arch.kernel(x), 1e-15)


# --- random graphs -------------------------------------------------------------------------------------------


@st.composite
def graphs(draw):
    size = draw(st.integers(1, 6))
    weights = st.sampled_from([0.0, 0.0, 1.0, 2.5, -0.5, 1e-8])
    rows = st.lists(weights, min_size=size, max_size=size)
    adjacency = np.array(draw(st.lists(rows, min_size=size, max_size=size)))
    features = np.random.default_rng(draw(st.integers(0, 99))).standard_normal((size, 2))
    features[draw(st.lists(st.integers(0, size - 1), max_size=2))] = 0
    return nl.Graph(features, adjacency)


@settings(max_examples=50)
@given(
    st.lists(graphs(), min_size=1, max_size=5),
    st.sampled_from(sorted(set(BODIES) - {"norm"})),
    st.sampled_from([MEAN, SUM, None]),
)
def test_random_graphs_have_positive_semidefinite_consistent_kernels(samples, name, pool):
    arch = nl.Sequential(*BODIES[name], *([] if pool is None else [pool]), HEAD)
    full, own = arch.kernel(samples), arch.diagonal(samples)
    for part, line, cross in zip(full, own, arch.kernel(samples, samples[::-1]), strict=True):
        assert np.isfinite(part).all() and np.array_equal(part, part.T)
        size = np.sqrt(np.outer(line, line))
        relative = np.divide(part, size, out=np.zeros_like(part), where=size > 0)
        assert np.linalg.eigvalsh(relative)[0] > -1e-7
        np.testing.assert_allclose(np.diag(part), line, rtol=1e-7)  # sums that cancel lose digits of an angle
        if pool is not None:
            assert (np.abs(cross[:, ::-1] - part) <= 1e-6 * size).all()


def test_tiles_of_any_size_give_the_same(monkeypatch):
    """Tiles cut graphs to the largest within them, and chunks that learn of single graphs have other bounds."""
    samples = [random_graph(size, 7) for size in (8, 1, 4, 6, 3, 7, 5)]
    for end in ([SUM], []):
        for name in ("two rounds", "norm"):
            arch = nl.Sequential(*BODIES[name], *end, HEAD)
            if name == "norm":
                arch = nl.Sequential(HEAD, ADD, HEAD, nl.LayerNorm(), RELU, ADD, HEAD, *end)
            monkeypatch.setattr(ntklab.kernel, "TILE_BYTES", 2**30)
            whole, own = arch.kernel(samples), arch.diagonal(samples)
            for pairs in (0.1, 2, 3, 5, 11):
                monkeypatch.setattr(ntklab.kernel, "TILE_BYTES", int(pairs * 8 * 64))
                assert_same(arch.kernel(samples), whole, 1e-7)
                assert_same(
                    arch.kernel(samples[:3], samples[3:]), [_cut(part, samples, 3) for part in whole], 1e-7
                )
                assert_same(arch.diagonal(samples), own, 1e-7)


def _cut(part, samples, count):
    size = count if len(part) == len(samples) else sum(len(graph) for graph in samples[:count])
    return part[:size, size:]


# --- networkx ------------------------------------------------------------------------------------------------


def test_networkx_graphs():
    graph = networkx.Graph()
    graph.add_node("a", x=[1.0, 2.0])
    graph.add_node("b", x=[0.5, -1.0])
    graph.add_node("c", x=np.array([3.0, 0.0]))
    graph.add_edge("a", "b", w=2.0)
    graph.add_edge("c", "c", w=0.5)
    plain, weighed = nl.Graph.from_networkx(graph), nl.Graph.from_networkx(graph, weight="w")
    assert np.array_equal(plain.features, [[1, 2], [0.5, -1], [3, 0]]) and len(plain) == 3
    assert np.array_equal(plain.adjacency, [[0, 1, 0], [1, 0, 0], [0, 0, 1]])
    assert np.array_equal(weighed.adjacency, [[0, 2, 0], [2, 0, 0], [0, 0, 0.5]])


def test_directed_and_parallel_networkx_edges():
    graph = networkx.MultiDiGraph()
    graph.add_nodes_from([(i, {"size": float(i)}) for i in range(3)])
    graph.add_edges_from([(0, 1, {"w": 2.0}), (0, 1, {"w": 3.0}), (1, 2, {"w": 0.5})])
    made = nl.Graph.from_networkx(graph, "size", weight="w")
    assert np.array_equal(made.features, [[0], [1], [2]])
    assert np.array_equal(made.adjacency, [[0, 0, 0], [5, 0, 0], [0, 0.5, 0]])
    assert np.array_equal(nl.Graph.from_networkx(graph, "size").adjacency, [[0, 0, 0], [2, 0, 0], [0, 1, 0]])


def test_a_random_networkx_graph_has_its_own_adjacency():
    graph = networkx.gnp_random_graph(9, 0.4, seed=1)
    for node in graph:
        graph.nodes[node]["x"] = [float(node), 1.0]
    made = nl.Graph.from_networkx(graph)
    assert np.array_equal(made.adjacency, networkx.to_numpy_array(graph))
    directed = networkx.gnp_random_graph(9, 0.4, seed=1, directed=True)
    networkx.set_node_attributes(directed, 1.0, "x")
    assert np.array_equal(nl.Graph.from_networkx(directed).adjacency, networkx.to_numpy_array(directed).T)
