"""Self-attention over positions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ntklab._validate import choice, positive_int, real
from ntklab.layers.base import Layer
from ntklab.layers.dense import Dense
from ntklab.layers.positions import gather, mixed, padded_as_one, remember, require_positions, scales, spread
from ntklab.layers.state import Layout, Need, State
from ntklab.scaled import ScaledLinear

MECHANISMS = ("softmax", "identity")
SCALINGS = ("1/d", "1/sqrt(d)")
KINDS = ("images", "sequences", "graphs")


@dataclass(frozen=True)
class Attention(Layer):
    """Self-attention: every position takes a weighted sum over all positions of its sample.

    Of inputs g with c units at each position, a head of d units has queries, keys and values q, k, v, each
    W g / sqrt(c) with entries of W ~ N(0, 1), and gives sum_b zeta(G)_ab v_b with

        G_ab = sigma_qk^2 q_a . k_b / d     or     / sqrt(d);

    all heads side by side go through sigma_ov / sqrt(heads d) W_O.  All weights are trained; there are no biases.

    mechanism: zeta, "softmax" over b, or "identity".
    scaling: "1/d" ties W_K = W_Q (else G would vanish), "1/sqrt(d)" has both.
    sigma_qk, sigma_ov: at least 0; scores grow as the square of the first, outputs as the second.
    heads: of a finite network, each with d = width units; None: one with "1/d", as many as the width with
        "1/sqrt(d)".

    Infinite width (Hron, Bahri, Sohl-Dickstein & Novak 2020, "Infinite attention: NNGP and NTK for deep
    attention networks"), with K = K(x, x') over all pairs of positions:

        "1/d"         K'     = sigma_ov^2 Z K Z'^T,   Z = zeta(sigma_qk^2 K(x, x)),   Z' of x'
                      Theta' = 2 K' + sigma_ov^2 Z Theta Z'^T
        "1/sqrt(d)"   K'     = s K |K|^2,   s = sigma_ov^2 sigma_qk^4,   |K|^2 = sum_cd K_cd^2
                      Theta' = 4 K' + s (Theta |K|^2 + 2 K sum_cd K_cd Theta_cd)

    The first holds as d grows, for any number of heads: scores tend to constants, and their part in the gradient
    vanishes.  The second holds as the heads become many too: the scores of each stay random.

    Raises:
        ValueError: softmax with "1/sqrt(d)", the mean over random softmax weights has no closed form; samples
            without positions; a last weight layer of a finite network (`Dense` must follow).
    """

    mechanism: str = "softmax"
    scaling: str = "1/d"
    sigma_qk: float = 1.0
    sigma_ov: float = 1.0
    heads: int | None = None
    mixes = True

    def __post_init__(self):
        choice("mechanism", self.mechanism, MECHANISMS)
        choice("scaling", self.scaling, SCALINGS)
        object.__setattr__(self, "sigma_qk", real("sigma_qk", self.sigma_qk, minimum=0))
        object.__setattr__(self, "sigma_ov", real("sigma_ov", self.sigma_ov, minimum=0))
        if self.heads is not None:
            object.__setattr__(self, "heads", positive_int("heads", self.heads))
        if (self.mechanism, self.scaling) == ("softmax", "1/sqrt(d)"):
            raise ValueError(
                "mechanism 'softmax' with scaling '1/sqrt(d)' has no closed-form kernel; "
                "scaling '1/d' works with 'softmax', and mechanism 'identity' with both"
            )

    def needs(self, after: Need) -> Need:
        return Need.PAIRS

    def propagate(self, state: State) -> State:
        require_positions(state, "Attention", KINDS)
        state = _without_padding(state)
        top1, part1, top2, part2 = scales(state)
        linear = self.mechanism == "softmax"
        if self.scaling == "1/d":
            k, theta = self._weighted(state, part1 * part2, top1)
        else:
            k, theta = self._product(state, part1 * part2)
        size1, size2 = (
            self.sigma_ov * (top if linear else self.sigma_qk**2 * top * top) for top in (top1, top2)
        )
        new = mixed(
            state,
            k,
            theta,
            size1,
            size2,
            state.layout,
            mean1=None,
            mean2=None,
            gaussian=True,
            wide=True,
        )
        if linear:
            return new
        return new.to(std1=self._cubed(state, new, 1), std2=self._cubed(state, new, 2))

    def _weighted(self, state: State, both: Tensor, top: Tensor) -> tuple[Tensor, Tensor]:
        """Scaling "1/d": sums with fixed weights, which each sample's own covariance determines."""
        layout = state.layout
        z1, z2 = remember(state, lambda: self._weights(state, top), "weights")

        def attend(values: Tensor) -> Tensor:
            return _twos(z1 @ _matrix(values, layout) @ z2.transpose(-1, -2), values.shape, layout)

        k = attend(state.rho * both)
        return k, 2 * k if state.tau.dim() == 0 else 2 * k + attend(state.tau * both)

    def _weights(self, state: State, top: Tensor) -> Tensor:
        """Z of every sample (n, P, P); for "identity" relative to the row's and the largest deviation."""
        std = gather(state.std1, state.layout).flatten(-state.layout.axes)
        part = std / torch.where(top > 0, top, 1.0)[..., None]
        relative = _matrix(state.rho, state.layout) * part[..., None, :]
        if self.mechanism == "identity":
            return relative
        scores = relative * part[..., None]
        size = (self.sigma_qk * top).clamp(max=torch.finfo(top.dtype).max ** 0.5 / 4)[..., None, None]
        scores = (scores - scores.detach().amax(-1, keepdim=True)) * size * size
        if state.side1.mask is None:
            return scores.softmax(-1)
        there = state.side1.mask
        return scores.masked_fill(~there[..., None, :], -torch.inf).softmax(-1) * there[..., None]

    def _product(self, state: State, both: Tensor) -> tuple[Tensor, Tensor]:
        """Scaling "1/sqrt(d)", relative to the deviations of a row and of a column."""
        axes = tuple(range(-2 * state.layout.axes, 0))
        relative = state.rho * both
        square = relative.square().sum(axes, keepdim=True)
        k = state.rho * square
        if state.tau.dim() == 0:
            return k, 4 * k
        inner = (relative * state.tau * both).sum(axes, keepdim=True)
        return k, 4 * k + state.tau * square + 2 * state.rho * inner

    def _cubed(self, state: State, new: State, side: int) -> Tensor:
        """Standard deviations with the row's own factor, which cancels in rho and tau."""
        before, after, about = (
            (state.std1, new.std1, state.side1) if side == 1 else (state.std2, new.std2, state.side2)
        )
        std = after * before
        if self.sigma_qk and self.sigma_ov and ((std == 0) & (before > 0)).any():
            raise ValueError(
                f"the cube of a standard deviation underflows {std.dtype}; use larger sigma or inputs"
            )
        return spread(padded_as_one(gather(std, state.layout), about), state.layout, side)

    def build(self, builder, units):
        if units.kind not in KINDS:
            raise ValueError(f"Attention needs positions, got {units.kind} of shape {units.shape}")
        channels = units.shape[0] if units.kind == "images" else units.shape[-1]
        width, role = builder.next_width(units)
        if role == "readout":
            raise ValueError("Attention cannot be the last layer with weights: put Dense() after it")
        tied = self.scaling == "1/d"
        heads = self.heads or (1 if tied else width)

        def linear(out: int, fan_in: int, role: str, sigma: float = 1.0) -> ScaledLinear:
            return ScaledLinear(*builder.parameters(Dense(sigma), (out, fan_in), role), role)

        queries = linear(heads * width, channels, role)
        keys = None if tied else linear(heads * width, channels, role)
        values = linear(heads * width, channels, role)
        output = linear(width, heads * width, "hidden", self.sigma_ov)
        shape = (width, *units.shape[1:]) if units.kind == "images" else (*units.shape[:-1], width)
        return _Heads(self, heads, queries, keys, values, output), units.to(shape=shape, wide=True)

    def weight_layers(self) -> int:
        return 1


class _Heads(nn.Module):
    """Attention of finite width; keys None: tied to the queries."""

    positional = True

    def __init__(self, layer: Attention, heads: int, queries, keys, values, output):
        super().__init__()
        self.heads, self.softmax = heads, layer.mechanism == "softmax"
        units = output.weight.shape[1] // heads
        self.score_scale = layer.sigma_qk**2 / (units if keys is None else units**0.5)
        self.queries, self.keys, self.values, self.output = queries, keys, values, output

    def forward(self, h: Tensor, positions=None) -> Tensor:
        grid = h.shape[2:]
        images = len(grid) == 2
        h = h.flatten(2).transpose(1, 2) if images else h
        q, v = self._split(self.queries(h)), self._split(self.values(h))
        k = q if self.keys is None else self._split(self.keys(h))
        scores = self.score_scale * q @ k.transpose(-1, -2)
        if positions is not None and positions.mask is not None:
            there = positions.mask[:, None, None, :] > 0
            scores = torch.where(there, scores, -torch.inf if self.softmax else 0.0)
        weights = scores.softmax(-1) if self.softmax else scores
        out = self.output((weights @ v).transpose(1, 2).flatten(2))
        return out.transpose(1, 2).unflatten(2, grid) if images else out

    def _split(self, z: Tensor) -> Tensor:
        """(n, P, heads d) to (n, heads, P, d)."""
        return z.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def extra_repr(self) -> str:
        return f"heads={self.heads}, score_scale={self.score_scale:.4g}"


def _without_padding(state: State) -> State:
    """Positions that are not there: no variance, no correlation."""
    layout = state.layout
    std1, std2, there = state.std1, state.std2, None
    if state.side1.mask is not None:
        there = spread(state.side1.mask, layout, 1)
        std1 = std1 * there
    if state.side2.mask is not None:
        other = spread(state.side2.mask, layout, 2)
        std2, there = std2 * other, other if there is None else there & other
    if there is None:
        return state
    tau = state.tau if state.tau.dim() == 0 else state.tau * there
    return state.to(rho=state.rho * there, tau=tau, std1=std1, std2=std2)


def _matrix(values: Tensor, layout: Layout) -> Tensor:
    """(..., H, H', W, W') as (..., P, P')."""
    return values.transpose(-2, -3).flatten(-4, -3).flatten(-2) if layout.axes == 2 else values


def _twos(matrix: Tensor, shape: torch.Size, layout: Layout) -> Tensor:
    """The inverse of `_matrix`, to (..., *shape)."""
    if layout.axes == 1:
        return matrix
    height, height2, width, width2 = shape[-4:]
    return matrix.unflatten(-1, (height2, width2)).unflatten(-3, (height, width)).transpose(-2, -3)
