"""Writing zarr arrays: of one, or of all in a group, every stored object once.

What is written at once is a stored object: a shard, or a chunk where there are no shards. It
belongs to one task, which has all of its values, encodes them and puts the object under its name;
nothing is ever read to be written again. Objects that hold nothing but the fill value are left out.
Where objects go, and how that becomes an array for others at the end, is the matter of a place
(``sink_places``).

The same values make the same bytes, so that a unit may be written twice. What a killed process has
written is looked at when its units come up: those that can be decoded stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np

from lazytensor.errors import SinkError, SourceError
from lazytensor.io.scratch import thread_scratch
from lazytensor.io.store import join_key
from lazytensor.io.zarr.encode import object_encoder
from lazytensor.io.zarr.metadata import ArrayMetadata
from lazytensor.io.zarr.sink_places import TreePlace
from lazytensor.io.zarr.sink_tree import Tree
from lazytensor.plan.sink import Runs, Target
from lazytensor.plan.source import Box

__all__ = ["ArrayTarget", "ZarrSink"]


class ZarrSink:
    """The arrays of a tree, by their paths in it (``""``: the node itself).

    ``plan()``: a digest of what is computed, the same in another process; None if there is none.
    ``write_empty``: whether objects are written that hold nothing but the fill value. ``around``:
    whether the root of the store gets consolidated metadata once all is there.
    """

    def __init__(
        self,
        place: TreePlace,
        tree: Tree,
        arrays: Mapping[str, ArrayMetadata],
        *,
        plan: Callable[[], str | None],
        write_empty: bool = False,
        around: bool = False,
    ) -> None:
        if around and not place.consolidates:
            raise ValueError(
                f"{place.label}: consolidated=True is for folders; lt.dump_zarr has it"
            )
        if around and not place.inner:
            raise ValueError(f"{place.label}: consolidated=True is for an array in a group: path=")
        self.label = place.label
        self.places = place.places
        self._place = place
        self._tree = tree
        self._plan = plan
        self._around = around
        self._arrays = [
            ArrayTarget(place, path, meta, write_empty=write_empty) for path, meta in arrays.items()
        ]
        self.targets: tuple[Target | np.ndarray, ...] = tuple(self._arrays)

    @property
    def failed(self) -> list[str]:
        """Keys of objects that could not be written."""
        return [key for target in self._arrays for key in target.failed]

    def begin(self) -> None:
        """Reserve the place, or find out what is there already; raises ``SinkError``."""
        for target in self._arrays:
            target.failed.clear()
        self._place.begin(self._tree, self._plan())

    def finish(self) -> None:
        """Write the documents, and let everybody see the arrays."""
        self._place.publish()
        if not self._place.complete or self._around:
            self._place.consolidate(anew=self._around)

    def abort(self) -> None:
        """Leave no trace; of ``mode="resume"`` what was written."""
        self._place.abort()


class _Unit(NamedTuple):
    """A stored object: its key, and the extents of what lies in the array."""

    key: str
    shape: tuple[int, ...]


class ArrayTarget:
    """Writes the objects of one array, or of those from the number ``first`` on (per dim)."""

    runs: Runs = "any"

    def __init__(
        self,
        place: TreePlace,
        path: str,
        meta: ArrayMetadata,
        *,
        write_empty: bool,
        first: Sequence[int] = (),
    ) -> None:
        self.label = f"{place.label}/{path}".rstrip("/")
        self.cells: tuple[int | None, ...] = meta.chunk_shape
        self.failed: list[str] = []
        self._place = place
        self._prefix = join_key(path, "") + "/" if path else ""
        self._meta = meta
        self._encoder = object_encoder(meta, write_empty=write_empty)
        self._write_empty = write_empty
        self._first = tuple(first) or (0,) * len(meta.shape)
        self._replaces = place.replaces
        self.waits = place.waits
        encoded, aside = self._encoder.memory()
        decoded = prod(meta.chunk_shape) * meta.dtype.itemsize
        # Of buffers that are kept the next power of two; a look at what is there decodes it.
        self._held = max(encoded * (1 + place.copies) + 2 * aside, encoded + 3 * decoded)

    def held(self, nbytes: int) -> int:
        """An encoded object, in one piece for a remote store, and values in order."""
        return self._held

    @property
    def complete(self) -> bool:
        """Whether all is there."""
        return self._place.complete

    def passes_over(self, value: np.ndarray) -> bool:
        """Whether it is the fill value to the last bit, and nothing is there."""
        if self.complete:
            return True
        if self._write_empty or self._place.present or self._replaces:
            return False
        return self._encoder.is_empty(self._plain(value).reshape((1,) * len(self._meta.shape)))

    def seems_written(self, box: Box) -> bool:
        """Whether objects of these names are there."""
        if self.complete:
            return True
        present = self._place.present
        return bool(present) and all(unit.key in present for unit in self._units(box))

    def has(self, box: Box) -> bool:
        """Whether they can be decoded to the last element."""
        return self.complete or all(self._is_sound(unit) for unit in self._units(box))

    def _is_sound(self, unit: _Unit) -> bool:
        meta = self._meta
        out = np.empty(unit.shape, meta.dtype)
        where = tuple([slice(0, n) for n in unit.shape])
        try:
            return meta.layout.read(self._place.reader(), unit.key, where, out, thread_scratch())
        except SourceError:
            return False

    def _units(self, box: Box) -> Iterator[_Unit]:
        """The objects that a box of whole ones consists of."""
        sizes = self._meta.chunk_shape
        along = [
            [(first + at // n, min(n, hi - at)) for at in range(lo, hi, n)]
            for (lo, hi), n, first in zip(box, sizes, self._first, strict=True)
        ]
        for found in product(*along):
            key = self._prefix + self._meta.keys.key([i for i, _ in found])
            yield _Unit(key, tuple([extent for _, extent in found]))

    def write(self, box: Box, values: np.ndarray) -> None:
        """Encode an object and put it, or leave it out."""
        (unit,) = self._units(box)
        values = self._plain(values)
        if not self._write_empty and self._encoder.is_empty(values):
            if self._place.may_have(unit.key):
                self._place.remove(unit.key)
            return
        try:
            self._place.put(unit.key, self._encoded(unit, values))
        except SinkError:
            self.failed.append(unit.key)
            raise

    def _plain(self, values: np.ndarray) -> np.ndarray:
        """In the machine's byte order."""
        return values if values.dtype == self._meta.dtype else values.astype(self._meta.dtype)

    def _encoded(self, unit: _Unit, values: np.ndarray) -> Sequence[bytes | bytearray | memoryview]:
        try:
            return self._encoder.encode(values)
        except SinkError as error:
            raise SinkError(f"{self.label}: key {unit.key!r}: {error}") from error
