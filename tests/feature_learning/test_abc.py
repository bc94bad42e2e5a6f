"""The abc family: table, theorems over a grid of exponents, symmetry, members, measured exponents."""

import copy
import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ntklab as nl
from ntklab import feature_learning as fl
from ntklab.feature_learning import ABC

SHALLOW = nl.Sequential(nl.Dense(1.4, 0.3), nl.Erf(), nl.Dense(0.8, 0.1))
DEEP = nl.Sequential(nl.Dense(1.4, 0.3), nl.Erf(), nl.Dense(1.2, 0.2), nl.Erf(), nl.Dense(0.8, 0.1))
PLAIN = nl.Sequential(nl.Dense(1.5), nl.Erf(), nl.Dense(1.5), nl.Erf(), nl.Dense())
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((8, 4)), RNG.standard_normal(8)
exponents = st.floats(-2, 2)


def trained(net, steps=25, learning_rate=0.2):
    history = nl.train(net, X, Y, steps=steps, learning_rate=learning_rate, record=[0, 1, 5, steps], probe=0)
    return history.train_outputs


def rate_kernel(net):
    """sum over groups of rate * <grad f, grad f>: the kernel that descent with these rates follows."""
    total = 0.0
    for group in net.parameter_groups(1.0):
        for p in net.parameters():
            p.requires_grad_(any(p is q for q in group["params"]))
        total = total + group["lr"] * nl.empirical_ntk(net, X)
    return total


def between(s):
    """From the NTK parameterisation (s = 0) to muP (s = 1/2)."""
    return ABC((0, 0.5, 0.5 + s), (0, 0, 0), -2 * s)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_members_are_those_of_table_1(depth):
    """Yang & Hu: 2 a_L+1 + c = a_L+1 + b_L+1 + r = 1 for all four; r = 1/2, 1/2, 0, 0."""
    members = {"standard": ABC.standard(depth), "ntk": ABC.ntk(depth), "mup": ABC.mup(depth)}
    if depth == 1:
        members["mean_field"] = ABC.mean_field()
    for name, abc in members.items():
        assert abc.depth == depth and 2 * abc.a[-1] + abc.c[-1] == 1
        kernel = name in ("standard", "ntk")
        assert abc.regime() == ("kernel" if kernel else "feature learning")
        assert abc.initial_output_exponent == (0 if kernel else 0.5) and abc.output_exponent == 0
        if (name, depth) != ("standard", 1):
            assert abc.r == (0.5 if kernel else 0) and abc.a[-1] + abc.b[-1] + abc.r == 1
    assert ABC.standard(1).r == 1.5
    assert ABC.mup(depth).layer_exponents == (0,) * (depth + 1)


def test_standard_parameterisation_at_a_fixed_rate_is_unstable():
    """Theorem 4.1: its largest rate is O(1/n), and then it is a kernel."""
    regimes = [ABC.standard(3, c=c).regime() for c in (0, 0.5, 0.99, 1, 1.01)]
    assert regimes == ["unstable"] * 3 + ["kernel", "trivial"]


def test_paths_between_the_members():
    assert [between(s).regime() for s in (0, 0.1, 0.3, 0.499)] == ["kernel"] * 4
    assert between(0.5).regime() == "feature learning"
    assert between(0.6).regime() == "unstable"
    assert math.isclose(between(0.3).r, 0.2)


def grid():
    """All of three layers with a_1 + b_1 = 0, a_2 + b_2 = 1/2, in the gauge c = 0, in steps of 1/4."""
    steps = np.arange(-4, 7) / 4
    for a1, a2, a3, b3 in itertools.product(steps, steps, steps, steps):
        yield ABC((a1, a2, a3), (-a1, 0.5 - a2, b3), 0.0)


def test_dichotomy_and_uniqueness_of_mup_over_a_grid():
    """Theorem 3.3 and 3.4 written out again; corollaries 3.9, 3.10; theorem 5.6."""
    maximal, counts = [], dict.fromkeys(("unstable", "trivial", "kernel", "feature learning"), 0)
    for abc in grid():
        (a1, a2, a3), b3, regime = abc.a, abc.b[2], abc.regime()
        r = min(a3 + b3, 2 * a3) - 1 + min(2 * a1 + 1, 2 * a2)
        stable = a3 + b3 >= 0.5 and r >= 0 and 2 * a3 >= 1 and a3 + b3 + r >= 1
        nontrivial = 2 * a3 == 1 or a3 + b3 + r == 1
        expected = "trivial" if not nontrivial else "kernel" if r > 0 else "feature learning"
        assert regime == (expected if stable else "unstable") and abc.r == r
        if regime == "feature learning":
            assert abc.initial_output_exponent > 0
        if stable and abc.layer_exponents == (0, 0, 0) and a3 + b3 + r == 1:
            maximal.append(abc)
        counts[regime] += 1
    assert maximal == [ABC.mup(2)]
    assert min(counts.values()) > 0, counts


@pytest.mark.parametrize(("first", "second"), [(0.1, 0.5), (-0.1, 0.5), (0.0, 0.4), (0.0, 0.6)])
def test_activations_that_grow_or_vanish_at_the_start_are_unstable(first, second):
    assert ABC((0, 0.5, 0.5), (first, second - 0.5, 0), 0).regime() == "unstable"


@settings(max_examples=40)
@given(st.lists(exponents, min_size=9, max_size=9), st.lists(exponents, min_size=3, max_size=3))
def test_shift_of_a_b_c_changes_no_exponent(values, theta):
    abc = ABC(values[:3], values[3:6], values[6:])
    for moved in (abc.shifted(theta), abc.shifted(theta[0])):
        assert moved.regime() == abc.regime()
        np.testing.assert_allclose(moved.layer_exponents, abc.layer_exponents, atol=1e-12)
        np.testing.assert_allclose(moved.feature_exponents, abc.feature_exponents, atol=1e-12)
        assert math.isclose(moved.output_exponent, abc.output_exponent, abs_tol=1e-12)
        assert math.isclose(moved.initial_output_exponent, abc.initial_output_exponent, abs_tol=1e-12)


@settings(max_examples=8)
@given(
    st.sampled_from(
        [ABC.standard(2), ABC.ntk(2), ABC.mup(2), between(0.2), ABC((0, 0.5, 0.5), (0, 0, 0), (0, 1, 0.3))]
    ),
    st.lists(st.floats(-1, 1), min_size=3, max_size=3),
    st.sampled_from([3, 12]),
)
def test_shift_of_a_b_c_keeps_the_function_through_training(abc, theta, width):
    """(a + theta, b - theta, c - 2 theta), one theta or one a layer, biases included."""
    expected = trained(abc.finite(DEEP, width, 4, seed=1, dtype=torch.float64))
    for moved in (abc.shifted(theta[0]), abc.shifted(theta)):
        outputs = trained(moved.finite(DEEP, width, 4, seed=1, dtype=torch.float64))
        np.testing.assert_allclose(outputs, expected, rtol=1e-9, atol=1e-10)


MEMBERS = [
    ("ntk", DEEP, ABC.ntk(2)),
    ("standard", DEEP, ABC.standard(2)),
    ("mup", DEEP, ABC.mup(2)),
    ("mean_field", SHALLOW, ABC.mean_field()),
    ("mean_field", SHALLOW, ABC.mup(1)),
    ("standard", SHALLOW, ABC.standard(1)),
]


@pytest.mark.parametrize(("name", "arch", "abc"), MEMBERS)
def test_members_agree_with_the_parameterisations_of_finite(name, arch, abc):
    """The same outputs, kernel of the rates, and trajectory; several outputs and biases included."""
    for width in (7, 32):
        ours = abc.finite(arch, width, 4, seed=3, dtype=torch.float64)
        theirs = arch.finite(width, 4, seed=3, parameterization=name, dtype=torch.float64)
        np.testing.assert_allclose(trained(copy.deepcopy(ours)), trained(copy.deepcopy(theirs)), rtol=1e-11)
        np.testing.assert_allclose(rate_kernel(ours), rate_kernel(theirs), rtol=1e-11)
    ours = abc.finite(arch, 5, 4, outputs=3, seed=3, dtype=torch.float32)
    theirs = arch.finite(5, 4, outputs=3, seed=3, parameterization=name, dtype=torch.float32)
    x = torch.tensor(X, dtype=torch.float32)
    torch.testing.assert_close(ours(x), theirs(x))


def test_mup_as_rates_of_single_layers_on_standard_weights():
    """Plain weights N(0, 1), N(0, 1/n), N(0, 1/n^2) with rates n, 1, 1/n."""
    plain = ABC((0, 0, 0), (0, 0.5, 1), (-1, 0, 1))
    assert plain.layer_exponents == ABC.mup(2).layer_exponents and plain.regime() == "feature learning"
    net = plain.finite(PLAIN, 64, 4, seed=0, dtype=torch.float64)
    assert sorted(group["lr"] for group in net.parameter_groups(1.0)) == [1 / 64, 1, 64]
    expected = trained(ABC.mup(2).finite(PLAIN, 64, 4, seed=0, dtype=torch.float64))
    np.testing.assert_allclose(trained(net), expected, rtol=1e-9)


def test_standard_with_one_hidden_layer_follows_the_nngp_kernel():
    """Rate 1/n: the readout's kernel alone is left, E phi(u) phi(v), here without biases."""
    arch, x = nl.Sequential(nl.Dense(1.4), nl.Erf(), nl.Dense(0.8)), torch.tensor(X)
    limit = arch.kernel(x).nngp / 0.8**2
    errors = []
    for width in (512, 8192):
        nets = [ABC.standard(1).finite(arch, width, 4, seed=s, dtype=torch.float64) for s in range(4)]
        errors.append(max(float(np.abs(rate_kernel(net) - limit.numpy()).max()) for net in nets))
    assert errors[1] < 0.4 * errors[0] and errors[1] < 0.05 * float(limit.max())


WIDTHS, SEEDS, STEPS = (64, 256, 1024), 6, 5
REGIMES = {
    "ntk": ABC.ntk(2),
    "standard": ABC.standard(2),
    "mup": ABC.mup(2),
    "halfway": between(0.25),
    "trivial": ABC((0, 0.5, 0.5), (0, 0, 0), 0.5),
}


def measure(abc, width, seed):
    """Changes of both hidden layers' units, of the outputs, and the outputs' size at the start."""
    net = abc.finite(PLAIN, width, 4, seed=seed, dtype=torch.float64)
    start = copy.deepcopy(net)
    f = nl.train(net, X, Y, steps=STEPS, learning_rate=0.5, record=[0, STEPS], probe=0).train_outputs
    norms = [np.linalg.norm(f[1] - f[0]), np.linalg.norm(f[0])]
    return [*fl.feature_movement(start, net, X, of="units"), *norms]


@pytest.mark.parametrize("name", REGIMES)
def test_measured_exponents_are_the_predicted_ones(name):
    """Slopes over widths 64 to 1024 within four standard errors of the theorem's exponents."""
    abc = REGIMES[name]
    rows = np.array([[measure(abc, w, 100 * w + s) for s in range(SEEDS)] for w in WIDTHS])
    logs, place = np.log(rows), np.log(WIDTHS) - np.mean(np.log(WIDTHS))
    weight = place / (place @ place)
    slopes = np.einsum("w,wsq->q", weight, logs) / SEEDS
    errors = np.sqrt(np.einsum("w,wq->q", weight**2, logs.var(1, ddof=1) / SEEDS))
    expected = -np.array([*abc.feature_exponents, abc.output_exponent, abc.initial_output_exponent])
    assert np.all(np.abs(slopes - expected) < 4 * errors + 0.05), (slopes, errors, expected)
    assert errors.max() < 0.15


def test_outputs_of_the_unstable_member_explode_in_one_step():
    """Standard at a fixed rate: the first step moves outputs by Theta(n)."""
    moves = []
    for width in WIDTHS:
        nets = [
            ABC.standard(2, c=0).finite(PLAIN, width, 4, seed=s, dtype=torch.float64) for s in range(SEEDS)
        ]
        histories = [nl.train(n, X, Y, steps=1, learning_rate=1e-4, record=[0, 1], probe=0) for n in nets]
        moves.append(np.mean([np.linalg.norm(np.diff(h.train_outputs, axis=0)) for h in histories]))
    assert abs(np.polyfit(np.log(WIDTHS), np.log(moves), 1)[0] - 1) < 0.1


def test_residual_networks_frozen_layers_and_seeds():
    residual = nl.Sequential(
        nl.Dense(), nl.Residual(nl.ReLU(), nl.Dense()), nl.ReLU(), nl.Dense(trainable=False)
    )
    state = torch.get_rng_state()
    net = ABC.mup(2).finite(residual, 16, 4, seed=0, dtype=torch.float64)
    assert torch.equal(state, torch.get_rng_state())
    theirs = residual.finite(16, 4, seed=0, parameterization="mup", dtype=torch.float64)
    np.testing.assert_allclose(trained(net), trained(theirs), rtol=1e-10)
    assert sum(len(group["params"]) for group in net.parameter_groups(1.0)) == 2
    assert repr(ABC.mup(2)) in repr(net) and net.abc == ABC.mup(2)


def test_exponents_are_values():
    assert ABC([0, 0.5], [0, 0], 0) == ABC.ntk(1) == pickle.loads(pickle.dumps(ABC.ntk(1)))
    assert len({ABC.ntk(1), ABC.ntk(1), ABC.mup(1)}) == 2
    assert ABC.mup(1).shifted(0.5) == ABC.mean_field()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ABC((0, 0.5), (0, 0, 0), 0), "one exponent for each of at least 2 layers, got 2, 3, 2"),
        (lambda: ABC((0,), (0,), 0), "at least 2 layers"),
        (lambda: ABC(0.5, (0, 0), 0), "a must be a sequence"),
        (lambda: ABC((0, math.nan), (0, 0), 0), r"a\[1\] must be finite"),
        (lambda: ABC((0, 0), (0, 0), "1"), "c"),
        (lambda: ABC((0, 0), (0, 0), 0, "sigma"), "constants must be one of"),
        (lambda: ABC.ntk(0), "depth must be at least 1"),
        (lambda: ABC.ntk(2).shifted([0.5]), "theta must have one entry for each of 3 layers"),
        (
            lambda: ABC.ntk(2).finite(SHALLOW, 8, 4),
            "arch must have 3 weight layers for these exponents, got 2",
        ),
        (lambda: ABC.ntk(1).finite(SHALLOW, [8], 4), "width must be an integer"),
        (lambda: ABC.ntk(1).finite("net", 8, 4), "arch must be an ntklab layer"),
        (lambda: ABC.ntk(1).finite(SHALLOW, 8, 4).parameter_groups(0.1, "adam"), "gradient descent"),
        (lambda: ABC.ntk(1).finite(SHALLOW, 8, 4).parameter_groups(0.0), "learning_rate must be above 0"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
