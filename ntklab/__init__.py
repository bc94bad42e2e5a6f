"""Neural tangent kernels in PyTorch: one architecture, three views.

    import ntklab as nl

    arch = nl.Sequential(nl.Dense(sigma_w=1.4, sigma_b=0.1), nl.ReLU(), nl.Dense())
    arch.kernel(x1, x2)                                   # infinite width: (nngp, ntk)
    net = arch.finite(width=512, input_shape=(784,))      # finite width: a torch.nn.Module
    nl.empirical_ntk(net, x1, x2)                         # the finite net's own kernel
"""

from ntklab import data
from ntklab.dynamics import GradientDescent, GradientFlow
from ntklab.empirical import empirical_ntk
from ntklab.kernel import Kernels
from ntklab.layers import (
    GELU,
    Abs,
    Cos,
    Dense,
    Elementwise,
    Erf,
    Identity,
    LayerNorm,
    LeakyReLU,
    Polynomial,
    ReLU,
    Residual,
    Sequential,
    Sign,
    Sin,
)
from ntklab.linearize import linearize
from ntklab.monte_carlo import MonteCarlo, monte_carlo_kernel
