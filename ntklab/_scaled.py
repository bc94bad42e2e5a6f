"""Products with factors that grow like exp(t): infinities with the right sign instead of NaN."""

from __future__ import annotations

import torch
from torch import Tensor

HUGE = 1e300  # stands for t = inf where only the order of growth rates matters
LARGE = 600.0  # above this power of e, 1 - exp(power) is -exp(power), and exp(power) may leave float64


def split_large(p: Tensor, power: Tensor, flip: Tensor) -> tuple[Tensor, Tensor]:
    """(p, 0) where p is moderate, and (+-1, power) where p = 1 -+ exp(power) may leave float64."""
    large = power > LARGE
    sign = torch.where(flip, 1.0, -1.0).to(p)
    return torch.where(large, sign, p), torch.where(large, power, 0.0)


def scaled_product(rows: Tensor, a: Tensor, b: Tensor, columns: Tensor) -> Tensor:
    """rows diag(a exp(b)) columns for every time: (R, N), (T, N), (T, N), (N, C) give (T, R, C).

    Where the plain product leaves float64 it is formed again by logarithms, so that the term that grows
    fastest decides the sign of the infinity and a zero coefficient stays zero.
    """
    weights = (a * b.exp()).T[:, :, None] * columns[:, None, :]  # (N, T, C)
    out = (rows @ weights.flatten(1)).reshape(len(rows), len(a), -1).permute(1, 0, 2)
    overflown = (~out.isfinite()).any(1).nonzero().tolist()
    if overflown:
        log_rows, log_a, log_columns = rows.abs().log(), a.abs().log() + b, columns.abs().log()
    for t, c in overflown:
        sign = rows.sign() * a[t].sign() * columns[:, c].sign()
        out[t, :, c] = _signed_exp_sum(sign, log_rows + log_a[t] + log_columns[:, c])
    return out


def _signed_exp_sum(sign: Tensor, power: Tensor) -> Tensor:
    """sum_j sign_ij exp(power_ij) for each row i of (R, N)."""
    top = power.amax(1, keepdim=True)
    top = torch.where(top.isinf(), 0.0, top)  # a row of zeros
    total = (sign * (power - top).exp()).sum(1)
    return total.sign() * (top[:, 0] + total.abs().log()).exp()
