"""Kernels of infinite width estimated from finite networks, with error bars."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from tqdm.auto import tqdm

from ntklab._validate import positive_int, tensors
from ntklab.empirical import empirical_ntk
from ntklab.finite import ScaledLinear
from ntklab.layers.base import Layer
from ntklab.layers.graph import Graph
from ntklab.padding import pack
from ntklab.samples import is_ragged


class MonteCarlo(NamedTuple):
    """Means over networks and their standard errors, each (n1, n2)."""

    nngp: np.ndarray | torch.Tensor
    nngp_error: np.ndarray | torch.Tensor
    ntk: np.ndarray | torch.Tensor
    ntk_error: np.ndarray | torch.Tensor


def monte_carlo_kernel(
    arch: Layer, x1, x2=None, *, width=512, seeds: int = 10, seed: int = 0, progress: bool = False
) -> MonteCarlo:
    """Average the kernels of `seeds` independent networks in NTK parameterisation.

    x1, x2: samples as in `Layer.kernel`, x2 None for x1.  The NNGP entry is the covariance of the outputs given
    all layers but the readout, averaged; where the architecture does not end in `Dense`, the mean
    product of its units.  Networks have seeds seed, seed + 1, ...

    The mean differs from the limit by O(1/width) for two hidden layers or more; the fluctuation of
    one network is O(1/sqrt(width)).

    Raises:
        ValueError, TypeError: bad inputs, or fewer than two networks (no error bar).
    """
    if positive_int("seeds", seeds) < 2:
        raise ValueError("seeds must be at least 2 for an error bar, got 1")
    shape = None
    if is_ragged(x1):
        shape = (None, (x1[0].features if isinstance(x1[0], Graph) else x1[0]).shape[1])
        x1, x2 = pack(x1, x2)
    (x1, x2), back = tensors(x1=x1, x2=x2)
    shape = x1.shape[1:] if shape is None else shape
    totals = {}
    for i in tqdm(range(seeds), desc="networks", disable=not progress):
        net = arch.finite(width, shape, seed=seed + i, dtype=x1.dtype).to(x1.device)
        for name, value in (("nngp", _nngp(net, x1, x2)), ("ntk", empirical_ntk(net, x1, x2))):
            mean, spread = totals.get(name, (torch.zeros_like(value), torch.zeros_like(value)))
            step = value - mean
            mean = mean + step / (i + 1)
            totals[name] = mean, spread + step * (value - mean)
    results = []
    for name in ("nngp", "ntk"):
        mean, spread = totals[name]
        results += [back(mean), back((spread / (seeds * (seeds - 1))).sqrt())]
    return MonteCarlo(*results)


@torch.no_grad()
def _nngp(net, x1: torch.Tensor, x2: torch.Tensor | None) -> torch.Tensor:
    """K of one network, (n1, n2)."""
    dense = [module for module in net.modules() if isinstance(module, ScaledLinear)]
    if not dense:
        first, second = net(x1), net(x1 if x2 is None else x2)
        return first @ second.T / first.shape[1]
    last, seen = dense[-1], {}

    def keep(module, inputs, output):
        seen["hidden"], seen["output"] = inputs[0], output

    handle = last.register_forward_hook(keep)
    try:
        views = []
        for x in (x1,) if x2 is None else (x1, x2):
            output = net(x)
            if output.dim() != 2:
                raise ValueError(
                    "monte_carlo_kernel wants one row of outputs a sample, but the architecture ends at the nodes "
                    "of graphs: pool them"
                )
            views.append(seen["hidden"] if output is seen["output"] else output)
            ends_in_dense = output is seen["output"]
    finally:
        handle.remove()
    first, second = views[0], views[-1]
    if not ends_in_dense:
        return first @ second.T / first.shape[1]
    return last.weight_scale**2 * (first @ second.T) + (0 if last.bias is None else last.bias_scale**2)
