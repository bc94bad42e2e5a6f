"""Memory of kernels with positions: a few tiles beside the results, whatever the number of samples."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, torch, ntklab as nl
readout, n = {"flatten": nl.Flatten(), "pool": nl.GlobalAvgPool()}[sys.argv[1]], int(sys.argv[2])
arch = nl.Sequential(*[nl.Conv(3, 2**0.5), nl.ReLU()] * 2, readout, nl.Dense())
arch.kernel(torch.randn(n, 3, 16, 16, generator=torch.Generator().manual_seed(0)))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def peak(readout: str, n: int) -> float:
    """Largest memory of a process of its own, in MiB."""
    command = [sys.executable, "-c", PROGRAM, readout, str(n)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


# One array over all pairs of the larger set would hold 64 MiB (flatten) or 100 MiB (pool), and a layer makes about ten.
@pytest.mark.parametrize(("readout", "few", "many"), [("flatten", 32, 256), ("pool", 4, 20)])
def test_memory_does_not_grow_with_the_pairs_of_images(readout, few, many, record_property):
    before, after = peak(readout, few), peak(readout, many)
    record_property(f"measured peak of a convolutional kernel, {readout} [MiB]", round(after))
    assert after < before + 50 and after < 1024
