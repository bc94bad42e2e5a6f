"""The layer family: one file a kind, each layer with its infinite and its finite view."""

from ntklab.layers.attention import Attention
from ntklab.layers.base import Layer
from ntklab.layers.conv import Conv
from ntklab.layers.dense import Dense
from ntklab.layers.elementwise import Elementwise
from ntklab.layers.graph import Aggregate, Graph
from ntklab.layers.layernorm import LayerNorm
from ntklab.layers.polynomial import Polynomial
from ntklab.layers.pooling import AvgPool, Flatten, GlobalAvgPool, GlobalSumPool
from ntklab.layers.positional_encoding import PositionalEncoding
from ntklab.layers.recurrent import Recurrent
from ntklab.layers.relu import Abs, Identity, LeakyReLU, ReLU
from ntklab.layers.residual import Residual
from ntklab.layers.sequential import Sequential
from ntklab.layers.sign import Sign
from ntklab.layers.smooth import GELU, Cos, Erf, Sin

__all__ = [
    "GELU",
    "Abs",
    "Aggregate",
    "Attention",
    "AvgPool",
    "Conv",
    "Cos",
    "Dense",
    "Elementwise",
    "Erf",
    "Flatten",
    "GlobalAvgPool",
    "GlobalSumPool",
    "Graph",
    "Identity",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Polynomial",
    "PositionalEncoding",
    "ReLU",
    "Recurrent",
    "Residual",
    "Sequential",
    "Sign",
    "Sin",
]
