"""The grader: seconds and memory for folders of submissions, against the least that a sandbox with torch costs.

The floor is the same number of submissions whose only cell imports torch.  Two jobs; every run is a process of
its own, so that its peak memory is the grader's own; learners' processes are not in it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.exercises.grading.samples import QUICK, SOLVED, code, filled_in, notebook

FEW, MANY = 30, 300


def floor(number: int) -> bytes:
    """Nothing but the import."""
    return notebook([code(f"import torch  # {number}")])


def solved(number: int) -> bytes:
    """The reference solution, which loads torch.func."""
    return filled_in(SOLVED, after=f"number = {number}")


def solved_by_loops(number: int) -> bytes:
    """A solution without torch.func."""
    return filled_in({}, after=f"{QUICK}\nnumber = {number}")


def run() -> tuple[str, list[str], list[list[str]]]:
    """Title, header and rows; "own CPU" is the grader's process alone, without the sandboxes."""
    rows, least = [], None
    for name, count, make in [
        ("import torch, nothing else", FEW, floor),
        ("solved with torch.func", FEW, solved),
        ("solved with loops", FEW, solved_by_loops),
        ("solved, half of each kind", MANY, lambda i: (solved, solved_by_loops)[i % 2](i)),
    ]:
        wall, own, peak = measure(count, make)
        each = wall / count
        least = least or each
        rows.append(
            [
                name,
                str(count),
                f"{wall:.0f}",
                f"{each:.2f}",
                f"{each / least:.2f}",
                f"{own:.1f}",
                f"{peak:.0f}",
            ]
        )
    header = [
        "submissions",
        "number",
        "wall (s)",
        "s each",
        "times the floor",
        "own CPU (s)",
        "own peak (MiB)",
    ]
    return "Grading of the NTK matrix problem, two jobs", header, rows


def measure(count: int, make: Callable[[int], bytes]) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds of the grader's own process, and its peak memory in MiB."""
    with TemporaryDirectory() as folder:
        submitted = Path(folder, "submitted")
        for i in range(count):
            path = submitted / f"student{i:03d}" / "ntk_matrix.ipynb"
            path.parent.mkdir(parents=True)
            path.write_bytes(make(i))
        command = [sys.executable, "-m", "benchmarks.grading", str(submitted), str(Path(folder, "out"))]
        start = time.perf_counter()
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        wall = time.perf_counter() - start
    own, peak = (float(word) for word in output.split()[-2:])
    return wall, own, peak


def main(submitted: str, out: str) -> None:
    """Grade, then print the CPU seconds and the peak memory of this process."""
    import resource

    from exercises.grading.__main__ import main as grade

    status = grade([submitted, "--out", out, "--jobs", "2"])
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, flush=True)
    os._exit(status)


if __name__ == "__main__":
    main(*sys.argv[1:])
