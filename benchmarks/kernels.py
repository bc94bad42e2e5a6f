"""Kernels at infinite width against the least work that any method must do, and against a peer.

The floor of a network with three hidden ReLU layers: half of the matrix product (the other half is
its mirror image), one arccosine and one square root a layer over half of the entries, and both Gram
matrices written once.  The peer is Neural Tangents (archived 2025), where `make peer` has set up its
own environment.  Every number is the best of several runs; ratios are within one run.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import numpy as np
import torch

import ntklab as nl

SIZES = [(2000, 784), (4000, 784)]
HIDDEN = 3
PEER = Path(__file__).parent.parent / ".venv-peer" / "bin" / "python"
BLOCK = 500


def run() -> tuple[str, list[str], list[list[str]]]:
    """Title, header and rows; ``ratio`` is the time over the floor's."""
    rows = []
    for n, d in SIZES:
        for dtype in (torch.float32, torch.float64):
            x = torch.as_tensor(np.random.default_rng(0).standard_normal((n, d)), dtype=dtype)
            arch = nl.Sequential(*[nl.Dense(2**0.5), nl.ReLU()] * HIDDEN, nl.Dense())
            floor, ours = best(lambda x=x: least_work(x), lambda x=x, arch=arch: arch.kernel(x))
            name = str(dtype).removeprefix("torch.")
            rows.append([str(n), name, "floor", f"{floor:.2f}", "1", ""])
            mean = f"{float(arch.kernel(x).ntk.mean()):.6g}"
            rows.append([str(n), name, "ntklab", f"{ours:.2f}", f"{ours / floor:.2f}", mean])
            if PEER.exists() and n == SIZES[0][0]:
                command = [PEER, Path(__file__).with_name("peer.py"), n, d, HIDDEN, name]
                seconds, mean = subprocess.run(
                    list(map(str, command)), capture_output=True, text=True, check=True
                ).stdout.split()[-2:]
                ratio = f"{float(seconds) / floor:.2f}"
                rows.append(
                    [str(n), name, "neural-tangents", f"{float(seconds):.2f}", ratio, f"{float(mean):.6g}"]
                )
    title = (
        f"Kernels at infinite width, {HIDDEN} hidden ReLU layers, d = 784, {torch.get_num_threads()} threads"
    )
    return title, ["n", "dtype", "method", "time (s)", "ratio", "mean NTK entry"], rows


def best(*works, repeats: int = 7) -> list[float]:
    """Shortest of several runs of each, in seconds; they take turns, so that a busy machine treats them alike."""
    times = [[] for _ in works]
    for _ in range(repeats + 1):
        for work, taken in zip(works, times, strict=True):
            start = time.perf_counter()
            work()
            taken.append(time.perf_counter() - start)
    return [min(taken[1:]) for taken in times]


def least_work(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The floor, block by block so that the elementwise passes stay in the cache."""
    n = len(x)
    nngp, ntk = torch.empty(n, n, dtype=x.dtype), torch.empty(n, n, dtype=x.dtype)
    halves = torch.full((BLOCK, BLOCK), 0.5, dtype=x.dtype)
    for r in range(0, n, BLOCK):
        rows = x[r : r + BLOCK]
        for c in range(r, n, BLOCK):
            product = rows @ x[c : c + BLOCK].T
            values = halves[: product.shape[0], : product.shape[1]]
            for _ in range(HIDDEN):
                first, second = torch.acos(values), torch.sqrt(values)
            for out, part in ((nngp, first), (ntk, second)):
                out[r : r + BLOCK, c : c + BLOCK] = part
                out[c : c + BLOCK, r : r + BLOCK] = part.T
    return nngp, ntk
