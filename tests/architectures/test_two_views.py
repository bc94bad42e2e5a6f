"""Finite networks with positions tend to their infinite kernels as width^(-1/2)."""

import numpy as np
import pytest

import ntklab as nl
from tests.architectures.samples import ARCHITECTURES, CONV, ERF, FLATTEN, HEAD, IMAGES, MEAN, RELU

WIDTHS = (16, 48, 144)
NETS = 24


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_finite_kernels_tend_to_the_infinite_ones_at_rate_one_half(name):
    arch, x = ARCHITECTURES[name]
    x = x[:3]
    exact = arch.kernel(x)
    errors = np.zeros((2, len(WIDTHS)))
    for w, width in enumerate(WIDTHS):
        samples = [
            nl.monte_carlo_kernel(arch, x, width=width, seeds=2, seed=2 * seed) for seed in range(NETS // 2)
        ]
        for k, (kernel, field) in enumerate(zip(exact, ("nngp", "ntk"), strict=True)):
            stack = np.stack([getattr(sample, field) for sample in samples])
            scale = np.sqrt(np.outer(np.diag(kernel), np.diag(kernel)))
            errors[k, w] = np.sqrt(np.mean(((stack - kernel) / scale) ** 2))
            mean, error = stack.mean(0), stack.std(0, ddof=1) / np.sqrt(len(stack))
            assert np.all(np.abs(mean - kernel) < 5 * error + 4 * scale / width), (field, width)
    for field, row in zip(("nngp", "ntk"), errors, strict=True):
        slope = np.polyfit(np.log(WIDTHS), np.log(row), 1)[0]
        # As in tests/test_two_views.py: 24 networks over a factor of 9 give the slope to 0.1 or so.
        assert -0.5 - 0.3 < slope < -0.5 + 0.3, (field, slope, row)


@pytest.mark.parametrize("end", [(FLATTEN,), (MEAN,), (nl.AvgPool(2), FLATTEN)], ids=str)
def test_networks_without_dense_layers(end):
    """The NNGP entry is then the mean product of the units, here of one channel: right on average at any width."""
    arch = nl.Sequential(CONV, ERF, nl.Conv(3, 1.1, 0.3), *end)
    exact, mean = arch.kernel(IMAGES[:3]), nl.monte_carlo_kernel(arch, IMAGES[:3], width=128, seeds=80)
    assert np.all(np.abs(mean.nngp - exact.nngp) < 4.5 * mean.nngp_error)
    assert np.all(np.abs(mean.ntk - exact.ntk) < 4.5 * mean.ntk_error + 0.02 * np.abs(exact.ntk))


@pytest.mark.parametrize("name", ["same, flatten", "one axis, flatten", "ragged", "graph"])
def test_two_sets_of_samples(name):
    arch, x = ARCHITECTURES[name]
    exact = arch.kernel(x[:1], x[1:])
    mean = nl.monte_carlo_kernel(arch, x[:1], x[1:], width=256, seeds=20)
    assert mean.ntk.shape == (1, 3)
    for got, error, want in zip(mean[::2], mean[1::2], exact, strict=True):
        assert np.all(np.abs(got - want) < 5 * error + 0.03 * np.abs(want).max())


def test_conv_readouts_and_one_hidden_layer_are_unbiased():
    """With one hidden layer both kernels are right on average at every width."""
    arch = nl.Sequential(nl.Conv(3, 1.2, 0.3), RELU, FLATTEN, HEAD)
    for width in (3,):
        mean = nl.monte_carlo_kernel(arch, IMAGES[:3], width=width, seeds=200)
        for got, error, want in zip(mean[::2], mean[1::2], arch.kernel(IMAGES[:3]), strict=True):
            assert np.all(np.abs(got - want) < 4.5 * error)
