"""Real digits, toy problems and graphs, as float64 numpy arrays drawn from a seed."""

from .classification import gaussian_mixture, parity, staircase, two_moons, xor
from .digits import Digits, mnist
from .graphs import Graphs, molecules, read_graphs
from .regression import circle, line, sphere
from .sample import Sample
from .tables import Table, table

__all__ = [
    "Digits",
    "Graphs",
    "Sample",
    "Table",
    "circle",
    "gaussian_mixture",
    "line",
    "mnist",
    "molecules",
    "parity",
    "read_graphs",
    "sphere",
    "staircase",
    "table",
    "two_moons",
    "xor",
]
