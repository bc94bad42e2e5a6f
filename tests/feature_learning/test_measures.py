"""Measures of feature learning: invariances, closed forms, edge cases."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group
from torch import nn

import ntklab as nl
from ntklab import feature_learning as fl

DEEP = nl.Sequential(nl.Dense(1.5, 0.2), nl.Erf(), nl.Dense(1.5, 0.2), nl.Erf(), nl.Dense())
X = np.random.default_rng(0).standard_normal((9, 4))
Y = np.random.default_rng(1).standard_normal(9)
FEW = settings(max_examples=40)
seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(2, 8)
scales = st.floats(-30, 30).map(lambda e: 10.0**e)


def gram(rng, n, rank=5):
    h = rng.standard_normal((n, rank))
    return h @ h.T


@FEW
@given(seeds, sizes, scales, scales, st.booleans())
def test_alignment_is_a_cosine_free_of_scale_and_rotation(seed, n, s1, s2, centered):
    rng = np.random.default_rng(seed)
    k1, k2, q = gram(rng, n), gram(rng, n), ortho_group.rvs(n, random_state=rng)
    a = fl.alignment(k1, k2, centered=centered)
    assert -1e-12 <= a <= 1 + 1e-12
    assert math.isclose(a, fl.alignment(k2, k1, centered=centered), rel_tol=1e-9)
    assert math.isclose(a, fl.alignment(s1 * k1, s2 * k2, centered=centered), rel_tol=1e-9)
    assert math.isclose(fl.alignment(k1, s1 * k1, centered=centered), 1, rel_tol=1e-9)
    assert math.isclose(fl.alignment(k1, -k2), -fl.alignment(k1, k2), rel_tol=1e-9)
    assert math.isclose(fl.alignment(k1, k2), fl.alignment(q @ k1 @ q.T, q @ k2 @ q.T), rel_tol=1e-9)


@FEW
@given(seeds, sizes)
def test_centred_alignment_is_the_linear_cka_of_features(seed, n):
    """CKA from features: |H2' H1|_F^2 / (|H1' H1|_F |H2' H2|_F) of centred columns; no rotation of features,
    no shift of them and no reordering of samples changes it."""
    rng = np.random.default_rng(seed)
    h1, h2 = rng.standard_normal((n, 3)), rng.standard_normal((n, 6))
    c1, c2 = h1 - h1.mean(0), h2 - h2.mean(0)
    norms = np.linalg.norm(c1.T @ c1) * np.linalg.norm(c2.T @ c2)
    expected = np.linalg.norm(c2.T @ c1) ** 2 / norms
    cka = fl.alignment(h1 @ h1.T, h2 @ h2.T, centered=True)
    assert math.isclose(cka, expected, rel_tol=1e-9, abs_tol=1e-12)
    moved = h2 @ ortho_group.rvs(6, random_state=rng) + rng.standard_normal(6)
    order = rng.permutation(n)
    turned = fl.alignment((h1 @ h1.T)[order][:, order], (moved @ moved.T)[order][:, order], centered=True)
    assert math.isclose(turned, cka, rel_tol=1e-8, abs_tol=1e-12)


@FEW
@given(seeds, sizes, scales, st.booleans(), st.integers(1, 3))
def test_target_alignment_is_the_alignment_with_the_targets_gram_matrix(seed, n, scale, centered, k):
    rng = np.random.default_rng(seed)
    kernel, y = gram(rng, n), rng.standard_normal((n, k))
    direct = fl.alignment(kernel, y @ y.T, centered=centered)
    assert math.isclose(
        fl.target_alignment(kernel, y, centered=centered), direct, rel_tol=1e-8, abs_tol=1e-12
    )
    assert math.isclose(
        fl.target_alignment(kernel, scale * y, centered=centered), direct, rel_tol=1e-8, abs_tol=1e-12
    )
    assert math.isclose(fl.target_alignment(np.outer(y[:, 0], y[:, 0]), y[:, 0]), 1, rel_tol=1e-9)


def test_target_alignment_of_the_best_and_of_an_orthogonal_direction():
    """y along mode i gives lambda_i / |k|_F."""
    kernel = gram(np.random.default_rng(2), 6, 9)
    values, vectors = np.linalg.eigh(kernel)
    for value, vector in zip(values, vectors.T, strict=True):
        assert math.isclose(
            fl.target_alignment(kernel, vector), value / np.linalg.norm(values), rel_tol=1e-10
        )


@FEW
@given(seeds, sizes, scales, st.floats(-3, 3))
def test_kernel_drift_is_relative_and_keeps_under_rotation(seed, n, scale, change):
    rng = np.random.default_rng(seed)
    k0, kt, q = gram(rng, n), gram(rng, n), ortho_group.rvs(n, random_state=rng)
    drift = fl.kernel_drift(k0, kt)
    assert math.isclose(drift, np.linalg.norm(kt - k0) / np.linalg.norm(k0), rel_tol=1e-12)
    assert math.isclose(drift, fl.kernel_drift(scale * k0, scale * kt), rel_tol=1e-9)
    assert math.isclose(drift, fl.kernel_drift(q @ k0 @ q.T, q @ kt @ q.T), rel_tol=1e-9)
    assert math.isclose(fl.kernel_drift(k0, (1 + change) * k0), abs(change), rel_tol=1e-9, abs_tol=1e-14)


def test_kernel_drift_takes_any_shape_and_agrees_with_the_history_of_train():
    net = DEEP.finite(16, (4,), outputs=2, seed=0, dtype=torch.float64)
    start = copy.deepcopy(net)
    history = nl.train(net, X, np.stack([Y, -Y], 1), steps=30, learning_rate=0.3, record=[0, 30])
    k0, kt = nl.empirical_ntk(start, X), nl.empirical_ntk(net, X)
    assert math.isclose(fl.kernel_drift(k0, kt), history.kernel_drift[-1], rel_tol=1e-10)
    full0, fullt = (nl.empirical_ntk(f, X, X[:3], outputs="full") for f in (start, net))
    assert math.isclose(
        fl.kernel_drift(full0, fullt), np.linalg.norm(fullt - full0) / np.linalg.norm(full0), rel_tol=1e-12
    )


def test_torch_in_gives_differentiable_tensors_and_numpy_in_gives_floats():
    rng = np.random.default_rng(3)
    k, y = gram(rng, 4), rng.standard_normal(4)
    for centered in (False, True):
        assert type(fl.target_alignment(k, y, centered=centered)) is float
        tensor = torch.tensor(k, requires_grad=True)
        assert torch.autograd.gradcheck(
            lambda t, c=centered: fl.target_alignment(t, torch.tensor(y), centered=c), tensor
        )
        other = torch.tensor(gram(rng, 4), requires_grad=True)
        assert torch.autograd.gradcheck(
            lambda s, t, c=centered: fl.alignment(s, t, centered=c), (tensor, other)
        )
        assert torch.autograd.gradcheck(fl.kernel_drift, (tensor, other))
    assert type(fl.kernel_drift(k.astype(np.float32), 2 * k)) is float
    assert fl.alignment(torch.tensor(k).float(), torch.tensor(k).float()).dtype == torch.float32


def test_hidden_features_are_the_post_activations_written_out():
    net = DEEP.finite([5, 7], (4,), seed=0, dtype=torch.float64)
    w = [p.detach().numpy() for p in net.parameters()]
    erf = np.vectorize(math.erf)
    h1 = erf(1.5 / 2 * X @ w[0].T + 0.2 * w[1])
    h2 = erf(1.5 / math.sqrt(5) * h1 @ w[2].T + 0.2 * w[3])
    features = fl.hidden_features(net, X)
    assert [type(h) for h in features] == [np.ndarray] * 2
    np.testing.assert_allclose(features[0], h1, rtol=1e-12)
    np.testing.assert_allclose(features[1], h2, rtol=1e-12)
    assert isinstance(fl.hidden_features(net, torch.tensor(X))[0], torch.Tensor)


def test_hidden_features_of_torch_modules_convolutions_and_residual_sums():
    image = np.random.default_rng(4).standard_normal((3, 2, 5, 5))
    conv = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 6), nn.Tanh(), nn.Linear(6, 1)
    )
    assert [h.shape for h in fl.hidden_features(conv, image)] == [(3, 36), (3, 6)]
    residual = nl.Sequential(nl.Dense(), nl.Residual(nl.ReLU(), nl.Dense(), shortcut=nl.Dense()), nl.Dense())
    assert [h.shape for h in fl.hidden_features(residual.finite(6, (4,), seed=0), X)] == [(9, 6)] * 3


def test_feature_movement_is_the_drift_of_hidden_gram_matrices():
    net0, net1 = (DEEP.finite(12, (4,), seed=seed, dtype=torch.float64) for seed in (0, 1))
    pairs = list(zip(fl.hidden_features(net0, X), fl.hidden_features(net1, X), strict=True))
    expected = [np.linalg.norm(b @ b.T - a @ a.T) / np.linalg.norm(a @ a.T) for a, b in pairs]
    np.testing.assert_allclose(fl.feature_movement(net0, net1, X), expected, rtol=1e-12)
    units = [np.linalg.norm(b - a) / np.linalg.norm(a) for a, b in pairs]
    np.testing.assert_allclose(fl.feature_movement(net0, net1, X, of="units"), units, rtol=1e-12)
    assert not fl.feature_movement(net0, net0, X).any()


def test_gram_movement_does_not_see_a_permutation_of_units():
    net0 = DEEP.finite(12, (4,), seed=0, dtype=torch.float64)
    net1, order = copy.deepcopy(net0), torch.randperm(12, generator=torch.Generator().manual_seed(0))
    first, second = net1.body[0], net1.body[2]
    with torch.no_grad():
        first.weight.copy_(first.weight[order])
        first.bias.copy_(first.bias[order])
        second.weight.copy_(second.weight[:, order])
    np.testing.assert_allclose(net1(torch.tensor(X)).detach(), net0(torch.tensor(X)).detach(), rtol=1e-12)
    assert fl.feature_movement(net0, net1, X).max() < 1e-14
    assert fl.feature_movement(net0, net1, X, of="units")[0] > 0.5


def test_linearization_distance_is_the_remainder_over_the_linear_change():
    """A step of size h leaves O(h): quadratic remainder over linear change; exactly 0 before training."""
    net = DEEP.finite(16, (4,), seed=0, dtype=torch.float64)
    linear, x = nl.linearize(net), torch.tensor(X)
    assert fl.linearization_distance(net, linear, X) == 0
    start = net(x).detach()
    step = [
        torch.randn(p.shape, generator=torch.Generator().manual_seed(i)).to(p)
        for i, p in enumerate(net.parameters())
    ]
    distances = []
    for size in (1e-2, 1e-3, 1e-4):
        moved, beside = copy.deepcopy(net), copy.deepcopy(linear)
        with torch.no_grad():
            for p, q, s in zip(moved.parameters(), beside.parameters(), step, strict=True):
                p.add_(size * s)
                q.add_(size * s)
        distances.append(fl.linearization_distance(moved, beside, X))
        expected = (moved(x) - beside(x)).norm() / (beside(x) - start).norm()
        assert math.isclose(distances[-1], float(expected.detach()), rel_tol=1e-6)
    np.testing.assert_allclose(np.divide(distances[:-1], distances[1:]), 10, rtol=0.05)
    assert fl.linearization_distance(moved, linear, X) == math.inf


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda k: fl.kernel_drift(0 * k, k), "k0 must not be zero"),
        (lambda k: fl.kernel_drift(k, k[:2]), r"k0 and kt must have one shape, got \(3, 3\) and \(2, 3\)"),
        (lambda k: fl.kernel_drift(k, k * np.nan), "kt must be finite"),
        (lambda k: fl.alignment(k, 0 * k), "k2 must not be zero"),
        (lambda k: fl.alignment(k, k[0]), "one shape"),
        (lambda k: fl.alignment(k[:2], k[:2]), r"k1 must be a kernel of shape \(n, n\)"),
        (lambda k: fl.alignment(k[:1, :1], k[:1, :1], centered=True), "k1 is constant"),
        (lambda k: fl.alignment(k, 0 * k + 1e9 / 3, centered=True), "k2 is constant"),
        (lambda k: fl.target_alignment(k, np.zeros(3)), "y must not be zero"),
        (lambda k: fl.target_alignment(k, np.full(3, 0.1), centered=True), "y is constant"),
        (lambda k: fl.target_alignment(k, np.ones(4)), r"y must have shape \(3,\) or \(3, k\)"),
        (lambda k: fl.target_alignment(k[:, :2], np.ones(3)), "k must be a kernel"),
    ],
)
def test_zero_kernels_constant_labels_and_wrong_shapes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(gram(np.random.default_rng(5), 3))


def test_single_sample_has_alignment_one():
    assert fl.alignment([[2.0]], [[3.0]]) == fl.target_alignment([[2.0]], [-1.0]) == 1
    net = DEEP.finite(8, (4,), seed=0, dtype=torch.float64)
    assert fl.feature_movement(net, DEEP.finite(8, (4,), seed=1, dtype=torch.float64), X[:1]).shape == (2,)


def test_networks_without_features_are_refused():
    net = DEEP.finite(8, (4,), seed=0)
    with pytest.raises(ValueError, match="no hidden features of its own"):
        fl.hidden_features(nl.linearize(net), X)
    with pytest.raises(ValueError, match="a hidden layer, got 1 weight layers"):
        fl.hidden_features(nn.Linear(4, 1), X)
    with pytest.raises(TypeError, match=r"torch\.nn\.Module"):
        fl.hidden_features(DEEP, X)
    with pytest.raises(TypeError, match="ntklab.linearize"):
        fl.linearization_distance(net, net, X)
    with pytest.raises(ValueError, match="same hidden layers"):
        fl.feature_movement(net, DEEP.finite(9, (4,), seed=0), X)
    with pytest.raises(ValueError, match="of must be one of 'gram', 'units'"):
        fl.feature_movement(net, net, X, of="kernel")
    dead = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1))
    nn.init.zeros_(dead[0].weight)
    nn.init.constant_(dead[0].bias, -1)
    with pytest.raises(ValueError, match="hidden layer 1 of net0 is zero"):
        fl.feature_movement(dead, dead, X)
