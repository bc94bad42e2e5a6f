"""What every layer is: one class with two views of itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from ntklab.builder import Builder, Units
    from ntklab.finite import FiniteNetwork
    from ntklab.kernel import Kernels
    from ntklab.layers.state import Need, State


class Layer:
    """A layer, or several in a row, written down once and without a width.

    A new layer is a frozen dataclass with two methods: `propagate`, how it maps covariances at
    infinite width, and `build`, which torch module it is at finite width.  One that looks at positions
    also says what it `needs` of them, and whether it `mixes` them.
    """

    mixes = False
    """Does one position's output depend on other positions?"""

    def propagate(self, state: State) -> State:
        """The infinite view: covariances of the inputs to covariances of the outputs.

        Raises:
            ValueError: the layer has no infinite-width meaning at this place.
        """
        raise NotImplementedError

    def build(self, builder: Builder, units: Units) -> tuple[nn.Module, Units]:
        """The finite view: a torch module for inputs of these units, and the units it gives."""
        raise NotImplementedError

    def needs(self, after: Need) -> Need:
        """Which pairs of positions of its input it uses, given which of its output are used."""
        return after

    def walk(self) -> Iterator[Layer]:
        """Itself and every layer within it."""
        yield self

    def weight_layers(self) -> int:
        """How many weight matrices it holds."""
        return 0

    def kernel(self, x1, x2=None) -> Kernels:
        """NNGP kernel and NTK at infinite width, `(nngp, ntk)`, each (n1, n2).

        x1: n1 samples, x2: n2 samples or None for x1 itself (then exactly symmetric).  Samples are vectors
            (n, d), images (n, channels, height, width), sequences (n, length, d) or a list of (length_i, d),
            or graphs, a list of `Graph`.  An architecture that ends at the nodes of graphs gives one row a node.
        numpy in gives numpy out, torch gives torch on the same device; differentiable.

        Raises:
            ValueError, TypeError: bad inputs, a composition without infinite-width meaning, or
            values that leave the dtype's range.
        """
        from ntklab.kernel import kernel

        return kernel(self, x1, x2)

    def diagonal(self, x) -> Kernels:
        """`(nngp, ntk)` for the pairs (x, x) only, each (n,); x as in `kernel`."""
        from ntklab.kernel import diagonal

        return diagonal(self, x)

    def finite(
        self, width, input_shape, outputs=1, parameterization="ntk", seed=None, dtype=None
    ) -> FiniteNetwork:
        """The same architecture at finite width, a `torch.nn.Module`; see `ntklab.finite.finite`."""
        from ntklab.finite import finite

        return finite(self, width, input_shape, outputs, parameterization, seed, dtype)
