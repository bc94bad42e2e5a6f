"""Finite networks: parameterisations, seeds, widths, learning rates."""

import math

import numpy as np
import pytest
import torch

import ntklab as nl
from ntklab.finite import ScaledLinear

DEEP = nl.Sequential(nl.Dense(1.4, 0.3), nl.Erf(), nl.Dense(1.2, 0.2), nl.Erf(), nl.Dense(0.8, 0.1))
SHALLOW = nl.Sequential(nl.Dense(1.4, 0.3), nl.Erf(), nl.Dense(0.8, 0.1))
WIDTHS = (64, 256, 1024)
X = torch.tensor(np.random.default_rng(0).standard_normal((5, 3)))


def normal_of(layer, arch_layer, parameterization):
    """The standard normals behind a layer's weights."""
    if parameterization == "standard":
        return layer.weight * math.sqrt(layer.weight.shape[1]) / arch_layer.sigma_w
    return layer.weight


@pytest.mark.parametrize("parameterization", ["ntk", "standard", "mup"])
def test_forward_pass_written_out(parameterization):
    """z = s_w/sqrt(fan_in) W h + s_b b from the same normals; muP's readout has 1/m."""
    net = DEEP.finite(7, (3,), outputs=2, parameterization=parameterization, seed=5, dtype=torch.float64)
    reference = DEEP.finite(7, (3,), outputs=2, seed=5, dtype=torch.float64)
    h = X
    dense = [layer for layer in DEEP.layers if isinstance(layer, nl.Dense)]
    layers = [m for m in reference.modules() if isinstance(m, ScaledLinear)]
    for i, (layer, spec) in enumerate(zip(layers, dense, strict=True)):
        fan_in = h.shape[1]
        scale = fan_in if (parameterization == "mup" and i == 2) else math.sqrt(fan_in)
        h = spec.sigma_w / scale * h @ layer.weight.T + spec.sigma_b * layer.bias
        h = torch.erf(h) if i < 2 else h
    assert torch.allclose(net(X), h, atol=1e-14)


def test_mup_with_one_hidden_layer_is_mean_field():
    mup, mean_field = (
        SHALLOW.finite(16, (3,), parameterization=p, seed=1, dtype=torch.float64)
        for p in ("mup", "mean_field")
    )
    assert torch.equal(mup(X), mean_field(X))
    for a, b in zip(mup.parameter_groups(0.1), mean_field.parameter_groups(0.1), strict=True):
        assert a["lr"] == b["lr"]


def test_initial_weights_are_standard_normal_and_bias_is_absent_without_sigma_b():
    net = nl.Sequential(nl.Dense(3.0), nl.ReLU(), nl.Dense()).finite(4000, (50,), seed=0, dtype=torch.float64)
    weight = next(net.parameters()).detach()
    assert abs(float(weight.mean())) < 5 / math.sqrt(weight.numel())
    assert abs(float(weight.var()) - 1) < 5 * math.sqrt(2 / weight.numel())
    assert [name for name, _ in net.named_parameters() if "bias" in name] == []


def test_seed_gives_the_same_normals_in_every_dtype_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    double = DEEP.finite(9, (3,), seed=3, dtype=torch.float64)
    single = DEEP.finite(9, (3,), seed=3, dtype=torch.float32)
    fresh = [DEEP.finite(9, (3,), dtype=torch.float64) for _ in range(2)]
    assert torch.equal(before, torch.get_rng_state())
    for a, b in zip(double.parameters(), single.parameters(), strict=True):
        assert torch.equal(a.float(), b)
    assert not torch.equal(fresh[0](X), fresh[1](X))


def test_widths_one_for_each_hidden_layer():
    net = DEEP.finite([4, 6], 3, outputs=2, seed=0)
    shapes = [tuple(m.weight.shape) for m in net.modules() if isinstance(m, ScaledLinear)]
    assert shapes == [(4, 3), (6, 4), (2, 6)]


def test_frozen_layers_do_not_require_grad():
    net = nl.Sequential(nl.Dense(trainable=False), nl.ReLU(), nl.Dense()).finite(4, (3,), seed=0)
    assert [p.requires_grad for p in net.parameters()] == [False, True]
    assert sum(len(group["params"]) for group in net.parameter_groups(1.0)) == 1


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("parameterization", ["ntk", "standard", "mean_field", "mup"])
def test_one_step_moves_the_output_by_an_amount_free_of_the_width(parameterization, optimizer):
    """The rates of `parameter_groups`: the first step's size over widths 64 to 1024."""
    arch = SHALLOW if parameterization == "mean_field" else DEEP
    make = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]
    moves = []
    for width in WIDTHS:
        total = 0.0
        for seed in range(6):
            net = arch.finite(width, (3,), parameterization=parameterization, seed=seed, dtype=torch.float64)
            before = net(X).detach()
            step = make(net.parameter_groups(1e-3, optimizer))
            (net(X) - 3).square().mean().backward()
            step.step()
            total += float((net(X).detach() - before).mean())
        moves.append(total / 6)
    moves = np.array(moves)
    assert np.all(moves > 0)
    slope = np.polyfit(np.log(WIDTHS), np.log(moves), 1)[0]
    assert abs(slope) < 0.12, (moves, slope)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"width": 0}, "width must be at least 1"),
        ({"width": [3]}, "one entry for each of the 2 hidden layers, got 1"),
        ({"width": [3, 0]}, r"width\[1\] must be at least 1"),
        ({"width": 2.5}, "width must be an integer"),
        ({"outputs": 0}, "outputs must be at least 1"),
        ({"parameterization": "he"}, "parameterization must be one of 'ntk'"),
        ({"parameterization": "mean_field"}, "parameterization='mup'"),
        ({"input_shape": ()}, "input_shape must name"),
        ({"input_shape": (3, 4, 4)}, r"images of shape \(3, 4, 4\): Flatten\(\) makes them \(48,\)"),
        ({"input_shape": (-1,)}, "input_shape must be at least 1"),
        ({"seed": 1.5}, "seed must be an integer"),
        ({"dtype": torch.float16}, "dtype must be torch.float32 or torch.float64"),
    ],
)
def test_bad_arguments_are_named(kwargs, message):
    with pytest.raises((ValueError, TypeError), match=message):
        DEEP.finite(**{"width": 4, "input_shape": (3,), **kwargs})


def test_unequal_widths_at_a_sum_and_wrong_inputs_are_named():
    residual = nl.Sequential(nl.Dense(), nl.Residual(nl.ReLU(), nl.Dense()), nl.Dense())
    with pytest.raises(ValueError, match=r"equal widths, got \(5,\) and \(4,\)"):
        residual.finite([4, 5], (3,))
    with pytest.raises(ValueError, match="end the network with Dense"):
        nl.Sequential(nl.Dense(), nl.Residual(nl.ReLU(), nl.Dense())).finite(4, (3,))
    with pytest.raises(ValueError, match=r"x must have shape \(n, 3\)"):
        DEEP.finite(4, (3,))(torch.ones(2, 4))
    with pytest.raises(ValueError, match="at least one Dense"):
        nl.Sequential(nl.LayerNorm()).finite(4, (3,))
    with pytest.raises(ValueError, match="optimizer must be one of"):
        DEEP.finite(4, (3,)).parameter_groups(0.1, "lion")


def test_error_bars_of_the_monte_carlo_kernel_cover_the_limit():
    """z-scores of independent estimates have unit size."""
    exact = SHALLOW.kernel(X)
    scores = []
    for block in range(12):
        estimate = nl.monte_carlo_kernel(SHALLOW, X, width=256, seeds=16, seed=1000 * block)
        scores.append((estimate.ntk - exact.ntk) / estimate.ntk_error)
        scores.append((estimate.nngp - exact.nngp) / estimate.nngp_error)
    assert 0.75 < float(torch.stack(scores).square().mean().sqrt()) < 1.35
    with pytest.raises(ValueError, match="at least 2"):
        nl.monte_carlo_kernel(SHALLOW, X, seeds=1)
