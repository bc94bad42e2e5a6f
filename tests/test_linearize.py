"""The linearised network against its definition, f0 + J (theta - theta0), with J from autograd."""

import copy

import pytest
import torch
from torch import nn

import ntklab.finite
from ntklab.empirical import empirical_ntk
from ntklab.linearize import linearize
from tests.test_empirical import SumOfSines, mlp, normal


def jacobian(model, x):
    """(n, k, p): one backward pass for each sample and output."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    rows = [torch.autograd.grad(f, parameters, retain_graph=True) for f in model(x).flatten()]
    return torch.stack([torch.cat([g.flatten() for g in row]) for row in rows]).unflatten(0, (len(x), -1))


def move(model, scale=0.1, seed=3):
    """Move every trainable parameter by scale times a normal; returns the step, flat."""
    generator = torch.Generator().manual_seed(seed)
    steps = []
    for p in model.parameters():
        if p.requires_grad:
            step = scale * torch.randn(p.shape, generator=generator, dtype=torch.float64)
            p.data += step
            steps.append(step.flatten())
    return torch.cat(steps)


def convolutional():
    torch.manual_seed(0)
    layers = nn.Conv1d(2, 4, 3), nn.GroupNorm(2, 4), nn.GELU(), nn.Flatten(), nn.Linear(16, 2)
    return nn.Sequential(*layers).double()


@pytest.mark.parametrize(
    ("model", "x"),
    [(mlp(3, 8, 5, 2), normal(4, 3)), (convolutional(), normal(4, 2, 6)), (SumOfSines(), normal(4, 1))],
    ids=["mlp", "conv", "sum of sines"],
)
def test_outputs_are_the_first_order_expansion(model, x):
    linear = linearize(model)
    assert torch.equal(linear(x), model(x))
    want = model(x) + (jacobian(model, x.clone()) @ move(linear)).reshape(model(x).shape)
    torch.testing.assert_close(linear(x), want, rtol=1e-12, atol=1e-12)


def test_the_error_against_the_network_is_of_second_order():
    """f - f_lin = O(step^2): ten times smaller steps, a hundred times smaller gap."""
    x, gaps = normal(5, 3), []
    for scale in (1e-3, 1e-4):
        model = mlp(3, 8, 1)
        linear = linearize(model)
        move(model, scale)
        move(linear, scale)
        gaps.append((model(x) - linear(x)).abs().max().item())
    assert gaps[1] == pytest.approx(gaps[0] / 100, rel=0.01)


def test_gradients_by_the_parameters_are_those_at_the_anchor():
    """d/dtheta sum_i w_i f_lin(x_i) = J^T w, wherever theta is."""
    model, x, w = mlp(3, 6, 2), normal(5, 3), normal(5, 2)
    linear = linearize(model)
    move(linear, 1.0)
    (w * linear(x)).sum().backward()
    got = torch.cat([p.grad.flatten() for p in linear.parameters()])
    want = torch.einsum("ikp,ik->p", jacobian(model, x), w)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    linear.zero_grad()
    assert torch.autograd.gradgradcheck(lambda x: linear(x), (x[:2].requires_grad_(),))


def test_its_kernel_is_that_of_the_network_at_the_anchor_and_stays():
    model, x = mlp(3, 6, 2), normal(4, 3)
    want = empirical_ntk(model, x, outputs="full")
    linear = linearize(model)
    for _ in range(2):
        got = empirical_ntk(linear, x, outputs="full")
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
        move(linear, 1.0)


def test_training_by_gradient_descent_follows_the_constant_kernel():
    """f_{t+1} - y = (I - rate Theta / n) (f_t - y) for the loss 1/(2n) sum (f - y)^2."""
    model, x, y = mlp(3, 10, 1), normal(5, 3), normal(5, 1)
    kernel, linear = empirical_ntk(model, x), linearize(model)
    rate = 5 / torch.linalg.eigvalsh(kernel)[-1].item()
    optimizer = torch.optim.SGD(linear.parameters(), lr=rate)
    residual = (model(x) - y).detach()
    for _ in range(20):
        optimizer.zero_grad()
        ((linear(x) - y).square().sum() / 10).backward()
        optimizer.step()
        residual = residual - rate * kernel @ residual / 5
    torch.testing.assert_close(linear(x) - y, residual, rtol=1e-10, atol=1e-10)


def test_copy_and_original_do_not_influence_each_other():
    model, x = mlp(3, 6, 1), normal(4, 3)
    linear, before = linearize(model), model(x).detach()
    move(linear)
    assert torch.equal(model(x), before)
    after = linear(x).detach()
    move(model)
    model.train(False)
    assert torch.equal(linear(x), after)
    assert linear.training


def test_frozen_parameters_stay_frozen_and_later_frozen_ones_keep_their_place():
    model, x = mlp(3, 6, 1), normal(4, 3)
    model[0].weight.requires_grad_(False)
    linear = linearize(model)
    frozen = [name for name, p in linear.named_parameters() if not p.requires_grad]
    assert frozen == ["model.0.weight"]
    assert "anchor:0:weight" not in dict(linear.named_buffers())
    want = model(x) + (jacobian(model, x) @ move(linear)).reshape(4, 1)
    linear.requires_grad_(False)
    torch.testing.assert_close(linear(x), want, rtol=1e-12, atol=1e-12)


def test_state_dict_deepcopy_and_dtype_carry_the_anchor():
    model, x = mlp(3, 6, 2), normal(4, 3)
    linear = linearize(model)
    move(linear)
    want = linear(x)
    assert torch.equal(copy.deepcopy(linear)(x), want)
    other = linearize(mlp(3, 6, 2, seed=9))
    other.load_state_dict(linear.state_dict())
    assert torch.equal(other(x), want)
    single = copy.deepcopy(linear).float()(x.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), want, rtol=1e-5, atol=1e-5)


def test_shared_weights_and_a_second_linearisation():
    model, x = mlp(3, 3, 3), normal(4, 3)
    model[2].weight = model[0].weight
    linear = linearize(model)
    want = model(x) + (jacobian(model, x) @ move(linear)).reshape(4, 3)
    torch.testing.assert_close(linear(x), want, rtol=1e-12, atol=1e-12)
    again = linearize(linear)
    step = move(again, seed=5)
    want = want + (jacobian(model, x) @ step).reshape(4, 3)
    torch.testing.assert_close(again(x), want, rtol=1e-12, atol=1e-12)


def test_parameter_groups_are_over_its_own_parameters():
    class Net(nn.Linear):
        def parameter_groups(self, learning_rate, optimizer="sgd"):
            return [{"params": [self.weight], "lr": 2 * learning_rate}, {"params": [self.bias], "lr": 1.0}]

    model = Net(3, 1)
    for linear in (linearize(model), copy.deepcopy(linearize(model))):
        groups = linear.parameter_groups(0.5)
        assert groups[0]["params"][0] is linear.model.weight and groups[0]["lr"] == 1.0
    assert not hasattr(linearize(nn.Linear(3, 1)), "parameter_groups")


def test_networks_of_an_architecture_linearise():
    torch.manual_seed(0)
    first = ntklab.finite.ScaledLinear(torch.randn(6, 3), torch.randn(6), 0.7, 0.3, "input")
    last = ntklab.finite.ScaledLinear(torch.randn(2, 6), None, 0.2, 0.0, "readout")
    model, x = nn.Sequential(first, nn.ReLU(), last).double(), normal(4, 3)
    linear = linearize(model)
    want = model(x) + jacobian(model, x) @ move(linear)
    torch.testing.assert_close(linear(x), want, rtol=1e-12, atol=1e-12)


def test_what_cannot_be_linearised_is_an_error():
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module, got function"):
        linearize(lambda x: x)
    with pytest.raises(ValueError, match=r"requires_grad, ReLU has none"):
        linearize(nn.ReLU())
