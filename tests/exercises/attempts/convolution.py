"""Attempts at the problem architectures/convolution: right ones that must pass, wrong ones that must not."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import integrate, ndimage, stats

import ntklab as nl

# patch_average


def average_by_loops(kernel, size, padding):
    kernel = np.asarray(kernel)
    positions, half = kernel.shape[-1], size // 2
    result = np.zeros(kernel.shape)
    for p in range(positions):
        for q in range(positions):
            for shift in range(-half, half + 1):
                a, b = p + shift, q + shift
                if padding == "circular":
                    a, b = a % positions, b % positions
                elif not (0 <= a < positions and 0 <= b < positions):
                    continue
                result[..., p, q] += kernel[..., a, b] / size
    return result


def average_by_shift_matrices(kernel, size, padding):
    kernel = torch.as_tensor(kernel).double()
    positions, half = kernel.shape[-1], size // 2
    total = torch.zeros_like(kernel)
    for shift in range(-half, half + 1):
        if padding == "circular":
            move = torch.eye(positions, dtype=torch.float64).roll(shift, 1)
        else:
            move = torch.diag(torch.ones(max(positions - abs(shift), 0), dtype=torch.float64), shift)
            move = move[:positions, :positions]
            if len(move) < positions:
                continue
        total += move @ kernel @ move.T
    return (total / size).float()


def average_over_both_patches(kernel, size, padding):
    mode = "wrap" if padding == "circular" else "constant"
    kernel = np.asarray(kernel)
    square = np.ones((1,) * (kernel.ndim - 2) + (size, size)) / size**2
    return ndimage.correlate(kernel, square, mode=mode)


def average_with_the_other_padding(kernel, size, padding):
    return average_by_loops(kernel, size, "zeros" if padding == "circular" else "circular")


def average_over_what_is_there(kernel, size, padding):
    return average_by_loops(kernel, size, padding) / average_by_loops(np.ones(kernel.shape), size, padding)


def sum_over_the_patch(kernel, size, padding):
    return size * average_by_loops(kernel, size, padding)


def average_along_one_axis(kernel, size, padding):
    mode = "wrap" if padding == "circular" else "constant"
    return ndimage.uniform_filter1d(np.asarray(kernel), size, axis=-1, mode=mode)


# relu_layer


def relu_in_torch(nngp, theta, variance1, variance2):
    nngp, theta, variance1, variance2 = (torch.as_tensor(v) for v in (nngp, theta, variance1, variance2))
    scale = torch.sqrt(variance1.unsqueeze(-1) * variance2.unsqueeze(-2))
    safe = torch.where(scale > 0, scale, torch.ones_like(scale))
    cosine = (nngp / safe).clamp(-1, 1)
    angle = torch.arccos(cosine)
    moment = scale * (torch.sqrt(1 - cosine**2) + (math.pi - angle) * cosine) / (2 * math.pi)
    return [moment, theta * (math.pi - angle) / (2 * math.pi)]


def relu_in_float32(nngp, theta, variance1, variance2):
    return [part.float() for part in relu_in_torch(nngp, theta, variance1, variance2)]


def relu_that_divides_by_zero(nngp, theta, variance1, variance2):
    scale = np.sqrt(variance1[..., :, None] * variance2[..., None, :])
    with np.errstate(invalid="ignore"):
        angle = np.arccos(np.clip(nngp / scale, -1, 1))
    moment = scale * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)
    return moment, theta * (np.pi - angle) / (2 * np.pi)


def relu_with_variances_swapped(nngp, theta, variance1, variance2):
    if nngp.shape[-1] == nngp.shape[-2]:
        first, second = np.broadcast_arrays(variance1, variance2)
        return relu_in_torch(nngp, theta, second.copy(), first.copy())
    return nngp, theta


def relu_with_factor_two(nngp, theta, variance1, variance2):
    return [2 * part for part in relu_in_torch(nngp, theta, variance1, variance2)]


def relu_that_forgets_the_slope(nngp, theta, variance1, variance2):
    return relu_in_torch(nngp, theta, variance1, variance2)[0], theta


def relu_without_scale(nngp, theta, variance1, variance2):
    moment, tangent = relu_in_torch(nngp, theta, variance1, variance2)
    scale = np.sqrt(variance1[..., :, None] * variance2[..., None, :])
    return np.divide(moment, scale, out=np.zeros_like(nngp), where=scale + 0 * nngp > 0), tangent


def relu_theta_times_moment(nngp, theta, variance1, variance2):
    moment, _ = relu_in_torch(nngp, theta, variance1, variance2)
    return moment, torch.as_tensor(theta) * moment


# conv_kernel


def own(nngp):
    """(n, P), the variances on the diagonal of (n, n, P, P)."""
    return torch.einsum("iipp->ip", nngp)


def start(x):
    x = torch.as_tensor(x).double()
    return torch.einsum("icp,jcq->ijpq", x, x) / x.shape[1]


def average(kernel, size, padding):
    return torch.as_tensor(average_by_loops(kernel.numpy(), size, padding))


def read(both, readout):
    if readout == "pool":
        return both.mean((2, 3))
    return torch.einsum("ijpp->ij", both) / both.shape[-1]


def forward(x, depth, size, padding, keep=1.0, below=2.0, weight=2.0, last_moment=True):
    nngp = start(x)
    theta = torch.zeros_like(nngp)
    for _ in range(depth):
        nngp = weight * average(nngp, size, padding)
        theta = keep * nngp + below * average(theta, size, padding)
        nngp, theta = relu_in_torch(nngp, theta, own(nngp)[:, None], own(nngp)[None])
    return last_moment * nngp + theta


def kernel_by_tensors(x, depth, size, padding, readout):
    return read(forward(x, depth, size, padding), readout)


def kernel_pair_by_pair(x, depth, size, padding, readout):
    def moments(a, b, c):
        nngp, theta = relu_in_torch(c, c, torch.diagonal(a), torch.diagonal(b))
        return nngp, theta / torch.where(c == 0, torch.ones_like(c), c), c

    n = len(x)
    result = np.zeros((n, n))
    for i in range(n):
        for j in range(i, n):
            blocks = [start(x)[a, b] for a, b in ((i, i), (j, j), (i, j))]
            theta = torch.zeros_like(blocks[2])
            for _ in range(depth):
                blocks = [2 * average(block, size, padding) for block in blocks]
                theta = blocks[2] + 2 * average(theta, size, padding)
                variances = torch.diagonal(blocks[0]), torch.diagonal(blocks[1])
                cross, theta = relu_in_torch(blocks[2], theta, *variances)
                ones = [
                    relu_in_torch(block, block, v, v)[0] for block, v in zip(blocks, variances, strict=False)
                ]
                blocks = [*ones, cross]
            both = blocks[2] + theta
            value = both.mean() if readout == "pool" else torch.diagonal(both).mean()
            result[i, j] = result[j, i] = float(value)
    return result


def kernel_in_float32(x, depth, size, padding, readout):
    return kernel_by_tensors(x, depth, size, padding, readout).float()


def kernel_with_readouts_swapped(x, depth, size, padding, readout):
    return kernel_by_tensors(x, depth, size, padding, "pool" if readout == "flatten" else "flatten")


def kernel_without_the_readout_weights(x, depth, size, padding, readout):
    return read(forward(x, depth, size, padding, last_moment=False), readout)


def kernel_of_the_last_layer(x, depth, size, padding, readout):
    return read(forward(x, depth, size, padding, keep=0.0), readout)


def kernel_with_unit_weights(x, depth, size, padding, readout):
    return read(forward(x, depth, size, padding, below=1.0, weight=1.0), readout)


def kernel_that_forgets_the_factor_below(x, depth, size, padding, readout):
    one = np.asarray(x)
    if depth == 1:
        return read(forward(one, 1, size, padding, weight=1.0), readout)
    return read(forward(one, depth, size, padding, below=1.0), readout)


def kernel_pooled_by_the_sum(x, depth, size, padding, readout):
    return kernel_by_tensors(x, depth, size, padding, readout) * np.shape(x)[2]


def kernel_of_the_wrong_padding(x, depth, size, padding, readout):
    return kernel_by_tensors(x, depth, size, "zeros" if padding == "circular" else "circular", readout)


# residual_ntk


def residual(x, blocks, size, padding, norm, shortcut=1.0, own_part=1.0, inside=True, once=False):
    nngp = 2 * average(start(x), size, padding)
    theta = nngp.clone()
    first = own(nngp)
    for _ in range(blocks):
        variance = first if once else own(nngp)
        moment, tangent = relu_in_torch(nngp, theta, variance[:, None], variance[None])
        if norm:
            # ReLU is homogeneous: dividing its outputs does the same as dividing its inputs
            scale = (variance[:, None, :, None] * variance[None, :, None, :]).sqrt()
            moment, tangent = moment / scale, tangent / (scale if inside else 1)
        branch = 2 * average(moment, size, padding)
        theta = shortcut * theta + own_part * branch + 2 * average(tangent, size, padding)
        nngp = nngp + branch
    return nngp + theta


def residual_by_tensors(x, blocks, size, padding, norm):
    return residual(x, blocks, size, padding, norm).mean((2, 3))


def residual_in_float32(x, blocks, size, padding, norm):
    return residual_by_tensors(x, blocks, size, padding, norm).float().numpy()


def residual_without_the_shortcut_of_theta(x, blocks, size, padding, norm):
    return residual(x, blocks, size, padding, norm, shortcut=0.0).mean((2, 3))


def residual_without_own_weights(x, blocks, size, padding, norm):
    return residual(x, blocks, size, padding, norm, own_part=0.0).mean((2, 3))


def residual_that_normalises_one_kernel(x, blocks, size, padding, norm):
    return residual(x, blocks, size, padding, norm, inside=False).mean((2, 3))


def residual_that_never_normalises(x, blocks, size, padding, norm):
    return residual_by_tensors(x, blocks, size, padding, False)


def residual_with_variances_of_the_start(x, blocks, size, padding, norm):
    return residual(x, blocks, size, padding, norm, once=True).mean((2, 3))


def residual_read_by_flatten(x, blocks, size, padding, norm):
    return read(residual(x, blocks, size, padding, norm), "flatten")


RIGHT = {
    "patch-average": [average_by_loops, average_by_shift_matrices],
    "relu-layer": [relu_in_torch, relu_in_float32],
    "conv-kernel": [kernel_by_tensors, kernel_pair_by_pair, kernel_in_float32],
    "residual-ntk": [residual_by_tensors, residual_in_float32],
}

WRONG = {
    "patch-average": [
        average_over_both_patches,
        average_with_the_other_padding,
        average_over_what_is_there,
        sum_over_the_patch,
        average_along_one_axis,
    ],
    "relu-layer": [
        relu_that_divides_by_zero,
        relu_with_variances_swapped,
        relu_with_factor_two,
        relu_that_forgets_the_slope,
        relu_without_scale,
        relu_theta_times_moment,
    ],
    "conv-kernel": [
        kernel_with_readouts_swapped,
        kernel_without_the_readout_weights,
        kernel_of_the_last_layer,
        kernel_with_unit_weights,
        kernel_that_forgets_the_factor_below,
        kernel_pooled_by_the_sum,
        kernel_of_the_wrong_padding,
    ],
    "residual-ntk": [
        residual_without_the_shortcut_of_theta,
        residual_without_own_weights,
        residual_that_normalises_one_kernel,
        residual_that_never_normalises,
        residual_with_variances_of_the_start,
        residual_read_by_flatten,
    ],
}


# Independent values


def average_by_a_filter(kernel, size, padding):
    """Correlation with a diagonal filter."""
    diagonal = np.eye(size).reshape((1,) * (kernel.ndim - 2) + (size, size)) / size
    return ndimage.correlate(kernel, diagonal, mode="grid-wrap" if padding == "circular" else "constant")


def relu_by_integration(nngp, theta, variance1, variance2):
    """One integral over u, the mean over v given u in closed form; the orthant's probability by arcsine."""
    a, b = variance1[..., :, None], variance2[..., None, :]
    a, b, c, theta = (part.copy() for part in np.broadcast_arrays(a, b, nngp, theta))
    moment, tangent = np.zeros(c.shape), np.zeros(c.shape)
    for i in np.ndindex(c.shape):
        if a[i] > 0 and b[i] > 0:
            rho = np.clip(c[i] / math.sqrt(a[i] * b[i]), -1, 1)
            rest = max(math.sqrt(max(1 - rho**2, 0)), 1e-12)

            def given(s, rho=rho, rest=rest):
                mean = rho * s
                positive = mean * stats.norm._cdf(mean / rest) + rest * stats.norm._pdf(mean / rest)
                return s * positive * stats.norm._pdf(s)

            moment[i] = math.sqrt(a[i] * b[i]) * integrate.quad(given, 0, 12, epsrel=1e-7)[0]
            tangent[i] = theta[i] * (0.25 + math.asin(rho) / (2 * math.pi))
    return moment, tangent


def kernel_by_the_library(x, depth, size, padding, readout):
    convolution = nl.Conv(size, math.sqrt(2), padding="same" if padding == "zeros" else "circular")
    end = nl.GlobalAvgPool() if readout == "pool" else nl.Flatten()
    return nl.Sequential(*[convolution, nl.ReLU()] * depth, end, nl.Dense()).kernel(x.transpose(0, 2, 1)).ntk


def residual_by_the_library(x, blocks, size, padding, norm):
    convolution = nl.Conv(size, math.sqrt(2), padding="same" if padding == "zeros" else "circular")
    block = nl.Residual(*([nl.LayerNorm()] if norm else []), nl.ReLU(), convolution)
    arch = nl.Sequential(convolution, *[block] * blocks, nl.GlobalAvgPool(), nl.Dense())
    return arch.kernel(x.transpose(0, 2, 1)).ntk


ORACLES = {
    "patch-average": average_by_a_filter,
    "relu-layer": relu_by_integration,
    "conv-kernel": kernel_by_the_library,
    "residual-ntk": residual_by_the_library,
}
