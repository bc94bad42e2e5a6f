"""The spectrum of a positive semidefinite kernel matrix, and the shapes that kernels and times come in."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ntklab._validate import real, tensors


class Spectrum(NamedTuple):
    """Eigenvalues (N,) from the largest down, eigenvectors (N, N) as columns, and how many eigenvalues
    (the first ``rank``) are above N eps lambda_max; the others count as zero."""

    eigenvalues: Tensor
    eigenvectors: Tensor
    rank: int

    def positive(self) -> tuple[Tensor, Tensor]:
        """The nonzero eigenvalues (rank,) and their eigenvectors (N, rank)."""
        return self.eigenvalues[: self.rank], self.eigenvectors[:, : self.rank]


def spectrum(name: str, kernel: Tensor, eps: float) -> Spectrum:
    """Eigendecomposition in float64 of a symmetric positive semidefinite matrix (N, N).

    ``eps`` is the machine precision of the dtype in which the kernel was given: it sets the rank.

    Raises:
        ValueError: the matrix is not symmetric, or has an eigenvalue that is negative beyond rounding.
    """
    kernel = kernel.detach().to(torch.float64)
    tolerance = max(eps**0.5, 1e-6)  # kernels that were computed in float32 and cast up are legal
    gap = (kernel - kernel.T).abs().max().item()
    if gap > tolerance * kernel.abs().max().item():
        raise ValueError(f"{name} must be symmetric, but entries differ from their mirror image by {gap:g}")
    eigenvalues, eigenvectors = torch.linalg.eigh((kernel + kernel.T) / 2)
    eigenvalues, eigenvectors = eigenvalues.flip(0), eigenvectors.flip(1)
    largest, smallest = eigenvalues[0].item(), eigenvalues[-1].item()
    if smallest < -tolerance * max(largest, -smallest):
        raise ValueError(
            f"{name} must be positive semidefinite, but has an eigenvalue {smallest:g} (largest {largest:g})"
        )
    zero = len(eigenvalues) * eps * largest
    eigenvalues = torch.where(eigenvalues > zero, eigenvalues, 0.0)
    return Spectrum(eigenvalues, eigenvectors, int((eigenvalues > 0).sum()))


def square(name: str, kernel: Tensor) -> Tensor:
    """A kernel (n, n) as it is, or (n, n, k, k) as the matrix (n k, n k) over pairs (sample, output)."""
    shape = tuple(kernel.shape)
    if kernel.ndim not in (2, 4) or shape[0] != shape[1] or (kernel.ndim == 4 and shape[2] != shape[3]):
        raise ValueError(f"{name} must have shape (n, n) or (n, n, k, k), got {shape}")
    return flat(kernel)


def flat(kernel: Tensor) -> Tensor:
    """(m, n, k, k) with entries [i, j, a, b] as the matrix (m k, n k) with rows (i, a) and columns (j, b)."""
    if kernel.ndim == 2:
        return kernel
    m, n, k, _ = kernel.shape
    return kernel.permute(0, 2, 1, 3).reshape(m * k, n * k)


def times(t, *, whole: bool = False, infinite: bool = True) -> tuple[Tensor, bool]:
    """Times as a float64 tensor (T,), and whether ``t`` was a vector.

    Raises:
        TypeError: ``t`` holds no real numbers.
        ValueError: NaN, negative, empty or more than one axis; with ``whole`` a fraction of a step;
            without ``infinite`` an infinite time.
    """
    array = t.detach().cpu().numpy() if isinstance(t, Tensor) else np.asarray(t)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"t must be a number or a vector of numbers, got {t!r}")
    if array.ndim > 1 or array.size == 0:
        raise ValueError(f"t must be a number or a vector (T,), got shape {array.shape}")
    array = array.astype(np.float64)
    if np.isnan(array).any() or (array < 0).any():
        raise ValueError(f"t must not be negative or NaN, got {array[~(array >= 0)][0]}")
    if whole and (array != np.floor(array)).any():
        raise ValueError(f"t counts steps and must be whole, got {array[array != np.floor(array)][0]}")
    if not infinite and np.isinf(array).any():
        raise ValueError("t must be finite here, got inf")
    return torch.as_tensor(np.atleast_1d(array).copy()), array.ndim == 1


def with_start(f0, **named) -> tuple[list, Callable]:
    """``tensors`` of the named arguments and of ``f0`` (last), where a plain number ``f0`` sets no dtype."""
    plain = isinstance(f0, (int, float))
    arrays, back = tensors(**named, f0=None if plain else f0)
    return [*arrays[:-1], real("f0", f0) if plain else arrays[-1]], back


def filled(name: str, value: Tensor | float, like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A number, or a tensor of exactly ``shape``, as a float64 tensor on the device of ``like``."""
    if isinstance(value, Tensor) and value.ndim > 0:
        if tuple(value.shape) != shape:
            raise ValueError(f"{name} must be a number or have shape {shape}, got {tuple(value.shape)}")
        return value.detach().to(torch.float64, copy=True)
    return torch.full(shape, float(value), dtype=torch.float64, device=like.device)
