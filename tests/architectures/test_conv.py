"""Convolutions: against loops over pixels, against dense layers, shifts of images, and scale."""

import numpy as np
import pytest
import torch

import ntklab as nl
from tests.architectures.loops import assert_loops, assert_same

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((2, 2, 3, 4))
SMALL = RNG.standard_normal((2, 2, 5, 3))
SEQUENCES = RNG.standard_normal((3, 5, 3))
RAGGED = [RNG.standard_normal((length, 3)) for length in (3, 1, 5, 3)]
HEADS = {"flatten": nl.Flatten(), "mean": nl.GlobalAvgPool(), "sum": nl.GlobalSumPool()}


def two(size, padding="same", stride=1, act=None, head="flatten"):
    """Two convolutions with different scales, the second of stride 1."""
    first = nl.Conv(size, 1.3, 0.3, padding=padding, stride=stride)
    second = nl.Conv(size if padding == "same" else 1, 1.1, 0.2, padding=padding)
    act = act or nl.ReLU()
    return nl.Sequential(first, act, second, act, HEADS[head], nl.Dense(1.2, 0.1))


# --- loops ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["flatten", "mean"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("padding", "size"),
    [("same", size) for size in (1, 3, 5, (3, 1), (1, 5), (9, 3))]
    + [("circular", size) for size in (1, 3, 5, (1, 3), (7, 1))]
    + [("valid", size) for size in (1, 2, 3, (2, 4), (3, 1), (1, 2))],
)
def test_images_by_loops(padding, size, stride, head):
    assert_loops(two(size, padding, stride, head=head), IMAGES)


@pytest.mark.parametrize("head", ["flatten", "mean"])
@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize(
    ("padding", "size"),
    [
        ("same", 3),
        ("same", (7,)),
        ("circular", 5),
        ("circular", (3,)),
        ("valid", 2),
        ("valid", 4),
        ("valid", 5),
    ],
)
def test_sequences_by_loops(padding, size, stride, head):
    assert_loops(two(size, padding, stride, nl.Erf(), head), SEQUENCES)


@pytest.mark.parametrize("head", ["mean", "sum"])
@pytest.mark.parametrize("padding", ["same", "circular", "valid"])
def test_two_sets_of_different_sizes_meet_in_a_pool(padding, head):
    assert_loops(two(3, padding, 2, head=head), IMAGES, SMALL)
    assert_loops(two(3, padding, head=head), SEQUENCES, RNG.standard_normal((2, 3, 3)))


@pytest.mark.parametrize("size", [1, 3, 5, (9,)])
@pytest.mark.parametrize("head", ["mean", "sum"])
def test_ragged_sequences_by_loops(size, head):
    assert_loops(two(size, head=head), RAGGED)
    assert_loops(two(size, head=head), RAGGED, [RNG.standard_normal((n, 3)) for n in (2, 7)])
    normed = nl.Sequential(nl.Conv(size, 1.2, 0.3), nl.ReLU(), nl.LayerNorm(), nl.Conv(3, 0.9), HEADS[head])
    assert_loops(normed, RAGGED)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("trainable", [(False, True), (True, False), (False, False)])
def test_frozen_convolutions_by_loops(trainable, head):
    first, second = (nl.Conv(3, 1.2, 0.2, trainable=on) for on in trainable)
    arch = nl.Sequential(first, nl.ReLU(), second, nl.ReLU(), HEADS[head], nl.Dense(trainable=trainable[0]))
    assert_loops(arch, IMAGES)


@pytest.mark.parametrize("head", ["flatten", "mean"])
def test_deep_stacks_by_loops(head):
    paddings = ("same", "circular", "same", "circular", "valid")
    layers = [part for padding in paddings for part in (nl.Conv(3, 2**0.5, 0.1, padding=padding), nl.ReLU())]
    assert_loops(nl.Sequential(*layers, HEADS[head], nl.Dense()), RNG.standard_normal((2, 1, 3, 3)))


@pytest.mark.parametrize("sigma", [(0.0, 0.0), (0.0, 0.7), (1.0, 0.0)])
@pytest.mark.parametrize("head", HEADS)
def test_scales_of_zero_by_loops(sigma, head):
    arch = nl.Sequential(nl.Conv(3, *sigma), nl.ReLU(), nl.Conv(3, 1.1, 0.2), HEADS[head])
    assert_loops(arch, IMAGES)
    assert_loops(nl.Sequential(nl.Conv(3, 1.1), nl.ReLU(), nl.Conv(3, *sigma), HEADS[head]), IMAGES)


# --- dense layers --------------------------------------------------------------------------------------------

ACTIVATIONS = [
    nl.ReLU(),
    nl.LeakyReLU(0.3),
    nl.Abs(),
    nl.Erf(),
    nl.GELU(),
    nl.Sin(),
    nl.Cos(),
    nl.Sign(),
    nl.Identity(),
    nl.Polynomial([0.1, 1, 0.2]),
    nl.Elementwise(torch.tanh),
]


@pytest.mark.parametrize("act", ACTIVATIONS, ids=repr)
def test_kernels_of_size_one_are_dense_layers_at_every_pixel(act):
    """Pools are means over all pairs of pixels, flattening over the matching ones; a whole-image kernel flattens."""
    pixels = IMAGES.transpose(0, 2, 3, 1).reshape(-1, 2)
    dense = nl.Sequential(nl.Dense(1.2, 0.3), act, nl.Dense(1.1, 0.2), act).kernel(pixels)
    pairs = [part.reshape(2, 12, 2, 12) for part in dense]
    pooled = [pair.mean((1, 3)) for pair in pairs]
    flat = [np.einsum("ipjp->ij", pair) / 12 for pair in pairs]
    body = [nl.Conv(1, 1.2, 0.3), act, nl.Conv(1, 1.1, 0.2), act]
    assert_same(nl.Sequential(*body, nl.GlobalAvgPool()).kernel(IMAGES), pooled, 1e-7)
    assert_same(nl.Sequential(*body, nl.Flatten()).kernel(IMAGES), flat, 1e-7)
    whole = nl.Sequential(*body, nl.Conv((3, 4), padding="valid", trainable=False), nl.Flatten())
    assert_same(whole.kernel(IMAGES), flat, 1e-7)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_an_image_of_one_pixel_is_a_vector(padding):
    x = RNG.standard_normal((4, 3))
    dense = nl.Sequential(nl.Dense(1.2, 0.3), nl.GELU(), nl.Dense(1.1)).kernel(x)
    for head in HEADS.values():
        conv = nl.Sequential(nl.Conv(1, 1.2, 0.3, padding), nl.GELU(), nl.Conv(1, 1.1, padding=padding), head)
        assert_same(conv.kernel(x[:, :, None, None]), dense, 1e-12)
        assert_same(conv.kernel(x[:, None]), dense, 1e-12)


def test_one_axis_of_an_image_is_a_sequence():
    x = SEQUENCES.transpose(0, 2, 1)
    for padding in ("same", "valid", "circular"):
        for head in ("flatten", "mean"):
            one = two(3, padding, 2, head=head).kernel(SEQUENCES)
            for image, size in ((x[:, :, None], (1, 3)), (x[..., None], (3, 1))):
                first, *rest = two(size, padding, 1, head=head).layers
                same = nl.Sequential(first, *rest).kernel(image)
                plain = two(3, padding, 1, head=head).kernel(SEQUENCES)
                assert_same(same, plain, 1e-12)
            assert not np.allclose(one.ntk, plain.ntk, rtol=1e-3)  # the stride counts


def test_transposed_images_have_the_same_kernels():
    x = IMAGES.swapaxes(2, 3)
    for padding in ("same", "valid", "circular"):
        for head in HEADS:
            a, b = two((3, 1), padding, 2, head=head), two((1, 3), padding, 2, head=head)
            assert_same(a.kernel(IMAGES), b.kernel(x), 1e-12)


def test_images_turned_over_have_the_same_kernels():
    for head in HEADS:
        for flip in (2, 3):
            for padding in ("same", "valid", "circular"):
                arch = two(3, padding, head=head)
                assert_same(arch.kernel(IMAGES), arch.kernel(np.flip(IMAGES, flip)), 1e-12)


# --- shifts (C34) --------------------------------------------------------------------------------------------


def shifted(x, *by):
    return np.roll(x, by, (2, 3))


@pytest.mark.parametrize("head", ["mean", "sum"])
def test_circular_pooled_kernels_do_not_see_shifts_of_either_image(head):
    """C34."""
    arch, other = two(3, "circular", head=head), RNG.standard_normal((3, 2, 3, 4))
    base = arch.kernel(IMAGES, other)
    for by, to in (((1, 2), (0, 3)), ((2, 0), (1, 1))):
        assert_same(arch.kernel(shifted(IMAGES, *by), shifted(other, *to)), base, 1e-12)
    assert_same(arch.kernel(IMAGES, shifted(IMAGES, 1, 1)), arch.kernel(IMAGES), 1e-7)


def test_circular_flattened_kernels_do_not_see_common_shifts_only():
    """C34."""
    arch, other = two(3, "circular"), RNG.standard_normal((3, 2, 3, 4))
    base = arch.kernel(IMAGES, other)
    assert_same(arch.kernel(shifted(IMAGES, 1, 3), shifted(other, 1, 3)), base, 1e-12)
    assert np.abs(arch.kernel(IMAGES, shifted(other, 0, 1)).ntk / base.ntk - 1).max() > 0.01


def test_zero_padding_and_differences_do_not_determine_the_kernel():
    """C34: never a function of the difference of the images."""
    padded = two(3, "same", head="mean")
    assert np.abs(padded.kernel(shifted(IMAGES, 1, 1)).ntk / padded.kernel(IMAGES).ntk - 1).max() > 0.01
    for head in HEADS:
        arch, step = two(3, "circular", head=head), RNG.standard_normal((1, 2, 3, 4))
        a, b = arch.kernel(IMAGES[:1], IMAGES[1:]), arch.kernel(IMAGES[:1] + step, IMAGES[1:] + step)
        assert abs(a.ntk / b.ntk - 1) > 0.01


# --- exactness -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("padding", ["same", "valid", "circular"])
def test_equal_and_parallel_images_are_exact(padding, head):
    x = RNG.standard_normal((2, 3, 6, 7))
    x = np.concatenate([x, x, 3 * x])
    layers = [
        part
        for _ in range(4)
        for part in (nl.Conv(3 if padding != "valid" else 2, 2**0.5, padding=padding), nl.ReLU())
    ]
    arch = nl.Sequential(*layers, HEADS[head], nl.Dense())
    own, full = arch.diagonal(x), arch.kernel(x)
    for line, part in zip(own, full, strict=True):
        assert np.abs(np.diag(part) / line - 1).max() < 1e-14
        assert np.abs(np.diag(part, 2)[:2] / line[:2] - 1).max() < (1e-14 if head == "flatten" else 1e-7)
        assert np.abs(np.diag(part, 4) / (3 * line[:2]) - 1).max() < (1e-14 if head == "flatten" else 1e-7)


@pytest.mark.parametrize("x", [IMAGES, SEQUENCES, RAGGED], ids=["images", "sequences", "ragged"])
@pytest.mark.parametrize("power", [-400, -333, 333, 400])
def test_powers_of_two_change_no_digit_without_bias(x, power):
    for head in ("flatten", "mean", "sum"):
        if x is RAGGED and head == "flatten":
            continue
        arch = nl.Sequential(nl.Conv(3, 1.3), nl.ReLU(), nl.Conv(3, 0.9), nl.Abs(), HEADS[head], nl.Dense())
        scaled = arch.kernel([part * 2.0**power for part in x])
        for a, b in zip(scaled, arch.kernel(list(x)), strict=True):
            assert np.array_equal(a, b * 4.0**power)


@pytest.mark.parametrize("power", [-900, 900])
def test_any_scale_drops_out_of_a_norm(power):
    for x in (IMAGES, SEQUENCES, RAGGED):
        arch = nl.Sequential(
            nl.Conv(3), nl.ReLU(), nl.Conv(3), nl.ReLU(), nl.GlobalAvgPool(), nl.LayerNorm(), nl.Dense()
        )
        scaled, plain = arch.kernel([part * 2.0**power for part in x]), arch.kernel(list(x))
        assert_same(scaled, plain, 1e-12)


def test_pixels_of_very_different_sizes():
    x = IMAGES.copy()
    x[0, :, 0, 0], x[1, :, 2, 2] = 0, 1e-160
    x[0, :, 1, 1] *= 1e50
    for head in HEADS:
        assert_loops(two(3, "same", head=head), x, rel=1e-7)
        assert_loops(nl.Sequential(nl.Conv(1), nl.ReLU(), nl.Conv(3), HEADS[head]), x, rel=1e-7)


def test_zero_images():
    x = np.concatenate([IMAGES, np.zeros((1, 2, 3, 4))])
    for head in HEADS:
        for padding in ("same", "circular", "valid"):
            assert_loops(two(3, padding, head=head), x, rel=1e-7)
        bare = nl.Sequential(nl.Conv(3), nl.ReLU(), nl.Conv(3), nl.ReLU(), HEADS[head], nl.Dense())
        for part in bare.kernel(x):
            assert (part[2:] == 0).all() and (part[:, 2:] == 0).all() and (part[:2, :2] != 0).all()


def test_values_of_layers():
    conv = nl.Conv([3, 1], 1, 0, "valid", 2, False)
    assert conv == nl.Conv((3, 1), 1.0, 0.0, padding="valid", stride=2, trainable=False)
    assert (
        hash(conv) == hash(nl.Conv((3, 1), 1.0, 0.0, "valid", 2, False))
        and eval(repr(conv), vars(nl)) == conv
    )
    assert nl.Conv(3) != nl.Conv((3,)) and nl.Conv(3).weight_layers() == 1
