"""The members of a pass: what each node that looks at all of an input makes of its blocks.

One pass over an input serves several nodes: sums, extremes, histograms. To the pass they are all
the same: something that makes a state of a block, merges two states and writes the last one. How
blocks are enumerated, and in which order states meet, is the business of ``exec.reduce``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from lazytensor.exec.fold_states import InLanes, Wanted, wanted_totals
from lazytensor.exec.recording import RECORDER
from lazytensor.exec.streamed import Member, Streamed, kept_slices
from lazytensor.plan.constants import is_final
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Reduce
from lazytensor.plan.ops_state import spread_nbytes
from lazytensor.plan.promote import is_extended
from lazytensor.plan.source import Box, window

__all__ = ["ReduceMember", "member_of"]


def member_of(
    node: Reduce | Streamed, out: np.ndarray | None, stored: Mapping[Node, np.ndarray]
) -> Member:
    """The member that computes ``node`` into ``out``."""
    member = ReduceMember(node, out) if isinstance(node, Reduce) else node.member(out, stored)
    recorder = RECORDER.get()
    return member if recorder is None else recorder.member(member, node)


_SPREADS = frozenset({"var", "std"})
_PLACES = frozenset({"argmax", "argmin"})
_FINITE = frozenset({"finite_min", "finite_max"})
_TOTALS = frozenset({"sum", "prod", "mean"})


def _work_itemsize(node: Reduce) -> int:
    """Bytes that a row takes for each element of a block: of a copy, or of a mask."""
    dtype, op = node.x.dtype, node.op
    widened = 4 if is_extended(dtype) else 0
    if op in _PLACES:
        return dtype.itemsize + widened
    # Slots of float sums (``plan.ops_lanes``): up to one, or four numbers, for 16 elements.
    slots = 1 if dtype.kind == "f" or (dtype.kind in "iu" and dtype.itemsize > 2) else 0
    if op in _FINITE:
        return dtype.itemsize + 1
    if op in _TOTALS:
        wide = op == "mean" and dtype.kind in "iu" and dtype.itemsize > 2
        cast = dtype.kind not in "biu" and node.dtype.kind in "biu"
        return widened + (8 if wide or cast else slots)
    return widened + (2 * slots if op in _SPREADS else 1)


class ReduceMember:
    """A reduction of the operation table."""

    def __init__(self, node: Reduce, out: np.ndarray | None) -> None:
        self.work_itemsize = _work_itemsize(node)
        self._node = node
        self._row = node.row
        self._params = dict(node.params)
        self._out = out

    def state_nbytes(self, kept: int) -> int:
        """A variance keeps three numbers; merging takes more than twice as much again."""
        spread = self._node.op in _SPREADS
        return kept * 80 + (spread_nbytes(kept, self._node.x.dtype) if spread else 0)

    def wanted(self) -> Wanted | InLanes | None:
        """What can be folded for it (``exec.folding``)."""
        node = self._node
        # Rows of other tables, such as those under a mask, have other states.
        return wanted_totals(node.op, node.x.dtype, self._params) if type(node) is Reduce else None

    def partial(self, block: np.ndarray, box: Box) -> Any:
        """The row's state."""
        node = self._node
        origin = node.x.domain.inclusive_min
        return self._row.partial(
            block,
            node.axes_,
            offsets=tuple([lo - o for (lo, _), o in zip(box, origin, strict=True)]),
            shape=node.x.shape,
            params=self._params,
        )

    def repeated(self, value: np.ndarray, count: int, box: Box) -> Any:
        """The row's state of equal elements."""
        node = self._node
        origin = node.x.domain.inclusive_min
        return self._row.repeated(
            value,
            count,
            tuple([1 if d in node.axes_ else hi - lo for d, (lo, hi) in enumerate(box)]),
            node.axes_,
            offsets=tuple([lo - o for (lo, _), o in zip(box, origin, strict=True)]),
            shape=node.x.shape,
            params=self._params,
        )

    def is_decided(self, value: np.ndarray) -> bool:
        """Of ``any`` by something true, of a minimum by the smallest number there is, and so on."""
        return is_final(self._node, value)

    def merge(self, a: Any, b: Any) -> Any:
        """As the row says."""
        return self._row.merge(a, b)

    def write(self, state: Any, box: Box) -> None:
        """Finish and put the values where they belong."""
        node, out = self._node, self._out
        assert out is not None
        count = math.prod(node.x.shape[d] for d in node.axes_)
        values = self._row.finish(state, dtype=node.x.dtype, count=count, params=self._params)
        place = kept_slices(node, box)
        if node.keepdims:
            for axis in node.axes_:
                place.insert(axis, slice(0, 1))
        target = window(out, place)
        target[...] = values.reshape(target.shape)

    def write_empty(self) -> None:
        """What the row makes of no elements."""
        node, out = self._node, self._out
        assert out is not None
        if out.size:
            block = np.empty(node.x.shape, node.x.dtype)
            out[...] = self._row.whole(
                block, node.axes_, keepdims=node.keepdims, params=self._params
            )
