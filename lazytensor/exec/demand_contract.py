"""What a block of a contraction needs, and panels of it for long sums.

A block of a product needs whole rows of one input and whole columns of the other. Where these are
short, that is how it is computed, along with whatever follows. Where they are long, the sum is cut
into *panels*, stretches of the summed dims that end where read cells do: ``Panels`` stands for the
products of all panels side by side, along dimensions of their own, and adding them up is a
reduction like any other. So a long contraction is read once, streamed, merged in a fixed order and
held to the memory limit by what does that for sums; only the cutting is said here.

``Panels`` is made by engines (``exec.contract``); no plan that a user holds has it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lazytensor.exec.boxes import BoxPlan
from lazytensor.exec.kernels.contract import Form
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.grid import DimGrid
from lazytensor.plan.node import Node
from lazytensor.plan.nodes_contract import Contract
from lazytensor.plan.source import Box
from lazytensor.plan.spec import Axis

__all__ = ["DEMANDS", "Panels", "Stretches", "contract_demand", "panels_demand"]


class Stretches(NamedTuple):
    """``[0, extent)`` cut into stretches of ``size``, after a first one that ends at ``lead``.

    >>> cut = Stretches(10, 4, 1)
    >>> [cut.interval(i) for i in range(cut.number)]
    [(0, 1), (1, 5), (5, 9), (9, 10)]
    """

    extent: int
    size: int
    lead: int

    @property
    def number(self) -> int:
        """How many stretches there are."""
        return (1 if self.lead else 0) + -(-(self.extent - self.lead) // self.size)

    def interval(self, i: int) -> tuple[int, int]:
        """Where one of them begins and ends."""
        lo = self.lead + (i - (1 if self.lead else 0)) * self.size
        return max(0, lo), min(self.extent, lo + self.size)


class Panels(Node):
    """Products of the panels of a contraction: a dim for each pair of summed ones, then the rest.

    ``cuts``: per pair of summed dims the stretches it is cut into. ``sizes``: cells of the result,
    which are not cut. Sums of small floats are float32, others have the dtype of the contraction.
    """

    __slots__ = ("cuts", "of", "sizes")
    fields = ("of", "cuts", "sizes")
    of: Contract
    cuts: tuple[Stretches, ...]
    sizes: tuple[int, ...]

    def _prepare(self) -> None:
        counts = tuple([cut.number for cut in self.cuts])
        base = self.of.domain
        domain = IndexDomain._make(
            (*[0] * len(counts), *base.inclusive_min),
            (*counts, *base.exclusive_max),
            (*[""] * len(counts), *base.labels),
        )
        dtype = self.of.dtype
        small = dtype.itemsize < 4 and dtype.kind in "fV"
        self._set(self.of.inputs, domain, np.dtype(np.float32) if small else dtype)

    def with_inputs(self, inputs: tuple[Node, ...]) -> Node:
        of = self.of.with_inputs(inputs)
        assert isinstance(of, Contract)
        return Panels(of, self.cuts, self.sizes)

    def _derive_axes(self) -> tuple[Axis, ...]:
        return (*[Axis()] * len(self.cuts), *self.of.axes)

    def _derive_grid(self) -> tuple[DimGrid | None, ...]:
        panels = [DimGrid.regular(cut.number, 1) for cut in self.cuts]
        cells = [DimGrid.regular(n, c) for n, c in zip(self.of.shape, self.sizes, strict=True)]
        return (*panels, *cells)


_Spans = list[tuple[int, int]]


def contract_demand(node: Contract, box: Box) -> BoxPlan:
    """A box of a contraction: whole summed dims."""
    spans = [(0, node.x1.shape[d]) for d in node.summed1]
    return BoxPlan("contract", (_form(node),), _inputs(node, box, spans))


def panels_demand(node: Panels, box: Box) -> BoxPlan:
    """A box of panels: the stretches of summed dims they cover, and where each of them lies."""
    count = len(node.cuts)
    spans = [
        (cut.interval(lo)[0], cut.interval(hi - 1)[1]) if hi > lo else (0, 0)
        for cut, (lo, hi) in zip(node.cuts, box[:count], strict=True)
    ]
    args = (_form(node.of), node.cuts, box[:count])
    return BoxPlan("panels", args, _inputs(node.of, box[count:], spans))


def _form(node: Contract) -> Form:
    return Form(node.batch1, node.batch2, node.summed1, node.summed2)


def _inputs(node: Contract, box: Box, spans: _Spans) -> list[tuple[Node, Box]]:
    """The boxes of both inputs for a box of the result and positions along summed dims."""
    batch, ends = len(node.batch1), len(node.batch1) + len(node.free1)
    starts = node.domain.inclusive_min
    kept = [(lo - o, hi - o) for (lo, hi), o in zip(box[:batch], starts, strict=False)]
    return [
        (node.x1, _placed(node.x1, {**_at(node.x1, node.batch1, kept),
                                    **_at(node.x1, node.summed1, spans),
                                    **dict(zip(node.free1, box[batch:ends], strict=True))})),
        (node.x2, _placed(node.x2, {**_at(node.x2, node.batch2, kept),
                                    **_at(node.x2, node.summed2, spans),
                                    **dict(zip(node.free2, box[ends:], strict=True))})),
    ]  # fmt: skip


def _at(x: Node, dims: tuple[int, ...], positions: _Spans) -> dict[int, tuple[int, int]]:
    """Positions along some dims as coordinates."""
    origin = x.domain.inclusive_min
    return {d: (a + origin[d], b + origin[d]) for d, (a, b) in zip(dims, positions, strict=True)}


def _placed(x: Node, intervals: dict[int, tuple[int, int]]) -> Box:
    return tuple([intervals[d] for d in range(x.ndim)])


DEMANDS: dict[type[Node], Callable[[Any, Box], BoxPlan]] = {
    Contract: contract_demand,
    Panels: panels_demand,
}
"""By kind, as in ``exec.demand``."""
