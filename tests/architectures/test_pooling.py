"""Pools, flattening and norms: against loops, and what each of them is in terms of the others."""

import numpy as np
import pytest

import ntklab as nl
from tests.architectures.loops import assert_loops, assert_same

RNG = np.random.default_rng(1)
IMAGES = RNG.standard_normal((2, 3, 4, 5))
SMALL = RNG.standard_normal((2, 3, 6, 4))
SEQUENCES = RNG.standard_normal((3, 7, 3))
RAGGED = [RNG.standard_normal((length, 3)) for length in (3, 1, 5, 3)]
CONV, HEAD = nl.Conv(3, 1.2, 0.3), nl.Dense(1.1, 0.2)
RELU, FLATTEN, MEAN, SUM, NORM = (
    nl.ReLU(),
    nl.Flatten(),
    nl.GlobalAvgPool(),
    nl.GlobalSumPool(),
    nl.LayerNorm(),
)

ARCHITECTURES = {
    "pool of activations": (CONV, RELU, nl.AvgPool(2), CONV, RELU),
    "pool of Gaussians": (CONV, nl.AvgPool(2), RELU, CONV, nl.AvgPool(2), nl.Erf()),
    "a rest is dropped": (CONV, RELU, nl.AvgPool(3), CONV, nl.Sin()),
    "pools of raw pixels": (nl.AvgPool(2), CONV, RELU),
    "a pool of one": (CONV, RELU, nl.AvgPool(1), CONV, nl.AvgPool(1), RELU),
    "pool after pool": (CONV, RELU, nl.AvgPool(2), nl.AvgPool(2), CONV, RELU),
    "pool and stride": (nl.Conv(3, 1.2, 0.3, stride=2), RELU, nl.AvgPool(2), nl.Conv(1), RELU),
    "pool without bias": (nl.Conv(3), RELU, nl.AvgPool(2), nl.Conv(3), RELU),
    "norms": (CONV, NORM, RELU, CONV, RELU, NORM),
    "norm of the input": (NORM, CONV, RELU),
    "norm of a pool": (CONV, RELU, nl.AvgPool(2), NORM, CONV, RELU),
    "pool of a norm": (CONV, RELU, NORM, nl.AvgPool(2), NORM),
    "residual": (CONV, nl.Residual(RELU, CONV, RELU, CONV), RELU),
    "residual, stride": (
        CONV,
        nl.Residual(RELU, nl.Conv(3, stride=2), shortcut=nl.Conv(1, 0.7, stride=2)),
        RELU,
    ),
    "residual, pool": (CONV, nl.Residual(RELU, CONV, nl.AvgPool(2), shortcut=nl.AvgPool(2)), RELU),
    "residual, means meet": (
        CONV,
        RELU,
        nl.Residual(CONV, RELU, nl.AvgPool(2), shortcut=nl.AvgPool(2)),
        NORM,
    ),
    "residual, means meet unpooled": (CONV, RELU, nl.Residual(CONV, RELU), nl.Residual(CONV, RELU)),
}


@pytest.mark.parametrize("head", ["flatten", "mean", "sum"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_loops(name, head):
    arch = nl.Sequential(*ARCHITECTURES[name], {"flatten": FLATTEN, "mean": MEAN, "sum": SUM}[head], HEAD)
    assert_loops(arch, IMAGES[:, :, :, :4] if name == "residual, stride" else IMAGES)
    if head == "mean":
        assert_loops(arch, IMAGES, SMALL)
    if head == "flatten":
        assert_loops(arch, SEQUENCES)


@pytest.mark.parametrize("pool", [MEAN, SUM], ids=repr)
@pytest.mark.parametrize(
    "layers",
    [(), (nl.Dense(1.2, 0.3), RELU), (CONV, RELU, NORM), (CONV, RELU, nl.Residual(CONV, RELU)), (CONV, NORM)],
    ids=str,
)
def test_ragged_sequences_by_loops(layers, pool):
    arch = nl.Sequential(*layers, pool, HEAD)
    assert_loops(arch, RAGGED)
    assert_loops(arch, RAGGED, [RNG.standard_normal((n, 3)) for n in (6, 2)])
    assert_loops(arch, [RNG.standard_normal((n, 3)) for n in (6, 2)], list(SEQUENCES[:, :3]))


@pytest.mark.parametrize("pool", [MEAN, SUM], ids=repr)
def test_activations_and_norms_after_a_global_pool(pool):
    for layers in (
        (CONV, RELU, CONV, pool, RELU),
        (CONV, RELU, pool, NORM),
        (pool, NORM),
        (CONV, pool, NORM, nl.Erf()),
    ):
        assert_loops(nl.Sequential(*layers, HEAD), IMAGES, SMALL, rel=1e-9)


def test_norms_after_flattening():
    for layers in ((CONV, RELU, FLATTEN, NORM), (FLATTEN, NORM), (CONV, FLATTEN, NORM, HEAD, RELU)):
        assert_loops(nl.Sequential(*layers, HEAD), IMAGES)
    units = nl.Sequential(FLATTEN, NORM, HEAD).kernel(IMAGES)
    assert_same(units, nl.Sequential(NORM, HEAD).kernel(IMAGES.reshape(2, -1)), 1e-12)


def test_flattened_inputs_are_vectors():
    for x in (IMAGES, SEQUENCES):
        flat = nl.Sequential(FLATTEN, nl.Dense(1.2, 0.1), RELU, HEAD).kernel(x)
        assert_same(flat, nl.Sequential(nl.Dense(1.2, 0.1), RELU, HEAD).kernel(x.reshape(len(x), -1)), 1e-12)


def test_a_sum_is_the_mean_times_the_number_of_positions():
    for x, size in ((IMAGES, 20), (SEQUENCES, 7)):
        for layers in ((CONV, RELU), (), (CONV, NORM)):
            mean, total = (nl.Sequential(*layers, pool).kernel(x) for pool in (MEAN, SUM))
            assert_same(total, [size**2 * part for part in mean], 1e-12)


def test_a_pool_as_large_as_the_image_is_global():
    x = IMAGES[:, :, :, :4]
    for layers in ((CONV, RELU), (), (CONV,)):
        block, whole = (
            nl.Sequential(*layers, *pool, HEAD).kernel(x) for pool in ((nl.AvgPool(4), FLATTEN), (MEAN,))
        )
        assert_same(block, whole, 1e-12)
        again = nl.Sequential(*layers, nl.AvgPool(2), MEAN, HEAD).kernel(x)
        assert_same(again, whole, 1e-12)


def test_what_a_pool_drops_does_not_count():
    x = IMAGES.copy()
    x[:, :, :, 4] = 1e6
    arch = nl.Sequential(nl.Conv(1), RELU, nl.AvgPool(2), nl.Conv(3), RELU, FLATTEN, HEAD)
    assert_same(arch.kernel(x), arch.kernel(IMAGES[..., :4]), 1e-12)


def test_norms_take_out_the_scale_of_every_pixel():
    scale = np.exp(RNG.standard_normal((2, 1, 4, 5)) * 20)
    arch = nl.Sequential(nl.LayerNorm(), CONV, RELU, MEAN)
    assert_same(arch.kernel(IMAGES * scale), arch.kernel(IMAGES), 1e-9)
    bare = nl.Sequential(nl.Conv(1), NORM, RELU, CONV, RELU, MEAN)
    assert_same(bare.kernel(IMAGES * scale), bare.kernel(IMAGES), 1e-9)


def test_opposite_pixels_cancel():
    x = np.stack([np.ones((1, 2, 2)), [[[1.0, -1.0], [-1.0, 1.0]]]])
    for pool in (MEAN, SUM):
        nngp, ntk = nl.Sequential(pool, nl.Dense(), RELU, nl.Dense()).kernel(x)
        assert nngp[0, 0] > 0 and (nngp[1] == 0).all() and (ntk[1] == 0).all()
    odd = nl.Sequential(nl.Conv(1), nl.Erf(), MEAN, nl.Dense()).kernel(x)
    assert np.abs(odd.nngp[1]).max() < 1e-16


def test_means_meet_at_flattened_sums_only_behind_the_sum():
    """Units of one position have a mean of their own: two flattened rows of them are no two exchangeable ones."""
    arm = (CONV, RELU)
    behind = nl.Sequential(nl.Residual(*arm, shortcut=arm), FLATTEN, HEAD)
    assert_loops(behind, IMAGES)
    for branch, shortcut in (
        ((*arm, FLATTEN), (*arm, FLATTEN)),
        ((nl.Sequential(*arm, FLATTEN, NORM),), (*arm, FLATTEN)),
    ):
        with pytest.raises(
            ValueError, match="branch and shortcut both end in Flatten.*put one Flatten.. behind Residual"
        ):
            nl.Sequential(nl.Residual(*branch, shortcut=shortcut), HEAD).kernel(IMAGES)
    inside = nl.Sequential(nl.Residual(*arm, FLATTEN, HEAD, RELU, shortcut=(*arm, FLATTEN, HEAD)), HEAD)
    assert_loops(inside, IMAGES)
