"""A store that remembers what was asked of another one.

Laziness is a claim about bytes that were *not* read; this is how tests prove it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

from lazytensor.errors import SourceError
from lazytensor.io.scratch import Scratch
from lazytensor.io.store import Buffer, Loaded, Store, StoredObject
from lazytensor.io.store_memory import Identity
from lazytensor.io.store_open import make_store

__all__ = ["CountingStore"]


class CountingStore(Store):
    """Wraps anything that is accepted as a store and counts the reads.

    ``requests``: reads of objects or parts of them, also of absent ones. ``bytes``: what they
    delivered. ``log``: one ``(operation, key, start, end)`` each, with operation ``"get"`` (whole
    object) or ``"range"``; ``end`` is None where there was no object. ``lookups`` counts calls
    that deliver no content: sizes, listings, tokens, opening a handle.

    >>> store = CountingStore({"a": b"12345"})
    >>> bytes(store.get("a")), store.get("b")
    (b'12345', None)
    >>> store.requests, store.bytes, store.log
    (2, 5, [('get', 'a', 0, 5), ('get', 'b', 0, None)])
    """

    def __init__(self, store: Any, storage_options: dict[str, Any] | None = None) -> None:
        self._inner = make_store(store, storage_options)
        self.name = self._inner.name
        self.uri = self._inner.uri
        # Its own, so that no plan on the wrapped store itself, and nothing that was cached for one,
        # takes the place of reads that are to be counted.
        self.identity = (self._inner.identity, Identity(object()))
        self.remote = self._inner.remote
        self.together = self._inner.together
        # Batching and merging are the wrapped store's, so that the log shows what would happen.
        self.batch = self._inner.batch
        self.gap = self._inner.gap
        self.merge_limit = self._inner.merge_limit
        self.reset()

    # Appending to a list is atomic, so counting takes no lock that a fork could leave behind.
    def reset(self) -> None:
        """Forget everything counted so far."""
        self.log: list[tuple[str, str, int, int | None]] = []
        self._lookups: list[str] = []

    @property
    def requests(self) -> int:
        """Number of reads of objects or of parts of them."""
        return len(self.log)

    @property
    def bytes(self) -> int:
        """Number of bytes those reads delivered."""
        return sum(end - start for _, _, start, end in list(self.log) if end is not None)

    @property
    def lookups(self) -> int:
        """Number of calls that deliver no content."""
        return len(self._lookups)

    def record(self, operation: str, key: str, start: int, end: int | None) -> None:
        """Count one read of ``[start, end)`` of an object."""
        self.log.append((operation, key, start, end))

    def get(self, key: str, scratch: Scratch | None = None) -> Buffer | None:
        """The whole object, counted."""
        data = self._inner.get(key, scratch)
        self.record("get", key, 0, None if data is None else len(data))
        return data

    def get_into(self, key: str, out: memoryview) -> int | None:
        """The whole object, counted; nothing but its size is delivered if that differs."""
        size = self._inner.get_into(key, out)
        self.record("get", key, 0, size if size is None or size == len(out) else 0)
        return size

    def get_many(self, keys: Sequence[str]) -> list[Buffer | None]:
        """The whole objects, counted one by one."""
        found = self._inner.get_many(keys)
        for key, data in zip(keys, found, strict=True):
            self.record("get", key, 0, None if data is None else len(data))
        return found

    def load_many(self, keys: Sequence[str]) -> list[Loaded | SourceError | None]:
        """The whole objects, counted one by one, and so are the tokens."""
        self._lookups.extend(keys)
        found = self._inner.load_many(keys)
        for key, loaded in zip(keys, found, strict=True):
            size = len(loaded.data) if isinstance(loaded, Loaded) else None
            self.record("get", key, 0, size)
        return found

    def open(self, key: str) -> StoredObject | None:
        """A handle whose reads are counted, or None."""
        self._lookups.append(key)
        opened = self._inner.open(key)
        return None if opened is None else _CountedObject(self, key, opened)

    def open_many(
        self,
        keys: Sequence[str],
        ahead: tuple[int, int] | None = None,
        *,
        recall: bool = False,
    ) -> list[StoredObject | None]:
        """Handles whose reads are counted, or None."""
        self._lookups.extend(keys)
        found = self._inner.open_many(keys, ahead, recall=recall)
        return [
            None if opened is None else _CountedObject(self, key, opened)
            for key, opened in zip(keys, found, strict=True)
        ]

    def prefetch(
        self, parts: Sequence[tuple[StoredObject, Sequence[tuple[int, int]]]]
    ) -> list[bool]:
        """As the wrapped store does it; counted is what is read of it afterwards."""
        return self._inner.prefetch(
            [
                (opened.inner if isinstance(opened, _CountedObject) else opened, ranges)
                for opened, ranges in parts
            ]
        )

    def using(
        self,
        key: str,
        work: Callable[[StoredObject], None],
        ahead: tuple[int, int] | None = None,
    ) -> bool:
        """With a handle whose reads are counted."""
        self._lookups.append(key)
        return self._inner.using(key, lambda opened: work(_CountedObject(self, key, opened)), ahead)

    def size(self, key: str) -> int | None:
        """Length in bytes, or None."""
        self._lookups.append(key)
        return self._inner.size(key)

    def size_many(self, keys: Sequence[str]) -> list[int | None]:
        """Lengths in bytes, or None."""
        self._lookups.extend(keys)
        return self._inner.size_many(keys)

    def token(self, key: str) -> Hashable | None:
        """A value that changes when the object does."""
        self._lookups.append(key)
        return self._inner.token(key)

    def children(self, prefix: str) -> list[str]:
        """Names one level below ``prefix``."""
        self._lookups.append(prefix)
        return self._inner.children(prefix)

    def listed(self, prefix: str, depth: int, limit: int) -> list[str] | None:
        """As the wrapped store lists them."""
        self._lookups.append(prefix)
        return self._inner.listed(prefix, depth, limit)

    def walk(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Every key below ``prefix``."""
        self._lookups.append(prefix)
        return self._inner.walk(prefix)


class _CountedObject(StoredObject):
    __slots__ = ("_key", "_store", "inner", "size", "token")

    def __init__(self, store: CountingStore, key: str, inner: StoredObject) -> None:
        self._store = store
        self._key = key
        self.inner = inner
        self.size = inner.size
        self.token = inner.token

    @property
    def state(self) -> Hashable | None:
        """As the wrapped handle has it."""
        return self.inner.state

    def read(self, start: int, nbytes: int, scratch: Scratch | None = None) -> Buffer:
        """Exactly ``nbytes`` bytes from ``start``, counted."""
        data = self.inner.read(start, nbytes, scratch)
        self._store.record("range", self._key, start, start + nbytes)
        return data

    def read_into(self, start: int, out: memoryview) -> None:
        """The bytes from ``start`` on, counted."""
        self.inner.read_into(start, out)
        self._store.record("range", self._key, start, start + len(out))

    def read_many(
        self, ranges: Sequence[tuple[int, int]], scratch: Scratch | None = None
    ) -> Iterator[Buffer]:
        """The bytes of each range, counted."""
        buffers = self.inner.read_many(ranges, scratch)
        for (start, end), data in zip(ranges, buffers, strict=True):
            self._store.record("range", self._key, start, end)
            yield data

    def close(self) -> None:
        """Close the wrapped handle."""
        self.inner.close()
