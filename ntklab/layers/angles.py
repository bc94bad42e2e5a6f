"""Functions of a correlation rho = cos(theta) that stay exact, with finite gradients, at rho = 1 and -1.

The NTK of a kinked activation has itself a kink where two inputs are parallel; there the derivative
of the angle is taken as 0, the mean of its two one-sided values.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.autograd import Function


def arc_cosine(rho: Tensor) -> tuple[Tensor, Tensor]:
    """Normalised arc-cosine kernels of order 1 and 0 (Cho & Saul 2009, eqs. 3-6), shape of rho.

        order 1: (sin theta + (pi - theta) cos theta) / pi = 2 E relu(u) relu(v)
        order 0: (pi - theta) / pi                         = 2 E relu'(u) relu'(v)

    for standard normal u, v of correlation rho; the second is the derivative of the first.
    """
    return _ArcCosine.apply(rho)


def arcsine(rho: Tensor) -> Tensor:
    """arcsin(rho), shape of rho."""
    return _ArcSine.apply(rho)


class _ArcCosine(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(rho):
        order0 = torch.acos(-rho).div_(math.pi)
        sine = _sine(rho)
        order1 = (order0 * rho).add_(sine, alpha=1 / math.pi)
        if float(rho.amin()) < -0.98:  # angle beyond pi - 0.2: sin phi - phi cos phi cancels
            near = rho < -0.98
            order1[near] = _near_opposite(math.pi * order0[near])
        return order1, order0

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0], output[1])

    @staticmethod
    def backward(ctx, grad1, grad0):
        rho, order0 = ctx.saved_tensors
        return grad1 * order0 + grad0 * _inverse_sine(rho) / math.pi


class _ArcSine(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(rho):
        return torch.asin(rho)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx, grad):
        return grad * _inverse_sine(ctx.saved_tensors[0])


def _sine(rho: Tensor) -> Tensor:
    """sin(theta) = sqrt((1 - rho)(1 + rho)), exact factors where theta is small."""
    return (1 - rho).mul_(1 + rho).sqrt_()


def _inverse_sine(rho: Tensor) -> Tensor:
    """1 / sin(theta), 0 at parallel inputs."""
    inside = rho.abs() < 1
    safe = torch.where(inside, rho, 0.0)
    return torch.where(inside, ((1 - safe) * (1 + safe)).rsqrt(), 0.0)


def _near_opposite(phi: Tensor) -> Tensor:
    """(sin phi - phi cos phi) / pi by its Taylor series, relative error below 1e-14 for phi < 0.2."""
    square = phi * phi
    series = 1 - square / 10 * (1 - square / 28 * (1 - square / 54 * (1 - square / 88)))
    return phi * square * series / (3 * math.pi)
