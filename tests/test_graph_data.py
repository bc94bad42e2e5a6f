"""Graphs: made molecules are what their docstring says, and the reader returns what the file says or names its line."""

import numpy as np
import pytest

import ntklab as nl
from ntklab import data

FILE = """3
3 1
0 2 1 2
7 1 0
0 1 0
1 -1
5 0
2 1
7 1 1
0 1 0
"""


def bare(graph):
    return graph.adjacency - np.eye(len(graph))


# --- made molecules -----------------------------------------------------------------------------------------------


def test_half_of_the_molecules_have_a_bond_between_nitrogen_and_oxygen_and_the_labels_say_which():
    made = data.molecules(61, seed=3)
    assert len(made.x) == 61 and made.labels.sum() == 30 and made.labels.dtype == np.int64
    np.testing.assert_array_equal(made.y, 2.0 * made.labels - 1)
    for graph, label in zip(made.x, made.labels, strict=True):
        nitrogen, oxygen = graph.features[:, 1] > 0, graph.features[:, 2] > 0
        assert bare(graph)[np.ix_(nitrogen, oxygen)].any() == label


@pytest.mark.parametrize("nodes", [(8, 8), (8, 20), (13, 14)])
def test_molecules_are_connected_with_one_ring_and_at_most_three_neighbours(nodes):
    for graph in data.molecules(40, nodes=nodes, seed=1).x:
        edges, size = bare(graph), len(graph)
        assert nodes[0] <= size <= nodes[1]
        np.testing.assert_array_equal(edges, edges.T)
        assert edges.sum() == 2 * size and edges.sum(1).max() <= 3  # as many bonds as atoms: one ring
        assert (np.linalg.matrix_power(np.eye(size) + edges, size) > 0).all()
        np.testing.assert_array_equal(graph.features.sum(1), 1)
        np.testing.assert_array_equal(graph.features.sum(0), [size - 4, 2, 2])


def test_sizes_and_degrees_are_distributed_alike_in_both_classes():
    made = data.molecules(1000, seed=0)
    sizes = np.array([len(graph) for graph in made.x])
    ends = np.array([(bare(graph).sum(1) == 1).sum() for graph in made.x])
    for values in (sizes, ends):
        one, two = values[made.labels == 0], values[made.labels == 1]
        assert abs(one.mean() - two.mean()) < 4 * np.hypot(one.std(), two.std()) / np.sqrt(500)


def test_the_seed_decides_and_self_loops_are_all_that_their_switch_changes():
    one, two, other = (data.molecules(10, seed=seed) for seed in (5, 5, 6))
    assert all(np.array_equal(a.adjacency, b.adjacency) for a, b in zip(one.x, two.x, strict=True))
    assert any(a.adjacency.shape != b.adjacency.shape for a, b in zip(one.x, other.x, strict=True))
    without = data.molecules(10, seed=5, self_loops=False)
    for a, b in zip(one.x, without.x, strict=True):
        np.testing.assert_array_equal(a.adjacency - np.eye(len(a)), b.adjacency)
        np.testing.assert_array_equal(a.features, b.features)


def test_a_kernel_takes_them():
    made = data.molecules(4, seed=0)
    arch = nl.Sequential(nl.Aggregate(), nl.Dense(), nl.ReLU(), nl.GlobalSumPool(), nl.Dense())
    assert arch.kernel(made.x).ntk.shape == (4, 4)


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"n": 0}, ValueError, "n must be"),
        ({"n": 2.5}, TypeError, "n must be"),
        ({"nodes": (7, 9)}, ValueError, "8 <= smallest <= largest"),
        ({"nodes": (12, 9)}, ValueError, "8 <= smallest <= largest"),
        ({"nodes": 12}, ValueError, "nodes must be a pair"),
        ({"nodes": (8.0, 9)}, TypeError, r"nodes\[0\] must be"),
        ({"seed": -1}, ValueError, "seed must be"),
    ],
)
def test_bad_arguments_are_named(arguments, kind, words):
    with pytest.raises(kind, match=words):
        data.molecules(**arguments)


# --- the text format ----------------------------------------------------------------------------------------------


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "graphs.txt"
        path.write_text(text)
        return path

    return write


def test_tags_become_one_hot_labels_are_numbered_and_edges_are_symmetric(written):
    graphs = data.read_graphs(written(FILE))
    assert [len(graph) for graph in graphs.x] == [3, 1, 2]
    np.testing.assert_array_equal(graphs.labels, [1, 0, 1])
    np.testing.assert_array_equal(graphs.y, [1, -1, 1])
    np.testing.assert_array_equal(graphs.x[0].features, [[1, 0, 0], [0, 0, 1], [1, 0, 0]])  # tags 0, 5, 7
    np.testing.assert_array_equal(graphs.x[0].adjacency, [[1, 1, 1], [1, 1, 0], [1, 0, 1]])
    without = data.read_graphs(written(FILE), self_loops=False)
    np.testing.assert_array_equal(without.x[0].adjacency, [[0, 1, 1], [1, 0, 0], [1, 0, 0]])


def test_an_edge_that_one_node_lists_counts_and_three_classes_are_centred(written):
    graphs = data.read_graphs(written("3\n2 4\n0 1 1\n0 0\n1 5\n0 0\n1 6\n0 0\n\n"))
    np.testing.assert_array_equal(graphs.x[0].adjacency, np.ones((2, 2)))
    np.testing.assert_allclose(graphs.y, np.eye(3) - 1 / 3)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "the number of graphs expected, the file ends"),
        ("two\n", 1, "the number of graphs expected as integers, got 'two'"),
        ("0\n", 1, "at least 1, got 0"),
        ("1\n2\n", 2, "'nodes label' of graph 1 of 1 expected"),
        ("1\n0 1\n", 2, "at least one node, got 0"),
        ("1\n1 1\n0\n", 3, "'tag degree neighbours' of node 0 of 1 expected"),
        ("1\n2 1\n0 2 1\n0 1 0\n", 3, "2 neighbours are announced, 1 follow"),
        ("1\n2 1\n0 1 2\n0 1 0\n", 3, r"neighbours must be 0 \.\.\. 1, got \[2\]"),
        ("1\n2 1\n0 1 1\n0 1 -1\n", 4, r"got \[-1\]"),
        ("1\n2 1\n0 1 1\n", 4, "the file ends"),
        ("1\n1 1\n0 0\n\n2 1\n", 5, "more lines than those of the 1 graphs announced"),
    ],
)
def test_errors_name_file_and_line(written, text, line, words):
    with pytest.raises(ValueError, match=rf"graphs\.txt, line {line}: .*{words}"):
        data.read_graphs(written(text))


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        data.read_graphs(tmp_path / "none.txt")
