"""Kernels of convolutions, pools, graphs, recurrences and attention by loops: slow, obvious, no code of the package.

The hidden units of a pair of samples are one list of positions: first all pixels (time steps, nodes) of x, then
all of x'. K and Theta are matrices over that list, so that variances and cross terms come from the same place.
"""

from tests.architectures.reference.pairs import (
    ACTIVATIONS,
    Pair,
    activation,
    add,
    dense,
    expect,
    gram,
    layernorm,
    mean_of,
    moments,
    start,
)
from tests.architectures.reference.positions import (
    aggregate,
    attention,
    avgpool,
    conv,
    flatten,
    global_pool,
    positional,
    recurrent,
)

__all__ = [
    "ACTIVATIONS",
    "Pair",
    "activation",
    "add",
    "aggregate",
    "attention",
    "avgpool",
    "conv",
    "dense",
    "expect",
    "flatten",
    "global_pool",
    "gram",
    "layernorm",
    "mean_of",
    "moments",
    "positional",
    "recurrent",
    "start",
]
