"""Real tables that come with scikit-learn, which this module imports when a table is asked for."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._validate import choice

TABLES = ("wine", "breast_cancer", "diabetes", "digits")


class Table(NamedTuple):
    """A table of n samples with d features.

    ``x`` (n, d) float64; ``y`` regression targets in float64, (n,) or (n, k); ``labels`` (n,) int64, the
    classes 0 ... k - 1, or None for a regression problem; ``features``: d names; ``classes``: k names.
    """

    x: np.ndarray
    y: np.ndarray
    labels: np.ndarray | None
    features: tuple[str, ...]
    classes: tuple[str, ...]


def table(name: str, *, scaling: str = "standard") -> Table:
    """One of four real tables, in scikit-learn's order of rows: shuffle or stratify before splitting.

        name            n     d    y
        wine            178   13   (178, 3)    cultivar, from a chemical analysis
        breast_cancer   569   30   (569,)      -1 malignant, 1 benign, from an image of cell nuclei
        diabetes        442   10   (442,)      progress of the disease after a year, a number
        digits         1797   64   (1797, 10)  handwritten digits of 8 by 8 pixels, grey levels 0 to 16

    All but digits hold features of different units.

    Args:
        name: as above.
        scaling: "standard" gives every feature mean 0 and variance 1 over the whole table (a constant feature
            becomes 0), and so the targets of a regression; "raw" leaves the numbers as they are, for
            experiments that measure the scale on the training part alone.

    Returns:
        Table: for two classes y holds -1 and 1, for k classes centred one-hot rows, 1 - 1/k in the column of
        the class and -1/k in the others, for a regression the target.

    Raises:
        ValueError: another name or scaling.
        ImportError: scikit-learn is not installed.
    """
    choice("name", name, TABLES)
    choice("scaling", scaling, ("standard", "raw"))
    try:
        from sklearn import datasets
    except ModuleNotFoundError as error:
        raise ImportError("tables need scikit-learn: pip install 'ntklab[sklearn]'") from error
    options = {"scaled": False} if name == "diabetes" else {}
    bunch = getattr(datasets, f"load_{name}")(**options)
    x, labels = np.array(bunch.data, dtype=np.float64), None
    features, classes = tuple(map(str, bunch.feature_names)), ()
    if name == "diabetes":
        y = np.array(bunch.target, dtype=np.float64)
        y = _standard(y) if scaling == "standard" else y
    else:
        labels, classes = bunch.target.astype(np.int64), tuple(map(str, bunch.target_names))
        y = _targets(labels, len(classes))
    return Table(_standard(x) if scaling == "standard" else x, y, labels, features, classes)


def _standard(x: np.ndarray) -> np.ndarray:
    spread = x.std(axis=0)
    return (x - x.mean(axis=0)) / np.where(spread > 0, spread, 1.0)


def _targets(labels: np.ndarray, k: int) -> np.ndarray:
    return 2.0 * labels - 1 if k == 2 else (labels[:, None] == np.arange(k)) - 1 / k
