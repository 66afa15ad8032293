"""A mapping of keys to bytes as a store: small data, tests, what other programs hold in memory."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Mapping
from typing import Any

from lazytensor.io.scratch import Scratch
from lazytensor.io.store import Buffer, MemoryObject, Store, StoredObject, check_key

__all__ = ["DictStore", "Identity", "keys_at"]


class Identity:
    """Compares and hashes by the identity of an object, which it keeps alive.

    Keeping it alive is what makes it safe: an ``id`` is never reused while somebody compares it.

    >>> data = {}
    >>> Identity(data) == Identity(data), Identity(data) == Identity({})
    (True, False)
    """

    __slots__ = ("_of",)

    def __init__(self, of: object) -> None:
        self._of = of

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and self._of is other._of

    def __hash__(self) -> int:
        return id(self._of)


def _as_buffer(value: Any) -> Buffer:
    """Bytes-like values as they are; buffers of other libraries through ``to_bytes()``."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return value
    data = value.to_bytes() if hasattr(value, "to_bytes") else memoryview(value).cast("B")
    assert isinstance(data, (bytes, memoryview))
    return data


def keys_at(keys: Collection[str], prefix: str, depth: int, limit: int) -> list[str] | None:
    """Those of all keys that lie ``depth`` levels below ``prefix``; None if more than ``limit`` do.

    >>> keys_at(["a/zarr.json", "a/c/0/1", "a/c/1/1", "b/c/0/0"], "a/c", 2, 9)
    ['a/c/0/1', 'a/c/1/1']
    """
    start = f"{prefix}/" if prefix else ""
    slashes = start.count("/") + depth - 1
    found = [key for key in keys if key.startswith(start) and key.count("/") == slashes]
    return found if len(found) <= limit else None


class DictStore(Store):
    """The entries of a mapping, live: later changes to the mapping are seen.

    >>> store = DictStore({"a/zarr.json": b"{}"})
    >>> store.get("a/zarr.json"), store.get("a"), store.children("")
    (b'{}', None, ['a'])
    """

    def __init__(self, data: Mapping[str, Any], *, name: str = "memory") -> None:
        self.name = name
        self.uri = None
        self.identity = ("memory", Identity(data))
        self._data = data

    def get(self, key: str, scratch: Scratch | None = None) -> Buffer | None:
        """The entry itself, not a copy, or None."""
        value = self._data.get(check_key(key))
        if value is None:
            return None
        try:
            return _as_buffer(value)
        except TypeError:
            raise TypeError(
                f"a store maps keys to bytes, and {key!r} to {type(value).__name__}"
            ) from None

    def open(self, key: str) -> StoredObject | None:
        """A handle on one entry, or None."""
        value = self.get(key)
        return None if value is None else MemoryObject(value)

    def size(self, key: str) -> int | None:
        """Length of the entry, or None."""
        value = self.get(key)
        return None if value is None else len(value)

    def token(self, key: str) -> Hashable | None:
        """Digest of the entry."""
        value = self.get(key)
        if value is None:
            return None
        from hashlib import blake2b

        return blake2b(value, digest_size=16).digest()

    def children(self, prefix: str) -> list[str]:
        """Names one level below ``prefix`` that have keys below them."""
        start = f"{prefix}/" if prefix else ""
        rests = (key[len(start) :] for key in list(self._data) if key.startswith(start))
        return sorted({rest.split("/", 1)[0] for rest in rests if "/" in rest})

    def listed(self, prefix: str, depth: int, limit: int) -> list[str] | None:
        """The keys of a dictionary; another mapping may be anything, and take long to list."""
        return keys_at(list(self._data), prefix, depth, limit) if type(self._data) is dict else None

    def walk(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Every key below ``prefix``."""
        start = f"{prefix}/" if prefix else ""
        for key, value in list(self._data.items()):
            if key.startswith(start):
                yield key, len(_as_buffer(value))
