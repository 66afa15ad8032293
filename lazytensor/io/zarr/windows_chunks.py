"""The chunks of a zarr array as windows and the cache see them: numbered, each readable alone.

Numbers count the cells of the read grid in C order, inner chunks of shards like any other. Decoded
chunks are kept as their decoder leaves them: in the order of axes that is stored.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from math import prod
from typing import cast

import numpy as np

from lazytensor.config import option
from lazytensor.io.codec.compiled import Recipe, recipe_of
from lazytensor.io.codec.compiled_windows import WindowCells, kept_recipe
from lazytensor.io.file_states import FileState, unchanged
from lazytensor.io.store import Store
from lazytensor.io.zarr.disk_cached import DiskReader
from lazytensor.io.zarr.layout import PlainLayout
from lazytensor.io.zarr.metadata import ArrayMetadata
from lazytensor.io.zarr.shard import ShardLayout
from lazytensor.native import Kernel, file_functions
from lazytensor.plan.caching import Caching
from lazytensor.plan.source import Box, window

__all__ = ["Chunks"]

_SETTLED_NS = 2_000_000_000
"""Times of files tick: a younger one may change again under the same time (``store_local``)."""


class Chunks:
    """See the module. ``reader``: reads boxes the plain way.

    ``shape``: of a chunk, in the array's axes; ``strides``: bytes between its elements when it is
    decoded, likewise; ``grid``: how many there are along each dim. ``axes``: axis ``i`` as stored
    is that axis of the array. ``recipe``: how compiled code decodes one (None: it cannot), and
    ``kept`` how it copies from a decoded one; both have the axes as stored.
    """

    def __init__(self, store: Store, meta: ArrayMetadata, prefix: str, reader: DiskReader) -> None:
        self.store = store
        self.meta = meta
        self.reader = reader
        self._prefix = prefix
        layout = meta.layout
        parted = isinstance(layout, ShardLayout) and not layout.outer.codecs
        self.shards = cast("ShardLayout", layout) if parted else None
        inner = layout if self.shards is None else self.shards.inner
        plain = inner if isinstance(inner, PlainLayout) else None
        rank = len(meta.shape)
        self.axes = tuple(range(rank)) if self.shards is None else self.shards.axes
        self.shape = layout.grain
        self.grid = tuple([-(-n // size) for n, size in zip(meta.shape, self.shape, strict=True)])
        self.recipe: Recipe | None = None
        in_files = store.folder is not None and file_functions() is not None
        if plain is not None and in_files:
            self.recipe = recipe_of(plain.decoder)
        stored = tuple([self.shape[axis] for axis in self.axes])
        self.item = meta.dtype.itemsize
        self.nbytes = prod(self.shape) * self.item
        if self.recipe is None:
            steps = [self.item * prod(stored[d + 1 :]) for d in range(rank)]
            strides = tuple(steps)
        else:
            strides = self.recipe.strides
        self.kept = kept_recipe(stored, meta.dtype, strides, self.nbytes)
        by_axis = dict(zip(self.axes, strides, strict=True))
        self.strides = tuple([by_axis[axis] for axis in range(rank)])
        self.fill = meta.fill_value if self.shards is None else self.shards.fill
        self._together = meta.cells_together
        # Replaced as a whole: threads may race.
        self._cells: tuple[Hashable, WindowCells] | None = None

    @property
    def in_memory(self) -> bool:
        """Whether the array lives in the memory of this process, and changes without a trace."""
        return self.store.uri is None

    def index(self, number: int) -> tuple[int, ...]:
        """The chunk's place in the grid."""
        found = []
        for extent in reversed(self.grid):
            number, at = divmod(number, extent)
            found.append(at)
        return tuple(reversed(found))

    def key(self, number: int) -> str:
        """Of the object that holds the chunk."""
        index = self.index(number)
        if self.shards is not None:
            index = tuple([i // many for i, many in zip(index, self._together, strict=True)])
        return self._prefix + self.meta.keys.key(index)

    def path(self, number: int) -> str:
        """Of the file that holds the chunk, in a store that is a folder."""
        return (self.store.folder or "") + self.key(number)

    def inside(self, number: int) -> tuple[int, ...]:
        """The chunk's place in its shard, along the axes as stored."""
        index = self.index(number)
        return tuple([index[axis] % self._together[axis] for axis in self.axes])

    def box(self, number: int) -> Box:
        """The positions of the chunk's values in the array."""
        return tuple(
            [
                (i * size, min(i * size + size, n))
                for i, size, n in zip(self.index(number), self.shape, self.meta.shape, strict=True)
            ]
        )

    def view(self, memory: np.ndarray, offset: int) -> np.ndarray:
        """A decoded chunk in memory (bytes), with the array's axes."""
        return np.ndarray(self.shape, self.meta.dtype, memory, offset, self.strides)

    def cells(
        self, run: Kernel, recipe: Recipe, steps: Sequence[int], strides: tuple[int, ...]
    ) -> WindowCells:
        """What places chunks in windows with these strides. The last one is kept: windows come
        again and again."""
        key = (run, recipe, tuple(steps), strides)
        known = self._cells
        if known is None or known[0] != key:
            cells = WindowCells(run, recipe, steps, self.axes, self.meta.dtype, strides, self.fill)
            known = self._cells = key, cells
        return known[1]

    def load(self, number: int, values: np.ndarray) -> None:
        """Read one chunk the plain way, as far as it lies in the array. Errors as ``read_into``."""
        box = self.box(number)
        place = window(values, [slice(0, hi - lo) for lo, hi in box])
        self.reader.read_strided(box, (1,) * len(box), place)

    def states(
        self, numbers: Sequence[int], before: Sequence[Hashable], use: Caching
    ) -> list[Hashable | None]:
        """What changes when chunks do; None for those that are not stored.

        ``before``: what that was when they were last looked at (None: never).
        """
        known: dict[str, Hashable | None] = {}
        found: list[Hashable | None] = list(before)
        # Chunks of one shard have one state. (Hashes of so many take as long as the look at files.)
        old = {id(state): state for state in before if isinstance(state, FileState)}
        good = unchanged(list(old.values())).tolist()
        same = {number for number, is_same in zip(old, good, strict=True) if is_same}
        for i, state in enumerate(before):
            if id(state) in same:
                continue
            key = self.key(numbers[i])
            if key not in known:
                known[key] = self._state(key, use)
            found[i] = known[key]
        return found

    def _state(self, key: str, use: Caching) -> Hashable | None:
        store = self.store
        if self.in_memory:
            return use.since
        if store.remote and not option("recheck"):
            return "as it was opened"
        token = store.token(key)
        if store.folder is None:
            return use.since if token is None else token
        if token is None:
            return None
        inode, mtime_ns, size = cast("tuple[int, int, int]", token)
        if time.time_ns() - mtime_ns <= _SETTLED_NS:
            return token, use.since
        return FileState.of(store.folder, key, (inode, mtime_ns, size))
