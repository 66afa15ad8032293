"""The steps of quantiles and histograms: what a pass counts, and what is concluded from it.

They are nodes, so that steps which two results have in common are found as common sub-plans are.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lazytensor.exec.fold_states import Wanted
from lazytensor.exec.kernels.bins import bin_counts
from lazytensor.exec.kernels.folds import Cells
from lazytensor.exec.kernels.order import (
    DIGIT,
    digit_counts,
    from_keys,
    interpolate,
    keyed_dtype,
    neighbours,
    prefixed_counts,
    table_size,
)
from lazytensor.exec.kernels.rank_summary import KEPT, Ranks, record_dtype
from lazytensor.exec.streamed import Computed, Made, Streamed, kept_slices, table_domain
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Scan
from lazytensor.plan.ops_sketch import element_dtype, nothing_selected, selected_rows
from lazytensor.plan.source import Box

__all__ = [
    "BinTally",
    "First",
    "Next",
    "QuantileOfKeys",
    "QuantileOfRanks",
    "RankTally",
    "Tally",
    "known_array",
]

_WORK = 4 << 20
"""Bytes of temporaries that do not grow with the block: stretches of bins, tables of digits."""

_FEW = 6
"""Prefixes that are quicker looked for one by one."""

_Place = tuple[int | slice | np.ndarray, ...]
"""Index of a table, or of single counts in it."""

_INT64 = np.dtype(np.int64)
_UINT64 = np.dtype(np.uint64)


def known_array(x: Node) -> np.ndarray | None:
    """The values of what is in memory."""
    return x.source.array if isinstance(x, Scan) else None


def _kept(values: Sequence[Any], axes: tuple[int, ...]) -> tuple[Any, ...]:
    return tuple([value for d, value in enumerate(values) if d not in axes])


def _rows(
    block: np.ndarray, box: Box, node: Streamed
) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """For every kept position of a block, where it is in the result and its elements that count."""
    place = [part.start for part in kept_slices(node, box)]
    last = tuple(range(block.ndim - len(node.axes_), block.ndim))
    moved = np.moveaxis(block, node.axes_, last)
    kept = moved.shape[: block.ndim - len(node.axes_)]
    picked = selected_rows(block, node.axes_) if block.dtype.names is not None else None
    for number, index in enumerate(np.ndindex(kept)):
        row = moved[index].reshape(-1) if picked is None else picked[number]
        where = tuple([i + lo for i, lo in zip(index, place, strict=True)])
        yield where, np.ascontiguousarray(row)


def _keyed(row: np.ndarray) -> np.ndarray:
    return row.astype(keyed_dtype(row.dtype), copy=False)


class _Adding:
    """A member whose states are counts, added to the result at once: no order matters to them."""

    def __init__(self, node: Streamed, out: np.ndarray | None) -> None:
        self._node = node
        self._out = out
        # A row in one piece, its keys, and what making them takes.
        self.work_itemsize = 3 * element_dtype(node.x.dtype).itemsize + 2
        self._lock = threading.Lock()
        self._cleared = False

    def state_nbytes(self, kept: int) -> int:
        """The table that a block is counted into, and what counting takes."""
        return self._node.shape[-1] * 32 + _WORK

    def partial(self, block: np.ndarray, box: Box) -> tuple[()]:
        """Count a block."""
        for where, row in _rows(block, box, self._node):
            for place, counts in self.counted(where, row):
                self._add(place, counts)
        return ()

    def repeated(self, value: np.ndarray, count: int, box: Box) -> tuple[()]:
        """Count one element as so many."""
        place = kept_slices(self._node, box)
        for index in np.ndindex(*[part.stop - part.start for part in place]):
            where = tuple([i + part.start for i, part in zip(index, place, strict=True)])
            for target, counts in self.counted(where, value.reshape(1)):
                self._add(target, counts * count)
        return ()

    def is_decided(self, value: np.ndarray) -> bool:
        """Every element counts."""
        return False

    def counted(
        self, where: tuple[int, ...], row: np.ndarray
    ) -> Iterator[tuple[_Place, np.ndarray]]:
        """Counts of elements, and where in the result they are added."""
        raise TypeError(f"{type(self).__name__} counts nothing")

    def _add(self, place: _Place, counts: np.ndarray) -> None:
        with self._lock:
            self._clear()
            assert self._out is not None
            self._out[place] += counts

    def _clear(self) -> None:
        if not self._cleared:
            assert self._out is not None
            self._out[...] = 0
            self._cleared = True

    def merge(self, a: tuple[()], b: tuple[()]) -> tuple[()]:
        """Nothing is left to merge."""
        return ()

    def write(self, state: tuple[()], box: Box) -> None:
        """Everything is written, but for zeros if nothing was counted at all."""
        with self._lock:
            self._clear()

    def write_empty(self) -> None:
        """Zeros."""
        self._clear()


class Tally(Made, Streamed):
    """How often each 16-bit digit occurs among keys, at every kept position.

    Level 0 counts the leading digits. Level i counts digit i of the keys that begin with one of the
    prefixes which the level before has found (``prefixes``: the node of those), for each of them.
    """

    __slots__ = ("axes_", "level", "prefixes", "x")
    fields = ("x", "axes_", "level", "prefixes")
    level: int
    prefixes: tuple[Node, ...]

    def _prepare(self) -> None:
        kept = _kept(self.x.shape, self.axes_)
        slots = tuple([prefixes.shape[-2] for prefixes in self.prefixes])
        own = (*slots, table_size(element_dtype(self.x.dtype)))
        self._set((self.x, *self.prefixes), table_domain(kept, *own), _INT64)

    def member(self, out: np.ndarray | None, stored: Mapping[Node, np.ndarray]) -> _TallyMember:
        """Counts digits."""
        return _TallyMember(self, out, [stored[x] for x in self.prefixes if x in stored])


class _TallyMember(_Adding):
    def __init__(self, node: Tally, out: np.ndarray | None, found: list[np.ndarray]) -> None:
        super().__init__(node, out)
        self._level = node.level
        self._found = found

    def wanted(self) -> Wanted | None:
        """A table of leading digits for each position, if it counts those."""
        node = self._node
        if self._level or node.x.dtype.names is not None:
            return None
        return Wanted((), self._add_cells, node.shape[-1])

    def _add_cells(self, cells: Cells, _count: int, box: Box) -> tuple[()]:
        place = tuple(kept_slices(self._node, box))
        kept = [part.stop - part.start for part in place]
        self._add(place, cells.counts.reshape(*kept, self._node.shape[-1]))
        return ()

    def counted(
        self, where: tuple[int, ...], row: np.ndarray
    ) -> Iterator[tuple[_Place, np.ndarray]]:
        """For each distinct prefix, in the first slot that has it."""
        values, size = _keyed(row), self._node.shape[-1]
        if not self._found:
            yield where, digit_counts(values, size, 0)
            return
        prefixes, slots = np.unique(self._found[0][where][:, 0], return_index=True)
        if len(prefixes) > _FEW:
            for which, digit, counts in prefixed_counts(values, self._level, prefixes):
                yield (*where, slots[which], digit), counts
            return
        for prefix, slot in zip(prefixes.tolist(), slots.tolist(), strict=True):
            yield (*where, slot), digit_counts(values, size, self._level, prefix)


class First(Made, Computed):
    """The leading digit of each wanted element, and its rank among those that share it.

    Last dims of the result: the elements below and above each quantile, and (prefix, rank).
    """

    __slots__ = ("counts", "q", "q_dtype", "q_shape")
    fields = ("counts", "q", "q_dtype", "q_shape")
    counts: Node
    q: bytes
    q_dtype: np.dtype
    q_shape: tuple[int, ...]

    def _prepare(self) -> None:
        slots = 2 * math.prod(self.q_shape)
        self._set((self.counts,), table_domain(self.counts.shape[:-1], slots, 2), _UINT64)

    def compute(self, *inputs: np.ndarray) -> np.ndarray:
        """Where the cumulative counts pass the ranks."""
        counts, out = inputs[0], np.zeros(self.shape, _UINT64)
        q = np.frombuffer(self.q, self.q_dtype)
        for where in np.ndindex(counts.shape[:-1]):
            total = int(counts[where].sum())
            if total:
                below, above, _ = neighbours(total, q)
                out[where] = _descend(counts[where], np.concatenate([below, above]))
        return out


def _descend(counts: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """The digit of each rank, and how many elements of that digit come before it."""
    ends = np.cumsum(counts)
    found = np.searchsorted(ends, ranks, side="right")
    before = ends[found] - counts[found]
    return np.stack([found, ranks - before], axis=-1).astype(_UINT64)


class Next(Made, Computed):
    """What was found of each wanted element, with one more digit."""

    __slots__ = ("counts", "found")
    fields = ("found", "counts")
    found: Node
    counts: Node

    def _prepare(self) -> None:
        self._set((self.found, self.counts), table_domain(self.found.shape), _UINT64)

    def compute(self, *inputs: np.ndarray) -> np.ndarray:
        """The counts of a slot are in the first slot of the same prefix."""
        found, counts = inputs
        out = np.zeros(self.shape, _UINT64)
        for where in np.ndindex(found.shape[:-2]):
            prefixes, ranks = found[where].T
            _, first, inverse = np.unique(prefixes, return_index=True, return_inverse=True)
            for i, slot in enumerate(first[inverse].tolist()):
                table = counts[(*where, slot)]
                if table.any():
                    digit, rank = _descend(table, ranks[i : i + 1].astype(np.int64))[0].tolist()
                    out[(*where, i)] = int(prefixes[i]) << DIGIT | digit, rank
        return out


_QUANTILE_FIELDS = ("q", "q_dtype", "q_shape", "weak", "to", "of", "window")


class _QuantileFields(Made, Computed):
    """What the last step of a quantile knows of it; ``window`` is the domain of the quantile."""

    __slots__ = ("of", "q", "q_dtype", "q_shape", "to", "weak", "window")
    q: bytes
    q_dtype: np.dtype
    q_shape: tuple[int, ...]
    weak: bool
    to: np.dtype
    of: np.dtype
    window: IndexDomain

    def _prepare(self) -> None:
        inputs = tuple([getattr(self, name) for name in self.fields[: -len(_QUANTILE_FIELDS)]])
        self._set(inputs, self.window, self.to)

    def _compute_each(self, positions: tuple[int, ...], value: Any) -> np.ndarray:
        """``value(position, quantiles)`` gives them for one kept position, or None of nothing."""
        q = np.frombuffer(self.q, self.q_dtype)
        out = np.empty((math.prod(self.q_shape), *positions), self.to)
        for where in np.ndindex(positions):
            found = value(where, q)
            if found is None and self.to.kind in "biu":
                raise nothing_selected("quantile", self.to)
            out[(slice(None), *where)] = np.nan if found is None else found
        return out.reshape(self.shape)


class QuantileOfKeys(_QuantileFields):
    """Quantiles from the keys of the elements below and above each."""

    __slots__ = ("counts", "found")
    fields = ("found", "counts", *_QUANTILE_FIELDS)
    found: Node
    counts: Node

    def compute(self, *inputs: np.ndarray) -> np.ndarray:
        """NumPy's interpolation between the two; NaN where any element is one."""
        found, counts = inputs
        dtype = keyed_dtype(self.of)

        def value(where: tuple[int, ...], q: np.ndarray) -> Any:
            total = int(counts[where].sum())
            if not total:
                return None
            if dtype.kind == "f" and counts[where][-1]:
                return np.nan
            below, above = from_keys(found[where][:, 0], dtype).reshape(2, -1)
            gamma = neighbours(total, q)[2]
            return interpolate(below, above, gamma, self.to, weak=self.weak)

        return self._compute_each(counts.shape[:-1], value)


class RankTally(Made, Streamed):
    """Summaries of the elements at every kept position, which know ranks to 1/4096."""

    __slots__ = ("axes_", "x")
    fields = ("x", "axes_")

    def _prepare(self) -> None:
        kept = _kept(self.x.shape, self.axes_)
        dtype = record_dtype(keyed_dtype(element_dtype(self.x.dtype)))
        self._set((self.x,), table_domain(kept, KEPT), dtype)

    def member(self, out: np.ndarray | None, stored: Mapping[Node, np.ndarray]) -> _RankMember:
        """Summarises blocks."""
        return _RankMember(self, out)


class _RankMember:
    def __init__(self, node: RankTally, out: np.ndarray | None) -> None:
        self._node = node
        self._out = out
        self.work_itemsize = 3 * node.dtype["value"].itemsize

    def state_nbytes(self, kept: int) -> int:
        """Up to 16 summaries of some levels for each position."""
        return kept * 64 * KEPT * 8

    def partial(self, block: np.ndarray, box: Box) -> list[Ranks]:
        """A summary for each kept position, in their order."""
        return [Ranks(_keyed(row)) for _, row in _rows(block, box, self._node)]

    def repeated(self, value: np.ndarray, count: int, box: Box) -> list[Ranks]:
        """One element of so much weight at each position."""
        positions = math.prod([part.stop - part.start for part in kept_slices(self._node, box)])
        return [Ranks(_keyed(value.reshape(1)), count) for _ in range(positions)]

    def is_decided(self, value: np.ndarray) -> bool:
        """Every element counts."""
        return False

    def merge(self, a: list[Ranks], b: list[Ranks]) -> list[Ranks]:
        """Position by position."""
        for one, other in zip(a, b, strict=True):
            one.extend(other)
        return a

    def write(self, state: list[Ranks], box: Box) -> None:
        """One summary for each position, filled up with elements of no weight."""
        assert self._out is not None
        target = self._out[tuple(kept_slices(self._node, box))]
        for ranks, where in zip(state, np.ndindex(target.shape[:-1]), strict=True):
            records = ranks.records()
            row = target[where]
            row[: len(records)] = records
            row[len(records) :] = np.zeros((), row.dtype)

    def write_empty(self) -> None:
        """Elements of no weight."""
        assert self._out is not None
        self._out[...] = np.zeros((), self._out.dtype)


class QuantileOfRanks(_QuantileFields):
    """Quantiles as the elements nearest in rank, from a summary."""

    __slots__ = ("ranks",)
    fields = ("ranks", *_QUANTILE_FIELDS)
    ranks: Node

    def compute(self, *inputs: np.ndarray) -> np.ndarray:
        """The element whose stretch of ranks holds the wanted one."""
        ranks = inputs[0]

        def value(where: tuple[int, ...], q: np.ndarray) -> Any:
            ends = np.cumsum(ranks[where]["weight"])
            if not ends[-1]:
                return None
            wanted = np.floor(q * float(ends[-1] - 1) + 0.5).astype(np.int64)
            wanted = np.minimum(wanted, ends[-1] - 1)
            return ranks[where]["value"][np.searchsorted(ends, wanted, side="right")]

        return self._compute_each(ranks.shape[:-1], value)


class BinTally(Made, Streamed):
    """How many elements fall into each bin, at every kept position; on the domain ``window``."""

    __slots__ = ("axes_", "edges", "window", "x")
    fields = ("x", "edges", "axes_", "window")
    edges: Node
    window: IndexDomain

    def _prepare(self) -> None:
        self._set((self.x, self.edges), self.window, _INT64)

    def member(self, out: np.ndarray | None, stored: Mapping[Node, np.ndarray]) -> _BinMember:
        """Finds the bin of every element."""
        known = known_array(self.edges)
        return _BinMember(self, out, stored.get(self.edges) if known is None else known)


class _BinMember(_Adding):
    def __init__(self, node: BinTally, out: np.ndarray | None, edges: np.ndarray | None) -> None:
        super().__init__(node, out)
        self._edges = edges

    def counted(
        self, where: tuple[int, ...], row: np.ndarray
    ) -> Iterator[tuple[_Place, np.ndarray]]:
        """One table."""
        assert self._edges is not None
        yield where, bin_counts(row, self._edges)
