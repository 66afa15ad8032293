"""A tensor that is kept while a pass reduces it, for the passes that come later.

Reading it first, and then going over it in memory, would take its way through memory once more. So
keeping it is one member more of the pass that looks at all of it anyway: it is given the blocks
that the others are given, and puts them where later stages will look.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lazytensor.exec.streamed import Streamed
from lazytensor.plan.grid import DimGrid
from lazytensor.plan.node import Node
from lazytensor.plan.source import Box, window
from lazytensor.plan.spec import Axis

__all__ = ["Kept"]


class Kept(Streamed):
    """The values of ``x``, kept by the pass over the axes ``axes_``."""

    __slots__ = ("axes_", "x")
    fields = ("x", "axes_")
    x: Node
    axes_: tuple[int, ...]

    def _prepare(self) -> None:
        self._set((self.x,), self.x.domain, self.x.dtype)

    def with_inputs(self, inputs: tuple[Node, ...]) -> Node:
        """The same of another tensor."""
        return Kept(inputs[0], self.axes_)

    def _derive_axes(self) -> tuple[Axis, ...]:
        return self.x.axes

    def _derive_grid(self) -> tuple[DimGrid | None, ...]:
        return self.x.grid

    def member(self, out: np.ndarray | None, stored: Mapping[Node, np.ndarray]) -> _Member:
        """Its part in the pass."""
        return _Member(self, out)


class _Member:
    """Copies every block to its place. There is no state, which is said by True."""

    work_itemsize = 0

    def __init__(self, node: Kept, out: np.ndarray | None) -> None:
        self._origin = node.domain.inclusive_min
        self._out = out

    def state_nbytes(self, kept: int) -> int:
        """Nothing beside the result."""
        return 0

    def partial(self, block: np.ndarray, box: Box) -> bool:
        """Copy one block."""
        assert self._out is not None
        place = [slice(lo - o, hi - o) for (lo, hi), o in zip(box, self._origin, strict=True)]
        window(self._out, place)[...] = block
        return True

    def merge(self, a: bool, b: bool) -> bool:
        """Both are in their places."""
        return True

    def write(self, state: bool, box: Box) -> None:
        """All is written."""

    def write_empty(self) -> None:
        """There is nothing to write."""
