"""Real digits and toy problems, as float64 numpy arrays drawn from a seed."""

from .classification import gaussian_mixture, parity, staircase, two_moons, xor
from .digits import Digits, mnist
from .regression import circle, line, sphere
from .sample import Sample
from .tables import Table, table

__all__ = [
    "Digits",
    "Sample",
    "Table",
    "circle",
    "gaussian_mixture",
    "line",
    "mnist",
    "parity",
    "sphere",
    "staircase",
    "table",
    "two_moons",
    "xor",
]
