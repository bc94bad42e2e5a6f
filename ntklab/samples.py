"""Lists of samples of different sizes: graphs, and sequences of different lengths."""

from __future__ import annotations

from torch import Tensor

from ntklab._validate import tensors
from ntklab.layers.graph import Graph


def is_ragged(x) -> bool:
    """Is x a list of graphs or of (length_i, d) arrays, rather than one array?"""
    if isinstance(x, Graph):
        raise TypeError("samples that are graphs must be a list of Graph, got one Graph")
    if not isinstance(x, (list, tuple)) or not x:
        return False
    return isinstance(x[0], Graph) or getattr(x[0], "ndim", 0) == 2 or _depth(x[0]) == 2


def _depth(value) -> int:
    depth = 0
    while isinstance(value, (list, tuple)) and value:
        value, depth = value[0], depth + 1
    return depth


def read_samples(labels: str | list[str], samples) -> tuple[list[Tensor], list[Tensor] | None, object]:
    """Features (N_i, d) and, of graphs, adjacency (N_i, N_i) of each sample, in one dtype; and the way back.

    Raises:
        TypeError, ValueError: samples of different kinds or feature counts, or malformed ones.
    """
    if isinstance(labels, str):
        labels = [f"{labels}[{i}]" for i in range(len(samples))]
    if not len(samples):
        raise ValueError("a list of samples must hold at least one, got none")
    graphs = isinstance(samples[0], Graph)
    arrays: dict[str, object] = {}
    for label, sample in zip(labels, samples, strict=True):
        if sample is None or isinstance(sample, Graph) is not graphs:
            raise TypeError(
                f"samples must be all graphs or all arrays, got {type(sample).__name__} at {label}"
            )
        if graphs:
            arrays[f"{label}.features"], arrays[f"{label}.adjacency"] = sample.features, sample.adjacency
        else:
            arrays[label] = sample
    values, back = tensors(**arrays)
    features = values[::2] if graphs else values
    for label, part in zip(labels, features, strict=True):
        if part.dim() != 2 or part.shape[1] != features[0].shape[-1]:
            size, where = ("nodes", f"{label}.features") if graphs else ("length", label)
            d = features[0].shape[1] if features[0].dim() == 2 else "d"
            raise ValueError(f"{where} must have shape ({size}, {d}), got {tuple(part.shape)}")
    return features, values[1::2] if graphs else None, back
