"""Recurrent networks over sequences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ntklab._validate import choice, real
from ntklab.layers.activation import Activation
from ntklab.layers.base import Layer
from ntklab.layers.dense import Dense, affine
from ntklab.layers.pooling import GlobalAvgPool
from ntklab.layers.positions import gather, remember, require_positions, spread
from ntklab.layers.state import Layout, Need, Side, State, _combine, ratio, snap
from ntklab.scaled import ScaledLinear

READOUTS = ("last", "mean", "all")


@dataclass(frozen=True)
class Recurrent(Layer):
    """Recurrent network over sequences (n, length, d) with the same weights at every step and h_0 = 0:

        h_t = phi(a_t)        a_t = sigma_w / sqrt(m) W h_(t-1) + sigma_u / sqrt(d) U x_t + sigma_b b

    activation: phi, a layer such as ``ReLU()``.
    readout: "last" gives h_T of each sequence, at its own length T; "mean" the mean of h_1 to h_T; "all" the
        sequence h_1, ..., h_T, for another recurrent layer or for pooling.
    trainable=False freezes W, U and b.

    Infinite width (Alemohammad, Wang, Balestriero & Baraniuk 2021, "The Recurrent Neural Tangent Kernel",
    Theorem 1; the mean: Alemohammad et al. 2020, "Enhanced Recurrent Neural Tangent Kernels for Non-Time-Series
    Data"), with K_h = Theta_h = 0 where one of the sequences has not begun:

        K_a(t, t')     = sigma_w^2 K_h(t-1, t'-1) + sigma_u^2 K_x(t, t') + sigma_b^2         K_h = E phi phi
        Theta_a(t, t') = K_a(t, t') + sigma_w^2 Theta_h(t-1, t'-1) + sigma_u^2 Theta_x(t, t')
        Theta_h        = Theta_a E phi' phi'                                    (without K_a where frozen)

    "last" compares sequences of different lengths aligned at their ends; only "mean" needs all pairs of steps.

    Raises:
        TypeError: activation is no activation layer.
        ValueError: another readout, or a negative sigma; on use, inputs that are no sequences, or a standard
            deviation that leaves the dtype's range at some step.
    """

    activation: Activation
    sigma_w: float = 1.0
    sigma_u: float = 1.0
    sigma_b: float = 0.0
    readout: str = "last"
    trainable: bool = True
    mixes = True

    def __post_init__(self):
        if not isinstance(self.activation, Activation):
            raise TypeError(f"activation must be an activation layer such as ReLU(), got {self.activation!r}")
        for name in ("sigma_w", "sigma_u", "sigma_b"):
            object.__setattr__(self, name, real(name, getattr(self, name), minimum=0))
        choice("readout", self.readout, READOUTS)
        if not isinstance(self.trainable, bool):
            raise TypeError(f"trainable must be True or False, got {self.trainable!r}")

    def needs(self, after: Need) -> Need:
        return {"last": Need.MATCHING, "mean": Need.PAIRS, "all": after}[self.readout]

    def weight_layers(self) -> int:
        return 1

    def propagate(self, state: State) -> State:
        require_positions(state, "Recurrent", ("sequences",))
        layout = state.layout
        drive = affine(state, self.sigma_u, self.sigma_b, self.trainable)
        first, second = self._sides(state, drive)
        rows = list(self._rows(drive, first, second))
        if self.readout == "last":
            step = (..., -1) if layout.pairs else ...
            rho, tau = rows[-1].rho[step], rows[-1].tau[step]
            return rows[-1].to(rho=rho, tau=tau, **_of_units(first.last, second.last, Layout.VECTOR))

        axis = -2 if layout.pairs else -1
        there = spread(first.mask, layout, 1) & spread(second.mask, layout, 2)
        rho = torch.stack([row.rho for row in rows], axis) * there
        tau = torch.stack([row.tau for row in rows], axis) * there
        if self.readout == "all":
            first, second = (
                side._replace(std=torch.where(side.mask, side.std, 1.0)) for side in (first, second)
            )
        every = rows[-1].to(rho=rho, tau=tau, **_of_units(first, second, layout))
        return every if self.readout == "all" else GlobalAvgPool().propagate(every)

    def _sides(self, state: State, drive: State) -> tuple[_Steps, _Steps]:
        """What each sequence does alone: worked out once for all pairs of steps, else once a tile."""
        drive1, drive2 = (gather(std, state.layout) for std in (drive.std1, drive.std2))
        mask1, mask2 = _mask(drive1, state.side1), _mask(drive2, state.side2)
        if state.layout.pairs:
            place = state.to(path=(*state.path, "steps"))
            pre1, pre2 = remember(place, lambda: self._alone(drive1, mask1))
        else:
            pre1 = self._alone(drive1, mask1)
            pre2 = pre1 if drive2 is drive1 else self._alone(drive2, mask2)
        first = self._side(pre1, drive1, mask1)
        return first, first if pre2 is pre1 else self._side(pre2, drive2, mask2)

    def _alone(self, drive: Tensor, mask: Tensor) -> Tensor:
        """Standard deviations (..., T) of a_1, ..., a_T from those of U x_t + b."""
        columns, std = [], torch.zeros_like(drive[..., 0])
        for c, own in enumerate(drive.unbind(-1)):
            columns.append(_combine(self.sigma_w * std, own, None, None)[0])
            try:
                std = self._activated(columns[-1]).std1 * mask[..., c]
            except ValueError as error:
                raise ValueError(f"step {c + 1} of {drive.shape[-1]}: {error}") from None
        pre = torch.stack(columns, -1)
        _in_range(pre.detach(), self._activated(pre).std1.detach())
        return pre

    def _activated(self, pre: Tensor) -> State:
        """phi(a) of each sample with itself, where a has these standard deviations."""
        own = State(torch.ones_like(pre), pre.new_zeros(()), pre, pre, gaussian=True, wide=True, same=True)
        return self.activation.propagate(own)

    def _side(self, pre: Tensor, drive: Tensor, mask: Tensor) -> _Steps:
        own = self._activated(pre)
        std = own.std1 * mask
        before = torch.cat([torch.zeros_like(std[..., :1]), std[..., :-1]], -1)
        mean = None if own.mean1 is None else own.mean1 * mask
        return _Steps(pre, std, mean, ratio(self.sigma_w * before, pre), ratio(drive, pre), mask)

    def _rows(self, drive: State, first: _Steps, second: _Steps):
        """States of h at the first sequences' steps, one after another, beside the second ones' matching or all.

        With all pairs of steps, h(t, .) goes on from h(t - 1, .) shifted by one.  Where a sequence has not
        begun, its past has no share in a.
        """
        layout, pairs = drive.layout, drive.layout.pairs
        axis = -2 if pairs else -1
        past = spread(first.past, layout, 1) * spread(second.past, layout, 2)
        now = spread(first.now, layout, 1) * spread(second.now, layout, 2)
        inputs = (drive.rho * now).unbind(axis)
        tangents = (drive.tau * now).expand_as(drive.rho).unbind(axis)
        rho = tau = torch.zeros_like(inputs[0])
        for c, share in enumerate(past.unbind(axis)):
            tau = tau + rho if self.trainable else tau
            if pairs:
                rho, tau = rho.roll(1, -1), tau.roll(1, -1)
            std1 = first.pre[..., c, None] if pairs else first.pre[..., c]
            std2 = second.pre if pairs else std1 if second is first else second.pre[..., c]
            rho, tau = snap(share * rho + inputs[c]), share * tau + tangents[c]
            before = drive.to(rho=rho, tau=tau, std1=std1, std2=std2, layout=Layout.VECTOR)
            after = self.activation.propagate(before)
            rho, tau = after.rho, after.tau
            yield after

    def build(self, builder, units):
        if units.kind != "sequences":
            raise ValueError(f"Recurrent needs sequences (length, d), got {units.kind}, shape {units.shape}")
        if builder.parameterization == "mean_field":
            raise ValueError("mean_field has no weights between hidden units; use parameterization='mup'")
        width, role = builder.next_width(units)
        if role == "readout":
            raise ValueError("Recurrent cannot be the last layer with weights: put Dense() behind it")
        u, w = Dense(self.sigma_u, self.sigma_b), Dense(self.sigma_w)
        inputs = ScaledLinear(*builder.parameters(u, (width, units.shape[-1]), role), role)
        recurrent = ScaledLinear(*builder.parameters(w, (width, width), "hidden"), "hidden")
        module = _Loop(inputs, recurrent, self.activation.module(), self.readout)
        module.requires_grad_(self.trainable)
        if self.readout == "all":
            return module, units.to(shape=(units.shape[0], width), wide=True)
        return module, units.to(shape=(width,), kind="vectors", wide=True)


class _Steps(NamedTuple):
    """A set of sequences by themselves, all (..., T).

    Standard deviations of a_t, and of h_t (0 at padded steps); the mean of h_t, or None; the shares of h_(t-1)
    and of the inputs in a_t, past^2 + now^2 = 1; which steps are there.
    """

    pre: Tensor
    std: Tensor
    mean: Tensor | None
    past: Tensor
    now: Tensor
    mask: Tensor

    @property
    def last(self) -> _Steps:
        return _Steps(*(None if values is None else values[..., -1] for values in self))


class _Loop(nn.Module):
    """(n, T, d) to (n, m), or to (n, T, m) for "all"; h stays 0 where ``positions.mask`` says a step is padded."""

    positional = True

    def __init__(self, inputs: ScaledLinear, recurrent: ScaledLinear, activation: nn.Module, readout: str):
        super().__init__()
        self.inputs, self.recurrent, self.activation, self.readout = inputs, recurrent, activation, readout

    def forward(self, x, positions=None):
        mask = None if positions is None else positions.mask
        drive = self.inputs(x)
        h, steps = torch.zeros_like(drive[:, 0]), []
        for t, part in enumerate(drive.unbind(1)):
            h = self.activation(self.recurrent(h) + part)
            if mask is not None:
                h = h * mask[:, t, None]
            steps.append(h)
        if self.readout == "last":
            return h
        every = torch.stack(steps, 1)
        if self.readout == "all":
            return every
        return every.mean(1) if mask is None else every.sum(1) / mask.sum(1, keepdim=True)


def _of_units(first: _Steps, second: _Steps, layout: Layout) -> dict:
    """The fields of a state that belong to one side, from h's."""
    std1, mean1, std2, mean2 = (
        None if values is None else spread(values, layout, side)
        for side, own in ((1, first), (2, second))
        for values in (own.std, own.mean)
    )
    return {"std1": std1, "std2": std2, "mean1": mean1, "mean2": mean2, "layout": layout}


def _mask(values: Tensor, side: Side) -> Tensor:
    """Which of the steps (..., T) are there."""
    return torch.ones_like(values, dtype=torch.bool) if side.mask is None else side.mask


def _in_range(pre: Tensor, post: Tensor) -> None:
    """Refuse standard deviations (..., T) before and after the activation that overflow or underflow."""
    limits = torch.finfo(pre.dtype)
    over = ~(torch.maximum(pre, post) <= limits.max)
    small = (pre > 0) & (pre < limits.tiny**0.25)  # phi of larger ones may be 0 for good
    under = small & (torch.minimum(pre, post) < limits.tiny)
    for lost, name, advice in ((over, "overflows", "smaller"), (under, "underflows", "larger")):
        if lost.any():
            step = int(lost.reshape(-1, lost.shape[-1]).any(0).nonzero()[0]) + 1
            raise ValueError(
                f"step {step} of {lost.shape[-1]}: a standard deviation {name} {pre.dtype}; "
                f"use {advice} sigma or inputs"
            )
