"""Kernels at infinite width: closed forms, exactness, extremes, invariances, gradients."""

import math
import pickle

import mpmath
import numpy as np
import pytest
import torch

import ntklab as nl
import ntklab.kernel
from tests.oracles import relu_kernels

TWO_LAYER = nl.Sequential(nl.Dense(), nl.ReLU(), nl.Dense())


def relu_net(hidden, sigma_w=2**0.5, sigma_b=0.0):
    return nl.Sequential(*[nl.Dense(sigma_w, sigma_b), nl.ReLU()] * hidden, nl.Dense(sigma_w, sigma_b))


def normals(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize(
    "angle", [1e-9, 1e-7, 3e-6, 2e-5, 1e-3, 0.3, 1.0, math.pi / 2, 2.5, 3.1, math.pi - 1e-4]
)
def test_two_layer_relu_closed_form_at_every_angle(angle):
    """|x||x'|/(2 pi d) (sin t + (pi - t) cos t) and (sin t + 2 (pi - t) cos t), at 50 digits."""
    x1, x2 = np.array([[3.0, 0.0]]), 0.7 * np.array([[math.cos(angle), math.sin(angle)]])
    with mpmath.workdps(50):
        p, q = [mpmath.mpf(v) for v in x1[0]], [mpmath.mpf(v) for v in x2[0]]
        t = mpmath.atan2(p[0] * q[1] - p[1] * q[0], p[0] * q[0] + p[1] * q[1])
        norms = mpmath.sqrt(p[0] ** 2 + p[1] ** 2) * mpmath.sqrt(q[0] ** 2 + q[1] ** 2)
        scale = norms / (2 * mpmath.pi * 2)
        nngp = float(scale * (mpmath.sin(t) + (mpmath.pi - t) * mpmath.cos(t)))
        ntk = float(scale * (mpmath.sin(t) + 2 * (mpmath.pi - t) * mpmath.cos(t)))
    result = TWO_LAYER.kernel(x1, x2)
    relative = 1e-10 if angle > 1e-5 else 1e-7
    # Within 0.01 of pi both kernels vanish, and a correlation in float64 has no digits left for them:
    # there the error is measured against the kernel's size at parallel inputs.
    floor = float(norms) / 4 if angle > math.pi - 0.01 else 0.0
    assert abs(result.nngp[0, 0] - nngp) < relative * max(abs(nngp), floor)
    assert abs(result.ntk[0, 0] - ntk) < relative * max(abs(ntk), floor)


@pytest.mark.parametrize("hidden", [1, 2, 5])
@pytest.mark.parametrize("sigma_b", [0.0, 0.4])
def test_deep_relu_recursion_in_high_precision(hidden, sigma_b):
    x = normals(6, 4)
    result = relu_net(hidden, 1.3, sigma_b).kernel(x)
    for i in range(6):
        for j in range(6):
            nngp, ntk = relu_kernels(x[i], x[j], hidden, 1.3, sigma_b)
            assert result.nngp[i, j] == pytest.approx(nngp, rel=1e-12)
            assert result.ntk[i, j] == pytest.approx(ntk, rel=1e-12)


def test_float32_is_accurate_to_1e_4_for_angles_above_a_twentieth():
    angles = np.linspace(0.05, 3.0, 60)
    x2 = np.stack([np.cos(angles), np.sin(angles)], 1)
    arch = relu_net(3)
    x1 = np.array([[1.0, 0.0]])
    exact, single = arch.kernel(x1, x2), arch.kernel(np.float32(x1), np.float32(x2))
    assert single.ntk.dtype == np.float32
    assert np.abs(single.ntk / exact.ntk - 1).max() < 1e-4
    assert np.abs(single.nngp / exact.nngp - 1).max() < 1e-4


def test_hidden_weights_only_readout_only_and_both_add_up():
    """C06, C07: freezing splits the NTK into E phi' phi' x.x'/d and E phi phi."""
    x = normals(5, 3)
    hidden = nl.Sequential(nl.Dense(), nl.ReLU(), nl.Dense(trainable=False)).kernel(x)
    readout = nl.Sequential(nl.Dense(trainable=False), nl.ReLU(), nl.Dense()).kernel(x)
    both = TWO_LAYER.kernel(x)
    cosine = np.clip(x @ x.T / np.outer(*[np.linalg.norm(x, axis=1)] * 2), -1, 1)
    assert hidden.ntk == pytest.approx(x @ x.T / 3 * (math.pi - np.arccos(cosine)) / (2 * math.pi), abs=1e-7)
    assert readout.ntk == pytest.approx(readout.nngp, rel=1e-15)
    assert both.ntk == pytest.approx(hidden.ntk + readout.ntk, rel=1e-14)


# ---- exactness -------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma_b", [0.0, 0.3])
def test_equal_rows_have_exactly_the_diagonal_value(sigma_b):
    x = normals(4, 784)
    x = np.concatenate([x, x])
    for arch in (relu_net(4, sigma_b=sigma_b), nl.Sequential(nl.Dense(1.2, sigma_b), nl.Abs(), nl.Dense())):
        result, diagonal = arch.kernel(x), arch.diagonal(x)
        for part, line in zip(result, diagonal, strict=True):
            assert np.abs(np.diag(part) / line - 1).max() < 4e-16
            assert np.abs(np.diag(part, 4) / line[:4] - 1).max() < 4e-16


def test_parallel_and_antiparallel_rows_are_exact_without_bias():
    x = normals(3, 50)
    x = np.concatenate([x, 3 * x, -0.1 * x])
    nngp, ntk = TWO_LAYER.kernel(x)
    sizes = (x * x).sum(1)[:3] / 50
    assert np.abs(np.diag(ntk[:3, 3:6]) / (3 * sizes) - 1).max() < 1e-15
    assert np.abs(np.diag(nngp[:3, 3:6]) / (1.5 * sizes) - 1).max() < 1e-15
    assert np.all(np.diag(ntk[:3, 6:]) == 0) and np.all(np.diag(nngp[:3, 6:]) == 0)
    odd = nl.Sequential(nl.Dense(), nl.Abs(), nl.Dense()).kernel(x)
    assert np.abs(np.diag(odd.nngp[:3, 6:]) / (0.1 * sizes) - 1).max() < 1e-15


def test_parallel_rows_stay_exact_at_depth_10000():
    x = normals(2, 7)
    x = np.concatenate([x, 1.7 * x])
    nngp, ntk = relu_net(10_000).kernel(x)
    line = relu_net(10_000).diagonal(x)
    assert np.abs(np.diag(nngp, 2) / np.sqrt(line.nngp[:2] * line.nngp[2:]) - 1).max() < 1e-11
    assert np.abs(np.diag(ntk, 2) / np.sqrt(line.ntk[:2] * line.ntk[2:]) - 1).max() < 1e-11
    assert line.ntk == pytest.approx(line.nngp * 10_001, rel=1e-10)


def test_deep_critical_relu_ntk_tends_to_a_quarter_off_the_diagonal():
    """C33."""
    x = np.eye(2)
    ratios = [(k := relu_net(depth).kernel(x).ntk)[0, 1] / k[0, 0] for depth in (10, 100, 1000, 10_000)]
    assert ratios == sorted(ratios, reverse=True) and ratios[-1] == pytest.approx(0.25, abs=1e-3)


def test_result_is_exactly_symmetric_and_tiles_do_not_show(monkeypatch):
    x = normals(57, 9)
    arch = relu_net(2, 1.3, 0.2)
    whole = arch.kernel(x)
    monkeypatch.setattr(ntklab.kernel, "TILE_BYTES", 8 * 10 * 10)
    tiled = arch.kernel(x)
    for a, b in zip(whole, tiled, strict=True):
        assert np.array_equal(b, b.T)
        assert np.abs(a - b).max() < 1e-14
    pair = arch.kernel(x, x.copy())
    assert np.abs(pair.ntk - whole.ntk).max() < 1e-12


def test_duplicates_in_one_dimension():
    """d = 1: every pair is parallel or antiparallel; the bias-free kernel has rank 2 (C09)."""
    x = np.linspace(-3, 3, 40)[:, None]
    nngp, ntk = TWO_LAYER.kernel(x)
    same = (x * x.T) * ((x * x.T) > 0)
    assert np.abs(ntk - same).max() < 1e-14 and np.abs(nngp - same / 2).max() < 1e-14
    assert np.linalg.matrix_rank(ntk) == 2


# ---- extremes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-150, 1e-20, 1e20, 1e150])
def test_homogeneous_nets_scale_with_the_inputs_norm(scale):
    x = normals(4, 6)
    unit, scaled = relu_net(3).kernel(x), relu_net(3).kernel(x, scale * x)
    for a, b in zip(unit, scaled, strict=True):
        assert np.abs(b / scale / a - 1).max() < 1e-7
    both = relu_net(3).kernel(scale * x)
    assert np.abs(both.ntk / scale / scale / unit.ntk - 1).max() < 1e-12


@pytest.mark.parametrize("scale", [1e-150, 1e150])
@pytest.mark.parametrize(
    "layer", [nl.Erf(), nl.GELU(), nl.Sin(), nl.Cos(), nl.Sign(), nl.Elementwise(torch.tanh)], ids=repr
)
def test_huge_and_tiny_norms_are_right_or_refused(layer, scale):
    x = normals(3, 4) * scale
    try:
        result = nl.Sequential(nl.Dense(), layer, nl.Dense()).kernel(x)
    except ValueError as error:
        assert "overflow" in str(error) or "underflow" in str(error) or "not converge" in str(error)
        return
    for part in result:
        assert np.isfinite(part).all()
        assert np.all(np.diag(part) > 0) or isinstance(layer, nl.Sign)


def test_zero_rows():
    x = np.concatenate([normals(2, 3), np.zeros((2, 3))])
    nngp, ntk = relu_net(2).kernel(x)
    assert np.all(nngp[2:] == 0) and np.all(ntk[:, 2:] == 0)
    nngp, ntk = relu_net(2, 1.0, 0.5).kernel(x)
    assert (
        nngp[2, 3] == nngp[2, 2] == pytest.approx(float(relu_kernels([0, 0, 0], [0, 0, 0], 2, 1.0, 0.5)[0]))
    )
    cosine = nl.Sequential(nl.Dense(), nl.Cos(), nl.Dense()).kernel(x)
    assert cosine.nngp[2, 3] == 1 and cosine.nngp[0, 2] == pytest.approx(math.exp(-(x[0] @ x[0]) / 6))


def test_values_outside_of_the_dtype_are_refused():
    x = normals(2, 3)
    with pytest.raises(ValueError, match=r"layer \d+, .*underflows torch.float64"):
        relu_net(3000, sigma_w=1.0).kernel(x)
    with pytest.raises(ValueError, match="overflows torch.float64"):
        relu_net(3000, sigma_w=2.0).kernel(x)
    with pytest.raises(ValueError, match="overflows torch.float32"):
        relu_net(1).kernel(np.float32(1e25 * x))
    with pytest.raises(ValueError, match="underflows torch.float32"):
        relu_net(1).kernel(np.float32(1e-25 * x))
    with pytest.raises(ValueError, match="no variance"):
        nl.Sequential(nl.Dense(), nl.LayerNorm(), nl.ReLU(), nl.Dense()).kernel(np.zeros((1, 3)))


def test_one_sample_lists_and_integers():
    single = TWO_LAYER.kernel([[1, 2, 2]])
    assert single.nngp.shape == (1, 1) and single.ntk[0, 0] == pytest.approx(3, rel=1e-15)
    assert isinstance(single.nngp, np.ndarray) and single.nngp.dtype == np.float64


def test_dtypes_promote_and_torch_gives_torch():
    x1, x2 = torch.ones(2, 3, dtype=torch.float32), torch.ones(4, 3, dtype=torch.float64)
    result = TWO_LAYER.kernel(x1, x2)
    assert result.ntk.dtype == torch.float64 and result.ntk.shape == (2, 4)
    assert TWO_LAYER.kernel(x1).ntk.dtype == torch.float32
    assert isinstance(TWO_LAYER.kernel(x1, np.ones((1, 3))).ntk, torch.Tensor)


@pytest.mark.parametrize(
    ("x1", "x2", "message"),
    [
        (np.ones((2, 3)), np.ones((2, 4)), "equally many features, got 3 and 4"),
        (np.ones(3), None, r"x1 must have shape \(n, d\), .*, got \(3,\)"),
        (np.ones((2, 1, 4, 4)), None, r"images go into Dense through Flatten\(\)"),
        (np.ones((2, 1, 4, 4, 4)), None, r"x1 must have shape .* got \(2, 1, 4, 4, 4\)"),
        (np.ones((2, 3)), np.ones((2, 1, 3)), "one kind, got vectors and sequences"),
        (np.ones((0, 3)), None, "x1 is empty"),
        (np.ones((2, 3)), np.ones((2, 0)), "x2 is empty"),
        (np.array([[1.0, np.nan]]), None, r"x1 must be finite, got nan at x1\[0, 1\]"),
        (np.ones((1, 2)), np.array([[np.inf, 1.0]]), "x2 must be finite"),
        (np.ones((1, 2)) * 1j, None, "x1 must hold real numbers"),
        ([[1.0, 2.0], [3.0]], None, "x1 must be a rectangular array"),
        ("abc", None, "x1 must hold real numbers"),
        (torch.ones(2, 2, dtype=torch.float16), None, "x1 must be float32 or float64"),
        (torch.ones(1, 2), torch.ones(1, 2, device="meta"), "one device"),
    ],
)
def test_bad_inputs_are_named(x1, x2, message):
    with pytest.raises((ValueError, TypeError), match=message):
        TWO_LAYER.kernel(x1, x2)


# ---- invariances -----------------------------------------------------------------------------------


@pytest.mark.parametrize("act", [nl.ReLU(), nl.Erf(), nl.GELU(), nl.Cos()], ids=repr)
def test_kernels_are_invariant_under_rotations_and_follow_permutations(act):
    x = normals(8, 5)
    rotation, _ = np.linalg.qr(normals(5, 5, seed=1))
    order = np.random.default_rng(2).permutation(8)
    arch = nl.Sequential(nl.Dense(1.2, 0.3), act, nl.Dense(1.1, 0.2), act, nl.Dense())
    base = arch.kernel(x)
    for a, b, c in zip(base, arch.kernel(x @ rotation), arch.kernel(x[order]), strict=True):
        assert np.abs(a - b).max() < 1e-12
        assert np.abs(a[np.ix_(order, order)] - c).max() < 1e-14


# ---- gradients -------------------------------------------------------------------------------------

ACTIVATIONS = [
    nl.ReLU(),
    nl.LeakyReLU(0.2),
    nl.Abs(),
    nl.Sign(),
    nl.Erf(),
    nl.GELU(),
    nl.Sin(),
    nl.Cos(),
    nl.Elementwise(torch.tanh),
]


@pytest.mark.parametrize("act", ACTIVATIONS, ids=repr)
def test_gradients_agree_with_finite_differences(act):
    arch = nl.Sequential(nl.Dense(1.2, 0.3), act, nl.Residual(nl.Dense(1.1)), nl.LayerNorm(), nl.Dense())
    x1, x2 = (torch.tensor(normals(2, 3, seed=s), requires_grad=True) for s in (0, 1))
    assert torch.autograd.gradcheck(lambda a, b: tuple(arch.kernel(a, b)), (x1, x2), atol=1e-5)


@pytest.mark.parametrize("act", ACTIVATIONS, ids=repr)
def test_gradient_of_the_diagonal_is_that_of_x_paired_with_itself(act):
    arch = nl.Sequential(nl.Dense(1.2, 0.3), act, nl.Dense())
    x = torch.tensor(normals(3, 4), requires_grad=True)
    through_matrix = torch.autograd.grad(arch.kernel(x).ntk.diagonal().sum(), x)[0]
    through_diagonal = torch.autograd.grad(arch.diagonal(x).ntk.sum(), x)[0]
    assert torch.allclose(through_matrix, through_diagonal, atol=1e-10)


def test_gradients_are_finite_at_parallel_antiparallel_and_zero_rows():
    x = torch.tensor(normals(2, 3))
    x = torch.cat([x, 2 * x, -x, torch.zeros(1, 3, dtype=x.dtype)]).requires_grad_()
    for sigma_b in (0.0, 0.5):
        for act in (nl.ReLU(), nl.Abs(), nl.Erf(), nl.Cos()):
            result = nl.Sequential(
                nl.Dense(1.2, sigma_b), act, nl.Dense(1.0, sigma_b), nl.GELU(), nl.Dense()
            ).kernel(x)
            assert torch.isfinite(torch.autograd.grad(result.ntk.sum() + result.nngp.sum(), x)[0]).all()


# ---- value semantics -------------------------------------------------------------------------------


def test_layers_are_values():
    arch = nl.Sequential(
        nl.Dense(1.4, 0.1, trainable=False),
        nl.LayerNorm(),
        nl.Residual(nl.GELU(), nl.Dense(), shortcut=nl.Dense()),
        nl.Residual(nl.Erf(), nl.Dense()),
        nl.Polynomial([0, 1, 2]),
        nl.Dense(),
        nl.Elementwise(torch.tanh),
        nl.Dense(),
    )
    again = pickle.loads(pickle.dumps(arch))
    assert again == arch and hash(again) == hash(arch) and repr(again) == repr(arch)
    plain = nl.Sequential(nl.Dense(1.5), nl.Residual(nl.ReLU(), nl.Dense(), shortcut=(nl.Dense(),)))
    assert eval(repr(plain), vars(nl)) == plain
    assert nl.Dense() != nl.Dense(2.0) and nl.LeakyReLU(0.0) != nl.ReLU()
    with pytest.raises(AttributeError):
        arch.layers[0].sigma_w = 2
