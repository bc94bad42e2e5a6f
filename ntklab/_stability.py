"""The curvature that decides which learning rates are stable."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn
from torch.func import functional_call, jvp, vjp


def sharpest(net: nn.Module, x: Tensor, groups: list[dict]) -> float:
    """Largest eigenvalue of J R J' / b on inputs (b, ...), by Lanczos iteration to 1 %.

    J is the Jacobian of all outputs over the parameters in ``groups``, R the diagonal of their rates ("lr").
    Descent on 1/(2b) |f - y|^2 with these rates times eta is stable for eta below 2 over this number.
    """
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    parameters = {name: p.detach() for name, p in net.named_parameters() if id(p) in rates}
    rate = {name: rates[id(p)] for name, p in net.named_parameters() if id(p) in rates}

    def outputs(values: dict[str, Tensor]) -> Tensor:
        return functional_call(net, values, (x,)).flatten()

    at, pull_back = vjp(outputs, parameters)

    def apply(v: np.ndarray) -> np.ndarray:
        (gradient,) = pull_back(torch.as_tensor(v.ravel()).to(at))
        step = {name: rate[name] * g for name, g in gradient.items()}
        return jvp(outputs, (parameters,), (step,))[1].detach().cpu().to(torch.float64).numpy()

    if at.numel() == 1:
        return float(apply(np.ones(1))[0])
    operator = LinearOperator((at.numel(),) * 2, matvec=apply, dtype=np.float64)
    start = np.random.default_rng(0).normal(size=at.numel())
    (largest,) = eigsh(operator, k=1, which="LA", tol=1e-2, v0=start, return_eigenvectors=False)
    return float(largest) / len(x)
