"""What is refused, at infinite and at finite width: every message names what came and what was wanted."""

import networkx
import numpy as np
import pytest
import torch

import ntklab as nl
from tests.architectures.samples import GRAPHS, IMAGES, RAGGED, SEQUENCES

CONV, DENSE, RELU, FLATTEN, MEAN = nl.Conv(3), nl.Dense(), nl.ReLU(), nl.Flatten(), nl.GlobalAvgPool()
ADD, POOL = nl.Aggregate(), nl.AvgPool(2)
VECTORS = np.ones((2, 3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nl.Conv(0), "kernel_size must be at least 1, got 0"),
        (lambda: nl.Conv((3, 0)), r"kernel_size\[1\] must be at least 1, got 0"),
        (lambda: nl.Conv(2.5), "kernel_size must be an integer, got 2.5"),
        (lambda: nl.Conv((3, 3, 3)), r"kernel_size must have 1 or 2 entries, got \(3, 3, 3\)"),
        (lambda: nl.Conv(()), r"kernel_size must have 1 or 2 entries, got \(\)"),
        (lambda: nl.Conv(2), "padding 'same' wants an odd kernel_size, got 2"),
        (
            lambda: nl.Conv((3, 4), padding="circular"),
            r"padding 'circular' wants an odd kernel_size, got \(3, 4\)",
        ),
        (lambda: nl.Conv(3, -1.0), "sigma_w must be at least 0, got -1"),
        (lambda: nl.Conv(3, 1.0, float("nan")), "sigma_b must be finite, got nan"),
        (
            lambda: nl.Conv(3, padding="zeros"),
            "padding must be one of 'same', 'valid', 'circular', got 'zeros'",
        ),
        (lambda: nl.Conv(3, stride=0), "stride must be at least 1, got 0"),
        (lambda: nl.Conv(3, stride=(1, 2)), r"stride must be an integer, got \(1, 2\)"),
        (lambda: nl.Conv(3, trainable=1), "trainable must be True or False, got 1"),
        (lambda: nl.AvgPool(0), "size must be at least 1, got 0"),
        (lambda: nl.AvgPool((2, 2)), r"size must be an integer, got \(2, 2\)"),
        (lambda: nl.Aggregate("max"), "kind must be one of 'sum', 'mean', got 'max'"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


GAUSSIAN = "an activation needs Gaussian pre-activations"


@pytest.mark.parametrize(
    ("layers", "x", "message"),
    [
        ((RELU, CONV, FLATTEN), IMAGES, "layer 0, ReLU.*raw input"),
        ((POOL, RELU, FLATTEN), IMAGES, "layer 1, ReLU.*raw input"),
        ((ADD, RELU, MEAN), GRAPHS, "layer 1, ReLU.*raw input"),
        ((CONV, RELU, nl.Erf(), FLATTEN), IMAGES, f"layer 2, Erf.*{GAUSSIAN}"),
        ((CONV, RELU, POOL, RELU, FLATTEN), IMAGES, f"layer 3, ReLU.*{GAUSSIAN}"),
        ((CONV, RELU, MEAN, RELU), IMAGES, f"layer 3, ReLU.*{GAUSSIAN}"),
        ((CONV, FLATTEN, RELU), IMAGES, f"layer 2, ReLU.*{GAUSSIAN}"),
        ((CONV, RELU, FLATTEN, RELU), IMAGES, f"layer 3, ReLU.*{GAUSSIAN}"),
        ((DENSE, RELU, ADD, RELU, MEAN), GRAPHS, f"layer 3, ReLU.*{GAUSSIAN}"),
        ((CONV, nl.Residual(RELU, CONV, RELU), RELU, FLATTEN), IMAGES, f"layer 2, ReLU.*{GAUSSIAN}"),
        ((CONV, FLATTEN, MEAN), IMAGES, "layer 2, GlobalAvgPool.* needs images .* or graphs .*, got vectors"),
        ((CONV, MEAN, POOL), IMAGES, "layer 2, AvgPool.* needs images .* or sequences .*, got vectors"),
        ((CONV, MEAN, FLATTEN), IMAGES, "layer 2, Flatten.* got vectors: plain inputs, or after Flatten or pooling"),
        ((CONV,), VECTORS, r"layer 0, Conv.* needs images \(n, channels, height, width\) or sequences .*, got vectors"),
        ((CONV,), GRAPHS, "layer 0, Conv.* needs images .* or sequences .*, got graphs"),
        ((FLATTEN, CONV), IMAGES, "layer 1, Conv.* got vectors"),
        ((POOL,), GRAPHS, "layer 0, AvgPool.* needs images .* or sequences .*, got graphs"),
        ((ADD,), SEQUENCES, r"layer 0, Aggregate.* needs graphs \(a list of Graph\), got sequences"),
        ((ADD,), IMAGES, "layer 0, Aggregate.* needs graphs .*, got images"),
        ((ADD,), VECTORS, "layer 0, Aggregate.* needs graphs .*, got vectors"),
        ((nl.GlobalSumPool(),), VECTORS, "layer 0, GlobalSumPool.* got vectors"),
        ((DENSE,), IMAGES, r"layer 0, Dense.*images go into Dense through Flatten\(\) or pooling only"),
        ((CONV, DENSE, FLATTEN), IMAGES, "layer 1, Dense.*images go into Dense"),
        ((CONV, RELU), IMAGES, r"outputs still have positions \(images\): end with Flatten\(\) or a pooling layer"),
        ((DENSE, RELU), SEQUENCES, r"outputs still have positions \(sequences\)"),
        ((DENSE, RELU), RAGGED, r"outputs still have positions \(sequences\)"),
        ((CONV, FLATTEN), RAGGED, "layer 1, Flatten.* needs samples of one size; pool over positions"),
        ((DENSE, FLATTEN), GRAPHS, "layer 1, Flatten.* needs samples of one size"),
        ((DENSE, POOL), RAGGED, "layer 1, AvgPool.* needs samples of one size; GlobalAvgPool takes any"),
        ((nl.AvgPool(5), MEAN), IMAGES, r"AvgPool\(5\) does not fit into inputs of size \(4, 4\)"),
        ((nl.AvgPool(6), MEAN), SEQUENCES, r"AvgPool\(6\) does not fit into inputs of size \(5,\)"),
        ((nl.Conv(11, padding="circular"), MEAN), IMAGES, r"kernel of size \(11, 11\) wraps .* inputs of \(4, 4\)"),
        ((nl.Conv(13, padding="circular"), MEAN), SEQUENCES, r"kernel of size \(13,\) wraps .* inputs of \(5,\)"),
        ((nl.Conv(5, padding="valid"), MEAN), IMAGES, r"kernel of size \(5, 5\) does not fit into inputs of size \(4, 4\)"),
        ((nl.Conv((1, 5), padding="valid"), MEAN), IMAGES, r"kernel of size \(1, 5\) does not fit"),
        ((POOL, nl.Conv(3, padding="valid"), MEAN), IMAGES, r"does not fit into inputs of size \(2, 2\)"),
        ((nl.Conv((3,)), MEAN), IMAGES, r"kernel_size \(3,\) is 1-dimensional, got inputs of 2 position axes"),
        ((nl.Conv((3, 3)), MEAN), SEQUENCES, r"kernel_size \(3, 3\) is 2-dimensional, got inputs of 1 position axes"),
        ((nl.Conv(3, padding="valid"), MEAN), RAGGED, "want padding 'same' and stride 1, got Conv.*'valid'"),
        ((nl.Conv(3, stride=2), MEAN), RAGGED, "want padding 'same' and stride 1, got Conv.*stride=2"),
        (
            (CONV, nl.Residual(RELU, nl.Conv(3, stride=2)), MEAN),
            IMAGES,
            r"same positions, got images of size \(2, 2\) and images of size \(4, 4\)",
        ),
        ((CONV, nl.Residual(RELU, CONV, FLATTEN, DENSE), MEAN), IMAGES, r"got vectors and images of size \(4, 4\)"),
        ((nl.Residual(CONV, RELU, CONV), MEAN), IMAGES, "layer 0, Residual.*a shortcut around the first layer"),
        ((CONV, nl.LayerNorm(), MEAN), 0 * IMAGES, "layer 1, LayerNorm.*no variance to normalise by"),
    ],
    ids=str,
)  # fmt: skip
def test_architectures_without_meaning_are_refused(layers, x, message):
    arch = nl.Sequential(*layers)
    for view in (arch.kernel, arch.diagonal):
        with pytest.raises(ValueError, match=message):
            view(x)


def graph(size=2, d=3):
    return nl.Graph(np.ones((size, d)), np.ones((size, size)))


@pytest.mark.parametrize(
    ("x1", "x2", "message"),
    [
        (IMAGES, np.ones((2, 2)), "x1 and x2 must be of one kind, got images and vectors"),
        (np.ones((2, 2)), IMAGES, "one kind, got vectors and images"),
        (SEQUENCES, IMAGES, "one kind, got sequences and images"),
        (IMAGES, IMAGES[:, :1], "equally many features, got 2 and 1"),
        (SEQUENCES, SEQUENCES[..., :2], "equally many features, got 3 and 2"),
        (IMAGES, np.ones((1, 2, 0, 4)), r"x2 is empty, got shape \(1, 2, 0, 4\)"),
        (np.ones((0, 2, 4, 4)), None, "x1 is empty"),
        (np.ones((2, 2, 2, 2, 2)), None, r"x1 must have shape \(n, d\), .*, got \(2, 2, 2, 2, 2\)"),
        (np.where(IMAGES > 2, np.nan, IMAGES), None, r"x1 must be finite, got nan at x1\["),
        (IMAGES * 1j, None, "x1 must hold real numbers, got dtype complex128"),
        (torch.ones(1, 2, 3, 3), torch.ones(1, 2, 3, 3, device="meta"), "one device, got x1 on cpu, x2 on meta"),
        (RAGGED, SEQUENCES, "x2 must be a list of samples too, got ndarray"),
        (SEQUENCES, RAGGED, "x1 must be a list of samples too, got ndarray"),
        (RAGGED, GRAPHS, r"all graphs or all arrays, got Graph at x2\[0\]"),
        (GRAPHS, RAGGED, r"all graphs or all arrays, got ndarray at x2\[0\]"),
        ([*GRAPHS, np.ones((2, 3))], None, r"all graphs or all arrays, got ndarray at x1\[4\]"),
        ([*RAGGED, graph()], None, r"all graphs or all arrays, got Graph at x1\[4\]"),
        ([*RAGGED, None], None, r"all graphs or all arrays, got NoneType at x1\[4\]"),
        ([*RAGGED, np.ones((2, 2))], None, r"x1\[4\] must have shape \(length, 3\), got \(2, 2\)"),
        ([*RAGGED, np.ones(3)], None, r"x1\[4\] must have shape \(length, 3\), got \(3,\)"),
        ([*RAGGED, np.ones((0, 3))], None, r"x1\[4\] is empty, got shape \(0, 3\)"),
        ([*RAGGED, np.full((2, 3), np.inf)], None, r"x1\[4\] must be finite, got inf"),
        ([*RAGGED, [[1, 2, "a"]]], None, r"x1\[4\] must hold real numbers"),
        ([*RAGGED, [[1, 2, 3], [4]]], None, r"x1\[4\] must be a rectangular array"),
        (RAGGED, [np.ones((2, 4))], r"x2\[0\] must have shape \(length, 3\), got \(2, 4\)"),
        ([torch.ones(2, 3), torch.ones(1, 3, device="meta")], None, r"one device, got x1\[0\] on cpu, x1\[1\] on meta"),
        ([*GRAPHS, graph(2, 4)], None, r"x1\[4\].features must have shape \(nodes, 3\), got \(2, 4\)"),
        (GRAPHS, [graph(1, 2)], r"x2\[0\].features must have shape \(nodes, 3\), got \(1, 2\)"),
        (graph(), None, "must be a list of Graph, got one Graph"),
        (GRAPHS, graph(), "must be a list of Graph, got one Graph"),
        ([], None, "x1 is empty"),
        (None, None, "x1 must be an array"),
    ],
)  # fmt: skip
def test_bad_inputs_are_named(x1, x2, message):
    graphs = isinstance(x1, list) and any(isinstance(x, nl.Graph) for x in x1)
    with pytest.raises((ValueError, TypeError), match=message):
        nl.Sequential(DENSE if graphs else CONV, RELU, MEAN, DENSE).kernel(x1, x2)


def test_images_of_two_sizes_meet_in_pools_only():
    with pytest.raises(
        ValueError, match=r"equal sizes for an architecture that flattens, got \(4, 4\) and \(3, 5\)"
    ):
        nl.Sequential(CONV, FLATTEN).kernel(IMAGES, np.ones((1, 2, 3, 5)))
    with pytest.raises(ValueError, match="Flatten.* samples of one size"):
        nl.Sequential(CONV, POOL, CONV, FLATTEN).kernel(IMAGES, np.ones((1, 2, 6, 4)))
    with pytest.raises(ValueError, match="Flatten.* samples of one size"):
        nl.Sequential(CONV, FLATTEN).kernel(SEQUENCES, np.ones((1, 4, 3)))


@pytest.mark.parametrize(
    ("features", "adjacency", "message"),
    [
        (np.ones((2, 3)), np.ones((2, 3)), r"adjacency must have shape \(2, 2\), .*, got \(2, 3\)"),
        (np.ones((2, 3)), np.ones((3, 3)), r"adjacency must have shape \(2, 2\), .*, got \(3, 3\)"),
        (np.ones(3), np.ones((3, 3)), r"features must have shape \(nodes, d\), got \(3,\)"),
        (np.ones((0, 3)), np.ones((0, 0)), "features is empty"),
        (np.ones((2, 0)), np.ones((2, 2)), "features is empty"),
        (np.full((1, 3), np.nan), np.ones((1, 1)), "features must be finite, got nan"),
        (np.ones((1, 3)), np.full((1, 1), np.inf), r"adjacency must be finite, got inf at adjacency\[0, 0\]"),
        (np.ones((1, 3)), [["a"]], "adjacency must hold real numbers"),
        (np.ones((1, 3)) * 1j, [[1]], "features must hold real numbers"),
    ],
)
def test_malformed_graphs_are_named(features, adjacency, message):
    with pytest.raises((ValueError, TypeError), match=message):
        nl.Graph(features, adjacency)


def test_networkx_graphs_without_features_or_weights_are_named():
    with pytest.raises(ValueError, match="at least one node, got none"):
        nl.Graph.from_networkx(networkx.Graph())
    bare = networkx.Graph([("a", "b")])
    with pytest.raises(ValueError, match="every node must have the attribute 'x', node 'a' has not"):
        nl.Graph.from_networkx(bare)
    bare.nodes["a"]["x"], bare.nodes["b"]["x"] = [1.0, 2.0], [1.0]
    with pytest.raises(ValueError, match=r"attribute 'x' must have one length, got \[\(1,\), \(2,\)\]"):
        nl.Graph.from_networkx(bare)
    bare.nodes["b"]["x"] = [0.0, 1.0]
    with pytest.raises(ValueError, match=r"every edge must have the attribute 'w', \('a', 'b'\) has not"):
        nl.Graph.from_networkx(bare, weight="w")
    bare.nodes["b"]["x"] = [np.nan, 1.0]
    with pytest.raises(ValueError, match="features must be finite"):
        nl.Graph.from_networkx(bare)


# --- finite networks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "shape", "message"),
    [
        ((CONV, FLATTEN, DENSE), (3,), r"layer 0, Conv.* got vectors of shape \(3,\)"),
        ((CONV, FLATTEN, DENSE), (1, 2, 3, 4), r"input_shape must name .*, got \(1, 2, 3, 4\)"),
        ((CONV, FLATTEN, DENSE), (2, 0, 4), "input_shape must be at least 1, got 0"),
        ((CONV, FLATTEN, DENSE), (None, 3), "layer 1, Flatten.* samples of one size"),
        ((CONV, POOL, MEAN, DENSE), (None, 3), r"images, or sequences of one length, got .* \(None, 4\)"),
        ((CONV, DENSE), (2, 4, 4), r"layer 1, Dense.*images of shape \(4, 4, 4\): Flatten\(\) makes them \(64,\)"),
        ((nl.AvgPool(5), FLATTEN, DENSE), (2, 4, 4), r"AvgPool\(5\) does not fit into inputs of size \(4, 4\)"),
        ((nl.Conv(5, padding="valid"), FLATTEN, DENSE), (2, 4, 4), "does not fit into inputs"),
        ((nl.Conv(11, padding="circular"), FLATTEN, DENSE), (2, 4, 4), "wraps more than once"),
        ((nl.Conv((3,)), FLATTEN, DENSE), (2, 4, 4), "is 1-dimensional, got inputs of 2 position axes"),
        ((nl.Conv((3, 3)), MEAN, DENSE), (None, 3), "is 2-dimensional, got inputs of 1 position axes"),
        ((nl.Conv(2, padding="valid"), MEAN, DENSE), (None, 3), "different lengths want padding 'same' and stride 1"),
        ((nl.Conv(3, stride=2), MEAN, DENSE), (None, 3), "different lengths want padding 'same' and stride 1"),
        ((CONV, RELU), (2, 4, 4), r"outputs still have positions, images of shape \(1, 4, 4\): end with Flatten"),
        ((DENSE, MEAN, MEAN, DENSE), (4, 3), r"GlobalAvgPool needs positions, got vectors of shape \(4,\)"),
        ((DENSE, ADD, MEAN, DENSE), (2, 4, 4), r"input_shape of graphs must be \(None, d\), got \(2, 4, 4\)"),
        ((DENSE, MEAN, ADD, DENSE), (None, 3), r"layer 2, Aggregate.* needs graphs \(a list of Graph\), got vectors"),
        ((CONV, ADD, MEAN, DENSE), (None, 3), "layer 0, Conv.* got graphs"),
        ((CONV, nl.Residual(RELU, nl.Conv(3, stride=2)), MEAN, DENSE), (2, 4, 4), r"got .*\(4, 2, 2\) and .*\(4, 4, 4\)"),
        ((CONV, nl.Residual(RELU, CONV, FLATTEN, DENSE), MEAN, DENSE), (2, 4, 4), "got vectors .* and images"),
        ((FLATTEN,), (2, 4, 4), "at least one Dense layer"),
    ],
    ids=str,
)  # fmt: skip
def test_finite_networks_without_meaning_are_refused(layers, shape, message):
    with pytest.raises(ValueError, match=message):
        nl.Sequential(*layers).finite(4, shape)


def test_networks_name_wrong_samples():
    images = nl.Sequential(CONV, FLATTEN, DENSE).finite(4, (2, 4, 4))
    with pytest.raises(ValueError, match=r"x must have shape \(n, 2, 4, 4\), got \(2, 2, 4, 5\)"):
        images(torch.ones(2, 2, 4, 5))
    with pytest.raises(TypeError, match=r"a tensor of shape \(n, 2, 4, 4\), got a list"):
        images([torch.ones(2, 4, 4)])
    ragged = nl.Sequential(CONV, MEAN, DENSE).finite(4, (None, 3))
    for wrong in (torch.ones(2, 3), torch.ones(2, 5, 2), [torch.ones(2, 2)], [torch.ones(3)], GRAPHS):
        with pytest.raises(
            ValueError, match=r"x must be a list of arrays with 3 features, got .* shape \(|\(length, d\)"
        ):
            ragged(wrong)
    graphs = nl.Sequential(ADD, DENSE, MEAN).finite(4, (None, 3))
    for wrong in (
        torch.ones(2, 3),
        torch.ones(2, 5, 3),
        [graph(2, 4)],
        [torch.ones(2, 3)],
        [torch.ones(2, 5)],
    ):
        with pytest.raises(ValueError, match="x must be a list of Graph with 3 features, got .* shape"):
            graphs(wrong)


def test_monte_carlo_kernels_of_nodes_are_refused():
    with pytest.raises(ValueError, match="one row of outputs a sample, .* nodes of graphs: pool them"):
        nl.monte_carlo_kernel(nl.Sequential(ADD, DENSE, RELU, DENSE), GRAPHS, width=4, seeds=2)
