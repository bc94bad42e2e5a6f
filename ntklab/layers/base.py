"""What every layer is: one class with two views of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from ntklab.finite import Builder, FiniteNetwork, Units
    from ntklab.kernel import Kernels
    from ntklab.layers.state import State


class Layer:
    """A layer, or several in a row, written down once and without a width.

    A new layer is a frozen dataclass with two methods: `propagate`, how it maps covariances at
    infinite width, and `build`, which torch module it is at finite width.
    """

    def propagate(self, state: State) -> State:
        """The infinite view: covariances of the inputs to covariances of the outputs.

        Raises:
            ValueError: the layer has no infinite-width meaning at this place.
        """
        raise NotImplementedError

    def build(self, builder: Builder, units: Units) -> tuple[nn.Module, Units]:
        """The finite view: a torch module for inputs of these units, and the units it gives."""
        raise NotImplementedError

    def weight_layers(self) -> int:
        """How many weight matrices it holds."""
        return 0

    def kernel(self, x1, x2=None) -> Kernels:
        """NNGP kernel and NTK at infinite width, `(nngp, ntk)`, each (n1, n2).

        x1: (n1, d), x2: (n2, d) or None for x1 itself (then exactly symmetric).
        numpy in gives numpy out, torch gives torch on the same device; differentiable.

        Raises:
            ValueError, TypeError: bad inputs, a composition without infinite-width meaning, or
            values that leave the dtype's range.
        """
        from ntklab.kernel import kernel

        return kernel(self, x1, x2)

    def diagonal(self, x) -> Kernels:
        """`(nngp, ntk)` for the pairs (x, x) only, each (n,); x: (n, d)."""
        from ntklab.kernel import diagonal

        return diagonal(self, x)

    def finite(
        self, width, input_shape, outputs=1, parameterization="ntk", seed=None, dtype=None
    ) -> FiniteNetwork:
        """The same architecture at finite width, a `torch.nn.Module`; see `ntklab.finite.finite`."""
        from ntklab.finite import finite

        return finite(self, width, input_shape, outputs, parameterization, seed, dtype)
