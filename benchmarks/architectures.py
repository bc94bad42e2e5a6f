"""Kernels of architectures with positions, against the least work that any method must do, and against a peer.

The floor: one arccosine and one square root for each pair of positions that is carried and each layer.
Convolutional networks have four 3 x 3 layers of ReLU in float32; with pooling every pixel meets every other, with
flattening only the one at its place.  The peer is Neural Tangents (archived 2025), where `make peer` has
set up its own environment; it has no recurrent networks.  Every number is the best of several runs.
"""

from __future__ import annotations

import resource
import subprocess
from pathlib import Path

import numpy as np
import torch

import ntklab as nl
from benchmarks.kernels import PEER, best

LAYERS = 4
SIZE = 32
STEPS = 50


def run() -> tuple[str, list[str], list[list[str]]]:
    """Title, header and rows; ``ratio`` is the time over the floor's."""
    body = [nl.Conv(3, 2**0.5), nl.ReLU()] * LAYERS
    recurrent = nl.Recurrent(nl.ReLU(), 2**0.5, 1.0)
    mean = nl.Recurrent(nl.ReLU(), 2**0.5, 1.0, readout="mean")
    cases = [
        ("CNTK, pooling", 8, (3, SIZE, SIZE), [*body, nl.GlobalAvgPool()], SIZE**4, LAYERS, "pool"),
        ("CNTK, flatten", 200, (3, SIZE, SIZE), [*body, nl.Flatten()], SIZE**2, LAYERS, "flatten"),
        ("RNTK, last step", 200, (STEPS, 3), [recurrent], STEPS, 1, None),
        ("RNTK, mean of steps", 200, (STEPS, 3), [mean], STEPS**2, 1, None),
    ]
    rows = []
    for name, n, shape, layers, positions, depth, peer in cases:
        x = torch.as_tensor(np.random.default_rng(0).standard_normal((n, *shape)), dtype=torch.float32)
        arch = nl.Sequential(*layers, nl.Dense())
        entries = n * (n + 1) // 2 * positions
        floor, ours = best(
            lambda e=entries, d=depth: least_work(e, d), lambda a=arch, x=x: a.kernel(x), repeats=3
        )
        mean_entry = f"{float(arch.kernel(x).ntk.mean()):.6g}"
        rows.append([name, str(n), "floor", f"{floor:.2f}", "1", ""])
        rows.append([name, str(n), "ntklab", f"{ours:.2f}", f"{ours / floor:.2f}", mean_entry])
        if peer and PEER.exists():
            command = [PEER, Path(__file__).with_name("peer_conv.py"), n, SIZE, LAYERS, peer]
            done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
            seconds, value = map(float, done.stdout.split()[-2:])
            rows.append(
                [name, str(n), "neural-tangents", f"{seconds:.2f}", f"{seconds / floor:.2f}", f"{value:.6g}"]
            )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    title = (
        f"Kernels of convolutional and recurrent networks, float32, {torch.get_num_threads()} threads, "
        f"{peak:.1f} GiB at most for all of them"
    )
    return title, ["network", "n", "method", "time (s)", "ratio", "mean NTK entry"], rows


def least_work(entries: int, depth: int, block: int = 2**20) -> float:
    """The floor, block by block so that it stays in the cache."""
    values, total = torch.full((min(block, entries),), 0.5), 0.0
    for _ in range(depth * -(-entries // block)):
        total += float(torch.acos(values)[0]) + float(torch.sqrt(values)[0])
    return total
