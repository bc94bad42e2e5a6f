"""The structured empirical kernel: (activations' Gram) times (output gradients' Gram), layer by layer.

``covers`` maps a class of modules to its rule; a new layer joins by one line, ``covers[MyLinear] = linear``.
"""

from torch import nn

from ntklab.scaled import ScaledConv, ScaledLinear
from ntklab.structured.conv import conv, scaled_conv
from ntklab.structured.embedding import embedding
from ntklab.structured.linear import linear
from ntklab.structured.norm import batch_norm, group_norm, layer_norm, rms_norm
from ntklab.structured.rule import Rule, Uncovered

covers: dict[type[nn.Module], Rule] = {
    nn.Linear: linear,
    ScaledLinear: linear,
    ScaledConv: scaled_conv,
    nn.Conv1d: conv,
    nn.Conv2d: conv,
    nn.LayerNorm: layer_norm,
    nn.RMSNorm: rms_norm,
    nn.GroupNorm: group_norm,
    nn.BatchNorm1d: batch_norm,
    nn.BatchNorm2d: batch_norm,
    nn.BatchNorm3d: batch_norm,
    nn.Embedding: embedding,
}

__all__ = ["Rule", "Uncovered", "conv", "covers", "embedding", "linear"]
