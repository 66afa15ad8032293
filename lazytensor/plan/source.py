"""What a plan needs to know of the things it reads: the ``Source`` protocol.

A source knows nothing of plans, engines or laziness. It states its metadata once (``spec``) and
fills boxes exactly and from any thread (``read_into``). Everything that depends on *which* values
are asked for (index transforms, strides, gathers) is resolved before a source is called, so a
driver only ever sees boxes in its own coordinates.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from lazytensor.plan.spec import TensorSpec

__all__ = [
    "AheadSource", "Box", "CellsSource", "Consumer", "Fetched", "KnownSource", "MadeSource",
    "MeasuredSource", "Read", "Reading",
    "RemoteSource", "SharedSource", "Source", "Storage", "StridedSource", "ThroughSource",
    "UnitSize", "WindowedSource", "window",
]  # fmt: skip

Box = tuple[tuple[int, int], ...]
"""Half-open interval ``(lo, hi)`` per dimension, in the coordinates of the source's domain."""


def window(array: np.ndarray, part: Iterable[slice]) -> np.ndarray:
    """The part of an array, as a view of it; of a 0-d array too, which ``array[()]`` is not.

    >>> window(np.zeros(()), ()).shape
    ()
    """
    index: tuple[Any, ...] = (*part, ...)
    view: np.ndarray = array[index]
    return view


class UnitSize(NamedTuple):
    """Stored size of the read units of a box, as far as it was looked up.

    ``sampled`` of the units were looked up and hold ``stored_bytes`` bytes together; ``missing`` of
    those have no stored object (they read as the fill value).
    """

    sampled: int
    stored_bytes: int
    missing: int


@runtime_checkable
class Source(Protocol):
    """Something that a plan can read.

    Implementations are immutable after construction, thread-safe, and survive a fork.
    """

    @property
    def spec(self) -> TensorSpec:
        """Shape, dtype, domain, axes and read grid."""
        ...

    @property
    def key(self) -> Hashable:
        """Identity for interning: equal keys mean "the same source with the same metadata"."""
        ...

    @property
    def label(self) -> str:
        """One short phrase for plans and errors, such as ``"zarr data/a.zarr/0"``."""
        ...

    @property
    def attrs(self) -> Mapping[str, Any]:
        """User attributes stored with the array, read only."""
        ...

    @property
    def storage(self) -> Storage | None:
        """How the array is stored, or None for sources that are not files."""
        ...

    @property
    def array(self) -> np.ndarray | None:
        """The whole array if it already is in memory (never copied), else None."""
        ...

    def read_into(self, box: Box, out: np.ndarray) -> None:
        """Fill ``out`` with the values of ``box``.

        ``out`` has the extents of the box and the dtype of the spec, may be strided and is
        writable. Raises a ``SourceError`` that names the file and key.
        """
        ...

    def unit_sizes(self, cells: list[tuple[int, ...]]) -> UnitSize:
        """Stored sizes of the named cells of ``spec.grid`` (indices per dim), without decoding."""
        ...

    def check(self) -> None:
        """Raise ``SourceChangedError`` if the metadata no longer is what ``spec`` was made of."""
        ...

    def to_json(self) -> dict[str, Any]:
        """``{"format": driver name, ...}`` to reopen it; ``SerializationError`` if impossible."""
        ...


class StridedSource(Source, Protocol):
    """A source that leaves elements out by itself; one that cannot is read whole and looked at.

    Engines ask whether the method is there.
    """

    def read_strided(self, box: Box, steps: tuple[int, ...], out: np.ndarray) -> None:
        """Fill ``out`` with the elements of ``box`` that lie whole steps from its first corner.

        ``steps``: one per dim, at least 1. The box begins and ends with an element that is wanted,
        so that ``out`` has ``(hi - lo - 1) // step + 1`` elements per dim. Cells that hold none of
        them are not read. All else as in ``read_into``.
        """
        ...


class Reading(Protocol):
    """A box that several threads are reading together."""

    def work(self) -> None:
        """Read parts of the box until none is left. For any number of threads at once."""
        ...

    def end(self) -> None:
        """Finish, once no thread works on it any more. Errors as ``read_into``."""
        ...

    def close(self) -> None:
        """Give back what it holds, finished or not."""
        ...


class SharedSource(StridedSource, Protocol):
    """A source whose boxes several threads may read together.

    Engines ask whether the method is there. ``decodes_whole_cells`` (may be left out: False):
    whether all of a cell is decoded as a rule for however little of it.
    """

    def shared_read(self, box: Box, steps: tuple[int, ...], out: np.ndarray) -> Reading | None:
        """Begin a ``read_strided``; None where threads are of no use, or cannot share it."""
        ...

    def shares(self, box: Box, steps: tuple[int, ...]) -> bool:
        """Whether ``shared_read`` would begin one now, found out without opening anything."""
        ...


class Consumer(Protocol):
    """What becomes of the values of a read, piece by piece, while they are in the cache.

    ``function``: address of a compiled function of the address of a block of int64 words
    (``native.kernels.consumer_block``), ``parameters`` that of its own words, ``buffer_nbytes`` how
    much memory each thread lends it. ``target``: address of the result of the first element of the
    box that is read; ``strides``: bytes from a result to the next, per dim of that box, 0 along
    dims that are reduced. ``factors``: how many elements along each dim make one result; a piece
    begins and, unless the box does, ends at a multiple of them. ``streamed``: whether results may
    be written around the caches.
    """

    function: int
    parameters: int
    buffer_nbytes: int
    target: int
    strides: tuple[int, ...]
    factors: tuple[int, ...]
    streamed: bool

    def take(self, values: np.ndarray, position: Sequence[int]) -> None:
        """Take one piece, whose first element is at ``position`` (from zero) in the box."""
        ...


class ThroughSource(StridedSource, Protocol):
    """A source that hands over its values as they are decoded.

    Engines ask whether the method is there. It is of use where decoding goes chunk by chunk; what
    is in memory, or mapped, or read as a whole, engines hand over themselves.
    """

    def read_through(self, box: Box, steps: tuple[int, ...], consumer: Consumer) -> bool:
        """Give ``consumer`` every value of a ``read_strided`` once; False, and nothing done, if not
        in pieces.

        The pieces are what the stored cells hold of the box, several side by side as one where they
        are narrow. The calling thread gives them all, in an order that depends on what is stored
        alone: so whatever is added up is added up in the same order every time. False where the
        factors do not divide the pieces, and where there is no fast way: then the caller reads the
        box and hands over the whole. Counting and errors as in ``read_into``; after an error, the
        consumer has taken some of the pieces.
        """
        ...


class CellsSource(Source, Protocol):
    """A source that hands over single cells, or parts of them.

    Engines ask whether the methods are there.
    """

    def cell_strides(self, count: int) -> tuple[int, ...] | None:
        """Bytes between the elements of a cell that is handed over, per dim.

        None where cells are not handed over now. ``count``: about how many are wanted.
        """
        ...

    @property
    def whole_cells(self) -> bool:
        """Whether all of a cell is read for any part of it, and had better be asked for, as far as
        its extent goes even where the array ends before."""
        ...

    def read_cells(
        self, cells: Sequence[np.ndarray], numbers: np.ndarray, consumer: Consumer
    ) -> Reading | None:
        """Begin to give ``consumer`` what is wanted of some cells; None where ``cell_strides`` is.

        ``cells``: per dim a table ``(entries, 4)`` of int64: number of the cell, first position
        wanted and the one behind the last, from zero, and what the consumer is told as position.
        ``numbers``: int64, which combinations of entries, one of each dim, are wanted, numbered in
        C order. Threads may work on it, each giving other cells; a cell that is not stored comes
        without strides. Errors as ``read_into``; then the consumer has taken some of the cells.
        """
        ...


class WindowedSource(StridedSource, Protocol):
    """A source that reads many small windows at once.

    Engines ask whether the methods are there.
    """

    def read_windows(
        self,
        starts: np.ndarray,
        counts: Sequence[int],
        steps: Sequence[int],
        outs: Sequence[np.ndarray] | np.ndarray,
    ) -> Reading | None:
        """Begin to fill ``outs[i]`` with the ``counts`` elements that lie ``steps`` apart from
        ``starts[i]`` on; None where that is better done one by one.

        ``starts``: ``(windows, dims)`` int64, coordinates; all lies in the domain. ``outs``: of
        shape ``counts`` and the same strides, or one array of all. What several windows want is
        read once. Threads, errors and all else as in ``shared_read``.
        """
        ...

    def reads_windows(self, elements: int) -> bool:
        """Whether it would begin one now for windows of so many elements together."""
        ...


Read = tuple[Box, tuple[int, ...]]
"""What ``read_strided`` is asked for, a box and a step per dim; steps of 1 are a ``read_into``."""


class Fetched(NamedTuple):
    """What reads take from a store: ``stored_bytes`` delivered, what is asked for twice counted
    twice; and of how many ``units`` that are stored, each of them counted once and
    ``decoded_bytes`` long when decoded."""

    stored_bytes: int
    units: int
    decoded_bytes: int


class MeasuredSource(Source, Protocol):
    """A source that knows to the byte what reading it takes.

    Engines ask whether the methods are there. ``padded``: whether cells at the edge are stored, and
    decoded, as large as all others.
    """

    padded: bool

    def fetched(self, reads: Sequence[Read]) -> Fetched:
        """What carrying out ``reads``, in this order, will take; looks at no value.

        A ``CellsSource`` is told more, ``readings``: the number of the reading that each read is a
        part of.
        """
        ...

    def reading_nbytes(self, nbytes: int) -> int:
        """Bytes that a thread holds beside the values while it reads ``nbytes`` of them."""
        ...


class RemoteSource(Source, Protocol):
    """A source that says where it is.

    Engines ask whether the attribute is there. ``remote``: whether reading mostly waits, for a
    network as a rule; then more reads at once than there are CPUs are worthwhile.
    """

    @property
    def remote(self) -> bool:
        """Whether reading mostly waits."""
        ...


class AheadSource(RemoteSource, Protocol):
    """A source that can fetch what reads will need before they are carried out.

    Engines ask whether the methods are there. One thread fetches and another one may read.
    """

    def fetch_ahead(self, reads: Sequence[Read]) -> AbstractContextManager[object] | None:
        """Fetch together what ``reads`` will need; reads within the block find it at hand.

        None where that would bring nothing. A failure to fetch is raised by the read that needs
        what is not there. Several threads may enter the block, at once or one after the other;
        what was fetched is there as long as the object is.
        """
        ...

    def ahead_nbytes(self, reads: Sequence[Read]) -> int:
        """Bytes that are held at most by what ``fetch_ahead`` returns for these ``reads``."""
        ...


class KnownSource(Source, Protocol):
    """A source that can tell which of its stored objects exist, without asking for each.

    Engines ask whether the method is there. What is not stored is ``fill_value`` everywhere.
    """

    @property
    def fill_value(self) -> np.ndarray:
        """The value of what is not stored: 0-d, of the dtype of the spec."""
        ...

    def stored_objects(self, limit: int) -> np.ndarray | None:
        """Which objects exist now: their indices, one row each, ascending.

        The index of an object along a dim is that of its cells in ``spec.grid``, divided by how
        many of them lie ``together``. Existing objects may hold fill values too. None where that
        cannot be told, where an absent object is an error, or where it takes a look at more than
        ``limit`` names.
        """
        ...


class MadeSource:
    """Base of sources that no file stands behind: nothing is stored, and nothing can change."""

    __slots__ = ()

    @property
    def attrs(self) -> Mapping[str, Any]:
        """Nothing is stored."""
        return {}

    @property
    def storage(self) -> Storage | None:
        """None: not a file."""
        return None

    @property
    def array(self) -> np.ndarray | None:
        """None: nothing is in memory."""
        return None

    def unit_sizes(self, cells: list[tuple[int, ...]]) -> UnitSize:
        """Nothing is stored."""
        return UnitSize(len(cells), 0, 0)

    def check(self) -> None:
        """There is no metadata that could change."""


class Storage(Protocol):
    """How one stored array is laid out (``x.storage``)."""

    uri: str
    path: str
    format: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...] | None
    shards: tuple[int, ...] | None
    codecs: tuple[Any, ...]
    fill_value: Any
    order: str
    metadata: Mapping[str, Any]
    key: Hashable

    def statistics(self) -> dict[str, int]:
        """Counts and bytes of units, stored and in all; no pixel is read."""
        ...
