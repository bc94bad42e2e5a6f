"""Attempts at the problem architectures/transformer: right ones that must pass, wrong ones that must not."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from scipy import special

import ntklab as nl

# attention_ntk


def attention_in_torch(kernel, theta, own1, own2, qk=1.0, ov=1.0):
    kernel, theta, own1, own2 = (torch.as_tensor(v).double() for v in (kernel, theta, own1, own2))
    first, second = ((qk**2 * own).softmax(-1) for own in (own1, own2))
    new = ov**2 * torch.einsum("ae,ef,bf->ab", first, kernel, second)
    return new, 2 * new + ov**2 * torch.einsum("ae,ef,bf->ab", first, theta, second)


def attention_in_float32(kernel, theta, own1, own2, qk=1.0, ov=1.0):
    return torch.stack(attention_in_torch(kernel, theta, own1, own2, qk, ov)).float()


def attention_that_overflows(kernel, theta, own1, own2, qk=1.0, ov=1.0):
    with np.errstate(over="ignore", invalid="ignore"):
        powers = [np.exp(qk**2 * own) for own in (own1, own2)]
        first, second = (part / part.sum(1, keepdims=True) for part in powers)
    new = ov**2 * first @ kernel @ second.T
    return new, 2 * new + ov**2 * first @ theta @ second.T


def attention_of_columns(kernel, theta, own1, own2, qk=1.0, ov=1.0):
    first, second = (special.softmax(qk**2 * own, axis=0) for own in (own1, own2))
    new = ov**2 * first @ kernel @ second.T
    return new, 2 * new + ov**2 * first @ theta @ second.T


def attention_with_trained_queries(kernel, theta, own1, own2, qk=1.0, ov=1.0):
    new, out = attention_in_torch(kernel, theta, own1, own2, qk, ov)
    return new, out + new


def attention_of_one_group(kernel, theta, own1, own2, qk=1.0, ov=1.0):
    new, out = attention_in_torch(kernel, theta, own1, own2, qk, ov)
    return new, out - new


def attention_without_what_is_below(kernel, theta, own1, own2, qk=1.0, ov=1.0):
    return attention_in_torch(kernel, np.zeros_like(theta), own1, own2, qk, ov)


def attention_with_qk_once(kernel, theta, own1, own2, qk=1.0, ov=1.0):
    return attention_in_torch(kernel, theta, own1, own2, math.sqrt(qk), ov)


def attention_with_ov_once(kernel, theta, own1, own2, qk=1.0, ov=1.0):
    return attention_in_torch(kernel, theta, own1, own2, qk, math.sqrt(ov))


# product_ntk


def product_in_torch(kernel, theta, qk=1.0, ov=1.0, groups=4, query=1.0, pair=2.0):
    kernel, theta = torch.as_tensor(kernel).double(), torch.as_tensor(theta).double()
    size = qk**4 * ov**2
    new = size * kernel * kernel.square().sum()
    below = query * theta * kernel.square().sum() + pair * kernel * (kernel * theta).sum()
    return [new, groups * new + size * below]


def product_by_loops(kernel, theta, qk=1.0, ov=1.0):
    new, out = np.zeros(np.shape(kernel)), np.zeros(np.shape(kernel))
    for a, b in np.ndindex(new.shape):
        for e, f in np.ndindex(new.shape):
            term = kernel[a, b] * kernel[e, f] ** 2
            new[a, b] += term
            out[a, b] += 4 * term + theta[a, b] * kernel[e, f] ** 2
            out[a, b] += 2 * kernel[a, b] * kernel[e, f] * theta[e, f]
    return qk**4 * ov**2 * new, qk**4 * ov**2 * out


def product_of_two_groups(kernel, theta, qk=1.0, ov=1.0):
    return product_in_torch(kernel, theta, qk, ov, groups=2)


def product_without_keys_below(kernel, theta, qk=1.0, ov=1.0):
    return product_in_torch(kernel, theta, qk, ov, pair=1.0)


def product_without_queries_below(kernel, theta, qk=1.0, ov=1.0):
    return product_in_torch(kernel, theta, qk, ov, query=0.0)


def product_with_entrywise_cubes(kernel, theta, qk=1.0, ov=1.0):
    size = qk**4 * ov**2
    return size * kernel**3, size * (4 * kernel**3 + 3 * kernel**2 * theta)


def product_with_qk_squared(kernel, theta, qk=1.0, ov=1.0):
    return product_in_torch(kernel, theta, math.sqrt(qk), ov)


def product_with_the_square_of_the_sum(kernel, theta, qk=1.0, ov=1.0):
    size, total = qk**4 * ov**2, kernel.sum() ** 2
    new = size * kernel * total
    return new, 4 * new + size * (theta * total + 2 * kernel * kernel.sum() * theta.sum())


# network_ntk


def network(
    x1,
    x2,
    share,
    length_scale,
    mechanism,
    trained=False,
    own=True,
    readout=True,
    embedding=True,
    root=False,
    total=False,
):
    def mixed(a, b, keep_places=True):
        a, b = torch.as_tensor(a).double(), torch.as_tensor(b).double()
        steps = torch.arange(len(a))[:, None] - torch.arange(len(b))
        places = torch.exp(-(steps**2).double() / (2 * length_scale**2))
        keep = math.sqrt(1 - share) if root else 1 - share
        return keep * (a @ b.T) / a.shape[1] + keep_places * share * places

    kernel, theta = mixed(x1, x2), embedding * mixed(x1, x2, keep_places=trained)
    if mechanism == "softmax":
        owns = (mixed(x, x, keep_places=own) for x in (x1, x2))
        kernel, theta = attention_in_torch(kernel, theta, *owns)
    else:
        kernel, theta = product_in_torch(kernel, theta)
    result = readout * kernel + theta
    return result.sum() if total else result.mean()


def network_in_torch(x1, x2, share, length_scale, mechanism):
    return network(x1, x2, share, length_scale, mechanism)


def network_in_float32(x1, x2, share, length_scale, mechanism):
    return network(x1, x2, share, length_scale, mechanism).float().item()


def network_that_trains_the_encoding(x1, x2, share, length_scale, mechanism):
    return network(x1, x2, share, length_scale, mechanism, trained=True)


def network_without_the_readout(x1, x2, share, length_scale, mechanism):
    return network(x1, x2, share, length_scale, mechanism, readout=False)


def network_without_the_embedding(x1, x2, share, length_scale, mechanism):
    return network(x1, x2, share, length_scale, mechanism, embedding=False)


def network_with_root_of_the_share(x1, x2, share, length_scale, mechanism):
    return network(x1, x2, share, length_scale, mechanism, root=True)


def network_of_sums(x1, x2, share, length_scale, mechanism):
    return network(x1, x2, share, length_scale, mechanism, total=True)


def network_with_scores_of_content_alone(x1, x2, share, length_scale, mechanism):
    return network(x1, x2, share, length_scale, mechanism, own=False)


# head_kernel


def heads_by_loops(x1, x2, queries, keys, values):
    heads, units, channels = queries.shape
    result = np.zeros((len(x1), len(x2)))
    for head in range(heads):
        outs = []
        for x in (x1, x2):
            q, k, v = (x @ w[head].T / math.sqrt(channels) for w in (queries, keys, values))
            outs.append(q @ k.T @ v / math.sqrt(units))
        result += outs[0] @ outs[1].T / (heads * units)
    return result


def heads_in_torch(x1, x2, queries, keys, values):
    x1, x2, queries, keys, values = (torch.as_tensor(v.copy()) for v in (x1, x2, queries, keys, values))
    heads, units, channels = queries.shape
    scale = channels**1.5 * units**0.5
    parts = [[torch.einsum("pc,hdc->hpd", x, w) for w in (queries, keys, values)] for x in (x1, x2)]
    first, second = (torch.einsum("hpd,hqd,hqi->hpi", *part) / scale for part in parts)
    return torch.einsum("hpi,hqi->pq", first, second) / (heads * units)


def heads_with_tied_keys(x1, x2, queries, keys, values):
    return heads_by_loops(x1, x2, queries, queries, values)


def heads_over_d(x1, x2, queries, keys, values):
    return heads_by_loops(x1, x2, queries, keys, values) / queries.shape[1]


def heads_summed(x1, x2, queries, keys, values):
    return heads_by_loops(x1, x2, queries, keys, values) * len(queries)


def heads_without_root_of_channels(x1, x2, queries, keys, values):
    return heads_by_loops(x1, x2, queries, keys, values) * queries.shape[2] ** 3


def heads_that_mix(x1, x2, queries, keys, values):
    heads, units, channels = queries.shape
    flat = [w.reshape(1, heads * units, channels) for w in (queries, keys, values)]
    return heads_by_loops(x1, x2, *flat)


def heads_transposed(x1, x2, queries, keys, values):
    return heads_by_loops(x1, x2, keys, queries, values)


RIGHT = {
    "attention-ntk": [attention_in_torch, attention_in_float32],
    "product-ntk": [product_in_torch, product_by_loops],
    "network-ntk": [network_in_torch, network_in_float32],
    "head-kernel": [heads_by_loops, heads_in_torch],
}

WRONG = {
    "attention-ntk": [
        attention_that_overflows,
        attention_of_columns,
        attention_with_trained_queries,
        attention_of_one_group,
        attention_without_what_is_below,
        attention_with_qk_once,
        attention_with_ov_once,
    ],
    "product-ntk": [
        product_of_two_groups,
        product_without_keys_below,
        product_without_queries_below,
        product_with_entrywise_cubes,
        product_with_qk_squared,
        product_with_the_square_of_the_sum,
    ],
    "network-ntk": [
        network_that_trains_the_encoding,
        network_without_the_readout,
        network_without_the_embedding,
        network_with_root_of_the_share,
        network_of_sums,
        network_with_scores_of_content_alone,
    ],
    "head-kernel": [
        heads_with_tied_keys,
        heads_over_d,
        heads_summed,
        heads_without_root_of_channels,
        heads_that_mix,
        heads_transposed,
    ],
}


# Independent values


def attention_entry_by_entry(kernel, theta, own1, own2, qk=1.0, ov=1.0):
    """Double sums over tokens; the weights from logarithms."""
    logs = [qk**2 * own - special.logsumexp(qk**2 * own, axis=1, keepdims=True) for own in (own1, own2)]
    new, out = np.zeros(kernel.shape), np.zeros(kernel.shape)
    for (a, b), (e, f) in itertools.product(np.ndindex(kernel.shape), repeat=2):
        weight = ov**2 * math.exp(logs[0][a, e] + logs[1][b, f])
        new[a, b] += weight * kernel[e, f]
        out[a, b] += weight * (2 * kernel[e, f] + theta[e, f])
    return new, out


def product_by_differentiation(kernel, theta, qk=1.0, ov=1.0):
    """K' from moments of products of Gaussians; what is below by a derivative along Theta (Euler: degree 3)."""

    def moments(k):
        score = qk**4 * torch.einsum("ab,ef->aebf", k, k)  # E G_ae G'_bf
        return ov**2 * torch.einsum("aebf,ef->ab", score, k)

    new, below = torch.func.jvp(moments, (torch.tensor(kernel),), (torch.tensor(theta),))
    return new, 4 * new + below


def network_by_the_library(x1, x2, share, length_scale, mechanism):
    layer = nl.Attention() if mechanism == "softmax" else nl.Attention("identity", "1/sqrt(d)")
    encoding = nl.PositionalEncoding(share, length_scale)
    arch = nl.Sequential(nl.Dense(), encoding, layer, nl.GlobalAvgPool(), nl.Dense())
    return arch.kernel([x1], [x2]).ntk[0, 0]


def heads_token_by_token(x1, x2, queries, keys, values):
    """One einsum over all indices of each sequence."""
    heads, units, channels = queries.shape

    def outputs(x):
        return np.einsum("ac,hjc,hjl,bl,him,bm->hai", x, queries, keys, x, values, x, optimize=True)

    return np.einsum("hai,hbi->ab", outputs(x1), outputs(x2)) / (channels**3 * units**2 * heads)


ORACLES = {
    "attention-ntk": attention_entry_by_entry,
    "product-ntk": product_by_differentiation,
    "network-ntk": network_by_the_library,
    "head-kernel": heads_token_by_token,
}
