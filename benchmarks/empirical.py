"""Empirical kernels: structured contraction, Jacobian, and the methods of the torch.func tutorial.

Each row runs in a process of its own, so that its peak memory is its own.  Times are the best of
several runs after a first one; ratios are within one run of this benchmark.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time

import torch
from torch import nn
from torch.func import functional_call, jacrev, jvp, vjp, vmap

from ntklab.empirical import empirical_ntk

SMALL = (784, 1024, 1024, 1)
WIDE = (784, 16384, 16384, 1)
CASES = [
    (SMALL, 100, "structured"),
    (SMALL, 100, "jacobian"),
    (SMALL, 100, "torch.func, Jacobians"),
    (SMALL, 100, "torch.func, vector products"),
    (SMALL, 100, "one backward pass a pair"),
    (WIDE, 200, "structured"),
]


def run() -> tuple[str, list[str], list[list[str]]]:
    """Title, header and rows; ``ratio`` is the time over that of the first row."""
    rows, first = [], None
    for i, (sizes, n, method) in enumerate(CASES):
        command = [sys.executable, "-m", "benchmarks.empirical", str(i)]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        seconds, weights, peak, checksum = (float(word) for word in output.split()[-4:])
        first = first or seconds
        ratio = f"{seconds / first:.0f}" if sizes == SMALL else ""
        name = "-".join(map(str, sizes))
        cells = f"{1000 * seconds:.1f}", ratio, f"{weights:.0f}", f"{peak:.0f}", f"{checksum:.4g}"
        rows.append([name, str(n), method, *cells])
    header = [
        "network",
        "n",
        "method",
        "time (ms)",
        "ratio",
        "weights (MiB)",
        "peak, all (MiB)",
        "mean entry",
    ]
    return f"Empirical kernel, float32, {torch.get_num_threads()} threads", header, rows


def measure(case: int) -> None:
    """Print seconds, MiB of weights, peak MiB of the whole process, and the kernel's mean entry."""
    sizes, n, method = CASES[case]
    torch.manual_seed(0)
    pairs = zip(sizes[:-1], sizes[1:], strict=True)
    layers = [layer for pair in pairs for layer in (nn.Linear(*pair), nn.ReLU())]
    model, x = nn.Sequential(*layers[:-1]), torch.randn(n, sizes[0])
    kernel = METHODS[method]
    result, times = kernel(model, x), []
    slow = sizes == WIDE or method == "one backward pass a pair"
    while len(times) < (1 if slow else 5) or (sum(times) < 3 and not slow):
        start = time.perf_counter()
        kernel(model, x)
        times.append(time.perf_counter() - start)
    weights = sum(p.numel() * p.itemsize for p in model.parameters()) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(min(times), weights, peak, result.mean().item())


def tutorial_jacobians(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Jacobian contraction as in the torch.func tutorial on neural tangent kernels."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def f(parameters, sample):
        return functional_call(model, parameters, (sample.unsqueeze(0),)).squeeze(0)

    rows = [j.flatten(2) for j in vmap(jacrev(f), (None, 0))(parameters, x).values()]
    return sum(torch.einsum("Naf,Mbf->NMab", row, row) for row in rows)[:, :, 0, 0]


def tutorial_products(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """NTK-vector products, J(x) (J(x')^T e), as in the same tutorial."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def f(parameters, sample):
        return functional_call(model, parameters, (sample.unsqueeze(0),)).squeeze(0)

    def entry(sample1, sample2):
        _, pull = vjp(lambda p: f(p, sample2), parameters)
        (direction,) = pull(torch.ones(1))
        return jvp(lambda p: f(p, sample1), (parameters,), (direction,))[1][0]

    column = vmap(entry, (0, None))
    return torch.stack([column(x, sample) for sample in x], 1)


def one_by_one(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Two backward passes for each pair of samples, the definition word for word."""
    parameters = list(model.parameters())

    def gradient(sample):
        return torch.autograd.grad(model(sample.unsqueeze(0))[0, 0], parameters)

    kernel = torch.empty(len(x), len(x))
    for i in range(len(x)):
        for j in range(i + 1):
            pairs = zip(gradient(x[i]), gradient(x[j]), strict=True)
            kernel[i, j] = kernel[j, i] = sum((a * b).sum() for a, b in pairs)
    return kernel


METHODS = {
    "structured": lambda model, x: empirical_ntk(model, x, method="structured"),
    "jacobian": lambda model, x: empirical_ntk(model, x, method="jacobian", batch_size=len(x)),
    "torch.func, Jacobians": tutorial_jacobians,
    "torch.func, vector products": tutorial_products,
    "one backward pass a pair": one_by_one,
}

if __name__ == "__main__":
    measure(int(sys.argv[1]))
