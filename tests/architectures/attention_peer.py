"""Makes attention_peer.json: attention on sequences of different lengths by Neural Tangents 0.6.5, float64.

Run with the other library's own environment, from the repository:

    .venv-peer/bin/python tests/architectures/attention_peer.py

It takes one array and a number that marks what is not there; we take a list. Its scales are as in peer.py.
"""

import json
from pathlib import Path

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)
from neural_tangents import stax  # noqa: E402

LENGTHS, NOTHING = (3, 6, 1, 4), 1e3
random = np.random.default_rng(11)
SEQUENCES = [random.standard_normal((length, 3)).round(3) for length in LENGTHS]


def attention(mechanism, linear_scaling):
    scales = {"W_key_std": 1.2, "W_query_std": 0.9, "W_value_std": 1.1, "W_out_std": 0.8}
    return stax.GlobalSelfAttention(3, 5, 5, 2, linear_scaling, attention_mechanism=mechanism, **scales)


def main():
    x = np.full((len(LENGTHS), max(LENGTHS), 3), NOTHING)
    for row, sequence in zip(x, SEQUENCES, strict=True):
        row[: len(sequence)] = sequence
    values = {}
    for name, layer in {
        "softmax 1/d": attention("SOFTMAX", True),
        "identity 1/d": attention("IDENTITY", True),
        "identity 1/sqrt(d)": attention("IDENTITY", False),
    }.items():
        before, after = stax.Dense(7, 0.7, 0.1), stax.Dense(1, 1.1, 0.1)
        _, _, kernel = stax.serial(before, stax.Relu(), layer, stax.GlobalAvgPool(), after)
        result = kernel(x, None, ("nngp", "ntk"), mask_constant=NOTHING)
        values[name] = {kind: np.asarray(getattr(result, kind)).tolist() for kind in ("nngp", "ntk")}
    stored = {"sequences": [sequence.tolist() for sequence in SEQUENCES], "values": values}
    Path(__file__).with_name("attention_peer.json").write_text(
        json.dumps(stored, separators=(",", ":")) + "\n"
    )


if __name__ == "__main__":
    main()
