"""Normalisations with an affine map, w * normalised(h) + b, w and b one number a feature or channel."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ntklab.structured.factors import Vector
from ntklab.structured.rule import Rule, trains


def _layer_norm(module: nn.LayerNorm, h: Tensor) -> Tensor:
    return F.layer_norm(h, module.normalized_shape, eps=module.eps)


def _rms_norm(module: nn.RMSNorm, h: Tensor) -> Tensor:
    return F.rms_norm(h, module.normalized_shape, eps=module.eps)


def _group_norm(module: nn.GroupNorm, h: Tensor) -> Tensor:
    return F.group_norm(h, module.num_groups, eps=module.eps)


def _batch_norm(module: nn.BatchNorm1d, h: Tensor) -> Tensor:
    return F.batch_norm(h, module.running_mean, module.running_var, eps=module.eps)


def _over_features(normalise) -> Rule:
    """Parameters of the shape of the last axes: sums over all positions before them."""

    def factors(module: nn.Module, calls: list[tuple[Tensor, Tensor]]) -> list:
        features = module.weight.numel()

        def summed(delta: Tensor) -> Tensor:
            return delta.reshape(*delta.shape[:2], -1, features).sum(2)

        return _affine(module, calls, normalise, summed)

    return Rule(factors)


def _over_channels(normalise) -> Rule:
    """Parameters along axis 1: sums over all positions behind it."""

    def factors(module: nn.Module, calls: list[tuple[Tensor, Tensor]]) -> list:
        def summed(delta: Tensor) -> Tensor:
            return delta.reshape(*delta.shape[:3], -1).sum(3)

        return _affine(module, calls, normalise, summed)

    return Rule(factors)


def _affine(module, calls, normalise, summed) -> list[Vector]:
    factors = []
    if trains(module, "weight"):
        factors.append(Vector(sum(summed(d * normalise(module, h).unsqueeze(1)) for h, d in calls)))
    if trains(module, "bias"):
        factors.append(Vector(sum(summed(d) for _, d in calls)))
    return factors


layer_norm = _over_features(_layer_norm)
rms_norm = _over_features(_rms_norm)
group_norm = _over_channels(_group_norm)
batch_norm = _over_channels(_batch_norm)
