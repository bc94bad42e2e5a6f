"""Few digits: convolutional kernels, a dense kernel and a trained convolutional network, 10 to 1,280 samples.

Digits of 6 x 6 pixels, as they are and each at a random place on a torus.  Every method fits centred one-hot
targets by least squares.  Its one setting, a ridge or a number of steps, is chosen by the squared error on a held-out
fifth of the training set; then it is fitted to all of it.  Splits are drawn from one pool of digits.  Kernel and
network with pooling do not depend on the place of a digit at all, so they are computed once.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

import ntklab as nl

POOL, TEST, SPLITS = 1680, 400, 5
SIZES = [10, 20, 40, 80, 160, 320, 640, 1280]
RIDGES = np.geomspace(1e-5, 10, 7)  # times the kernel's mean diagonal
RATE, EPOCHS, BATCH, WIDTH = 3e-3, 96, 32, 32  # of Adam; at least 480 steps


def body(*readout):
    """Two circular convolutions and a readout."""
    hidden = [nl.Conv(3, 2**0.5, 0.1, padding="circular"), nl.ReLU()] * 2
    return nl.Sequential(*hidden, *readout, nl.Dense())


POOLED = "CNTK, pooling"
KERNELS = {
    POOLED: body(nl.GlobalAvgPool()),
    "CNTK, flattened": body(nl.Flatten()),
    "NTK, dense": nl.Sequential(nl.Flatten(), *[nl.Dense(2**0.5, 0.1), nl.ReLU()] * 2, nl.Dense()),
}


def run() -> tuple[str, list[str], list[list[str]]]:
    """Title, header and rows; a cell is the mean error over the splits, and its standard error."""
    digits = nl.data.mnist(POOL, 1, flatten=False, scaling="pixels", dtype=np.float32)
    images, targets = blocks(digits.x_train), digits.y_train.astype(np.float32)
    rng = np.random.default_rng(0)
    moved = np.stack([np.roll(image, rng.integers(6, size=2), (1, 2)) for image in images])
    splits = [np.random.default_rng(seed).permutation(POOL) for seed in range(SPLITS)]
    grams = {key: arch.kernel(images).ntk for key, arch in KERNELS.items()}
    on_torus = {key: gram if key == POOLED else KERNELS[key].kernel(moved).ntk for key, gram in grams.items()}
    rows, network = [], {}
    for name, kernels in (("as they are", grams), ("at random places", on_torus)):
        for n in SIZES:
            parts = [(order[:n], order[-TEST:]) for order in splits]
            errors = [[by_kernel(gram, targets, *part) for part in parts] for gram in kernels.values()]
            if n not in network:
                network[n] = [by_network(images, targets, *part, seed) for seed, part in enumerate(parts)]
            rows.append([name, str(n), *(spread(100 * np.array(error)) for error in [*errors, network[n]])])
    header = ["digits", "n", "CNTK, pooling", "CNTK, flattened", "NTK, dense", "trained CNN, pooling"]
    return f"Test error in per cent: {SPLITS} splits of {POOL} digits, {TEST} to test", header, rows


def blocks(x: np.ndarray) -> np.ndarray:
    """Means over blocks of 4 x 4 of the inner 24 x 24 pixels, in units of the pool's mean and standard deviation."""
    x = x[:, :, 2:26, 2:26].reshape(-1, 1, 6, 4, 6, 4).mean((3, 5))
    return (x - x.mean()) / x.std()


def spread(errors: np.ndarray) -> str:
    return f"{errors.mean():.1f} ± {errors.std(ddof=1) / len(errors) ** 0.5:.1f}"


def held_out(train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Four fifths to fit, one fifth to choose by."""
    cut = len(train) - len(train) // 5
    return train[:cut], train[cut:]


def by_kernel(gram: np.ndarray, targets: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    """Share of wrong test digits of kernel ridge regression."""
    scale = gram.diagonal().mean()

    def fit(rows: np.ndarray, ridge: float, where: np.ndarray) -> np.ndarray:
        square = gram[np.ix_(rows, rows)].astype(float) + ridge * scale * np.eye(len(rows))
        return gram[np.ix_(where, rows)] @ np.linalg.solve(square, targets[rows])

    part, rest = held_out(train)
    ridge = min(RIDGES, key=lambda ridge: np.square(fit(part, ridge, rest) - targets[rest]).sum())
    return np.mean(fit(train, ridge, test).argmax(1) != targets[test].argmax(1))


def by_network(x: np.ndarray, targets: np.ndarray, train: np.ndarray, test: np.ndarray, seed: int) -> float:
    """Share of wrong test digits of a network of finite width, trained by Adam."""
    part, rest = held_out(train)
    longest = max(480, EPOCHS * len(train) // BATCH)
    tried = tuple(longest // share for share in (16, 8, 4, 2, 1))
    outputs = trained(x[part], targets[part], x[rest], tried, seed)
    steps = tried[np.square(outputs - targets[rest]).sum((1, 2)).argmin()]
    output = trained(x[train], targets[train], x[test], (steps,), seed)[-1]
    return np.mean(output.argmax(1) != targets[test].argmax(1))


def trained(x, y, watch, steps: tuple[int, ...], seed: int) -> np.ndarray:
    """Outputs at ``watch`` after so many steps of Adam, (records, points, 10); every weight has the same rate."""
    net = KERNELS[POOLED].finite(
        WIDTH, x.shape[1:], 10, parameterization="standard", seed=seed, dtype=torch.float32
    )
    run = nl.train(
        nn.Sequential(net.body),  # without the rates of the parameterisation
        x,
        y,
        steps=steps[-1],
        learning_rate=RATE,
        optimizer="adam",
        batch_size=min(BATCH, len(x)),
        record=list(steps),
        x_test=watch,
        probe=0,
        seed=seed,
        progress=False,
    )
    return run.test_outputs
