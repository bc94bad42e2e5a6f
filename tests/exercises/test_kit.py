"""The kit's data, networks and training against independent formulas; its checks against known mistakes."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from exercises import kit
from tests.exercises.notebooks import read_source


def _closed_form_ntk(net: kit.TwoLayerNet, x: np.ndarray) -> np.ndarray:
    """Theta of the two-layer tanh network, written out by hand."""
    w, b, a = (p.detach().numpy() for p in (net.hidden_weight, net.hidden_bias, net.readout_weight[0]))
    width, inputs = w.shape
    z = x @ w.T / np.sqrt(inputs) + b / 2
    slopes = a / np.cosh(z) ** 2
    return (np.tanh(z) @ np.tanh(z).T + slopes @ slopes.T * (x @ x.T / inputs + 0.25)) / width


def test_target_matrix_of_the_statement_is_the_closed_form():
    text = "\n".join(cell.source for cell in read_source("definition/ntk_matrix").cells)
    rows = re.search(r"\\begin\{pmatrix\}(.*?)\\end\{pmatrix\}", text, re.DOTALL).group(1).split(r"\\")
    stated = np.array([[float(entry) for entry in row.split("&")] for row in rows])
    exact = _closed_form_ntk(kit.TwoLayerNet(width=4), kit.circle(3)[0].numpy())
    np.testing.assert_allclose(stated, exact, atol=5.01e-6)


def test_two_layer_net_is_the_sum_over_its_neurons():
    net = kit.TwoLayerNet(width=3, inputs=2, outputs=2, activation=torch.relu, seed=4)
    x = np.array([0.7, -1.2])
    w, b, a = (p.detach().numpy() for p in (net.hidden_weight, net.hidden_bias, net.readout_weight))
    by_hand = [
        sum(a[k, j] * max(w[j] @ x / np.sqrt(2) + 0.5 * b[j], 0) for j in range(3)) / np.sqrt(3)
        for k in range(2)
    ]
    np.testing.assert_allclose(net(torch.tensor(x)[None]).detach().numpy()[0], by_hand, rtol=1e-14)


def test_same_seed_same_network_and_the_global_generator_is_untouched():
    state = torch.random.get_rng_state()
    one, two, other = (kit.TwoLayerNet(width=5, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.hidden_weight, two.hidden_weight)
    assert not torch.equal(one.hidden_weight, other.hidden_weight)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_circle_points_have_squared_norm_two_and_the_offset_gives_midpoints():
    x, y = kit.circle(12)
    between, _ = kit.circle(12, offset=0.5)
    angle = np.arctan2(*x.numpy().T[::-1])
    np.testing.assert_allclose((x**2).sum(1), 2, rtol=1e-14)
    np.testing.assert_allclose(y[:, 0], np.sin(angle) + np.cos(2 * angle) / 2, atol=1e-14)
    np.testing.assert_allclose((x[0] * between[0]).sum() / 2, np.cos(np.pi / 12), rtol=1e-14)


def test_one_training_step_descends_the_mean_loss_by_finite_differences():
    x, y = kit.circle(5)
    net = kit.TwoLayerNet(width=3)
    after = kit.trained(net, x, y, learning_rate=0.1, steps=1)

    def loss() -> float:
        return ((net(x) - y) ** 2).sum().item() / 10

    with torch.no_grad():
        weight = net.readout_weight
        for j in range(3):
            weight[0, j] += 1e-6
            up = loss()
            weight[0, j] -= 2e-6
            slope = (up - loss()) / 2e-6
            weight[0, j] += 1e-6
            assert (after.readout_weight[0, j] - weight[0, j]).item() == pytest.approx(-0.1 * slope, rel=1e-6)


@pytest.mark.parametrize(
    ("got", "message"),
    [
        (None, "return"),
        ("text", "expected an array or tensor"),
        ([[1.0, 2.0]], r"expected shape \(2, 2\), got \(1, 2\)"),
        ([[1.0, 2.0], [float("nan"), 4.0]], "NaN"),
        ([[0.5, 1.0], [1.5, 2.0]], "0.5 times"),
        ([[1.0, 3.0], [2.0, 4.0]], "transpose"),
        ([[1.0, 2.0], [3.0, 5.0]], r"worst at \[1, 1\]: got 5, expected 4"),
    ],
)
def test_check_says_what_is_wrong(got, message):
    with pytest.raises(kit.CheckError, match=message) as caught:
        kit.check("a matrix", got, torch.tensor([[1.0, 2.0], [3.0, 4.0]]), hint="Look here.")
    assert str(caught.value).endswith("Look here.")
    assert caught.value.error >= 10 * caught.value.tolerance


def test_check_accepts_tensors_arrays_lists_float32_and_axes_of_size_one(capsys):
    want = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    for got in (
        want.clone().requires_grad_(),
        want.numpy(),
        want.tolist(),
        want.float() * (1 + 1e-6),
        want[None],
    ):
        kit.check("a matrix", got, want)
    kit.check("a number", 0.1, torch.tensor([0.1]))
    assert capsys.readouterr().out.count("ok: a matrix") == 5


def test_perceptron_is_the_composition_of_its_layers_with_entries_of_variance_one_over_fan_in():
    net = kit.Perceptron((400, 300, 2), torch.sin, seed=1)
    x = np.random.default_rng(0).standard_normal((3, 400))
    (w1, b1), (w2, b2) = ((p.detach().numpy() for p in layer.parameters()) for layer in net.layers)
    by_hand = np.sin(x @ w1.T + b1) @ w2.T + b2
    np.testing.assert_allclose(net(torch.tensor(x)).detach().numpy(), by_hand, rtol=1e-12)
    assert w1.var() * 400 == pytest.approx(1, abs=5 * np.sqrt(2 / w1.size))
    last = kit.Perceptron((400, 300, 2), torch.sin, last=True, seed=1)
    np.testing.assert_allclose(last(torch.tensor(x)).detach().numpy(), np.sin(by_hand), rtol=1e-12)


def test_digits_are_balanced_centred_distinct_and_of_mean_squared_norm_d():
    x, y = kit.digits(201, classes=(3, 8), seed=4)
    assert x.shape == (201, 784)
    assert y.shape == (201, 1)
    assert y.sum().item() == -1
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-12)
    assert (x**2).sum(1).mean().item() == pytest.approx(784, rel=1e-12)
    assert len(torch.unique(x, dim=0)) == 201
    assert torch.equal(kit.digits(201, seed=4)[0], x)
    assert not torch.equal(kit.digits(201, seed=5)[0], x)
    same = x[y[:, 0] > 0][:50] @ x[y[:, 0] > 0][50:100].T
    other = x[y[:, 0] > 0][:50] @ x[y[:, 0] < 0][:50].T
    assert same.mean() > 0 > other.mean()


def test_more_digits_than_there_are_is_an_error_that_says_how_many():
    with pytest.raises(ValueError, match=r"n: there are \d+ digits 1, 4000 were asked for"):
        kit.digits(8000, classes=(1, 2))
