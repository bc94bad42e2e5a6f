"""Neural tangent kernels in PyTorch: one architecture, three views.

import ntklab as nl

arch = nl.Sequential(nl.Dense(sigma_w=1.4, sigma_b=0.1), nl.ReLU(), nl.Dense())
arch.kernel(x1, x2)                                   # infinite width: (nngp, ntk)
net = arch.finite(width=512, input_shape=(784,))      # finite width: a torch.nn.Module
nl.empirical_ntk(net, x1, x2)                         # the finite net's own kernel
"""

from ntklab import convergence, data, feature_learning, generalization, plotting
from ntklab.cross_entropy import CrossEntropyFlow
from ntklab.dynamics import GradientDescent, GradientFlow
from ntklab.empirical import empirical_ntk
from ntklab.ensemble import Prediction, ensemble, gp_posterior
from ntklab.explorer import explorer
from ntklab.finite import FiniteNetwork
from ntklab.kernel import Kernels
from ntklab.layers import (
    GELU,
    Abs,
    Aggregate,
    Attention,
    AvgPool,
    Conv,
    Cos,
    Dense,
    Elementwise,
    Erf,
    Flatten,
    GlobalAvgPool,
    GlobalSumPool,
    Graph,
    Identity,
    Layer,
    LayerNorm,
    LeakyReLU,
    Polynomial,
    PositionalEncoding,
    Recurrent,
    ReLU,
    Residual,
    Sequential,
    Sign,
    Sin,
)
from ntklab.linearize import linearize
from ntklab.momentum import Momentum
from ntklab.monte_carlo import MonteCarlo, monte_carlo_kernel
from ntklab.training import History, train

__all__ = [
    "GELU",
    "Abs",
    "Aggregate",
    "Attention",
    "AvgPool",
    "Conv",
    "Cos",
    "CrossEntropyFlow",
    "Dense",
    "Elementwise",
    "Erf",
    "FiniteNetwork",
    "Flatten",
    "GlobalAvgPool",
    "GlobalSumPool",
    "GradientDescent",
    "GradientFlow",
    "Graph",
    "History",
    "Identity",
    "Kernels",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Momentum",
    "MonteCarlo",
    "NTKClassifier",
    "NTKRegressor",
    "Polynomial",
    "PositionalEncoding",
    "Prediction",
    "ReLU",
    "Recurrent",
    "Residual",
    "Sequential",
    "Sign",
    "Sin",
    "convergence",
    "data",
    "empirical_ntk",
    "ensemble",
    "explorer",
    "feature_learning",
    "generalization",
    "gp_posterior",
    "linearize",
    "monte_carlo_kernel",
    "plotting",
    "train",
]


def __getattr__(name: str):
    """The scikit-learn estimators, when asked for: importing them imports scikit-learn."""
    if name in ("NTKClassifier", "NTKRegressor"):
        return getattr(generalization, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
