"""The curvature that decides which learning rates are stable."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn


@torch.enable_grad()
def sharpest(net: nn.Module, x: Tensor, groups: list[dict]) -> float:
    """Largest eigenvalue of J R J' / b on inputs (b, ...), by Lanczos iteration to 1 %.

    J is the Jacobian of all outputs over the parameters in ``groups``, R the diagonal of their rates ("lr").
    Descent on 1/(2b) |f - y|^2 with these rates times eta is stable for eta below 2 over this number.
    """
    rates = [group["lr"] for group in groups for _ in group["params"]]
    parameters = [p for group in groups for p in group["params"]]
    at = net(x).flatten()
    if not at.requires_grad:
        return 0.0
    # J'u is linear in u: its derivative along u is J, so two backward passes give J R J' v
    u = torch.zeros_like(at, requires_grad=True)
    pulled = torch.autograd.grad(at @ u, parameters, create_graph=True, materialize_grads=True)
    used = [i for i, row in enumerate(pulled) if row.requires_grad]

    def apply(v: np.ndarray) -> np.ndarray:
        direction = torch.as_tensor(v.ravel()).to(at)
        gradient = torch.autograd.grad(at @ direction, parameters, retain_graph=True, materialize_grads=True)
        moved = sum((rates[i] * gradient[i] * pulled[i]).sum() for i in used)
        (product,) = torch.autograd.grad(moved, u, retain_graph=True)
        return product.cpu().to(torch.float64).numpy()

    if at.numel() == 1:
        return float(apply(np.ones(1))[0])
    operator = LinearOperator((at.numel(),) * 2, matvec=apply, dtype=np.float64)
    start = apply(np.random.default_rng(0).normal(size=at.numel()))
    if not start.any():
        return 0.0
    (largest,) = eigsh(operator, k=1, which="LA", tol=1e-2, v0=start, return_eigenvectors=False)
    return float(largest) / len(x)
