"""Attention and positional encodings: against loops, another library and finite networks, and what they must obey."""

import json
import math
from pathlib import Path

import mpmath
import numpy as np
import pytest
import torch

import ntklab as nl
import ntklab.layers.positional_encoding as encoding
from tests.architectures import reference

random = np.random.default_rng(5)
SEQUENCES = random.standard_normal((4, 5, 3))
RAGGED = [random.standard_normal((length, 3)) for length in (3, 5, 1, 2)]
PICTURES = random.standard_normal((3, 2, 3, 2))
NODES = [random.standard_normal((size, 3)) for size in (2, 4, 3)]
GRAPHS = [nl.Graph(x, np.eye(len(x))) for x in NODES]
SAMPLES = {"sequences": SEQUENCES, "ragged": RAGGED, "images": PICTURES, "graphs": GRAPHS}

QK, OV = 1.2, 0.9
VARIANTS = {
    name: (mechanism, scaling, QK, OV)
    for name, mechanism, scaling in (
        ("softmax", "softmax", "1/d"),
        ("identity", "identity", "1/d"),
        ("product", "identity", "1/sqrt(d)"),
    )
}
MEAN = nl.GlobalAvgPool()


def attention(name, **options):
    return nl.Attention(*VARIANTS[name], **options)


def network(name, kind="sequences"):
    """Attention after attention, with biases that also reach padded places."""
    first = nl.Conv(1, 0.9, 0.2) if kind == "images" else nl.Dense(0.9, 0.2)
    second = nl.Conv(1, 1.1, 0.1) if kind == "images" else nl.Dense(1.1, 0.1)
    return nl.Sequential(
        first, nl.ReLU(), attention(name), second, nl.Erf(), attention(name), MEAN, nl.Dense(0.8, 0.3)
    )


def loops(name):
    def apply(pair):
        for sigmas, act in (((0.9, 0.2), "relu"), ((1.1, 0.1), "erf")):
            pair = reference.activation(reference.dense(pair, *sigmas), act)
            pair = reference.attention(pair, *VARIANTS[name])
        return reference.dense(reference.global_pool(pair), 0.8, 0.3)

    return apply


def same(result, want, rel=1e-10):
    for got, expected in zip(result, want, strict=True):
        assert got == pytest.approx(expected, rel=rel, abs=rel * np.abs(expected).max())


# --- values --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SAMPLES)
@pytest.mark.parametrize("name", VARIANTS)
def test_kernels_are_those_of_the_loops(name, kind):
    x = SAMPLES[kind]
    features = NODES if kind == "graphs" else x
    same(network(name, kind).kernel(x), reference.gram(loops(name), features, features))


@pytest.mark.parametrize("name", VARIANTS)
def test_raw_inputs_and_outputs_at_nodes(name):
    result = nl.Sequential(attention(name)).kernel(GRAPHS)
    pairs = [[reference.attention(reference.start(a, b), *VARIANTS[name]) for b in NODES] for a in NODES]
    want = [np.block([[pair.block()[i] for pair in row] for row in pairs]) for i in (0, 1)]
    same(result, want)


@pytest.mark.parametrize("kind", ["sequences", "ragged", "images"])
@pytest.mark.parametrize("name", VARIANTS)
def test_encoded_positions_are_those_of_the_loops(name, kind):
    x = SAMPLES[kind]
    first = nl.Conv(1, 1.3, 0.2) if kind == "images" else nl.Dense(1.3, 0.2)
    arch = nl.Sequential(first, nl.PositionalEncoding(0.3, 1.4), attention(name), MEAN)

    def slow(pair):
        pair = reference.positional(reference.dense(pair, 1.3, 0.2), 0.3, 1.4)
        return reference.global_pool(reference.attention(pair, *VARIANTS[name]))

    same(arch.kernel(x), reference.gram(slow, x, x))


@pytest.mark.parametrize("kind", ["sequences", "images"])
def test_encodings_of_matching_positions_and_of_activations(kind):
    # No layer mixes positions: only matching pairs are kept.
    first = nl.Conv(1, 1.3, 0.2) if kind == "images" else nl.Dense(1.3, 0.2)
    arch = nl.Sequential(
        first, nl.PositionalEncoding(0.3), nl.ReLU(), nl.PositionalEncoding(), nl.LayerNorm()
    )

    def slow(pair):
        pair = reference.activation(reference.positional(reference.dense(pair, 1.3, 0.2), 0.3, 1.0), "relu")
        return reference.flatten(reference.layernorm(reference.positional(pair, 0.5, 1.0)))

    x = SAMPLES[kind]
    same(nl.Sequential(arch, nl.Flatten()).kernel(x), reference.gram(slow, x, x))


def test_positions_count_from_the_beginning_of_each_sequence_also_where_none_mix():
    arch = nl.Sequential(
        nl.Dense(1.2, 0.1), nl.PositionalEncoding(0.3, 1.2), nl.Recurrent(nl.Erf(), 1.1, 0.9, 0.2)
    )

    def slow(pair):
        pair = reference.positional(reference.dense(pair, 1.2, 0.1), 0.3, 1.2)
        return reference.recurrent(pair, "erf", 1.1, 0.9, 0.2)

    same(arch.kernel(RAGGED), reference.gram(slow, RAGGED, RAGGED))


def test_attention_on_sequences_of_different_lengths_agrees_with_neural_tangents():
    stored = json.loads(Path(__file__).with_name("attention_peer.json").read_text())
    sequences = [np.array(x) for x in stored["sequences"]]
    for name, values in stored["values"].items():
        mechanism, scaling = name.split()
        layer = nl.Attention(mechanism, scaling, math.sqrt(1.2 * 0.9), 1.1 * 0.8)
        arch = nl.Sequential(nl.Dense(0.7, 0.1), nl.ReLU(), layer, MEAN, nl.Dense(1.1, 0.1))
        same(arch.kernel(sequences), (np.array(values["nngp"]), np.array(values["ntk"])))


def test_a_transformer_block_is_its_formulas():
    block = nl.Residual(nl.PositionalEncoding(0.2), attention("softmax")), nl.LayerNorm()
    feed = nl.Residual(nl.Dense(1.2, 0.1), nl.ReLU(), nl.Dense()), nl.LayerNorm()
    arch = nl.Sequential(nl.Dense(), *block, *feed, *block, *feed, MEAN, nl.Dense())

    def slow(pair):
        pair = reference.dense(pair)
        for _ in range(2):
            attended = reference.attention(reference.positional(pair, 0.2, 1.0), *VARIANTS["softmax"])
            pair = reference.layernorm(reference.add(attended, pair))
            fed = reference.dense(reference.activation(reference.dense(pair, 1.2, 0.1), "relu"))
            pair = reference.layernorm(reference.add(fed, pair))
        return reference.dense(reference.global_pool(pair))

    same(arch.kernel(RAGGED), reference.gram(slow, RAGGED, RAGGED), rel=1e-9)


# --- what every kernel obeys -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SAMPLES)
@pytest.mark.parametrize("name", VARIANTS)
def test_symmetry_diagonal_second_set_and_tiles(name, kind, monkeypatch):
    arch, x = network(name, kind), SAMPLES[kind]
    whole, diagonal, cross = arch.kernel(x), arch.diagonal(x), arch.kernel(x, x[1:])
    monkeypatch.setattr("ntklab.kernel.TILE_BYTES", 300)
    small = arch.kernel(x)
    for got, own, other, tiled in zip(whole, diagonal, cross, small, strict=True):
        assert np.array_equal(got, got.T)
        eigenvalues = np.linalg.eigvalsh(got)
        assert eigenvalues[0] > -1e-13 * eigenvalues[-1]
        assert own == pytest.approx(np.diag(got), rel=1e-12)
        assert other == pytest.approx(got[:, 1:], rel=1e-12)
        assert tiled == pytest.approx(got, rel=1e-12)


@pytest.mark.parametrize("name", VARIANTS)
def test_attention_commutes_with_permutations_until_positions_are_encoded(name):
    order = np.array([3, 0, 4, 1, 2])
    arch = network(name)
    same(arch.kernel(SEQUENCES[:, order]), arch.kernel(SEQUENCES), rel=1e-12)
    shuffled = SEQUENCES.copy()
    shuffled[0] = SEQUENCES[0, order]
    same(arch.kernel(SEQUENCES, shuffled), arch.kernel(SEQUENCES), rel=1e-12)  # each sample for itself

    encoded = nl.Sequential(nl.Dense(), nl.PositionalEncoding(0.5), *arch.layers)
    first, second = (encoded.kernel(x).nngp for x in (SEQUENCES, shuffled))
    assert np.abs(first - second).max() > 1e-3 * np.abs(first).max()
    # Encodings know distances only: all samples read backwards are the same again.
    same(encoded.kernel(SEQUENCES[:, ::-1].copy()), encoded.kernel(SEQUENCES), rel=1e-12)

    nodes = nl.Sequential(attention(name), nl.Dense(1.1, 0.2))
    size, graph = len(NODES[1]), NODES[1]
    turned = [nl.Graph(graph[::-1].copy(), np.zeros((size, size)))]
    for got, want in zip(nodes.kernel(turned), nodes.kernel(GRAPHS[1:2]), strict=True):
        assert got == pytest.approx(want[::-1, ::-1], rel=1e-12)


@pytest.mark.parametrize("kind", SAMPLES)
@pytest.mark.parametrize("name", VARIANTS)
def test_float32_is_float64_to_its_own_precision(name, kind):
    x = SAMPLES[kind]
    if kind == "graphs":
        low = [nl.Graph(g.features.astype(np.float32), g.adjacency.astype(np.float32)) for g in x]
    else:
        low = [part.astype(np.float32) for part in x] if kind == "ragged" else x.astype(np.float32)
    arch = network(name, kind)
    result = arch.kernel(low)
    assert result.nngp.dtype == result.ntk.dtype == np.float32
    same(result, arch.kernel(x), rel=1e-4)


@pytest.mark.parametrize("name", VARIANTS)
def test_gradients_are_finite_differences(name):
    arch = nl.Sequential(nl.Dense(0.9, 0.2), nl.PositionalEncoding(0.2), nl.Erf(), attention(name), MEAN)
    x = torch.tensor(SEQUENCES[:2, :2], requires_grad=True)
    y = torch.tensor(SEQUENCES[3:, :3], requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: tuple(arch.kernel(x)), (x,))
    assert torch.autograd.gradcheck(lambda x, y: tuple(arch.kernel(x, y)), (x, y))


@pytest.mark.parametrize("name", VARIANTS)
def test_gradients_are_finite_where_positions_and_samples_vanish(name):
    x = [torch.tensor(part) for part in RAGGED]
    x[0][1], x[3][:] = 0, 0
    for part in x:
        part.requires_grad_()
    arch = nl.Sequential(attention(name), nl.PositionalEncoding(0.2), MEAN)
    sum(part.sum() for part in arch.kernel(x)).backward()
    assert all(torch.isfinite(part.grad).all() for part in x)


# --- scale -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["identity", "product"])
@pytest.mark.parametrize("power", [-150, 150])
def test_identity_is_cubic_in_the_scale_of_the_input(name, power):
    arch = nl.Sequential(attention(name), MEAN)
    for got, want in zip(arch.kernel(RAGGED), arch.kernel([x * 2.0**power for x in RAGGED]), strict=True):
        assert want * 2.0 ** (-6 * power) == pytest.approx(got, rel=1e-12)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("power", [-300, 300])
def test_scale_drops_out_before_a_norm(name, power):
    sigma = (
        2.0**-power if name == "softmax" else 2.0 ** (-power / 2)
    )  # else weights saturate, or cubes overflow
    scaled = nl.Attention(*VARIANTS[name][:2], sigma, OV)
    plain = nl.Attention(*VARIANTS[name][:2], 1.0, OV)
    result, want = (
        nl.Sequential(layer, nl.LayerNorm(), MEAN).kernel([size * x for x in RAGGED])
        for layer, size in ((scaled, 2.0**power), (plain, 1.0))
    )
    same(result, want, rel=1e-12)


def test_softmax_tends_to_the_mean_and_to_the_largest_score():
    arch = nl.Sequential(nl.Attention(), MEAN)
    small = [1e-120 * x for x in RAGGED]
    means = nl.Sequential(MEAN).kernel(RAGGED).nngp
    assert arch.kernel(small).nngp == pytest.approx(1e-240 * means, rel=1e-12)
    x = np.array([[[1.0, 0.0], [0.0, 1.0], [-3.0, 0.0]]])
    rows = nl.Sequential(nl.Attention()).kernel([nl.Graph(1e120 * x[0], np.eye(3))]).nngp
    assert rows == pytest.approx(1e240 * x[0] @ x[0].T / 2, rel=1e-12)  # each looks at itself alone
    sums = nl.Sequential(nl.Attention(sigma_qk=1e100), nl.LayerNorm(), MEAN).kernel(1e120 * x).nngp
    unit = x[0] / np.linalg.norm(x[0], axis=1, keepdims=True)
    assert sums.item() == pytest.approx((unit @ unit.T).mean(), rel=1e-12)


@pytest.mark.parametrize("name", ["identity", "product"])
def test_positions_of_very_different_sizes(name):
    x = NODES[1] * np.array([1.0, 1e-40, 1e20, 1e-20])[:, None]
    got = nl.Sequential(attention(name)).kernel([nl.Graph(x, np.eye(4))]).nngp
    with mpmath.workdps(60):
        K = mpmath.matrix(x.tolist()) * mpmath.matrix(x.tolist()).T / 3
        s = mpmath.mpf(OV) ** 2 * mpmath.mpf(QK) ** 4
        want = K * K * K if name == "identity" else sum(v * v for v in K) * K
        want = np.array((s * want).tolist(), dtype=float)
    size = np.sqrt(np.outer(np.diag(want), np.diag(want)))
    assert np.diag(got) == pytest.approx(np.diag(want), rel=1e-12)
    assert got / size == pytest.approx(want / size, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize(
    ("share", "length_scale"), [(1e-200, 1.0), (0.5, 1e-300), (0.5, 1e300), (0.0, 1.0), (1.0, 2.0)]
)
def test_extreme_encodings(share, length_scale):
    x = SEQUENCES
    K = nl.Sequential(nl.Dense(), MEAN).kernel(x)
    nngp, ntk = nl.Sequential(nl.Dense(), nl.PositionalEncoding(share, length_scale), MEAN).kernel(x)
    places = np.arange(5)
    R = (
        np.exp(-(((places[:, None] - places) / length_scale) ** 2) / 2).mean()
        if 1e-9 < length_scale < 1e9
        else None
    )
    R = (0.2 if length_scale < 1 else 1.0) if R is None else R
    assert nngp == pytest.approx((1 - share) * K.nngp + share * R, rel=1e-12)
    assert ntk == pytest.approx((1 - share) * K.ntk, rel=1e-12, abs=0)


def test_zero_samples_and_zero_scales():
    x = SEQUENCES.copy()
    x[1] = 0
    x[2, 1] = 0
    for name in VARIANTS:
        nngp, ntk = nl.Sequential(attention(name), MEAN).kernel(x)
        assert not nngp[1].any() and not ntk[1].any() and np.isfinite(nngp).all() and nngp[2, 2] > 0
        for sigmas in ((0, 1), (1, 0)):
            layer = nl.Attention(*VARIANTS[name][:2], *sigmas)
            result = nl.Sequential(nl.Dense(), layer, MEAN).kernel(SEQUENCES)
            if name == "softmax" and sigmas == (0, 1):  # equal weights
                same(
                    result,
                    [K for K in nl.Sequential(nl.Dense(), nl.Dense(), nl.Dense(), MEAN).kernel(SEQUENCES)],
                )
            else:
                assert not result.nngp.any() and not result.ntk.any()


# --- finite networks -------------------------------------------------------------------------------------------

DENSE, HEAD = nl.Dense(1.2, 0.1), nl.Sequential(MEAN, nl.Dense())
FINITE = {
    "softmax": (nl.Sequential(nl.Dense(1.2), attention("softmax"), HEAD), (16, 64, 256)),
    "identity": (nl.Sequential(nl.Dense(0.8), attention("identity"), HEAD), (32, 128, 512)),
    "product": (nl.Sequential(attention("product"), HEAD), (8, 16, 32, 64)),
    "encoded": (
        nl.Sequential(DENSE, nl.PositionalEncoding(0.4), nl.ReLU(), attention("softmax"), HEAD),
        (16, 64, 256),
    ),
}
FEW = np.random.default_rng(3).standard_normal((2, 3, 8))


def agrees(estimate, exact, bias):
    """Means over networks within five standard errors and a bias, relative to the largest value."""
    for kind, want in exact._asdict().items():
        mean, error = getattr(estimate, kind), getattr(estimate, f"{kind}_error")
        assert np.all(np.abs(mean - want) < 5 * error + bias * np.abs(want).max())


@pytest.mark.parametrize("name", FINITE)
def test_kernels_of_finite_networks_scatter_as_width_to_the_minus_one_half(name, record_property):
    arch, widths = FINITE[name]
    exact, nets = arch.kernel(FEW), 60
    scatter = np.zeros((2, len(widths)))
    for w, width in enumerate(widths):
        estimate = nl.monte_carlo_kernel(arch, FEW, width=width, seeds=nets)
        agrees(estimate, exact, bias=8 / width)
        errors = zip((estimate.nngp_error, estimate.ntk_error), exact, strict=True)
        scatter[:, w] = [np.sqrt(nets * np.mean(error**2)) / want.max() for error, want in errors]
    assert scatter[:, -1].max() < 0.25
    for kind, row in zip(("nngp", "ntk"), scatter, strict=True):
        slope = np.polyfit(np.log(widths), np.log(row), 1)[0]
        record_property(f"measured slope of attention, {name}, {kind}", f"{slope:.2f}")
        # Terms of higher order make it steeper: scores multiply, so the tails at small width are heavy.
        assert -0.5 - 0.3 < slope < -0.5 + 0.2, row


def test_random_scores_are_exact_in_the_mean_at_every_number_of_heads_and_units():
    # Only the first layer's width makes a bias; with it there are tangents of the scores and values too.
    arch = nl.Sequential(nl.Dense(0.8), attention("product", heads=24), HEAD)
    estimate = nl.monte_carlo_kernel(arch, FEW, width=[512, 6], seeds=150)
    agrees(estimate, arch.kernel(FEW), bias=0.02)
    assert (
        max(part.max() / want.max() for part, want in zip(estimate[1::2], arch.kernel(FEW), strict=True))
        < 0.06
    )


@pytest.mark.parametrize("kind", SAMPLES)
@pytest.mark.parametrize("name", VARIANTS)
def test_a_finite_network_is_the_layer_written_out(name, kind):
    x, width, heads = SAMPLES[kind], 4, 3
    layers = [nl.Aggregate()] if kind == "graphs" else []  # each node hears itself alone
    arch = nl.Sequential(*layers, attention(name, heads=heads), MEAN, nl.Dense())
    shape = {"sequences": (5, 3), "images": (2, 3, 2)}.get(kind, (None, 3))
    for parameterization in ("ntk", "standard"):
        net = arch.finite(width, shape, parameterization=parameterization, seed=1, dtype=torch.float64)
        module, last = net.body[-3], net.body[-1]
        weight = {
            n: m.weight_scale * m.weight.detach().numpy() for n, m in module.named_children() if m is not None
        }
        assert len(weight) == (4 if name == "product" else 3)
        samples = NODES if kind == "graphs" else x
        result = net(x if isinstance(x, list) else torch.tensor(x)).detach().numpy()
        for sample, got in zip(samples, result, strict=True):
            g = sample.reshape(2, -1).T if kind == "images" else sample
            parts = []
            for head in range(heads):
                cut = slice(head * width, (head + 1) * width)
                q, v = g @ weight["queries"][cut].T, g @ weight["values"][cut].T
                k = g @ weight["keys" if name == "product" else "queries"][cut].T
                scores = QK**2 * q @ k.T / (width**0.5 if name == "product" else width)
                if name == "softmax":
                    scores = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
                parts.append(scores @ v)
            out = (np.concatenate(parts, 1) @ weight["output"].T).mean(0)
            assert got == pytest.approx(last.weight_scale * last.weight.detach().numpy() @ out, rel=1e-12)


@pytest.mark.parametrize("kind", SAMPLES)
@pytest.mark.parametrize("name", VARIANTS)
def test_the_structured_kernel_covers_attention(name, kind):
    layers = [nl.Aggregate()] if kind == "graphs" else [nl.PositionalEncoding()]
    arch = nl.Sequential(*layers, attention(name, heads=2), MEAN, nl.Dense())
    shape = {"sequences": (5, 3), "images": (2, 3, 2)}.get(kind, (None, 3))
    net = arch.finite(5, shape, outputs=2, seed=0, dtype=torch.float64)
    first, second = (nl.empirical_ntk(net, SAMPLES[kind], method=m) for m in ("structured", "jacobian"))
    assert first == pytest.approx(second, rel=1e-10)


def test_heads_widths_and_parameterizations():
    arch = nl.Sequential(nl.Attention(), MEAN, nl.Dense())
    assert arch.finite(6, (5, 3)).body[0].queries.weight.shape == (6, 3)  # one head
    assert arch.weight_layers() == 2
    many = nl.Sequential(attention("product"), MEAN, nl.Dense())
    assert many.finite(6, (5, 3)).body[0].keys.weight.shape == (36, 3)  # as many as the width
    x = torch.tensor(SEQUENCES)
    deep = nl.Sequential(nl.Dense(1.2, 0.3), nl.PositionalEncoding(), *many.layers)
    nets = {
        p: deep.finite(6, (5, 3), parameterization=p, seed=1, dtype=torch.float64)
        for p in ("ntk", "standard", "mup")
    }
    assert torch.allclose(nets["ntk"](x), nets["standard"](x), rtol=1e-12)
    assert torch.allclose(nets["ntk"](x), math.sqrt(6) * nets["mup"](x), rtol=1e-12)
    roles = [module.role for module in nets["mup"].modules() if hasattr(module, "role")]
    assert roles == ["input", "hidden", "hidden", "hidden", "hidden", "readout"]
    for net in nets.values():
        for optimizer in ("sgd", "adam"):
            groups = net.parameter_groups(0.1, optimizer)
            assert sum(len(group["params"]) for group in groups) == len(list(net.parameters()))


def test_encodings_are_fixed_random_and_of_the_right_covariance():
    layer = nl.PositionalEncoding(0.5, 1.5)
    arch = nl.Sequential(nl.Dense(), layer, MEAN, nl.Dense())
    table = layer.draw((4, 3), 200_000, seed=0)
    places = np.stack(np.meshgrid(np.arange(4), np.arange(3), indexing="ij"), -1).reshape(-1, 2)
    R = np.exp(-((places[:, None] - places) ** 2).sum(-1) / (2 * 1.5**2))
    units = table.reshape(12, -1).numpy()
    assert units @ units.T / 200_000 == pytest.approx(R, abs=0.012)  # five standard errors
    assert torch.equal(layer.draw((3,), 7, seed=2), layer.draw((40,), 7, seed=2)[:3])  # the beginning stays
    assert torch.isfinite(nl.PositionalEncoding(0.5, 1e6).draw((500,), 2, seed=0)).all()

    for shape in ((5, 3), (None, 3)):
        net = arch.finite(8, shape, seed=1, dtype=torch.float64)
        assert [name for name, _ in net.named_parameters()] == ["body.0.weight", "body.3.weight"]
        x = torch.tensor(SEQUENCES)
        out = net(x)
        assert torch.equal(out, arch.finite(8, shape, seed=1, dtype=torch.float64)(x))
        other = arch.finite(8, shape, seed=2, dtype=torch.float64)
        assert not torch.allclose(out, other(x))
        other.load_state_dict(net.state_dict())
        assert torch.equal(out, other(x))
        single = arch.finite(8, shape, seed=1, dtype=torch.float32)(x.float())
        assert torch.allclose(out.float(), single, rtol=1e-4, atol=1e-5)


def test_padding_changes_nothing_in_a_finite_network():
    arch = nl.Sequential(nl.Dense(), nl.PositionalEncoding(), nl.Attention(), MEAN, nl.Dense())
    net = arch.finite(8, (None, 3), seed=1, dtype=torch.float64)
    longer = [*RAGGED, random.standard_normal((21, 3))]
    alone = torch.cat([net([x]) for x in longer])
    assert torch.allclose(net(RAGGED), alone[:-1], rtol=1e-12)
    assert torch.allclose(net(longer), alone, rtol=1e-12)


def test_encodings_are_redrawn_in_the_same_way_within_transforms(monkeypatch):
    arch = nl.Sequential(nl.PositionalEncoding(), nl.Attention(), MEAN, nl.Dense())
    net = arch.finite(4, (None, 3), seed=1, dtype=torch.float64)
    x = torch.tensor(SEQUENCES)
    rows = torch.func.vmap(lambda sample: net(sample[None])[0])(x)
    assert torch.allclose(rows, net(x), rtol=1e-12)
    draws = []
    monkeypatch.setattr(
        encoding.PositionalEncoding, "draw", lambda *a, **k: draws.append(a) or pytest.fail("drawn again")
    )
    net(x)
    assert not draws


# --- errors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: nl.Attention("relu"),
            ValueError,
            "mechanism must be one of 'softmax', 'identity', got 'relu'",
        ),
        (
            lambda: nl.Attention(scaling="1"),
            ValueError,
            r"scaling must be one of '1/d', '1/sqrt\(d\)', got '1'",
        ),
        (
            lambda: nl.Attention("softmax", "1/sqrt(d)"),
            ValueError,
            "no closed-form kernel; scaling '1/d' works",
        ),
        (lambda: nl.Attention(sigma_qk=-1), ValueError, "sigma_qk must be at least 0, got -1"),
        (lambda: nl.Attention(sigma_ov=math.nan), ValueError, "sigma_ov must be finite"),
        (lambda: nl.Attention(heads=0), ValueError, "heads must be at least 1, got 0"),
        (lambda: nl.Attention(heads=1.5), TypeError, "heads"),
        (lambda: nl.PositionalEncoding(-0.1), ValueError, "share must be at least 0"),
        (lambda: nl.PositionalEncoding(1.1), ValueError, "share must be at most 1, got 1.1"),
        (lambda: nl.PositionalEncoding(length_scale=0), ValueError, "length_scale must be above 0, got 0"),
    ],
)
def test_bad_arguments_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("layers", "x", "message"),
    [
        ([nl.Attention()], SEQUENCES[:, 0], r"Attention needs images .* got vectors: plain inputs"),
        ([nl.Dense(), nl.PositionalEncoding()], SEQUENCES[:, 0], "PositionalEncoding needs images"),
        ([nl.PositionalEncoding(), MEAN], SEQUENCES, r"random units to the input's features; put Dense\(\) before it"),
        ([nl.Dense(), nl.PositionalEncoding()], GRAPHS, "the nodes of graphs have no order"),
        ([nl.Dense(), MEAN, nl.Attention()], SEQUENCES, "layer 2, Attention.*after Flatten or pooling"),
        ([nl.Dense(), nl.Attention()], SEQUENCES, r"outputs still have positions \(sequences\)"),
        ([nl.Dense(), nl.ReLU(), nl.PositionalEncoding(), nl.Erf()], SEQUENCES, "layer 3, Erf.*Gaussian"),
        ([attention("product"), MEAN], 1e-110 * SEQUENCES, "cube of a standard deviation underflows torch.float64"),
        ([attention("identity"), MEAN], 1e-110 * SEQUENCES, "cube of a standard deviation underflows torch.float64"),
        ([attention("identity"), MEAN], 1e110 * SEQUENCES, "a standard deviation overflows torch.float64"),
        ([attention("product"), MEAN], 1e110 * SEQUENCES, "a standard deviation overflows torch.float64"),
    ],
)  # fmt: skip
def test_kernels_without_meaning_are_refused(layers, x, message):
    with pytest.raises(ValueError, match=message):
        nl.Sequential(*layers).kernel(x)


@pytest.mark.parametrize(
    ("layers", "shape", "message"),
    [
        (
            [nl.Attention(), MEAN],
            (5, 3),
            r"Attention cannot be the last layer with weights: put Dense\(\) after it",
        ),
        ([nl.Attention(), nl.Dense()], (3,), "Attention needs positions, got vectors"),
        ([nl.PositionalEncoding(), nl.Dense()], (3,), "PositionalEncoding needs positions, got vectors"),
        ([nl.Aggregate(), nl.PositionalEncoding(), nl.Dense()], (3,), "the nodes of graphs have no order"),
    ],
)
def test_finite_networks_without_meaning_are_refused(layers, shape, message):
    with pytest.raises(ValueError, match=message):
        nl.Sequential(*layers).finite(4, shape)
