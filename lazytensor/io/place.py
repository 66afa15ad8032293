"""Where one file lies: what a user calls the source of a file, as a store and a key in it.

Formats of one file (``.npy``, tenso packets) take paths, URLs, ``(fs, path)``, a key in a store, or
the bytes themselves. Stores know keys, so a path is cut into the folder, which is the store, and
the name in it.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from lazytensor.errors import SourceNotFoundError
from lazytensor.io.store import Buffer, Store, StoredObject
from lazytensor.io.store_memory import DictStore
from lazytensor.io.store_open import make_store

__all__ = ["BufferStore", "file_at", "is_buffer", "opened", "split_url"]


class BufferStore(DictStore):
    """One object, a buffer that lives as long as the store.

    It is aliased and taken not to change, so that nobody has to look through it to be sure.

    >>> store = BufferStore(b"12345", "five")
    >>> store.size("five"), store.token("five")
    (5, None)
    """

    def __init__(self, data: Any, key: str) -> None:
        view = memoryview(data)
        self._key = key
        self._bytes: Buffer = data if isinstance(data, bytes) else _in_order(view)
        super().__init__({key: self._bytes})

    def __reduce__(self) -> tuple[Any, ...]:
        return BufferStore, (bytes(self._bytes), self._key)

    def token(self, key: str) -> Hashable | None:
        """None: nobody can tell without reading it."""
        return None


def _in_order(view: memoryview) -> memoryview:
    """The bytes in their order; copied only where they lie apart."""
    if view.c_contiguous and 0 not in (view.shape or ()):
        return view.cast("B")
    return memoryview(view.tobytes())


def is_buffer(source: object) -> bool:
    """Whether something is the bytes of a file, rather than the place of one.

    >>> is_buffer(b""), is_buffer(np.zeros(3, "u1")), is_buffer("a")
    (True, True, False)
    """
    if isinstance(source, (str, os.PathLike)):
        return False
    try:
        memoryview(source)  # type: ignore[arg-type]
    except TypeError:
        return False
    return True


def split_url(url: str) -> tuple[str, str]:
    """The URL of the folder that a file is in, and the file's name.

    >>> split_url("s3://bucket/a/b.npy"), split_url("zip://a.npy::file:///x.zip")
    (('s3://bucket/a', 'b.npy'), ('zip://::file:///x.zip', 'a.npy'))
    >>> split_url("https://host/b.npy?sig=1"), split_url("simplecache::memory://b.npy")
    (('https://host?sig=1', 'b.npy'), ('simplecache::memory://', 'b.npy'))
    """
    before: list[str] = []
    parts = url.split("::")
    while len(parts) > 1 and "://" not in parts[0]:
        before.append(parts.pop(0))
    scheme, mark, rest = parts[0].partition("://")
    address, query_mark, query = rest.partition("?")
    folder, _, name = address.rstrip("/").rpartition("/")
    parts[0] = f"{scheme}{mark}{folder}{query_mark}{query}"
    return "::".join([*before, *parts]), name


def file_at(source: Any, options: Mapping[str, Any] | None, kind: str) -> tuple[Store, str]:
    """The store around a file, and the file's key in it.

    ``source``: a path, any fsspec URL, ``(fs, path)``, ``(store, key)`` with anything that is
    accepted as a store, or bytes. ``kind``: what errors call the file.

    Raises ``SourceNotFoundError`` when there is no such local file, ``TypeError`` for what is no
    place, and what ``make_store`` raises.
    """
    if is_buffer(source):
        return BufferStore(source, "bytes"), "bytes"
    if isinstance(source, tuple) and len(source) == 2:
        first, path = source
        if not hasattr(first, "_strip_protocol"):
            return make_store(first, options), os.fspath(path)
        parent, _, name = os.fspath(path).rstrip("/").rpartition("/")
        return make_store((first, parent), options), name
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(
            f"{type(source).__name__} is no place of a {kind}: give a path, a URL, (fs, path), "
            f"(store, key) or bytes"
        )
    text = os.fsdecode(source)
    if "://" in text:
        parent, name = split_url(text)
        return make_store(parent, options), name
    path = Path(text).expanduser()
    if not path.is_file():
        raise SourceNotFoundError(f"there is no file {text!r} (from {os.getcwd()!r})")
    return make_store(path.parent, options), path.name


def opened(store: Store, key: str) -> StoredObject:
    """A handle on a file, or ``SourceNotFoundError``."""
    found = store.open(key)
    if found is None:
        raise SourceNotFoundError(f"{store.name} has no file {key!r}")
    return found
