"""Recurrent networks: kernels against loops over all pairs of steps, against finite networks, and over long times."""

import numpy as np
import pytest
import torch

import ntklab as nl
from tests.architectures import reference

RNG = np.random.default_rng(0)
RAGGED = [RNG.standard_normal((length, 3)) for length in (3, 1, 4, 3)]
OTHERS = [RNG.standard_normal((length, 3)) for length in (6, 2)]
EVEN = RNG.standard_normal((3, 4, 3))
ACTIVATIONS = {"relu": nl.ReLU(), "erf": nl.Erf()}
CELL = {"sigma_w": 1.2, "sigma_u": 0.9, "sigma_b": 0.2}
HEAD = nl.Dense(1.1, 0.1)


def network(readout="last", activation=None, **cell):
    return nl.Sequential(nl.Recurrent(activation or nl.ReLU(), **(cell or CELL), readout=readout), HEAD)


def head(pair):
    return reference.dense(pair, 1.1, 0.1)


def assert_loops(arch, loop, x1, x2=None, rtol=1e-12):
    got = arch.kernel(x1, x2)
    want = reference.gram(loop, x1, x1 if x2 is None else x2)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol)


# --- infinite width ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("readout", ["last", "mean"])
def test_loops_over_all_pairs_of_steps(name, readout):
    arch = network(readout, ACTIVATIONS[name])

    def loop(pair):
        return head(reference.recurrent(pair, name, *CELL.values(), readout))

    assert_loops(arch, loop, EVEN)
    assert_loops(arch, loop, RAGGED)
    assert_loops(arch, loop, RAGGED, OTHERS)
    assert_loops(arch, loop, OTHERS, [*EVEN, OTHERS[1]])


def test_sequences_of_one_length_beside_others():
    k = network().kernel([*OTHERS, *EVEN]).ntk
    np.testing.assert_allclose(network().kernel(OTHERS, list(EVEN)).ntk, k[:2, 2:], rtol=1e-13)
    np.testing.assert_allclose(network().kernel(list(EVEN), OTHERS).ntk, k[2:, :2], rtol=1e-13)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("readout", ["last", "mean"])
def test_stacked_recurrences(name, readout):
    phi = ACTIVATIONS[name]
    arch = nl.Sequential(
        nl.Recurrent(phi, **CELL, readout="all"), nl.Recurrent(phi, 1.1, 0.8, 0.3, readout), HEAD
    )

    def loop(pair):
        below = reference.recurrent(pair, name, *CELL.values(), "all")
        return head(reference.recurrent(below, name, 1.1, 0.8, 0.3, readout))

    assert_loops(arch, loop, RAGGED, OTHERS)
    assert_loops(arch, loop, EVEN)


CELLS = {
    "dense-below": [("dense", nl.Dense(1.3, 0.4)), ("relu", nl.ReLU())],
    "conv-below": [("conv", nl.Conv(3, 1.3, 0.4)), ("relu", nl.ReLU())],
}


@pytest.mark.parametrize("below", CELLS)
@pytest.mark.parametrize("readout", ["last", "mean"])
def test_other_layers_below_and_above(below, readout):
    arch = nl.Sequential(*(layer for _, layer in CELLS[below]), nl.Recurrent(nl.Erf(), **CELL, readout="all"))
    arch = nl.Sequential(arch, HEAD, nl.ReLU(), nl.Recurrent(nl.ReLU(), **CELL, readout=readout), HEAD)

    def loop(pair):
        size = () if below == "dense-below" else (3,)
        pair = getattr(reference, CELLS[below][0][0])(pair, *size, 1.3, 0.4)
        pair = reference.recurrent(reference.activation(pair, "relu"), "erf", *CELL.values(), "all")
        pair = reference.activation(head(pair), "relu")
        return head(reference.recurrent(pair, "relu", *CELL.values(), readout))

    assert_loops(arch, loop, RAGGED)


@pytest.mark.parametrize("readout", ["last", "mean"])
def test_residual_recurrences(readout):
    branch = nl.Recurrent(nl.ReLU(), **CELL, readout="all")
    arch = nl.Sequential(
        nl.Dense(1.3, 0.4), nl.ReLU(), nl.Residual(branch, nl.Dense(0.8)), network(readout, nl.Erf())
    )

    def loop(pair):
        pair = reference.activation(reference.dense(pair, 1.3, 0.4), "relu")
        beside = reference.dense(reference.recurrent(pair, "relu", *CELL.values(), "all"), 0.8)
        return head(reference.recurrent(reference.add(beside, pair), "erf", *CELL.values(), readout))

    assert_loops(arch, loop, RAGGED)


@pytest.mark.parametrize("readout", ["last", "all"])
def test_pooling_around_keeps_pairs_of_steps(readout):
    above = [nl.GlobalAvgPool()] if readout == "all" else []
    arch = nl.Sequential(
        nl.AvgPool(2), nl.Recurrent(nl.ReLU(), **CELL, readout=readout), nl.LayerNorm(), *above
    )

    def loop(pair):
        pair = reference.recurrent(reference.avgpool(pair, 2), "relu", *CELL.values(), readout)
        pair = reference.layernorm(pair)
        return head(reference.global_pool(pair) if readout == "all" else pair)

    x = [RNG.standard_normal((n, 6, 2)) for n in (2, 3)]
    assert_loops(nl.Sequential(arch, HEAD), loop, *x)
    if readout == "all":
        norms = nl.Sequential(nl.Recurrent(nl.ReLU(), **CELL, readout="all"), nl.LayerNorm(), *above, HEAD)

        def ragged(pair):
            pair = reference.recurrent(pair, "relu", *CELL.values(), "all")
            return head(reference.global_pool(reference.layernorm(pair)))

        assert_loops(norms, ragged, RAGGED)


@pytest.mark.parametrize("readout", ["last", "mean"])
def test_one_step_is_a_dense_layer(readout):
    x = RNG.standard_normal((5, 3))
    dense = nl.Sequential(nl.Dense(CELL["sigma_u"], CELL["sigma_b"]), nl.ReLU(), HEAD)
    for got, want in zip(network(readout).kernel(x[:, None]), dense.kernel(x), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-14)


def test_identity_is_a_linear_filter():
    """h_T = sum_k (sigma_w W)^k (sigma_u U x_(T-k) + sigma_b b): geometric series of the inputs' products."""
    k = nl.Recurrent(nl.Identity(), **CELL).kernel(EVEN).nngp
    gains = CELL["sigma_w"] ** (2 * np.arange(4)[::-1])
    steps = CELL["sigma_u"] ** 2 * np.einsum("itd,jtd->ijt", EVEN, EVEN) / 3 + CELL["sigma_b"] ** 2
    np.testing.assert_allclose(k, steps @ gains, rtol=1e-13)
    gaussian = nl.Sequential(nl.Recurrent(nl.Identity(), readout="mean"), nl.ReLU(), HEAD)
    assert np.isfinite(gaussian.kernel(RAGGED).ntk).all()


@pytest.mark.parametrize("readout", ["last", "mean"])
def test_any_activation(readout):
    quadrature = network(readout, nl.Elementwise(torch.erf)).kernel(RAGGED)
    for a, b in zip(quadrature, network(readout, nl.Erf()).kernel(RAGGED), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7)
    for activation in (nl.GELU(), nl.Cos(), nl.LeakyReLU(0.2), nl.Elementwise(torch.tanh)):
        assert np.isfinite(network(readout, activation).kernel(RAGGED).ntk).all()


@pytest.mark.parametrize("readout", ["last", "mean"])
def test_symmetric_positive_diagonal(readout):
    arch, x = network(readout), [*RAGGED, *OTHERS, RAGGED[0], RAGGED[0][1:]]
    k, own = arch.kernel(x), arch.diagonal(x)
    for full, diagonal, cross in zip(k, own, arch.kernel(x, list(x)), strict=True):
        assert (full == full.T).all()
        assert np.linalg.eigvalsh(full)[0] > -1e-12 * np.trace(full)
        np.testing.assert_allclose(np.diag(full), diagonal, rtol=1e-14)
        np.testing.assert_allclose(full, cross, rtol=1e-13)
    for full in k:  # the first sequence comes twice: correlation exactly 1
        assert full[0, 0] == pytest.approx(full[0, -2], rel=1e-15)


def test_equal_sequences_stay_equal_over_long_times():
    x = RNG.standard_normal((1, 300, 2))
    k = network(sigma_w=2**0.5, sigma_u=1.0, sigma_b=0.1).kernel(np.concatenate([x, x, -x]))
    for part in k:
        assert part[0, 1] == pytest.approx(part[0, 0], rel=1e-15)
        assert part[0, 2] < part[0, 0]


@pytest.mark.parametrize("readout", ["last", "mean"])
def test_types_in_and_out(readout):
    arch = network(readout)
    exact = arch.kernel(RAGGED)
    single = arch.kernel([x.astype(np.float32) for x in RAGGED])
    tensors = arch.kernel([torch.tensor(x) for x in RAGGED])
    for want, low, same in zip(exact, single, tensors, strict=True):
        assert low.dtype == np.float32 and isinstance(same, torch.Tensor)
        np.testing.assert_allclose(low, want, rtol=2e-6)
        np.testing.assert_array_equal(same.numpy(), want)


@pytest.mark.parametrize("readout", ["last", "mean"])
@pytest.mark.parametrize("scale", [1e-100, 1e100])
@pytest.mark.parametrize("x", [EVEN, RAGGED], ids=["even", "ragged"])
def test_scale_drops_out_without_bias(readout, scale, x):
    arch = nl.Sequential(nl.Recurrent(nl.ReLU(), 1.2, 0.9, readout=readout), nl.Dense())
    stacked = nl.Sequential(nl.Recurrent(nl.ReLU(), 1.1, readout="all"), arch)
    for net in (arch, stacked):
        scaled = net.kernel([scale * part for part in x])
        for a, b in zip(scaled, net.kernel(list(x)), strict=True):
            np.testing.assert_allclose(a / scale / scale, b, rtol=1e-13)


def test_zero_sequences_and_zero_steps():
    x = EVEN.copy()
    x[0], x[1, :2] = 0, 0
    for readout in ("last", "mean"):
        arch = network(readout, sigma_w=1.2, sigma_u=0.9, sigma_b=0.0)
        loop = lambda pair, r=readout: head(reference.recurrent(pair, "relu", 1.2, 0.9, 0.0, r))  # noqa: E731
        assert_loops(arch, loop, x)
    last = network().kernel([x[1]], [x[1, 2:]])  # with a bias, steps of zeros are steps
    assert last.nngp != pytest.approx(network().diagonal([x[1, 2:]]).nngp)


def test_frozen_weights_give_no_tangent_kernel():
    arch = nl.Sequential(nl.Recurrent(nl.ReLU(), **CELL, trainable=False), HEAD)
    k, full = arch.kernel(RAGGED), network().kernel(RAGGED)
    np.testing.assert_array_equal(k.nngp, full.nngp)
    np.testing.assert_allclose(k.ntk, k.nngp, rtol=1e-15)
    below = nl.Sequential(nl.Dense(), nl.Recurrent(nl.ReLU(), 0.0, 0.9, 0.0, trainable=False), nl.Dense())
    plain = nl.Sequential(nl.Dense(), nl.Dense(0.9, trainable=False), nl.ReLU(), nl.Dense())
    np.testing.assert_allclose(below.kernel(EVEN).ntk, plain.kernel(EVEN[:, -1]).ntk, rtol=1e-13)


@pytest.mark.parametrize("readout", ["last", "mean"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradients_by_finite_differences(name, readout):
    arch = network(readout, ACTIVATIONS[name])
    start = [torch.tensor(x) for x in (*RAGGED[:3], *OTHERS[1:])]
    directions = [torch.tensor(RNG.standard_normal(x.shape)) for x in start]

    def value(step):
        x = [a + step * b for a, b in zip(start, directions, strict=True)]
        k = arch.kernel(x[:2], x[2:])
        return (k.nngp * torch.tensor([[1.0, -2.0], [0.5, 3.0]])).sum() + k.ntk.sin().sum()

    step = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(value(step), step)
    h = 1e-5
    with torch.no_grad():
        numeric = (value(h) - value(-h)) / (2 * h)
    assert slope.item() == pytest.approx(numeric.item(), rel=1e-6)


@pytest.mark.parametrize("readout", ["last", "mean"])
def test_gradients_are_finite_at_zeros(readout):
    x = torch.tensor(EVEN)
    x[0], x[1, :2] = 0, 0
    arch = network(readout, sigma_w=1.2, sigma_u=0.9, sigma_b=0.0)
    assert torch.isfinite(torch.autograd.grad(arch.kernel(x.requires_grad_()).ntk.sum(), x)[0]).all()


# --- long times ----------------------------------------------------------------------------------------------


def diagonals(arch, lengths):
    """Both kernels of one sequence of unit steps with itself, cut to each length: (2, lengths)."""
    x = RNG.standard_normal((max(lengths), 4))
    x *= 2 / np.linalg.norm(x, axis=1, keepdims=True)
    return np.array(arch.diagonal([x[:length] for length in lengths]))


def test_relu_is_stable_below_two_and_explodes_above():
    """K_(t+1) = (sigma_w^2 K_t + 1) / 2 exactly: bounded, linear in T, or growing by sigma_w^2 / 2 a step."""
    lengths = [25, 50, 100, 200]

    def relu(square):
        return nl.Recurrent(nl.ReLU(), square**0.5, 1.0, 0.0)

    k, theta = diagonals(relu(1.8), lengths)
    assert k[-1] == pytest.approx(0.5 / (1 - 0.9), rel=1e-8)
    assert k.max() < 5 and theta.max() == theta[-1] == pytest.approx(50, rel=1e-6)

    k, theta = diagonals(relu(2.0), lengths)
    np.testing.assert_allclose(k, np.array(lengths) / 2, rtol=1e-12)
    slope = np.polyfit(np.log(lengths), np.log(theta), 1)[0]
    assert slope == pytest.approx(2, abs=0.05)

    k, theta = diagonals(relu(2.2), [150, 200])
    assert np.log(k[1] / k[0]) / 50 == pytest.approx(np.log(1.1), rel=1e-6)
    assert np.log(theta[1] / theta[0]) / 50 == pytest.approx(np.log(1.1) + np.log(200 / 150) / 50, rel=0.02)


def test_tanh_is_bounded_at_any_gain():
    tanh = nl.Elementwise(torch.tanh, lambda z: 1 - torch.tanh(z) ** 2)
    for square, length in ((2.2, 200), (9.0, 20)):
        arch = nl.Recurrent(tanh, square**0.5, 1.0, 0.0)
        k, _ = diagonals(arch, [length // 2, length])
        assert (k < 1).all() and k[1] == pytest.approx(k[0], rel=1e-4)


def test_steps_that_leave_the_range_are_named():
    x = np.ones((1, 200, 2))
    with pytest.raises(
        ValueError, match=r"layer 0, Recurrent.*step 79 of 200: a standard deviation overflows"
    ):
        network(sigma_w=2**0.5 * 1e4, sigma_u=1.0, sigma_b=0.0).kernel(x)
    with pytest.raises(ValueError, match=r"step \d+ of 200: a standard deviation underflows torch.float64"):
        x[:, 1:] = 0
        network("mean", sigma_w=1e-3, sigma_u=1.0, sigma_b=0.0).kernel(x)
    with pytest.raises(ValueError, match=r"step 1 of 4: a standard deviation underflows"):
        network(activation=nl.Erf(), sigma_w=1.0, sigma_u=1.0, sigma_b=0.0).kernel(1e-170 * EVEN)
    with pytest.raises(ValueError, match=r"step 1 of 4: a variance overflows"):
        network(activation=nl.Erf(), sigma_w=1.0, sigma_u=1.0, sigma_b=0.0).kernel(1e170 * EVEN)


# --- finite width --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("readout", ["last", "mean", "all"])
@pytest.mark.parametrize("parameterization", ["ntk", "standard"])
def test_finite_network_is_the_formula(readout, parameterization):
    above = [nl.GlobalAvgPool()] if readout == "all" else []
    arch = nl.Sequential(nl.Recurrent(nl.Erf(), **CELL, readout=readout), *above, HEAD)
    net = arch.finite(7, (None, 3), 2, parameterization, seed=1, dtype=torch.float64)
    loop, out = net.body[0], net.body[-1]
    got = net([torch.tensor(x) for x in RAGGED])

    def linear(layer, h):
        z = layer.weight_scale * layer.weight @ h
        return z if layer.bias is None else z + layer.bias_scale * layer.bias

    assert loop.recurrent.bias is None and loop.inputs.bias is not None
    assert (loop.inputs.role, loop.recurrent.role, out.role) == ("input", "hidden", "readout")
    for row, x in zip(got, RAGGED, strict=True):
        h, steps = torch.zeros(7, dtype=torch.float64), []
        for part in torch.tensor(x):
            h = torch.erf(linear(loop.recurrent, h) + linear(loop.inputs, part))
            steps.append(h)
        h = steps[-1] if readout == "last" else sum(steps) / len(steps)
        torch.testing.assert_close(row, linear(out, h), rtol=1e-12, atol=1e-14)


def test_parameterizations_are_one_function_and_even_batches_need_no_mask():
    x = torch.tensor(EVEN)
    for readout in ("last", "mean"):
        ntk, standard = (
            network(readout).finite(9, (4, 3), 1, name, seed=3, dtype=torch.float64)
            for name in ("ntk", "standard")
        )
        free = network(readout).finite(9, (None, 3), 1, seed=3, dtype=torch.float64)
        torch.testing.assert_close(ntk(x), standard(x), rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(ntk(x), free(list(x)), rtol=1e-12, atol=1e-14)
        assert len(ntk.parameter_groups(1.0, "adam")) >= 2
    frozen = nl.Sequential(nl.Recurrent(nl.ReLU(), trainable=False), HEAD).finite(5, (4, 3))
    assert [p.requires_grad for p in frozen.body[0].parameters()] == [False, False]


@pytest.mark.parametrize("readout", ["last", "mean"])
@pytest.mark.parametrize("outputs", ["average", "full"])
def test_structured_empirical_kernel(readout, outputs):
    arch = nl.Sequential(nl.Recurrent(nl.Erf(), **CELL, readout="all"), network(readout))
    ragged = arch.finite((6, 5), (None, 3), 2, seed=0, dtype=torch.float64)
    even = arch.finite((6, 5), (4, 3), 2, seed=0, dtype=torch.float64)
    for net, x in ((ragged, RAGGED), (even, EVEN), (even.requires_grad_(True), EVEN[:1])):
        a, b = (nl.empirical_ntk(net, x, outputs=outputs, method=m) for m in ("structured", "jacobian"))
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    one = network(readout).finite(6, (1, 3), seed=0, dtype=torch.float64)
    a, b = (nl.empirical_ntk(one, EVEN[:, :1], method=m) for m in ("structured", "jacobian"))
    np.testing.assert_allclose(a, b, rtol=1e-10)


@pytest.mark.parametrize("readout", ["last", "mean"])
@pytest.mark.parametrize("x", [EVEN, RAGGED], ids=["even", "ragged"])
def test_finite_networks_converge(readout, x):
    arch = network(readout, nl.Erf())
    exact = arch.kernel(x)
    scale = [np.sqrt(np.outer(np.diag(k), np.diag(k))) for k in exact]
    mean = nl.monte_carlo_kernel(arch, x, width=512, seeds=40)
    for got, want, size in zip((mean.nngp, mean.ntk), exact, scale, strict=True):
        assert (np.abs(got - want) / size).max() < 0.03

    shape, packed = (EVEN.shape[1:], x) if x is EVEN else ((None, 3), x)
    widths, errors = [32, 128, 512], []
    for width in widths:
        gaps = []
        for seed in range(40):
            net = arch.finite(width, shape, seed=seed, dtype=torch.float64)
            gaps.append((nl.empirical_ntk(net, packed) - exact.ntk) / scale[1])
        errors.append(np.sqrt(np.mean(np.square(gaps))))
    assert np.polyfit(np.log(widths), np.log(errors), 1)[0] == pytest.approx(-0.5, abs=0.12)


def test_stacked_finite_networks_converge():
    arch = nl.Sequential(nl.Recurrent(nl.ReLU(), **CELL, readout="all"), network("mean"))
    exact, mean = arch.kernel(RAGGED), nl.monte_carlo_kernel(arch, RAGGED, width=512, seeds=40)
    for got, want in ((mean.nngp, exact.nngp), (mean.ntk, exact.ntk)):
        assert (np.abs(got - want) / np.sqrt(np.outer(np.diag(want), np.diag(want)))).max() < 0.05


# --- errors --------------------------------------------------------------------------------------------------


def test_errors_of_the_layer():
    with pytest.raises(TypeError, match=r"activation must be an activation layer such as ReLU\(\), got <"):
        nl.Recurrent(torch.tanh)
    with pytest.raises(TypeError, match="activation must be an activation layer"):
        nl.Recurrent(nl.Dense())
    with pytest.raises(ValueError, match="sigma_u must be at least 0, got -1"):
        nl.Recurrent(nl.ReLU(), sigma_u=-1)
    with pytest.raises(ValueError, match="readout must be one of 'last', 'mean', 'all', got 'first'"):
        nl.Recurrent(nl.ReLU(), readout="first")
    with pytest.raises(TypeError, match="trainable must be True or False"):
        nl.Recurrent(nl.ReLU(), trainable=1)
    assert nl.Recurrent.mixes and nl.Recurrent(nl.ReLU()).weight_layers() == 1


def test_errors_of_its_place():
    graph = nl.Graph(np.ones((2, 3)), np.eye(2))
    for x, got in (
        (np.ones((2, 3)), "vectors"),
        (np.ones((2, 1, 3, 3)), "images"),
        ([graph], "graphs"),
    ):
        with pytest.raises(ValueError, match=rf"Recurrent needs sequences \(n, length, d\), got {got}"):
            network().kernel(x)
    with pytest.raises(ValueError, match="Recurrent needs sequences .*, got images"):
        network().finite(4, (1, 3, 3))
    with pytest.raises(ValueError, match="Recurrent needs sequences .*, got vectors"):
        network().finite(4, (3,))
    with pytest.raises(ValueError, match=r"put Dense\(\) behind it"):
        nl.Recurrent(nl.ReLU()).finite(4, (5, 3))
    with pytest.raises(ValueError, match="use parameterization='mup'"):
        network().finite(4, (5, 3), parameterization="mean_field")
    with pytest.raises(ValueError, match="outputs still have positions"):
        network("all").kernel(EVEN)
    with pytest.raises(ValueError, match="an activation needs Gaussian pre-activations"):
        nl.Sequential(nl.Recurrent(nl.ReLU()), nl.ReLU()).kernel(EVEN)
