"""The layer family: one file a kind, each layer with its infinite and its finite view."""

from ntklab.layers.base import Layer
from ntklab.layers.dense import Dense
from ntklab.layers.elementwise import Elementwise
from ntklab.layers.layernorm import LayerNorm
from ntklab.layers.polynomial import Polynomial
from ntklab.layers.relu import Abs, Identity, LeakyReLU, ReLU
from ntklab.layers.residual import Residual
from ntklab.layers.sequential import Sequential
from ntklab.layers.sign import Sign
from ntklab.layers.smooth import GELU, Cos, Erf, Sin

__all__ = [
    "GELU",
    "Abs",
    "Cos",
    "Dense",
    "Elementwise",
    "Erf",
    "Identity",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Polynomial",
    "ReLU",
    "Residual",
    "Sequential",
    "Sign",
    "Sin",
]
