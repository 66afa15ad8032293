"""The zarr driver: one array as a ``Source``.

Reading a box is a plain loop over the stored objects it touches, with nothing in it that could be
worked out before: names are joined from strings, parts are slices made once per dimension, bytes go
through the thread's scratch. That is about 5 to 10 µs for each chunk beyond reading and decoding.

The read grid that the plan sees is that of the innermost chunks, because those are what can be read
alone; which shard holds a chunk only matters here.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import islice, product
from types import MappingProxyType
from typing import Any, cast

import numpy as np

from lazytensor.errors import (
    FormatError,
    SerializationError,
    SourceChangedError,
    SourceNotFoundError,
)
from lazytensor.io.scratch import Scratch, thread_scratch
from lazytensor.io.store import Store, join_key
from lazytensor.io.zarr.layout import Where, pieces
from lazytensor.io.zarr.metadata import ArrayMetadata
from lazytensor.io.zarr.node import Node
from lazytensor.io.zarr.storage import ZarrStorage
from lazytensor.plan.counters import count
from lazytensor.plan.source import Box, Storage, UnitSize
from lazytensor.plan.spec import Axis, TensorSpec, make_spec

__all__ = ["Pyramid", "ZarrSource"]

_MISSING = ("fill", "raise")
_Task = tuple[str, Where, np.ndarray]


class Pyramid:
    """The resolutions of one image, finest first; shared by the sources of all of them."""

    __slots__ = ("levels",)

    def __init__(self) -> None:
        self.levels: tuple[ZarrSource, ...] = ()


class ZarrSource:
    """One zarr array, readable by box from any thread.

    ``node``: where its metadata was found (must be an array). ``dims``, ``axes``: names and world
    meaning, those of the metadata by default. ``missing``: ``"fill"`` reads absent objects as the
    fill value, ``"raise"`` makes them a ``SourceNotFoundError``; chunks that a shard's index
    declares empty are the fill value either way. ``reopen``: what ``to_json`` answers instead of
    naming the array itself. ``pyramid``: the resolutions it belongs to.

    Raises ``DimensionError`` when ``dims`` or ``axes`` have the wrong length.
    """

    array: np.ndarray | None = None

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
            axes=axes,
            chunks=meta.layout.grain,
        )
        self.label = f"zarr {store.name}/{node.path}".rstrip("/")
        self.key: Hashable = (
            "zarr",
            store.identity,
            node.path,
            node.token,
            self.spec.axes,
            missing,
            self._missing_status,
        )

    @property
    def attrs(self) -> Mapping[str, Any]:
        """The array's attributes, read only."""
        return MappingProxyType(dict(self._meta.attributes))

    @property
    def levels(self) -> tuple[ZarrSource, ...]:
        """All resolutions of the image this array belongs to, finest first; else empty."""
        return () if self._pyramid is None else self._pyramid.levels

    @property
    def storage(self) -> Storage:
        """How the array is stored."""
        meta = self._meta
        facts = ZarrStorage(
            uri=self._store.uri or self._store.name,
            path=self._node.path,
            format=f"zarr v{meta.zarr_format}",
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
            store=self._store,
        )
        return cast("Storage", facts)  # the protocol cannot say that its fields are read only

    def __repr__(self) -> str:
        return f"ZarrSource({self.label!r}, shape={self._meta.shape}, dtype={self._meta.dtype})"

    def read_into(self, box: Box, out: np.ndarray) -> None:
        """Fill ``out`` with the values of ``box``.

        Raises ``FormatError`` (``ChunkDecodeError``, ``ChecksumError``) for damaged objects and
        ``SourceError`` where reading fails, naming array and key.
        """
        if not out.size:
            return
        scratch = thread_scratch()
        tasks = self._tasks(box, out)
        if self._store.batch > 1 and not self._meta.layout.is_sharded:
            while batch := list(islice(tasks, self._store.batch)):
                self._read_batch(batch, scratch)
            return
        store, layout = self._store, self._meta.layout
        for key, where, place in tasks:
            try:
                found = layout.read(store, key, where, place, scratch)
            except FormatError as error:
                raise self._named(key, error) from error
            if not found:
                self._fill(key, place)

    def _tasks(self, box: Box, out: np.ndarray) -> Iterator[_Task]:
        """Key, part of the object, and place, for each object that the box touches."""
        meta = self._meta
        if not box:
            yield self._prefix + meta.keys.scalar, (), out
            return
        cells = [pieces(lo, hi, size) for (lo, hi), size in zip(box, meta.chunk_shape, strict=True)]
        prefix = self._prefix + meta.keys.prefix
        join = meta.keys.separator.join
        for indices, where, spot in zip(
            product(*[[str(piece[0]) for piece in dim] for dim in cells]),
            product(*[[piece[1] for piece in dim] for dim in cells]),
            product(*[[piece[2] for piece in dim] for dim in cells]),
            strict=True,
        ):
            yield prefix + join(indices), where, out[spot]

    def _read_batch(self, batch: list[_Task], scratch: Scratch) -> None:
        """Fetch several objects with one request to the store."""
        found = self._store.get_many([key for key, _, _ in batch])
        count("bytes_read", sum(len(data) for data in found if data is not None))
        for (key, where, place), data in zip(batch, found, strict=True):
            if data is None:
                self._fill(key, place)
                continue
            try:
                self._meta.layout.read_buffer(data, where, place, scratch)
            except FormatError as error:
                raise self._named(key, error) from error

    def _named(self, key: str, error: FormatError) -> FormatError:
        """The same error with the name of the object in front."""
        return type(error)(f"{self.label}, key {key!r}: {error}")

    def _fill(self, key: str, place: np.ndarray) -> None:
        if self._missing == "raise":
            raise SourceNotFoundError(
                f"{self.label}: key {key!r} is not stored; missing='fill' reads such chunks as "
                "the fill value"
            )
        place[...] = self._meta.fill_value
        count("chunks_missing")

    def unit_sizes(self, cells: list[tuple[int, ...]]) -> UnitSize:
        """Stored sizes of cells of the read grid, from file sizes and shard indices."""
        meta = self._meta
        grain = meta.layout.grain
        by_object: dict[str, list[tuple[int, ...]]] = {}
        for cell in cells:
            at = tuple(i * size for i, size in zip(cell, grain, strict=True))
            indices = [p // size for p, size in zip(at, meta.chunk_shape, strict=True)]
            inside = tuple(p % size for p, size in zip(at, meta.chunk_shape, strict=True))
            by_object.setdefault(self._prefix + meta.keys.key(indices), []).append(inside)
        sizes: list[int | None] = []
        for key, positions in by_object.items():
            sizes += self._sizes_in(key, positions)
        stored = [size for size in sizes if size is not None]
        return UnitSize(len(sizes), sum(stored), len(sizes) - len(stored))

    def _sizes_in(self, key: str, positions: list[tuple[int, ...]]) -> list[int | None]:
        """Stored sizes of the cells at some positions of one object."""
        layout = self._meta.layout
        if not layout.is_sharded:
            return [self._store.size(key)] * len(positions)
        whole = self._store.open(key)
        if whole is None:
            return [None] * len(positions)
        scratch = thread_scratch()
        with whole:
            try:
                name = (self._store.identity, key)
                return [layout.stored_size(whole, name, at, scratch) for at in positions]
            except FormatError as error:
                raise self._named(key, error) from error

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
