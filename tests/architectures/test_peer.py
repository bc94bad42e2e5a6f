"""Convolutions, pools, graphs and attention against another library: Neural Tangents 0.6.5, float64.

peer.py made the values and says in which conventions the two differ; upper triangles.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest

import ntklab as nl

STORED = json.loads(Path(__file__).with_name("peer_values.json").read_text())
INPUTS = {name: np.array(x) for name, x in STORED["inputs"].items()}
GRAPHS = [nl.Graph(x, A) for x, A in zip(INPUTS["features"], INPUTS["adjacency"], strict=True)]

RELU, ERF, NORM = nl.ReLU(), nl.Erf(), nl.LayerNorm()
FLATTEN, MEAN, SUM = nl.Flatten(), nl.GlobalAvgPool(), nl.GlobalSumPool()


def conv(padding="same", stride=1, size=3, sigma_w=1.3, sigma_b=0.2):
    return nl.Conv(size, sigma_w, sigma_b, padding=padding, stride=stride)


def dense(sigma_w=1.1, sigma_b=0.1):
    return nl.Dense(sigma_w, sigma_b)


def attention(mechanism, scaling="1/d"):
    """Its W_key_std, W_query_std, W_value_std, W_out_std are 1.2, 0.9, 1.1, 0.8."""
    return nl.Attention(mechanism, scaling, sigma_qk=math.sqrt(1.2 * 0.9), sigma_ov=1.1 * 0.8)


SOFT, LINEAR, PRODUCT = attention("softmax"), attention("identity"), attention("identity", "1/sqrt(d)")
IMAGES = {
    "conv-same-flatten": [conv(), RELU, conv(sigma_w=1.2), ERF, FLATTEN, dense()],
    "conv-same-stride2-flatten": [conv(stride=2), RELU, conv(stride=2), RELU, FLATTEN, dense()],
    "conv-same-5-flatten": [conv(size=5), RELU, FLATTEN, dense()],
    "conv-valid-flatten": [conv("valid"), ERF, conv("valid"), RELU, FLATTEN, dense()],
    "conv-valid-stride2-flatten": [conv("valid", 2), RELU, FLATTEN, dense()],
    "conv-circular-flatten": [conv("circular"), RELU, conv("circular"), ERF, FLATTEN, dense()],
    "conv-circular-stride2-flatten": [conv("circular", 2), RELU, conv(), RELU, FLATTEN, dense()],
    "conv-global-mean": [conv(), RELU, conv(sigma_w=1.2), ERF, MEAN, dense()],
    "conv-circular-global-mean": [conv("circular"), RELU, conv("circular"), RELU, MEAN, dense()],
    "conv-global-mean-of-gaussians-relu": [conv(), RELU, conv(), MEAN, RELU, dense()],
    "conv-global-sum": [conv(), RELU, SUM, dense()],
    "conv-pool-conv": [conv(), RELU, nl.AvgPool(2), conv(), RELU, MEAN, dense()],
    "conv-pool-relu": [conv(), nl.AvgPool(2), RELU, FLATTEN, dense()],
    "residual-projected": [
        conv(),
        nl.Residual(RELU, conv(stride=2), ERF, conv(sigma_w=0.9), shortcut=(conv("same", 2, 1, 0.8, 0.1),)),
        RELU,
        MEAN,
        dense(),
    ],
    "residual-identity": [conv(), nl.Residual(RELU, conv()), RELU, FLATTEN, dense()],
    "layernorm": [conv(), NORM, RELU, conv(), NORM, ERF, MEAN, dense()],
    "layernorm-residual": [conv(), nl.Residual(NORM, RELU, conv()), NORM, RELU, MEAN],
    "image-attention": [conv(), RELU, SOFT, MEAN, dense()],
}
SEQUENCES = {
    "conv1d-same-flatten": [conv(), RELU, conv(), ERF, FLATTEN, dense()],
    "conv1d-valid-stride2-mean": [conv("valid", 2), RELU, MEAN, dense()],
    "conv1d-circular-mean": [conv("circular"), RELU, conv("circular"), ERF, MEAN, dense()],
    "attention-softmax": [SOFT, MEAN, dense()],
    "attention-softmax-deep": [dense(1.4), RELU, SOFT, dense(), ERF, SOFT, MEAN, dense()],
    "attention-softmax-residual-norm": [dense(1.4), nl.Residual(SOFT), NORM, dense(), RELU, MEAN],
    "attention-identity-1/d": [LINEAR, MEAN, dense()],
    "attention-identity-1/d-deep": [dense(1.4), RELU, LINEAR, dense(), ERF, LINEAR, MEAN, dense()],
    "attention-identity-1/sqrt(d)": [PRODUCT, MEAN, dense()],
    "attention-identity-1/sqrt(d)-deep": [
        *[dense(0.7), RELU, PRODUCT, dense(0.7), ERF, PRODUCT, MEAN, dense()]
    ],
    "positional-softmax": [dense(1.4), RELU, nl.PositionalEncoding(0.25, 1.5), SOFT, MEAN, dense()],
}
SUMS, MEANS = nl.Aggregate("sum"), nl.Aggregate("mean")
ON_GRAPHS = {
    "graph-sum": [dense(1.3, 0.2), SUMS, RELU, SUM, dense()],
    "graph-sum-deep": [dense(1.3, 0.2), SUMS, RELU, dense(), RELU, SUMS, dense(), ERF, MEAN, dense()],
    "graph-mean": [MEANS, dense(1.3, 0.2), RELU, MEANS, dense(), RELU, MEAN, dense()],
}


def test_no_stored_value_is_forgotten():
    assert STORED["values"].keys() == IMAGES.keys() | SEQUENCES.keys() | ON_GRAPHS.keys()


@pytest.mark.parametrize("name", STORED["values"])
def test_kernels_agree_with_neural_tangents_to_1e_10(name):
    layers = (IMAGES | SEQUENCES | ON_GRAPHS)[name]
    x = INPUTS["images"] if name in IMAGES else INPUTS["sequences"] if name in SEQUENCES else GRAPHS
    result = nl.Sequential(*layers).kernel(x)
    upper = np.triu_indices(len(x))
    want = {kind: np.array(values) for kind, values in STORED["values"][name].items()}
    assert result.nngp[upper] == pytest.approx(want["nngp"], rel=1e-10)
    if name == "positional-softmax":
        return  # its encoding is trained, ours is fixed
    # Where it keeps no pairs of different pixels, its angle between a pixel and itself is right to 1e-8 only.
    near = (upper[0] == upper[1]) & (FLATTEN in layers)
    assert result.ntk[upper][~near] == pytest.approx(want["ntk"][~near], rel=1e-10)
    assert result.ntk[upper][near] == pytest.approx(want["ntk"][near], rel=1e-8)
