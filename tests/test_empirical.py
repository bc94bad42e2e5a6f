"""The empirical kernel against slow, obvious references: one autograd call a pair, and finite differences."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from ntklab.empirical import empirical_ntk

METHODS = ("jacobian", "structured")


def reference_ntk(model, x1, x2):
    """<grad f_a(x1_i), grad f_b(x2_j)>, (n1, n2, k, k): one backward pass for each sample and output."""
    parameters = [p for p in model.parameters() if p.requires_grad]

    def gradients(x):
        rows = []
        for i in range(len(x)):
            outputs = model(x[i : i + 1]).reshape(-1)
            for a in range(len(outputs)):
                grads = torch.autograd.grad(outputs[a], parameters, retain_graph=True, allow_unused=True)
                full = [
                    torch.zeros_like(p) if g is None else g for p, g in zip(parameters, grads, strict=True)
                ]
                rows.append(torch.cat([g.flatten() for g in full]))
        return torch.stack(rows).unflatten(0, (len(x), -1))

    return torch.einsum("iap,jbp->ijab", gradients(x1), gradients(x2))


def averaged(full):
    return full.diagonal(dim1=2, dim2=3).mean(-1)


def assert_equal(got, want, relative=1e-10):
    assert got.shape == want.shape
    assert (got - want).abs().max() <= relative * want.abs().max()


def mlp(*widths, bias=True, activation=nn.Tanh, seed=0):
    torch.manual_seed(seed)
    layers = []
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out, bias=bias), activation()]
    return nn.Sequential(*layers[:-1]).double()


def normal(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class SumOfSines(nn.Module):
    """f(x) = sum_r a_r sin(w_r x + p_r), a model that is no network."""

    def __init__(self, terms=5):
        super().__init__()
        self.a, self.w, self.p = (nn.Parameter(normal(terms, seed=s)) for s in range(3))

    def forward(self, x):
        return (self.a * torch.sin(x * self.w + self.p)).sum(-1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("k", [1, 3])
def test_kernel_is_the_inner_product_of_gradients(method, k):
    model, x1, x2 = mlp(4, 7, 6, k), normal(5, 4), normal(3, 4, seed=2)
    want = reference_ntk(model, x1, x2)
    assert_equal(empirical_ntk(model, x1, x2, outputs="full", method=method), want)
    assert_equal(empirical_ntk(model, x1, x2, method=method), averaged(want))


@pytest.mark.parametrize("method", METHODS)
def test_two_layer_relu_kernel_has_its_closed_form(method):
    """f = a.relu(Wx): Theta = sum_r relu(w_r.x) relu(w_r.x') + a_r^2 [w_r.x > 0][w_r.x' > 0] x.x'."""
    model, x = mlp(3, 20, 1, bias=False, activation=nn.ReLU), normal(6, 3)
    w, a = (p.detach() for p in model.parameters())
    z = x @ w.T
    want = z.relu() @ z.relu().T + ((z > 0) * a) @ ((z > 0) * a).T * (x @ x.T)
    assert_equal(empirical_ntk(model, x, method=method), want)


@pytest.mark.parametrize("method", METHODS)
def test_kernel_is_the_finite_difference_of_outputs_along_gradients(method):
    """d/de f_b(x'; theta + e grad f_a(x)) at e = 0 is Theta_ab(x, x'), by a central difference."""
    model, x = mlp(3, 5, 2), normal(4, 3)
    got = empirical_ntk(model, x, outputs="full", method=method)
    parameters = list(model.parameters())
    for i in range(4):
        for a in range(2):
            direction = torch.autograd.grad(model(x[i : i + 1])[0, a], parameters)
            shifted = []
            for step in (1e-5, -1e-5):
                with torch.no_grad():
                    for p, d in zip(parameters, direction, strict=True):
                        p += step * d
                    shifted.append(model(x))
                    for p, d in zip(parameters, direction, strict=True):
                        p -= step * d
            slope = (shifted[0] - shifted[1]) / 2e-5
            torch.testing.assert_close(got[i, :, a], slope, rtol=1e-7, atol=1e-7)


def test_linear_model_has_the_linear_kernel():
    """f = Wx + b with k outputs: Theta_ab = delta_ab (x.x' + 1)."""
    model, x = mlp(4, 3), normal(5, 4)
    want = torch.einsum("ij,ab->ijab", x @ x.T + 1, torch.eye(3, dtype=torch.float64))
    for method in METHODS:
        assert_equal(empirical_ntk(model, x, outputs="full", method=method), want)


def test_sum_of_sines_has_a_kernel_through_auto():
    """Theta = sum_r sin sin + a_r^2 (x x' + 1) cos cos: a neural tangent kernel without a network."""
    model, x = SumOfSines(), normal(6, 1)
    a, w, p = (parameter.detach() for parameter in model.parameters())
    s, c = torch.sin(x * w + p), a * torch.cos(x * w + p)
    assert_equal(empirical_ntk(model, x), s @ s.T + (x @ x.T + 1) * (c @ c.T))
    with pytest.raises(ValueError, match=r"SumOfSines.*method='jacobian' works"):
        empirical_ntk(model, x, method="structured")


@settings(max_examples=30)
@given(
    widths=st.lists(st.integers(1, 12), min_size=0, max_size=3),
    k=st.integers(1, 3),
    activation=st.sampled_from([nn.ReLU, nn.Tanh, nn.GELU, nn.Softplus, nn.ELU]),
    seed=st.integers(0, 10**6),
    method=st.sampled_from(METHODS),
)
def test_every_network_has_a_symmetric_positive_semidefinite_kernel(widths, k, activation, seed, method):
    model, x = mlp(3, *widths, k, activation=activation, seed=seed), normal(7, 3, seed=seed)
    full = empirical_ntk(model, x, outputs="full", method=method)
    assert torch.equal(full, full.permute(1, 0, 3, 2))
    matrix = full.permute(0, 2, 1, 3).reshape(7 * k, 7 * k)
    eigenvalues = torch.linalg.eigvalsh(matrix)
    assert eigenvalues.min() >= -7 * k * torch.finfo(torch.float64).eps * eigenvalues.max()
    average = empirical_ntk(model, x, method=method)
    assert torch.equal(average, average.T)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_kernel_does_not_depend_on_batch_size(method, batch_size):
    model, x1, x2 = mlp(4, 6, 2), normal(5, 4), normal(7, 4, seed=2)
    for other in (None, x2):
        for outputs in ("average", "full"):
            want = empirical_ntk(model, x1, other, outputs=outputs, method=method)
            got = empirical_ntk(model, x1, other, outputs=outputs, method=method, batch_size=batch_size)
            assert_equal(got, want, relative=1e-13)
    chunked = empirical_ntk(model, x2, method=method, batch_size=batch_size)
    assert torch.equal(chunked, chunked.T)


@pytest.mark.parametrize("method", METHODS)
def test_output_axes_beyond_the_first_are_outputs(method):
    model = nn.Sequential(mlp(3, 4, 6), nn.Unflatten(1, (2, 3)))
    x = normal(4, 3)
    assert_equal(
        empirical_ntk(model, x, outputs="full", method=method),
        empirical_ntk(model[0], x, outputs="full", method=method),
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("flatten", [nn.Flatten(0), nn.Identity()])
def test_one_sample_and_outputs_without_an_axis(method, flatten):
    model = nn.Sequential(mlp(3, 4, 1), flatten)
    x = normal(3, 3)
    want = averaged(reference_ntk(model, x, x))
    assert_equal(empirical_ntk(model, x, method=method), want)
    assert_equal(empirical_ntk(model, x[:1], method=method), want[:1, :1])
    assert_equal(empirical_ntk(model, x, x[:1], method=method), want[:, :1])


@pytest.mark.parametrize("method", METHODS)
def test_frozen_and_unused_parameters_add_nothing(method):
    model, x = mlp(3, 5, 4, 2), normal(4, 3)
    model.add_module("unused", nn.Identity())
    model.unused.spare = nn.Linear(3, 3).double()
    model[0].requires_grad_(False)
    model[2].weight.requires_grad_(False)
    model[4].bias.requires_grad_(False)
    want = reference_ntk(model, x, x)
    assert_equal(empirical_ntk(model, x, outputs="full", method=method), want)


def test_outputs_that_depend_on_no_parameter_have_the_zero_kernel():
    class Constant(nn.Linear):
        def forward(self, x):
            return x.sum(1)

    x = normal(3, 2)
    assert torch.equal(empirical_ntk(Constant(2, 1).double(), x), torch.zeros(3, 3, dtype=torch.float64))
    unused = nn.Sequential(nn.Flatten())
    unused[0].spare = nn.Linear(2, 2).double()
    for method in METHODS:
        assert torch.equal(empirical_ntk(unused, x, method=method), torch.zeros(3, 3, dtype=torch.float64))


class Branching(nn.Module):
    """Chooses its layer by the data: no batching rule exists."""

    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(3, 2).double(), nn.Linear(3, 2).double()

    def forward(self, x):
        return torch.cat([self.up(row) if row.sum().item() > 0 else self.down(row) for row in x.split(1)])


def test_control_flow_on_the_data_falls_back_to_one_sample_at_a_time():
    model, x = Branching(), normal(6, 3)
    want = reference_ntk(model, x, x)
    assert_equal(empirical_ntk(model, x, outputs="full", method="jacobian"), want)
    assert_equal(empirical_ntk(model, x, outputs="full"), want)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor, list], ids=["numpy", "torch", "list"])
def test_kind_of_array_and_dtype_of_result(method, make):
    values = [[1, 2, 3], [0, -1, 4]]
    model = mlp(3, 4, 1).float()
    got = empirical_ntk(model, make(values), method=method)
    assert isinstance(got, torch.Tensor if make is torch.as_tensor else np.ndarray)
    assert got.dtype in (torch.float32, np.float32)
    x = torch.tensor(values, dtype=torch.float64)
    want = averaged(reference_ntk(model.double(), x, x))
    np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_samples_are_cast_to_the_dtype_of_the_model(method):
    model, x = mlp(3, 4, 1), normal(3, 3)
    got = empirical_ntk(model, x.float(), x.numpy(), method=method)
    assert got.dtype == torch.float64 and isinstance(got, torch.Tensor)
    assert_equal(got, empirical_ntk(model, x.float().double(), x))


@pytest.mark.parametrize("method", METHODS)
def test_state_of_the_model_and_the_generators_is_untouched(method):
    model = nn.Sequential(mlp(3, 4), nn.BatchNorm1d(4).double().eval(), nn.ReLU(), nn.Linear(4, 1).double())
    model.train()
    model[1].eval()
    model[3].weight.grad = torch.ones_like(model[3].weight)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with torch.no_grad():
        empirical_ntk(model, normal(4, 3), method=method)
    assert torch.equal(before, torch.get_rng_state())
    assert model.training and not model[1].training
    assert model[0][0].weight.grad is None and torch.equal(
        model[3].weight.grad, torch.ones_like(model[3].weight)
    )
    assert all(p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])


@pytest.mark.parametrize("method", ["auto", *METHODS])
@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.Dropout(0.2), r"'1' \(Dropout\) drops at random"),
        (nn.BatchNorm1d(4), r"'1' \(BatchNorm1d\) uses batch statistics"),
        (nn.BatchNorm1d(4, track_running_stats=False).eval(), r"'1' \(BatchNorm1d\) uses batch statistics"),
        (nn.RReLU(), r"'1' \(RReLU\) draws its slopes at random"),
    ],
    ids=["dropout", "batch norm", "batch norm without statistics", "random slopes"],
)
def test_layers_that_are_no_function_of_one_sample_are_errors(method, layer, message):
    with pytest.raises(ValueError, match=message):
        empirical_ntk(nn.Sequential(nn.Linear(3, 4), layer), normal(5, 3), method=method)


class Functional(nn.Module):
    """A linear layer followed by any function of the whole batch."""

    def __init__(self, function):
        super().__init__()
        self.layer, self.function = nn.Linear(3, 4).double(), function

    def forward(self, x):
        return self.function(self.layer(x))


@pytest.mark.parametrize("method", ["auto", *METHODS])
@pytest.mark.parametrize(
    "function",
    [lambda z: F.dropout(z, 0.5), lambda z: z - z.mean(0), lambda z: z + torch.randn_like(z)],
    ids=["dropout", "batch mean", "noise"],
)
def test_hidden_noise_and_batch_statistics_are_errors(method, function):
    with pytest.raises(ValueError, match="depends on the other samples or on chance"):
        empirical_ntk(Functional(function), normal(4, 3), method=method)


def test_hidden_noise_is_an_error_for_one_sample_too():
    torch.manual_seed(0)
    with pytest.raises(ValueError, match="on chance"):
        empirical_ntk(Functional(lambda z: z * torch.rand_like(z)), normal(1, 3))


def test_inactive_dropout_and_batch_norm_are_fine():
    model = nn.Sequential(mlp(3, 4), nn.Dropout(0.5), nn.BatchNorm1d(4).double(), nn.Dropout(0.0)).eval()
    x = normal(4, 3)
    for method in METHODS:
        got = empirical_ntk(model, x, outputs="full", method=method)
        assert_equal(got, reference_ntk(model, x, x))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x1": [[1.0, float("nan"), 0.0]]}, ValueError, "x1 must be finite, got nan"),
        ({"x2": [[1.0, float("inf"), 0.0]]}, ValueError, "x2 must be finite, got inf"),
        ({"x1": np.zeros((0, 3))}, ValueError, "x1 is empty"),
        ({"x1": 1.0}, ValueError, "x1 must be samples"),
        ({"x1": [["a", "b", "c"]]}, TypeError, "x1 must hold real numbers"),
        ({"outputs": "all"}, ValueError, "outputs must be one of 'average', 'full'"),
        ({"method": "fast"}, ValueError, "method must be one of"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"model": nn.ReLU()}, ValueError, "ReLU has none"),
        ({"model": nn.Linear(3, 1).requires_grad_(False)}, ValueError, "requires_grad"),
        ({"model": torch.sin}, TypeError, "model must be a torch.nn.Module"),
        (
            {"model": nn.Sequential(nn.Linear(3, 1), nn.Unflatten(0, (1, -1)))},
            ValueError,
            "one row",
        ),
        ({"model": nn.LSTM(3, 2)}, TypeError, "must return a tensor, got tuple"),
    ],
)
def test_bad_arguments_are_named(change, error, message):
    arguments = {"model": nn.Linear(3, 1), "x1": np.ones((2, 3)), "x2": None, **change}
    with pytest.raises(error, match=message):
        empirical_ntk(**arguments)


@pytest.mark.parametrize("method", ["auto", *METHODS])
@pytest.mark.parametrize("shapes", [((2, 4), None), ((2, 3), (2, 4)), ((2, 3), (5,))])
def test_samples_of_a_shape_that_the_model_does_not_take_are_an_error(method, shapes):
    x1, x2 = (None if shape is None else np.ones(shape) for shape in shapes)
    with pytest.raises(ValueError, match="the model fails on inputs of shape"):
        empirical_ntk(nn.Linear(3, 2), x1, x2, method=method)


def test_samples_beyond_the_range_of_the_models_dtype_are_an_error():
    with pytest.raises(ValueError, match="x1 must be finite"):
        empirical_ntk(nn.Linear(1, 1), np.array([[1e300]]))
    with pytest.raises(ValueError, match=r"leaves the range of torch\.float32"):
        empirical_ntk(nn.Linear(1, 1), np.array([[1e30]]))


def test_the_benchmarked_peers_compute_the_same_kernel():
    from benchmarks.empirical import METHODS as PEERS

    model, x = mlp(3, 8, 8, 1).float(), normal(5, 3).float()
    want = averaged(reference_ntk(model, x, x))
    for kernel in PEERS.values():
        assert_equal(kernel(model, x), want, relative=1e-5)
