"""Any fsspec file system as a store: object stores, HTTP, archives inside other file systems.

A request costs a round trip, so objects and byte ranges are asked for in batches. fsspec's
asynchronous file systems do not survive a fork; the file system is therefore kept as what it was
made of and made again in a process that did not make it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterator, Sequence
from hashlib import blake2b
from typing import Any, TypeVar

from lazytensor.errors import SourceError
from lazytensor.io.scratch import Scratch
from lazytensor.io.store import Buffer, MemoryObject, Store, StoredObject, check_key

__all__ = ["FsspecStore"]

_T = TypeVar("_T")
_ABSENT = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
_STATUS_FIELDS = ("status", "code")
_NEAR = frozenset({"file", "local", "memory"})
_TOKEN_FIELDS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "md5Hash", "created")


class FsspecStore(Store):
    """The objects below one path of an fsspec file system.

    ``fs``: a file system; ``path``: its path of the root, as the file system spells it.
    ``missing_status``: HTTP statuses that mean "no such object" (an S3 bucket that may not be
    listed answers 403 for what does not exist).
    """

    batch = 64
    gap = 64 << 10
    merge_limit = 16 << 20

    def __init__(self, fs: Any, path: str, *, missing_status: Sequence[int] = (404,)) -> None:
        fs = getattr(fs, "sync_fs", fs)
        self._type = type(fs)
        self._args = tuple(fs.storage_args)
        self._options = {**fs.storage_options}
        if self._options.pop("asynchronous", False):
            fs = self._type(*self._args, **self._options)
        self._made = (os.getpid(), fs)
        self._root = path.rstrip("/")
        self._missing_status = tuple(missing_status)
        self.uri: str = fs.unstrip_protocol(self._root)
        self.name = self.uri
        self.remote = _NEAR.isdisjoint(_protocols(fs))
        settings = repr((self._args, sorted(self._options.items())))
        # A digest, because settings may hold credentials.
        self.identity = (self.uri, blake2b(settings.encode(), digest_size=16).digest())

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        state["_made"] = (0, None)
        return state

    @property
    def _fs(self) -> Any:
        """The file system, made by this process."""
        pid, fs = self._made
        if pid == os.getpid():
            return fs
        fs = self._type(*self._args, **self._options)
        self._made = (os.getpid(), fs)
        return fs

    def _path(self, key: str) -> str:
        if not check_key(key):
            return self._root
        return f"{self._root}/{key}" if self._root else key

    def _is_absent(self, error: BaseException) -> bool:
        if isinstance(error, _ABSENT):
            return 404 in self._missing_status
        if isinstance(error, PermissionError):
            return 403 in self._missing_status
        statuses = {getattr(error, field, None) for field in _STATUS_FIELDS}
        return not statuses.isdisjoint(self._missing_status)

    def _ask(self, key: str, call: Callable[[], _T]) -> _T | None:
        """What a call answers, or None where it says that there is no such object."""
        try:
            return call()
        # What a file system raises is its own business (aiohttp, botocore, ...): no common base.
        except Exception as error:  # noqa: BLE001
            self._raise_unless_absent(key, error)
            return None

    def _raise_unless_absent(self, key: str, answer: object) -> None:
        if isinstance(answer, BaseException) and not self._is_absent(answer):
            raise SourceError(f"{self.name}, key {key!r}: {answer}") from answer

    def get(self, key: str, scratch: Scratch | None = None) -> Buffer | None:
        """The whole object, or None."""
        data: Buffer | None = self._ask(key, lambda: self._fs.cat_file(self._path(key)))
        return data

    def get_many(self, keys: Sequence[str]) -> list[Buffer | None]:
        """The whole objects, asked for in one batch."""
        paths = [self._path(key) for key in keys]
        everything: list[None] = [None] * len(paths)
        answers = self._ask(
            self._root,
            lambda: self._fs.cat_ranges(paths, everything, everything, on_error="return"),
        )
        found: list[Any] = list(answers or everything)
        for key, answer in zip(keys, found, strict=True):
            self._raise_unless_absent(key, answer)
        return [None if isinstance(answer, BaseException) else answer for answer in found]

    def _info(self, key: str) -> dict[str, Any] | None:
        path = self._path(key)
        info: dict[str, Any] | None = self._ask(key, lambda: self._fs.info(path))
        return None if info is None or info.get("type") == "directory" else info

    def open(self, key: str) -> StoredObject | None:
        """A handle that asks for ranges, or None."""
        info = self._info(key)
        if info is None:
            return None
        if info.get("size") is None:
            data = self.get(key)
            return None if data is None else MemoryObject(data)
        return _RemoteObject(self, key, int(info["size"]), _token(info))

    def ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[Buffer]:
        """The bytes of half-open ranges of one object, asked for in one batch."""
        path = self._path(key)
        starts, ends = [start for start, _ in ranges], [end for _, end in ranges]
        answers = self._ask(
            key, lambda: self._fs.cat_ranges([path] * len(ranges), starts, ends, on_error="return")
        )
        if answers is None:
            raise SourceError(f"{self.name}, key {key!r}: vanished while it was read")
        return [
            self._exactly(key, answer, start, end)
            for answer, (start, end) in zip(answers, ranges, strict=True)
        ]

    def _exactly(self, key: str, answer: Any, start: int, end: int) -> Buffer:
        if isinstance(answer, BaseException):
            raise SourceError(f"{self.name}, key {key!r}: {answer}") from answer
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
        return None if info is None else _token(info)

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
        found = self._ask(prefix, lambda: self._fs.find(path, detail=True)) or {}
        skip = len(self._root) + 1 if self._root else 0
        for name, info in found.items():
            yield name[skip:], int(info.get("size") or 0)


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _token(info: dict[str, Any]) -> Hashable | None:
    marks = tuple(str(info[field]) for field in _TOKEN_FIELDS if info.get(field) is not None)
    return (*marks, info.get("size")) if marks else None


class _RemoteObject(StoredObject):
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
        return self._store.ranges(self._key, [(start, start + nbytes)])[0]

    def read_many(
        self, ranges: Sequence[tuple[int, int]], scratch: Scratch | None = None
    ) -> Iterator[Buffer]:
        """The bytes of each range, fetched a batch ahead."""
        for at in range(0, len(ranges), self._store.batch):
            yield from self._store.ranges(self._key, ranges[at : at + self._store.batch])
