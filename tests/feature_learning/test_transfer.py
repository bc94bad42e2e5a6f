"""Rate transfer and coordinate check: against single runs of train, and against the theory's exponents."""

import copy

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import ntklab as nl
from ntklab.feature_learning import ABC, RateSweep, coordinate_check, rate_sweep
from ntklab.feature_learning._scaling import fit_each_seed, fit_points

DEEP = nl.Sequential(nl.Dense(2**0.5), nl.ReLU(), nl.Dense(2**0.5), nl.ReLU(), nl.Dense())
SMOOTH = nl.Sequential(nl.Dense(1.4, 0.2), nl.Erf(), nl.Dense(1.4, 0.2), nl.Erf(), nl.Dense())


def data(n=8, d=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    return x, np.sin(2 * x[:, 0]) + x[:, 1]


def digits(n=256):
    x, labels = load_digits(return_X_y=True)
    chosen = np.random.default_rng(0).permutation(len(x))[:n]
    x = (x - x.mean(0)) / x.std()
    return x[chosen], np.eye(10)[labels[chosen]] - 0.1


# --- against train -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [None, 3])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("parameterization", ["ntk", "standard", "mup"])
def test_every_loss_of_the_sweep_is_that_of_a_run_of_train(parameterization, optimizer, batch_size):
    x, y = data()
    arguments = {"optimizer": optimizer, "steps": 12, "batch_size": batch_size}
    widths, rates, seeds = [3, 6], [0.1, 0.02], [4, 7]
    sweep = rate_sweep(
        SMOOTH,
        widths,
        rates,
        x,
        y,
        parameterization=parameterization,
        seeds=seeds,
        dtype=torch.float64,
        **arguments,
    )
    np.testing.assert_array_equal(sweep.rates, [0.02, 0.1])
    for i, width in enumerate(widths):
        for j, rate in enumerate(sweep.rates):
            for k, seed in enumerate(seeds):
                net = SMOOTH.finite(
                    width, (3,), parameterization=parameterization, seed=seed, dtype=torch.float64
                )
                history = nl.train(net, x, y, learning_rate=rate, seed=seed, probe=0, **arguments)
                np.testing.assert_allclose(sweep.loss[i, j, k], history.loss[-1], rtol=1e-9)


@pytest.mark.parametrize("loss", ["sum", "cross_entropy"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_one_rate_for_all_parameters_is_plain_torch(optimizer, loss):
    x, _ = data()
    labels = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    y = labels if loss == "cross_entropy" else np.eye(3)[labels]
    arguments = {
        "optimizer": optimizer,
        "loss": loss,
        "steps": 10,
        "seeds": 1,
        "same_rate": True,
        "dtype": torch.float64,
    }
    sweep = rate_sweep(SMOOTH, [5], [0.02], x, y, parameterization="standard", **arguments)
    net = SMOOTH.finite(5, (3,), 3, parameterization="standard", seed=0, dtype=torch.float64)
    inputs, targets = torch.tensor(x), torch.tensor(y)
    value = {
        "sum": lambda: (net(inputs) - targets).square().sum() / 2,
        "cross_entropy": lambda: torch.nn.functional.cross_entropy(net(inputs), targets),
    }[loss]
    updater = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer](net.parameters(), lr=0.02)
    for _ in range(10):
        updater.zero_grad()
        value().backward()
        updater.step()
    np.testing.assert_allclose(sweep.loss[0, 0, 0], value().item(), rtol=1e-9)


def test_an_abc_object_is_a_parameterisation_too():
    x, y = data()
    arguments = {"seeds": 2, "steps": 5, "dtype": torch.float64}
    named = rate_sweep(DEEP, [8, 16], [0.05], x, y, parameterization="mup", **arguments)
    general = rate_sweep(DEEP, [8, 16], [0.05], x, y, parameterization=ABC.mup(2), **arguments)
    np.testing.assert_allclose(general.loss, named.loss, rtol=1e-9)


def test_runs_in_blocks_are_the_runs_at_once(monkeypatch):
    x, y = data()
    arguments = {"steps": 5, "seeds": 3, "batch_size": 4, "dtype": torch.float64}
    whole = rate_sweep(DEEP, [8], [0.05, 0.1], x, y, **arguments).loss
    monkeypatch.setattr("ntklab.feature_learning.transfer._PARAMETERS", 300)
    np.testing.assert_allclose(rate_sweep(DEEP, [8], [0.05, 0.1], x, y, **arguments).loss, whole, rtol=1e-9)


def test_diverged_runs_have_infinite_loss_and_leave_the_others_alone():
    x, y = data()
    sweep = rate_sweep(SMOOTH, [8, 32], [0.01, 1e6], x, y, parameterization="ntk", steps=60)
    assert np.isfinite(sweep.loss[:, 0]).all() and np.isinf(sweep.loss[:, 1]).all()
    np.testing.assert_allclose(sweep.best_rate, 0.01)
    assert sweep.at_edge.all()


# --- the best rate -----------------------------------------------------------------------------------------


def test_the_best_rate_is_the_vertex_of_a_parabola_and_its_power_of_the_width_is_recovered():
    widths, rates = np.array([10, 100, 1000]), 2.0 ** np.arange(-9, 4)
    optimum = 1.3 * widths**-0.5 * np.array([[0.97], [1.0], [1.03]])  # (S, W)
    loss = np.exp(np.log(rates[:, None, None] / optimum) ** 2).transpose(2, 0, 1)  # (W, R, S)
    sweep = RateSweep(widths, rates, loss)
    np.testing.assert_allclose(sweep.seed_rates, optimum.T, rtol=1e-10)
    np.testing.assert_allclose(sweep.best_rate, np.exp(np.log(optimum).mean(0)))
    np.testing.assert_allclose(sweep.best_rate_error, np.log(optimum).std(0, ddof=1) / 3**0.5)
    fit = sweep.fit()
    assert abs(fit.exponent + 0.5) < 1e-10 and fit.error < 1e-10 and not sweep.at_edge.any()


def test_a_width_where_every_rate_diverged_has_no_best_rate():
    sweep = RateSweep(np.array([4, 8]), np.array([1.0, 2.0]), np.full((2, 2, 1), np.inf))
    assert np.isnan(sweep.best_rate).all()
    with pytest.raises(ValueError, match="every rate diverged at width 4"):
        sweep.fit()


def test_exponents_come_with_errors_that_cover_the_truth_as_often_as_they_say():
    rng, widths, truth = np.random.default_rng(0), np.array([16, 64, 256]), -0.7
    each, points = 0, 0
    for _ in range(400):
        values = widths[:, None] ** truth * np.exp(0.2 * rng.normal(size=(3, 6)))
        low, high = fit_each_seed(widths, values).interval()
        each += low < truth < high
        low, high = fit_points(widths, values.mean(1), values.std(1, ddof=1) / 6**0.5).interval()
        points += low < truth < high
    assert abs(each / 400 - 0.95) < 0.04
    assert 0.85 < points / 400 < 0.97  # errors from 6 seeds: normal intervals are a little short


# --- the physics -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("optimizer", "rates"),
    [("sgd", 2.0 ** np.arange(-2, 5)), ("adam", 2.0 ** np.arange(-7, 2))],
    ids=["sgd", "adam"],
)
def test_in_mup_the_best_rate_of_a_narrow_network_is_that_of_one_sixteen_times_as_wide(
    optimizer, rates, record_property
):
    x, y = digits()
    sweep = rate_sweep(
        DEEP, [32, 128, 512], rates, x, y, optimizer=optimizer, steps=20, seeds=2, batch_size=64
    )
    shift = np.log2(sweep.best_rate / sweep.best_rate[0])
    record_property(
        f"measured shift of the best rate in muP, {optimizer}, in factors of 2", shift.round(2).tolist()
    )
    assert not sweep.at_edge.any()
    assert abs(shift).max() < 1
    best = sweep.mean_loss.min(1)
    assert best[0] > best[1] > best[2], "wider is better"


@pytest.mark.parametrize(
    ("optimizer", "rates", "low", "high"),
    [("sgd", 2.0 ** np.arange(-10, 0), -1.2, -0.6), ("adam", 2.0 ** np.arange(-12, -2), -1.5, -0.7)],
    ids=["sgd", "adam"],
)
def test_in_standard_parameterisation_with_one_rate_the_best_rate_falls_with_the_width(
    optimizer, rates, low, high, record_property
):
    """SGD: like 1/m, as the kernel grows like m.  Adam: between 1/m (features) and m^-3/2 (first step of the output)."""
    x, y = digits()
    sweep = rate_sweep(
        DEEP, [32, 128, 512], rates, x, y, parameterization="standard", same_rate=True, optimizer=optimizer,
        steps=20, seeds=2, batch_size=64,
    )  # fmt: skip
    fit = sweep.fit()
    record_property(f"measured exponent of the best rate, standard, {optimizer}", f"{fit.exponent:.2f}")
    assert not sweep.at_edge.any()
    assert low < fit.exponent < high


EXPONENTS = {
    ("mup", "sgd", False): (0, 0, 0),
    ("mup", "adam", False): (0, 0, 0),
    ("ntk", "sgd", False): (-1 / 2, -1 / 2, 0),
    ("ntk", "adam", False): (-1 / 2, -1 / 2, 0),
    ("standard", "sgd", False): (-3 / 2, -1 / 2, 0),
    ("standard", "adam", False): (-1 / 2, -1 / 2, 0),
    ("standard", "sgd", True): (-1 / 2, 1 / 2, 1),
    ("standard", "adam", True): (0, 1, 3 / 2),
}


@pytest.mark.parametrize("case", EXPONENTS, ids=str)
def test_the_first_step_moves_each_layer_with_the_power_of_the_width_that_theory_gives(case, record_property):
    parameterization, optimizer, same_rate = case
    x, y = data(20, 5)
    check = coordinate_check(
        DEEP, [256, 512, 1024], x, y, parameterization=parameterization, optimizer=optimizer, same_rate=same_rate,
        learning_rate=1e-5, steps=1, seeds=8,
    )  # fmt: skip
    fits = check.fit()
    assert tuple(fits) == check.layers == ("layer 1", "layer 2", "output")
    record_property(f"measured slopes {case}", {name: round(fit.exponent, 2) for name, fit in fits.items()})
    for fit, expected in zip(fits.values(), EXPONENTS[case], strict=True):
        assert (
            abs(fit.exponent - expected) < 4 * fit.error + 0.05
        )  # at finite width slopes are off by O(1/sqrt m)


def test_in_mup_every_layer_keeps_moving_by_order_one_over_many_steps():
    x, y = data(20, 5)
    check = coordinate_check(DEEP, [128, 512], x, y, learning_rate=0.3, steps=30, seeds=6)
    assert check.change.shape == (2, 6, 3, 31) and (check.change[..., 0] == 0).all()
    for fit in check.fit().values():
        assert abs(fit.exponent) < 4 * fit.error + 0.05
    assert (check.change[..., -1].mean(1) > 0.05).all()


def test_the_check_measures_pre_activations_before_and_after_updates():
    x, y = data()
    check = coordinate_check(DEEP, [6], x, y, parameterization="ntk", seeds=[3], steps=2, learning_rate=0.2)
    net = DEEP.finite(6, (3,), seed=3, dtype=torch.float64)
    after = copy.deepcopy(net)
    nl.train(after, x, y, steps=2, learning_rate=0.2, probe=0)

    def layers(net):
        z1 = net.body[0](torch.tensor(x))
        z2 = net.body[2](z1.relu())
        return [z1, z2, net(torch.tensor(x))]

    for i, (z0, z) in enumerate(zip(layers(net), layers(after), strict=True)):
        np.testing.assert_allclose(
            check.change[0, 0, i, 2], (z - z0).square().mean().sqrt().item(), rtol=1e-9
        )
        np.testing.assert_allclose(check.size[0, 0, i, 0], z0.square().mean().sqrt().item(), rtol=1e-9)
        np.testing.assert_allclose(check.size[0, 0, i, 2], z.square().mean().sqrt().item(), rtol=1e-9)


# --- errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widths": []}, "widths is empty"),
        ({"widths": [0]}, "widths must be at least 1"),
        ({"rates": [-1.0]}, "rates must be above 0"),
        ({"rates": []}, "rates must be one or more"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"seeds": 0}, "seeds must be at least 1"),
        ({"seeds": [1, 1]}, "seeds must be one or more different"),
        ({"optimizer": "rmsprop"}, "optimizer must be one of"),
        ({"parameterization": "he"}, "parameterization must be one of"),
        ({"batch_size": 9}, "batch_size must be at most"),
        ({"y": np.zeros(3)}, "y must have shape"),
        ({"x": np.full((8, 3), np.inf)}, "x must be finite"),
    ],
)
def test_arguments_that_do_not_fit_are_named(change, message):
    x, y = data()
    with pytest.raises(ValueError, match=message):
        rate_sweep(DEEP, **{"widths": [4], "rates": [0.1], "x": x, "y": y, "steps": 2, **change})


def test_types_are_checked():
    x, y = data()
    with pytest.raises(TypeError, match="rates must be a sequence"):
        rate_sweep(DEEP, [4], 0.1, x, y)
    with pytest.raises(TypeError, match="arch must be"):
        coordinate_check(torch.nn.Linear(3, 1), [4], x, y)
    with pytest.raises(TypeError, match="seeds must be"):
        coordinate_check(DEEP, [4], x, y, seeds=[0.5])


def test_slopes_of_a_run_that_diverged_are_refused():
    x, y = data()
    check = coordinate_check(DEEP, [4, 8], x, y, parameterization="ntk", learning_rate=1e5, steps=30)
    with pytest.raises(ValueError, match="change at step -1 must be finite"):
        check.fit()
