"""Two-layer networks as particles: velocities, agreement with networks, the limit and its fluctuations."""

import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.special import erf

import ntklab as nl
from ntklab.feature_learning import Population, propagation_of_chaos

ARCH = nl.Sequential(nl.Dense(1.4, 0.3), nl.Erf(), nl.Dense(0.8, 0.1))
RELU = nl.Sequential(nl.Dense(1.4), nl.ReLU(), nl.Dense(0.8))
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((10, 3)), RNG.standard_normal(10)


def network(arch, width, outputs=1, seed=0):
    return arch.finite(width, 3, outputs, "mean_field", seed, torch.float64)


@pytest.mark.parametrize("arch", [ARCH, RELU])
@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("loss", ["mean", "sum"])
def test_descent_of_the_particles_is_training_of_the_mean_field_network(arch, outputs, loss):
    y = Y if outputs == 1 else np.stack([Y, Y**2], 1)
    rate = 0.3 if loss == "mean" else 0.03
    net = network(arch, 33, outputs)
    population = Population.sample(arch, 33, 3, outputs, seed=0)
    history = nl.train(net, X, y, steps=60, learning_rate=rate, loss=loss, record=[0, 7, 60], probe=0)
    run = population.descend(X, y, learning_rate=rate, steps=60, loss=loss, record=[0, 7, 60])
    np.testing.assert_allclose(
        run.outputs(X).reshape(history.train_outputs.shape), history.train_outputs, rtol=1e-12
    )
    for p, q in zip(run.end.network().parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(run.times, rate * np.array([0, 7, 60]))


@settings(max_examples=15)
@given(st.integers(0, 1000), st.integers(1, 6), st.integers(1, 3))
def test_velocity_is_minus_m_times_the_gradient_of_the_loss(seed, m, k):
    """By central differences of the loss in every coordinate; the shared bias has no factor m."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((4, 2)), rng.standard_normal((4, k))
    population = Population.sample(ARCH, m, 2, k, seed=seed)
    velocity = population.velocity(x, y)
    for name in ("w", "b", "a", "c"):
        value = getattr(population, name)
        numeric = torch.zeros_like(value)
        for index in np.ndindex(*value.shape):
            losses = []
            for step in (1e-5, -1e-5):
                parts = {part: getattr(population, part).clone() for part in ("w", "b", "a", "c")}
                parts[name][index] += step
                losses.append(np.square(Population(ARCH, **parts)(x) - y).sum() / 8)
            numeric[index] = (losses[1] - losses[0]) / 2e-5
        numeric *= 1 if name == "c" else m
        torch.testing.assert_close(getattr(velocity, name), numeric, rtol=1e-6, atol=1e-8)


def test_velocity_of_a_particle_depends_on_the_others_through_the_output_only():
    """Doubling the population changes no output, hence no velocity: there is no m in it."""
    one = Population.sample(RELU, 20, 3, seed=1)
    two = Population(RELU, torch.cat([one.w] * 2), None, torch.cat([one.a] * 2), None)
    np.testing.assert_allclose(two(X), one(X), rtol=1e-12)
    for name in ("w", "a"):
        twice = getattr(two.velocity(X, Y), name)
        torch.testing.assert_close(twice[:20], getattr(one.velocity(X, Y), name))
        torch.testing.assert_close(twice[20:], twice[:20])


def test_flow_solves_the_equations_written_out():
    """w_j' = -1/n sum r_i s_2 a_j phi'(z_ij) s_1 x_i / sqrt(d) and so on, solved by another method."""
    population = Population.sample(ARCH, 12, 3, seed=2)
    s1, s2, n, m = 1.4 / math.sqrt(3), 0.8, len(X), 12

    def speed(_t, flat):
        w, b, a, c = flat[: 3 * m].reshape(m, 3), flat[3 * m : 4 * m], flat[4 * m : 5 * m], flat[-1]
        z = s1 * X @ w.T + 0.3 * b
        r = s2 * erf(z) @ a / m + 0.1 * c - Y
        back = -s2 / n * r[:, None] * a * 2 / math.sqrt(math.pi) * np.exp(-(z**2))
        return np.concatenate(
            [(s1 * back.T @ X).ravel(), 0.3 * back.sum(0), -s2 / n * r @ erf(z), [-0.1 / n * r.sum()]]
        )

    start = np.concatenate(
        [p.numpy().ravel() for p in (population.w, population.b, population.a, population.c)]
    )
    end = solve_ivp(speed, (0, 5), start, method="DOP853", rtol=1e-10, atol=1e-12).y[:, -1]
    run = population.flow(X, Y, [0, 2.5, 5], tolerance=1e-7)
    ours = np.concatenate([p.numpy().ravel() for p in (run.end.w, run.end.b, run.end.a, run.end.c)])
    np.testing.assert_allclose(ours, end, atol=1e-4)
    assert run.times.tolist() == [0, 2.5, 5] and torch.equal(run.start.w, population.w)


def test_flow_passes_the_kinks_of_a_relu(monkeypatch):
    """Particles that rest at a kink: descent with small steps is the reference."""
    population = Population.sample(RELU, 64, 3, seed=2)
    reference = population.descend(X, Y, learning_rate=0.01, steps=2000).end(X)
    np.testing.assert_allclose(population.flow(X, Y, 20.0, tolerance=1e-5).end(X), reference, atol=3e-3)
    monkeypatch.setattr("ntklab.feature_learning._integrate.MOST_STEPS", 100)
    with pytest.raises(ValueError, match="take a larger tolerance"):
        population.flow(X, Y, 20.0, tolerance=1e-7)


def test_descent_tends_to_the_flow_linearly_in_the_rate():
    population = Population.sample(ARCH, 16, 3, seed=0)
    exact = population.flow(X, Y, 4.0, tolerance=1e-8).end(X)
    errors = [
        np.abs(population.descend(X, Y, learning_rate=4 / steps, steps=steps).end(X) - exact).max()
        for steps in (40, 80, 160)
    ]
    np.testing.assert_allclose(np.divide(errors[:-1], errors[1:]), 2, rtol=0.1)


def test_flow_decreases_the_loss_at_the_rate_of_the_squared_velocity():
    """d loss / dt = -(1/m sum |particle velocity|^2 + |c velocity|^2): steepest descent of the measure."""
    population, h = Population.sample(ARCH, 50, 3, seed=0), 1e-4
    velocity = population.velocity(X, Y)
    speed = sum(float(v.square().sum()) for v in (velocity.w, velocity.b, velocity.a)) / 50
    speed += float(velocity.c.square().sum())
    ahead = population.descend(X, Y, learning_rate=h, steps=1).end
    losses = [np.square(p(X)[:, 0] - Y).sum() / 20 for p in (population, ahead)]
    assert math.isclose((losses[0] - losses[1]) / h, speed, rel_tol=1e-3)


def test_energy_kernel_of_many_particles_is_the_ntk():
    """At t = 0 of the limit f = 0 and df/dt = Theta y / n with the closed-form kernel: Monte Carlo error bars."""
    arch, draws, m = nl.Sequential(nl.Dense(1.4, 0.3), nl.Erf(), nl.Dense(0.8)), 16, 4096
    speeds = []
    for seed in range(draws):
        population = Population.sample(arch, m, 3, seed=seed)
        h = 1e-5
        ahead = population.descend(X, Y, learning_rate=h, steps=1).end
        speeds.append((ahead(X) - population(X))[:, 0] / h)
    mean, error = np.mean(speeds, 0), np.std(speeds, 0, ddof=1) / math.sqrt(draws)
    expected = arch.kernel(X).ntk @ Y / len(Y)
    assert np.all(np.abs(mean - expected) < 4.5 * error) and error.max() < 0.05 * np.abs(expected).max()


def test_particles_move_by_order_one_at_every_size():
    """C40: mean and root mean square distance settle as m grows; in the NTK parameterisation they fall as m^-1/2."""
    sizes = (256, 1024, 4096, 16384)
    distances, lazy = [], []
    for m in sizes:
        run = Population.sample(RELU, m, 3, seed=m).flow(X, Y, 20.0)
        distances.append(float(run.end.moved(run.start).square().mean().sqrt()))
        net = RELU.finite(m, 3, seed=m, dtype=torch.float64)
        lazy.append(
            nl.train(net, X, Y, steps=40, learning_rate=0.5, record=[40], probe=0).movement[-1] / math.sqrt(m)
        )
    assert min(distances) > 0.2 and max(distances) / min(distances) < 1.25, distances
    assert abs(np.polyfit(np.log(sizes), np.log(lazy), 1)[0] + 0.5) < 0.1, lazy


def test_outputs_tend_to_a_limit_with_fluctuation_m_to_the_minus_one_half():
    """Slopes of log fluctuation at three times within four standard errors of -1/2; means agree."""
    chaos = propagation_of_chaos(ARCH, X, Y, particles=(64, 256, 1024), t=[0, 3.0, 15.0], seeds=24)
    assert chaos.mean.shape == (3, 3, 10, 1) and chaos.fluctuation.shape == (3, 3)
    assert np.all(np.abs(chaos.slope + 0.5) < 4 * chaos.slope_error), (chaos.slope, chaos.slope_error)
    assert chaos.slope_error.max() < 0.1
    noise = 5 * chaos.fluctuation[1:] / math.sqrt(24)
    assert np.all(np.abs(chaos.mean[1] - chaos.mean[2]).max((1, 2)) < noise.sum(0))


def test_fluctuation_at_the_start_is_that_of_independent_particles():
    """Var f = s_2^2 E[a^2 phi^2] / m = NNGP(x, x) / m, without readout bias."""
    arch = nl.Sequential(nl.Dense(1.4, 0.3), nl.Erf(), nl.Dense(0.8))
    chaos = propagation_of_chaos(arch, X, Y, particles=(16, 64), t=0.0, seeds=400)
    expected = np.sqrt(arch.diagonal(X).nngp.mean() / np.array([16, 64]))
    np.testing.assert_allclose(chaos.fluctuation, expected, rtol=0.15)
    assert chaos.mean.shape == (2, 10, 1) and np.ndim(chaos.slope) == 0


def test_flow_of_sixteen_thousand_particles_takes_seconds(record_property):
    population, start = Population.sample(RELU, 16384, 3, seed=0), time.perf_counter()
    run = population.flow(X, Y, 20.0)
    seconds = time.perf_counter() - start
    record_property("measured flow of 16384 particles [s]", round(seconds, 2))
    assert np.square(run.end(X)[:, 0] - Y).mean() < 0.9 * np.square(Y).mean() and seconds < 30


def test_round_trip_through_a_network_and_float32():
    net = network(ARCH, 9, 2, seed=4)
    population = Population.from_network(net)
    x = torch.tensor(X)
    torch.testing.assert_close(population(x), net(x).detach())
    torch.testing.assert_close(population.network()(x), net(x))
    population.w.zero_()
    assert net.body[0].weight.any() and len(population) == 9
    single = Population.sample(ARCH, 9, 3, 2, seed=4, dtype=torch.float32)
    torch.testing.assert_close(single.a, population.a.float())
    run = single.flow(X, np.stack([Y, Y], 1), [1.0])
    assert run.end.w.dtype == torch.float32 and run.outputs(X.astype(np.float32)).dtype == np.float32


def test_frozen_layers_stay():
    arch = nl.Sequential(nl.Dense(trainable=False), nl.ReLU(), nl.Dense())
    run = Population.sample(arch, 8, 3, seed=0).flow(X, Y, 3.0)
    assert torch.equal(run.end.w, run.start.w) and not torch.equal(run.end.a, run.start.a)
    arch = nl.Sequential(nl.Dense(), nl.ReLU(), nl.Dense(trainable=False))
    run = Population.sample(arch, 8, 3, seed=0).flow(X, Y, 3.0)
    assert torch.equal(run.end.a, run.start.a) and not torch.equal(run.end.w, run.start.w)


def test_polar_coordinates_of_plane_weights():
    population = Population.sample(RELU, 200, 2, seed=0)
    angle, norm = population.polar()
    back = torch.stack([norm * angle.cos(), norm * angle.sin()], 1)
    torch.testing.assert_close(back, population.w)
    with pytest.raises(ValueError, match="angles need 2 features, got 3"):
        Population.sample(RELU, 5, 3, seed=0).polar()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: Population.sample(nl.Sequential(nl.Dense(), nl.Dense()), 4, 3), "arch must be Sequential"),
        (lambda p: Population.sample(nl.Dense(), 4, 3), "arch must be Sequential"),
        (lambda p: Population.sample(RELU, 0, 3), "particles must be at least 1"),
        (lambda p: Population.from_network(RELU.finite(4, 3)), "mean_field"),
        (lambda p: p(X[:, :2]), r"x must have shape \(n, 3\), got \(10, 2\)"),
        (lambda p: p.flow(X, Y[:5], 1.0), r"y must have shape \(10, 1\) or \(10,\), got \(5,\)"),
        (lambda p: p.flow(X, Y, -1.0), "increasing times from 0 on"),
        (lambda p: p.flow(X, Y, [2.0, 1.0]), "increasing times from 0 on"),
        (lambda p: p.flow(X, Y, math.inf), "finite, increasing"),
        (lambda p: p.flow(X, Y, []), "finite, increasing"),
        (lambda p: p.flow(X, Y * np.nan, 1.0), "y must be finite"),
        (lambda p: p.flow(X, Y, 1.0, loss="cross_entropy"), "loss must be one of 'mean', 'sum'"),
        (lambda p: p.descend(X, Y, learning_rate=0.0, steps=5), "learning_rate must be above 0"),
        (lambda p: p.descend(X, Y, learning_rate=0.1, steps=5, record=[6]), "steps from 0 to 5"),
        (lambda p: p.descend(X, Y, learning_rate=0.1, steps=5, record=[]), "steps from 0 to 5"),
        (lambda p: p.moved(Population.sample(RELU, 5, 3)), "start must hold the same particles"),
        (lambda p: propagation_of_chaos(RELU, X, Y, particles=[8, 8], t=1.0), "2 different sizes"),
        (
            lambda p: propagation_of_chaos(RELU, X, Y, particles=[8, 9], t=1.0, seeds=2),
            "seeds must be at least 3",
        ),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(Population.sample(RELU, 6, 3, seed=0))
