"""A folder as a store: the hot path of local reading.

Plain file descriptors and no ``pathlib``: an object costs about 4 µs beyond copying its bytes.
Files are opened non-blocking so that a named pipe in the tree is an error and not a hang.
"""

from __future__ import annotations

import io
import os
import stat
import time
from collections.abc import Hashable, Iterator
from itertools import islice

from lazytensor.errors import SourceError
from lazytensor.io.scratch import ENCODED, Scratch
from lazytensor.io.store import Buffer, Store, StoredObject, check_key

__all__ = ["LocalStore"]

_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
)
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
_HAS_PREADV = hasattr(os, "preadv")
# File times tick (4 ms on Linux, 2 s on FAT): a file changed within the last tick may change again
# under the same time, so its time proves nothing about its content yet.
_SETTLED_NS = 2_000_000_000


def _fill(fd: int, view: memoryview, offset: int) -> int:
    """Read from ``offset`` until the view is full or the file ends; the number of bytes read."""
    done, wanted = 0, len(view)
    while done < wanted:
        if _HAS_PREADV:
            count = os.preadv(fd, (view[done:],), offset + done)
        else:
            os.lseek(fd, offset + done, os.SEEK_SET)
            count = io.FileIO(fd, closefd=False).readinto(view[done:]) or 0
        if not count:
            break
        done += count
    return done


class _LocalObject(StoredObject):
    __slots__ = ("_fd", "_path", "_state", "size", "token")

    def __init__(self, fd: int, path: str, status: os.stat_result) -> None:
        self._fd = fd
        self._path = path
        self.size = status.st_size
        self._state = _token(status)
        settled = time.time_ns() - status.st_mtime_ns > _SETTLED_NS
        self.token = self._state if settled else None

    @property
    def descriptor(self) -> int:
        """Of the open file."""
        return self._fd

    @property
    def state(self) -> Hashable:
        """Inode, modification time in ns and size."""
        return self._state

    def read(self, start: int, nbytes: int, scratch: Scratch | None = None) -> Buffer:
        """Exactly ``nbytes`` bytes from ``start``."""
        self._check(start, nbytes)
        view = scratch.take(ENCODED, nbytes) if scratch else memoryview(bytearray(nbytes))
        self._read_all(start, view)
        return view

    def read_into(self, start: int, out: memoryview) -> None:
        """Fill ``out`` from ``start`` on, with nothing between the file and it."""
        self._check(start, len(out))
        self._read_all(start, out)

    def _check(self, start: int, nbytes: int) -> None:
        if start < 0 or nbytes < 0 or start + nbytes > self.size:
            raise SourceError(
                f"{self._path}: bytes [{start}, {start + nbytes}) of {self.size} do not exist"
            )

    def _read_all(self, start: int, view: memoryview) -> None:
        try:
            count = _fill(self._fd, view, start)
        except OSError as error:
            raise SourceError(f"{self._path}: {error}") from error
        if count < len(view):
            raise SourceError(f"{self._path} shrank while it was read")

    def close(self) -> None:
        """Close the file, once."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    # Ctrl-C may strike before the caller has the handle that he would close.
    __del__ = close


def _token(status: os.stat_result) -> Hashable:
    return status.st_ino, status.st_mtime_ns, status.st_size


class LocalStore(Store):
    """The files below one folder; keys are paths relative to it.

    >>> import tempfile
    >>> store = LocalStore(tempfile.mkdtemp())
    >>> print(store.get("absent"))
    None
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.name = os.fspath(root)
        self.uri: str = os.path.abspath(self.name)
        self.identity = ("file", self.uri)
        self._prefix = self.folder = os.path.join(self.uri, "")

    def _open(self, key: str) -> tuple[int, os.stat_result] | None:
        """Descriptor and status of a regular file, or None where there is none."""
        path = self._prefix + check_key(key)
        try:
            fd = os.open(path, _FLAGS)
        except _ABSENT:
            return None
        except OSError as error:
            if os.path.isdir(path):  # Windows refuses to open folders
                return None
            raise SourceError(f"{path}: {error}") from error
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode):
            return fd, status
        os.close(fd)
        if stat.S_ISDIR(status.st_mode):
            return None
        raise SourceError(f"{path} is not a regular file")

    def get(self, key: str, scratch: Scratch | None = None) -> Buffer | None:
        """The whole file, or None."""
        opened = self._open(key)
        if opened is None:
            return None
        fd, status = opened
        size = status.st_size
        try:
            view = scratch.take(ENCODED, size) if scratch else memoryview(bytearray(size))
            return view[: _fill(fd, view, 0)]
        except OSError as error:
            raise SourceError(f"{self._prefix}{key}: {error}") from error
        finally:
            os.close(fd)

    def get_into(self, key: str, out: memoryview) -> int | None:
        """Fill ``out`` with the file if the sizes agree; the file's size, or None."""
        opened = self._open(key)
        if opened is None:
            return None
        fd, status = opened
        try:
            if status.st_size != len(out):
                return status.st_size
            return _fill(fd, out, 0)
        except OSError as error:
            raise SourceError(f"{self._prefix}{key}: {error}") from error
        finally:
            os.close(fd)

    def open(self, key: str) -> StoredObject | None:
        """A handle on one file, or None."""
        opened = self._open(key)
        return None if opened is None else _LocalObject(opened[0], self._prefix + key, opened[1])

    def _status(self, key: str) -> os.stat_result | None:
        try:
            status = os.stat(self._prefix + check_key(key))
        except _ABSENT:
            return None
        except OSError as error:
            raise SourceError(f"{self._prefix}{key}: {error}") from error
        return status if stat.S_ISREG(status.st_mode) else None

    def size(self, key: str) -> int | None:
        """Length of the file, or None."""
        status = self._status(key)
        return None if status is None else status.st_size

    def token(self, key: str) -> Hashable | None:
        """Inode, modification time in ns and size."""
        status = self._status(key)
        return None if status is None else _token(status)

    def children(self, prefix: str) -> list[str]:
        """Names of the folders below ``prefix``."""
        try:
            with os.scandir(self._prefix + check_key(prefix)) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir())
        except _ABSENT:
            return []
        except OSError as error:
            raise SourceError(f"{self._prefix}{prefix}: {error}") from error

    def listed(self, prefix: str, depth: int, limit: int) -> list[str] | None:
        """Names in folders, level by level; links to folders are followed, as in reading."""
        folders = [check_key(prefix).rstrip("/")]
        for level in range(depth):
            names: list[str] = []
            for folder in folders:
                entries = self._entries(folder, limit)
                if entries is None or len(entries) > limit:
                    return None
                limit -= len(entries)
                start = f"{folder}/" if folder else ""
                names += [start + name for name, inner in entries if inner == (level < depth - 1)]
            folders = names
        return folders

    def _entries(self, folder: str, limit: int) -> list[tuple[str, bool]] | None:
        """Up to ``limit + 1`` names in a folder, and whether they are folders themselves.

        None where nobody may look.
        """
        try:
            with os.scandir(self._prefix + folder) as entries:
                return [(entry.name, entry.is_dir()) for entry in islice(entries, limit + 1)]
        except _ABSENT:
            return []
        except OSError:
            # Listing is another permission than reading: whoever must know has to ask for each.
            return None

    def walk(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Every file below ``prefix``; links to folders are not followed (they may be loops)."""
        pending = [check_key(prefix).rstrip("/")]
        while pending:
            folder = pending.pop()
            try:
                with os.scandir(self._prefix + folder) as entries:
                    for entry in entries:
                        key = f"{folder}/{entry.name}" if folder else entry.name
                        if entry.is_dir(follow_symlinks=False):
                            pending.append(key)
                        elif entry.is_file():
                            yield key, entry.stat().st_size
            except _ABSENT:
                continue
            except OSError as error:
                raise SourceError(f"{self._prefix}{folder}: {error}") from error
