"""From an architecture to the loops of `reference`, layer by layer; and how results are compared."""

from __future__ import annotations

import numpy as np

import ntklab as nl
from tests.architectures import reference

ACTIVATIONS = {nl.ReLU: "relu", nl.Erf: "erf", nl.Sin: "sin", nl.Identity: "identity"}


def through(layer, pair, adjacency=()):
    """One pair of samples through a layer; adjacency: of both graphs."""
    match layer:
        case nl.Sequential():
            for part in layer.layers:
                pair = through(part, pair, adjacency)
            return pair
        case nl.Residual():
            return reference.add(
                through(layer.branch, pair, adjacency), through(layer.shortcut, pair, adjacency)
            )
        case nl.Dense():
            return reference.dense(pair, layer.sigma_w, layer.sigma_b, layer.trainable)
        case nl.Conv():
            sizes = layer.kernel_size, layer.sigma_w, layer.sigma_b
            return reference.conv(pair, *sizes, layer.padding, layer.stride, layer.trainable)
        case nl.AvgPool():
            return reference.avgpool(pair, layer.size)
        case nl.GlobalSumPool():
            return reference.global_pool(pair, "sum")
        case nl.GlobalAvgPool():
            return reference.global_pool(pair)
        case nl.Flatten():
            return reference.flatten(pair)
        case nl.LayerNorm():
            return reference.layernorm(pair)
        case nl.Aggregate():
            return reference.aggregate(pair, *adjacency, layer.kind)
    return reference.activation(pair, ACTIVATIONS[type(layer)])


def block(arch, first, second):
    """Both kernels of two samples by loops: a number, or a row a node."""
    adjacency = ()
    if isinstance(first, nl.Graph):
        adjacency = first.adjacency, second.adjacency
        first, second = first.features, second.features
    return through(arch, reference.start(first, second), adjacency).block()


def assert_loops(arch, first, second=None, rel=1e-10):
    """The kernels of an architecture are those of the loops; without a second set, on and above the diagonal."""
    result = arch.kernel(first, second)
    columns = first if second is None else second
    sizes = [[len(x) if result.nngp.shape[0] > len(first) else 1 for x in side] for side in (first, columns)]
    starts = [np.concatenate([[0], np.cumsum(side)]) for side in sizes]
    for i, x in enumerate(first):
        for j in range(i if second is None else 0, len(columns)):
            want = block(arch, x, columns[j])
            cut = slice(*starts[0][i : i + 2]), slice(*starts[1][j : j + 2])
            for part, expected in zip(result, want, strict=True):
                np.testing.assert_allclose(
                    part[cut], expected, rtol=rel, atol=rel * 1e-6, err_msg=f"{i}, {j}"
                )


def assert_same(result, want, rel=1e-10):
    """Both kernels, entry by entry."""
    for got, expected in zip(result, want, strict=True):
        np.testing.assert_allclose(got, expected, rtol=rel)
