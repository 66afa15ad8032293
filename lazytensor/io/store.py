"""The byte store: what a format driver may ask of the place where files lie.

A store maps keys (``"a/b/c/0/1"``) to immutable objects. The calls are synchronous and few, so
that one chunk of a local array costs an ``open``, an ``fstat``, a ``pread`` and a ``close``, and
nothing else. Reading parts of one object goes through a handle (``Store.open``): all parts then
come from the same file, also while somebody replaces it under its name, and their offsets can be
checked against its size.

A key that names nothing is an answer (None), not an error: in zarr a missing chunk is a value.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import NamedTuple

from lazytensor.config import option
from lazytensor.errors import SourceError
from lazytensor.io.scratch import Scratch

__all__ = [
    "Buffer",
    "Loaded",
    "MemoryObject",
    "Store",
    "StoredObject",
    "check_key",
    "join_key",
    "merge_ranges",
]

Buffer = bytes | bytearray | memoryview


def check_key(key: str) -> str:
    """The key itself; ``SourceError`` if it could lead out of the store's root.

    >>> check_key("a/c/0/1")
    'a/c/0/1'
    """
    suspicious = ".." in key or "\0" in key or "\\" in key or key.startswith("/")
    if suspicious and ("\0" in key or "\\" in key or key.startswith("/") or ".." in key.split("/")):
        raise SourceError(
            f"key {key!r} is not allowed: keys are relative, use '/' and never contain '..'"
        )
    return key


def join_key(*parts: str) -> str:
    """Parts joined by ``/``, empty parts and surplus slashes left out.

    >>> join_key("", "a/", "/b", "zarr.json")
    'a/b/zarr.json'
    """
    return check_key("/".join(s for part in parts for s in part.split("/") if s))


def merge_ranges(
    ranges: Iterable[tuple[int, int]], gap: int, limit: int
) -> list[tuple[int, int, list[int]]]:
    """Group half-open byte ranges that lie at most ``gap`` bytes apart.

    Returns ``(start, end, members)`` with the positions of the members in ``ranges``; no group is
    longer than ``limit`` bytes unless a single range is. Ranges may overlap and repeat.

    >>> merge_ranges([(8, 12), (0, 4), (90, 95)], gap=10, limit=100)
    [(0, 12, [1, 0]), (90, 95, [2])]
    """
    ordered = sorted((start, end, at) for at, (start, end) in enumerate(ranges))
    groups: list[tuple[int, int, list[int]]] = []
    for start, end, at in ordered:
        if groups:
            lo, hi, members = groups[-1]
            if start - hi <= gap and max(hi, end) - lo <= limit:
                members.append(at)
                groups[-1] = (lo, max(hi, end), members)
                continue
        groups.append((start, end, [at]))
    return groups


class Loaded(NamedTuple):
    """A whole object, and a value that changes when it does (None: cannot tell)."""

    data: Buffer
    token: Hashable | None


class StoredObject(ABC):
    """One object, opened: every read sees the same content. Use as a context manager.

    ``size`` is its length in bytes; ``token`` changes when the content does (None: cannot tell).
    ``state`` is the same for somebody who only wants to notice, and for whom it is good enough
    that two changes within one tick of the clock look like one.
    """

    size: int
    token: Hashable | None

    @property
    def descriptor(self) -> int:
        """Of the open file that holds the object and nothing else; -1 if there is none."""
        return -1

    @property
    def state(self) -> Hashable | None:
        """The token, also where it is too young to prove anything."""
        return self.token

    @abstractmethod
    def read(self, start: int, nbytes: int, scratch: Scratch | None = None) -> Buffer:
        """Exactly ``nbytes`` bytes from ``start``, in the thread's scratch if one is given.

        Raises ``SourceError`` when the object ends earlier.
        """

    def read_into(self, start: int, out: memoryview) -> None:
        """Fill ``out``, which is contiguous bytes, from ``start`` on.

        Raises ``SourceError`` when the object ends earlier.
        """
        out[:] = self.read(start, len(out))

    def read_many(
        self, ranges: Sequence[tuple[int, int]], scratch: Scratch | None = None
    ) -> Iterator[Buffer]:
        """The bytes of each half-open range; a buffer is valid until the next one is asked for."""
        return (self.read(start, end - start, scratch) for start, end in ranges)

    def close(self) -> None:
        """Give back what the handle holds."""
        return

    def __enter__(self) -> StoredObject:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class MemoryObject(StoredObject):
    """An object whose bytes are in memory.

    >>> bytes(MemoryObject(b"0123456789").read(2, 3))
    b'234'
    """

    __slots__ = ("_data", "size", "token")

    def __init__(self, data: Buffer, token: Hashable | None = None) -> None:
        self._data = memoryview(data)
        self.size = len(self._data)
        self.token = token

    def read(self, start: int, nbytes: int, scratch: Scratch | None = None) -> Buffer:
        """A view of the bytes."""
        if start < 0 or nbytes < 0 or start + nbytes > self.size:
            raise SourceError(f"bytes [{start}, {start + nbytes}) of {self.size} do not exist")
        return self._data[start : start + nbytes]


class Store(ABC):
    """Keys to objects. Implementations are immutable, thread-safe and survive a fork.

    ``name``: what people call it, for messages. ``uri``: reopens it, None if nothing can.
    ``identity``: equal for stores that hold the same objects. ``folder``: where each object is the
    file of this prefix and its key, that prefix; else None. ``remote``: whether every question is
    a round trip over a network. ``batch``: how many objects to ask for at once (1: asking for more
    brings nothing). ``together``: whether what is asked for at once is one round trip, so that what
    may not be needed had better be asked for as well. ``gap``, ``merge_limit``: byte ranges of one
    object that lie at most ``gap`` apart are read as one, up to ``merge_limit`` bytes.
    """

    name: str
    uri: str | None
    identity: Hashable
    folder: str | None = None
    remote: bool = False
    batch: int = 1
    together: bool = False
    gap: int = 16 << 10
    merge_limit: int = 1 << 20

    @abstractmethod
    def get(self, key: str, scratch: Scratch | None = None) -> Buffer | None:
        """The whole object (in the thread's scratch if one is given), or None."""

    def get_into(self, key: str, out: memoryview) -> int | None:
        """Fill ``out`` with the object and return its size, or None if there is none.

        When the size is not ``len(out)``, ``out`` is left as it was.
        """
        data = self.get(key)
        if data is None:
            return None
        if len(data) == len(out):
            out[:] = data
        return len(data)

    def get_many(self, keys: Sequence[str]) -> list[Buffer | None]:
        """The whole objects, asked for together."""
        return [self.get(key) for key in keys]

    def load_many(self, keys: Sequence[str]) -> list[Loaded | SourceError | None]:
        """The whole objects and their tokens, asked for together; an error where asking failed.

        A token is no younger than the object: what changes in between will be seen to have changed.
        """
        return [self._load(key) for key in keys]

    def _load(self, key: str) -> Loaded | SourceError | None:
        try:
            token = self.token(key)
            data = self.get(key)
        except SourceError as error:
            return error
        return None if data is None else Loaded(data, token)

    @abstractmethod
    def open(self, key: str) -> StoredObject | None:
        """A handle for reading parts of one object, or None."""

    def open_many(
        self,
        keys: Sequence[str],
        ahead: tuple[int, int] | None = None,
        *,
        recall: bool = False,
    ) -> list[StoredObject | None]:
        """Handles on several objects, or None, asked for together.

        ``ahead``: a part of each that will be read first (half-open; ``(-n, 0)`` is the last ``n``
        bytes); a remote store fetches it with the same request. ``recall``: a handle may stand for
        an object that was there before, without a request; ``prefetch`` tells if that is outdated.
        """
        return [self.open(key) for key in keys]

    def prefetch(
        self, parts: Sequence[tuple[StoredObject, Sequence[tuple[int, int]]]]
    ) -> list[bool]:
        """Have half-open ranges of several objects of this store at hand, asked for together.

        Returns whether each object still is the one that was opened. Reading the ranges through the
        handles costs no further request; a store that is near does nothing here.
        """
        return [True] * len(parts)

    def using(
        self,
        key: str,
        work: Callable[[StoredObject], None],
        ahead: tuple[int, int] | None = None,
    ) -> bool:
        """Do something with a handle on an object; False if there is no such object.

        Where an object changes while ``work`` reads it, ``work`` is called once more, from the
        start, with a handle on the new one; if that changes too, ``SourceChangedError``. A remote
        store may hand out what it knows of the object from before, and says so in the same way
        if it is out of date. ``ahead`` as for ``open_many``.
        """
        opened = self.open(key)
        if opened is None:
            return False
        with opened:
            work(opened)
        return True

    @abstractmethod
    def size(self, key: str) -> int | None:
        """Length in bytes, or None."""

    def size_many(self, keys: Sequence[str]) -> list[int | None]:
        """Lengths in bytes, or None, asked for together."""
        return [self.size(key) for key in keys]

    def token(self, key: str) -> Hashable | None:
        """A value that changes when the object does; None if there is none or nobody can tell."""
        return None

    def token_many(self, keys: Sequence[str]) -> list[Hashable | None]:
        """Tokens of objects, asked for together."""
        return [self.token(key) for key in keys]

    def changed(self, key: str, known: Hashable | None) -> bool:
        """Whether an object is not the one whose token was ``known``, as far as anyone can tell.

        A remote store is asked only where the option ``recheck`` is on, since it costs a request.
        """
        if known is None or (self.remote and not option("recheck")):
            return False
        return self.token(key) != known

    @abstractmethod
    def children(self, prefix: str) -> list[str]:
        """Names one level below ``prefix`` under which further keys exist, sorted."""

    def listed(self, prefix: str, depth: int, limit: int) -> list[str] | None:
        """The keys ``depth`` levels below ``prefix`` (1: right below it), as they are now.

        None of an object is left out; there may be names among them that are no object's. None
        where that cannot be told at all, or not by looking at ``limit`` names, folders included.
        """
        return None

    @abstractmethod
    def walk(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Every key below ``prefix`` with the size of its object, in no particular order."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"
