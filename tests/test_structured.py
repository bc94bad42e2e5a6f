"""The structured kernel against one autograd call a pair: weight sharing, refusals, memory."""

import subprocess
import sys
import textwrap

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from ntklab.empirical import empirical_ntk
from ntklab.finite import ScaledLinear
from ntklab.structured import Uncovered, covers, factors, linear
from tests.test_empirical import assert_equal, averaged, mlp, normal, reference_ntk


def assert_structured_is_exact(model, x1, x2=None):
    want = reference_ntk(model, x1, x1 if x2 is None else x2)
    assert_equal(empirical_ntk(model, x1, x2, outputs="full", method="structured"), want)
    assert_equal(empirical_ntk(model, x1, x2, method="structured", batch_size=2), averaged(want))


@st.composite
def layers_1d(draw, channels, length):
    """One random layer for (n, channels, length), with what it makes of them."""
    kind = draw(st.sampled_from(["conv", "norm", "activation", "linear"]))
    if kind == "conv":
        groups = draw(st.sampled_from([g for g in (1, 2, 3) if channels % g == 0]))
        kernel, stride, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
        padding = draw(st.sampled_from([0, 1, 2, "valid"] + (["same"] if stride == 1 else [])))
        mode = draw(st.sampled_from(["zeros", "circular", "replicate"]))
        options = {"groups": groups, "bias": draw(st.booleans()), "padding_mode": mode}
        layer = nn.Conv1d(channels, 6, kernel, stride, padding, dilation, **options)
    elif kind == "linear":
        layer = nn.Linear(length, draw(st.integers(1, 6)), bias=draw(st.booleans()))
    elif kind == "norm":
        layer = draw(
            st.sampled_from(
                [
                    nn.GroupNorm(1, channels),
                    nn.LayerNorm([channels, length]),
                    nn.LayerNorm(length, bias=False),
                    nn.BatchNorm1d(channels).eval(),
                    nn.RMSNorm(length, eps=1e-3),
                ]
            )
        )
    else:
        layer = draw(st.sampled_from([nn.ReLU(), nn.Tanh(), nn.GELU()]))
    try:
        shape = layer.double()(torch.zeros(2, channels, length, dtype=torch.float64)).shape
    except (RuntimeError, ValueError):  # a kernel longer than its input
        return nn.Identity(), channels, length
    return layer, *shape[1:]


@st.composite
def networks(draw):
    torch.manual_seed(draw(st.integers(0, 10**6)))
    channels, length, modules = 3, draw(st.integers(1, 6)), []
    start = length
    for _ in range(draw(st.integers(1, 5))):
        layer, channels, length = draw(layers_1d(channels, length))
        modules.append(layer)
    model = nn.Sequential(*modules, nn.Flatten(), nn.Linear(channels * length, draw(st.integers(1, 3))))
    for p in model.double().parameters():
        p.requires_grad_(draw(st.integers(0, 4)) > 0)
        with torch.no_grad():
            p.add_(0.3 * torch.randn_like(p))
    model[-1].bias.requires_grad_(True)
    return model, start


@settings(max_examples=60)
@given(networks())
def test_random_networks_have_their_exact_kernel(drawn):
    model, length = drawn
    assert_structured_is_exact(model, normal(3, 3, length), normal(2, 3, length, seed=5))


@pytest.mark.parametrize("mode", ["zeros", "circular", "reflect", "replicate"])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3},
        {"kernel_size": (2, 3), "stride": (2, 1), "padding": (1, 2), "dilation": (2, 1)},
        {"kernel_size": (4, 3), "padding": "same", "dilation": (2, 1)},
        {"kernel_size": 3, "groups": 2, "padding": 1},
        {"kernel_size": 1, "bias": False},
    ],
    ids=str,
)
def test_convolutions_share_their_weights_over_pixels(options, mode):
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 4, **options, padding_mode=mode)
    model = nn.Sequential(conv, nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 2)).double()
    assert_structured_is_exact(model, normal(4, 2, 7, 6), normal(3, 2, 7, 6, seed=2))


class Recurrent(nn.Module):
    """h <- tanh(U x_t + V h): both layers are called once a step."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.u, self.v, self.out = nn.Linear(3, 5), nn.Linear(5, 5, bias=False), nn.Linear(5, 2)

    def forward(self, x):
        h = x.new_zeros(len(x), 5)
        for t in range(x.shape[1]):
            h = torch.tanh(self.u(x[:, t]) + self.v(h))
        return self.out(h)


def test_calls_of_one_layer_at_several_steps_have_cross_terms():
    assert_structured_is_exact(Recurrent().double(), normal(4, 6, 3), normal(3, 6, 3, seed=2))


class TwoLengths(nn.Module):
    """One layer, one norm and one convolution on inputs of different lengths."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.layer = nn.Conv1d(2, 2, 3), nn.GroupNorm(1, 2), nn.Linear(2, 3)

    def forward(self, x):
        parts = [self.norm(self.conv(part)) for part in (x, x[:, :, ::2])]
        return sum(self.layer(part.transpose(1, 2)).tanh().mean(1) for part in parts)


def test_calls_may_have_different_lengths():
    assert_structured_is_exact(TwoLengths().double(), normal(3, 2, 9))


@pytest.mark.parametrize("padding_idx", [None, 2])
def test_embeddings_meet_where_the_same_row_is_looked_up(padding_idx):
    torch.manual_seed(0)
    table = nn.Embedding(6, 4, padding_idx=padding_idx)
    model = nn.Sequential(table, nn.Flatten(), nn.Linear(20, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    tokens = torch.randint(6, (5, 5))
    assert_structured_is_exact(model, tokens, tokens[:3])
    full = empirical_ntk(model, tokens, outputs="full")
    assert_equal(full, empirical_ntk(model, tokens, outputs="full", method="jacobian"))
    assert empirical_ntk(model, tokens.tolist()).dtype == full.numpy().dtype


def test_scaled_linear_layers_carry_their_scales():
    torch.manual_seed(0)
    first = ScaledLinear(torch.randn(6, 3), torch.randn(6), 0.7, 0.3, "input")
    last = ScaledLinear(torch.randn(2, 6), None, 0.2, 0.0, "readout")
    assert_structured_is_exact(nn.Sequential(first, nn.ReLU(), last).double(), normal(4, 3))


def test_both_contraction_orders_and_both_forms_agree():
    """sum_ts (h_t.h'_s)(delta_t.delta'_s) = <sum_t delta_t h_t^T, sum_s delta'_s h'_s^T>."""
    a = factors.Outer(normal(3, 4, 5), normal(3, 2, 4, 6, seed=2))
    b = factors.Outer(normal(2, 7, 5, seed=3), normal(2, 2, 7, 6, seed=4))
    want = torch.einsum("iatp,itd,jbsp,jsd->iajb", a.delta, a.h, b.delta, b.h)
    for got in (a._dot_positions(b), a._dot_blocks(b), a.gradients().dot(b.gradients())):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    average = a.merged().dot(b.merged())[:, 0, :, 0]
    torch.testing.assert_close(average, want.diagonal(dim1=1, dim2=3).sum(-1), rtol=1e-12, atol=1e-12)


def test_contractions_in_small_tiles_give_the_same(monkeypatch):
    a = factors.Outer(normal(5, 2, 3), normal(5, 2, 2, 4))
    b = factors.Outer(normal(3, 2, 3), normal(3, 2, 2, 4))
    want = a._dot_positions(b)
    monkeypatch.setattr(factors, "_TILE", 1)
    torch.testing.assert_close(a._dot_positions(b), want, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(a._dot_blocks(b), want, rtol=1e-13, atol=1e-13)


def test_changes_in_place_after_a_layer_are_fine():
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(inplace=True), nn.Linear(5, 4), nn.ELU(inplace=True))
    assert_structured_is_exact(model.double(), normal(4, 3))


def test_user_hooks_that_change_an_output_are_seen():
    model = mlp(3, 4, 2)
    model[0].register_forward_hook(lambda module, args, output: 2 * output)
    assert_structured_is_exact(model, normal(4, 3))


def test_a_single_precision_kernel_is_right_to_single_precision():
    model, x = mlp(20, 64, 64, 3), normal(10, 20)
    want = reference_ntk(model, x, x)
    assert_equal(empirical_ntk(model.float(), x.float(), outputs="full").double(), want, relative=2e-6)


class Model(nn.Module):
    """A first layer, then whatever ``body(self, z)`` does with it."""

    def __init__(self, body, **modules):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 4)
        for name, module in modules.items():
            self.add_module(name, module)
        self.double()
        self.body = body

    def forward(self, x):
        return self.body(self, self.first(x))


class Square(torch.autograd.Function):
    """w -> w^2 in a way that only the autograd graph shows."""

    @staticmethod
    def forward(ctx, w):
        ctx.save_for_backward(w)
        return w * w

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad * ctx.saved_tensors[0]


def tied():
    model = Model(lambda self, z: self.other(self.last(z)), other=nn.Linear(4, 4))
    model.other.weight = model.last.weight
    return model


def penalised(self, z):
    return self.last(z) + self.last.weight.square().sum()


REFUSED = {
    "functional use": (Model(lambda self, z: F.linear(z, self.last.weight)), r"'last' \(Linear\).*also used"),
    "use beside the call": (Model(penalised), r"'last' \(Linear\).*also used"),
    "call of forward": (Model(lambda self, z: self.last.forward(z)), r"'last' \(Linear\).*also used"),
    "custom function": (
        Model(lambda self, z: self.last(z) * Square.apply(self.last.bias)),
        r"'last' \(Linear\).*also used",
    ),
    "weight tying": (tied(), r"'other' \(Linear\): shares 'weight' with 'last' \(Linear\)"),
    "parametrization": (
        Model(lambda self, z: self.other(z), other=nn.utils.parametrizations.weight_norm(nn.Linear(4, 2))),
        r"'other' \(ParametrizedLinear\): no rule for this class",
    ),
    "reparameterised by a hook": (
        Model(lambda self, z: self.other(z), other=nn.utils.spectral_norm(nn.Linear(4, 2))).eval(),
        r"'other' \(Linear\): no rule for its parameter 'weight_orig'",
    ),
    "two inputs": (
        Model(lambda self, z: self.other(z, z), other=nn.Bilinear(4, 4, 1)),
        r"'other' \(Bilinear\): no rule for this class",
    ),
    "three dimensions": (
        Model(lambda self, z: self.other(z[:, :, None, None, None]), other=nn.Conv3d(4, 2, 1)),
        r"'other' \(Conv3d\): no rule for this class",
    ),
    "samples folded away": (
        Model(lambda self, z: self.last(z.view(-1, 2, 2).repeat(1, 1, 2).view(-1, 4)).view(len(z), -1)),
        r"'last' \(Linear\): the first axis",
    ),
    "samples second": (
        Model(lambda self, z: self.last(torch.stack([z, z.sin(), -z])).sum(0)),
        r"'last' \(Linear\): the first axis",
    ),
    "hidden from autograd": (
        Model(lambda self, z: z + torch.func.vmap(self.last)(z)),
        r"'last' \(Linear\)",
    ),
    "table that renormalises": (
        nn.Sequential(nn.Embedding(4, 2, max_norm=1.0), nn.Flatten()).double(),
        r"'0' \(Embedding\): max_norm",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_silently_wrong_is_refused_by_name(name):
    model, message = REFUSED[name]
    with pytest.raises(Uncovered, match=message + ".*method='jacobian' works"):
        empirical_ntk(model, torch.ones(3, 3, dtype=torch.long), method="structured")
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("name", [name for name in REFUSED if "table" not in name and "custom" not in name])
def test_auto_is_right_where_structured_refuses(name):
    model, x = REFUSED[name][0], normal(3, 3)
    assert_equal(empirical_ntk(model, x, outputs="full"), reference_ntk(model, x, x))


def test_a_new_layer_joins_by_one_line(monkeypatch):
    class Doubled(nn.Linear):
        weight_scale = bias_scale = 2.0

        def forward(self, x):
            return 2 * super().forward(x)

    torch.manual_seed(0)
    model = nn.Sequential(Doubled(3, 4), nn.Tanh(), Doubled(4, 2)).double()
    with pytest.raises(Uncovered, match="Doubled"):
        empirical_ntk(model, normal(4, 3), method="structured")
    monkeypatch.setitem(covers, Doubled, linear)
    assert_structured_is_exact(model, normal(4, 3))


def test_hooks_are_gone_after_a_failing_forward():
    def fail(self, z):
        if len(z) > 2:
            raise KeyError("broken model")
        return self.last(z)

    model = Model(fail)
    with pytest.raises(KeyError, match="broken model"):
        empirical_ntk(model, normal(4, 3), method="structured")
    assert not any(module._forward_hooks for module in model.modules())


def _peak_growth_mb(width):
    """Growth of the peak memory of a fresh process through the kernel of a 16-width-width-1 network."""
    program = f"""
        import resource, torch
        from torch import nn
        from ntklab.empirical import empirical_ntk
        peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        small = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
        empirical_ntk(small, torch.randn(20, 16), method="structured")
        sizes = (16, {width}, {width}, 1)
        layers = [nn.Linear(a, b) for a, b in zip(sizes, sizes[1:])]
        model = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
        before = peak()
        empirical_ntk(model, torch.randn(20, 16), method="structured")
        print(peak() - before)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout)


def test_memory_is_free_of_the_parameter_count():
    """Weights grow from 16 to 256 MiB, the kernel's own memory stays under a tenth of them."""
    assert _peak_growth_mb(2048) < 26
    assert _peak_growth_mb(8192) < 26
