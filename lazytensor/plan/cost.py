"""What a plan costs: a rough measure for laws, and the record of the exact one.

``work`` and ``reads`` are what a law may ask before it trades one plan for another: they look at
shapes and grids only, take microseconds and are remembered for as long as the node lives. They are
measures to compare plans by, not forecasts.

The forecast, ``Estimate``, is worked out in ``exec``, where tasks are known; the record is here
because plans print it (``explain``) and tests compare it, without an engine.
"""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass
from typing import NamedTuple

from lazytensor.plan.grid import DimGrid
from lazytensor.plan.node import Node, walk
from lazytensor.plan.nodes import Cache, Constant, Field, Rechunk, Reshape, Scan, View
from lazytensor.plan.nodes_block import Inspect
from lazytensor.plan.output_map import ARRAY, CONSTANT, OutputIndexMap

__all__ = ["Estimate", "format_bytes", "format_count", "reads", "work"]

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def format_count(n: int) -> str:
    """``2304`` as ``"2 304"``: thousands set off by spaces.

    >>> format_count(1234567)
    '1 234 567'
    """
    return f"{n:_}".replace("_", " ")


def format_bytes(n: int) -> str:
    """A number of bytes in the largest binary unit that leaves at least 1.

    >>> format_bytes(8192), format_bytes(1_150_000), format_bytes(300), format_bytes(288 << 20)
    ('8 KiB', '1.1 MiB', '300 B', '288 MiB')
    """
    value = float(n)
    unit = 0
    # 1023.5 would be printed as 1024 of its unit.
    while value >= 1023.5 and unit < len(_UNITS) - 1:
        value /= 1024
        unit += 1
    text = f"{value:.1f}" if unit and value < 9.95 else f"{value:.0f}"
    return f"{text.removesuffix('.0')} {_UNITS[unit]}"


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a collect will do, in tasks, chunks and bytes.

    Attributes
    ----------
    tasks
        Number of tasks, of all passes: what progress and ``lt.metrics()["tasks"]`` count. A tiny
        plan on arrays in memory is one.
    chunks_read, chunks_total
        Read units that are needed, and that the sources of the plan have. Each counts once, however
        many tasks read it, stored or not. Of a gather from an operation that it cannot move below
        (a view that skips cells of a sort, say) in more than 256 tasks it is what the whole result
        needs, which may be more than its tasks do, unless an exact estimate is asked for.
    bytes_read
        Stored bytes that will be fetched; extrapolated from at most 64 units unless there are no
        more than that, or an exact estimate was asked for. An exact one is what a store delivers,
        to the byte: with indices of shards that are not known yet, with gaps that are read along,
        of raw files only the part that is read, and all of it as often as tasks ask for it. (It
        holds for the state things are in: compiled helpers that become ready before the collect
        read less of raw files; where tasks share a shard that nobody knows yet, two that begin at
        the same moment both read its index.)
    bytes_decoded
        Bytes of the needed units once decoded, each counted once; units at the edge as large as
        they are stored. A unit that lies on the border of two tasks is decoded by both, which
        ``lt.metrics()`` counts. An exact estimate leaves out units that are not stored.
    peak_memory
        Upper bound of the bytes held at one time: the result, what is kept between passes, and what
        the tasks that run at once hold, sources included. Not of what functions of the user take,
        nor of what caches keep.

    >>> print(Estimate(1, 1, 4, 115_000, 524_288, 1_150_000))
    reads 1 of 4 chunks, ~112 KiB · peak memory ≤ 1.1 MiB · 1 task
    """

    tasks: int
    chunks_read: int
    chunks_total: int
    bytes_read: int
    bytes_decoded: int
    peak_memory: int

    def __str__(self) -> str:
        return (
            f"reads {format_count(self.chunks_read)} of {format_count(self.chunks_total)} chunks, "
            f"~{format_bytes(self.bytes_read)} · peak memory ≤ {format_bytes(self.peak_memory)} · "
            f"{format_count(self.tasks)} task{'s' * (self.tasks != 1)}"
        )


class _Cost(NamedTuple):
    work: int
    reads: int


_memo: weakref.WeakKeyDictionary[Node, _Cost] = weakref.WeakKeyDictionary()

_NOTHING = _Cost(0, 0)
_MOST = 1 << 62
"""Where sums end: beyond, one plan is as hopeless as the other."""

_LOOKED_AT = 64
"""Nodes below one with several inputs among which those that are shared are found."""

# What is handed on as it is, or looked at through other strides.
_FREE = frozenset({Scan, Constant, Field, Reshape, Rechunk, Cache, Inspect})


def work(node: Node) -> int:
    """Element operations to compute ``node`` once, whole, from its sources.

    Every operation counts the elements of its result or of its largest input, whichever are more;
    views and other nodes that only look at their input count nothing, gathers what they copy. What
    is shared counts once (with more than 64 nodes below a node of several inputs it may count once
    for each). Sums stop at ``2**62``.

    >>> from lazytensor.plan.memory import array_node
    >>> from lazytensor.plan.nodes import Cast, Elementwise
    >>> x = Cast(array_node(np.arange(10)), np.dtype("f4"))
    >>> work(x), work(Elementwise("add", (x, x)))
    (10, 20)
    """
    return _cost(node).work


def reads(node: Node) -> int:
    """Bytes of the stored cells that computing ``node`` once, whole, touches; never too few.

    Decoded bytes: what is compressed costs what it unpacks to. Arrays in memory cost nothing. A
    view counts the cells that it touches of a source, and no view of anything else makes its input
    cheaper: laws move views to where they count. What is shared is counted as in ``work``.

    >>> from lazytensor.plan.memory import array_node
    >>> reads(array_node(np.arange(10)))
    0
    """
    return _cost(node).reads


def _cost(node: Node) -> _Cost:
    known = _memo.get(node)
    if known is not None:
        return known
    for below in walk(node, lambda n: n not in _memo, _below):
        _memo[below] = _sum(below)
    return _memo[node]


def _below(node: Node) -> tuple[Node, ...]:
    return () if _is_read(node) else node.inputs


def _is_read(node: Node) -> bool:
    return type(node) is Scan or (type(node) is View and type(node.x) is Scan)


def _sum(node: Node) -> _Cost:
    """The cost of a node, given that of its inputs."""
    if _is_read(node):
        return _Cost(_own(node), _touched(node))
    parts = [_memo[x] for x in dict.fromkeys(node.inputs)]
    parts = [part for part in parts if part != _NOTHING]
    if len(parts) > 1:
        exact = _together(node)
        if exact is not None:
            return exact
    return _capped(_own(node) + sum([p.work for p in parts]), sum([p.reads for p in parts]))


def _together(node: Node) -> _Cost | None:
    """The cost with everything below counted once; None if that is too much to look at."""
    total = 0
    by_source: dict[Scan, int] = {}
    seen, left = {node}, [node]
    while left:
        below = left.pop()
        total += _own(below)
        if _is_read(below):
            scan = below if isinstance(below, Scan) else below.inputs[0]
            assert isinstance(scan, Scan)
            by_source[scan] = by_source.get(scan, 0) + _memo[below].reads
            continue
        new = [x for x in dict.fromkeys(below.inputs) if x not in seen]
        if len(seen) + len(new) > _LOOKED_AT:
            return None
        seen.update(new)
        left += new
    return _capped(total, sum([min(n, _touched(scan)) for scan, n in by_source.items()]))


def _capped(elements: int, nbytes: int) -> _Cost:
    return _Cost(min(elements, _MOST), min(nbytes, _MOST))


def _own(node: Node) -> int:
    """Elements that the operation itself touches."""
    kind = type(node)
    if kind in _FREE or (isinstance(node, View) and not node.transform.has_arrays):
        return 0
    return node.size if kind is View else max([node.size, *[x.size for x in node.inputs]])


def _touched(node: Node) -> int:
    """Bytes of the cells of a source, or of those that a view of it touches; at least those."""
    if isinstance(node, Scan):
        return node.nbytes if node.source.array is None else 0
    assert isinstance(node, View)
    scan = node.x
    if not node.size or _touched(scan) == 0:
        return 0
    extents = [
        _extent(m, node, lo, n, cells)
        for m, lo, n, cells in zip(
            node.transform.maps, scan.domain.inclusive_min, scan.shape, scan.grid, strict=True
        )
    ]
    return math.prod(extents) * scan.dtype.itemsize


def _extent(m: OutputIndexMap, view: View, lo: int, size: int, cells: DimGrid | None) -> int:
    """Elements along a dim of a source in the cells that a view touches."""
    if cells is None:
        return size
    if m.kind == CONSTANT:
        count = 1
    elif m.kind == ARRAY:
        assert m.array is not None
        count = m.array.values.size
    else:
        first, n = view.domain.inclusive_min[m.input_dimension], view.shape[m.input_dimension]
        count = cells.affine(m.offset + m.stride * first - lo, m.stride, n).count
        if cells.free:
            return min(size, n)
    return min(size, count * (1 if cells.free else cells.chunk))
