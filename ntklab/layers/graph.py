"""Graphs as inputs, and sums over neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ntklab._validate import choice, tensors
from ntklab.layers.base import Layer
from ntklab.layers.positions import gather, mixed, require_positions, scales, spread
from ntklab.layers.state import Need, State, ratio

KINDS = ("sum", "mean")


@dataclass(frozen=True, eq=False)
class Graph:
    """One graph: features (N, d) of its nodes, adjacency (N, N).

    adjacency[v, u] weighs what node v hears from node u; it may be asymmetric, and holds self-loops only as
    given.  numpy arrays or torch tensors (features may require grad); kept as given.

    Raises:
        TypeError, ValueError: wrong shapes, no nodes, or entries that are not finite real numbers.
    """

    features: Any
    adjacency: Any

    def __post_init__(self):
        (features, adjacency), _ = tensors(features=self.features, adjacency=self.adjacency)
        if features.dim() != 2:
            raise ValueError(f"features must have shape (nodes, d), got {tuple(features.shape)}")
        if adjacency.shape != (len(features), len(features)):
            raise ValueError(
                f"adjacency must have shape ({len(features)}, {len(features)}), one row and column for each row "
                f"of features, got {tuple(adjacency.shape)}"
            )

    def __len__(self) -> int:
        """How many nodes it has."""
        return len(self.features)

    @classmethod
    def from_networkx(cls, graph, features="x", weight: str | None = None) -> Graph:
        """From a networkx graph, nodes in its own order.

        features: the node attribute that holds each node's features (a number or d of them).
        weight: the edge attribute that weighs an edge; None counts each edge once (parallel edges add up).
            A directed edge u -> v is heard by v.

        Raises:
            ValueError: a node without that attribute, or nodes of different feature counts.
        """
        nodes = list(graph.nodes)
        if not nodes:
            raise ValueError("graph must have at least one node, got none")
        place = {node: i for i, node in enumerate(nodes)}
        rows = []
        for node in nodes:
            if features not in graph.nodes[node]:
                raise ValueError(f"every node must have the attribute {features!r}, node {node!r} has not")
            rows.append(np.atleast_1d(np.asarray(graph.nodes[node][features], dtype=np.float64)))
        if len({row.shape for row in rows}) > 1:
            raise ValueError(
                f"attribute {features!r} must have one length, got {sorted({row.shape for row in rows})}"
            )
        adjacency = np.zeros((len(nodes), len(nodes)))
        for u, v, data in graph.edges(data=True):
            value = 1.0 if weight is None else data.get(weight)
            if value is None:
                raise ValueError(f"every edge must have the attribute {weight!r}, ({u!r}, {v!r}) has not")
            adjacency[place[v], place[u]] += value
            if not graph.is_directed() and u != v:
                adjacency[place[u], place[v]] += value
        return cls(np.stack(rows), adjacency)


@dataclass(frozen=True)
class Aggregate(Layer):
    """Sum or mean over a node's neighbours: h'_v = sum_u A_vu h_u, for "mean" divided by sum_u A_vu.

    Self-loops count only as given; a mean over no neighbours is 0.

    Infinite width (Du et al. 2019, "Graph Neural Tangent Kernel", section 3): K' = A K A'^T, Theta' = A Theta A'^T
    with each graph's own matrix; a linear map of Gaussian units keeps them Gaussian.
    """

    kind: str = "sum"
    mixes = True

    def __post_init__(self):
        choice("kind", self.kind, KINDS)

    def needs(self, after: Need) -> Need:
        return Need.PAIRS

    def propagate(self, state: State) -> State:
        require_positions(state, "Aggregate", ("graphs",))
        layout = state.layout
        top1, part1, top2, part2 = scales(state)
        a1, a2 = self.matrix(state.side1.adjacency), self.matrix(state.side2.adjacency)
        both = part1 * part2

        def heard(values: Tensor) -> Tensor:
            return a1 @ (values * both) @ a2.transpose(-1, -2)

        means = [
            None if mean is None else spread((a @ gather(mean, layout)[..., None])[..., 0], layout, side)
            for a, side, mean in ((a1, 1, state.mean1), (a2, 2, state.mean2))
        ]
        theta = state.tau if state.tau.dim() == 0 else heard(state.tau)
        return mixed(state, heard(state.rho), theta, top1, top2, layout, mean1=means[0], mean2=means[1])

    def matrix(self, adjacency: Tensor) -> Tensor:
        """(..., N, N), rows divided by their sums for "mean"."""
        return adjacency if self.kind == "sum" else ratio(adjacency, adjacency.sum(-1, keepdim=True))

    def build(self, builder, units):
        if units.kind != "graphs":
            raise ValueError(
                f"Aggregate needs graphs (a list of Graph), got {units.kind} of shape {units.shape}"
            )
        return _Neighbours(self), units


class _Neighbours(nn.Module):
    """A h for nodes h (n, N, d) of graphs with adjacency (n, N, N)."""

    positional = True

    def __init__(self, layer: Aggregate):
        super().__init__()
        self.layer = layer

    def forward(self, h, positions):
        return torch.matmul(self.layer.matrix(positions.adjacency), h)
