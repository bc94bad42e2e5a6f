"""The loops of reference.py against another library's values and against random finite layers."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import erf

from tests.architectures import reference
from tests.oracles import angular, trapezoid

STORED = json.loads(Path(__file__).with_name("peer_values.json").read_text())
INPUTS = {name: np.array(x) for name, x in STORED["inputs"].items()}

RELU, ERF = ("activation", "relu"), ("activation", "erf")
MEAN, SUM, FLATTEN, NORM = ("global_pool",), ("global_pool", "sum"), ("flatten",), ("layernorm",)
HEAD = ("dense", 1.1, 0.1)
QK, OV = math.sqrt(1.2 * 0.9), 1.1 * 0.8  # as peer.py has them


def conv(padding="same", stride=1, size=3, sigma_w=1.3, sigma_b=0.2):
    return ("conv", size, sigma_w, sigma_b, padding, stride)


def attention(mechanism, scaling="1/d"):
    return ("attention", mechanism, scaling, QK, OV)


SOFT, LINEAR, PRODUCT = attention("softmax"), attention("identity"), attention("identity", "1/sqrt(d)")
IMAGES = {
    "conv-same-flatten": [conv(), RELU, conv(sigma_w=1.2), ERF, FLATTEN, HEAD],
    "conv-same-stride2-flatten": [conv(stride=2), RELU, conv(stride=2), RELU, FLATTEN, HEAD],
    "conv-same-5-flatten": [conv(size=5), RELU, FLATTEN, HEAD],
    "conv-valid-flatten": [conv("valid"), ERF, conv("valid"), RELU, FLATTEN, HEAD],
    "conv-valid-stride2-flatten": [conv("valid", 2), RELU, FLATTEN, HEAD],
    "conv-circular-flatten": [conv("circular"), RELU, conv("circular"), ERF, FLATTEN, HEAD],
    "conv-circular-stride2-flatten": [conv("circular", 2), RELU, conv(), RELU, FLATTEN, HEAD],
    "conv-global-mean": [conv(), RELU, conv(sigma_w=1.2), ERF, MEAN, HEAD],
    "conv-circular-global-mean": [conv("circular"), RELU, conv("circular"), RELU, MEAN, HEAD],
    "conv-global-mean-of-gaussians-relu": [conv(), RELU, conv(), MEAN, RELU, HEAD],
    "conv-global-sum": [conv(), RELU, SUM, HEAD],
    "conv-pool-conv": [conv(), RELU, ("avgpool", 2), conv(), RELU, MEAN, HEAD],
    "conv-pool-relu": [conv(), ("avgpool", 2), RELU, FLATTEN, HEAD],
    "residual-projected": [
        conv(),
        ("residual", [RELU, conv(stride=2), ERF, conv(sigma_w=0.9)], [conv("same", 2, 1, 0.8, 0.1)]),
        RELU,
        MEAN,
        HEAD,
    ],
    "residual-identity": [conv(), ("residual", [RELU, conv()], []), RELU, FLATTEN, HEAD],
    "layernorm": [conv(), NORM, RELU, conv(), NORM, ERF, MEAN, HEAD],
    "layernorm-residual": [conv(), ("residual", [NORM, RELU, conv()], []), NORM, RELU, MEAN],
    "image-attention": [conv(), RELU, SOFT, MEAN, HEAD],
}
SEQUENCES = {
    "conv1d-same-flatten": [conv(), RELU, conv(), ERF, FLATTEN, HEAD],
    "conv1d-valid-stride2-mean": [conv("valid", 2), RELU, MEAN, HEAD],
    "conv1d-circular-mean": [conv("circular"), RELU, conv("circular"), ERF, MEAN, HEAD],
    "attention-softmax": [SOFT, MEAN, HEAD],
    "attention-softmax-deep": [("dense", 1.4, 0.1), RELU, SOFT, HEAD, ERF, SOFT, MEAN, HEAD],
    "attention-softmax-residual-norm": [
        ("dense", 1.4, 0.1),
        ("residual", [SOFT], []),
        NORM,
        HEAD,
        RELU,
        MEAN,
    ],
    "attention-identity-1/d": [LINEAR, MEAN, HEAD],
    "attention-identity-1/d-deep": [("dense", 1.4, 0.1), RELU, LINEAR, HEAD, ERF, LINEAR, MEAN, HEAD],
    "attention-identity-1/sqrt(d)": [PRODUCT, MEAN, HEAD],
    "attention-identity-1/sqrt(d)-deep": [
        *[("dense", 0.7, 0.1), RELU, PRODUCT, ("dense", 0.7, 0.1), ERF, PRODUCT, MEAN, HEAD]
    ],
    "positional-softmax": [("dense", 1.4, 0.1), RELU, ("positional", 0.25, 1.5, True), SOFT, MEAN, HEAD],
}
SUMS, MEANS = ("aggregate", "sum"), ("aggregate", "mean")
GRAPHS = {
    "graph-sum": [("dense", 1.3, 0.2), SUMS, RELU, SUM, HEAD],
    "graph-sum-deep": [("dense", 1.3, 0.2), SUMS, RELU, HEAD, RELU, SUMS, HEAD, ERF, MEAN, HEAD],
    "graph-mean": [MEANS, ("dense", 1.3, 0.2), RELU, MEANS, HEAD, RELU, MEAN, HEAD],
}


def through(steps, pair, adjacency=()):
    for kind, *options in steps:
        if kind == "residual":
            pair = reference.add(*(through(branch, pair, adjacency) for branch in options))
        elif kind == "aggregate":
            pair = reference.aggregate(pair, *adjacency, *options)
        else:
            pair = getattr(reference, kind)(pair, *options)
    return pair


def test_no_stored_value_is_forgotten():
    assert STORED["values"].keys() == IMAGES.keys() | SEQUENCES.keys() | GRAPHS.keys()


@pytest.mark.parametrize("name", STORED["values"])
def test_loops_agree_with_neural_tangents(name):
    kind = "images" if name in IMAGES else "sequences" if name in SEQUENCES else "features"
    x, A = INPUTS[kind], INPUTS["adjacency"]
    steps = (IMAGES | SEQUENCES | GRAPHS)[name]
    rows, columns = np.triu_indices(len(x))
    for at in (1, 4):  # the pairs (0, 1) and (1, 1); its LayerNorm adds 1e-12 to the variance
        i, j = rows[at], columns[at]
        K, theta = through(steps, reference.start(x[i], x[j]), (A[i], A[j])).block()
        assert K.item() == pytest.approx(STORED["values"][name]["nngp"][at], rel=1e-11)
        # Its angle between a pixel and itself, where it keeps no other pairs, is right to 1e-8 only.
        rel = 1e-8 if at == 4 and FLATTEN in steps else 1e-11
        assert theta.item() == pytest.approx(STORED["values"][name]["ntk"][at], rel=rel)


def test_layernorm_after_relu_is_the_correlation_of_many_units():
    pair = reference.start(np.array([1.0, 2.0, -1.0]), np.array([0.5, 1.0, 2.0]))
    units = np.random.default_rng(4).multivariate_normal([0, 0], pair.K, size=10**6)
    got = reference.layernorm(reference.activation(pair, "relu"))
    assert got.K == pytest.approx(np.corrcoef(np.maximum(units, 0).T), abs=0.005)
    assert got.mean == pytest.approx([0, 0])


@pytest.mark.parametrize(("a", "b", "c"), [(1.3, 0.6, 0.5), (0.4, 2.0, -0.7), (1.0, 1.0, 0.0)])
def test_moments_agree_with_integrals(a, b, c):
    s, t, rho = math.sqrt(a), math.sqrt(b), c / math.sqrt(a * b)
    relu, step = reference.ACTIVATIONS["relu"]
    want = angular(relu, relu, s, t, rho, 1), angular(step, step, s, t, rho, 0)
    assert reference.moments("relu", a, b, c) == pytest.approx(want, rel=1e-12)
    assert reference.mean_of("relu", a) == pytest.approx(math.sqrt(a) / math.sqrt(2 * math.pi))
    for name in ("erf", "tanh", "sin"):
        phi, slope = reference.ACTIVATIONS[name]
        want = trapezoid(phi, phi, s, t, rho), trapezoid(slope, slope, s, t, rho)
        assert reference.moments(name, a, b, c) == pytest.approx(want, rel=1e-9, abs=1e-12)
    assert reference.moments("sin", a, b, c)[0] == pytest.approx(math.exp(-(a + b) / 2) * math.sinh(c))
    assert erf(0.3) == pytest.approx(float(reference.ACTIVATIONS["erf"][0](0.3)))


# --- random finite layers ------------------------------------------------------------------------------------


def normal(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def sample(network, draws: int):
    """Means and standard errors over draws of K and of the empirical NTK.

    network() draws new weights and returns (weights, outputs (positions of x and x', units)).
    """
    kernels, tangents = [], []
    torch.manual_seed(0)
    for _ in range(draws):
        weights, outputs = network()
        kernels.append((outputs @ outputs.T / outputs.shape[1]).detach())
        rows = [torch.autograd.grad(f, weights, retain_graph=True) for f in outputs[:, 0]]
        J = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])
        tangents.append(J @ J.T)
    stacks = [torch.stack(parts).numpy() for parts in (kernels, tangents)]
    return [(stack.mean(0), stack.std(0, ddof=1) / math.sqrt(draws)) for stack in stacks]


def assert_same(network, pair, draws, bias=0.0):
    """Within five standard errors; bias: what a finite width may add, relative to the largest value."""
    for (mean, error), want in zip(sample(network, draws), (pair.K, pair.theta), strict=True):
        top = np.abs(want).max()
        assert np.all(np.abs(mean - want) <= 5 * error + bias * top)
        assert np.all(5 * error + bias * top < 0.25 * top)  # it says something


def convolved(h, W, b, sigma_w, sigma_b, padding, stride):
    """The layer of the definition, with torch's convolution."""
    reach = 0 if padding == "valid" else (W.shape[-1] - 1) // 2
    mode = "circular" if padding == "circular" else "constant"
    dims = W.ndim - 2
    h = torch.nn.functional.pad(h, [reach] * 2 * dims, mode=mode)
    apply = torch.nn.functional.conv2d if dims == 2 else torch.nn.functional.conv1d
    return sigma_w / math.sqrt(W[0].numel()) * apply(h, W, stride=stride) + sigma_b * b.reshape(
        -1, *[1] * dims
    )


@pytest.mark.parametrize(
    ("dims", "padding", "stride"), [(1, "same", 2), (2, "valid", 1), (2, "circular", 2), (2, "same", 1)]
)
def test_conv_is_the_mean_over_random_conv_layers(dims, padding, stride):
    # One hidden layer: the means of both kernels are the limits at every width.
    x = np.random.default_rng(1).standard_normal((2, 2, *[4] * dims))
    width = 128

    def network():
        W, b, V, c = normal(width, 2, *[3] * dims), normal(width), normal(16, width, *[3] * dims), normal(16)
        h = convolved(torch.tensor(x), W, b, 1.2, 0.3, padding, stride).relu()
        out = convolved(h, V, c, 1.1, 0.2, "circular", 1)
        return [W, b, V, c], out.flatten(2).transpose(1, 2).reshape(-1, 16)

    pair = reference.start(*(x if dims == 2 else x.swapaxes(1, 2)))
    pair = reference.activation(reference.conv(pair, 3, 1.2, 0.3, padding, stride), "relu")
    assert_same(network, reference.conv(pair, 3, 1.1, 0.2, "circular"), draws=100)


def attended(g, units, heads, mechanism, tied, sigma_qk, sigma_ov, out):
    """One random attention layer on g (samples, positions, c): the definition, head by head."""
    c, power = g.shape[-1], 1 if tied else 0.5
    WQ, WK, WV = (normal(heads, c, units) for _ in range(3))
    WO = normal(heads, units, out)
    g = g[:, None]
    q, k, v = (g @ W / math.sqrt(c) for W in (WQ, WQ if tied else WK, WV))
    scores = sigma_qk**2 * q @ k.transpose(-1, -2) / units**power
    weights = torch.softmax(scores, -1) if mechanism == "softmax" else scores
    values = sigma_ov / math.sqrt(heads * units) * (weights @ v @ WO).sum(1)
    return [WQ, WV, WO] + ([] if tied else [WK]), values


@pytest.mark.parametrize("before", [False, True], ids=["raw", "after-dense"])
@pytest.mark.parametrize(
    ("mechanism", "scaling", "units", "heads", "draws", "bias"),
    [
        ("identity", "1/sqrt(d)", 8, 16, 500, 0.0),
        ("identity", "1/d", 384, 1, 40, 0.01),
        ("softmax", "1/d", 384, 1, 40, 0.01),
    ],
)
def test_attention_is_the_mean_over_random_layers(mechanism, scaling, units, heads, draws, bias, before):
    # On raw input the mean over "1/sqrt(d)" layers is the limit for every number of heads and units.
    x = np.random.default_rng(2).standard_normal((2, 3, 4))
    width, sigma_qk, sigma_ov = 256 if scaling == "1/sqrt(d)" else 384, 1.1, 0.9

    def network():
        h, weights = torch.tensor(x), []
        if before:
            weights = [normal(4, width)]
            h = 1.2 / 2 * h @ weights[0]
        own, out = attended(h, units, heads, mechanism, scaling == "1/d", sigma_qk, sigma_ov, 64)
        return weights + own, out.reshape(-1, 64)

    pair = reference.start(*x)
    if before:
        pair, bias = reference.dense(pair, 1.2), max(bias, 0.01)
    assert_same(network, reference.attention(pair, mechanism, scaling, sigma_qk, sigma_ov), draws, bias)


@pytest.mark.parametrize("readout", ["last", "mean"])
def test_recurrence_is_the_mean_over_random_recurrences(readout):
    x = [np.random.default_rng(3).standard_normal((t, 3)) for t in (2, 4)]
    width = 512

    def network():
        W, U, b, V = normal(width, width), normal(3, width), normal(width), normal(width, 64)
        outputs = []
        for sequence in x:
            h, states = torch.zeros(width, dtype=torch.float64), []
            for u in torch.tensor(sequence):
                a = 1.2 / math.sqrt(width) * W @ h + 0.9 / math.sqrt(3) * u @ U + 0.2 * b
                h = torch.erf(a)
                states.append(h)
            h = states[-1] if readout == "last" else torch.stack(states).mean(0)
            outputs.append(1.3 / math.sqrt(width) * h @ V)
        return [W, U, b, V], torch.stack(outputs)

    pair = reference.recurrent(reference.start(*x), "erf", 1.2, 0.9, 0.2, readout)
    assert_same(network, reference.dense(pair, 1.3), draws=100, bias=0.01)
