"""Many windows of a zarr array at once, and the cache of decoded chunks.

A chunk that several windows want is decoded once, whether it is kept or not. What is kept already
is copied to its places by one compiled call for all windows, in as many threads as there are; what
is not is read and decoded in the same call, straight into its slot. Where there is no compiled code
(not yet, an odd codec, a store that is no folder), chunks are read the plain way, and the rest is
the same.

Never kept are damaged chunks and those of a folder that are not stored. Chunks of files are
compared with them by inode, time and size, once a run; a file that changed in the last two seconds
proves nothing, so that what was read of it is kept for the run only. Objects of a remote store are
compared where the option ``recheck`` is on. What lives in memory is kept for the run only. A read
of more than half the cache goes past it: it would drive out everything else, and then itself.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import prod

import numpy as np

from lazytensor.io.chunk_cache import chunk_cache
from lazytensor.io.store import Store
from lazytensor.io.windows import WindowPieces, Windows, cut_windows
from lazytensor.io.zarr.disk_cached import DiskReader
from lazytensor.io.zarr.metadata import ArrayMetadata
from lazytensor.io.zarr.windows_chunks import Chunks
from lazytensor.io.zarr.windows_reading import WindowsReading
from lazytensor.native import kernel
from lazytensor.native.addresses import address_of
from lazytensor.plan.caching import CACHING
from lazytensor.plan.source import Box, Reading

__all__ = ["ArrayWindows"]

# What compiled code saves, in seconds, over reading or copying a chunk the plain way.
_GAIN_PER_UNIT = 10e-6
_GAIN_PER_BYTE = 5e-11
_GAIN_OF_CUT = 30e-6


class ArrayWindows:
    """Reads windows of one array. ``shelf``: its identity. ``reader``: reads it the plain way."""

    __slots__ = ("_chunks", "_shelf")

    def __init__(
        self, store: Store, meta: ArrayMetadata, prefix: str, shelf: Hashable, reader: DiskReader
    ) -> None:
        self._shelf = shelf
        dtype = meta.dtype
        suits = meta.grid is None and not dtype.hasobject and dtype.kind != "T" and dtype.itemsize
        self._chunks = Chunks(store, meta, prefix, reader) if suits else None

    def begin(
        self,
        starts: np.ndarray,
        counts: Sequence[int],
        steps: Sequence[int],
        outs: Sequence[np.ndarray] | np.ndarray,
    ) -> Reading | None:
        """A reading of windows; None where it is better done box by box.

        ``starts``: ``(windows, dims)`` int64. ``outs``: a writable array for each window, of shape
        ``counts``, all with the same strides; or one array of all of them.
        """
        chunks, use = self._chunks, CACHING.get()
        if chunks is None or not len(starts) or 0 in counts:
            return None
        decodes = self.is_compiled(len(starts) * prod(counts))
        if use is None and not decodes:
            return None
        windows = Windows(starts, counts, steps, chunks.shape, chunks.grid)
        strides = outs[0].strides
        cut = kernel("cut", saves=_GAIN_OF_CUT)
        pieces = cut_windows(windows, chunks.strides, strides, _addresses(outs), cut)
        if pieces is None:
            return None
        if use is not None and len(pieces.units) * chunks.nbytes > use.nbytes // 2:
            use = None
        if use is None and not decodes:
            return None
        cache = None if use is None else chunk_cache()
        # Compiled code reads files, and would not look at the disk before.
        around = chunks.recipe is not None and chunks.reader.caches
        run = None if around else kernel("windows", saves=_saves(pieces, chunks))
        # Nothing is taken yet: whoever has the reading closes it, whatever happens then.
        return WindowsReading(chunks, pieces, self._shelf, cache, use, run, outs)

    def begin_box(self, box: Box, steps: Sequence[int], out: np.ndarray) -> Reading | None:
        """The reading of one box through the cache; None where there is none, or not for it."""
        if CACHING.get() is None or not out.size:
            return None
        starts = np.array([lo for lo, _ in box], np.int64).reshape(1, len(box))
        return self.begin(starts, out.shape, steps, (out,))

    def is_compiled(self, elements: int) -> bool:
        """Whether chunks are decoded by compiled code, now; asking is what makes it be there."""
        chunks = self._chunks
        if chunks is None or chunks.recipe is None or chunks.reader.caches:
            return False
        saves = _GAIN_PER_BYTE * elements * chunks.meta.dtype.itemsize
        return kernel("windows", saves=saves) is not None


def _addresses(outs: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    if isinstance(outs, np.ndarray):
        return address_of(outs) + outs.strides[0] * np.arange(len(outs))
    return np.array([address_of(out) for out in outs], np.int64)


def _saves(pieces: WindowPieces, chunks: Chunks) -> float:
    return len(pieces.units) * (_GAIN_PER_UNIT + chunks.nbytes * _GAIN_PER_BYTE)
