"""How far training has moved a network from its kernel and its features.

All measures are ratios without units.  Kernels and labels may be numpy arrays (the result is a float) or
torch tensors (the result is a tensor of no dimensions that can be differentiated).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ntklab._validate import choice, tensors
from ntklab.feature_learning.lazy import LazyScaled
from ntklab.finite import ScaledLinear
from ntklab.linearize import Linearized

_WEIGHT_LAYERS = (ScaledLinear, nn.Linear, nn.modules.conv._ConvNd)


def kernel_drift(k0, kt) -> float | Tensor:
    """|kt - k0|_F / |k0|_F, the relative change of a kernel.

    Args:
        k0: the kernel at initialisation, of any shape: (n, n), (n1, n2) or (n, n, k, k).
        kt: the kernel later, of the same shape.

    Raises:
        ValueError: different shapes, or k0 is zero.
    """
    (k0, kt), back = tensors(k0=k0, kt=kt)
    _equal_shapes(k0=k0, kt=kt)
    size = _size("k0", k0)
    return _number(back, torch.linalg.vector_norm((kt - k0) / size) / torch.linalg.vector_norm(k0 / size))


def alignment(k1, k2, *, centered: bool = False) -> float | Tensor:
    """Cosine <k1, k2>_F / (|k1|_F |k2|_F) of the angle between two kernel matrices (n, n).

    From 0 to 1 for positive semi-definite kernels, and 1 only where one is a multiple of the other.
    It does not change when a kernel is scaled, nor when both samples are turned or reordered alike.

    Args:
        centered: subtract the means of rows and columns first, which removes the constant function.
            For Gram matrices of features this is the linear CKA.

    Raises:
        ValueError: different shapes, or a kernel that is zero (centred: constant), for n = 1 always so.

    Source: Cristianini, Shawe-Taylor, Elisseeff & Kandola (2001); centred: Cortes, Mohri & Rostamizadeh
    (2012, definition 4), Kornblith, Norouzi, Lee & Hinton (2019, equation 4).
    """
    (k1, k2), back = tensors(k1=k1, k2=k2)
    _equal_shapes(k1=k1, k2=k2)
    k1, k2 = (_direction(name, _square(name, k), centered) for name, k in (("k1", k1), ("k2", k2)))
    return _number(back, (k1 * k2).sum())


def target_alignment(k, y, *, centered: bool = False) -> float | Tensor:
    """Alignment of a kernel (n, n) with the targets' own, y y': y' k y / (|k|_F |y y'|_F).

    Args:
        y: targets (n,) or (n, k); classes as one column each (a column of class numbers means distances
            between the numbers).
        centered: subtract the targets' mean too; see ``alignment``.

    Raises:
        ValueError: shapes that do not fit, a zero kernel, or targets that are zero (centred: constant).
    """
    (k, y), back = tensors(k=k, y=y)
    k = _square("k", k)
    if y.ndim not in (1, 2) or len(y) != len(k):
        raise ValueError(f"y must have shape ({len(k)},) or ({len(k)}, k) to fit k, got {tuple(y.shape)}")
    y = y.reshape(len(y), -1) / _size("y", y)
    if centered:
        spread = y - y.mean(0)
        if spread.abs().max() <= len(y) * torch.finfo(y.dtype).eps:
            raise ValueError("y is constant, so nothing of it is left after centring")
        y = spread
    k = _direction("k", k, centered)
    return _number(back, (y * (k @ y)).sum() / torch.linalg.matrix_norm(y.T @ y))


def hidden_features(net: nn.Module, x) -> list:
    """What the hidden layers hand on: a list of post-activations (n, m_l), from first to last.

    These are the inputs of all weight layers (dense or convolutional) but the first; images and
    sequences are strung into one row a sample.

    Args:
        net: a network from ``arch.finite``, a ``LazyScaled`` one, or any module made of such layers.
        x: inputs (n, ...), cast to the network's dtype and device.

    Raises:
        ValueError: a network without hidden layers, or a linearised one, whose features are its fixed
            parameter gradients.
    """
    net = _trained(net)
    first, back = _inputs(net, x)
    seen: list[Tensor] = []

    def note(_module, inputs):
        if not any(inputs[0] is h for h in seen):
            seen.append(inputs[0])

    layers = [module for module in net.modules() if isinstance(module, _WEIGHT_LAYERS)]
    handles = [layer.register_forward_pre_hook(note) for layer in layers]
    try:
        with torch.no_grad():
            net(first)
    finally:
        for handle in handles:
            handle.remove()
    if len(seen) < 2:
        raise ValueError(f"net must have a hidden layer, got {len(layers)} weight layers")
    return [back(h.flatten(1)) for h in seen[1:]]


def feature_movement(net0: nn.Module, net1: nn.Module, x, *, of: str = "gram"):
    """Relative change of every hidden layer, (L,).

    Args:
        net0: the network at initialisation, such as a ``copy.deepcopy`` made before training.
        net1: the trained network.
        x: inputs (n, ...).
        of: "gram", |G1 - G0|_F / |G0|_F for the Gram matrices G = h h' / m, which all later layers see;
            "units", |h1 - h0|_F / |h0|_F for the post-activations themselves.

    Against the width m, units move as m^-r with the r of ``ABC``: O(1) where features are learnt, m^-1/2 in
    the NTK parameterisation.  Gram matrices move as m^-min(2r, r + 1/2), because small changes of the units
    point in independent directions: O(1) and 1/m.

    Raises:
        ValueError: different architectures, or a hidden layer that is zero on x at initialisation.

    Source: Yang & Hu (2021), definition 3.5 (feature learning and evolution of the feature kernel).
    """
    choice("of", of, ("gram", "units"))
    (x,), back = tensors(x=x)
    before, after = hidden_features(net0, x), hidden_features(net1, x)
    if [h.shape for h in before] != [h.shape for h in after]:
        raise ValueError("net0 and net1 must have the same hidden layers")
    ratios = []
    for layer, (h0, h1) in enumerate(zip(before, after, strict=True)):
        if not h0.any():
            raise ValueError(f"hidden layer {layer + 1} of net0 is zero on x")
        ratios.append(kernel_drift(_gram(h0), _gram(h1)) if of == "gram" else kernel_drift(h0, h1))
    return back(torch.stack(ratios))


def linearization_distance(net: nn.Module, linear: Linearized, x) -> float | Tensor:
    """|f(x) - f_lin(x)| / |f_lin(x) - f_0(x)|: error of the linearised network, in units of what it learnt.

    Args:
        net: the trained network.
        linear: what ``linearize`` made of it at initialisation, trained alike.
        x: inputs (n, ...); the norms are over all samples and outputs.

    0 where the two agree, also before training; inf where only the network has moved.
    """
    if not isinstance(linear, Linearized):
        raise TypeError(f"linear must come from ntklab.linearize, got {type(linear).__name__}")
    x, back = _inputs(net, x)
    start = {
        name.removeprefix("anchor:").replace(":", "."): value
        for name, value in linear.named_buffers()
        if name.startswith("anchor:")
    }
    with torch.no_grad():
        f, prediction = net(x), linear(x)
        initial = functional_call(linear.model, start, (x,))
    error = torch.linalg.vector_norm(f - prediction)
    moved = torch.linalg.vector_norm(prediction - initial)
    return _number(back, error / moved if error > 0 else torch.zeros_like(error))


def _trained(net: nn.Module) -> nn.Module:
    if not isinstance(net, nn.Module):
        raise TypeError(f"net must be a torch.nn.Module, got {type(net).__name__}")
    if isinstance(net, Linearized):
        raise ValueError("a linearised network has no hidden features of its own; pass the network itself")
    return net.net if isinstance(net, LazyScaled) else net


def _inputs(net: nn.Module, x):
    (x,), back = tensors(x=x)
    parameter = next(iter(net.parameters()), None)
    return (x if parameter is None else x.detach().to(parameter)), back


def _gram(h: Tensor) -> Tensor:
    return h @ h.T / h.shape[1]


def _direction(name: str, k: Tensor, centered: bool) -> Tensor:
    """k over its Frobenius norm."""
    k = k / _size(name, k)
    if centered:
        centred = k - k.mean(0) - k.mean(1, keepdim=True) + k.mean()
        if centred.abs().max() <= len(k) * torch.finfo(k.dtype).eps:
            raise ValueError(f"{name} is constant, so nothing of it is left after centring")
        k = centred
    return k / torch.linalg.matrix_norm(k)


def _size(name: str, value: Tensor) -> Tensor:
    """The largest entry, by which squares are kept inside the dtype's range."""
    size = value.detach().abs().max()
    if size == 0:
        raise ValueError(f"{name} must not be zero")
    return size


def _square(name: str, k: Tensor) -> Tensor:
    if k.ndim != 2 or k.shape[0] != k.shape[1]:
        raise ValueError(f"{name} must be a kernel of shape (n, n), got {tuple(k.shape)}")
    return k


def _equal_shapes(**named: Tensor) -> None:
    (name1, a), (name2, b) = named.items()
    if a.shape != b.shape:
        raise ValueError(
            f"{name1} and {name2} must have one shape, got {tuple(a.shape)} and {tuple(b.shape)}"
        )


def _number(back, value: Tensor) -> float | Tensor:
    result = back(value)
    return result if isinstance(result, Tensor) else float(result)
