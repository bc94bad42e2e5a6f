"""Empirical kernels: structured contraction, Jacobian, and the methods of the torch.func tutorial.

Each row runs in a process of its own, so that its peak memory is its own.  Times are the best of
several runs after a first one; the pair loop runs on 10 samples, its time scaled to all pairs.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from itertools import pairwise

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
    (SMALL, 100, "two backward passes a pair"),
    (WIDE, 200, "structured"),
]
SECONDS = 5  # of repeated runs for each row


def run() -> tuple[str, list[str], list[list[str]]]:
    """Title, header and rows; "times" is the time over that of the structured method."""
    rows, first = [], None
    for i, (sizes, n, method) in enumerate(CASES):
        command = [sys.executable, "-m", "benchmarks.empirical", str(i)]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        seconds, weights, peak = (float(word) for word in output.split())
        first = first or seconds
        ratio = f"{seconds / first:.0f}" if sizes == SMALL else ""
        network = "-".join(map(str, sizes))
        rows.append(
            [network, str(n), method, f"{1000 * seconds:.1f}", ratio, f"{weights:.0f}", f"{peak:.0f}"]
        )
    header = ["network", "n", "method", "ms", "times", "weights (MiB)", "peak of the process (MiB)"]
    return f"Empirical kernel, float32, {torch.get_num_threads()} threads", header, rows


def measure(case: int) -> None:
    """Print seconds, MiB of weights and peak MiB of the whole process."""
    sizes, n, method = CASES[case]
    torch.manual_seed(0)
    layers = [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())]
    model, x, kernel, scale = nn.Sequential(*layers[:-1]), torch.randn(n, sizes[0]), METHODS[method], 1.0
    if kernel is one_by_one:
        scale = n * (n + 1) / (10 * 11)
        x = x[:10]
    kernel(model, x)
    times = []
    while sum(times) < SECONDS:
        start = time.perf_counter()
        kernel(model, x)
        times.append(time.perf_counter() - start)
    weights = sum(p.numel() * p.itemsize for p in model.parameters()) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(scale * min(times), weights, peak)


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
    "two backward passes a pair": one_by_one,
}

if __name__ == "__main__":
    measure(int(sys.argv[1]))
