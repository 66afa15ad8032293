"""A file as it was when it was scanned, for formats of one file.

Whoever scanned it has offsets, which mean nothing in another file. So every handle is compared with
what was scanned before anything is read through it. What is in memory, or mapped, is a buffer that
values may be views of.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Hashable
from typing import Any

from lazytensor.errors import FormatError, SourceChangedError, SourceNotFoundError
from lazytensor.io.place import BufferStore
from lazytensor.io.store import MemoryObject, Store, StoredObject

__all__ = ["Stored"]


class Stored:
    """One object of a store, of ``size`` bytes, that was in the state ``token`` when scanned.

    ``mapped``: read through a map of the (local) file, which then must not be truncated.
    """

    __slots__ = ("_map", "key", "mapped", "size", "store", "token")

    def __init__(
        self, store: Store, key: str, token: Hashable | None, size: int, *, mapped: bool = False
    ) -> None:
        self.store = store
        self.key = key
        self.token = token
        self.size = size
        self.mapped = mapped
        self._map: MemoryObject | None = None
        if mapped and (store.folder is None or not size):
            raise FormatError(f"{self.name}: mmap=True needs a local file that is not empty")

    @classmethod
    def scanned(cls, store: Store, key: str, whole: StoredObject, *, mapped: bool) -> Stored:
        """What an opened object is now."""
        token = whole.state
        if token is None and not store.remote:
            token = store.token(key)
        return cls(store, key, token, whole.size, mapped=mapped)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.store, self.key, self.token, self.size, self.mapped)

    @property
    def name(self) -> str:
        """What people call it."""
        in_memory = isinstance(self.store, BufferStore)
        return self.key if in_memory else f"{self.store.name}/{self.key}"

    @property
    def identity(self) -> Hashable:
        """Equal for the same file in the same state, read in the same way."""
        return self.store.identity, self.key, self.token, self.mapped

    @property
    def remote(self) -> bool:
        """Whether every read is a round trip."""
        return self.store.remote

    def buffer(self) -> memoryview | None:
        """All of it, where that is in memory or mapped."""
        if self.mapped:
            return memoryview(self._mapping().read(0, self.size))
        if not isinstance(self.store, BufferStore):
            return None
        data = self.store.get(self.key)
        return None if data is None else memoryview(data)

    def _mapping(self) -> MemoryObject:
        if self._map is None:
            with self._checked(self.store.open(self.key)) as whole:
                mapping = mmap.mmap(whole.descriptor, self.size, access=mmap.ACCESS_READ)
            self._map = MemoryObject(memoryview(mapping), self.token)
        return self._map

    def _checked(self, whole: StoredObject | None) -> StoredObject:
        if whole is None:
            raise SourceNotFoundError(f"{self.store.name} has no file {self.key!r} any more")
        known = self.token is not None and whole.state is not None
        if whole.size != self.size or (known and whole.state != self.token):
            whole.close()
            raise SourceChangedError(f"{self.name} has changed since it was scanned; scan it again")
        return whole

    def open(self) -> StoredObject:
        """A handle, to be closed; ``SourceChangedError`` if it is another file by now."""
        return self._mapping() if self.mapped else self._checked(self.store.open(self.key))

    def using(
        self, work: Callable[[StoredObject], None], ahead: tuple[int, int] | None = None
    ) -> None:
        """Do something with a handle, as ``Store.using`` does. Errors as ``open``."""
        if self.mapped:
            work(self._mapping())
        elif not self.store.using(self.key, lambda whole: work(self._checked(whole)), ahead):
            self._checked(None)

    def check(self) -> None:
        """``SourceChangedError`` when the file is another one than was scanned."""
        if self.store.changed(self.key, self.token):
            raise SourceChangedError(f"{self.name} has changed since it was scanned; scan it again")


def _restore(store: Store, key: str, token: Hashable | None, size: int, mapped: bool) -> Stored:
    return Stored(store, key, token, size, mapped=mapped)
