"""Any open store of zarr-python as a store: custom ones, wrappers, obstore's, icechunk's.

They are asynchronous and run on zarr's own event loop: a batch is one hop there and back, since a
hop costs more than reading a chunk. What they do inside is unknown, so a forked child refuses them:
some hang there.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

from lazytensor.errors import SourceError
from lazytensor.io.scratch import Scratch
from lazytensor.io.store import Buffer, MemoryObject, Store, StoredObject, check_key
from lazytensor.io.store_memory import Identity
from lazytensor.io.store_retry import shown

__all__ = ["ZarrStore"]

_SMALL = 64 << 10


class ZarrStore(Store):
    """An open store of zarr-python, whatever its class.

    Raises ``SourceError`` when it fails, and in a forked child: open it there instead.
    """

    batch = 512
    gap = 64 << 10
    merge_limit = 1 << 20

    def __init__(self, store: Any) -> None:
        self._store = store
        self._pid = os.getpid()
        self.name = shown(str(store))
        self.uri = None
        self.identity = ("zarr store", Identity(store))

    def __reduce__(self) -> tuple[Any, ...]:
        return ZarrStore, (self._store,)

    def _ask(self, keys: Sequence[str], call: Any) -> list[Any]:
        """What ``call(store, key)`` answers for each key, in one hop to zarr's loop."""
        from zarr.core.sync import sync

        if os.getpid() != self._pid:
            raise SourceError(
                f"{self.name}: an open zarr store cannot be used in a forked process; open it in "
                "the worker, or give the path or URL instead of the open store"
            )

        async def batch() -> list[Any]:
            return await asyncio.gather(*[call(check_key(key)) for key in keys])

        try:
            return sync(batch())
        # A store may raise anything; KeyboardInterrupt is no Exception.
        except (SourceError, MemoryError):
            raise
        except Exception as error:
            raise SourceError(f"{self.name}, keys {list(keys[:3])}: {shown(str(error))}") from error

    def get(self, key: str, scratch: Scratch | None = None) -> Buffer | None:
        """The whole object, or None."""
        return self.get_many([key])[0]

    def get_many(self, keys: Sequence[str]) -> list[Buffer | None]:
        """The whole objects, asked for together."""
        from zarr.core.buffer import default_buffer_prototype

        prototype = default_buffer_prototype()
        found = self._ask(keys, lambda key: self._store.get(key, prototype, None))
        return [None if buffer is None else buffer.to_bytes() for buffer in found]

    def open(self, key: str) -> StoredObject | None:
        """A handle on one object, or None."""
        size = self.size(key)
        if size is None:
            return None
        if size <= _SMALL:
            data = self.get(key)
            return None if data is None else MemoryObject(data)
        return _ZarrObject(self, key, size)

    def ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[Buffer]:
        """The bytes of half-open ranges of one object, asked for together."""
        from zarr.abc.store import RangeByteRequest
        from zarr.core.buffer import default_buffer_prototype

        prototype = default_buffer_prototype()
        wanted = iter([RangeByteRequest(start, end) for start, end in ranges])
        found = self._ask(
            [key] * len(ranges), lambda key: self._store.get(key, prototype, next(wanted))
        )
        for buffer, (start, end) in zip(found, ranges, strict=True):
            if buffer is None or len(buffer) != end - start:
                length = "nothing" if buffer is None else f"{len(buffer)} bytes"
                raise SourceError(
                    f"{self.name}, key {key!r}: asked for bytes [{start}, {end}), got {length}"
                )
        return [buffer.to_bytes() for buffer in found]

    def size(self, key: str) -> int | None:
        """Length in bytes, or None."""
        found: int | None = self._ask([key], lambda key: _size(self._store, key))[0]
        return found

    def token(self, key: str) -> Hashable | None:
        """None: zarr's stores do not tell."""
        return None

    def children(self, prefix: str) -> list[str]:
        """Names below ``prefix`` that may be folders."""
        start = f"{check_key(prefix)}/" if prefix else ""

        async def listing(key: str) -> list[str]:
            return [name async for name in self._store.list_dir(key)]

        names = self._ask([prefix], listing)[0]
        folders = {name.removeprefix(start).strip("/").split("/", 1)[0] for name in names}
        return sorted(name for name in folders if name and self._is_folder(start + name))

    def _is_folder(self, path: str) -> bool:
        async def any_below(key: str) -> bool:
            async for _ in self._store.list_prefix(f"{key}/"):
                return True
            return False

        return bool(self._ask([path], any_below)[0])

    def walk(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Every key below ``prefix``."""

        async def listing(key: str) -> list[str]:
            return [name async for name in self._store.list_prefix(f"{key}/" if key else "")]

        keys = self._ask([prefix], listing)[0]
        sizes = self._ask(keys, lambda key: _size(self._store, key))
        return ((key, size) for key, size in zip(keys, sizes, strict=True) if size is not None)


async def _size(store: Any, key: str) -> int | None:
    try:
        return int(await store.getsize(key))
    except FileNotFoundError:
        return None


class _ZarrObject(StoredObject):
    __slots__ = ("_key", "_store", "size", "token")

    def __init__(self, store: ZarrStore, key: str, size: int) -> None:
        self._store = store
        self._key = key
        self.size = size
        self.token = None

    def read(self, start: int, nbytes: int, scratch: Scratch | None = None) -> Buffer:
        """Exactly ``nbytes`` bytes from ``start``."""
        if start < 0 or nbytes < 0 or start + nbytes > self.size:
            raise SourceError(
                f"{self._store.name}, key {self._key!r}: bytes [{start}, {start + nbytes}) of "
                f"{self.size} do not exist"
            )
        return self._store.ranges(self._key, [(start, start + nbytes)])[0]

    def read_many(
        self, ranges: Sequence[tuple[int, int]], scratch: Scratch | None = None
    ) -> Iterator[Buffer]:
        """The bytes of each range, asked for together."""
        yield from self._store.ranges(self._key, list(ranges))
