"""Finite networks with positions: padding, parameters, and empirical kernels."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import ntklab as nl
from ntklab.padding import pack
from ntklab.scaled import Scaled
from tests.architectures.samples import ARCHITECTURES, CONV, GRAPHS, HEAD, IMAGES, RAGGED, RELU, shape

PADDED = [name for name, (_, x) in ARCHITECTURES.items() if isinstance(x, list)]


def network(name, width=6, outputs=2, **options):
    arch, x = ARCHITECTURES[name]
    return arch.finite(width, shape(x), outputs, **{"seed": 0, "dtype": torch.float64, **options})


def tensors(x):
    return x if isinstance(x, list) else torch.tensor(x)


@pytest.mark.parametrize("name", PADDED)
def test_padding_changes_nothing(name):
    net, (_, x) = network(name), ARCHITECTURES[name]
    long = nl.Graph(np.ones((20, 3)), np.ones((20, 20))) if isinstance(x[0], nl.Graph) else np.ones((20, 3))
    together, alone = net(x), torch.cat([net([sample]) for sample in x])
    assert together.shape == (4, 2)
    torch.testing.assert_close(together, alone, rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(net([*x, long])[:4], alone, rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(net(torch.tensor(pack([*x, long]))[:4]), alone, rtol=1e-13, atol=1e-14)
    gradients = []
    for batch in (x, [*x, long]):
        net.zero_grad()
        net(batch)[:4].square().sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in net.parameters()]))
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-13)


def test_what_stands_in_padding_changes_nothing():
    for name in ("ragged", "ragged, sum", "graph", "graph, mean"):
        net, (_, x) = network(name), ARCHITECTURES[name]
        packed = torch.tensor(pack(x))
        dirty = packed.clone()
        dirty[..., :3] += 1e3 * (packed[..., 3:4] == 0)
        torch.testing.assert_close(net(dirty), net(packed), rtol=1e-12, atol=1e-13)


def test_networks_at_nodes_pad_at_the_front():
    net = nl.Sequential(nl.Dense(1.2, 0.3), RELU, nl.Aggregate(), HEAD).finite(
        5, (None, 3), 2, seed=0, dtype=torch.float64
    )
    out = net(GRAPHS)
    assert out.shape == (4, 5, 2)
    for row, graph in zip(out, GRAPHS, strict=True):
        torch.testing.assert_close(row[-len(graph) :], net([graph])[0], rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("outputs", ["average", "full"])
def test_structured_empirical_kernels_are_those_of_the_jacobian(name, outputs):
    net, (_, x) = network(name), ARCHITECTURES[name]
    structured, jacobian = (
        nl.empirical_ntk(net, x, outputs=outputs, method=m) for m in ("structured", "jacobian")
    )
    np.testing.assert_allclose(structured, jacobian, rtol=1e-9, atol=1e-11)
    pair = nl.empirical_ntk(net, x[:1], x[1:], outputs=outputs)
    np.testing.assert_allclose(pair, structured[:1, 1:], rtol=1e-9, atol=1e-11)


def test_empirical_kernels_at_nodes():
    net = nl.Sequential(nl.Dense(1.2, 0.3), RELU, nl.Aggregate(), HEAD).finite(
        5, (None, 3), seed=0, dtype=torch.float64
    )
    a, b = (nl.empirical_ntk(net, GRAPHS, outputs="full", method=m) for m in ("structured", "jacobian"))
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_dtypes_share_their_normals_and_parameterizations_their_function(name):
    _, x = ARCHITECTURES[name]
    double, single, standard = (
        network(name),
        network(name, dtype=torch.float32),
        network(name, parameterization="standard"),
    )
    for a, b in zip(double.parameters(), single.parameters(), strict=True):
        assert torch.equal(a.float(), b)
    low = single(x if isinstance(x, list) else torch.tensor(x).float())
    torch.testing.assert_close(low.double(), double(tensors(x)), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(standard(tensors(x)), double(tensors(x)), rtol=1e-12, atol=1e-13)
    assert not torch.equal(network(name, seed=1)(tensors(x)), double(tensors(x)))


@pytest.mark.parametrize("padding", ["same", "valid", "circular"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("parameterization", ["ntk", "standard", "mup"])
def test_forward_pass_written_out(padding, stride, parameterization):
    """z = s_w/sqrt(c |k|) W * h + s_b b, with torch's own convolution; muP's readout has 1 / fan_in."""
    arch = nl.Sequential(
        nl.Conv((3, 1), 1.3, 0.4, padding, stride), nl.Erf(), nl.Flatten(), nl.Dense(0.8, 0.1)
    )
    net = arch.finite(5, (2, 4, 4), 3, parameterization, seed=2, dtype=torch.float64)
    W, b, V, c = arch.finite(5, (2, 4, 4), 3, seed=2, dtype=torch.float64).parameters()
    x = torch.tensor(IMAGES)
    h = (
        x
        if padding == "valid"
        else F.pad(x, (0, 0, 1, 1), mode="circular" if padding == "circular" else "constant")
    )
    h = torch.erf(1.3 / math.sqrt(6) * F.conv2d(h, W, stride=stride) + 0.4 * b[:, None, None]).flatten(1)
    fan_in = h.shape[1]
    want = 0.8 / (fan_in if parameterization == "mup" else math.sqrt(fan_in)) * h @ V.T + 0.1 * c
    torch.testing.assert_close(net(x), want, rtol=1e-12, atol=1e-13)


def test_standard_weights_have_the_variance_of_their_fan_in():
    arch = nl.Sequential(nl.Conv(3, 1.5, 0.5), RELU, nl.Conv((1, 3), 0.7), RELU, nl.Flatten(), nl.Dense(2.0))
    net = arch.finite(200, (3, 4, 4), 50, "standard", seed=0)
    layers = [module for module in net.modules() if isinstance(module, Scaled)]
    for layer, sigma, fan_in in zip(layers, (1.5, 0.7, 2.0), (27, 600, 3200), strict=True):
        assert layer.weight_scale == layer.bias_scale == 1
        std, count = float(layer.weight.detach().std()), layer.weight.numel()
        assert std == pytest.approx(sigma / math.sqrt(fan_in), rel=5 / math.sqrt(2 * count))
    assert float(layers[0].bias.detach().std()) == pytest.approx(0.5, rel=5 / math.sqrt(400))
    assert [layer.role for layer in layers] == ["input", "hidden", "readout"] and layers[1].bias is None


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("parameterization", ["ntk", "standard", "mup"])
@pytest.mark.parametrize("head", [nl.Flatten(), nl.GlobalAvgPool()], ids=repr)
def test_one_step_moves_the_output_by_an_amount_free_of_the_width(parameterization, optimizer, head):
    arch = nl.Sequential(
        nl.Conv(3, 1.4, 0.3), nl.Erf(), nl.Conv(3, 1.2, 0.2), nl.Erf(), head, nl.Dense(0.8, 0.1)
    )
    make = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]
    x, widths, moves = torch.tensor(IMAGES), (32, 256), []
    for width in widths:
        total = 0.0
        for seed in range(10):
            net = arch.finite(
                width, (2, 4, 4), parameterization=parameterization, seed=seed, dtype=torch.float64
            )
            before = net(x).detach()
            step = make(net.parameter_groups(1e-4, optimizer))
            (net(x) - 3).square().mean().backward()
            step.step()
            total += float((net(x).detach() - before).mean())
        moves.append(total / 10)
    assert min(moves) > 0
    assert abs(math.log(moves[1] / moves[0]) / math.log(8)) < 0.15, moves


def test_parameter_groups_hold_every_trained_parameter_once():
    for name in ARCHITECTURES:
        net = network(name)
        grouped = [p for group in net.parameter_groups(0.1, "adam") for p in group["params"]]
        trained = [p for p in net.parameters() if p.requires_grad]
        assert len(grouped) == len(trained) and {id(p) for p in grouped} == {id(p) for p in trained}
    frozen = network("frozen")
    assert [p.requires_grad for p in frozen.parameters()] == [True, True, False, False, True, True]


def test_widths_one_for_each_layer_and_fixed_lengths_as_free_ones():
    arch = nl.Sequential(CONV, RELU, nl.Conv(5, 1.1), RELU, nl.GlobalAvgPool(), HEAD)
    net = arch.finite([4, 7], (None, 3), 2, seed=0, dtype=torch.float64)
    assert [tuple(m.weight.shape) for m in net.modules() if isinstance(m, Scaled)] == [
        (4, 3, 3),
        (7, 4, 5),
        (2, 7),
    ]
    fixed = arch.finite([4, 7], (6, 3), 2, seed=0, dtype=torch.float64)
    x = torch.tensor(RAGGED[3])[None]
    torch.testing.assert_close(fixed(x), net(list(x)), rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(fixed(x), net(x), rtol=1e-13, atol=1e-14)
