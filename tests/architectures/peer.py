"""Makes peer_values.json: kernels of Neural Tangents 0.6.5 on jax 0.4.26, float64, stored as it gave them.

Run with the other library's own environment, from the repository:

    make peer
    .venv-peer/bin/python tests/architectures/peer.py

Inputs are stored rounded to three decimals, in this package's layout: images (n, c, h, w), sequences (n, length, d),
graphs as features (n, N, d) and adjacency (n, N, N). The other library wants channels last, and as `pattern` the
transpose of the adjacency: pattern[i, j] is the weight of node i in the sum of node j.

Two conventions differ. Its attention has four scales where we have two: sigma_qk^2 = W_key_std W_query_std and
sigma_ov = W_out_std W_value_std. Its "SAME" follows TensorFlow, ours torch: with a stride they place the filter alike
only where TensorFlow pads both sides equally, as for odd sizes, an odd filter and stride 2.
"""

import json
from pathlib import Path

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)
from neural_tangents import stax  # noqa: E402

random = np.random.default_rng(7)
INPUTS = {
    "images": random.standard_normal((4, 2, 5, 5)).round(3),
    "sequences": random.standard_normal((4, 6, 3)).round(3),
    "features": random.standard_normal((4, 5, 3)).round(3),
    "adjacency": random.integers(0, 2, (4, 5, 5)) * random.uniform(0.2, 1.5, (4, 5, 5)).round(3),
}


def conv(size=3, sigma_w=1.3, sigma_b=0.2, padding="SAME", stride=1, dims=2):
    return stax.Conv(7, (size,) * dims, (stride,) * dims, padding, W_std=sigma_w, b_std=sigma_b)


def conv1d(padding="SAME", stride=1):
    return conv(3, 1.3, 0.2, padding, stride, dims=1)


def dense(sigma_w=1.1, sigma_b=0.1, units=3):
    return stax.Dense(units, sigma_w, sigma_b)


def attention(mechanism, linear_scaling, **options):
    scales = {"W_key_std": 1.2, "W_query_std": 0.9, "W_value_std": 1.1, "W_out_std": 0.8}
    return stax.GlobalSelfAttention(
        3, 5, 5, 2, linear_scaling, attention_mechanism=mechanism, **scales, **options
    )


def residual(*branch, shortcut):
    return stax.serial(stax.FanOut(2), stax.parallel(stax.serial(*branch), shortcut), stax.FanInSum())


relu, erf, flatten, mean = stax.Relu(), stax.Erf(), stax.Flatten(), stax.GlobalAvgPool()
norm = stax.LayerNorm(axis=-1)

IMAGES = {
    "conv-same-flatten": [conv(), relu, conv(sigma_w=1.2), erf, flatten, dense()],
    "conv-same-stride2-flatten": [conv(stride=2), relu, conv(stride=2), relu, flatten, dense()],
    "conv-same-5-flatten": [conv(5), relu, flatten, dense()],
    "conv-valid-flatten": [conv(padding="VALID"), erf, conv(padding="VALID"), relu, flatten, dense()],
    "conv-valid-stride2-flatten": [conv(padding="VALID", stride=2), relu, flatten, dense()],
    "conv-circular-flatten": [
        conv(padding="CIRCULAR"),
        relu,
        conv(padding="CIRCULAR"),
        erf,
        flatten,
        dense(),
    ],
    "conv-circular-stride2-flatten": [
        conv(padding="CIRCULAR", stride=2),
        relu,
        conv(),
        relu,
        flatten,
        dense(),
    ],
    "conv-global-mean": [conv(), relu, conv(sigma_w=1.2), erf, mean, dense()],
    "conv-circular-global-mean": [
        conv(padding="CIRCULAR"),
        relu,
        conv(padding="CIRCULAR"),
        relu,
        mean,
        dense(),
    ],
    "conv-global-mean-of-gaussians-relu": [conv(), relu, conv(), mean, relu, dense()],
    "conv-global-sum": [conv(), relu, stax.GlobalSumPool(), dense()],
    "conv-pool-conv": [conv(), relu, stax.AvgPool((2, 2), (2, 2)), conv(), relu, mean, dense()],
    "conv-pool-relu": [conv(), stax.AvgPool((2, 2), (2, 2)), relu, flatten, dense()],
    "residual-projected": [
        conv(),
        residual(relu, conv(stride=2), erf, conv(sigma_w=0.9), shortcut=conv(1, 0.8, 0.1, stride=2)),
        relu,
        mean,
        dense(),
    ],
    "residual-identity": [conv(), residual(relu, conv(), shortcut=stax.Identity()), relu, flatten, dense()],
    "layernorm": [conv(), norm, relu, conv(), norm, erf, mean, dense()],
    "layernorm-residual": [conv(), residual(norm, relu, conv(), shortcut=stax.Identity()), norm, relu, mean],
    "image-attention": [conv(), relu, attention("SOFTMAX", True), mean, dense()],
}
SEQUENCES = {
    "conv1d-same-flatten": [conv1d(), relu, conv1d(), erf, flatten, dense()],
    "conv1d-valid-stride2-mean": [conv1d("VALID", 2), relu, mean, dense()],
    "conv1d-circular-mean": [conv1d("CIRCULAR"), relu, conv1d("CIRCULAR"), erf, mean, dense()],
    "attention-softmax": [attention("SOFTMAX", True), mean, dense()],
    "attention-softmax-deep": [
        dense(1.4), relu, attention("SOFTMAX", True), dense(), erf, attention("SOFTMAX", True), mean, dense()
    ],
    "attention-softmax-residual-norm": [
        dense(1.4), residual(attention("SOFTMAX", True), shortcut=stax.Identity()), norm, dense(), relu, mean
    ],
    "attention-identity-1/d": [attention("IDENTITY", True), mean, dense()],
    "attention-identity-1/d-deep": [
        dense(1.4), relu, attention("IDENTITY", True), dense(), erf, attention("IDENTITY", True), mean, dense()
    ],
    "attention-identity-1/sqrt(d)": [attention("IDENTITY", False), mean, dense()],
    "attention-identity-1/sqrt(d)-deep": [
        dense(0.7), relu, attention("IDENTITY", False), dense(0.7), erf, attention("IDENTITY", False), mean, dense()
    ],
    # The other library trains its encoding, ours is fixed: here the NNGP kernels agree, the NTKs do not.
    # One channel of encoding beside three of input: a share of 1 / 4.
    "positional-softmax": [
        dense(1.4, units=3), relu, attention(
            "SOFTMAX",
            True,
            pos_emb_type="CONCAT",
            n_chan_pos_emb=1,
            val_pos_emb=True,
            pos_emb_decay_fn=lambda squared_distance: jax.numpy.exp(-squared_distance / (2 * 1.5**2)),
        ), mean, dense(),
    ],
}  # fmt: skip
GRAPHS = {
    "graph-sum": [dense(1.3, 0.2), stax.Aggregate(), relu, stax.GlobalSumPool(), dense()],
    "graph-sum-deep": [
        dense(1.3, 0.2), stax.Aggregate(), relu, dense(), relu, stax.Aggregate(), dense(), erf, mean, dense()
    ],
    "graph-mean": [stax.Aggregate(), dense(1.3, 0.2), relu, stax.Aggregate(), dense(), relu, mean, dense()],
}  # fmt: skip


def values(layers, x, **options):
    _, _, kernel = stax.serial(*layers)
    result = kernel(x, None, ("nngp", "ntk"), **options)
    upper = np.triu_indices(len(x))
    return {name: np.asarray(getattr(result, name))[upper].tolist() for name in ("nngp", "ntk")}


def main():
    images = np.moveaxis(INPUTS["images"], 1, -1)
    table = {name: values(layers, images) for name, layers in IMAGES.items()}
    table |= {name: values(layers, INPUTS["sequences"]) for name, layers in SEQUENCES.items()}
    for name, layers in GRAPHS.items():
        adjacency = INPUTS["adjacency"]
        if name == "graph-mean":
            total = adjacency.sum(2, keepdims=True)
            adjacency = np.divide(adjacency, total, out=np.zeros_like(adjacency), where=total > 0)
        pattern = adjacency.swapaxes(1, 2)
        table[name] = values(layers, INPUTS["features"], pattern=(pattern, pattern))
    stored = {"inputs": {name: x.tolist() for name, x in INPUTS.items()}, "values": table}
    Path(__file__).with_name("peer_values.json").write_text(json.dumps(stored, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
