"""What reads will ask a store for, fetched before they ask.

Several reads are one batch then, and while one block is computed the bytes of the next are on their
way. What was fetched is at hand in the block of a ``with``: reads of that context find it there and
ask for nothing; all else they ask for as ever. So how a box is read knows nothing of it, but for
where it asks the store.

A request that fails does so for the read that needs its answer, with the error that it would have
met itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from itertools import product
from math import prod
from typing import cast

from lazytensor.errors import SourceError
from lazytensor.io.scratch import Scratch, thread_scratch
from lazytensor.io.store import Buffer, Store, StoredObject
from lazytensor.io.zarr.grids import Cells
from lazytensor.io.zarr.layout import pieces
from lazytensor.io.zarr.metadata import ArrayMetadata
from lazytensor.io.zarr.shard import ShardLayout
from lazytensor.io.zarr.shard_batch import Fetched, Part, fetch_shards
from lazytensor.plan.counters import count, of_this_thread
from lazytensor.plan.source import Read

__all__ = ["AtHand", "ahead_nbytes", "fetch_ahead", "objects_of", "shards_of", "touched"]

_COUNTED = ("bytes_read", "cache_hits")

_Found = Buffer | StoredObject | SourceError | None


class AtHand:
    """What was fetched of a store, at hand for reads in the block, or in several in any threads.

    ``found``: by key the bytes of an object or a handle that has them, None for an object that
    does not exist, or the error of asking. ``counted``: what fetching counts, which is counted for
    the thread that reads.
    """

    __slots__ = ("_counted", "_found", "_store")

    def __init__(self, store: Store, found: dict[str, _Found], counted: dict[str, int]) -> None:
        self._store = store
        self._found = found
        self._counted = counted

    def __enter__(self) -> AtHand:
        _AT_HAND.set((*_AT_HAND.get(), self))
        return self

    def __exit__(self, *exc: object) -> None:
        _AT_HAND.set(tuple([other for other in _AT_HAND.get() if other is not self]))

    def of(self, store: Store, keys: Iterable[str]) -> dict[str, _Found]:
        """What there is of some objects; raises what asking for one of them raised."""
        if store is not self._store:
            return {}
        found = {key: self._found[key] for key in keys if key in self._found}
        if found and self._counted:
            # Several threads may be here at once: each amount is for one of them.
            for name in _COUNTED:
                count(name, self._counted.pop(name, 0))
        for answer in found.values():
            if isinstance(answer, SourceError):
                raise answer
        return found


_AT_HAND: ContextVar[tuple[AtHand, ...]] = ContextVar("lazytensor_at_hand", default=())


def _at_hand(store: Store, keys: Sequence[str]) -> dict[str, _Found]:
    found: dict[str, _Found] = {}
    for one in _AT_HAND.get():
        found.update(one.of(store, keys))
    return found


def objects_of(store: Store, keys: Sequence[str]) -> list[Buffer | None]:
    """Whole objects, or None; asked for together as far as they are not at hand."""
    if not _AT_HAND.get():
        return store.get_many(keys)
    found = cast("dict[str, Buffer | None]", _at_hand(store, keys))
    absent = [key for key in keys if key not in found]
    if absent:
        found.update(zip(absent, store.get_many(absent), strict=True))
    return [found[key] for key in keys]


def shards_of(store: Store, parts: Sequence[Part], scratch: Scratch) -> Fetched:
    """As ``fetch_shards``, of what is not at hand."""
    if not _AT_HAND.get():
        return fetch_shards(store, parts, scratch)
    found = cast("dict[str, StoredObject | None]", _at_hand(store, [part.key for part in parts]))
    rest = [part for part in parts if part.key not in found]
    more = fetch_shards(store, rest, scratch) if rest else Fetched({}, set())
    ready = {key: whole for key, whole in found.items() if whole is not None}
    return Fetched(ready | more.ready, more.absent | (found.keys() - ready.keys()))


def touched(meta: ArrayMetadata, prefix: str, read: Read) -> Iterator[Part]:
    """The parts of objects that a read touches, in the order in which it does."""
    box, steps = read
    if meta.grid is not None:
        for cell in meta.grid.cells(box, steps):
            key = prefix + meta.keys.key(cell.indices)
            yield Part(key, cast("ShardLayout", cell.layout), cell.where)
        return
    cells = [
        pieces(lo, hi, size, step)
        for (lo, hi), step, size in zip(box, steps, meta.chunk_shape, strict=True)
    ]
    for indices, where in zip(
        product(*[[piece[0] for piece in dim] for dim in cells]),
        product(*[[piece[1] for piece in dim] for dim in cells]),
        strict=True,
    ):
        key = prefix + meta.keys.key(indices)
        yield Part(key, cast("ShardLayout", meta.layout), where)


def fetch_ahead(store: Store, meta: ArrayMetadata, prefix: str, reads: Sequence[Read]) -> AtHand:
    """Fetch what reads will ask for, all of it together; ``prefix`` begins all keys."""
    parts = [part for read in reads for part in touched(meta, prefix, read)]
    # Several reads may want the same object.
    keys = list(dict.fromkeys([part.key for part in parts]))
    found: dict[str, _Found] = {}
    here = of_this_thread()
    before = dict(here)
    try:
        if meta.layout.is_sharded:
            ready, absent = fetch_shards(store, parts, thread_scratch())
            found.update(ready)
            found.update(dict.fromkeys(absent))
        else:
            for at in range(0, len(keys), store.batch):
                some = keys[at : at + store.batch]
                found.update(zip(some, store.get_many(some), strict=True))
    except SourceError as error:
        found.update(dict.fromkeys(keys, error))
    counted = {name: here[name] - before.get(name, 0) for name in _COUNTED}
    for name, amount in counted.items():
        here[name] -= amount
    return AtHand(store, found, counted)


def ahead_nbytes(store: Store, meta: ArrayMetadata, reads: Sequence[Read]) -> int:
    """Bytes that ``fetch_ahead`` has at hand at most.

    No chunk is taken to be larger than its values; between those of a shard lies what is not
    wanted but read along.
    """
    item = meta.dtype.itemsize
    if not meta.layout.is_sharded:
        return sum([_cells_of(meta.read_cells, read)[1] for read in reads]) * item
    inner, index = meta.layout, 0
    while isinstance(inner, ShardLayout):
        index += 3 * inner.index.nbytes
        inner = inner.inner
    stored = meta.chunk_shape if meta.grid is None else meta.grid.dims
    total = 0
    for read in reads:
        chunks, elements = _cells_of(meta.read_cells, read)
        shards, most = _cells_of(stored, read)
        total += min(elements * item + chunks * store.gap, most * item) + shards * index
    return total


def _cells_of(grid: Sequence[Cells], read: Read) -> tuple[int, int]:
    """How many cells a read touches, and how many elements they have."""
    touched_ones = [
        _touched(cells, lo, hi, step) for (lo, hi), step, cells in zip(*read, grid, strict=True)
    ]
    return prod([n for n, _ in touched_ones]), prod([extent for _, extent in touched_ones])


def _touched(cells: Cells, lo: int, hi: int, step: int) -> tuple[int, int]:
    """How many cells are touched along a dim, and how long they are together."""
    points = -(-(hi - lo) // step)
    if not isinstance(cells, int):
        first, last = cells.cell_at(lo), cells.cell_at(hi - 1)
        return min(points, last - first + 1), cells[last + 1] - cells[first]
    count = min(points, (hi - 1) // cells - lo // cells + 1)
    return count, count * cells
