"""Values of another library: Neural Tangents 0.6.5 on jax 0.4.26, float64, stored as it gave them.

Every activation stands in Dense(1.3, 0.2), phi, Dense(1.2, 0.3), phi, Dense(0.8, 0.1); upper triangles.
"""

import json
from pathlib import Path

import numpy as np
import pytest

import ntklab as nl

VALUES = json.loads(Path(__file__).with_name("peer_values.json").read_text())
X = np.array(VALUES.pop("x"))


def twice(act):
    return nl.Sequential(nl.Dense(1.3, 0.2), act, nl.Dense(1.2, 0.3), act, nl.Dense(0.8, 0.1))


ARCHITECTURES = {
    "relu": twice(nl.ReLU()),
    "leaky": twice(nl.LeakyReLU(0.3)),
    "abs": twice(nl.Abs()),
    "erf": twice(nl.Erf()),
    "gelu": twice(nl.GELU()),
    "sin": twice(nl.Sin()),
    "cos": twice(nl.Cos()),
    "sign": twice(nl.Sign()),
    "poly": twice(nl.Polynomial([0.2, 1.0, 0.3])),
    "ln": nl.Sequential(nl.Dense(1.3, 0.2), nl.LayerNorm(), nl.ReLU(), nl.Dense(1.0, 0.1)),
    "res": nl.Sequential(
        nl.Dense(1.3, 0.2), nl.Residual(nl.ReLU(), nl.Dense(1.2, 0.1)), nl.Erf(), nl.Dense()
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_kernels_agree_with_neural_tangents_to_1e_12(name):
    result = ARCHITECTURES[name].kernel(X)
    upper = np.triu_indices(len(X))
    assert result.nngp[upper] == pytest.approx(np.array(VALUES[name]["nngp"]), rel=1e-12)
    assert result.ntk[upper] == pytest.approx(np.array(VALUES[name]["ntk"]), rel=1e-12)
