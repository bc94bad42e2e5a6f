"""Checks at the public boundary: arrays in, the same kind of arrays out, errors that name the argument."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


def tensors(**named) -> tuple[list[Tensor], Callable[[Tensor], np.ndarray | Tensor]]:
    """Convert named arguments to tensors of one floating dtype on one device.

    numpy arrays, lists, numbers and tensors may be mixed; dtypes promote (integers and booleans
    count as float64), devices do not.  Arguments that are None stay None.

    Returns the tensors in order, and a function that turns a result back into numpy when no
    argument was a torch tensor.

    Raises:
        TypeError: an argument that is no array of real numbers.
        ValueError: NaN or infinite entries, an empty array, or tensors on different devices.
    """
    present = {name: value for name, value in named.items() if value is not None}
    torch_in = {name: value for name, value in present.items() if isinstance(value, Tensor)}
    devices = {value.device for value in torch_in.values()}
    if len(devices) > 1:
        places = ", ".join(f"{name} on {value.device}" for name, value in torch_in.items())
        raise ValueError(f"all tensors must be on one device, got {places}")
    device = devices.pop() if devices else torch.device("cpu")

    out = {name: _tensor(name, value, device) for name, value in present.items()}
    dtype = None
    for value in out.values():
        dtype = value.dtype if dtype is None else torch.promote_types(dtype, value.dtype)
    out = {name: value.to(dtype) for name, value in out.items()}
    for name, value in out.items():
        finite(name, value)

    def back(result: Tensor) -> np.ndarray | Tensor:
        return result if torch_in else result.detach().cpu().numpy()

    return [out.get(name) for name in named], back


def _tensor(name: str, value, device) -> Tensor:
    if not isinstance(value, Tensor):
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise ValueError(f"{name} must be a rectangular array of numbers: {error}") from None
        if array.dtype.kind not in "biuf":
            raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
        if array.dtype not in (np.float32, np.float64):
            array = array.astype(np.float64)
        value = torch.as_tensor(np.array(array, order="C"), device=device)  # own, writable copy
    if value.is_complex():
        raise TypeError(f"{name} must hold real numbers, got dtype {value.dtype}")
    if not value.is_floating_point():
        value = value.to(torch.float64)
    if value.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{name} must be float32 or float64, got {value.dtype}")
    if value.numel() == 0:
        raise ValueError(f"{name} is empty, got shape {tuple(value.shape)}")
    return value


def finite(name: str, value: Tensor) -> None:
    """Raise ValueError that names the argument and the first NaN or infinite entry."""
    if torch.isfinite(value).all():
        return
    bad = (~torch.isfinite(value.detach())).nonzero()[0].tolist()
    where = f"{name}{bad}" if bad else name
    raise ValueError(f"{name} must be finite, got {value.detach()[tuple(bad)].item()} at {where}")


def positive_int(name: str, value) -> int:
    """An integer of at least 1, else TypeError or ValueError that names the argument."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    return int(value)


def real(name: str, value, *, minimum: float = -math.inf, strict: bool = False) -> float:
    """A finite real number of at least (strict: above) ``minimum``, else an error that names it."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a real number, got {value!r}")
    value = float(value)
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")
    if value < minimum or (strict and value == minimum):
        raise ValueError(f"{name} must be {'above' if strict else 'at least'} {minimum:g}, got {value:g}")
    return value


def choice(name: str, value, options: tuple[str, ...]) -> str:
    """One of the given words, else ValueError that lists them."""
    if value not in options:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, options))}, got {value!r}")
    return value
