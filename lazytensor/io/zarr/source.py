"""The zarr driver: one array as a ``Source``.

What it says of the array is here, how a box of it is read in ``reader``.

The read grid that the plan sees is that of the innermost chunks, because those are what can be read
alone; which shard holds a chunk only matters here.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from contextlib import closing
from types import MappingProxyType
from typing import Any, cast

import numpy as np

from lazytensor.errors import SerializationError, SourceChangedError
from lazytensor.io.store import Store, join_key
from lazytensor.io.zarr.ahead import AtHand, ahead_nbytes, fetch_ahead
from lazytensor.io.zarr.cached import ArrayWindows
from lazytensor.io.zarr.costs import fetched, reading_nbytes, unit_sizes
from lazytensor.io.zarr.disk_cached import DiskReader
from lazytensor.io.zarr.metadata import ArrayMetadata
from lazytensor.io.zarr.node import Node
from lazytensor.io.zarr.presence import stored_objects
from lazytensor.plan.caching import CACHING
from lazytensor.plan.levels import ATTRIBUTE
from lazytensor.plan.source import Box, Consumer, Fetched, Read, Reading, Storage, UnitSize
from lazytensor.plan.spec import Axis, TensorSpec, make_spec

__all__ = ["Pyramid", "ZarrSource"]

_MISSING = ("fill", "raise")


class Pyramid:
    """The resolutions of one image, finest first; shared by the sources of all of them."""

    __slots__ = ("levels",)

    def __init__(self) -> None:
        self.levels: tuple[ZarrSource, ...] = ()


def _axes_of(meta: ArrayMetadata) -> Sequence[Axis] | None:
    """The axes among the attributes; what reads them is imported where there may be some."""
    if ATTRIBUTE not in meta.attributes:
        return None
    from lazytensor.io.zarr.world import world_axes

    return world_axes(meta.attributes, len(meta.shape))


class ZarrSource:
    """One zarr array, readable by box from any thread.

    ``node``: where its metadata was found (must be an array). ``dims``, ``axes``: names and world
    meaning, those of the metadata (``world_axes``) by default. ``missing``: ``"fill"`` reads absent
    objects as the fill value, ``"raise"`` makes them a ``SourceNotFoundError``; chunks that a
    shard's index declares empty are the fill value either way. ``reopen``: what ``to_json`` answers
    instead of naming the array itself. ``pyramid``: the resolutions it belongs to.

    Raises ``DimensionError`` when ``dims`` or ``axes`` have the wrong length.
    """

    array: np.ndarray | None = None
    padded = True
    decodes_whole_cells = True
    # Of formats that are read in the same way: what they are called, and what else tells two apart.
    _called = "zarr"
    _variant: tuple[Hashable, ...] = ()

    def __init__(
        self,
        store: Store,
        node: Node,
        *,
        dims: Sequence[str | None] | None = None,
        axes: Sequence[Axis] | None = None,
        missing: str = "fill",
        missing_status: Sequence[int] = (404,),
        reopen: Mapping[str, Any] | None = None,
        pyramid: Pyramid | None = None,
    ) -> None:
        if missing not in _MISSING:
            raise ValueError(f"missing must be one of {_MISSING}, not {missing!r}")
        meta = node.metadata
        assert isinstance(meta, ArrayMetadata)
        self._store = store
        self._node = node
        self._meta = meta
        self._missing = missing
        self._missing_status = tuple(missing_status)
        self._dims = None if dims is None else tuple(dims)
        self._reopen = None if reopen is None else dict(reopen)
        self._pyramid = pyramid
        self._prefix = join_key(node.path, "") + "/" if node.path else ""
        self.spec: TensorSpec = make_spec(
            meta.shape,
            meta.dtype,
            dims=meta.dimension_names if dims is None else dims,
            axes=_axes_of(meta) if axes is None else axes,
            chunks=meta.read_cells,
            together=meta.cells_together,
        )
        self.label = f"{self._called} {store.name}/{node.path}".rstrip("/")
        self._reader = DiskReader(
            store, meta, self._prefix, self.label, missing, (self._called, *self._variant)
        )
        self.key: Hashable = (
            self._called,
            store.identity,
            node.path,
            node.token,
            self.spec.axes,
            missing,
            self._missing_status,
            *self._variant,
        )
        self._windows = ArrayWindows(store, meta, self._prefix, self.key, self._reader)

    @property
    def attrs(self) -> Mapping[str, Any]:
        """The array's attributes, read only."""
        return MappingProxyType(dict(self._meta.attributes))

    @property
    def remote(self) -> bool:
        """Whether every read is a round trip over a network."""
        return self._store.remote

    @property
    def levels(self) -> tuple[ZarrSource, ...]:
        """All resolutions of the image this array belongs to, finest first; else empty."""
        return () if self._pyramid is None else self._pyramid.levels

    @property
    def storage(self) -> Storage:
        """How the array is stored."""
        from lazytensor.io.zarr.storage import ZarrStorage

        meta = self._meta
        facts = ZarrStorage(
            uri=self._store.uri or self._store.name,
            path=self._node.path,
            format=meta.format,
            shape=meta.shape,
            chunks=meta.layout.grain,
            shards=meta.chunk_shape if meta.layout.is_sharded else None,
            codecs=meta.codecs,
            fill_value=meta.fill_value[()],
            order=meta.order,
            metadata=MappingProxyType(dict(meta.document)),
            key=self.key,
            itemsize=meta.dtype.itemsize,
            keys=meta.keys,
            counts=meta.counts,
            store=self._store,
        )
        return cast("Storage", facts)  # the protocol cannot say that its fields are read only

    def __repr__(self) -> str:
        meta = self._meta
        return f"{type(self).__name__}({self.label!r}, shape={meta.shape}, dtype={meta.dtype})"

    def read_into(self, box: Box, out: np.ndarray) -> None:
        """Fill ``out`` with the values of ``box``.

        Raises ``FormatError`` (``ChunkDecodeError``, ``ChecksumError``) for damaged objects and
        ``SourceError`` where reading fails, naming array and key.
        """
        self.read_strided(box, (1,) * len(box), out)

    def read_strided(self, box: Box, steps: Sequence[int], out: np.ndarray) -> None:
        """Fill ``out`` with every ``steps[d]``-th value of ``box`` along each dimension ``d``.

        The first value is that at the lower corner; steps are positive. Errors as ``read_into``.
        Chunks that hold none of the values are not read.
        """
        reading = self._windows.begin_box(box, steps, out)
        if reading is None:
            self._reader.read_strided(box, steps, out)
            return
        with closing(reading):
            reading.work()
            reading.end()

    def read_windows(
        self,
        starts: np.ndarray,
        counts: Sequence[int],
        steps: Sequence[int],
        outs: Sequence[np.ndarray] | np.ndarray,
    ) -> Reading | None:
        """Begin reading windows of one size, each chunk decoded once however many look at it.

        As ``shared_read``. None where reading them one by one is as good.
        """
        return self._windows.begin(starts, counts, steps, outs)

    def reads_windows(self, elements: int) -> bool:
        """Whether ``read_windows`` would begin one for windows of so many elements together."""
        return CACHING.get() is not None or self._windows.is_compiled(elements)

    def read_through(self, box: Box, steps: Sequence[int], consumer: Consumer) -> bool:
        """Give ``consumer`` every value of a ``read_strided`` once; False, and nothing done, if
        there is no compiled code for these chunks, or results would be made of values of several.
        """
        if CACHING.get() is not None:  # what is kept need not be decoded
            return False
        return self._reader.read_through(box, steps, consumer)

    def cell_strides(self, count: int) -> tuple[int, ...] | None:
        """Bytes between the elements of each of ``count`` cells that ``read_cells`` hands over.

        None where it does not.
        """
        if CACHING.get() is not None:  # what is kept need not be decoded
            return None
        return self._reader.cell_strides(count)

    @property
    def whole_cells(self) -> bool:
        """Whether ``read_cells`` had better be asked for whole cells."""
        return self._reader.whole_cells

    def read_cells(
        self, cells: Sequence[np.ndarray], numbers: np.ndarray, consumer: Consumer
    ) -> Reading | None:
        """Begin to give ``consumer`` parts of chosen cells, each decoded once.

        Errors as ``read_into``.
        """
        if CACHING.get() is not None:
            return None
        return self._reader.read_cells(cells, numbers, consumer)

    def shared_read(self, box: Box, steps: Sequence[int], out: np.ndarray) -> Reading | None:
        """A ``read_strided`` that several threads may work on, or None where there is none.

        The caller lets threads ``work``, then calls ``end``, and ``close`` in any case.
        """
        kept = self._windows.begin_box(box, steps, out)
        return self._reader.shared_read(box, steps, out) if kept is None else kept

    def shares(self, box: Box, steps: Sequence[int]) -> bool:
        """Whether ``shared_read`` would begin one, were the shards opened that it opens."""
        return CACHING.get() is not None or self._reader.shares(box, steps)

    def unit_sizes(self, cells: list[tuple[int, ...]]) -> UnitSize:
        """Stored sizes of cells of the read grid, from file sizes and shard indices."""
        return unit_sizes(self._store, self._meta, self._prefix, cells, self._reader.named)

    def reading_nbytes(self, nbytes: int) -> int:
        """Bytes that a thread holds beside the values while it reads so many bytes of them."""
        held = self._reader.held_nbytes(nbytes)
        return held + reading_nbytes(self._store, self._meta, nbytes)

    def fetched(self, reads: Sequence[Read], readings: Sequence[int] = ()) -> Fetched:
        """What carrying out ``reads`` will fetch, from file sizes and shard indices.

        ``readings``: the number of the reading that each is a part of, if they are not all single.
        """
        return fetched(self._store, self._meta, self._prefix, reads, self._reader.named, readings)

    def fetch_ahead(self, reads: Sequence[Read]) -> AtHand | None:
        """Fetch what ``reads`` will ask for; None where that is kept, or not asked for."""
        if not self._store.remote or CACHING.get() is not None or self._reader.caches:
            return None
        return fetch_ahead(self._store, self._meta, self._prefix, reads)

    def ahead_nbytes(self, reads: Sequence[Read]) -> int:
        """Bytes that ``fetch_ahead`` has at hand at most."""
        return ahead_nbytes(self._store, self._meta, reads)

    @property
    def fill_value(self) -> np.ndarray:
        """What chunks that are not stored read as."""
        return self._meta.fill_value

    def stored_objects(self, limit: int) -> np.ndarray | None:
        """Indices of the chunks, or shards, that exist, if ``limit`` names tell."""
        if self._missing != "fill":
            return None
        return stored_objects(self._store, self._node.path, self._meta, limit)

    def check(self) -> None:
        """``SourceChangedError`` if the metadata file is not the one that was read."""
        if self._store.changed(self._node.key, self._node.token):
            raise SourceChangedError(
                f"{self.label}: {self._node.key} has changed since it was opened; scan it again"
            )

    def to_json(self) -> dict[str, Any]:
        """How to open it again; ``SerializationError`` for arrays that only live in memory."""
        if self._store.uri is None:
            raise SerializationError(
                f"{self.label} lives in the memory of this process and cannot be opened elsewhere; "
                "write it to a folder or a URL first"
            )
        if self._reopen is not None:
            return {**self._reopen, "uri": self._store.uri}
        document: dict[str, Any] = {
            "format": "zarr",
            "uri": self._store.uri,
            "path": self._node.path,
        }
        if self._dims is not None:
            document["dims"] = list(self._dims)
        if self._missing != "fill":
            document["missing"] = self._missing
        if self._missing_status != (404,):
            document["missing_status"] = list(self._missing_status)
        return document
