"""Small samples of every kind, and an architecture of each kind of layer for them."""

import numpy as np

import ntklab as nl

_random = np.random.default_rng(3)
IMAGES = _random.standard_normal((4, 2, 4, 4))
SEQUENCES = _random.standard_normal((4, 5, 3))
RAGGED = [_random.standard_normal((length, 3)) for length in (3, 1, 4, 6)]
GRAPHS = [
    nl.Graph(_random.standard_normal((size, 3)), _random.integers(0, 3, (size, size)) / 2 + np.eye(size))
    for size in (3, 1, 5, 2)
]

RELU, ERF, NORM, FLATTEN = nl.ReLU(), nl.Erf(), nl.LayerNorm(), nl.Flatten()
MEAN, SUM, ADD, AVERAGE = nl.GlobalAvgPool(), nl.GlobalSumPool(), nl.Aggregate(), nl.Aggregate("mean")
CONV, DENSE, HEAD = nl.Conv(3, 1.3, 0.2), nl.Dense(1.3, 0.2), nl.Dense(1.1, 0.1)


def conv(padding, stride=1, size=3, **options):
    return nl.Conv(size, 1.3, 0.2, padding=padding, stride=stride, **options)


ON_IMAGES = {
    "same, flatten": (CONV, RELU, CONV, ERF, FLATTEN, HEAD),
    "valid, flatten": (conv("valid", size=2), RELU, conv("valid", size=(2, 1)), RELU, FLATTEN, HEAD),
    "circular, mean": (conv("circular"), ERF, conv("circular"), RELU, MEAN, HEAD),
    "stride, sum": (conv("same", 2), RELU, SUM, HEAD),
    "pool": (CONV, RELU, nl.AvgPool(2), CONV, nl.AvgPool(2), RELU, FLATTEN, HEAD),
    "norm": (CONV, NORM, RELU, NORM, CONV, ERF, MEAN, HEAD),
    "residual": (
        CONV,
        nl.Residual(RELU, conv("same", 2), shortcut=nl.Conv(1, 0.7, stride=2)),
        nl.Residual(RELU, CONV),
        RELU,
        MEAN,
        HEAD,
    ),
    "frozen": (CONV, RELU, conv("same", trainable=False), RELU, FLATTEN, HEAD),
}
ON_SEQUENCES = {
    "one axis, flatten": (CONV, RELU, conv("valid", size=2), nl.AvgPool(2), ERF, FLATTEN, HEAD),
    "dense steps, mean": (DENSE, RELU, conv("circular", 2), ERF, MEAN, HEAD),
}
ON_RAGGED = {
    "ragged": (CONV, RELU, CONV, ERF, MEAN, HEAD),
    "ragged, sum": (nl.Conv((3,), 1.3, 0.2), NORM, RELU, nl.Residual(CONV, ERF), SUM, HEAD),
}
ON_GRAPHS = {
    "graph": (DENSE, ADD, RELU, DENSE, ADD, ERF, SUM, HEAD),
    "graph, mean": (AVERAGE, DENSE, RELU, AVERAGE, nl.Residual(HEAD, RELU), NORM, MEAN, HEAD),
}
ARCHITECTURES = {
    name: (nl.Sequential(*layers), x)
    for table, x in ((ON_IMAGES, IMAGES), (ON_SEQUENCES, SEQUENCES), (ON_RAGGED, RAGGED), (ON_GRAPHS, GRAPHS))
    for name, layers in table.items()
}


def shape(x):
    """What `finite` wants as input_shape."""
    if isinstance(x, list):
        return (None, 3)
    return x.shape[1:]
