"""Tools for layers that know positions: pixels of an image, steps of a sequence, nodes of a graph.

Values of one sample have axes (..., *grid).  Beside a ``rho`` of all pairs of positions they are spread
over axes that come in twos, (..., H, H', W, W').
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ntklab.layers.state import Layout, Side, State, ratio, snap


def spread(values: Tensor, layout: Layout, side: int) -> Tensor:
    """Values of side 1 or 2, (..., *grid), so that they broadcast against rho."""
    if not layout.pairs:
        return values
    batch, grid = values.shape[: -layout.axes], values.shape[-layout.axes :]
    return values.reshape(
        *batch, *(part for size in grid for part in ((size, 1) if side == 1 else (1, size)))
    )


def gather(values: Tensor, layout: Layout) -> Tensor:
    """The inverse of `spread`."""
    if not layout.pairs:
        return values
    batch, twos = values.shape[: -2 * layout.axes], values.shape[-2 * layout.axes :]
    return values.reshape(*batch, *(twos[i] * twos[i + 1] for i in range(0, len(twos), 2)))


def matching(values: Tensor, layout: Layout) -> Tensor:
    """The entries (p, p) of values over all pairs of positions: (..., *grid)."""
    if layout.pairs:
        for left in range(
            layout.axes, 0, -1
        ):  # a diagonal moves to the end; those to come stay in front of it
            first = values.dim() - 2 * left - (layout.axes - left)
            values = values.diagonal(dim1=first, dim2=first + 1)
    return values


def along(
    values: Tensor, layout: Layout, mapping: Callable[[Tensor, tuple[int, ...], int], Tensor]
) -> Tensor:
    """``mapping(values, axes, i)`` for each position axis i of a sample; axes (of values): one, or two for pairs."""
    step = 2 if layout.pairs else 1
    for i in range(layout.axes):
        start = values.dim() - step * (layout.axes - i)
        values = mapping(values, tuple(range(start, start + step)), i)
    return values


def flat(layout: Layout) -> Layout:
    """The layout of one sample's own values, one axis a position axis."""
    return {2: Layout.PIXELS, 1: Layout.STEPS, 0: Layout.VECTOR}[layout.axes]


def lift(values: Tensor, axes: int) -> Tensor:
    """One number a sample, with trailing axes of size 1."""
    return values.reshape(*values.shape, *(1,) * axes)


def scales(state: State) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Largest standard deviation of each sample (batch axes), and all relative to it (like std); both sides.

    Products of standard deviations may leave the dtype's range; relative ones do not.  Padded positions get 0.
    """
    top1, part1 = _scale(state.std1, state.side1, 1, state.layout)
    if state.std2 is state.std1:
        return top1, part1, top1, part1
    return top1, part1, *_scale(state.std2, state.side2, 2, state.layout)


def _scale(std: Tensor, about: Side | None, side: int, layout: Layout) -> tuple[Tensor, Tensor]:
    if about is not None and about.mask is not None:
        std = torch.where(spread(about.mask, layout, side), std, 0.0)
    axes = layout.axes * (2 if layout.pairs else 1)
    top = std.amax(tuple(range(-axes, 0)))
    return top, ratio(std, lift(top, axes))


def padded_as_one(std: Tensor, side: Side | None) -> Tensor:
    """Standard deviations (..., *grid) with 1 at padded positions: alike to any others, so no layer stumbles."""
    return std if side is None or side.mask is None else torch.where(side.mask, std, 1.0)


def remember(state: State, own: Callable[[], Tensor], key: str | None = None) -> tuple[Tensor, Tensor]:
    """What this layer knows of each sample alone, for both sides.

    In the pass over the pairs (x, x) it is computed by ``own`` and kept, in any other it is looked up.
    key: a name, where one layer keeps several things.
    """
    place = state.path if key is None else (*state.path, key)
    if state.same:
        state.side1.memory[place] = own()
    return state.side1.memory[place], state.side2.memory[place]


def root(square: Tensor) -> Tensor:
    """Square root, 0 where rounding left a negative; gradients stay finite."""
    zero = square <= 0
    return torch.where(zero, 0.0, torch.where(zero, 1.0, square).sqrt())


def mixed(
    state: State, k: Tensor, theta: Tensor, scale1: Tensor, scale2: Tensor, layout: Layout, **changes
) -> State:
    """The state of units with covariances k scale1 scale2 and tangent kernel theta scale1 scale2.

    k, theta: with the axes of ``layout``, all pairs or none; scale1, scale2: batch axes only.
    """

    def own() -> Tensor:
        std = lift(scale1, layout.axes) * root(matching(k, layout))
        return std if layout is Layout.VECTOR else padded_as_one(std, state.side1)

    own1, own2 = remember(state, own)
    if layout is not Layout.VECTOR:  # kept with fewer padded positions than this tile has, or more
        own1, own2 = padded_as_one(own1, state.side1), padded_as_one(own2, state.side2)
    share1 = spread(ratio(lift(scale1, layout.axes), own1), layout, 1)
    share2 = spread(ratio(lift(scale2, layout.axes), own2), layout, 2)
    std1 = spread(own1, layout, 1)
    return state.to(
        rho=snap(k * share1 * share2),
        tau=theta if theta.dim() == 0 else theta * share1 * share2,
        std1=std1,
        std2=spread(own2, layout, 2),
        layout=layout,
        **changes,
    )


def averaged(state: State, weights1: Tensor, weights2: Tensor) -> State:
    """Units summed over all positions with the given weights, (..., *grid): K = sum w(p) w'(p') K(p, p')."""
    layout = state.layout
    top1, part1, top2, part2 = scales(state)
    sum1 = spread(weights1, layout, 1)
    sum2 = spread(weights2, layout, 2)
    left, right = part1 * sum1, part2 * sum2
    axes = tuple(range(-2 * layout.axes, 0))
    k = (state.rho * left * right).sum(axes)
    theta = state.tau if state.tau.dim() == 0 else (state.tau * left * right).sum(axes)
    return mixed(
        state,
        k,
        theta,
        top1,
        top2,
        Layout.VECTOR,
        mean1=None if state.mean1 is None else (state.mean1 * sum1).sum(axes),
        mean2=None if state.mean2 is None else (state.mean2 * sum2).sum(axes),
    )


def require_positions(state: State, name: str, kinds: tuple[str, ...]) -> None:
    """Refuse samples that have no positions (any more), or not of these kinds."""
    kind = state.layout.kind
    if kind in kinds:
        return
    shapes = {
        "images": "images (n, channels, height, width)",
        "sequences": "sequences (n, length, d)",
        "graphs": "graphs (a list of Graph)",
    }
    wanted = " or ".join(shapes[k] for k in kinds)
    got = "vectors: plain inputs, or after Flatten or pooling" if kind == "vectors" else kind
    raise ValueError(f"{name} needs {wanted}, got {got}")
