"""Tables of Arrow data, wherever they are: what can be read of them without reading all.

A container is a Parquet file, an Arrow IPC file or stream, or a table in memory. It comes in
*groups* of rows (row groups, record batches), each of which can be read alone, and of a group
single leaves of nested columns, as far as the format can do that: Parquet reads nothing else, in
memory (and in a mapped file) nothing has to be read, and a compressed record batch is read whole.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from lazytensor.io.ome_arrow.model import Unit
from lazytensor.io.ome_arrow.unit_cache import UnitCache

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Constants", "Container", "LazyUnits", "Path"]

Path = tuple[str, ...]
"""A column, or a field in a nested one: ``("image", "planes", "z")``. Lists have no name of their
own: what is below a list is below its items."""


class Container(Protocol):
    """One table. Immutable, thread-safe, survives a fork, and is pickled as its place.

    ``identity``: equal for the same file in the same state (of what is in memory, the same object).
    ``label``: for errors and plans. ``schema``: as in the file, with Arrow's types. ``starts``:
    int64, first row of each group, and the number of rows behind the last. ``zero_copy``: whether
    ``read`` gives views and costs nothing. ``document``: what reopens it (``format``, ``uri``,
    ``key``, ``mmap``), None for what is only in memory. ``suffix``: ``"parquet"`` or ``"arrow"``.
    ``cache``: where what was decoded of it is kept: for all of the process, or, of what is in
    memory, as long as the container lives. ``by_element``: whether pixels are not read with
    a unit, but piece by piece when they are asked for.
    """

    identity: Hashable
    label: str
    schema: pa.Schema
    metadata: Mapping[bytes, bytes]
    starts: np.ndarray
    zero_copy: bool
    remote: bool
    cache: UnitCache
    by_element: bool
    suffix: str
    document: Mapping[str, Any] | None

    def read(self, group: int, paths: Sequence[Path]) -> pa.RecordBatch:
        """Some columns of a group, nested ones without what is not asked for.

        The columns of the batch are those that ``paths`` begin with, in the order of the schema;
        structs in them have at least the fields that are asked for (and all of them, where leaving
        some out would save nothing). Raises ``FormatError`` for what cannot be decoded,
        ``SourceChangedError``, ``SourceError``. Counts ``bytes_read``.
        """
        ...

    def read_parts(self, group: int, paths: Sequence[Path]) -> list[pa.RecordBatch]:
        """The same, as several batches where it is more than one can hold."""
        ...

    def stored_nbytes(self, group: int, paths: Sequence[Path]) -> int:
        """Bytes of the file that ``read`` takes; 0 for views."""
        ...

    def decoded_nbytes(self, group: int, paths: Sequence[Path]) -> int:
        """Bytes that what ``read`` gives takes in memory, about; 0 for views."""
        ...

    def check(self) -> None:
        """``SourceChangedError`` if the file is not the one that was opened."""
        ...


@runtime_checkable
class LazyUnits(Protocol):
    """What containers have besides, if their pixels can be read piece by piece (``by_element``)."""

    def lazy_unit(self, group: int, pixels: Path, encoded: bool, where: str) -> Unit | None:
        """A unit whose elements are read when they are asked for; None if they had better not."""
        ...

    def itemsize(self, pixels: Path, encoded: bool) -> int | None:
        """Bytes of an item of what ``lazy_unit`` has as elements; None where it gives no unit."""
        ...


@runtime_checkable
class Constants(Protocol):
    """What containers have besides, if their metadata knows values."""

    def constants(self, group: int, names: Sequence[str]) -> Mapping[str, Any] | None:
        """Values of columns that have one value in all of a group, and no null.

        None unless that is known of every column.
        """
        ...
