"""Any fsspec file system as a store.

This is the common part, and the whole of it for synchronous file systems (memory, caches on disk,
archives, sftp): they are asked by the calling thread, one thread at a time, because they share what
a thread would have to have for itself. Asynchronous ones are in ``store_remote``.

fsspec's asynchronous file systems do not survive a fork; a file system is therefore kept as what it
was made of and made again in a process that did not make it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from hashlib import blake2b
from typing import Any, TypeVar

from lazytensor.errors import SourceChangedError, SourceError
from lazytensor.io.scratch import Scratch
from lazytensor.io.store import Buffer, MemoryObject, Store, StoredObject, check_key
from lazytensor.io.store_retry import patiently, shown, status_of
from lazytensor.io.store_transport import info_token

__all__ = ["FsspecStore"]

_T = TypeVar("_T")
_ABSENT = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
_NEAR = frozenset({"file", "local", "memory"})
# They keep whole files on disk for good: what they deliver is one content, whatever ``info`` says.
_CACHED = frozenset({"simplecache", "filecache"})


class FsspecStore(Store):
    """The objects below one path of a synchronous fsspec file system.

    ``fs``: a file system; ``path``: its path of the root, as the file system spells it.
    ``missing_status``: HTTP statuses that mean "no such object" (an S3 bucket that may not be
    listed answers 403 for what does not exist).
    """

    batch = 512
    gap = 64 << 10
    merge_limit = 1 << 20

    def __init__(self, fs: Any, path: str, *, missing_status: Sequence[int] = (404,)) -> None:
        self._type = type(fs)
        self._args = tuple(fs.storage_args)
        # A loop belongs to one process, and is not what a file system is.
        self._options = {k: v for k, v in fs.storage_options.items() if k != "loop"}
        if self._options.pop("asynchronous", False):
            fs = self._type(*self._args, **self._options)
        self._root = path.rstrip("/")
        self._missing_status = tuple(missing_status)
        self.uri: str = fs.unstrip_protocol(self._root)
        self.name = shown(self.uri)
        protocols = _protocols(fs)
        self.scheme = protocols[0]
        self.remote = _NEAR.isdisjoint(protocols)
        self._cached = not _CACHED.isdisjoint(protocols)
        # A function by its name: its address is another one in another process.
        named = {k: getattr(v, "__qualname__", v) for k, v in self._options.items()}
        settings = repr((self._args, sorted(named.items())))
        # A digest, because settings may hold credentials.
        self.identity = (self.uri, blake2b(settings.encode(), digest_size=16).digest())
        self._take(fs)

    def _take(self, fs: Any) -> None:
        """Use a file system that this process made."""
        self._turns: AbstractContextManager[object] = (
            threading.Lock() if self.remote else nullcontext()
        )
        self._made = (os.getpid(), fs)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        state["_made"], state["_turns"] = (0, None), nullcontext()
        return state

    @property
    def _fs(self) -> Any:
        """The file system, made by this process."""
        pid, fs = self._made
        if pid != os.getpid():
            self._take(fs := self._type(*self._args, **self._options))
        return fs

    def _path(self, key: str) -> str:
        if not check_key(key):
            return self._root
        return f"{self._root}/{key}" if self._root else key

    def _is_absent(self, error: BaseException) -> bool:
        status = status_of(error)
        if status is None and isinstance(error, _ABSENT):
            status = 404
        if status is None and isinstance(error, PermissionError):
            status = 403
        return status in self._missing_status

    def _failed(self, key: str, error: BaseException) -> SourceError:
        """What to raise for a request that failed."""
        said = shown(str(error)) or type(error).__name__
        return SourceError(f"{self.name}, key {key!r}: {said}")

    def _ask(self, key: str, call: Callable[[], _T]) -> _T | None:
        """What a call answers, or None where it says that there is no such object."""
        _ = self._fs  # made anew, with its lock, after a fork
        try:
            with self._turns:
                return patiently(call)
        # What a file system raises is its own business (aiohttp, botocore, ...): no common base.
        except Exception as error:  # noqa: BLE001
            self._raise_unless_absent(key, error)
            return None

    def _raise_unless_absent(self, key: str, answer: object) -> None:
        if isinstance(answer, BaseException) and not self._is_absent(answer):
            raise self._failed(key, answer) from answer

    def get(self, key: str, scratch: Scratch | None = None) -> Buffer | None:
        """The whole object, or None."""
        path = self._path(key)
        data: Buffer | None = self._ask(key, lambda: self._fs.cat_file(path))
        return data

    def get_many(self, keys: Sequence[str]) -> list[Buffer | None]:
        """The whole objects, asked for in one batch."""
        paths = [self._path(key) for key in keys]
        everything: list[None] = [None] * len(paths)

        fs = self._fs
        try:
            with self._turns:
                found = list(fs.cat_ranges(paths, everything, everything, on_error="return"))
        # Some fail as a whole where one object is missing (fsspec's caches): that says nothing of
        # the others.
        except Exception as error:  # noqa: BLE001
            found = [error] * len(paths)
        return [self._again(key, answer) for key, answer in zip(keys, found, strict=True)]

    def _again(self, key: str, answer: Any) -> Buffer | None:
        """The answer; what failed is asked for by itself, with patience."""
        return self.get(key) if isinstance(answer, BaseException) else answer

    def _info(self, key: str) -> dict[str, Any] | None:
        path = self._path(key)

        def look() -> dict[str, Any]:
            self._fs.invalidate_cache(self._fs._parent(path))
            found: dict[str, Any] = self._fs.info(path)
            return found

        info = self._ask(key, look)
        return None if info is None or info.get("type") == "directory" else info

    def open(self, key: str) -> StoredObject | None:
        """A handle that asks for ranges, or None."""
        info = self._info(key)
        if info is None:
            return None
        if info.get("size") is None or self._cached:
            data = self.get(key)
            return None if data is None else MemoryObject(data)
        return _Object(self, key, int(info["size"]), info_token(info))

    def ranges(self, opened: StoredObject, key: str, ranges: list[tuple[int, int]]) -> list[Buffer]:
        """The bytes of half-open ranges of an opened object, asked for in one batch.

        Raises ``SourceChangedError`` when the object is another one afterwards, since nobody can
        tell then which of the two the bytes are from.
        """
        path = self._path(key)
        starts, ends = [start for start, _ in ranges], [end for _, end in ranges]
        answers = self._ask(
            key, lambda: self._fs.cat_ranges([path] * len(ranges), starts, ends, on_error="raise")
        )
        if answers is None or (opened.token is not None and self.token(key) != opened.token):
            raise SourceChangedError(f"{self.name}, key {key!r}: changed while it was read")
        return [
            self._exactly(key, answer, start, end)
            for answer, (start, end) in zip(answers, ranges, strict=True)
        ]

    def _exactly(self, key: str, answer: Any, start: int, end: int) -> Buffer:
        if len(answer) != end - start:
            raise SourceError(
                f"{self.name}, key {key!r}: asked for bytes [{start}, {end}), got {len(answer)} "
                "bytes; does the server support range requests?"
            )
        data: Buffer = answer
        return data

    def size(self, key: str) -> int | None:
        """Length in bytes, or None."""
        info = self._info(key)
        if info is None:
            return None
        if info.get("size") is not None:
            return int(info["size"])
        data = self.get(key)
        return None if data is None else len(data)

    def token(self, key: str) -> Hashable | None:
        """ETag or modification time and size, where the file system tells them."""
        info = self._info(key)
        return None if info is None else info_token(info)

    def children(self, prefix: str) -> list[str]:
        """Names of the folders below ``prefix``."""
        path = self._path(prefix)

        def listing() -> list[dict[str, Any]]:
            self._fs.invalidate_cache(path)
            found: list[dict[str, Any]] = self._fs.ls(path, detail=True)
            return found

        entries = self._ask(prefix, listing) or []
        folders = (e["name"] for e in entries if e.get("type") == "directory")
        return sorted(name.rstrip("/").rsplit("/", 1)[-1] for name in folders)

    def walk(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Every key below ``prefix``."""
        path = self._path(prefix)

        def finding() -> dict[str, dict[str, Any]]:
            self._fs.invalidate_cache(path)
            found: dict[str, dict[str, Any]] = self._fs.find(path, detail=True)
            return found

        found = self._ask(prefix, finding) or {}
        skip = len(self._root) + 1 if self._root else 0
        for name, info in found.items():
            yield name[skip:], int(info.get("size") or 0)


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


class _Object(StoredObject):
    __slots__ = ("_key", "_store", "size", "token")

    def __init__(self, store: FsspecStore, key: str, size: int, token: Hashable | None) -> None:
        self._store = store
        self._key = key
        self.size = size
        self.token = token

    def read(self, start: int, nbytes: int, scratch: Scratch | None = None) -> Buffer:
        """Exactly ``nbytes`` bytes from ``start``."""
        if start < 0 or nbytes < 0 or start + nbytes > self.size:
            raise SourceError(
                f"{self._store.name}, key {self._key!r}: bytes [{start}, {start + nbytes}) of "
                f"{self.size} do not exist"
            )
        return self._store.ranges(self, self._key, [(start, start + nbytes)])[0]

    def read_many(
        self, ranges: Sequence[tuple[int, int]], scratch: Scratch | None = None
    ) -> Iterator[Buffer]:
        """The bytes of each range, fetched a batch ahead."""
        batch = 64
        for at in range(0, len(ranges), batch):
            yield from self._store.ranges(self, self._key, list(ranges[at : at + batch]))
