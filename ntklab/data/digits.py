"""MNIST digits that come with the package; see README.md in this folder for their origin and licence."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np

from .._validate import choice, positive_int
from .sample import generator

SIDE = 28
PIXELS = SIDE * SIDE


class Digits(NamedTuple):
    """Disjoint training and test digits.

    ``x_train`` (n_train, 784) or (n_train, 1, 28, 28), ``y_train`` (n_train,) or (n_train, k) regression
    targets, ``labels_train`` (n_train,) the digits as int64; the same for test; ``classes``: which digit
    each column of y stands for (for two classes: the digit of -1, then that of 1).
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    labels_train: np.ndarray
    labels_test: np.ndarray
    classes: tuple[int, ...]


def mnist(
    n_train: int = 500,
    n_test: int = 500,
    *,
    classes: Sequence[int] | None = None,
    seed: int = 0,
    dtype=np.float64,
    flatten: bool = True,
    scaling: str = "standard",
) -> Digits:
    """Handwritten digits, shuffled by seed, standardised by statistics of the training set alone.

    For one seed and one choice of classes the test set does not depend on ``n_train``, and smaller training
    sets are the beginnings of larger ones, so learning curves over n compare like with like.

    Args:
        n_train, n_test: numbers of digits; their sum is at most what the classes hold (10,000 for all).
        classes: two or more different digits to keep; None keeps all ten.
        seed: of the shuffle; the global generators are left alone.
        dtype: of x and y, float64 or float32.
        flatten: rows of d = 784 pixels, else images (n, 1, 28, 28).
        scaling: "standard" subtracts the mean training image and multiplies by one number, so that the
            mean of |x|^2 over the training set is d; "sphere" then scales every row to |x|^2 = d;
            "pixels" gives the grey levels from 0 to 1.

    Returns:
        Digits: with targets y of -1 and 1, shape (n,), for two classes, and else centred one-hot rows
        (n, k): 1 - 1/k in the digit's column, -1/k in the others, so rows sum to 0.

    Raises:
        TypeError, ValueError: an argument out of range.
    """
    n_train, n_test = positive_int("n_train", n_train), positive_int("n_test", n_test)
    classes, dtype = _classes(classes), _dtype(dtype)
    choice("scaling", scaling, ("standard", "sphere", "pixels"))
    images, labels = _archive()

    order = generator(seed).permutation(len(labels))
    order = order[np.isin(labels[order], classes)]
    if n_train + n_test > len(order):
        wanted = f"n_train + n_test must be at most {len(order)} for classes {classes}"
        raise ValueError(f"{wanted}, got {n_train} + {n_test}")
    train, test = order[:n_train], order[::-1][:n_test]

    x_train, x_test = _rescale(images[train] / 255.0, images[test] / 255.0, scaling)
    shape = (-1, PIXELS) if flatten else (-1, 1, SIDE, SIDE)
    return Digits(
        x_train.reshape(shape).astype(dtype),
        _targets(labels[train], classes).astype(dtype),
        x_test.reshape(shape).astype(dtype),
        _targets(labels[test], classes).astype(dtype),
        labels[train],
        labels[test],
        classes,
    )


@lru_cache(maxsize=1)
def _archive() -> tuple[np.ndarray, np.ndarray]:
    with (files(__package__) / "mnist_10k.npz").open("rb") as file, np.load(file) as archive:
        images = archive["images"].reshape(-1, PIXELS)
        return images, archive["labels"].astype(np.int64)


def _rescale(train: np.ndarray, test: np.ndarray, scaling: str) -> tuple[np.ndarray, np.ndarray]:
    if scaling == "pixels":
        return train, test
    mean = train.mean(axis=0)
    train, test = train - mean, test - mean
    mean_square = (train**2).sum(axis=1).mean()
    if mean_square == 0:
        raise ValueError("n_train must be at least 2 for a scaling by the training set, got 1")
    factor = np.sqrt(PIXELS / mean_square)
    if scaling == "standard":
        return factor * train, factor * test
    return _on_sphere(train), _on_sphere(test)


def _on_sphere(x: np.ndarray) -> np.ndarray:
    return x * np.sqrt(PIXELS) / np.linalg.norm(x, axis=1, keepdims=True)


def _targets(labels: np.ndarray, classes: tuple[int, ...]) -> np.ndarray:
    if len(classes) == 2:
        return np.where(labels == classes[1], 1.0, -1.0)
    return (labels[:, None] == np.array(classes)) - 1 / len(classes)


def _classes(classes) -> tuple[int, ...]:
    if classes is None:
        return tuple(range(10))
    if isinstance(classes, str) or not isinstance(classes, (Sequence, np.ndarray)):
        raise TypeError(f"classes must be a sequence of digits, got {classes!r}")
    if any(isinstance(c, bool) or not isinstance(c, (int, np.integer)) for c in classes):
        raise TypeError(f"classes must be integers, got {classes!r}")
    kept = tuple(int(c) for c in classes)
    if len(set(kept)) != len(kept) or len(kept) < 2 or not set(kept) <= set(range(10)):
        raise ValueError(f"classes must be two or more different digits from 0 to 9, got {classes!r}")
    return kept


def _dtype(dtype) -> np.dtype:
    try:
        wanted = np.dtype(dtype)
    except TypeError:
        wanted = None
    if wanted not in (np.float32, np.float64):
        raise TypeError(f"dtype must be float32 or float64, got {dtype!r}")
    return wanted
